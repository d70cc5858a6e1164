import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { endedWithin, errorMessage, type Logger, type Timer } from '../../base/index.ts'
import type { Port, Server } from '../../vspc/index.ts'
import type { LogFilesDone, LogFilesWork, TailJob } from './log-files-worker.ts'
import { type NamedPort, otherName } from './names.ts'
import type { LogFilesConfig } from './settings.ts'

/** How far behind files may be, while the thread has nothing else to do. */
const TICK_MS = 1_000
/** For the thread to end; one that waits for the disk does not before that has answered. */
const END_MS = 500
/** Ports in one message. */
const MAX_JOBS = 256
/** Tests run the sources, and Node 20 threads know JavaScript alone: they use what was built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? '../../../dist/app/log-files/log-files-worker.js' : './log-files-worker.js',
  import.meta.url,
)
const WORKER_LIMITS = { maxOldGenerationSizeMb: 96, maxYoungGenerationSizeMb: 8, stackSizeMb: 2 }

interface Known {
  readonly epoch: string
  /** What its file has. */
  end: number
  /** Relative. */
  readonly name: string
  /** What the template says, and of whom it says it: a fleet's names are not made anew each second. */
  readonly own: string
  readonly of: NamedPort
}

/** Keeps a plain file for each port, a moment behind its history: a thread does the work, and nothing waits for it. */
export class LogFiles {
  readonly #config: LogFilesConfig
  readonly #server: Server
  readonly #log: Logger
  readonly #worker: Worker
  readonly #known = new Map<string, Known>()
  /** Whose a name is; without case, for file systems that know none. */
  readonly #taken = new Map<string, string>()
  #timer: Timer | null = null
  #busy: TailJob[] | null = null
  /** Ports that were not looked at yet this time; null = a new round begins. Nobody has two turns before all had one. */
  #round: Iterator<Port> | null = null
  #idle: (() => void)[] = []
  #troubled = false
  #closing = false
  #ended = false

  constructor(config: LogFilesConfig, server: Server, log: Logger) {
    this.#config = config
    this.#server = server
    this.#log = log
    const workerData = { dir: config.dir, keep: server.limits.logFileBytes }
    this.#worker = new Worker(WORKER_FILE, { workerData, resourceLimits: WORKER_LIMITS, env: {} })
    this.#worker.unref()
    this.#worker.on('message', (done: LogFilesDone) => this.#done(done))
    this.#worker.on('error', (error) => this.#fail(errorMessage(error)))
    this.#worker.on('exit', () => this.#fail('its thread ended'))
    this.#schedule(0)
  }

  /** Brings all files up to date, if that does not take longer than `timeoutMs`, and ends. */
  async close(timeoutMs: number): Promise<void> {
    this.#closing = true
    this.#timer?.cancel()
    const { clock } = this.#server
    const until = clock.now() + timeoutMs
    await this.#server.histories.flush(timeoutMs)
    const waited = () => this.#ended || clock.now() > until
    await this.#settled(timeoutMs)
    this.#round = null
    do {
      await this.#settled(timeoutMs)
    } while (!waited() && this.#look())
    this.#ended = true
    await endedWithin(clock, END_MS, this.#worker.terminate())
  }

  #settled(timeoutMs: number): Promise<void> {
    if (this.#busy === null || this.#ended) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#server.clock.after(timeoutMs, resolve)
      this.#idle.push(() => {
        timer.cancel()
        resolve()
      })
    })
  }

  #schedule(ms: number): void {
    if (this.#ended) return
    this.#timer = this.#server.clock.after(ms, () => {
      if (!this.#look()) this.#schedule(TICK_MS)
    })
  }

  /** @returns whether there is something to do. */
  #look(): boolean {
    if (this.#ended || this.#busy !== null) return false
    const { table } = this.#server
    const removed: string[] = []
    for (const [id, { epoch }] of this.#known) {
      if (table.get(id)?.epoch === epoch) continue
      removed.push(id)
      this.#forget(id)
    }
    const jobs: TailJob[] = []
    const round = this.#round ?? table[Symbol.iterator]()
    this.#round = round
    while (jobs.length < MAX_JOBS) {
      const next = round.next()
      if (next.done) {
        this.#round = null
        break
      }
      const job = this.#jobOf(next.value)
      if (job !== null) jobs.push(job)
    }
    if (jobs.length === 0 && removed.length === 0) return false
    this.#busy = jobs
    const work: LogFilesWork = { jobs, removed }
    this.#worker.postMessage(work)
    return true
  }

  /** Null: its file is as it should be, or there is none. */
  #jobOf(port: Port): TailJob | null {
    const { id, history } = port
    if (history.visible === 0) return null
    const known = this.#known.get(id)
    const of = known !== undefined && isCalled(known.of, port) ? known.of : namedPort(port)
    const own = of === known?.of ? known.own : this.#config.template.nameOf(of)
    if (own === null) return null
    const name = this.#nameOf(own, id, known)
    if (known?.end === history.visible && known.name === name) return null
    const files = this.#server.histories.filesOf(id)
    if (files === null || (known?.end === files.written && known.name === name)) return null
    if (known !== undefined && known.name !== name) this.#taken.delete(known.name.toLowerCase())
    this.#taken.set(name.toLowerCase(), id)
    this.#known.set(id, { epoch: port.epoch, end: files.written, name, own, of })
    const plain = files.files.map(({ start, end }) => ({ start, end }))
    return { id, path: join(this.#config.dir, name), folder: files.folder, files: plain, end: files.written }
  }

  /** Its own name, unless another port has that. */
  #nameOf(own: string, id: string, known: Known | undefined): string {
    const holder = this.#taken.get(own.toLowerCase())
    if (holder === undefined || holder === id) return own
    return known?.own === own && known.name !== own ? known.name : otherName(own, id)
  }

  #forget(id: string): void {
    const known = this.#known.get(id)
    this.#known.delete(id)
    if (known !== undefined && this.#taken.get(known.name.toLowerCase()) === id) {
      this.#taken.delete(known.name.toLowerCase())
    }
  }

  #done({ failed, error }: LogFilesDone): void {
    this.#busy = null
    // They are tried again, but not without end while the server waits for its own.
    for (const id of failed) {
      const known = this.#known.get(id)
      if (known !== undefined && !this.#closing) known.end = -1
    }
    if (error !== null && !this.#troubled) {
      const hint = 'it is tried again; history itself is not touched by it'
      this.#log.error({ dir: this.#config.dir, reason: error }, `log files cannot be written: ${hint}`)
    }
    if (error === null && this.#troubled) this.#log.info({ dir: this.#config.dir }, 'log files are written again')
    this.#troubled = error !== null
    for (const wake of this.#idle.splice(0)) wake()
    this.#schedule(this.#round !== null && error === null ? 0 : TICK_MS)
  }

  #fail(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#timer?.cancel()
    for (const wake of this.#idle.splice(0)) wake()
    this.#log.error({ reason }, 'log files are not kept any more, until the server is restarted')
  }
}

function namedPort({ id, name, vcUuid, biosUuid, label }: Port): NamedPort {
  return { id, name, uuid: vcUuid ?? biosUuid, label }
}

function isCalled(named: NamedPort, { name, vcUuid, biosUuid, label }: Port): boolean {
  return named.name === name && named.uuid === (vcUuid ?? biosUuid) && named.label === label
}
