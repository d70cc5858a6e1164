import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pinned } from './pinning.ts'

export type Contender = 'bare' | 'ours'

export interface ServerOptions {
  readonly contender: Contender
  /** The `vspc.js` to measure. */
  readonly program: string
  /** More arguments for `vspc serve`. */
  readonly serve: readonly string[]
  /** CPU the server has to run on; null = any. */
  readonly cpu?: number | null
  /** Open files it may have, hard. */
  readonly fileLimit?: number
  /** Where a CPU profile is written when it stops. */
  readonly profileDir?: string | undefined
}

/** TCP ports on 127.0.0.1; ours has one VM listener for everything. */
export interface ServerPorts {
  readonly vm: number
  readonly source: number
  readonly destination: number
  readonly http: number
}

const START_MS = 20_000
const STOP_MS = 15_000

/** Servers that run: to be ended whatever happens to us. */
const running = new Set<ServerProcess>()
process.on('exit', () => {
  for (const server of running) server.kill()
})

/** A server in a process of its own, with a directory of its own that goes with it. */
export class ServerProcess {
  readonly contender: Contender
  readonly ports: ServerPorts
  readonly dir: string
  readonly #child: ChildProcess

  private constructor(contender: Contender, child: ChildProcess, dir: string, ports: ServerPorts) {
    this.contender = contender
    this.#child = child
    this.dir = dir
    this.ports = ports
    running.add(this)
    child.on('exit', () => running.delete(this))
  }

  static async start(options: ServerOptions): Promise<ServerProcess> {
    const { contender, profileDir, fileLimit, cpu = null } = options
    const dir = mkdtempSync(join(tmpdir(), 'vspc-bench-'))
    const node = [process.execPath, ...(profileDir ? ['--cpu-prof', `--cpu-prof-dir=${profileDir}`] : [])]
    const serve = contender === 'bare' ? [bareProgram()] : [options.program, ...serveArguments(dir, options.serve)]
    const limited = fileLimit ? ['sh', '-c', `ulimit -n ${fileLimit} && exec "$0" "$@"`] : []
    const [program, ...args] = pinned(cpu, [...limited, ...node, ...serve])
    const log = openSync(join(dir, 'log'), 'w')
    const child = spawn(program as string, args, { stdio: ['ignore', 'pipe', log], env: environment() })
    closeSync(log)
    try {
      return new ServerProcess(contender, child, dir, await announcedPorts(child))
    } catch (error) {
      child.kill('SIGKILL')
      const said = readFileSync(join(dir, 'log'), 'utf8').slice(-2000)
      rmSync(dir, { recursive: true, force: true })
      throw new Error(`${contender}: ${error instanceof Error ? error.message : error}\n${said}`)
    }
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Ends it and removes its directory. @throws when it had ended by itself before. */
  async stop(): Promise<void> {
    const child = this.#child
    const gone = child.exitCode !== null || child.signalCode !== null
    if (!gone) {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
      await ended
      clearTimeout(timer)
    }
    const said = gone ? readFileSync(join(this.dir, 'log'), 'utf8').slice(-2000) : ''
    rmSync(this.dir, { recursive: true, force: true })
    if (gone) throw new Error(`${this.contender} ended by itself (${child.signalCode ?? child.exitCode})\n${said}`)
  }

  kill(): void {
    this.#child.kill('SIGKILL')
    rmSync(this.dir, { recursive: true, force: true })
  }

  /** Warnings and errors in its log, by message. */
  complaints(): Map<string, number> {
    const found = new Map<string, number>()
    for (const line of readFileSync(join(this.dir, 'log'), 'utf8').split('\n')) {
      const said = /"level":"(?:warn|error|fatal)".*"msg":"([^"]*)"/.exec(line)?.[1]
      if (said !== undefined) found.set(said, (found.get(said) ?? 0) + 1)
    }
    return found
  }

  /** Samples of /metrics, by name with labels; of ours only. */
  async metrics(): Promise<Map<string, number>> {
    const text = await (await fetch(`http://127.0.0.1:${this.ports.http}/metrics`)).text()
    const samples = new Map<string, number>()
    for (const [, name, value] of text.matchAll(/^([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm)) {
      samples.set(name as string, Number(value))
    }
    return samples
  }
}

function bareProgram(): string {
  return new URL('./bare-server.js', import.meta.url).pathname
}

function serveArguments(dir: string, more: readonly string[]): string[] {
  const everywhere = ['--listen', 'tcp://127.0.0.1:0', '--http', '127.0.0.1:0', '--data-dir', join(dir, 'data')]
  return ['serve', '--json', ...everywhere, ...more]
}

/** Nothing that the shell of whoever runs this says to vspc. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VSPC_')))
}

/** The first line on stdout: ports as JSON, or what `vspc serve --json` says. */
async function announcedPorts(child: ChildProcess): Promise<ServerPorts> {
  if (child.stdout === null) throw new Error('no stdout')
  const lines = createInterface({ input: child.stdout })
  const line = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready after ${START_MS / 1000} s`)), START_MS)
    const settle = (run: () => void) => () => {
      clearTimeout(timer)
      run()
    }
    child.once('error', (error) => settle(() => reject(error))())
    child.once('exit', (code) => settle(() => reject(new Error(`ended with ${code} at its start`)))())
    lines.once('line', (text) => settle(() => resolve(text))())
  })
  const said = JSON.parse(line) as ServerPorts | { listening: string[]; http: string }
  if (!('listening' in said)) return said
  const vm = portOf(said.listening[0] as string)
  return { vm, source: vm, destination: vm, http: portOf(said.http) }
}

function portOf(uri: string): number {
  return Number(/:(\d+)(?:\/|\?|$)/.exec(uri.replace(/^[a-z]+:\/\//, ''))?.[1])
}
