import { join } from 'node:path'
import { VspcError } from '../base/index.ts'
import { type Archive, MAX_TRAILER_BYTES, parseTrailer } from './archive.ts'
import { type DiskError, describeDiskError, diskErrorCode, type FileStats, OPEN_READ } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import type { OpenFile } from './file-cache.ts'
import type { Load, LoadResult } from './history.ts'
import { MemberCache } from './member-cache.ts'
import { removedError } from './memory-store.ts'
import { archiveName, segmentName } from './port-file.ts'
import type { Place } from './segments.ts'

/** Reads under way at once: readers that catch up must not take the thread pool from what is to be written. */
const SLOTS = 2
/** Of one read, whatever the caller asks for. */
const MAX_READ_BYTES = 1 << 20
/** Want of descriptors passes: a reader waits for it, this often and long, rather than do without what is held. */
const RETRIES = 50
const RETRY_MS = 100

/** A load until it is done. */
export class LoadRequest implements Load {
  readonly port: DiskHistory
  readonly offset: number
  readonly maxBytes: number
  retriesLeft = RETRIES
  #done: ((result: LoadResult) => void) | null

  constructor(port: DiskHistory, offset: number, maxBytes: number, done: (result: LoadResult) => void) {
    this.port = port
    this.offset = offset
    this.maxBytes = Math.min(maxBytes, MAX_READ_BYTES)
    this.#done = done
  }

  get cancelled(): boolean {
    return this.#done === null
  }

  cancel(): void {
    this.#done = null
  }

  finish(result: LoadResult): void {
    const done = this.#done
    this.#done = null
    done?.(result)
  }
}

/** Gets what readers behind the tail ask for, a few at a time, in the order they ask. */
export class Loader {
  readonly members: MemberCache
  readonly #store: DiskStore
  readonly #defer: (run: () => void) => void
  readonly #free: LoadSlot[]
  #queue: LoadRequest[] = []
  #scheduled = false

  constructor(store: DiskStore, defer: (run: () => void) => void) {
    this.members = new MemberCache(store.clock)
    this.#store = store
    this.#defer = defer
    this.#free = Array.from({ length: SLOTS }, () => new LoadSlot(store, this))
  }

  load(port: DiskHistory, offset: number, maxBytes: number, done: (result: LoadResult) => void): Load {
    const request = new LoadRequest(port, offset, maxBytes, done)
    this.#store.counters.loads++
    this.#queue.push(request)
    this.#schedule()
    return request
  }

  done(slot: LoadSlot): void {
    this.#free.push(slot)
    if (this.#queue.length > 0) this.#schedule()
  }

  /** Asks for it again in a while. */
  retry(request: LoadRequest): void {
    this.#store.clock.after(RETRY_MS, () => {
      this.#queue.push(request)
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#free.length === 0) return
    this.#scheduled = true
    this.#defer(this.#run)
  }

  readonly #run = (): void => {
    this.#scheduled = false
    // What is asked for from now on waits for the next turn: a reader fed from memory must not keep the others out.
    const queue = this.#queue
    this.#queue = []
    for (let i = 0; i < queue.length; i++) {
      const request = queue[i] as LoadRequest
      if (request.cancelled) continue
      const slot = this.#free.at(-1)
      if (slot === undefined) {
        this.#queue = [...queue.slice(i), ...this.#queue]
        return
      }
      const result = this.#inMemory(request)
      if (result !== null) {
        request.finish(result)
        continue
      }
      this.#free.pop()
      slot.start(request)
    }
    if (this.#queue.length > 0) this.#schedule()
  }

  /** Null when it has to be read from a file. */
  #inMemory({ port, offset, maxBytes }: LoadRequest): LoadResult | null {
    if (port.removed) return readFailed(port, removedError(), offset)
    if (this.#store.closed) {
      return readFailed(port, new VspcError('VSPC_SERVER_STOPPING', 'history is being closed'), offset)
    }
    if (offset >= port.visible) return { kind: 'end' }
    const bytes = port.read(offset, maxBytes)
    if (bytes !== null) {
      this.#store.counters.loadedBytes += bytes.length
      return { kind: 'bytes', bytes }
    }
    return port.placeOf(offset) === null ? { kind: 'gap', to: gapEnd(port, offset) } : null
  }
}

