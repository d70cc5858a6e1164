/**
 * The wire format of resumable streams, version 1, to data and back (docs/link.md has it byte by byte).
 *
 * Each connection ("leg") begins with a HELLO of whoever dialled, answered by a WELCOME; both have a fixed length. What
 * follows, in both directions, are frames: one byte of type, then what belongs to it. Everything is big-endian and
 * bounded; what the decoder keeps between chunks is numbers only, whatever comes.
 */
import { RemoteProtocolError } from '../base/index.ts'

/** No other protocol of ours begins so: not Telnet (0xFF), TLS (0x16), PROXY (0x0D), nor text. */
export const MAGIC = Uint8Array.of(0xd6, 0x76, 0x73, 0x70, 0x63, 0x2d, 0x6c, 0x0a)
export const VERSION = 1
export const ID_BYTES = 16
export const HELLO_BYTES = 44
export const WELCOME_BYTES = 24
export const MAX_DATA_BYTES = 65_536
/** Most that a window may be; the least is 1. */
export const MAX_WINDOW = 0x7fff_ffff

/** Dialler's first word on each leg. */
export interface Hello {
  readonly kind: 'new' | 'resume'
  /** 16 random bytes, a capability: whoever knows it can take over the stream. Never logged. */
  readonly id: Uint8Array
  /** Counts the stream's legs from 1: one that was overtaken by a later leg is known by it. */
  readonly leg: number
  /** Position of the next byte wanted; 0 for a new stream. */
  readonly received: number
  /** Bytes that the other end may send beyond what was acknowledged to it. */
  readonly window: number
}

export const STATUS = { new: 0, resumed: 1, unknown: 2, refused: 3 } as const
export type Status = keyof typeof STATUS

/** Why a HELLO was refused. */
export const REFUSAL = { none: 0, full: 1, version: 2, duplicate: 3, stale: 4, offsets: 5, closing: 6 } as const
export type Refusal = keyof typeof REFUSAL

/** Acceptor's answer. */
export interface Welcome {
  readonly status: Status
  /** `none` unless refused; null = a number that this version does not know. */
  readonly refusal: Refusal | null
  readonly received: number
  readonly window: number
}

export const FRAME = { DATA: 1, ACK: 2, FIN: 3, OVER: 4, PING: 5, PONG: 6 } as const

/**
 * Why a stream is over. `done`: both directions were acknowledged to their ends. `aborted`: its owner gave it up.
 * `fault`: the other end broke the protocol. `expired`: it was without connection too long.
 */
export const OVER = { done: 0, aborted: 1, fault: 2, expired: 3 } as const
export type Over = keyof typeof OVER

export function encodeHello(hello: Hello): Uint8Array {
  const bytes = new Uint8Array(HELLO_BYTES)
  const view = start(bytes)
  bytes[9] = hello.kind === 'new' ? 0 : 1
  bytes.set(hello.id, 12)
  view.setUint32(28, hello.leg)
  setPosition(view, 32, hello.received)
  view.setUint32(40, hello.window)
  return bytes
}

export function encodeWelcome(welcome: Welcome): Uint8Array {
  const bytes = new Uint8Array(WELCOME_BYTES)
  const view = start(bytes)
  bytes[9] = STATUS[welcome.status]
  bytes[10] = welcome.refusal === null ? 0 : REFUSAL[welcome.refusal]
  setPosition(view, 12, welcome.received)
  view.setUint32(20, welcome.window)
  return bytes
}

/** The WELCOME of an acceptor that wants no such leg. */
export function encodeRefusal(status: 'unknown' | 'refused', refusal: Refusal): Uint8Array {
  return encodeWelcome({ status, refusal, received: 0, window: 0 })
}

function start(bytes: Uint8Array): DataView {
  bytes.set(MAGIC)
  bytes[8] = VERSION
  return new DataView(bytes.buffer)
}

/** The version a HELLO or WELCOME names; only version 1 has the layout that the others here decode. */
export function versionOf(bytes: Uint8Array): number {
  return bytes[8] as number
}

/** @param bytes the {@link HELLO_BYTES} of a HELLO, as {@link Preamble} gathered them; not kept. @throws RemoteProtocolError */
export function decodeHello(bytes: Uint8Array): Hello {
  const view = viewOf(bytes)
  const kind = bytes[9] as number
  if (kind > 1) throw fault(`HELLO of kind ${kind}`)
  if (view.getUint16(10) !== 0) throw fault('HELLO with reserved bytes set')
  const leg = view.getUint32(28)
  const received = positionAt(view, 32)
  if (leg === 0) throw fault('HELLO without number')
  if (kind === 0 && received !== 0) throw fault('HELLO of a new stream that has received something')
  const id = bytes.slice(12, 28)
  return { kind: kind === 0 ? 'new' : 'resume', id, leg, received, window: windowAt(view, 40) }
}

const STATUSES = Object.keys(STATUS) as Status[]
const REFUSALS = Object.keys(REFUSAL) as Refusal[]
const OVERS = Object.keys(OVER) as Over[]

/** @param bytes the {@link WELCOME_BYTES} of a WELCOME. @throws RemoteProtocolError */
export function decodeWelcome(bytes: Uint8Array): Welcome {
  const version = versionOf(bytes)
  if (version !== VERSION) throw fault(`WELCOME of version ${version}`)
  const view = viewOf(bytes)
  const status = STATUSES[bytes[9] as number]
  const refusal = REFUSALS[bytes[10] as number] ?? null
  if (status === undefined) throw fault(`WELCOME with status ${bytes[9]}`)
  if ((refusal === 'none') !== (status !== 'refused') || bytes[11] !== 0) throw fault('WELCOME that contradicts itself')
  if (status === 'unknown' || status === 'refused') return { status, refusal, received: 0, window: 0 }
  return { status, refusal, received: positionAt(view, 12), window: windowAt(view, 20) }
}

