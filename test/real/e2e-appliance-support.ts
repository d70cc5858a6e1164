/** An appliance that moves among hosts: its hosts with their relays, what leads from each into it, vCenter and VMs. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { onTestFinished } from 'vitest'
import type { CertificateFiles } from '../support/certificates.ts'
import { VSPC_BIN } from '../support/cli.ts'
import type { GuestReport, HostNews, PortOrder } from './e2e-appliance-esxi.ts'
import type { NetworkHost } from './network-hosts.ts'
import { Output } from './support.ts'

/** Of all relays: VMs' hosts, other relays, and who changes next hops. */
export const TCP_PORTS = { vms: 13_370, peers: 13_380, control: 13_372 } as const

/** A program on a host, killed when the test ends. */
export class HostProgram {
  readonly child: ChildProcess
  readonly stdout: Output
  readonly stderr: Output

  constructor(host: NetworkHost, name: string, command: readonly string[]) {
    const [program, ...args] = host.run(command)
    const child = spawn(program as string, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.child = child
    this.stdout = new Output(`${name}, stdout`)
    this.stderr = new Output(`${name}, stderr`)
    child.stdin.on('error', () => {})
    child.stderr.on('data', (chunk: Buffer) => this.stderr.push(chunk))
    child.on('close', () => this.stdout.end())
    onTestFinished(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    })
  }
}

/** The relay of a host: takes VMs' connections, and passes on what other relays bring for the appliance. */
export async function startRelay(
  host: NetworkHost,
  settings: {
    readonly dir: string
    readonly own: CertificateFiles
    readonly leg: string
    readonly hop: string
    readonly peers: 'tcp' | 'tls'
  },
): Promise<HostProgram> {
  const { dir, own, leg, hop, peers } = settings
  const mutual = `?cert=${own.cert}&key=${own.key}&pin=sha256:${own.sha256}`
  const config = {
    routes: [
      { name: 'vms', listen: `tcp://${host.address}:${TCP_PORTS.vms}`, dial: 'next-hop:appliance' },
      {
        name: 'appliance',
        listen: `${peers}://${host.address}:${TCP_PORTS.peers}${peers === 'tls' ? mutual : ''}`,
        dial: `unix://${leg}`,
      },
    ],
    nextHops: { appliance: hop },
    control: `tls://${host.address}:${TCP_PORTS.control}${mutual}`,
    logLevel: 'info',
  }
  const file = `${dir}/${host.name}.yaml`
  writeFileSync(file, JSON.stringify(config))
  const program = new HostProgram(host, `relay of ${host.name}`, [
    ...[process.execPath, VSPC_BIN, 'relay', '--json', '--config', file],
  ])
  program.child.stdout?.on('data', (chunk: Buffer) => program.stdout.push(chunk))
  await program.stdout.until('\n').catch((error: Error) => {
    throw new Error(`${error.message}; on stderr: ${program.stderr.text}`)
  })
  return program
}

/**
 * A double of the vSockets between a host and the appliance: there while the appliance is on that host. When it leaves
 * they stand still for a moment and are then reset, and what was under way in them is lost.
 */
export class VsocketLeg {
  readonly path: string
  readonly #appliance: string
  #server: Server | null = null
  #frozen = false
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  /** Taken from one side, and never given to the other. */
  lostBytes = 0

  constructor(path: string, appliance: string) {
    this.path = path
    this.#appliance = appliance
    onTestFinished(() => this.end())
  }

  /** The appliance has come. */
  async begin(): Promise<void> {
    this.#frozen = false
    rmSync(this.path, { force: true })
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#join(socket))
    this.#server = server
    server.listen({ path: this.path, backlog: 4_096 })
    await once(server, 'listening')
  }

  /** The appliance is being switched over: nothing moves any more, though it may still be sent. */
  freeze(): void {
    this.#frozen = true
    this.#server?.close()
    this.#server = null
    rmSync(this.path, { force: true })
    for (const pair of this.#pairs) for (const socket of pair) socket.pause()
  }

  /** The appliance has gone. */
  end(): void {
    if (!this.#frozen) this.freeze()
    for (const [a, b] of this.#pairs) {
      for (const socket of [a, b]) {
        this.lostBytes += socket.readableLength + socket.writableLength
        socket.destroy()
      }
    }
    this.#pairs.clear()
  }

  #join(host: Socket): void {
    const appliance = connect({ path: this.#appliance, allowHalfOpen: true })
    const pair = [host, appliance] as const
    this.#pairs.add(pair)
    const pass = (from: Socket, to: Socket): void => {
      from.on('data', (chunk: Buffer) => {
        if (!to.write(chunk)) from.pause()
      })
      to.on('drain', () => {
        if (!this.#frozen) from.resume()
      })
      from.on('end', () => to.end())
      from.on('error', () => {})
      from.on('close', () => {
        if (this.#pairs.delete(pair)) to.destroy()
      })
    }
    pass(host, appliance)
    pass(appliance, host)
  }
}

/** One double of an ESXi host in the namespace of `host`. */
export class EsxiHost {
  readonly host: NetworkHost
  readonly #program: HostProgram
  #finished: (vms: readonly GuestReport[]) => void = () => {}

  /** @param program as {@link bundledEsxi} made it. */
  constructor(host: NetworkHost, program: string, onNews: (news: Exclude<HostNews, { kind: 'finished' }>) => void) {
    this.host = host
    this.#program = new HostProgram(host, `ESXi ${host.name}`, [process.execPath, program])
    const { stdout } = this.#program.child
    if (stdout === null) throw new Error('no stdout')
    createInterface({ input: stdout }).on('line', (line) => {
      const news = JSON.parse(line) as HostNews
      if (news.kind === 'finished') this.#finished(news.vms)
      else onNews(news)
    })
  }

  get complaints(): string {
    return this.#program.stderr.text
  }

  order(order: PortOrder): void {
    this.#program.child.stdin?.write(`${JSON.stringify(order)}\n`)
  }

  /** The guests print nothing more. */
  finish(): Promise<readonly GuestReport[]> {
    return new Promise((resolve) => {
      this.#finished = resolve
      this.#program.child.stdin?.write('finish\n')
    })
  }
}

/** @returns path of the program of {@link EsxiHost}. */
export async function bundledEsxi(dir: string): Promise<string> {
  const outfile = `${dir}/esxi.mjs`
  await build({
    entryPoints: [fileURLToPath(new URL('./e2e-appliance-esxi.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    outfile,
    logLevel: 'error',
    external: ['koffi'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  })
  return outfile
}

/** The same numbers for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
