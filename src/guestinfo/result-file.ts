/**
 * The file that results are kept in: appended and synchronised, rewritten when it has grown.
 *
 * What is written is only counted once it is synchronised: after a failure the file is cut back to what counts, so that a
 * torn write never stands between two good ones. A last line without its end, from a crash, is cut off at opening.
 */
import { constants } from 'node:fs'
import * as nodeFs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errorMessage, VspcError } from '../base/index.ts'
import type { ResultLine } from './ledger.ts'
import { formatLine, formatTold, MAX_LINE_BYTES, parseLine } from './result-line.ts'

/** What is needed of node:fs/promises; tests pass one that fails. */
export type ResultFs = Pick<typeof nodeFs, 'open' | 'mkdir' | 'rename' | 'stat'>

/** Results name machines and say what runs on them. */
const FILE_MODE = 0o600
const FOLDER_MODE = 0o700
const FILE_NAME = 'results.jsonl'
const READ_BYTES = 65_536
const WRITE_BYTES = 262_144
const LINE_FEED = 0x0a
const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW, O_RDONLY, O_DIRECTORY } = constants

export interface Loaded {
  /** Lines that are none of ours, and were skipped. */
  readonly strange: number
  /** Bytes of a last line without end, cut off. */
  readonly torn: number
}

const ADVICE: Record<string, string> = {
  ENOSPC: 'the disk is full: make room',
  EDQUOT: 'the disk quota is used up: make room, or raise it',
  EROFS: 'the file system is read-only: see the kernel log, then remount it',
  EIO: 'the disk reports errors: see the kernel log',
  EACCES: 'give folder and file to the user that this runs as',
  EPERM: 'check owner, mount options and security modules',
  ENOTDIR: 'something else is in the place of the folder: move it away',
  EISDIR: 'a folder is in the place of the file: move it away',
  ELOOP: 'a symbolic link is in the place of the file: remove it',
}

export function resultPath(directory: string): string {
  return join(directory, FILE_NAME)
}

/** One writer at a time: the directory's owner holds it alone, and awaits each call before the next one. */
export class ResultFile {
  readonly path: string
  readonly #fs: ResultFs
  #handle: nodeFs.FileHandle
  #inode: number
  /** What counts; behind it nothing may stand. */
  #bytes: number

  private constructor(path: string, fs: ResultFs, handle: nodeFs.FileHandle, inode: number) {
    this.path = path
    this.#fs = fs
    this.#handle = handle
    this.#inode = inode
    this.#bytes = 0
  }

