import { join } from 'node:path'
import type { Clock } from '../base/index.ts'
import { formatTrailer, MEMBER_BYTES } from './archive.ts'
import { type DiskError, FILE_MODE, OPEN_NEW, OPEN_READ } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import { archiveName, draftName, segmentName } from './port-file.ts'
import type { ClosedFile } from './segments.ts'

/** A member is followed by a pause of so many times what it took: at most a quarter of one core. */
const PAUSES = 3

/** What a compressor needs of who runs it. */
export interface CompressorHost {
  /** Calls `run` when the port's folder stays where it is, until `release`; or when there is no sense in going on. */
  acquire(port: DiskHistory, run: () => void): void
  release(): void
  /** It is over, well or not. @param error why not; null = the file is compressed, or there is no need any more. */
  compressed(error: DiskError | null, path: string): void
}

/**
 * Compresses one file at a time, member by member, in the thread pool. In memory is one member.
 *
 * The result is written under another name, is on the disk for good (`fsync`: what was safe before must be so after), and
 * only then takes the place of the file. A crash leaves the file as it was, and a draft that the next try throws away.
 */
export class Compressor {
  readonly #store: DiskStore
  readonly #clock: Clock
  readonly #host: CompressorHost
  #port: DiskHistory | null = null
  #file: ClosedFile | null = null
  #in = -1
  #out = -1
  #path = ''
  #plainBytes = 0
  #diskBytes = 0
  #lengths: number[] = []
  #buffer = NOTHING
  #startedAt = 0
  #error: DiskError | null = null

  constructor(store: DiskStore, clock: Clock, host: CompressorHost) {
    this.#store = store
    this.#clock = clock
    this.#host = host
  }

  get busy(): boolean {
    return this.#file !== null
  }

  start(port: DiskHistory, file: ClosedFile): void {
    this.#port = port
    this.#file = file
    this.#plainBytes = 0
    this.#diskBytes = 0
    this.#lengths = []
    this.#error = null
    this.#host.acquire(port, this.#open)
  }

  /** Nobody needs it any more. */
  get #pointless(): boolean {
    const { port, file } = this.#now
    return port.removed || this.#store.closed || !port.segments.closed.includes(file)
  }

  get #now(): { port: DiskHistory; file: ClosedFile } {
    // Set in `start`, and kept until `#end`.
    return { port: this.#port as DiskHistory, file: this.#file as ClosedFile }
  }

  /** In the port's folder, which is held. */
  #pathOf(name: string): string {
    const { port } = this.#now
    return join(this.#store.folderOf(port.dirName), name)
  }

  get #draft(): string {
    return this.#pathOf(draftName(this.#now.file.start))
  }

  readonly #open = (): void => {
    if (this.#pointless) {
      this.#end()
      return
    }
    // Of a crash.
    this.#store.fs.rm(this.#draft, { recursive: true, force: true }, this.#onFree)
  }

  readonly #onFree = (): void => {
    this.#path = this.#pathOf(segmentName(this.#now.file.start))
    this.#store.fs.open(this.#path, OPEN_READ, 0, this.#onIn)
  }

  readonly #onIn = (error: DiskError | null, fd: number): void => {
    if (error !== null) {
      this.#end(error)
      return
    }
    this.#in = fd
    this.#path = this.#draft
    this.#store.fs.open(this.#path, OPEN_NEW, FILE_MODE, this.#onOut)
  }

  readonly #onOut = (error: DiskError | null, fd: number): void => {
    // From here on only descriptors are used: the folder may move.
    this.#host.release()
    if (error !== null) {
      this.#fail(error)
      return
    }
    this.#out = fd
    this.#buffer = Buffer.allocUnsafeSlow(MEMBER_BYTES)
    this.#read(0)
  }

  /** @param have bytes of the member that are there already. */
  #read(have: number): void {
    const position = this.#plainBytes + have
    this.#store.fs.read(this.#in, this.#buffer, have, MEMBER_BYTES - have, position, (error, bytes) => {
      if (error !== null || this.#pointless) this.#fail(error)
      else if (bytes > 0 && have + bytes < MEMBER_BYTES) this.#read(have + bytes)
      else if (have + bytes > 0) this.#compress(have + bytes)
      else this.#write(formatTrailer(this.#lengths, this.#plainBytes), this.#sync)
    })
  }

  #compress(length: number): void {
    this.#startedAt = this.#clock.now()
    this.#plainBytes += length
    this.#store.fs.compress(this.#buffer.subarray(0, length), (error, bytes) => {
      if (error !== null || this.#pointless) {
        this.#fail(error)
        return
      }
      this.#lengths.push(bytes.length)
      this.#write(bytes, this.#pause)
    })
  }

  #write(bytes: Uint8Array, then: () => void): void {
    this.#store.fs.write(this.#out, bytes, 0, bytes.length, this.#diskBytes, (error, written) => {
      if (error !== null || written < bytes.length || this.#pointless) {
        this.#fail(error ?? (this.#pointless ? null : new Error('the disk took only a part')))
        return
      }
      this.#diskBytes += written
      then()
    })
  }

  readonly #pause = (): void => {
    this.#clock.after((this.#clock.now() - this.#startedAt) * PAUSES, this.#next)
  }

  readonly #next = (): void => this.#read(0)

  readonly #sync = (): void => {
    const { file } = this.#now
    const seconds = file.lastWriteAt / 1000
    // Failing to keep the time is no reason not to compress.
    this.#store.fs.futimes(this.#out, seconds, seconds, () => {
      this.#store.fs.fsync(this.#out, (error) => {
        if (error !== null) this.#fail(error)
        else this.#close(() => this.#host.acquire(this.#now.port, this.#put))
      })
    })
  }

  /** Takes the place of the file. */
  readonly #put = (): void => {
    if (this.#pointless) {
      this.#discard()
      return
    }
    this.#path = this.#draft
    this.#store.fs.rename(this.#path, this.#pathOf(archiveName(this.#now.file.start)), this.#onPut)
  }

  readonly #onPut = (error: DiskError | null): void => {
    if (error !== null) {
      this.#error = error
      this.#discard()
      return
    }
    if (this.#pointless) {
      this.#end()
      return
    }
    const { port, file } = this.#now
    const { files, fs } = this.#store
    this.#store.diskBytes += this.#diskBytes - file.diskBytes
    port.segments.packed(file, this.#diskBytes)
    files.dropSegment(port, file.start)
    this.#path = this.#pathOf(segmentName(file.start))
    fs.rm(this.#path, { recursive: true, force: true }, (failed) => this.#end(failed))
  }

  #fail(error: DiskError | null): void {
    this.#error = error
    this.#close(() => this.#host.acquire(this.#now.port, this.#discard))
  }

  /** The draft is of no use. */
  readonly #discard = (): void => {
    // What is left is thrown away by the next try.
    if (this.#now.port.removed || this.#store.closed) this.#end(this.#error)
    else this.#store.fs.rm(this.#draft, { recursive: true, force: true }, () => this.#end(this.#error))
  }

  #close(then: () => void): void {
    const { fs } = this.#store
    const [input, output] = [this.#in, this.#out]
    this.#buffer = NOTHING
    this.#in = -1
    this.#out = -1
    if (output < 0) fs.close(input, then)
    else fs.close(output, () => fs.close(input, then))
  }

  #end(error: DiskError | null = null): void {
    this.#port = null
    this.#file = null
    this.#host.release()
    this.#host.compressed(error, this.#path)
  }
}

const NOTHING = new Uint8Array(0)
