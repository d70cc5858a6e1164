/** For the tests of history end to end: the built server as a process, hosts on sockets, consoles on WebSockets. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { Limits } from '../../src/base/index.ts'
import { SUB } from '../../src/sim/codes.ts'
import { doubleIac, encodeVmware, WireParser } from '../../src/sim/wire.ts'
import type { ConsoleMessage, PortInfo } from '../../src/vspc/index.ts'
import { VSPC_BIN } from '../support/cli.ts'
import { bytesOf, HELLO } from '../vspc/vm-peer.ts'

/** Long enough on a machine that is busy with other tests. */
const DEADLINE_MS = 20_000

/** Resolves when `happened()` is true, for what tells nobody. */
export async function eventually(what: () => string, happened: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS
  for (let pause = 1; !(await happened()); pause = Math.min(50, pause * 1.5)) {
    if (Date.now() > deadline) throw new Error(`${DEADLINE_MS} ms passed, and not yet: ${what()}`)
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

/** Where files are in memory, for tests that make thousands of them and are not about the disk. */
export const MEMORY_DISK = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** A folder that goes when the test is over. */
export function temporary(parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'vspc-faults-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Numbers that look random and are the same in every run. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed | 0
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) % below
  }
}

// What VMs print

/** Prime, so that no chunk or buffer size divides it: what was shifted by one of them differs. */
const TABLE_BYTES = 1_048_573

/** What a VM prints: endless, all 256 values, known at each position without keeping it. */
export class Stream {
  readonly #table: Buffer

  constructor(seed: number) {
    const random = randomFrom(seed)
    // Twice, so that every piece is one view.
    const once = Buffer.from(Array.from({ length: TABLE_BYTES }, () => random(256)))
    this.#table = Buffer.concat([once, once])
  }

  /** At most `TABLE_BYTES`, as a view. */
  at(position: number, length: number): Buffer {
    const begin = position % TABLE_BYTES
    return this.#table.subarray(begin, begin + length)
  }

  /** Index of the first of `bytes` that is not what it should be at `position`; null when all are right. */
  firstWrong(position: number, bytes: Buffer): number | null {
    for (let done = 0; done < bytes.length; ) {
      const piece = this.at(position + done, Math.min(bytes.length - done, 65_536))
      if (bytes.compare(piece, 0, piece.length, done, done + piece.length) !== 0) {
        for (let i = 0; i < piece.length; i++) if (bytes[done + i] !== piece[i]) return done + i
      }
      done += piece.length
    }
    return null
  }
}

// The server

export interface ServeOptions {
  readonly limits?: Partial<Limits>
  readonly args?: readonly string[]
  /** Run before the server, in front of its command line: `sh -c ...` */
  readonly before?: readonly string[]
}

/** One run of `vspc serve` on a data directory, killed at the latest when the test ends. */
export class ServerProcess {
  readonly child: ChildProcess
  stdout = ''
  stderr = ''
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  #ended = false

