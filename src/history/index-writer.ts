import { join } from 'node:path'
import { type DiskError, diskErrorCode, FILE_MODE, type FileStats, OPEN_APPEND, OPEN_NEW } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import { indexName } from './port-file.ts'
import { formatRecords, INDEX_HEADER, parseIndex, RECORD_BYTES, type Times } from './times.ts'

/** Read of an index that an earlier run has left: what power losses damage is at its end. */
const TAIL_BYTES = 4096 * RECORD_BYTES

/** Writes the marks of one port behind those that are in its index already. One at a time. */
export class IndexWriter {
  readonly #store: DiskStore
  #port: DiskHistory | null = null
  #times: Times | null = null
  #done: (error: DiskError | null, path: string) => void = () => {}
  #path = ''
  #fd = -1
  #segment = 0
  #count = 0

  constructor(store: DiskStore) {
    this.#store = store
  }

  start(port: DiskHistory, times: Times, done: (error: DiskError | null, path: string) => void): void {
    this.#port = port
    this.#times = times
    this.#done = done
    this.#segment = port.segments.last
    // Of what was never written to the file before only the last one matters.
    times.trim(this.#segment)
    this.#count = times.below(port.written)
    this.#path = join(this.#store.folderOf(port.dirName), indexName(this.#segment))
    this.#store.fs.open(this.#path, OPEN_APPEND, FILE_MODE, this.#onOpen)
  }

  get #now(): { port: DiskHistory; times: Times } {
    // Set in `start`, and kept until `#end`.
    return { port: this.#port as DiskHistory, times: this.#times as Times }
  }

  readonly #onOpen = (error: DiskError | null, fd: number): void => {
    if (diskErrorCode(error) === 'ENOENT') {
      this.#store.fs.open(this.#path, OPEN_NEW, FILE_MODE, this.#onNew)
      return
    }
    if (error !== null) {
      this.#end(error)
      return
    }
    this.#fd = fd
    const { times } = this.#now
    if (times.segment === this.#segment) this.#write(times.size)
    else this.#store.fs.fstat(fd, this.#onStats)
  }

  readonly #onNew = (error: DiskError | null, fd: number): void => {
    if (error !== null) {
      this.#end(error)
      return
    }
    this.#fd = fd
    this.#write(0)
  }

  /** It is of an earlier run: where do its records end? */
  readonly #onStats = (error: DiskError | null, stats: FileStats): void => {
    if (error !== null || !stats.isFile()) {
      this.#close(error ?? new Error('it is no file'))
      return
    }
    const whole = stats.size - (stats.size % RECORD_BYTES)
    const begin = Math.max(0, whole - TAIL_BYTES)
    const tail = new Uint8Array(whole - begin)
    this.#store.fs.read(this.#fd, tail, 0, tail.length, begin, (failed, read) => {
      if (failed !== null || read < tail.length) {
        this.#close(failed ?? new Error('it was cut meanwhile'))
        return
      }
      // Where the header is not in it, what is before the tail is believed.
      const first = begin === 0 ? tail : joined(INDEX_HEADER, tail)
      const { port } = this.#now
      const { length } = parseIndex(first, this.#segment, this.#now.times.offsets[0] ?? port.written).offsets
      const header = begin === 0 ? (length === 0 ? 0 : RECORD_BYTES) : begin
      const size = header + length * RECORD_BYTES
      if (size === stats.size) this.#write(size)
      else {
        this.#store.fs.ftruncate(this.#fd, size, (cut) => {
          if (cut !== null) this.#close(cut)
          else this.#write(size)
        })
      }
    })
  }

  #write(size: number): void {
    const { times } = this.#now
    const records = formatRecords(times, this.#count, this.#segment)
    const bytes = size === 0 ? joined(INDEX_HEADER, records) : records
    this.#store.fs.write(this.#fd, bytes, 0, bytes.length, size, (error, written) => {
      if (error !== null || written < bytes.length) {
        // What is there now is looked at the next time.
        times.segment = -1
        this.#close(error ?? new Error('the disk took only a part'))
        return
      }
      times.segment = this.#segment
      times.size = size + written
      const { port } = this.#now
      // What a port that was removed takes is not counted any more.
      if (!port.removed) this.#store.diskBytes += port.segments.indexed(times.size)
      times.drop(this.#count)
      this.#close(null)
    })
  }

  #close(error: DiskError | null): void {
    this.#store.fs.close(this.#fd, (failed) => this.#end(error ?? failed ?? null))
  }

  #end(error: DiskError | null): void {
    const { times } = this.#now
    if (error === null) times.wanted = false
    else times.segment = -1
    this.#port = null
    this.#times = null
    this.#done(error, this.#path)
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length)
  bytes.set(a)
  bytes.set(b, a.length)
  return bytes
}
