/**
 * What a VM's output looks like on a terminal, worked out here so that nobody has to play old output into a live one:
 * that would answer every query in it ("what are you?", "where is the cursor?") into the guest, hours late.
 */
import { Worker } from 'node:worker_threads'
import { type Clock, errorMessage, type Logger, type Timer, VspcError } from '../base/index.ts'

/** `bytes` belongs to the worker from then on. */
export interface ScreenJob {
  readonly id: number
  readonly bytes: Uint8Array
  readonly cols: number
  readonly rows: number
  /** Lines above the screen, at most. */
  readonly scrollback: number
  /** Index of a byte whose line is wanted. */
  readonly mark?: number
}

export interface Drawing {
  /** Text and control sequences that make an empty terminal of that size show the same; no queries. */
  readonly screen: string
  /** Index of a byte: whatever was printed from there on is still there, nothing has scrolled out or was cleared away. */
  readonly top: number
  /** Where the marked byte was printed, in lines from the first; null where that line is gone. */
  readonly markLine: number | null
}

export interface DrawnScreen extends Drawing {
  readonly id: number
}

/** Two MiB of the slowest output to draw took 1.6 s here. */
const JOB_MS = 5_000
/** One at a time is drawn; more than this wait for nothing that a person would wait for. */
const MAX_WAITING = 16
/** A thread that nobody needs holds some 20 MiB. */
const IDLE_MS = 30_000
/** Scrollback lies outside of this heap and is bounded by the size of the screen. */
const WORKER_LIMITS = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 }

/** Tests run the sources, and Node 20 threads know JavaScript alone: they use what was built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/app/screen-worker.js' : './screen-worker.js',
  import.meta.url,
)

interface Waiting {
  readonly job: ScreenJob
  resolve(drawing: Drawing): void
  reject(error: VspcError): void
}

export interface RendererOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Tests have less patience. */
  readonly jobMs?: number
}

/** Draws screens in a thread of its own, one at a time; the thread is ended when it takes too long or has nothing to do. */
export class ScreenRenderer {
  readonly #options: RendererOptions
  readonly #waiting: Waiting[] = []
  #running: Waiting | null = null
  #worker: Worker | null = null
  #timer: Timer | null = null
  #lastId = 0
  #closed = false

  constructor(options: RendererOptions) {
    this.#options = options
  }

  /**
   * @param bytes is given away. @param signal gives up a drawing that nobody waits for.
   * @throws VspcError VSPC_SCREEN_UNAVAILABLE.
   */
  draw(bytes: Uint8Array, size: Omit<ScreenJob, 'id' | 'bytes'>, signal: AbortSignal): Promise<Drawing> {
    if (this.#closed) throw unavailable('the server is stopping')
    if (signal.aborted) throw unavailable('nobody waits for it')
    if (this.#waiting.length >= MAX_WAITING) throw unavailable(`${MAX_WAITING} others wait for theirs`)
    return new Promise((resolve, reject) => {
      const entry: Waiting = { job: { id: ++this.#lastId, bytes, ...size }, resolve, reject }
      this.#waiting.push(entry)
      signal.addEventListener('abort', () => this.#giveUp(entry), { once: true })
      this.#next()
    })
  }

  /** Ends the thread; what waits fails. */
  async close(): Promise<void> {
    this.#closed = true
    for (const { reject } of this.#waiting.splice(0)) reject(unavailable('the server is stopping'))
    await this.#end('the server is stopping')
  }

  #giveUp(entry: Waiting): void {
    const at = this.#waiting.indexOf(entry)
    if (at < 0) return
    this.#waiting.splice(at, 1)
    entry.reject(unavailable('nobody waits for it'))
  }

  #next(): void {
    if (this.#running !== null) return
    const entry = this.#waiting.shift()
    this.#timer?.cancel()
    this.#timer = null
    if (entry === undefined) {
      if (this.#worker !== null) this.#timer = this.#options.clock.after(IDLE_MS, () => void this.#end('idle'))
      return
    }
    this.#running = entry
    this.#worker ??= this.#start()
    this.#timer = this.#options.clock.after(this.#options.jobMs ?? JOB_MS, () => {
      this.#options.log.warn({ bytes: entry.job.bytes.length }, 'a screen took too long to draw; given up')
      void this.#end('it took too long: the VM may have printed something made for that')
    })
    this.#worker.postMessage(entry.job)
  }

  #start(): Worker {
    const worker = new Worker(WORKER_FILE, { resourceLimits: WORKER_LIMITS, stdout: true, stderr: true, env: {} })
    worker.unref()
    worker.on('message', ({ id, ...drawing }: DrawnScreen) => {
      const entry = this.#running
      if (entry === null || entry.job.id !== id || worker !== this.#worker) return
      this.#running = null
      entry.resolve(drawing)
      this.#next()
    })
    // Out of its own memory, or a bug: the job that did it fails, others get a new thread.
    worker.on('error', (error) => {
      if (worker === this.#worker) void this.#end(errorMessage(error))
    })
    worker.on('exit', () => {
      if (worker === this.#worker) void this.#end('its thread ended')
    })
    return worker
  }

  async #end(reason: string): Promise<void> {
    const worker = this.#worker
    this.#worker = null
    this.#timer?.cancel()
    this.#timer = null
    const entry = this.#running
    this.#running = null
    entry?.reject(unavailable(reason))
    if (!this.#closed) this.#next()
    await worker?.terminate()
  }
}

function unavailable(reason: string): VspcError {
  return new VspcError('VSPC_SCREEN_UNAVAILABLE', `the screen was not drawn: ${reason}`)
}