  private constructor(dataDir: string, { limits = {}, args = [], before = [] }: ServeOptions) {
    const config = join(temporary(), 'vspc.yaml')
    writeFileSync(config, JSON.stringify({ limits }))
    const program = [process.execPath, VSPC_BIN, 'serve', '--listen', 'tcp://127.0.0.1:0', '--http', '127.0.0.1:0']
    const line = [...before, ...program, '--data-dir', dataDir, '--config', config, '--json', ...args]
    this.child = spawn(line[0] as string, line.slice(1), {
      env: { PATH: process.env['PATH'] ?? '', HOME: dataDir },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout?.on('data', (chunk) => {
      this.stdout += chunk
    })
    this.child.stderr?.on('data', (chunk) => {
      this.stderr += chunk
    })
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.#ended = true
        resolve({ code, signal })
      })
    })
    onTestFinished(() => this.kill())
  }

  /** Ready: VMs and consoles may connect. */
  static async start(dataDir: string, options: ServeOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(dataDir, options)
    await eventually(
      () => `the server is ready; it said: ${server.stderr}`,
      () => {
        if (server.#ended) throw new Error(`the server has ended: ${server.stderr}`)
        return server.stdout.endsWith('\n')
      },
    )
    return server
  }

  get pid(): number {
    return this.child.pid as number
  }

  get url(): string {
    return (JSON.parse(this.stdout) as { http: string }).http
  }

  get vmPort(): number {
    const { listening } = JSON.parse(this.stdout) as { listening: string[] }
    return Number(/:(\d+)/.exec(listening[0]?.slice(6) ?? '')?.[1])
  }

  /** kill -9; resolves when it is dead. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exited
  }

  /** SIGTERM. */
  async stop(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.child.kill('SIGTERM')
    return this.exited
  }

  /** What it has logged, a parsed line each. */
  get logged(): Record<string, unknown>[] {
    const lines = this.stderr.split('\n').slice(0, -1)
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  logs(text: string | RegExp): Record<string, unknown>[] {
    return this.logged.filter(({ msg }) => String(msg).search(text) >= 0)
  }

  async ports(): Promise<PortInfo[]> {
    return (await fetch(`${this.url}/api/v1/ports`)).json() as Promise<PortInfo[]>
  }

  async port(id: string): Promise<PortInfo> {
    const answer = await fetch(`${this.url}/api/v1/ports/${encodeURIComponent(id)}`)
    return answer.json() as Promise<PortInfo>
  }

  /** Value of a metric without labels. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }

  /** A whole log, with its headers. */
  async log(id: string, query = ''): Promise<{ start: number; next: number; epoch: string | null; body: Buffer }> {
    const answer = await fetch(`${this.url}/api/v1/ports/${encodeURIComponent(id)}/log${query}`)
    if (answer.status !== 200) throw new Error(`status ${answer.status}: ${await answer.text()}`)
    return {
      start: Number(answer.headers.get('x-vspc-start')),
      next: Number(answer.headers.get('x-vspc-next')),
      epoch: answer.headers.get('x-vspc-epoch'),
      body: Buffer.from(await answer.arrayBuffer()),
    }
  }

  /** Resident memory now, and its peak since `forgetPeak`; bytes. */
  get memory(): { now: number; peak: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, 'latin1')
    const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]) * 1024
    return { now: kib('VmRSS'), peak: kib('VmHWM') }
  }

  /** proc(5): 5 in `clear_refs` sets the peak to what is resident now. */
  forgetPeak(): void {
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5')
  }

  get descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }
}

// Hosts

/** Where hosts and consoles connect to: a process, or a server in this one. */
export interface Target {
  readonly vmPort: number
  readonly url: string
}

/** A VM's UUID as VMware spells it, and as we do. */
export function uuidOf(n: number): { wire: string; id: string } {
  const tail = n.toString(16).padStart(12, '0')
  return {
    wire: `01 23 45 67 89 ab cd ef-fe dc ${tail.match(/../g)?.join(' ')}`,
    id: `01234567-89ab-cdef-fedc-${tail}`,
  }
}

/** A connection of an ESXi host, written from the protocol; what it hears is kept. */
export class Host {
  readonly socket: Socket
  /** Suboptions of 232, in order. */
  readonly heard: { code: number; payload: Buffer }[] = []
  /** Serial data for the VM. */
  input = ''
  closed = false
  /** Every byte handed to the socket is with the kernel. */
  #pumping: { stream: Stream; chunk: (below: number) => number; end: number } | null = null
  /** Of the VM's stream: where the next byte to print is. */
  position = 0

