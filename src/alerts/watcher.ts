/**
 * Output of all ports on its way to the thread that looks for alerts in it, off the data path: a chunk costs a copy, into
 * one of few batches. When the thread is behind there is none left, and output is skipped and counted until there is.
 */
import { Worker } from 'node:worker_threads'
import { type Clock, errorMessage, type Logger, type Timer } from '../base/index.ts'
import { BatchWriter } from './batch.ts'
import type { Hit } from './line-watch.ts'
import type { AlertRule } from './rule.ts'
import type { WatchReport, WatchStart } from './watch-messages.ts'

const BATCH_BYTES = 262_144
/** So long output is gathered before it is looked at. */
const GATHER_MS = 50
/** The thread is taken for stuck when no batch has come back for so long, while it has all of them. */
const STUCK_MS = 30_000
/** Before another thread is started in the place of one that failed. */
const RESTART_MS = 5_000
const REPEAT_LOG_MS = 60_000
/** With few batches left, a port gets at most this much of them: one that floods does not hide the others. */
const SHARE_BYTES = 65_536
const WORKER_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 }

/** Tests run the sources, and Node 20 threads know JavaScript alone: they use what was built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/alerts/worker.js' : './worker.js',
  import.meta.url,
)

export interface WatcherOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Output that waits for the thread, at most. */
  readonly maxBytes: number
  readonly tell: (hit: Hit) => void
  /** Tests have threads of their own. */
  readonly workerFile?: URL
}

/** Only grow. */
export interface WatcherCounters {
  /** Given to the thread. */
  lookedAtBytes: number
  /** Not looked at: the thread was behind, or there was none. */
  skippedBytes: number
  /** Hits not told: one rule, one port, too soon. */
  suppressed: number
  /** Threads that failed or got stuck. */
  failures: number
}

export class OutputWatcher {
  readonly counters: WatcherCounters = { lookedAtBytes: 0, skippedBytes: 0, suppressed: 0, failures: 0 }
  readonly #options: WatcherOptions
  #rules: readonly AlertRule[] = []
  #worker: Worker | null = null
  #batch: BatchWriter | null = null
  /** Empty. */
  #free: ArrayBuffer[] = []
  /** Batches not yet made: an idle server has none. */
  #unmade = 0
  #gathering: Timer | null = null
  #restarting: Timer | null = null
  /** What ports have got of the last batches. */
  readonly #shares = new Map<number, number>()
  #cameBackAt = 0
  #skipLoggedAt = Number.NEGATIVE_INFINITY
  #skipLogged = 0
  /** Of the thread that runs: it counts from its start. */
  #reported = { suppressed: 0, forgotten: 0 }
  #closed = false

  constructor(options: WatcherOptions) {
    this.#options = options
  }

  /** A thread looks, or will again. */
  get active(): boolean {
    return this.#rules.length > 0 && !this.#closed
  }

  /** From now on these count; none: nothing is looked at, and there is no thread. What was under way is not looked at. */
  watch(rules: readonly AlertRule[]): void {
    void this.#end()
    this.#rules = rules
    if (this.active) this.#start()
  }

  /** Copies what a port has sent. @param serial of the port, not 0. @param offset of the first byte. */
  output(serial: number, offset: number, bytes: Uint8Array): void {
    let done = 0
    while (done < bytes.length) {
      const batch = this.#batch ?? this.#open()
      if (batch === null || (done === 0 && !this.#hasShare(serial, bytes.length))) {
        this.#skip(bytes.length - done)
        return
      }
      const taken = batch.add(serial, offset + done, bytes, done)
      if (taken === 0) this.#send()
      this.counters.lookedAtBytes += taken
      done += taken
    }
    this.#gathering ??= this.#options.clock.after(GATHER_MS, () => {
      this.#gathering = null
      this.#send()
    })
  }

  /** Ends the thread. What it has not looked at yet it will not. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#end()
  }

  #open(): BatchWriter | null {
    if (this.#worker === null) return null
    let buffer = this.#free.pop()
    if (buffer === undefined && this.#unmade > 0) {
      this.#unmade--
      buffer = new ArrayBuffer(BATCH_BYTES)
    }
    if (buffer === undefined) return null
    this.#batch = new BatchWriter(buffer)
    return this.#batch
  }

  #hasShare(serial: number, length: number): boolean {
    const left = this.#free.length + this.#unmade
    if (left * 2 * BATCH_BYTES > this.#options.maxBytes) {
      if (this.#shares.size > 0) this.#shares.clear()
      return true
    }
    const share = (this.#shares.get(serial) ?? 0) + length
    this.#shares.set(serial, share)
    return share <= SHARE_BYTES
  }

  #send(): void {
    const batch = this.#batch
    const worker = this.#worker
    if (batch === null || worker === null || batch.used === 0) return
    this.#batch = null
    worker.postMessage({ buffer: batch.buffer, used: batch.used }, [batch.buffer])
  }

  #skip(length: number): void {
    const { clock, log } = this.#options
    this.counters.skippedBytes += length
    const now = clock.now()
    if (this.#worker !== null && this.#batch === null && this.#free.length + this.#unmade === 0) {
      if (now - this.#cameBackAt > STUCK_MS) this.#fail(this.#worker, `it has been busy for ${STUCK_MS / 1000} s`)
    }
    if (now - this.#skipLoggedAt < REPEAT_LOG_MS) return
    this.#skipLoggedAt = now
    const skippedBytes = this.counters.skippedBytes - this.#skipLogged
    this.#skipLogged = this.counters.skippedBytes
    log.warn({ skippedBytes }, 'alert rules do not keep up: output was not looked at')
  }

  #start(): void {
    const start: WatchStart = { rules: this.#rules }
    const worker = new Worker(this.#options.workerFile ?? WORKER_FILE, {
      workerData: start,
      resourceLimits: WORKER_LIMITS,
      stdout: true,
      stderr: true,
      env: {},
    })
    worker.unref()
    this.#worker = worker
    this.#unmade = Math.max(2, Math.floor(this.#options.maxBytes / BATCH_BYTES))
    this.#cameBackAt = this.#options.clock.now()
    worker.on('message', (report: WatchReport) => {
      if (worker === this.#worker) this.#take(report)
    })
    worker.on('error', (error) => this.#fail(worker, errorMessage(error)))
    worker.on('exit', () => this.#fail(worker, 'its thread ended'))
  }

  #take({ buffer, hits, suppressed, forgotten }: WatchReport): void {
    this.#cameBackAt = this.#options.clock.now()
    if (buffer !== null) this.#free.push(buffer)
    this.counters.suppressed += suppressed - this.#reported.suppressed
    this.counters.skippedBytes += forgotten - this.#reported.forgotten
    this.#reported = { suppressed, forgotten }
    for (const hit of hits) this.#options.tell(hit)
  }

  #fail(worker: Worker, reason: string): void {
    if (worker !== this.#worker) return
    this.counters.failures++
    this.#options.log.error({ reason }, 'the thread that looks for alerts has failed; another one is started')
    void this.#end()
    this.#restarting = this.#options.clock.after(RESTART_MS, () => this.#start())
  }

  #end(): Promise<unknown> {
    const worker = this.#worker
    this.#worker = null
    this.#batch = null
    this.#free = []
    this.#unmade = 0
    this.#shares.clear()
    this.#reported = { suppressed: 0, forgotten: 0 }
    this.#gathering?.cancel()
    this.#gathering = null
    this.#restarting?.cancel()
    this.#restarting = null
    return worker?.terminate() ?? Promise.resolve()
  }
}
