/** The VM's side of a connection, written by hand from the protocol: none of our encoder or decoder is used here. */
import { Duplex } from 'node:stream'
import type { LinkInfo } from '../../src/transport/index.ts'
import type { Server } from '../../src/vspc/index.ts'
import { type VmEntry, VmSession } from '../../src/vspc/vm-session.ts'

const IAC = 0xff
const SB = 0xfa
const SE = 0xf0

/** Codes of option 232 that these tests send or look for. */
export const CODE = {
  BEGIN: 40,
  GOAHEAD: 41,
  NOTNOW: 43,
  PEER: 44,
  PEER_OK: 45,
  COMPLETE: 46,
  ABORT: 48,
  DO_PROXY: 70,
  WILL_PROXY: 71,
  WONT_PROXY: 73,
  VM_VC_UUID: 80,
  VM_NAME: 82,
  VM_BIOS_UUID: 84,
  VM_LOCATION_UUID: 86,
} as const

/** What our side said, in order: serial data, a suboption of 232, or the end. */
export type Heard = { data: Uint8Array } | { code: number; payload: Uint8Array } | { end: true }

/** One end of a pair in memory. `stalled`: the peer's kernel takes nothing more, until it is let go. */
export class MemorySocket extends Duplex {
  readonly #taken: (chunk: Uint8Array | null) => void
  #waiting: { chunk: Uint8Array; done: () => void } | null = null
  #stalled = false

  constructor(taken: (chunk: Uint8Array | null) => void, writableHighWaterMark = 16_384) {
    super({ allowHalfOpen: true, writableHighWaterMark })
    this.#taken = taken
  }

  get stalled(): boolean {
    return this.#stalled
  }

  set stalled(stalled: boolean) {
    this.#stalled = stalled
    const waiting = this.#waiting
    if (stalled || waiting === null) return
    this.#waiting = null
    this.#taken(waiting.chunk)
    waiting.done()
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.#stalled) {
      this.#waiting = { chunk, done }
      return
    }
    this.#taken(chunk)
    done()
  }

  override _final(done: () => void): void {
    this.#taken(null)
    done()
  }
}

/** Lets streams do what they put off to the next turn: resume, drain, end, close. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0))

/** Serial data for the wire. */
export function serial(data: Iterable<number>): number[] {
  return [...data].flatMap((byte) => (byte === IAC ? [IAC, IAC] : [byte]))
}

/** A suboption of 232 for the wire. */
export function frame(code: number, payload: Iterable<number> = []): number[] {
  return [IAC, SB, 232, ...serial([code, ...payload]), IAC, SE]
}

/** WILL/DO BINARY, WILL/DO SGA, DO ECHO, WILL 232: what a host says, all of it answers to our offers. */
export const HELLO = [IAC, 0xfb, 0, IAC, 0xfd, 0, IAC, 0xfb, 3, IAC, 0xfd, 3, IAC, 0xfd, 1, IAC, 0xfb, 232]

export const PLAIN_ENTRY: VmEntry = {
  uri: 'tcp://127.0.0.1:13370',
  protocol: 'vmware',
  name: null,
  label: null,
  address: null,
}

/** A connection of a host to `server`. What it hears is decoded at once and kept in order. */
export class VmPeer {
  readonly socket: MemorySocket
  readonly session: VmSession
  readonly heard: Heard[] = []
  #state: 'data' | 'iac' | 'option' | 'sb' | 'sb-iac' = 'data'
  #sb: number[] = []

  /** Called for whatever is added to `heard`, at once. */
  onHeard: (heard: Heard) => void = () => {}

