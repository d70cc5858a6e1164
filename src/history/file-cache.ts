import type { Archive } from './archive.ts'
import type { DiskError, HistoryFs } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'

/** A segment's file that is open. `users` > 0 while something is read or written. */
export interface OpenFile {
  readonly fd: number
  readonly port: DiskHistory
  readonly segment: number
  /** The one that is appended to: known to its port. */
  readonly forAppend: boolean
  /** It is compressed. */
  readonly packed: boolean
  /** Where what is in it, once that was read. */
  archive: Archive | null
  users: number
}

/** The files used last. A port keeps no descriptor: only so many of them are open at once, whatever the ports. */
export class FileCache {
  readonly #fs: HistoryFs
  readonly #max: () => number
  readonly #closed: (error?: DiskError | null) => void
  /** In order of use. */
  readonly #files = new Set<OpenFile>()

  /** `failed` is told when closing a file fails: what was written to it may be lost. */
  constructor(fs: HistoryFs, max: () => number, failed: (error: DiskError) => void) {
    this.#fs = fs
    this.#max = max
    this.#closed = (error) => {
      if (error) failed(error)
    }
  }

  get size(): number {
    return this.#files.size
  }

  add(file: OpenFile): void {
    this.#files.add(file)
    if (file.forAppend) file.port.file = file
    if (this.#files.size > this.#max()) this.#shrink(this.#max())
  }

  /** A file of the segment that can be read. */
  find(port: DiskHistory, segment: number): OpenFile | null {
    if (port.file?.segment === segment) return port.file
    for (const file of this.#files) if (file.port === port && file.segment === segment) return file
    return null
  }

  use(file: OpenFile): void {
    file.users++
    this.#files.delete(file)
    this.#files.add(file)
  }

  /** The counterpart of `use`. */
  release(file: OpenFile): void {
    file.users--
    if (file.users > 0) return
    // Forgotten while it was used: closed now.
    if (!this.#files.has(file)) this.#fs.close(file.fd, this.#closed)
    else if (this.#files.size > this.#max()) this.#shrink(this.#max())
  }

  /** Not to be used any more. */
  drop(file: OpenFile): void {
    if (this.#files.has(file)) this.#forget(file)
  }

  /** No file of this port is used any more: closed at once, or when what is under way has ended. */
  forget(port: DiskHistory): void {
    for (const file of this.#files) if (file.port === port) this.#forget(file)
  }

  /** As `forget`, of one file. */
  dropSegment(port: DiskHistory, segment: number): void {
    for (const file of this.#files) if (file.port === port && file.segment === segment) this.#forget(file)
  }

  /** For want of descriptors, or to find out whether the files are still there. */
  forgetAll(): void {
    for (const file of this.#files) this.#forget(file)
  }

  #shrink(size: number): void {
    for (const file of this.#files) {
      if (this.#files.size <= size) return
      if (file.users === 0) this.#forget(file)
    }
  }

  #forget(file: OpenFile): void {
    this.#files.delete(file)
    if (file.port.file === file) file.port.file = null
    if (file.users === 0) this.#fs.close(file.fd, this.#closed)
  }
}
