/**
 * What the conformance tests share: a server on loopback, virtual machines that speak to it, consoles that record.
 *
 * Virtual machines are `SimConnection`s, which know nothing of our codec; what went over each connection is also
 * recorded by the server's tap, byte for byte. Nothing here sleeps or polls: every wait ends with an event, and a
 * time limit only tells a failed test from a slow one.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import {
  type Clock,
  type ConnectionTap,
  type Limits,
  type Logger,
  limitsWith,
  systemClock,
  type Tap,
  type TapConnection,
} from '../../../src/base/index.ts'
import { SimConnection, type SimConnectionOptions, type SimIdentity, type SimTarget } from '../../../src/sim/index.ts'
import { parseEndpoint, parseEndpointPattern } from '../../../src/transport/index.ts'
import {
  type Console,
  type ConsoleClient,
  type ConsoleMessage,
  type ConsoleMode,
  type Port,
  Server,
  type ServerEvent,
  type ServerOptions,
} from '../../../src/vspc/index.ts'

import { StubbornPeer, type VerbRule } from './stubborn-peer.ts'

const GIVE_UP_MS = 5_000

/** Waits for conditions over state that only grows; whoever changes the state calls `poke`. */
class Waits {
  #pending: { attempt(): boolean }[] = []

  /** Resolves with the first result of `attempt` that is not undefined, tried now and on every `poke`. */
  until<T>(what: () => string, attempt: () => T | undefined): Promise<T> {
    const now = attempt()
    if (now !== undefined) return Promise.resolve(now)
    return new Promise((resolve, reject) => {
      const wait = {
        attempt: () => {
          const result = attempt()
          if (result === undefined) return false
          clearTimeout(timer)
          resolve(result)
          return true
        },
      }
      const timer = setTimeout(() => {
        this.#pending = this.#pending.filter((other) => other !== wait)
        reject(new Error(`nothing like it within ${GIVE_UP_MS} ms: ${what()}`))
      }, GIVE_UP_MS)
      this.#pending.push(wait)
    })
  }

  poke(): void {
    if (this.#pending.length > 0) this.#pending = this.#pending.filter((wait) => !wait.attempt())
  }
}

/** What the server read from and wrote to one connection, as raw bytes. */
export class WireTap implements ConnectionTap {
  readonly #waits = new Waits()
  readonly #toVm: Buffer[] = []
  /** Lengths of the chunks the server read, in order. */
  readonly reads: number[] = []
  bytesRead = 0
  #closed = false

  fromVm(bytes: Uint8Array): void {
    this.reads.push(bytes.length)
    this.bytesRead += bytes.length
    this.#waits.poke()
  }

  toVm(bytes: Uint8Array): void {
    this.#toVm.push(Buffer.from(bytes))
  }

  close(): void {
    this.#closed = true
    this.#waits.poke()
  }

  /** Resolves once the server knows that the connection is gone. */
  async untilClosed(): Promise<void> {
    await this.#waits.until(
      () => 'the server sees the connection closed',
      () => (this.#closed ? true : undefined),
    )
  }

  /** Everything the server wrote, as lower-case hex. */
  get sentHex(): string {
    return Buffer.concat(this.#toVm).toString('hex')
  }

  /** Resolves once the server has read that many bytes in all. */
  async untilRead(total: number): Promise<void> {
    await this.#waits.until(
      () => `${total} bytes read by the server, not only ${this.bytesRead}`,
      () => (this.bytesRead >= total ? true : undefined),
    )
  }
}

class RecordingTap implements Tap {
  readonly connections = new Map<string, WireTap>()

  open({ peer }: TapConnection): WireTap {
    const tap = new WireTap()
    this.connections.set(peer, tap)
    return tap
  }
}

export interface LogLine {
  readonly level: string
  readonly message: string
  readonly fields: Record<string, unknown>
}

class RecordingLog implements Logger {
  readonly lines: LogLine[] = []
  readonly waits = new Waits()
  trace = this.#method('trace')
  debug = this.#method('debug')
  info = this.#method('info')
  warn = this.#method('warn')
  error = this.#method('error')

