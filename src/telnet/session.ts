/**
 * One end of a Telnet connection: decoder, options and encoder joined; no socket.
 *
 * Bytes go in through `receive`; everything comes out through the owner's methods, synchronously and in wire order.
 * Answers to one chunk are gathered and sent as one piece at its end.
 */
import { DO, type Verb, WILL, WONT } from './codes.ts'
import { Decoder, type DecoderSink, type TelnetAnomaly } from './decoder.ts'
import { encodeCommand, encodeData, encodeNegotiation, encodeSubnegotiation } from './encoder.ts'
import { type OptionPolicy, OptionStates, type OptionStep, type Side } from './options.ts'

/** Whoever owns the session: it gets what arrives, and sends what has to go. */
export interface TelnetOwner {
  /** Serial data; a view valid until return. */
  telnetData(bytes: Uint8Array): void
  /** A half of an option came into force, went out of it, or our wish for it was refused. */
  telnetOption(side: Side, option: number, change: 'on' | 'off' | 'refused'): void
  /** Only for options in force on the peer's side (or ours); `payload` is a view valid until return. */
  telnetSubnegotiation(option: number, payload: Uint8Array): void
  /** NOP, BRK, AYT, ... */
  telnetCommand(code: number): void
  telnetAnomaly(kind: TelnetAnomaly, offset: number): void
  /** Bytes for the wire, already encoded. The callee owns the array. */
  telnetSend(bytes: Uint8Array): void
}

/** Telnet replies of one chunk, gathered; shared by all sessions because `receive` is synchronous and not re-entered. */
let gathering: TelnetSession | null = null
const GATHER_MAX = 4096
const gathered = new Uint8Array(GATHER_MAX)
let gatheredLength = 0

export class TelnetSession implements DecoderSink {
  readonly #owner: TelnetOwner
  readonly #decoder: Decoder
  readonly options: OptionStates
  #repliesLeft: number

  constructor(
    owner: TelnetOwner,
    policy: OptionPolicy,
    limits: { maxSubnegotiationBytes: number; maxNegotiationReplies: number },
  ) {
    this.#owner = owner
    this.#decoder = new Decoder(limits.maxSubnegotiationBytes)
    this.options = new OptionStates(policy)
    this.#repliesLeft = limits.maxNegotiationReplies
  }

  /**
   * Sends all offers of the policy, before anything else was said on either side. Crossing offers of the peer cancel
   * out (RFC 1143), so this can go first.
   */
  start(): void {
    const offers = this.options.offerAll()
    this.#repliesLeft -= offers.length / 3
    this.#owner.telnetSend(offers)
  }

  /** Feeds what came from the peer; see {@link Decoder.push} for who owns `chunk`. */
  receive(chunk: Uint8Array): number {
    if (gathering !== null) return this.#decoder.push(chunk, this)
    gathering = this
    try {
      return this.#decoder.push(chunk, this)
    } finally {
      this.#flush()
    }
  }

  /** Serial data to the peer. */
  sendData(bytes: Uint8Array): void {
    this.#send(encodeData(bytes))
  }

  /** A subnegotiation of `option`; IAC in the payload is doubled here. */
  sendSubnegotiation(option: number, payload: Uint8Array): void {
    this.#send(encodeSubnegotiation(option, payload))
  }

  /** A two-byte command such as BRK. */
  sendCommand(code: number): void {
    this.#send(encodeCommand(code))
  }

  // DecoderSink

  data(bytes: Uint8Array): void {
    this.#owner.telnetData(bytes)
  }

  command(code: number): void {
    this.#owner.telnetCommand(code)
  }

  negotiation(verb: Verb, option: number): void {
    const side: Side = verb === WILL || verb === WONT ? 'them' : 'us'
    const asks = (verb === WILL || verb === DO) && this.options.state(side, option) === 'NO'
    // What cannot be answered is not agreed to: else an option could be turned off and on, and announced, for ever.
    if (asks && this.#repliesLeft <= 0) this.#leaveUnanswered()
    else this.#apply(side, option, this.options.receive(verb, option))
  }

  subnegotiation(option: number, payload: Uint8Array): void {
    if (this.options.isOn('them', option) || this.options.isOn('us', option)) {
      this.#owner.telnetSubnegotiation(option, payload)
    } else {
      this.#owner.telnetAnomaly('subnegotiation-of-inactive-option', this.#decoder.offset - 1)
    }
  }

  anomaly(kind: TelnetAnomaly, offset: number): void {
    this.#owner.telnetAnomaly(kind, offset)
  }

  #apply(side: Side, option: number, step: OptionStep): void {
    if (step.answer !== null) {
      if (this.#repliesLeft > 0) {
        this.#repliesLeft--
        this.#send(encodeNegotiation(step.answer, option))
      } else {
        this.#leaveUnanswered()
      }
    }
    if (step.announce !== null) this.#owner.telnetOption(side, option, step.announce)
  }

  /** Said once; from then on silence. A peer that needs more answers than this is not negotiating. */
  #leaveUnanswered(): void {
    if (this.#repliesLeft < 0) return
    this.#repliesLeft = -1
    this.#owner.telnetAnomaly('negotiation-flood', Math.max(0, this.#decoder.offset - 1))
  }

  #send(bytes: Uint8Array): void {
    if (gathering !== this) {
      this.#owner.telnetSend(bytes)
      return
    }
    if (bytes.length > GATHER_MAX || gatheredLength + bytes.length > gathered.length) this.#flushGathered()
    if (bytes.length > GATHER_MAX) {
      this.#owner.telnetSend(bytes)
      return
    }
    gathered.set(bytes, gatheredLength)
    gatheredLength += bytes.length
  }

  #flush(): void {
    // Before the owner is called: what it sends from there, or a failure of its, must not stay behind in the shared
    // buffer for another session's bytes to follow.
    gathering = null
    this.#flushGathered()
  }

  #flushGathered(): void {
    if (gatheredLength === 0) return
    const bytes = gathered.slice(0, gatheredLength)
    gatheredLength = 0
    this.#owner.telnetSend(bytes)
  }
}
