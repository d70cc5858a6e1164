/**
 * A plain file with the end of a port's output: what other programs read. Made from history's own files, so that it
 * can be wrong, late or gone without any harm to these; whatever is wrong with it, it is made anew.
 *
 * It grows by what comes, and at twice the bytes that are wanted another one takes its place, with the last of them: at
 * any time there is a whole file of that name, and one who has it open goes on reading the one before.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type StoredFile, StoredOutput } from '../../history/index.ts'

/** What there is of a port's output, in files of history. */
export interface TailSource {
  readonly folder: string
  readonly files: readonly Pick<StoredFile, 'start' | 'end'>[]
  /** Offset after the last byte. */
  readonly end: number
}

/** Group: who is to read them, if the directory has a group of its own (setgid). */
const FILE_MODE = 0o640
const FOLDER_MODE = 0o750
const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants
const OPEN_OLD = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK
const OPEN_NEW = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW
/** Of a file from before, compared with history. */
const COMPARED_BYTES = 4_096
const LF = 0x0a

export class TailFile {
  path: string
  readonly #keep: number
  /** Of the output, after what the file has; -1 = not known. */
  #offset = -1
  #size = 0

  constructor(path: string, keep: number) {
    this.path = path
    this.#keep = keep
  }

  /** Takes over what has come. @throws Error as node:fs. */
  update(source: TailSource): void {
    const fd = this.#open()
    if (fd !== null) {
      try {
        if (this.#offset < 0) this.#adopt(fd, source)
        if (this.#fits(fd, source)) {
          this.#size += copy(source, this.#offset, fd)
          this.#offset = source.end
          return
        }
      } finally {
        closeSync(fd)
      }
    }
    this.#rewrite(source)
  }

  /** The port is called otherwise now. @throws Error as node:fs. */
  rename(path: string): void {
    mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE })
    renameSync(this.path, path)
    this.path = path
  }

  /** Null: there is nothing there that could be gone on with. */
  #open(): number | null {
    try {
      return openSync(this.path, OPEN_OLD)
    } catch {
      // Deleted, a link or a folder: another file takes its place, or that fails and tells.
      return null
    }
  }

  #fits(fd: number, { end }: TailSource): boolean {
    const stats = fstatSync(fd)
    // Shared with another name, cut or written to by somebody else: not ours to go on with.
    if (!stats.isFile() || stats.nlink !== 1 || stats.size !== this.#size || this.#offset < 0) return false
    return end >= this.#offset && this.#size + end - this.#offset <= 2 * this.#keep
  }

  /**
   * A file of an earlier run is gone on with if it is the end of the output, as far as its own ends show: it may have been cut,
   * or what came before a crash may not be in it, although it ends as history does.
   */
  #adopt(fd: number, source: TailSource): void {
    const { size } = fstatSync(fd)
    const from = source.end - size
    const length = Math.min(size, COMPARED_BYTES)
    if (size === 0 || from < 0 || (from > 0 && size < this.#keep / 2)) return
    if (!isSame(fd, 0, source, from, length) || !isSame(fd, size - length, source, source.end - length, length)) return
    this.#size = size
    this.#offset = source.end
  }

  #rewrite(source: TailSource): void {
    const folder = dirname(this.path)
    const draft = join(folder, `.${basename(this.path)}.new`)
    mkdirSync(folder, { recursive: true, mode: FOLDER_MODE })
    rmSync(draft, { force: true })
    this.#offset = -1
    try {
      this.#size = write(draft, source, Math.max(0, source.end - this.#keep))
      renameSync(draft, this.path)
    } catch (error) {
      // A disk that is full has no room for what nobody reads.
      rmSync(draft, { force: true })
      throw error
    }
    this.#offset = source.end
  }
}

/**
 * Makes the directory of all files, if it is not there. Others may pass through it, to files whose names they know, and see
 * no list; whatever the process's umask, as without that Nova finds nothing.
 */
export function makeLogDirectory(dir: string): void {
  if (mkdirSync(dir, { recursive: true, mode: FOLDER_MODE }) !== undefined) chmodSync(dir, 0o751)
}

/** @returns bytes written. */
function write(path: string, source: TailSource, from: number): number {
  const fd = openSync(path, OPEN_NEW, FILE_MODE)
  try {
    return copy(source, from, fd)
  } finally {
    closeSync(fd)
  }
}

/** The file has at `at` what history has at `from`. */
function isSame(fd: number, at: number, source: TailSource, from: number, length: number): boolean {
  const there = Buffer.alloc(length)
  readSync(fd, there, 0, length, at)
  let done = 0
  for (const piece of pieces(source, from)) {
    const wanted = piece.subarray(0, length - done)
    if (!there.subarray(done, done + wanted.length).equals(wanted)) return false
    done += wanted.length
    if (done === length) return true
  }
  return false
}

/** @returns bytes written. */
function copy(source: TailSource, from: number, fd: number): number {
  let bytes = 0
  for (const piece of pieces(source, from)) {
    // Where it does not begin with the output, it begins with a line.
    const cut = bytes === 0 && from > 0 && fstatSync(fd).size === 0 ? piece.indexOf(LF) + 1 : 0
    for (let at = cut; at < piece.length; ) at += writeSync(fd, piece, at)
    bytes += piece.length - cut
  }
  return bytes
}

/** What history holds from `from` on; each is valid until the next. */
function* pieces({ folder, files, end }: TailSource, from: number): Generator<Buffer, void, void> {
  for (const file of files) {
    if (file.end <= from) continue
    const output = StoredOutput.open(folder, file.start)
    if (output === null) continue
    try {
      for (let at = Math.max(from, file.start); at < Math.min(file.end, end); ) {
        const bytes = output.read(at)
        if (bytes.length === 0) break
        const piece = bytes.subarray(0, Math.min(file.end, end) - at)
        yield piece
        at += piece.length
      }
    } finally {
      output.close()
    }
  }
}
