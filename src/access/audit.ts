/**
 * Who did what, as JSON lines.
 *
 * Recording costs a line in a bounded queue and never waits: what has no room is counted, and the count is written in its
 * place. A disk that fails is told once, and again when it works; until then the queue is kept and tried again.
 */
import type * as nodeFs from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Clock, cleanText, errorMessage, type Logger, type Timer } from '../base/index.ts'

/** What is needed of node:fs/promises; tests pass one that fails. */
export type AuditFs = Pick<typeof nodeFs, 'open' | 'rename' | 'stat' | 'mkdir' | 'rm'>

export interface AuditOptions {
  readonly path: string
  readonly fs: AuditFs
  readonly clock: Clock
  readonly log: Logger
  /** A new file is begun rather than exceed it. */
  readonly maxFileBytes: number
  /** Older ones that are kept: `PATH.1` is the newest of them. */
  readonly keptFiles: number
  readonly maxQueueBytes: number
}

export const AUDIT_DEFAULTS = { maxFileBytes: 16 << 20, keptFiles: 8, maxQueueBytes: 1 << 20 } as const

/** Texts may come from anywhere: they are cleaned and cut. */
export interface AuditEntry {
  /** Null: nobody known. */
  readonly who: string | null
  /** How that is known: `token`, `certificate`, ... */
  readonly via: string
  /** Address of the other end, or what a trusted proxy says of it. */
  readonly from: string
  readonly action: string
  /** Its id; null: about no port. */
  readonly port: string | null
  /** The VM's name at that time. */
  readonly name?: string
  readonly allowed: boolean
  readonly reason?: string
}

const FILE_MODE = 0o600
const FOLDER_MODE = 0o700
const RETRY_MS = 5_000
const BATCH_BYTES = 65_536
const MAX_TEXT = 256

export class AuditLog {
  readonly #options: AuditOptions
  #queue: string[] = []
  #queuedBytes = 0
  /** Since the last line that was queued. */
  #droppedNow = 0
  #dropped = 0
  #file: { readonly handle: nodeFs.FileHandle; readonly inode: number } | null = null
  /** The file may end in the middle of a line. */
  #torn = false
  #failing = false
  #pumping: Promise<void> | null = null
  #retry: Timer | null = null
  #closed = false

  constructor(options: AuditOptions) {
    this.#options = options
  }

  /** Lines that were never written, for want of room. */
  get dropped(): number {
    return this.#dropped
  }

  /** Never throws, never waits. */
  record(entry: AuditEntry): void {
    if (this.#closed) return
    const { clock, maxQueueBytes } = this.#options
    const at = new Date(clock.wall()).toISOString()
    const text = formatEntry(at, entry)
    const mark = this.#droppedNow === 0 ? '' : this.#dropMark(at)
    const bytes = Buffer.byteLength(mark + text)
    if (this.#queuedBytes + bytes > maxQueueBytes) {
      this.#droppedNow++
      this.#dropped++
      return
    }
    this.#droppedNow = 0
    this.#queue.push(mark + text)
    this.#queuedBytes += bytes
    if (!this.#failing) this.#start()
  }

  /** Resolves once all that is queued is written, or the disk has failed. Never rejects. */
  async flush(): Promise<void> {
    while (this.#pumping !== null) await this.#pumping
  }

  /** One more try for what is queued; then the file is synchronised and closed. Never rejects. */
  async close(): Promise<void> {
    this.#closed = true
    this.#retry?.cancel()
    await this.flush()
    if (this.#queue.length > 0) {
      this.#start()
      await this.flush()
    }
    const lost = this.#queue.length + this.#droppedNow
    if (lost > 0) this.#options.log.error({ file: this.#options.path, lines: lost }, 'lines of the audit log are lost')
    try {
      await this.#file?.handle.datasync()
    } catch {
      // Told already, if it could not be written; if only this failed, the lines are with the operating system.
    }
    await this.#forgetFile()
  }

  #start(): void {
    if (this.#pumping !== null) return
    this.#pumping = this.#pump().finally(() => {
      this.#pumping = null
      // What came between the last look and now.
      if (this.#queue.length > 0 && !this.#failing) this.#start()
    })
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0 || this.#droppedNow > 0) {
      if (this.#queue.length === 0) this.#queueMark()
      const { count, text } = this.#batch()
      const bytes = Buffer.from(text)
      try {
        await this.#append(bytes)
      } catch (error) {
        await this.#failed(error)
        return
      }
      this.#queue.splice(0, count)
      this.#queuedBytes -= bytes.length
      if (this.#failing) this.#recovered()
    }
  }

  #dropMark(at: string): string {
    return `${JSON.stringify({ at, dropped: this.#droppedNow })}\n`
  }

  /** Nothing came after what was dropped, to bring the count along. */
  #queueMark(): void {
    const mark = this.#dropMark(new Date(this.#options.clock.wall()).toISOString())
    this.#droppedNow = 0
    this.#queue.push(mark)
    this.#queuedBytes += mark.length
  }

