import { RawSocket, type SocketOwner } from './raw-socket.ts'
import { CODE, findFrame, introduction, peerIntroduction, wholeIntroduction } from './wire.ts'

/** What a connection says until it is a port's, and which answer shows that it is. */
export interface Opening {
  /** The first is said at once, each other one when the proxy has answered what was before. */
  readonly messages: readonly Buffer[]
  readonly until: number
}

/** `volunteered`: everything in one segment. `captured`: step by step, each in answer to the proxy, as ESX does. */
export type Dialogue = 'volunteered' | 'captured'

export function openingOf(index: number, dialogue: Dialogue): Opening {
  const messages = dialogue === 'captured' ? introduction(index) : [wholeIntroduction(index)]
  return { messages, until: CODE.willProxy }
}

/** Of a vMotion's destination. */
export function peerOpening(index: number, cookie: Uint8Array): Opening {
  return { messages: [peerIntroduction(index, cookie)], until: CODE.peerOk }
}

/** Source addresses in turn: the kernel has 28,000 ports for each. */
export function addressOf(number: number): string {
  return `127.0.${1 + ((number >> 6) & 31)}.${1 + (number & 63)}`
}

/** The proxy's opening offers. */
const OFFER_BYTES = 18
const KNOWN_SUBOPTIONS_2 = 1

/** One connection of a VM's serial port. */
export class RawVm implements SocketOwner {
  readonly index: number
  readonly socket: RawSocket
  readonly address: string
  /** What arrives after the opening; a view, valid during the call. */
  onBytes: ((bytes: Buffer) => void) | null = null
  onDrained: (() => void) | null = null
  onEnded: ((reason: string) => void) | null = null
  #opening: Opening | null
  #said = 0
  #heard = Buffer.alloc(0)
  #accepted: ((vm: this) => void) | null = null
  #failed: ((error: Error) => void) | null = null

  constructor(index: number, tcpPort: number, address: string, opening: Opening) {
    this.index = index
    this.address = address
    this.#opening = opening
    this.socket = new RawSocket(tcpPort, address, this)
  }

  /** Resolves once the answer was heard that the opening waits for, and its last message is out. */
  accepted(): Promise<this> {
    return new Promise((resolve, reject) => {
      this.#accepted = resolve
      this.#failed = reject
    })
  }

  opened(): void {
    this.#say()
  }

  received(bytes: Buffer): void {
    const opening = this.#opening
    if (opening === null) {
      this.onBytes?.(bytes)
      return
    }
    this.#heard = Buffer.concat([this.#heard, bytes])
    if (this.#said < opening.messages.length) this.#goOn(opening)
    if (findFrame(this.#heard, opening.until) === null) return
    this.#opening = null
    this.#heard = Buffer.alloc(0)
    this.#accepted?.(this)
    this.#accepted = this.#failed = null
  }

  /** The offers call for option answers, KNOWN-SUBOPTIONS-2 for DO-PROXY, WILL-PROXY for the identity. */
  #goOn(opening: Opening): void {
    if (this.#said === 1 && this.#heard.length >= OFFER_BYTES) this.#say()
    if (this.#said === 2 && findFrame(this.#heard, KNOWN_SUBOPTIONS_2) !== null) this.#say()
    if (this.#said === 3 && findFrame(this.#heard, opening.until) !== null) this.#say()
  }

  #say(): void {
    const message = this.#opening?.messages[this.#said++]
    if (message !== undefined) this.socket.write(message)
  }

  drained(): void {
    this.onDrained?.()
  }

  ended(reason: string): void {
    this.#failed?.(new Error(`VM ${this.index}: ${reason} before it was accepted`))
    this.onEnded?.(reason)
  }
}
