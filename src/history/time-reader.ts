import { join } from 'node:path'
import type { Clock, Timer } from '../base/index.ts'
import { type DiskError, describeDiskError, diskErrorCode, type FileStats, OPEN_READ } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import { indexName } from './port-file.ts'
import { countBelow, type Marks, parseIndex } from './times.ts'

/** Marks given at once. */
const MAX_MARKS = 4096
/** Of an index; a full file has less. */
const MAX_INDEX_BYTES = 16 << 20
/** Indexes in memory, for readers that go on in one; and how long. */
const KEPT = 2
const REST_MS = 10_000

interface Index {
  readonly port: DiskHistory
  readonly segment: number
  readonly offsets: readonly number[]
  readonly times: readonly number[]
  /** Of the file: with another one it is read again. */
  readonly version: number
}

/** Reads when output came, from index files and from what is still in memory. One file at a time. */
export class TimeReader {
  readonly #store: DiskStore
  readonly #clock: Clock
  readonly #kept: Index[] = []
  readonly #queue: { readonly port: DiskHistory; readonly segment: number; readonly done: (index: Index) => void }[] =
    []
  #busy = false
  #timer: Timer | null = null

  constructor(store: DiskStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** See `History.marks`. */
  marks(port: DiskHistory, offset: number, done: (marks: Marks) => void): void {
    const segment = segmentAt(port, offset)
    this.#index(port, segment, (index) => {
      const { offsets, times } = withPending(index)
      const from = Math.max(0, countBelow(offsets, offset + 1) - 1)
      const until = Math.min(offsets.length, from + MAX_MARKS)
      const after = segmentAfter(port, segment)
      const next = offsets[until] ?? after ?? Number.POSITIVE_INFINITY
      done({ offsets: offsets.slice(from, until), times: times.slice(from, until), next })
    })
  }

  /** See `History.seekTime`. */
  seek(port: DiskHistory, wall: number, unknownToo: boolean, done: (offset: number) => void): void {
    const look = (segment: number) => {
      const after = segmentAfter(port, segment)
      const file = port.segments.closed.find(({ start }) => start === segment)
      if (file !== undefined && file.lastWriteAt < wall && after !== null) {
        look(after)
        return
      }
      this.#index(port, segment, (index) => {
        const { offsets, times } = withPending(index)
        const found = offsets[times.findIndex((time) => time >= wall)]
        if (found !== undefined) done(Math.max(found, segment))
        else if (offsets.length === 0 && unknownToo && port.segments.lastWriteAt >= wall) done(Math.max(0, segment))
        else if (after !== null) look(after)
        else done(port.next)
      })
    }
    look(port.segments.first)
  }

  clear(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#kept.length = 0
  }

  #index(port: DiskHistory, segment: number, done: (index: Index) => void): void {
    const index = this.#kept.find((one) => one.port === port && one.segment === segment)
    if (index !== undefined && index.version === versionOf(port, segment)) {
      this.#store.defer(() => done(index))
      return
    }
    this.#queue.push({ port, segment, done })
    if (!this.#busy) this.#next()
  }

  #next(): void {
    const [first] = this.#queue
    this.#busy = first !== undefined
    if (first === undefined) return
    const { port, segment } = first
    const path = join(this.#store.folderOf(port.dirName), indexName(segment))
    if (segment < 0 || port.removed) this.#store.defer(() => this.#read(null))
    else this.#readFile(path, (bytes) => this.#read(bytes))
  }

  /** Calls back with null when it is not there, or cannot be read. */
  #readFile(path: string, done: (bytes: Uint8Array | null) => void): void {
    const { fs, counters, troubles } = this.#store
    const failed = (error: DiskError) => {
      // Without times, history is as good.
      if (diskErrorCode(error) !== 'ENOENT') {
        counters.loadErrors++
        const message = `history: ${describeDiskError('read', path, error)}`
        troubles.seen('read', diskErrorCode(error), () => ({ path, message }))
      }
      done(null)
    }
    fs.open(path, OPEN_READ, 0, (error, fd) => {
      if (error !== null) {
        failed(error)
        return
      }
      const close = (why: DiskError | null, bytes: Uint8Array) => {
        fs.close(fd, () => (why === null ? done(bytes) : failed(why)))
      }
      fs.fstat(fd, (why: DiskError | null, stats: FileStats) => {
        const bytes = new Uint8Array(why === null ? Math.min(stats.size, MAX_INDEX_BYTES) : 0)
        if (why !== null) close(why, bytes)
        else fs.read(fd, bytes, 0, bytes.length, 0, (bad, read) => close(bad, bytes.subarray(0, read)))
      })
    })
  }

  #read(bytes: Uint8Array | null): void {
    const request = this.#queue.shift()
    if (request === undefined) return
    const { port, segment, done } = request
    const after = segmentAfter(port, segment)
    const { offsets, times } =
      bytes === null ? { offsets: [], times: [] } : parseIndex(bytes, segment, after ?? port.next)
    const index: Index = { port, segment, offsets, times, version: versionOf(port, segment) }
    this.#kept.push(index)
    if (this.#kept.length > KEPT) this.#kept.shift()
    this.#timer ??= this.#clock.after(REST_MS, () => this.clear())
    done(index)
    this.#next()
  }
}

/** Another number when something was written since. */
function versionOf({ times }: DiskHistory, segment: number): number {
  return times?.segment === segment ? times.size : 0
}

/** With the marks that are still in memory. */
function withPending(index: Index): Pick<Marks, 'offsets' | 'times'> {
  const { port, segment } = index
  const pending = port.times
  if (pending === null) return index
  const until = segmentAfter(port, segment) ?? Number.POSITIVE_INFINITY
  // An earlier run may have left marks of bytes that are lost, before we write there.
  const first =
    pending.segment === segment ? Number.POSITIVE_INFINITY : (pending.offsets[0] ?? Number.POSITIVE_INFINITY)
  const kept = first < segment ? index.offsets.length : countBelow(index.offsets, first)
  const last = index.offsets[kept - 1] ?? -1
  if ((pending.offsets.at(-1) ?? -1) <= last) return index
  // One before the segment says when its first byte came, if nothing else does.
  const from = Math.max(countBelow(pending.offsets, last + 1), countBelow(pending.offsets, segment + 1) - 1, 0)
  const to = countBelow(pending.offsets, until)
  if (from >= to) return index
  const offsets = [...index.offsets.slice(0, kept), ...pending.offsets.slice(from, to)]
  return { offsets, times: [...index.times.slice(0, kept), ...pending.times.slice(from, to)] }
}

function segmentAt({ segments, written }: DiskHistory, offset: number): number {
  if (segments.last >= 0 && offset >= segments.last) return segments.last
  return segments.placeOf(Math.max(offset, segments.first), written)?.segment ?? segments.first
}

function segmentAfter({ segments }: DiskHistory, segment: number): number | null {
  if (segment === segments.last) return null
  const next = segments.closed.find(({ start }) => start > segment)?.start ?? segments.last
  return next > segment ? next : null
}
