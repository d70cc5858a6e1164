/** For the end-to-end tests: the built program as processes, and waiting for what they say. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { ConsoleMessage, ConsoleRequest, PortInfo, ServerEvent } from '../../src/vspc/index.ts'
import { VSPC_BIN } from '../support/cli.ts'
import { Pty, type PtyOptions } from '../support/pty.ts'
import { type Guest, type GuestOptions, startGuest } from '../support/qemu.ts'

// Guests that share two cores with other tests take their time; what hangs is found by the deadlines below.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

/** Long enough for a guest to boot on a machine that is busy with other tests. */
const DEADLINE_MS = 30_000

/** Output as it comes, to wait for a text in it. One character per byte. */
export class Output {
  readonly #name: string
  #text = ''
  /** Where the next `until` starts to look. */
  #from = 0
  #ended = false
  #wake = new Set<() => void>()

  constructor(name: string) {
    this.#name = name
  }

  get text(): string {
    return this.#text
  }

  /** All of it, decoded. */
  get utf8(): string {
    return Buffer.from(this.#text, 'latin1').toString('utf8')
  }

  push(chunk: Uint8Array): void {
    this.#text += Buffer.from(chunk).toString('latin1')
    for (const wake of this.#wake) wake()
  }

  end(): void {
    this.#ended = true
    for (const wake of this.#wake) wake()
  }

  /** Waits for a match behind the last one waited for; resolves with all from there up to and including it. */
  async until(pattern: string | RegExp): Promise<string> {
    const find = () => {
      const rest = this.#text.slice(this.#from)
      const match = typeof pattern === 'string' ? null : pattern.exec(rest)
      const at = typeof pattern === 'string' ? rest.indexOf(pattern) : (match?.index ?? -1)
      return at < 0 ? null : rest.slice(0, at + (match?.[0] ?? String(pattern)).length)
    }
    let found = find()
    if (found === null) {
      const failure = await new Promise<string>((resolve) => {
        const settle = (why: string) => {
          clearTimeout(timer)
          this.#wake.delete(wake)
          resolve(why)
        }
        const timer = setTimeout(() => settle(`${DEADLINE_MS} ms passed`), DEADLINE_MS)
        const wake = () => {
          found = find()
          if (found !== null) settle('')
          else if (this.#ended) settle('it ended')
        }
        this.#wake.add(wake)
        if (this.#ended) settle('it has ended')
      })
      if (failure !== '') {
        const tail = JSON.stringify(this.#text.slice(this.#from).slice(-500))
        throw new Error(`${this.#name}: ${failure} before ${JSON.stringify(String(pattern))} came; what came: ${tail}`)
      }
    }
    this.#from += (found as unknown as string).length
    return found as unknown as string
  }

  count(text: string): number {
    return this.#text.split(text).length - 1
  }
}

/** A directory of its own, gone when the test ends. */
export function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-e2e-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** One run of `vspc`, killed at the latest when the test ends. */
export class Program {
  readonly #child: ChildProcess
  readonly stdout: Output
  readonly stderr: Output
  readonly exited: Promise<Exit>

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    const name = `vspc ${args[0]}`
    this.stdout = new Output(`${name}, stdout`)
    this.stderr = new Output(`${name}, stderr`)
    this.#child = spawn(process.execPath, [VSPC_BIN, ...args], {
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const child = this.#child
    child.stdin?.on('error', () => {})
    child.stdout?.on('data', (chunk: Buffer) => this.stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => this.stderr.push(chunk))
    const kill = () => void child.kill('SIGKILL')
    process.once('exit', kill)
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        process.off('exit', kill)
        this.stdout.end()
        this.stderr.end()
        resolve({ code, signal })
      })
    })
    onTestFinished(async () => {
      kill()
      await this.exited
    })
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  write(data: string | Uint8Array): void {
    this.#child.stdin?.write(data)
  }

  /** Ends its input. */
  end(): void {
    this.#child.stdin?.end()
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }
}

/** A running `vspc serve`. */
export class ServeProcess {
  readonly #program: Program
  readonly #args: readonly string[]
  readonly url: string
  readonly listening: readonly string[]
  /** `HOST:PORT`; empty without one. */
  readonly telnetMenu: string

  private constructor(
    program: Program,
    args: readonly string[],
    ready: { http: string; listening: string[]; telnetMenu?: string },
  ) {
    this.#program = program
    this.#args = args
    this.url = ready.http
    this.listening = ready.listening
    this.telnetMenu = ready.telnetMenu ?? ''
  }

  /** Starts it with `args`, on free ports of the loopback unless they say otherwise, and waits until it is ready. */
  static async start(args: readonly string[], http = '127.0.0.1:0'): Promise<ServeProcess> {
    const program = new Program(['serve', '--http', http, '--json', ...args], { HOME: temporary() })
    const line = await program.stdout.until('\n').catch((error: Error) => {
      throw new Error(`${error.message}; on stderr: ${program.stderr.text}`)
    })
    return new ServeProcess(program, args, JSON.parse(line))
  }

  get ended(): boolean {
    return this.#program.ended
  }

  /** What the client commands need to find it. */
  get env(): Record<string, string> {
    return { VSPC_SERVER: this.url }
  }

  /** TCP port of listener `index`. */
  tcpPort(index = 0): number {
    return Number(new URL((this.listening[index] ?? '').replace(/^\w+:/, 'http:')).port)
  }

  get log(): Record<string, unknown>[] {
    return this.#program.stderr.utf8
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** SIGTERM, a clean end, and nothing to be ashamed of in the log. */
  async stop(): Promise<void> {
    this.#program.signal('SIGTERM')
    expect(await this.#program.exited, this.#program.stderr.utf8).toEqual({ code: 0, signal: null })
    expect(this.log.filter(({ level }) => ['error', 'fatal'].includes(String(level)))).toEqual([])
  }

  /** Stops it and starts another one at the same addresses. */
  async restart(): Promise<ServeProcess> {
    await this.stop()
    return this.#startAgain()
  }

  /** The same after a power cut. */
  async crash(): Promise<ServeProcess> {
    this.#program.signal('SIGKILL')
    await this.#program.exited
    return this.#startAgain()
  }

  #startAgain(): Promise<ServeProcess> {
    let index = 0
    const args = this.#args.map((arg, at) => (this.#args[at - 1] === '--listen' ? this.listening[index++] : arg))
    return ServeProcess.start(args as string[], new URL(this.url).host)
  }

  async json(path: string): Promise<unknown> {
    const response = await fetch(this.url + path)
    expect(response.status, path).toBe(200)
    return response.json()
  }

  async ports(): Promise<PortInfo[]> {
    return (await this.json('/api/v1/ports')) as PortInfo[]
  }

  async port(name: string): Promise<PortInfo> {
    return (await this.json(`/api/v1/ports/${encodeURIComponent(name)}`)) as PortInfo
  }

  /** All output of the port that is still held, one character per byte. */
  async history(name: string): Promise<string> {
    const response = await fetch(`${this.url}/api/v1/ports/${encodeURIComponent(name)}/log`)
    expect(response.status).toBe(200)
    return Buffer.from(await response.arrayBuffer()).toString('latin1')
  }
}

/** Starts `vspc serve`; it is stopped, and has to stop well, when the test ends. */
export async function serve(...args: string[]): Promise<ServeProcess> {
  const server = await ServeProcess.start(args)
  onTestFinished(async () => {
    if (!server.ended) await server.stop()
  })
  return server
}

type EventOf<T extends ServerEvent['type']> = Extract<ServerEvent, { type: T }>

/** `GET /api/v1/events` of a server, from now until the test ends. */
export class Events {
  readonly #server: ServeProcess
  readonly #stream: Output
  readonly seen: ServerEvent[] = []

  private constructor(server: ServeProcess) {
    this.#server = server
    this.#stream = new Output('events')
  }

  static async of(server: ServeProcess): Promise<Events> {
    const events = new Events(server)
    const stream = events.#stream
    const request = get(`${server.url}/api/v1/events`, (response) => {
      response.on('data', (chunk: Buffer) => stream.push(chunk))
      response.on('error', () => {})
      response.on('close', () => stream.end())
    })
    request.on('error', () => stream.end())
    onTestFinished(() => void request.destroy())
    await stream.until('event: hello')
    return events
  }

  /** The next event of one of these types, after the last one waited for. */
  async next<T extends ServerEvent['type']>(...types: T[]): Promise<EventOf<T>> {
    const frame = await this.#stream.until(new RegExp(`event: (?:${types.join('|')})\ndata: .*\n\n`))
    const event = JSON.parse(frame.slice(frame.lastIndexOf('data: ') + 6)) as EventOf<T>
    this.seen.push(event)
    return event
  }

  /** Resolves when a port of that VM is as it should be; looks again at every event. */
  async until(name: string, wanted: (port: PortInfo) => boolean): Promise<PortInfo> {
    for (;;) {
      const port = (await this.#server.ports()).find((one) => one.vm.name === name && wanted(one))
      if (port) return port
      await this.#stream.until('\n\n')
    }
  }
}

/** A console over a bare WebSocket. */
export class WsClient {
  readonly #socket: WebSocket
  readonly output = new Output('console')
  readonly messages: ConsoleMessage[] = []
  readonly #control = new Output('control messages')

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) {
        this.output.push(data)
        return
      }
      this.messages.push(JSON.parse(data.toString('utf8')) as ConsoleMessage)
      this.#control.push(Buffer.concat([data, Buffer.from('\n')]))
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.output.end()
      this.#control.end()
    })
    onTestFinished(() => socket.terminate())
  }