  child(): Logger {
    return this
  }

  #method(level: string) {
    return (fields: object, message: string): void => {
      this.lines.push({ level, message, fields: { ...fields } })
      this.waits.poke()
    }
  }
}

/** A console that keeps everything, and can play one that does not read. */
export class TestConsole implements ConsoleClient {
  readonly messages: ConsoleMessage[] = []
  /** Reader that takes nothing: every `output` says that the buffer is full. */
  stuck = false
  inputPaused = false
  closed: string | null = null
  readonly #waits = new Waits()
  readonly #chunks: Buffer[] = []
  #seen = 0
  #attached: Console | null = null

  get console(): Console {
    if (this.#attached === null) throw new Error('not attached')
    return this.#attached
  }

  set console(attached: Console) {
    this.#attached = attached
  }

  /** Everything it was sent. */
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get text(): string {
    return this.bytes.toString('latin1')
  }

  type(text: string | Uint8Array): void {
    this.console.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
  }

  /** Types lines until the port pauses its input. @returns their number. */
  typeUntilPaused(line: (n: number) => string = () => 'x'.repeat(8_192)): number {
    let typed = 0
    for (let n = 0; !this.inputPaused; n++) {
      const text = line(n)
      typed += text.length
      // Without a bound here a port that never pauses would take all memory instead of failing.
      if (typed > 32 << 20) throw new Error('32 MiB of input taken, and still not paused')
      this.type(text)
      if (this.inputPaused) return n + 1
    }
    return 0
  }

  /** Resolves once `text` has come behind what an earlier call waited for. */
  async expectText(text: string): Promise<void> {
    await this.#waits.until(
      () => `console text ${JSON.stringify(text)} after ${JSON.stringify(this.text.slice(-200))}`,
      () => {
        const at = this.text.indexOf(text, this.#seen)
        if (at < 0) return undefined
        this.#seen = at + text.length
        return true
      },
    )
  }

  async untilLength(bytes: number): Promise<void> {
    await this.#waits.until(
      () => `${bytes} bytes at the console, not only ${this.bytes.length}`,
      () => (this.bytes.length >= bytes ? true : undefined),
    )
  }

  async untilPaused(paused: boolean): Promise<void> {
    await this.#waits.until(
      () => `input ${paused ? 'paused' : 'resumed'}`,
      () => (this.inputPaused === paused ? true : undefined),
    )
  }

  of<T extends ConsoleMessage['type']>(type: T): Extract<ConsoleMessage, { type: T }>[] {
    return this.messages.filter((message): message is Extract<ConsoleMessage, { type: T }> => message.type === type)
  }

  // ConsoleClient

  output(bytes: Uint8Array): boolean {
    this.#chunks.push(Buffer.from(bytes))
    this.#waits.poke()
    return !this.stuck
  }

  notify(message: ConsoleMessage): void {
    this.messages.push(message)
    this.#waits.poke()
  }

  setInputPaused(paused: boolean): void {
    this.inputPaused = paused
    this.#waits.poke()
  }

  close(reason: string): void {
    this.closed = reason
    this.#waits.poke()
  }
}

export interface BenchOptions {
  /** Default `tcp://127.0.0.1:0`. */
  readonly listen?: string
  readonly limits?: Partial<Limits>
  readonly clock?: Clock
  readonly serviceUris?: readonly string[]
  readonly allowDial?: readonly string[]
  readonly random?: ServerOptions['random']
  /** Internal errors the test provokes on purpose. */
  readonly internalErrors?: number
}

/** A VM by its number: ESX's spelling of its UUID, the canonical one, its name. */
export interface VmFacts {
  readonly esxUuid: string
  readonly id: string
  readonly name: string
}

export function vmFacts(n: number): VmFacts {
  const hex = n.toString(16).padStart(32, '0').replace(/^0000/, 'c055')
  const pairs = hex.match(/../g) ?? []
  return {
    esxUuid: `${pairs.slice(0, 8).join(' ')}-${pairs.slice(8).join(' ')}`,
    id: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    name: `vm-${n}`,
  }
}

