import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { errorMessage, type Logger, type Timer } from '../../base/index.ts'
import type { Port, Server } from '../../vspc/index.ts'
import type { LogFilesDone, LogFilesWork, TailJob } from './log-files-worker.ts'
import { otherName } from './names.ts'
import type { LogFilesConfig } from './settings.ts'

/** How far behind files may be, while the thread has nothing else to do. */
const TICK_MS = 1_000
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
  #idle: (() => void)[] = []
  #troubled = false
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
    this.#timer?.cancel()
    const { clock } = this.#server
    const until = clock.now() + timeoutMs
    await this.#server.histories.flush(timeoutMs)
    const waited = () => this.#ended || clock.now() > until
    do {
      await this.#settled(timeoutMs)
    } while (!waited() && this.#look())
    this.#ended = true
    await this.#worker.terminate()
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
    const { table, histories } = this.#server
    const removed: string[] = []
    for (const [id, { epoch }] of this.#known) {
      if (table.get(id)?.epoch === epoch) continue
      removed.push(id)
      this.#forget(id)
    }
    const jobs: TailJob[] = []
    for (const port of table) {
      if (jobs.length === MAX_JOBS) break
      const { id, history } = port
      const known = this.#known.get(id)
      const name = this.#nameOf(port)
      if (name === null || history.visible === 0 || (known?.end === history.visible && known.name === name)) continue
      const files = histories.filesOf(id)
      if (files === null || (known?.end === files.written && known.name === name)) continue
      if (known !== undefined && known.name !== name) this.#taken.delete(known.name.toLowerCase())
      this.#taken.set(name.toLowerCase(), id)
      this.#known.set(id, { epoch: port.epoch, end: files.written, name })
      const plain = files.files.map(({ start, end }) => ({ start, end }))
      jobs.push({ id, path: join(this.#config.dir, name), folder: files.folder, files: plain, end: files.written })
    }
    if (jobs.length === 0 && removed.length === 0) return false
    this.#busy = jobs
    const work: LogFilesWork = { jobs, removed }
    this.#worker.postMessage(work)
    return true
  }

  /** Its own name, unless another port has that. */
  #nameOf(port: Port): string | null {
    const { id, vcUuid, biosUuid, label } = port
    const name = this.#config.template.nameOf({ id, name: port.name, uuid: vcUuid ?? biosUuid, label })
    if (name === null) return null
    const holder = this.#taken.get(name.toLowerCase())
    return holder === undefined || holder === id ? name : otherName(name, id)
  }

  #forget(id: string): void {
    const known = this.#known.get(id)
    this.#known.delete(id)
    if (known !== undefined && this.#taken.get(known.name.toLowerCase()) === id) {
      this.#taken.delete(known.name.toLowerCase())
    }
  }

  #done({ failed, error }: LogFilesDone): void {
    const full = (this.#busy?.length ?? 0) === MAX_JOBS
    this.#busy = null
    // They are tried again.
    for (const id of failed) {
      const known = this.#known.get(id)
      if (known !== undefined) known.end = -1
    }
    if (error !== null && !this.#troubled) {
      const hint = 'it is tried again; history itself is not touched by it'
      this.#log.error({ dir: this.#config.dir, reason: error }, `log files cannot be written: ${hint}`)
    }
    if (error === null && this.#troubled) this.#log.info({ dir: this.#config.dir }, 'log files are written again')
    this.#troubled = error !== null
    for (const wake of this.#idle.splice(0)) wake()
    this.#schedule(full && error === null ? 0 : TICK_MS)
  }

  #fail(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#timer?.cancel()
    for (const wake of this.#idle.splice(0)) wake()
    this.#log.error({ reason }, 'log files are not kept any more, until the server is restarted')
  }
}