  /**
   * Makes what is missing, and reads what is there, in order.
   * @throws VspcError VSPC_GUESTINFO_STORE.
   */
  static async open(
    directory: string,
    take: (line: ResultLine | { readonly told: number }) => void,
    fs: ResultFs = nodeFs,
  ): Promise<{ file: ResultFile; loaded: Loaded }> {
    const path = resultPath(directory)
    try {
      await fs.mkdir(directory, { recursive: true, mode: FOLDER_MODE })
      const handle = await fs.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, FILE_MODE)
      try {
        const stats = await handle.stat()
        if (!stats.isFile()) throw Object.assign(new Error('it is no file'), { code: 'EISDIR' })
        if ((stats.mode & 0o077) !== 0) await handle.chmod(FILE_MODE)
        const file = new ResultFile(path, fs, handle, stats.ino)
        const loaded = await file.#load(take)
        // Its name, too, has to survive a power loss.
        if (stats.size === 0) await syncFolder(fs, directory)
        return { file, loaded }
      } catch (error) {
        await handle.close().catch(() => {})
        throw error
      }
    } catch (cause) {
      throw storeError('open', path, cause)
    }
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Is the file still where it was? Somebody may have deleted or replaced it. */
  async isInPlace(): Promise<boolean> {
    try {
      return (await this.#fs.stat(this.path)).ino === this.#inode
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw storeError('look at', this.path, error)
    }
  }

  /** All of it is on the disk when this resolves; nothing of it counts when it rejects. @throws VSPC_GUESTINFO_STORE. */
  async append(text: string): Promise<void> {
    const bytes = Buffer.from(text)
    try {
      await this.#handle.truncate(this.#bytes)
      await writeAll(this.#handle, bytes, this.#bytes)
      await this.#handle.datasync()
    } catch (cause) {
      throw storeError('write', this.path, cause)
    }
    this.#bytes += bytes.length
  }

  /** Puts a new file in the place of this one, at once or not at all. @throws VSPC_GUESTINFO_STORE. */
  async rewrite(lines: Iterable<ResultLine>, told: number): Promise<void> {
    const fresh = `${this.path}.new`
    let handle: nodeFs.FileHandle | null = null
    try {
      await this.#fs.mkdir(dirname(this.path), { recursive: true, mode: FOLDER_MODE })
      handle = await this.#fs.open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, FILE_MODE)
      let bytes = 0
      let text = formatTold(told)
      const flush = async (to: nodeFs.FileHandle): Promise<void> => {
        const chunk = Buffer.from(text)
        await writeAll(to, chunk, bytes)
        bytes += chunk.length
        text = ''
      }
      for (const line of lines) {
        text += formatLine(line)
        if (text.length >= WRITE_BYTES) await flush(handle)
      }
      await flush(handle)
      await handle.datasync()
      const { ino } = await handle.stat()
      await this.#fs.rename(fresh, this.path)
      await this.#handle.close().catch(() => {})
      this.#handle = handle
      this.#inode = ino
      this.#bytes = bytes
      handle = null
      await syncFolder(this.#fs, dirname(this.path))
    } catch (cause) {
      await handle?.close().catch(() => {})
      throw storeError('rewrite', this.path, cause)
    }
  }

  /** Never rejects. */
  async close(): Promise<void> {
    // All that counts is on the disk.
    await this.#handle.close().catch(() => {})
  }

  async #load(take: (line: ResultLine | { readonly told: number }) => void): Promise<Loaded> {
    const chunk = Buffer.alloc(READ_BYTES)
    let rest = Buffer.alloc(0)
    /** Of a line too long to be ours: skipped to its end. */
    let skipping = false
    let strange = 0
    let at = 0
    for (;;) {
      const { bytesRead } = await this.#handle.read(chunk, 0, READ_BYTES, at)
      if (bytesRead === 0) break
      const data = Buffer.concat([rest, chunk.subarray(0, bytesRead)])
      let from = 0
      for (let end = data.indexOf(LINE_FEED); end >= 0; end = data.indexOf(LINE_FEED, from)) {
        const line = skipping ? null : parseLine(data.toString('utf8', from, end))
        skipping = false
        if (line === null) strange++
        else take(line)
        from = end + 1
        this.#bytes = at + bytesRead - (data.length - from)
      }
      rest = data.subarray(from)
      if (rest.length > MAX_LINE_BYTES) {
        skipping = true
        rest = Buffer.alloc(0)
      }
      at += bytesRead
    }
    const torn = at - this.#bytes
    if (torn > 0) await this.#handle.truncate(this.#bytes)
    return { strange, torn }
  }
}

async function writeAll(handle: nodeFs.FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    if (bytesWritten === 0) throw Object.assign(new Error('nothing was written'), { code: 'ENOSPC' })
    done += bytesWritten
  }
}

/** Not every file system can; then a rename is as safe as it makes it. */
async function syncFolder(fs: ResultFs, directory: string): Promise<void> {
  try {
    const handle = await fs.open(directory, O_RDONLY | O_DIRECTORY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EINVAL' && code !== 'ENOTSUP' && code !== 'EISDIR') throw error
  }
}

function storeError(doing: string, path: string, cause: unknown): VspcError {
  const code = cause instanceof Error ? (cause as NodeJS.ErrnoException).code : undefined
  const advice = code === undefined ? undefined : ADVICE[code]
  const why = advice === undefined ? errorMessage(cause) : `${advice} (${code})`
  return new VspcError('VSPC_GUESTINFO_STORE', `cannot ${doing} the results of guestinfo, ${path}: ${why}`, { cause })
}