/** The default identity of VM `n`: UUID and name, like the VM of VMware's capture. */
export function identityOf(n: number): SimIdentity {
  const { esxUuid, name } = vmFacts(n)
  return { vcUuid: esxUuid, name }
}

export interface Granted {
  readonly sequence: Uint8Array
  readonly secret: Uint8Array
  /** What VMOTION-PEER has to show. */
  readonly cookie: Uint8Array
}

/** Loses a race against the source's end, at every place a race can be lost. */
export const SOURCE_ENDS = [
  'before the destination connects',
  'before PEER',
  'after PEER-OK',
  'with COMPLETE',
  'after COMPLETE',
  'never',
] as const
export type SourceEnd = (typeof SOURCE_ENDS)[number]

const benches: Bench[] = []

afterEach(async () => {
  for (const bench of benches.splice(0)) await bench.stop()
})

/** One server, and everybody who talks to it. Stopped by itself after each test. */
export class Bench {
  readonly server: Server
  readonly log = new RecordingLog()
  readonly events: ServerEvent[] = []
  /** BEGIN to answer, ms by the server's clock. */
  readonly goaheads: number[] = []
  readonly #tap = new RecordingTap()
  readonly #eventWaits = new Waits()
  readonly #taken = new Set<ServerEvent>()
  readonly #connections: SimConnection[] = []
  readonly #others: { close(): void }[] = []
  readonly #internalErrors: number
  readonly #directory: string | null

  private constructor(options: BenchOptions, directory: string | null) {
    this.#internalErrors = options.internalErrors ?? 0
    this.#directory = directory
    const uri = options.listen ?? 'tcp://127.0.0.1:0'
    this.server = new Server({
      listen: [parseEndpoint(directory === null ? uri : `unix://${directory}/vspc.sock`, 'listen', 'vm')],
      dial: [],
      serviceUris: options.serviceUris ?? [],
      allowDial: (options.allowDial ?? []).map((pattern) => parseEndpointPattern(pattern)),
      writers: 'shared',
      limits: limitsWith(options.limits),
      clock: options.clock ?? systemClock,
      log: this.log,
      random: options.random ?? randomBytes,
      tap: this.#tap,
      observeGoahead: (ms) => this.goaheads.push(ms),
    })
    this.server.subscribe((event) => {
      this.events.push(event)
      this.#eventWaits.poke()
    })
  }

  /** `listen: 'unix'` puts the socket in a directory of its own, removed with the bench. */
  static async start(options: BenchOptions = {}): Promise<Bench> {
    const directory = options.listen === 'unix' ? mkdtempSync(join(tmpdir(), 'vspc-conformance-')) : null
    const bench = new Bench(options, directory)
    benches.push(bench)
    await bench.server.start()
    return bench
  }

