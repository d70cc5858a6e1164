/** vcsim in a process of its own, on one CPU; and a way to it that counts bytes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { findProgram, peersDir } from '../../src/sim/index.ts'
import { pinned } from '../pinning.ts'

export const USER = 'vspc'
export const PASSWORD = 'bench'

export class BenchVcsim {
  readonly tcpPort: number
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, tcpPort: number) {
    this.#child = child
    this.tcpPort = tcpPort
  }

  /** @param vms in all; two at least. */
  static async start(vms: number, cpu: number): Promise<BenchVcsim> {
    const path = findProgram('vcsim', { PATH: peersDir() })
    if (path === null) throw new Error('vcsim is not there; scripts/install-test-peers.sh brings it')
    const flags = ['-l', '127.0.0.1:0', '-vm', String(vms / 2), '-host', '3', '-username', USER, '-password', PASSWORD]
    const [program, ...rest] = pinned(cpu, [path, ...flags])
    const child = spawn(program as string, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
    const tcpPort = await new Promise<number>((resolve, reject) => {
      let said = ''
      const listen = (chunk: Buffer): void => {
        said = (said + chunk.toString()).slice(-4_000)
        const port = /GOVC_URL=https:\/\/\S*@127\.0\.0\.1:(\d+)\/sdk/.exec(said)?.[1]
        if (port !== undefined) resolve(Number(port))
      }
      child.stdout?.on('data', listen)
      child.stderr?.on('data', listen)
      child.on('error', reject)
      child.on('exit', () => reject(new Error(`vcsim ended: ${said}`)))
    })
    return new BenchVcsim(child, tcpPort)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }
}

export class CountingWay {
  /** From the server, TLS included. */
  bytes = 0
  readonly #server: Server

  private constructor(server: Server, target: number) {
    this.#server = server
    server.on('connection', (near) => {
      const far = connect(target, '127.0.0.1')
      near.setNoDelay(true)
      far.setNoDelay(true)
      far.on('data', (chunk) => {
        this.bytes += chunk.length
      })
      near.on('error', () => far.destroy()).on('close', () => far.destroy())
      far.on('error', () => near.destroy()).on('close', () => near.destroy())
      near.pipe(far)
      far.pipe(near)
    })
  }

  static async open(target: number): Promise<CountingWay> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new CountingWay(server, target)
  }

  get tcpPort(): number {
    return (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#server.close()
  }
}
