import { join } from 'node:path'
import { VspcError } from '../base/index.ts'
import { type DiskError, describeDiskError, diskErrorCode, OPEN_READ } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import type { OpenFile } from './file-cache.ts'
import type { Load, LoadResult } from './history.ts'
import { removedError } from './memory-store.ts'
import type { Place } from './place.ts'
import { segmentName } from './port-file.ts'

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
  readonly #store: DiskStore
  readonly #defer: (run: () => void) => void
  readonly #free: LoadSlot[]
  #queue: LoadRequest[] = []
  #scheduled = false

  constructor(store: DiskStore, defer: (run: () => void) => void) {
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
    return port.placeOf(offset) === null ? { kind: 'gap', to: port.gapEnd(offset) } : null
  }
}

/** One read at a time. */
class LoadSlot {
  readonly #store: DiskStore
  readonly #loader: Loader
  #request: LoadRequest | null = null
  #place: Place = { segment: 0, end: 0 }
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
      this.#finish({ kind: 'gap', to: port.gapEnd(offset) })
      return
    }
    this.#place = place
    const file = this.#store.files.find(port, place.segment)
    if (file !== null) {
      this.#read(request, file)
      return
    }
    this.#dirName = port.dirName
    this.#store.fs.open(this.#path, OPEN_READ, 0, this.#onOpen)
  }

  get #path(): string {
    return join(this.#store.folderOf(this.#dirName), segmentName(this.#place.segment))
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
      // The port was renamed on the way.
      if (port.dirName !== this.#dirName && !port.removed) {
        this.start(request)
        return
      }
      this.#fail(request, error)
      return
    }
    this.#store.counters.filesOpened++
    const file: OpenFile = { fd, port, segment: this.#place.segment, forAppend: false, users: 1 }
    this.#store.files.add(file)
    this.#read(request, file)
    this.#store.files.release(file)
  }

  #read(request: LoadRequest, file: OpenFile): void {
    const { fs, files } = this.#store
    if (request.cancelled || request.port.removed) {
      this.#finish(readFailed(request.port, removedError(), request.offset))
      return
    }
    const { offset, maxBytes } = request
    const { segment, end } = this.#place
    const length = Math.min(maxBytes, end - offset)
    files.use(file)
    this.#file = file
    // Of its own memory: it is handed out, and must not pin a pool.
    this.#buffer = Buffer.allocUnsafeSlow(length)
    fs.read(file.fd, this.#buffer, 0, length, offset - segment, this.#onRead)
  }

  readonly #onRead = (error: DiskError | null, bytes: number): void => {
    const request = this.#request as LoadRequest
    const { port, offset } = request
    this.#store.files.release(this.#file as OpenFile)
    this.#file = null
    if (port.removed) {
      this.#finish(readFailed(port, removedError(), offset))
      return
    }
    if (error !== null) {
      this.#fail(request, error)
      return
    }
    // The file ends early: a hole before the next segment, or somebody has cut it.
    if (bytes === 0) {
      this.#finish({ kind: 'gap', to: port.gapEnd(offset) })
      return
    }
    const buffer = this.#buffer
    this.#finish({ kind: 'bytes', bytes: bytes === buffer.length ? buffer : buffer.subarray(0, bytes) })
  }

  #fail(request: LoadRequest, error: DiskError): void {
    const { port, offset } = request
    if (port.removed) {
      this.#finish(readFailed(port, removedError(), offset))
      return
    }
    const code = diskErrorCode(error)
    if (code === 'ENOENT') {
      this.#finish({ kind: 'gap', to: port.gapEnd(offset) })
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
    this.#finish(readFailed(port, new VspcError('VSPC_HISTORY_READ', message, { cause: error }), offset))
  }
}

const NOTHING = new Uint8Array(0)

function readFailed(port: DiskHistory, error: VspcError, offset: number): LoadResult {
  return { kind: 'failed', error, to: port.gapEnd(offset) }
}