  /** @param link of a stream that survives its connections. */
  constructor(
    server: Server,
    entry: Partial<VmEntry> = {},
    address = '10.0.0.1',
    highWaterMark = 16_384,
    link?: LinkInfo,
  ) {
    this.socket = new MemorySocket((chunk) => this.#hear(chunk), highWaterMark)
    const peer = { address, display: `${address}:50000`, transport: 'tcp' as const }
    const merged = { ...PLAIN_ENTRY, ...entry }
    this.#raw = merged.protocol === 'raw'
    this.session = new VmSession(server, merged, { socket: this.socket, peer, ...(link === undefined ? {} : { link }) })
    this.session.start()
  }

  readonly #raw: boolean

  /** Bytes for the server, as they are. */
  send(bytes: Iterable<number>): void {
    if (!this.socket.destroyed) this.socket.push(Buffer.from([...bytes]))
  }

  say(code: number, payload: Iterable<number> | string = []): void {
    this.send(frame(code, typeof payload === 'string' ? bytesOf(payload) : payload))
  }

  /** Serial data of the VM. */
  print(data: Iterable<number> | string): void {
    const bytes = typeof data === 'string' ? bytesOf(data) : data
    this.send(this.#raw ? bytes : serial(bytes))
  }

  /** FIN. */
  end(): void {
    if (!this.socket.destroyed) this.socket.push(null)
  }

  /** RST. */
  reset(): void {
    this.socket.destroy()
  }

  /** Serial data received so far. */
  get input(): string {
    return this.heard.map((heard) => ('data' in heard ? Buffer.from(heard.data).toString('latin1') : '')).join('')
  }

  /** Payloads of suboption `code` received so far, as hex. */
  said(code: number): string[] {
    return this.heard.flatMap((heard) =>
      'code' in heard && heard.code === code ? [Buffer.from(heard.payload).toString('hex')] : [],
    )
  }

  /** Sequence and secret of the newest GOAHEAD: what a destination presents. */
  get cookie(): Uint8Array {
    const goahead = this.said(CODE.GOAHEAD).at(-1)
    if (goahead === undefined) throw new Error('no GOAHEAD yet')
    return Buffer.from(goahead, 'hex')
  }

  get ended(): boolean {
    return this.heard.some((heard) => 'end' in heard)
  }

  #hear(chunk: Uint8Array | null): void {
    if (chunk === null) this.#note({ end: true })
    else if (this.#raw) this.#note({ data: chunk.slice() })
    else this.#decode(chunk)
  }

  #note(heard: Heard): void {
    this.heard.push(heard)
    this.onHeard(heard)
  }

  #decode(chunk: Uint8Array): void {
    let data: number[] = []
    const flush = (): void => {
      if (data.length > 0) this.#note({ data: Uint8Array.from(data) })
      data = []
    }
    for (const byte of chunk) {
      if (this.#state === 'data') {
        if (byte === IAC) this.#state = 'iac'
        else data.push(byte)
      } else if (this.#state === 'iac') {
        if (byte === IAC) data.push(byte)
        else if (byte === SB) this.#sb = []
        this.#state = byte === SB ? 'sb' : byte > SB && byte < IAC ? 'option' : 'data'
      } else if (this.#state === 'option') {
        this.#state = 'data'
      } else if (this.#state === 'sb') {
        if (byte === IAC) this.#state = 'sb-iac'
        else this.#sb.push(byte)
      } else if (byte === IAC) {
        this.#sb.push(byte)
        this.#state = 'sb'
      } else {
        this.#state = 'data'
        flush()
        const [option, code = -1, ...payload] = this.#sb
        if (option === 232) this.#note({ code, payload: Uint8Array.from(payload) })
      }
    }
    flush()
  }
}

export interface VmDescription {
  uuid?: string | null
  name?: string | null
  uri?: string
  direction?: 'S' | 'C'
  address?: string
}

/** A host that has introduced its VM: the port is attached when this returns. */
export async function bootVm(server: Server, description: VmDescription = {}): Promise<VmPeer> {
  const { uuid = UUID, name = 'vm1', uri = 'vSPC.py', direction = 'S', address = '10.0.0.1' } = description
  const vm = new VmPeer(server, {}, address)
  await turn()
  vm.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf(direction + uri))])
  if (uuid !== null) vm.say(CODE.VM_VC_UUID, uuid)
  if (name !== null) vm.say(CODE.VM_NAME, name)
  await turn()
  return vm
}

/** A destination that has presented `cookie`. */
export async function migrateTo(server: Server, cookie: Uint8Array, address = '10.0.0.2'): Promise<VmPeer> {
  const vm = new VmPeer(server, {}, address)
  await turn()
  vm.send([...HELLO, ...frame(CODE.PEER, cookie)])
  await turn()
  return vm
}

/** As VMware spells it, and as we do. */
export const UUID = '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 01'
export const ID = '01234567-89ab-cdef-fedc-ba9800000001'
export const UUID2 = '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 02'
export const ID2 = '01234567-89ab-cdef-fedc-ba9800000002'