  #batch(): { count: number; text: string } {
    let text = ''
    let count = 0
    for (const line of this.#queue) {
      if (count > 0 && text.length + line.length > BATCH_BYTES) break
      text += line
      count++
    }
    return { count, text }
  }

  async #append(bytes: Uint8Array): Promise<void> {
    let handle = await this.#open()
    let size = (await handle.stat()).size
    if (size > 0 && size + bytes.length > this.#options.maxFileBytes) {
      await this.#rotate()
      handle = await this.#open()
      size = (await handle.stat()).size
    }
    if (this.#torn && size > 0) await writeAll(handle, Buffer.from('\n'))
    this.#torn = false
    try {
      await writeAll(handle, bytes)
    } catch (error) {
      try {
        await handle.truncate(size)
      } catch {
        // Then half a line stays, and what follows begins on a line of its own.
        this.#torn = true
      }
      throw error
    }
  }

  /** The file in its place: somebody may have moved or deleted the one we had. */
  async #open(): Promise<nodeFs.FileHandle> {
    const { fs, path } = this.#options
    if (this.#file !== null) {
      const inode = await fs.stat(path).then(
        ({ ino }) => ino,
        (error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return null
          throw error
        },
      )
      if (inode === this.#file.inode) return this.#file.handle
      await this.#forgetFile()
    }
    await fs.mkdir(dirname(path), { recursive: true, mode: FOLDER_MODE })
    const handle = await fs.open(path, 'a', FILE_MODE)
    try {
      this.#file = { handle, inode: (await handle.stat()).ino }
    } catch (error) {
      await handle.close().catch(() => {})
      throw error
    }
    return handle
  }

  async #rotate(): Promise<void> {
    const { fs, path, keptFiles } = this.#options
    await this.#forgetFile()
    if (keptFiles === 0) {
      await fs.rm(path, { force: true })
      return
    }
    for (let number = keptFiles - 1; number >= 0; number--) {
      const from = number === 0 ? path : `${path}.${number}`
      try {
        await fs.rename(from, `${path}.${number + 1}`)
      } catch (error) {
        // There are not that many yet.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
  }

  async #forgetFile(): Promise<void> {
    const file = this.#file
    this.#file = null
    // What it holds is written; what is not, is still queued.
    await file?.handle.close().catch(() => {})
  }

  async #failed(error: unknown): Promise<void> {
    const { path, log, clock } = this.#options
    await this.#forgetFile()
    if (!this.#failing) {
      const reason = cleanText(errorMessage(error), 300)
      log.error(
        { file: path, reason },
        'the audit log cannot be written: lines are kept while there is room, then counted',
      )
    }
    this.#failing = true
    if (this.#closed) return
    this.#retry = clock.after(RETRY_MS, () => this.#start())
  }

  #recovered(): void {
    this.#failing = false
    this.#options.log.info({ file: this.#options.path, dropped: this.#dropped }, 'the audit log is written again')
  }
}

function formatEntry(at: string, entry: AuditEntry): string {
  const clean = (text: string | null | undefined) => (typeof text === 'string' ? cleanText(text, MAX_TEXT) : text)
  const { who, via, from, action, port, name, allowed, reason } = entry
  const line = {
    at,
    who: clean(who),
    via: clean(via),
    from: clean(from),
    action: clean(action),
    port: clean(port),
    name: clean(name),
    allowed,
    reason: clean(reason),
  }
  return `${JSON.stringify(line)}\n`
}

async function writeAll(handle: nodeFs.FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done)
    if (bytesWritten === 0) throw Object.assign(new Error('nothing was written'), { code: 'ENOSPC' })
    done += bytesWritten
  }
}
