/**
 * Writes log lines to a descriptor, in batches. By hand, because pino's own destination tries a write that fails again
 * without end when the process exits: a server whose log nobody reads any more (`vspc serve 2>&1 | tee`, and tee was
 * interrupted too) never ended.
 */
import { write as writeFile, writeSync } from 'node:fs'

export interface LogWriterOptions {
  readonly fd: number
  /** What waits for a reader that is slow, at most; further lines are dropped, and told of once there is room. */
  readonly maxBytes: number
  /** What waits for others to be written with it, at most; written at once beyond that, and after `batchMs`. */
  readonly batchBytes: number
  readonly batchMs: number
  /** The line that tells how many are missing. */
  readonly missing: (dropped: number) => string
}

/** Between attempts while a pipe is full. Milliseconds. */
const RETRY_MS = 20
/** How long a reader that is slow may hold up the exit; where the descriptor blocks, that is for the reader to say. */
const EXIT_MS = 500

export class LogWriter {
  readonly #options: LogWriterOptions
  #waiting: string[] = []
  #waitingBytes = 0
  /** What is being written; the rest of it, when it was written in part. */
  #writing: Uint8Array | null = null
  /** It was not written: the pipe is full. */
  #stalled = false
  #scheduled = false
  /** Lines dropped since the start. */
  droppedInAll = 0
  #dropped = 0
  /** Nobody reads any more. */
  #gone = false

  constructor(options: LogWriterOptions) {
    this.#options = options
    process.once('exit', () => this.#atExit())
  }

  write(line: string): void {
    if (this.#gone) return
    const { maxBytes, batchBytes, batchMs } = this.#options
    if (this.#waitingBytes + line.length > maxBytes) {
      this.#dropped++
      this.droppedInAll++
      return
    }
    this.#waiting.push(line)
    this.#waitingBytes += line.length
    if (this.#writing !== null) return
    if (this.#waitingBytes >= batchBytes) {
      this.#next()
    } else if (!this.#scheduled) {
      this.#scheduled = true
      setTimeout(this.#due, batchMs).unref()
    }
  }

  readonly #due = (): void => {
    this.#scheduled = false
    if (this.#writing === null) this.#next()
  }

  #next(): void {
    if (this.#waitingBytes === 0) return
    this.#writing = this.#take()
    this.#attempt()
  }

  #take(): Uint8Array {
    if (this.#dropped > 0) this.#waiting.push(this.#options.missing(this.#dropped))
    const bytes = Buffer.from(this.#waiting.join(''))
    this.#waiting = []
    this.#waitingBytes = 0
    this.#dropped = 0
    return bytes
  }

  readonly #attempt = (): void => {
    this.#stalled = false
    if (this.#writing !== null) writeFile(this.#options.fd, this.#writing, this.#written)
  }

  readonly #written = (error: NodeJS.ErrnoException | null, length: number): void => {
    const { code } = error ?? {}
    if (code === 'EAGAIN' || code === 'EBUSY' || code === 'EINTR') {
      this.#stalled = true
      setTimeout(this.#attempt, RETRY_MS).unref()
    } else if (error !== null) {
      this.#giveUp()
    } else if (this.#writing !== null) {
      const rest = this.#writing.subarray(length)
      this.#writing = rest.length > 0 ? rest : null
      if (this.#writing === null) this.#next()
      else this.#attempt()
    }
  }

  #giveUp(): void {
    this.#gone = true
    this.#writing = null
    this.#waiting = []
    this.#waitingBytes = 0
  }

  /** What still waits, without the event loop. A write under way is not known to have happened: it is not repeated. */
  #atExit(): void {
    if (this.#gone) return
    const held = this.#stalled && this.#writing !== null ? [this.#writing] : []
    let bytes: Uint8Array = Buffer.concat([...held, this.#take()])
    const until = performance.now() + EXIT_MS
    while (bytes.length > 0) {
      try {
        bytes = bytes.subarray(writeSync(this.#options.fd, bytes))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || performance.now() > until) return
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS)
      }
    }
  }
}
