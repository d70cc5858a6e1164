import type { Clock, Limits } from '../base/index.ts'
import { MAX_ARCHIVE_BYTES } from './archive.ts'

/** A file that is not appended to any more. */
export interface ClosedFile {
  /** Offset of its first byte, which names it. */
  readonly start: number
  /** What it takes on the disk, going by what was written. */
  diskBytes: number
  /** What its index takes beside that. */
  readonly indexBytes: number
  /** When it was last written, ms since 1970. */
  readonly lastWriteAt: number
  /** It is compressed. */
  packed: boolean
  /** Compressing it has been tried in vain. */
  stuck: boolean
  /** A crash has left other files of its name. */
  readonly leftovers: boolean
}

/** Where in the files an offset is. */
export interface Place {
  /** The file's first offset, which names it. */
  readonly segment: number
  /** Where it ends at most. */
  readonly end: number
  readonly packed: boolean
}

/** A port's files, as they were found. */
export interface FoundFiles {
  /** In order. */
  readonly closed: readonly ClosedFile[]
  /** First offset of the last file; -1 = there is none. */
  readonly last: number
  /** Of the last file's index. */
  readonly lastIndexBytes: number
  readonly next: number
  readonly lastWriteAt: number
}

/** Of what may be used, files that are appended to take at most this part: only others can be deleted to make room. */
const OPEN_PART = 4
const MIN_FILE_BYTES = 65_536

/** About how large files may become. @param ports that there are. */
export function maxFileBytes(limits: Limits, ports: number): number {
  const { historyFileBytes, historyPortBytes, historyTotalBytes } = limits
  const ofPort = historyPortBytes === 0 ? historyFileBytes : historyPortBytes / OPEN_PART
  const ofAll = historyTotalBytes === 0 ? historyFileBytes : historyTotalBytes / OPEN_PART / Math.max(1, ports)
  return Math.min(historyFileBytes, ofPort, Math.max(MIN_FILE_BYTES, ofAll))
}

/** The files of a port: those that are closed, and the one that is appended to. Pure: who calls does the I/O. */
export class Segments {
  /** In order; null while there are none, as of most ports. */
  #closed: ClosedFile[] | null
  /** First offset of the last file; -1 = there is none. */
  #last: number
  /** The last file can be appended to. Otherwise the next bytes begin another one. */
  open: boolean
  /** When something was last written; ms since 1970. */
  lastWriteAt: number
  /** What the closed ones take on the disk, with their indexes. */
  closedBytes = 0
  #lastIndexBytes: number

  constructor(found: FoundFiles | null) {
    this.#closed = found === null || found.closed.length === 0 ? null : [...found.closed]
    this.#last = found?.last ?? -1
    this.open = this.#last >= 0
    this.lastWriteAt = found?.lastWriteAt ?? 0
    this.#lastIndexBytes = found?.lastIndexBytes ?? 0
    for (const file of this.closed) this.closedBytes += bytesOf(file)
  }

  /** Offset of the oldest byte that is in a file; -1 = there is none. */
  get first(): number {
    return this.#closed?.[0]?.start ?? this.#last
  }

  /** First offset of the file that is appended to. */
  get last(): number {
    return this.#last
  }

  get closed(): readonly ClosedFile[] {
    return this.#closed ?? NONE
  }

  /** The file is as large or old as may be. @param written where it ends. @param ms `historyFileMs`. */
  full(maxBytes: number, written: number, ms: number, clock: Clock): boolean {
    if (written === this.#last) return false
    if (written - this.#last >= maxBytes) return true
    // By the clock on the wall, so that a restart changes nothing: files begin anew at midnight, say.
    return ms > 0 && Math.floor(clock.wall() / ms) !== Math.floor(this.lastWriteAt / ms)
  }

  /** The file that begins at `start` is the one that is appended to from now on. @param written where the one before it ends. */
  begin(start: number, written: number): void {
    if (this.#last >= 0 && this.#last !== start) {
      this.#closed ??= []
      const { lastWriteAt } = this
      const same = { lastWriteAt, packed: false, stuck: false, leftovers: false }
      const file = { start: this.#last, diskBytes: written - this.#last, indexBytes: this.#lastIndexBytes, ...same }
      this.#closed.push(file)
      this.closedBytes += bytesOf(file)
      this.#lastIndexBytes = 0
    }
    this.#last = start
    this.open = true
  }

  /** The last file's index takes so much from now on. @returns how much more that is. */
  indexed(bytes: number): number {
    const more = bytes - this.#lastIndexBytes
    this.#lastIndexBytes = bytes
    return more
  }

  /** Bytes that the last file may still take; at least one. */
  room(maxBytes: number, written: number): number {
    return Math.max(1, maxBytes - (written - this.#last))
  }

  /** What all of them take on the disk, going by what was written. */
  diskBytes(written: number): number {
    return this.closedBytes + this.#lastIndexBytes + (this.#last >= 0 ? written - this.#last : 0)
  }

  /** The oldest closed file is too old, or one too many. @param maxBytes of one file. */
  overdue({ historyPortBytes, historyAgeMs }: Limits, maxBytes: number, wall: number): boolean {
    const [first] = this.closed
    if (first === undefined) return false
    if (historyPortBytes > 0 && this.closedBytes + maxBytes > historyPortBytes) return true
    return historyAgeMs > 0 && first.lastWriteAt < wall - historyAgeMs
  }

  /** The oldest closed file is not a part of history any more. */
  dropFirst(): ClosedFile | null {
    const file = this.#closed?.shift() ?? null
    if (file !== null) this.closedBytes -= bytesOf(file)
    if (this.#closed?.length === 0) this.#closed = null
    return file
  }

  /** The oldest file that may be compressed, of those last written before `wall`. */
  unpacked(wall: number): ClosedFile | null {
    for (const file of this.closed) {
      if (!file.packed && !file.stuck && file.lastWriteAt <= wall && file.diskBytes <= MAX_ARCHIVE_BYTES) return file
    }
    return null
  }

  /** The file takes so much from now on. */
  packed(file: ClosedFile, diskBytes: number): void {
    this.closedBytes += diskBytes - file.diskBytes
    file.diskBytes = diskBytes
    file.packed = true
  }

  /** The folder is empty. */
  clear(): void {
    this.#closed = null
    this.closedBytes = 0
    this.#lastIndexBytes = 0
    this.#last = -1
    this.open = false
  }

  /** The file that holds `offset`, or would if it was not lost; null when no file can have it. */
  placeOf(offset: number, written: number): Place | null {
    if (offset < this.first || offset >= written || this.first < 0) return null
    const closed = this.#closed ?? NONE
    if (this.#last >= 0 && offset >= this.#last) return { segment: this.#last, end: written, packed: false }
    let low = 0
    let high = closed.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((closed[middle] as ClosedFile).start <= offset) low = middle
      else high = middle - 1
    }
    const { start, packed } = closed[low] as ClosedFile
    const end = closed[low + 1]?.start ?? (this.#last >= 0 ? this.#last : written)
    return { segment: start, end, packed }
  }
}

/** What a file takes on the disk, with its index. */
export function bytesOf({ diskBytes, indexBytes }: ClosedFile): number {
  return diskBytes + indexBytes
}

const NONE: readonly ClosedFile[] = []