  private constructor(socket: Socket) {
    this.socket = socket
    const parser = new WireParser()
    const sink = {
      onData: (bytes: Uint8Array) => {
        this.input += Buffer.from(bytes).toString('latin1')
      },
      onVerb: () => {},
      onSub: (option: number, payload: Uint8Array) => {
        const [code = -1, ...rest] = payload
        if (option === 232) this.heard.push({ code, payload: Buffer.from(rest) })
      },
      onCommand: () => {},
      onMalformed: () => {},
    }
    socket.on('data', (chunk: Buffer) => parser.push(chunk, sink))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
    })
    socket.on('drain', () => setImmediate(this.#pump))
    onTestFinished(() => void socket.destroy())
  }

  static async connect(server: Target): Promise<Host> {
    const socket = connect(server.vmPort, '127.0.0.1')
    await once(socket, 'connect')
    const host = new Host(socket)
    socket.write(Uint8Array.from(HELLO))
    return host
  }

  /** A host whose VM `n` is attached when this resolves. */
  static async boot(server: Target, n: number, uri = 'vSPC.py'): Promise<Host> {
    const host = await Host.connect(server)
    await host.introduce(n, uri)
    return host
  }

  /** DO-PROXY, and what the VM is asked after it. */
  async introduce(n: number, uri = 'vSPC.py'): Promise<void> {
    this.say(SUB.DO_PROXY, bytesOf(`S${uri}`))
    this.say(SUB.VM_VC_UUID, bytesOf(uuidOf(n).wire))
    this.say(SUB.VM_NAME, bytesOf(`vm${n}`))
    await this.hears(SUB.WILL_PROXY)
  }

  say(code: number, payload: Uint8Array): void {
    this.socket.write(encodeVmware(code, payload))
  }

  /** The payload of the next suboption `code` that was not waited for yet. */
  async hears(code: number): Promise<Buffer> {
    const find = () => this.heard.findIndex((one) => one.code === code)
    await eventually(
      () => `suboption ${code} comes`,
      () => find() >= 0,
    )
    return this.heard.splice(find(), 1)[0]?.payload as Buffer
  }

  /** All that was sent so far has been looked at: a suboption that nobody knows is answered in its turn. */
  async processed(): Promise<void> {
    this.say(200, new Uint8Array(0))
    await this.hears(SUB.UNKNOWN_SUBOPTION_RCVD_2)
  }

  print(data: string | Uint8Array): void {
    this.socket.write(doubleIac(typeof data === 'string' ? bytesOf(data) : data))
  }

  /** Prints `stream` in chunks of any size, as fast as the server takes it, up to `end`. */
  printFast(stream: Stream, end: number, chunk: (below: number) => number): void {
    this.#pumping = { stream, chunk, end }
    this.#pump()
  }

  readonly #pump = (): void => {
    const pumping = this.#pumping
    if (pumping === null || this.socket.destroyed || this.socket.writableNeedDrain) return
    const { stream, chunk, end } = pumping
    while (this.position < end) {
      const bytes = stream.at(this.position, Math.min(1 + chunk(70_000), end - this.position))
      this.position += bytes.length
      if (!this.socket.write(doubleIac(bytes))) return
    }
  }

  /** VMOTION-BEGIN; @returns the cookie of GOAHEAD. */
  async begin(sequence: Uint8Array): Promise<Buffer> {
    this.say(SUB.VMOTION_BEGIN, sequence)
    return this.hears(SUB.VMOTION_GOAHEAD)
  }
}

// Consoles

type Output = (bytes: Buffer, offset: number, watcher: Watcher) => void

/** A console on a WebSocket. What it gets goes to `output`, with its offset; gaps move the offset on. */
export class Watcher {
  readonly socket: WebSocket
  readonly messages: ConsoleMessage[] = []
  /** Of the next byte. */
  offset = -1
  closed = false
  readonly #output: Output

  private constructor(url: string, output: Output) {
    this.#output = output
    this.socket = new WebSocket(url, ['vspc.v1'])
    this.socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) {
        const at = this.offset
        this.offset += data.length
        this.#output(data, at, this)
      } else this.#told(JSON.parse(data.toString()) as ConsoleMessage)
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
    })
    onTestFinished(() => this.socket.terminate())
  }

  #told(message: ConsoleMessage): void {
    this.messages.push(message)
    if (message.type === 'attached') this.offset = message.offset
    if (message.type !== 'gap') return
    if (this.offset + message.bytes !== message.offset) throw new Error(`at ${this.offset}: ${JSON.stringify(message)}`)
    this.offset = message.offset
  }

  /** Attached when this resolves. @param from null = live only. */
  static async attach(server: Target, id: string, from: number | null, output: Output = () => {}): Promise<Watcher> {
    const query = from === null ? '' : `?from=${from}`
    const url = `${server.url.replace('http', 'ws')}/api/v1/ports/${encodeURIComponent(id)}/console${query}`
    const watcher = new Watcher(url, output)
    await eventually(
      () => 'the console is attached',
      () => watcher.messages.length > 0,
    )
    return watcher
  }

  get epoch(): string | undefined {
    return this.told('attached')[0]?.epoch
  }

  told<Type extends ConsoleMessage['type']>(type: Type): Extract<ConsoleMessage, { type: Type }>[] {
    return this.messages.filter((one): one is Extract<ConsoleMessage, { type: Type }> => one.type === type)
  }

  async reaches(offset: number): Promise<void> {
    await eventually(
      () => `a console at ${this.offset} reaches ${offset}`,
      () => this.offset >= offset,
    )
  }
}