/** Gathers a HELLO or WELCOME; a stranger is known by the first byte that differs. */
export class Preamble {
  readonly bytes: Uint8Array
  #length = 0

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
  }

  get complete(): boolean {
    return this.#length === this.bytes.length
  }

  /** @returns how many bytes of `chunk` belong to it; the rest are frames. @throws RemoteProtocolError */
  push(chunk: Uint8Array): number {
    const { bytes } = this
    const before = this.#length
    const taken = Math.min(chunk.length, bytes.length - before)
    for (let i = 0; i < taken; i++) {
      const byte = chunk[i] as number
      const at = before + i
      if (at < MAGIC.length && byte !== MAGIC[at]) throw fault('what came is no resumable stream')
      bytes[at] = byte
    }
    this.#length += taken
    return taken
  }
}

/** Header of a DATA frame. @param length 1 to {@link MAX_DATA_BYTES}. */
export function encodeDataHeader(length: number): Uint8Array {
  return Uint8Array.of(FRAME.DATA, length >> 16, (length >> 8) & 0xff, length & 0xff)
}

export function encodeAck(consumed: number): Uint8Array {
  const bytes = new Uint8Array(9)
  bytes[0] = FRAME.ACK
  setPosition(new DataView(bytes.buffer), 1, consumed)
  return bytes
}

export function encodeFin(): Uint8Array {
  return Uint8Array.of(FRAME.FIN)
}

export function encodeOver(why: Over): Uint8Array {
  return Uint8Array.of(FRAME.OVER, OVER[why])
}

export function encodePing(): Uint8Array {
  return Uint8Array.of(FRAME.PING)
}

export function encodePong(): Uint8Array {
  return Uint8Array.of(FRAME.PONG)
}

/** Gets what a leg brought, in order. */
export interface FrameSink {
  /** @param bytes a view into the chunk; some of one frame, or all of it. */
  linkData(bytes: Uint8Array): void
  /** @param consumed up to this position. */
  linkAck(consumed: number): void
  linkFin(): void
  linkOver(why: Over): void
  linkPing(): void
  linkPong(): void
}

/** Cuts the chunks of one leg into frames. Data are passed on as they come: no frame is waited for or copied. */
export class FrameDecoder {
  /** Bytes of data still to come of the current DATA frame. */
  #left = 0
  /** Type of a frame whose fields are incomplete; 0 = between frames. */
  #type = 0
  #missing = 0
  #value = 0
  #stopped = false

  /** Nothing more is reported, not even of the chunk at hand. */
  stop(): void {
    this.#stopped = true
  }

  /** @throws RemoteProtocolError VSPC_LINK_PROTOCOL; the leg is of no use then. */
  push(chunk: Uint8Array, sink: FrameSink): void {
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left)
        this.#left -= end - at
        const data = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end)
        at = end
        sink.linkData(data)
        continue
      }
      const byte = chunk[at++] as number
      if (this.#type === 0) this.#begin(byte, sink)
      else this.#field(byte, sink)
    }
  }

  #begin(type: number, sink: FrameSink): void {
    if (type === FRAME.DATA) this.#expect(type, 3)
    else if (type === FRAME.ACK) this.#expect(type, 8)
    else if (type === FRAME.OVER) this.#expect(type, 1)
    else if (type === FRAME.FIN) sink.linkFin()
    else if (type === FRAME.PING) sink.linkPing()
    else if (type === FRAME.PONG) sink.linkPong()
    else throw fault(`frame of type ${type}`)
  }

  #expect(type: number, fields: number): void {
    this.#type = type
    this.#missing = fields
    this.#value = 0
  }

  #field(byte: number, sink: FrameSink): void {
    this.#value = this.#value * 256 + byte
    if (--this.#missing > 0) return
    const type = this.#type
    const value = this.#value
    this.#type = 0
    if (type === FRAME.DATA) {
      if (value === 0 || value > MAX_DATA_BYTES) throw fault(`DATA of ${value} bytes`)
      this.#left = value
    } else if (type === FRAME.ACK) {
      if (value > Number.MAX_SAFE_INTEGER) throw fault('ACK of a position beyond 2^53')
      sink.linkAck(value)
    } else {
      const why = OVERS[value]
      if (why === undefined) throw fault(`OVER with reason ${value}`)
      sink.linkOver(why)
    }
  }
}

export function fault(what: string): RemoteProtocolError {
  return new RemoteProtocolError('VSPC_LINK_PROTOCOL', `resumable stream: the peer broke the protocol: ${what}`)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function setPosition(view: DataView, at: number, position: number): void {
  view.setUint32(at, Math.floor(position / 0x1_0000_0000))
  view.setUint32(at + 4, position % 0x1_0000_0000)
}

function positionAt(view: DataView, at: number): number {
  const position = view.getUint32(at) * 0x1_0000_0000 + view.getUint32(at + 4)
  if (position > Number.MAX_SAFE_INTEGER) throw fault('position beyond 2^53')
  return position
}

function windowAt(view: DataView, at: number): number {
  const window = view.getUint32(at)
  if (window === 0 || window > MAX_WINDOW) throw fault(`window of ${window} bytes`)
  return window
}