  /** Attached to a port that is there already. */
  static async attach(server: ServeProcess, port: string, query = 'mode=write&from=0'): Promise<WsClient> {
    const url = `${server.url.replace(/^http/, 'ws')}/api/v1/ports/${encodeURIComponent(port)}/console?${query}`
    const client = new WsClient(new WebSocket(url, 'vspc.v1'))
    await client.told('attached')
    return client
  }

  /** Waits for a control message of that type, behind the last one waited for. */
  async told(type: ConsoleMessage['type']): Promise<void> {
    await this.#control.until(new RegExp(`"type":"${type}".*\n`))
  }

  write(data: string | Uint8Array): void {
    this.#socket.send(typeof data === 'string' ? Buffer.from(data) : data, { binary: true })
  }

  enter(line: string): void {
    this.write(`${line}\r`)
  }

  ask(request: ConsoleRequest): void {
    this.#socket.send(JSON.stringify(request))
  }

  close(): void {
    this.#socket.close()
  }
}

/** Boots a guest, powered off when the test ends. */
export async function boot(options: GuestOptions): Promise<Guest> {
  const guest = await startGuest(options)
  onTestFinished(() => guest.stop())
  return guest
}

/** `vspc ARGS` in a real terminal. */
export async function terminal(args: readonly string[], options: PtyOptions = {}): Promise<Pty> {
  return own(await Pty.start([process.execPath, VSPC_BIN, ...args], options))
}

export function own(pty: Pty): Pty {
  onTestFinished(() => pty.stop())
  return pty
}

/** What a port scanner does: `count` connections that say nothing and go, in three ways. */
export async function scanPort(tcpPort: number, count: number): Promise<void> {
  const scan = async (how: 'end' | 'destroy' | 'resetAndDestroy') => {
    const socket = connect(tcpPort, '127.0.0.1')
    socket.on('error', () => {}).resume()
    await once(socket, 'connect')
    const closed = once(socket, 'close')
    socket[how]()
    await closed
  }
  const ways = ['end', 'destroy', 'resetAndDestroy'] as const
  await Promise.all(Array.from({ length: count }, (_, index) => scan(ways[index % 3] ?? 'end')))
}

/** The numbers that stand alone on a line, in order. */
export function numbersIn(text: string): number[] {
  return (text.match(/^\d+(?=\r$)/gm) ?? []).map(Number)
}

export function oneTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1)
}

export const everyByte: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => byte)