/** An address that stays while the server behind it comes and goes: what `vspc attach` is told to use. */
export class FrontDoor {
  /** Where the server is now; null: nobody is at home. */
  server: ServerProcess | null = null
  url = ''

  static async open(): Promise<FrontDoor> {
    const door = new FrontDoor()
    const sockets = new Set<Socket>()
    const listener = createServer((socket) => {
      if (door.server === null) {
        socket.destroy()
        return
      }
      const inner = connect(Number(new URL(door.server.url).port), '127.0.0.1')
      for (const [one, other] of [
        [socket, inner],
        [inner, socket],
      ] as const) {
        sockets.add(one)
        one.on('error', () => {})
        one.on('close', () => {
          sockets.delete(one)
          other.destroy()
        })
        one.pipe(other)
      }
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    onTestFinished(() => {
      listener.close()
      for (const socket of sockets) socket.destroy()
    })
    const address = listener.address()
    door.url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
    return door
  }
}

/** A `vspc` command that is ended with the test. Its output is kept. */
export class Command {
  readonly child: ChildProcess
  stderr = ''
  readonly #chunks: Buffer[] = []
  length = 0
  readonly exited: Promise<number | null>

  constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, [VSPC_BIN, ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporary() },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.length += chunk.length
    })
    this.child.stderr?.on('data', (chunk) => {
      this.stderr += chunk
    })
    this.exited = new Promise((resolve) => this.child.once('close', resolve))
    onTestFinished(async () => {
      this.child.kill('SIGKILL')
      await this.exited
    })
  }

  get stdout(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}

/** Reads a log from `start` until it ends or the server dies. @returns how much came whole, and whether it ended. */
export async function readLog(
  server: Target,
  id: string,
  start: number,
  output: (bytes: Buffer, offset: number) => void,
): Promise<{ next: number; whole: boolean }> {
  const request = get(`${server.url}/api/v1/ports/${encodeURIComponent(id)}/log?start=${start}`)
  let answer: IncomingMessage
  try {
    ;[answer] = (await once(request, 'response')) as [IncomingMessage]
  } catch {
    // It died before it answered.
    return { next: start, whole: false }
  }
  let next = Number(answer.headers['x-vspc-start'])
  answer.on('data', (chunk: Buffer) => {
    output(chunk, next)
    next += chunk.length
  })
  answer.on('error', () => {})
  await new Promise((resolve) => answer.once('close', resolve))
  return { next, whole: answer.complete && next === Number(answer.headers['x-vspc-next']) }
}

// Files

/** The files of a port as they are, joined; a hole between two of them is an error. */
export function filesOf(dataDir: string, id: string): Buffer {
  const folder = join(dataDir, 'ports', id)
  const pieces: Buffer[] = []
  let next: number | null = null
  // Nothing is written yet.
  if (!existsSync(folder)) return Buffer.alloc(0)
  for (const name of readdirSync(folder)
    .filter((one) => one.endsWith('.log'))
    .sort()) {
    const bytes = readFileSync(join(folder, name))
    const start = Number.parseInt(name, 10)
    if (start !== (next ?? 0)) throw new Error(`${name} begins at ${start}, not at ${next ?? 0}`)
    pieces.push(bytes)
    next = start + bytes.length
  }
  return Buffer.concat(pieces)
}
