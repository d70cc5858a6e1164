/** `vspc serve` as a process of its own: what an operator sees of it, and what the system says it costs. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished } from 'vitest'
import type { Limits } from '../../src/base/index.ts'
import { VSPC_BIN } from '../support/cli.ts'

/** Only tells a failed test from a slow one. */
const GIVE_UP_MS = 15_000
/** Between two looks at what tells nobody: a process's memory, its log as it is written. */
const LOOK_MS = 5

/** Resolves with the first result of `attempt` that is not undefined. */
export async function eventually<T>(what: string, attempt: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + GIVE_UP_MS
  for (;;) {
    const result = await attempt()
    if (result !== undefined) return result
    if (performance.now() > deadline) throw new Error(`not within ${GIVE_UP_MS} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

/** As {@link eventually}, for a condition. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await eventually(what, async () => ((await condition()) ? true : undefined))
}

export interface LogLine {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

export interface ServeOptions {
  readonly limits?: Partial<Limits>
  /** Open files it may have at most. */
  readonly openFiles?: number
  /** JavaScript module run in it first. */
  readonly preload?: string
  /** Default: one VMware listener. */
  readonly listen?: readonly string[]
  readonly logLevel?: string
}

/** A running `vspc serve`, with a directory of its own; killed at the latest when the test ends. */
export class Serve {
  readonly log: LogLine[] = []
  readonly #child: ChildProcess
  readonly #exited: Promise<number | null>
  /** One for each listener. */
  vmPorts: readonly number[] = []
  url = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#exited = new Promise((resolve) => child.once('exit', resolve))
    const { stderr } = child
    if (stderr === null) throw new Error('no stderr')
    // Whatever is no JSON is shown by the test that fails to parse it.
    createInterface({ input: stderr }).on('line', (line) => this.log.push(parsed(line)))
  }

  static async start({
    limits = {},
    openFiles,
    preload,
    listen,
    logLevel = 'info',
  }: ServeOptions = {}): Promise<Serve> {
    const dir = mkdtempSync(join(tmpdir(), 'vspc-faults-'))
    const config = join(dir, 'vspc.json')
    // JSON is YAML.
    const settings = { limits: { drainMs: 200, ...limits }, logLevel, dataDir: join(dir, 'data'), http: '127.0.0.1:0' }
    writeFileSync(config, JSON.stringify(settings))
    const listeners = (listen ?? ['tcp://127.0.0.1:0']).flatMap((uri) => ['--listen', uri])
    const node = [process.execPath, ...(preload === undefined ? [] : ['--import', moduleUrl(preload)])]
    const serve = [...node, VSPC_BIN, 'serve', '--json', '--config', config, ...listeners]
    const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${openFiles} && exec "$0" "$@"`]
    const [program = '', ...args] = [...limited, ...serve]
    const child = spawn(program, args, { env: { PATH: process.env['PATH'] ?? '' }, stdio: ['pipe', 'pipe', 'pipe'] })
    onTestFinished(() => {
      child.kill('SIGKILL')
      rmSync(dir, { recursive: true, force: true })
    })
    const started = new Serve(child)
    await started.#ready()
    return started
  }

  async #ready(): Promise<void> {
    const { stdout } = this.#child
    if (stdout === null) throw new Error('no stdout')
    let said = ''
    stdout.on('data', (chunk) => {
      said += chunk
    })
    await until('vspc serve is ready', () => {
      if (this.#child.exitCode !== null) throw new Error(`vspc serve ended: ${JSON.stringify(this.log)}`)
      return said.includes('\n')
    })
    const { listening, http } = JSON.parse(said) as { listening: string[]; http: string }
    this.vmPorts = listening.map((uri) => Number(/:(\d+)(?:\?|$)/.exec(uri)?.[1]))
    this.url = http
  }

  get vmPort(): number {
    return this.vmPorts[0] ?? 0
  }

  get target(): { host: string; port: number } {
    return { host: '127.0.0.1', port: this.vmPort }
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Stops reading the server's log, and goes on. */
  readLog(on: boolean): void {
    if (on) this.#child.stderr?.resume()
    else this.#child.stderr?.pause()
  }

  /** To the module given as `preload`, which reads lines from stdin. */
  tell(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  // What an operator sees

  lines(pattern: RegExp): LogLine[] {
    return this.log.filter((line) => pattern.test(line.msg))
  }

  logged(pattern: RegExp): Promise<LogLine> {
    return eventually(`log line ${pattern} among ${this.#messages()}`, () => this.lines(pattern)[0])
  }

  #messages(): string {
    return [...new Set(this.log.map(({ level, msg }) => `${level} ${msg}`))].join(' | ')
  }

  /** Messages of warnings and errors, each once. Disks of test machines are slow at times, which is not our subject. */
  get complaints(): string[] {
    const found = this.log.filter(({ level, msg }) => /warn|error/.test(level) && !msg.startsWith('history: '))
    return [...new Set(found.map(({ msg }) => msg))].sort()
  }

  async metrics(): Promise<Map<string, number>> {
    const text = await (await fetch(`${this.url}/metrics`, { headers: { connection: 'close' } })).text()
    const samples = new Map<string, number>()
    for (const [, name = '', value] of text.matchAll(/^([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm)) {
      samples.set(name, Number(value))
    }
    return samples
  }

  /** @throws when there is none of that name. */
  async metric(name: string): Promise<number> {
    const value = (await this.metrics()).get(name)
    if (value === undefined) throw new Error(`no metric ${name}`)
    return value
  }

  /** Waits for a metric to have a value. */
  async reaches(name: string, value: number): Promise<void> {
    let last = Number.NaN
    const attempt = async () => {
      last = await this.metric(name)
      return last === value
    }
    await until(`${name} is ${value}`, attempt).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${last}`)
    })
  }

  // What the system sees

  get rssBytes(): number {
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? []
    return Number(kib) * 1024
  }

  /** CPU spent so far, all threads. */
  get cpuMs(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
    const [user, system] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
    return (Number(user) + Number(system)) * 10
  }

  get openFiles(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** Waits until no more files are open than `before`, but for a few of history. */
  async givesBack(before: number): Promise<void> {
    await until(`descriptors are free again, as when there were ${before}`, () => this.openFiles <= before + 8)
  }

  /** Drains and ends; nothing may have gone wrong inside. */
  async stop(): Promise<void> {
    expect(await this.metric('vspc_internal_errors_total')).toBe(0)
    this.#child.kill('SIGTERM')
    expect(await this.#exited).toBe(0)
  }
}

function parsed(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return { level: 'error', msg: line }
  }
}

const moduleUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`

export const MIB = 1 << 20

/**
 * What a process's memory may grow by without being a leak: freed memory stays with the allocator, garbage waits for its
 * collector. Far below what would be kept if what these tests send were kept.
 */
export const SLACK_BYTES = 32 * MIB