/** One read at a time. */
class LoadSlot {
  readonly #store: DiskStore
  readonly #loader: Loader
  #request: LoadRequest | null = null
  #place: Place = { segment: 0, end: 0, packed: false }
  #dirName = ''
  #file: OpenFile | null = null
  #buffer = NOTHING

  constructor(store: DiskStore, loader: Loader) {
    this.#store = store
    this.#loader = loader
  }

  start(request: LoadRequest): void {
    this.#request = request
    const { port, offset } = request
    const place = port.placeOf(offset)
    if (place === null) {
      this.#finish({ kind: 'gap', to: gapEnd(port, offset) })
      return
    }
    this.#place = place
    const file = this.#store.files.find(port, place.segment)
    if (file !== null) {
      this.#use(request, file)
      return
    }
    this.#dirName = port.dirName
    this.#store.fs.open(this.#path, OPEN_READ, 0, this.#onOpen)
  }

  get #path(): string {
    const { segment, packed } = this.#place
    const name = packed ? archiveName(segment) : segmentName(segment)
    return join(this.#store.folderOf(this.#dirName), name)
  }

  #finish(result: LoadResult): void {
    const request = this.#request
    this.#request = null
    this.#buffer = NOTHING
    if (result.kind === 'bytes') this.#store.counters.loadedBytes += result.bytes.length
    this.#loader.done(this)
    request?.finish(result)
  }

  readonly #onOpen = (error: DiskError | null, fd: number): void => {
    // Set in `start`, and kept until `#finish`.
    const request = this.#request as LoadRequest
    const { port } = request
    if (error !== null) {
      // The port was renamed on the way, or the file compressed.
      const moved = port.dirName !== this.#dirName || port.placeOf(request.offset)?.packed !== this.#place.packed
      if (moved && !port.removed) {
        this.start(request)
        return
      }
      this.#fail(request, error)
      return
    }
    this.#store.counters.filesOpened++
    const { segment, packed } = this.#place
    const file: OpenFile = { fd, port, segment, forAppend: false, packed, archive: null, users: 1 }
    this.#store.files.add(file)
    this.#use(request, file)
    this.#store.files.release(file)
  }

  #use(request: LoadRequest, file: OpenFile): void {
    if (request.cancelled || request.port.removed) {
      this.#finish(readFailed(request.port, removedError(), request.offset))
      return
    }
    this.#file = file
    this.#store.files.use(file)
    if (!file.packed) this.#read(request, file)
    else if (file.archive !== null) this.#readMember(request, file, file.archive)
    else this.#store.fs.fstat(file.fd, this.#onStats)
  }

  #read(request: LoadRequest, file: OpenFile): void {
    const { offset, maxBytes } = request
    const { segment, end } = this.#place
    const length = Math.min(maxBytes, end - offset)
    // Of its own memory: it is handed out, and must not pin a pool.
    this.#buffer = Buffer.allocUnsafeSlow(length)
    this.#store.fs.read(file.fd, this.#buffer, 0, length, offset - segment, this.#onRead)
  }

  /** The operation on the file has ended; `end` as for `#fail`. @returns null when nothing more is to be done. */
  #landed(error: DiskError | null, end = Number.POSITIVE_INFINITY): { request: LoadRequest; file: OpenFile } | null {
    const request = this.#request as LoadRequest
    const file = this.#file as OpenFile
    this.#store.files.release(file)
    this.#file = null
    if (request.port.removed) this.#finish(readFailed(request.port, removedError(), request.offset))
    else if (error !== null) this.#fail(request, error, end)
    else return { request, file }
    return null
  }

  readonly #onRead = (error: DiskError | null, bytes: number): void => {
    const landed = this.#landed(error)
    if (landed === null) return
    const { port, offset } = landed.request
    // The file ends early: a hole before the next segment, or somebody has cut it.
    if (bytes === 0) {
      this.#finish({ kind: 'gap', to: gapEnd(port, offset) })
      return
    }
    const buffer = this.#buffer
    this.#finish({ kind: 'bytes', bytes: bytes === buffer.length ? buffer : buffer.subarray(0, bytes) })
  }

  // A compressed file

  /** The file stays in use until the end of all this: want of descriptors may close others. */
  readonly #onStats = (error: DiskError | null, stats: FileStats): void => {
    const file = this.#file as OpenFile
    if (error !== null) {
      this.#landed(error)
      return
    }
    const length = Math.min(stats.size, MAX_TRAILER_BYTES)
    const tail = new Uint8Array(length)
    this.#store.fs.read(file.fd, tail, 0, length, stats.size - length, (failed, bytes) => {
      file.archive = failed === null && bytes === length ? parseTrailer(tail, stats.size) : null
      if (file.archive !== null) this.#readMember(this.#request as LoadRequest, file, file.archive)
      else this.#landed(failed ?? new Error('it is damaged, or was not compressed by vspc'))
    })
  }

  #readMember(request: LoadRequest, file: OpenFile, archive: Archive): void {
    const { port, offset } = request
    const { memberBytes, plainBytes, places } = archive
    const at = offset - file.segment
    const index = Math.floor(at / memberBytes)
    const begin = places[index] ?? 0
    const length = (places[index + 1] ?? begin) - begin
    const known = at >= plainBytes ? NOTHING : this.#loader.members.get(port, offset - (at % memberBytes))
    if (known !== null) {
      if (this.#landed(null) !== null) this.#give(request, known, at % memberBytes)
      return
    }
    this.#buffer = Buffer.allocUnsafeSlow(length)
    this.#store.fs.read(file.fd, this.#buffer, 0, length, begin, (error, bytes) => {
      const start = offset - (at % memberBytes)
      if (error !== null || bytes < length)
        this.#onMember(error ?? new Error('it is cut off'), NOTHING, start, memberBytes)
      else {
        this.#store.fs.expand(this.#buffer, memberBytes, (failed, plain) => {
          this.#onMember(failed, plain, start, memberBytes)
        })
      }
    })
  }

  #onMember(error: DiskError | null, plain: Uint8Array, start: number, memberBytes: number): void {
    // What is damaged is skipped, and no more.
    const landed = this.#landed(error, start + memberBytes)
    if (landed === null) return
    const { request } = landed
    this.#loader.members.put(request.port, start, plain)
    this.#give(request, plain, request.offset - start)
  }

  /** What of a member was asked for. */
  #give(request: LoadRequest, member: Uint8Array, from: number): void {
    const { port, offset, maxBytes } = request
    const bytes = member.subarray(from, from + maxBytes)
    if (bytes.length > 0) this.#finish({ kind: 'bytes', bytes })
    else this.#finish({ kind: 'gap', to: gapEnd(port, offset) })
  }

  /** @param end what comes from there on may be readable. */
  #fail(request: LoadRequest, error: DiskError, end = Number.POSITIVE_INFINITY): void {
    const { port, offset } = request
    if (port.removed) {
      this.#finish(readFailed(port, removedError(), offset))
      return
    }
    const code = diskErrorCode(error)
    if (code === 'ENOENT') {
      this.#finish({ kind: 'gap', to: gapEnd(port, offset) })
      return
    }
    const { counters, files, troubles } = this.#store
    const message = `history: ${describeDiskError('read', this.#path, error)}`
    counters.loadErrors++
    const starved = code === 'EMFILE' || code === 'ENFILE'
    if (starved) files.forgetAll()
    troubles.seen('read', code, () => ({ path: this.#path, message }))
    if (starved && request.retriesLeft-- > 0) {
      this.#request = null
      this.#loader.done(this)
      this.#loader.retry(request)
      return
    }
    const failed = new VspcError('VSPC_HISTORY_READ', message, { cause: error })
    this.#finish({ kind: 'failed', error: failed, to: Math.min(end, gapEnd(port, offset)) })
  }
}

const NOTHING = new Uint8Array(0)

/** Nothing is held at `offset`: the next offset where there may be something, at most `visible`. */
function gapEnd(port: DiskHistory, offset: number): number {
  const { first } = port.segments
  if (offset < first) return first
  return port.placeOf(offset)?.end ?? port.work?.backlog.startAfter(offset) ?? port.visible
}

function readFailed(port: DiskHistory, error: VspcError, offset: number): LoadResult {
  return { kind: 'failed', error, to: gapEnd(port, offset) }
}