  async stop(): Promise<void> {
    for (const other of this.#others) other.close()
    for (const connection of this.#connections) connection.abort()
    await Promise.all(this.#connections.map((connection) => connection.closed))
    await this.server.stop()
    if (this.#directory !== null) rmSync(this.#directory, { recursive: true })
    const internal = this.log.lines.filter((line) => line.level === 'error')
    expect(this.server.counters.internalErrors, JSON.stringify(internal)).toBe(this.#internalErrors)
  }

  get target(): SimTarget {
    const endpoint = this.server.listening[0]
    if (endpoint?.scheme === 'unix') return { path: endpoint.path }
    if (endpoint?.scheme !== 'tcp' && endpoint?.scheme !== 'tls') throw new Error('not listening')
    return { host: endpoint.host, port: endpoint.tcpPort }
  }

  /** A connection as `options` say, by default the VM number 1 that does everything by itself. */
  async connect(options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    const connection = new SimConnection({
      target: this.target,
      identity: identityOf(1),
      // Nagle's algorithm against delayed ACKs only costs time here.
      noDelay: true,
      ...options,
    })
    this.#connections.push(connection)
    return connection.opened
  }

  /** A Telnet peer with answers of its own. */
  stubborn(rule: VerbRule): StubbornPeer {
    return this.closing(new StubbornPeer(this.target, rule))
  }

  /** Closes `other` when the bench stops, whatever became of the test. */
  closing<T extends { close(): void }>(other: T): T {
    this.#others.push(other)
    return other
  }

  /** A connection on which nothing is sent that the test does not send. */
  silent(options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    return this.connect({ auto: false, ...options })
  }

  /** Agrees on all options and then leaves it to the test to say who it is. */
  async introduced(options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    const connection = await this.connect({ auto: { announce: false, identity: false, comPort: false }, ...options })
    await connection.expect('KNOWN-SUBOPTIONS-2')
    return connection
  }

  /** VM number `n`, attached and identified. */
  async attach(n = 1, serviceURI = 'vSPC.py', options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    const label = /[?&]port=([^&]+)/.exec(serviceURI)?.[1]
    const announcement = { kind: 'do-proxy', direction: 'S', serviceURI } as const
    const connection = await this.connect({ identity: identityOf(n), announcement, ...options })
    await this.event('port-online', label === undefined ? vmFacts(n).id : `${vmFacts(n).id}:${label}`)
    await settled(connection)
    return connection
  }

  port(id: string = vmFacts(1).id): Port {
    const port = this.server.table.get(id)
    if (!port) throw new Error(`no port ${id} among ${[...this.server.table].map((one) => one.id).join(', ')}`)
    return port
  }

  get portIds(): string[] {
    return [...this.server.table].map((port) => port.id).sort()
  }

  /** A console on port `id`, default that of VM 1, for writing. */
  console(
    id: string = vmFacts(1).id,
    options: { mode?: ConsoleMode; from?: number; stuck?: boolean } = {},
  ): TestConsole {
    const client = new TestConsole()
    client.stuck = options.stuck ?? false
    client.console = this.port(id).attachConsole(client, {
      mode: options.mode ?? 'write',
      from: options.from ?? null,
      who: 'tester',
      via: 'websocket',
      force: false,
    })
    return client
  }

  /** The oldest event of that type (for that port) which no earlier call got. */
  event<T extends ServerEvent['type']>(type: T, id?: string): Promise<Extract<ServerEvent, { type: T }>> {
    return this.#eventWaits.until(
      () => `${type} ${id ?? ''} after ${this.events.map((event) => `${event.type} ${event.port.id}`).join(', ')}`,
      () => {
        const found = this.events.find(
          (event) => event.type === type && (id === undefined || event.port.id === id) && !this.#taken.has(event),
        )
        if (!found) return undefined
        this.#taken.add(found)
        return found as Extract<ServerEvent, { type: T }>
      },
    )
  }

  count(type: ServerEvent['type']): number {
    return this.events.filter((event) => event.type === type).length
  }

  logged(pattern: RegExp): Promise<LogLine> {
    return this.log.waits.until(
      () => `log line ${pattern}`,
      () => this.log.lines.find((line) => pattern.test(line.message)),
    )
  }

  /** The server's record of a TCP connection. */
  wire(connection: { readonly localAddress: string }): WireTap {
    const tap = this.#tap.connections.get(connection.localAddress)
    if (!tap) throw new Error(`the server has no connection from ${connection.localAddress}`)
    return tap
  }

  /** Ends a TCP connection; resolves when both sides know it. */
  async end(connection: SimConnection, how: 'fin' | 'reset'): Promise<void> {
    const tap = this.wire(connection)
    connection[how]()
    await connection.closed
    await tap.untilClosed()
  }

  // vMotion

  /** A destination that shows `cookie`. Its PEER has been sent, not yet answered. */
  async destination(cookie: Uint8Array, n = 1, options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    const announcement = { kind: 'peer', payload: cookie } as const
    const connection = await this.connect({ identity: identityOf(n), announcement, ...options })
    await connection.expect('DO VMWARE-TELNET-EXT')
    return connection
  }

  /** A destination whose PEER was accepted. */
  async peered(cookie: Uint8Array, n = 1, options: Partial<SimConnectionOptions> = {}): Promise<SimConnection> {
    const connection = await this.destination(cookie, n, options)
    await connection.expect('VMOTION-PEER-OK')
    await settled(connection)
    return connection
  }

  /** A whole vMotion of what runs on `source`; resolves with the new connection once the server has taken it over. */
  async migrate(
    source: SimConnection,
    options: { n?: number; sequence?: Uint8Array; sourceEnd?: SourceEnd; how?: 'fin' | 'reset' } = {},
  ): Promise<SimConnection> {
    const { n = 1, sequence = sequenceOf(), sourceEnd = 'with COMPLETE', how = 'fin' } = options
    const { cookie } = await begin(source, sequence)
    if (sourceEnd === 'before the destination connects') await this.end(source, how)
    const auto = { announce: false, comPort: false }
    const announcement = { kind: 'none' } as const
    const destination = await this.connect({ identity: identityOf(n), auto, announcement })
    await destination.expect('KNOWN-SUBOPTIONS-2')
    if (sourceEnd === 'before PEER') await this.end(source, how)
    destination.known()
    destination.suboption(44, cookie)
    await destination.expect('VMOTION-PEER-OK')
    if (sourceEnd === 'after PEER-OK') await this.end(source, how)
    if (sourceEnd === 'with COMPLETE') source[how]()
    destination.complete(sequence)
    await destination.fence()
    if (sourceEnd === 'after COMPLETE') await this.end(source, how)
    return destination
  }
}

/** The server has seen, and answered if it answers at all, everything that was sent on `connection`. */
export async function settled(connection: SimConnection): Promise<void> {
  const reply = await connection.fence()
  if (reply.kind !== 'sub') throw new Error(`no answer to a fence: ${reply.kind}\n${connection.recorded.dump()}`)
}

let lastSequence = 0

/** A fresh sequence of four bytes, with 0xFF in it. */
export function sequenceOf(): Uint8Array {
  const n = ++lastSequence
  return Uint8Array.of(n >> 8, n & 0xff, 0xff, 0x01)
}

/** VMOTION-BEGIN, and its GOAHEAD. */
export async function begin(source: SimConnection, sequence: Uint8Array = sequenceOf()): Promise<Granted> {
  source.begin(sequence)
  const payload = await subPayload(source, 'VMOTION-GOAHEAD')
  expect([...payload.subarray(0, sequence.length)]).toEqual([...sequence])
  return { sequence, secret: payload.subarray(sequence.length), cookie: payload }
}

/** The payload of the next suboption of that name. */
export async function subPayload(connection: SimConnection, name: string): Promise<Uint8Array> {
  const item = await connection.expect(name)
  if (item.kind !== 'sub') throw new Error(`${name} is no suboption`)
  return item.payload
}

/** Serial bytes the VM has got on this connection. */
export function inputOf(connection: SimConnection): string {
  return Buffer.from(connection.recorded.received.bytes).toString('latin1')
}

/** Serial bytes that reached this connection behind the last suboption of that name. */
export function inputBehind(connection: SimConnection, name: string): number {
  const { items } = connection.recorded
  const at = items.findLastIndex((item) => item.name === name)
  if (at < 0) throw new Error(`no ${name} yet`)
  return items.slice(at).reduce((sum, item) => sum + (item.kind === 'data' ? item.length : 0), 0)
}

/** Names of everything the proxy sent that is neither data nor an answer to a fence. */
export function saidTo(connection: SimConnection): string[] {
  return connection.recorded.items
    .filter((item) => item.kind !== 'data' && !(item.name === 'UNKNOWN-SUBOPTION-RCVD-2' && isFence(item)))
    .map((item) => item.name)
}

function isFence(item: SimConnection['recorded']['items'][number]): boolean {
  return item.kind === 'sub' && (item.payload[0] ?? 0) >= 128 && (item.payload[0] ?? 0) < 224
}

export const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'))
export const latin1 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))
export const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex')
/** As hex, every 0xFF doubled as on the wire. */
export const escapedHex = (data: Uint8Array): string =>
  hex(data).replaceAll(/../g, (byte) => (byte === 'ff' ? 'ffff' : byte))
/** All 256 values in order. */
export const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i)

/** Lets the event loop run once through its poll phase. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
