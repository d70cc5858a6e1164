import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { benchPath } from '../options.ts'
import { cpuMs } from '../os.ts'
import { pinned } from '../pinning.ts'

/** `bare`: Node's own pipe. `ours`: dist/vspc-relay.mjs. */
export type Relay = 'bare' | 'ours' | 'socat'

/** TCP port on 127.0.0.1, or the path of a Unix socket. */
export type Target = number | string

/** To be ended whatever happens to us. */
const started = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of started) child.kill('SIGKILL')
})

/** A relay in a process of its own, from a TCP port to `target`. */
export class RelayProcess {
  readonly tcpPort: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, tcpPort: number) {
    this.#child = child
    this.tcpPort = tcpPort
  }

  static async start(relay: Relay, target: Target, cpu: number | null, profileDir?: string): Promise<RelayProcess> {
    const tcpPort = relay === 'socat' ? await freePort() : 0
    const command = commandOf(relay, target, tcpPort, relay === 'ours' ? profileDir : undefined)
    const [program, ...args] = pinned(cpu, command)
    const child = spawn(program as string, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    started.add(child)
    child.once('exit', () => started.delete(child))
    if (relay === 'socat') {
      await untilAccepts(tcpPort)
      return new RelayProcess(child, tcpPort)
    }
    const line = await firstLine(child)
    const said = JSON.parse(line) as { tcpPort?: number; relaying?: { listen?: string; from?: string }[] }
    return new RelayProcess(child, said.tcpPort ?? Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1]))
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** CPU time so far, of its children (socat has one for each stream) too. */
  cpuMs(): number {
    return [this.pid, ...childrenOf(this.pid)].reduce((sum, pid) => sum + cpuMs(pid), 0)
  }

  async stop(): Promise<void> {
    const children = childrenOf(this.pid)
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // Ended with its stream.
      }
    }
    await ended
    clearTimeout(timer)
  }
}

function commandOf(relay: Relay, target: Target, tcpPort: number, profileDir: string | undefined): string[] {
  const profile = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`]
  switch (relay) {
    case 'bare':
      return [process.execPath, new URL('./bare-relay.js', import.meta.url).pathname, String(target)]
    case 'ours': {
      const uri = typeof target === 'number' ? `tcp://127.0.0.1:${target}` : `unix://${target}`
      const routes = ['--listen', 'tcp://127.0.0.1:0', '--dial', uri, '--json', '--log-level', 'warn']
      return [process.execPath, ...profile, benchPath('../dist/vspc-relay.mjs'), ...routes]
    }
    case 'socat': {
      const to = typeof target === 'number' ? `TCP:127.0.0.1:${target},nodelay` : `UNIX-CONNECT:${target}`
      // 64 KiB at a time, as Node reads; its default is 8 KiB.
      const size = ['-b', '65536']
      return ['socat', ...size, `TCP-LISTEN:${tcpPort},bind=127.0.0.1,reuseaddr,fork,backlog=4096,nodelay`, to]
    }
  }
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
    return text.split(' ').filter(Boolean).map(Number)
  } catch {
    // Built without CONFIG_PROC_CHILDREN: look at everybody's parent.
    const found: number[] = []
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue
      try {
        if (new RegExp(`^PPid:\\s+${pid}$`, 'm').test(readFileSync(`/proc/${name}/status`, 'latin1'))) {
          found.push(Number(name))
        }
      } catch {
        // Ended meanwhile.
      }
    }
    return found
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('no stdout')
  const lines = createInterface({ input: child.stdout })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the relay ended with ${code} at its start`)
  })
  const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string]
  ended.catch(() => {})
  return line
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function untilAccepts(tcpPort: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const socket = connect(tcpPort, '127.0.0.1')
    const up = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'error').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (up) return
    await sleep(20)
  }
  throw new Error('socat does not listen')
}

/** A directory that goes when the process ends. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-bench-relay-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  return dir
}
