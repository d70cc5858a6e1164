/** One connection of a replay: the recorded VM's side over a socket. SHELL. */
import type { Duplex } from 'node:stream'
import { errorMessage, formatHex } from '../base/index.ts'
import { encodeNegotiation, encodeSubnegotiation, OPTION, SUBOPTION } from '../telnet/index.ts'
import { Expectations, proxySaying } from './expectations.ts'
import { concat, type TelnetItem, TelnetItems } from './items.ts'
import { Sequences } from './sequences.ts'
import type { VmNegotiation } from './vm-negotiation.ts'

/** The real GOAHEAD's payload (sequence and secret) that takes the place of a recorded cookie; null when none came. */
export type CookieExchange = (recorded: Uint8Array) => Uint8Array | null

/**
 * Owns its socket from `connect` to `close`.
 *
 * What the VM says goes out in whole commands only, so that an answer of ours never falls into the middle of one; an
 * item that the recording cut in two waits for its other half.
 */
export class ReplayStream {
  readonly number: number
  readonly expectations = new Expectations()
  /** Null: no Telnet here (`protocol=raw`). */
  readonly #negotiation: VmNegotiation | null
  /** What the recording's VM and proxy say, and what the server says. */
  readonly #vm = new TelnetItems()
  readonly #proxy = new TelnetItems()
  readonly #server = new TelnetItems()
  readonly #sequences = new Sequences()
  /** By hex of the sequence: what the last GOAHEAD really carried. */
  readonly #goaheads = new Map<string, Uint8Array>()
  readonly #changed: () => void
  #socket: Duplex | null = null
  #ended = false
  #finished = false
  #closed = false
  #fault: string | null = null
  bytesSent = 0
  bytesReceived = 0

  /** @param changed called when the server said something, took what was waiting, or is gone. */
  constructor(number: number, negotiation: VmNegotiation | null, changed: () => void) {
    this.number = number
    this.#negotiation = negotiation
    this.#changed = changed
  }

  /** The server's side has ended, or the socket failed: nothing more comes. */
  get ended(): boolean {
    return this.#ended
  }

  get closed(): boolean {
    return this.#closed
  }

  get connected(): boolean {
    return this.#socket !== null
  }

  /** Why the connection broke; null for a clean end. */
  get fault(): string | null {
    return this.#fault
  }

  /** The server does not read as fast as the recording speaks. */
  get full(): boolean {
    return this.#socket !== null && !this.#closed && this.#socket.writableNeedDrain
  }

  /** Takes ownership of `socket`. */
  connect(socket: Duplex): void {
    this.#socket = socket
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    socket.on('drain', this.#changed)
  }

  /** Cuts what the recording's VM sends into what can be sent whole. */
  cut(bytes: Uint8Array): TelnetItem[] {
    if (this.#negotiation) return this.#vm.push(bytes)
    return [{ kind: 'data', bytes, raw: bytes, start: 0, end: bytes.length }]
  }

  /** The recording's VM says this now. */
  play(items: readonly TelnetItem[], exchange: CookieExchange): void {
    this.#send(concat(items.map((item) => this.#outgoing(item, exchange))))
  }

  /** The recording's proxy sent `bytes`: from now on the server should have said the same. */
  expect(bytes: Uint8Array, t: number, cookie: (recorded: Uint8Array, sequence: Uint8Array) => void): void {
    if (!this.#negotiation) return
    for (const item of this.#proxy.push(bytes)) {
      const saying = proxySaying(item, this.#sequences)
      if (saying) this.expectations.expect(saying, t)
      if (isVmware(item, SUBOPTION.VMOTION_GOAHEAD)) {
        const body = item.payload.subarray(1)
        cookie(body, body.subarray(0, this.#sequences.lengthIn(body) ?? 0))
      }
    }
  }

  /** Sequence and secret that the server gave for `sequence`; null when it has not. */
  goaheadFor(sequence: Uint8Array): Uint8Array | null {
    return this.#goaheads.get(formatHex(sequence)) ?? null
  }

  /** Sends what is left and ends our side; the server ends its own. */
  finish(): void {
    const rest = this.#vm.end()
    if (rest) this.#send(rest.raw)
    this.#finished = true
    this.#socket?.end()
  }

  destroy(): void {
    this.#socket?.destroy()
  }

  #outgoing(item: TelnetItem, exchange: CookieExchange): Uint8Array {
    if (item.kind === 'negotiation') this.#negotiation?.sent(item.verb, item.option)
    if (isVmware(item, SUBOPTION.VMOTION_BEGIN)) {
      this.#sequences.learn(item.payload.subarray(1))
    }
    const recorded = peerCookie(item)
    const cookie = recorded && exchange(recorded)
    if (!cookie) return item.raw
    return encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, concat([Uint8Array.of(SUBOPTION.VMOTION_PEER), cookie]))
  }

  #send(bytes: Uint8Array): void {
    const socket = this.#socket
    if (!socket || this.#closed || socket.writableEnded || bytes.length === 0) return
    this.bytesSent += bytes.length
    socket.write(bytes)
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.bytesReceived += chunk.length
    if (!this.#negotiation) return
    for (const item of this.#server.push(chunk)) this.#incoming(item, this.#negotiation)
    this.#changed()
  }

  #incoming(item: TelnetItem, negotiation: VmNegotiation): void {
    if (item.kind === 'negotiation') {
      const answer = negotiation.heard(item.verb, item.option)
      if (answer !== null) this.#send(encodeNegotiation(answer, item.option))
    }
    const saying = proxySaying(item, this.#sequences)
    if (saying) this.expectations.hear(saying)
    if (isVmware(item, SUBOPTION.VMOTION_GOAHEAD)) {
      const body = item.payload.slice(1)
      this.#goaheads.set(formatHex(body.subarray(0, this.#sequences.lengthIn(body) ?? 0)), body)
    }
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#changed()
  }

  readonly #onError = (error: Error): void => {
    // A server that resets what we have ended already breaks nothing.
    if (!this.#finished) this.#fault ??= errorMessage(error)
  }

  readonly #onClose = (): void => {
    this.#ended = true
    this.#closed = true
    const socket = this.#socket
    socket?.off('data', this.#onData)
    socket?.off('end', this.#onEnd)
    socket?.off('close', this.#onClose)
    socket?.off('drain', this.#changed)
    this.#changed()
  }
}

/** Sequence and secret of a VMOTION-PEER; null for every other item. */
export function peerCookie(item: TelnetItem): Uint8Array | null {
  return isVmware(item, SUBOPTION.VMOTION_PEER) ? item.payload.subarray(1) : null
}

function isVmware(item: TelnetItem, code: number): item is TelnetItem & { kind: 'sub' } {
  return item.kind === 'sub' && item.option === OPTION.VMWARE_TELNET_EXT && item.payload[0] === code
}
