/**
 * Which options we offer, accept and refuse, and the state of both halves of each, for one connection.
 *
 * A connection that is one of 20,000 must not carry objects per option: the six known options take 3 bits a half,
 * packed in two small integers. Options not listed in a policy are refused without being remembered.
 */
import { DO, DONT, OPTION, type Verb, WILL, WONT } from './codes.ts'
import { encodeNegotiation } from './encoder.ts'
import { type QEvent, type QState, qStep } from './qmethod.ts'

/** `us`: the half we perform (our WILL); `them`: the half the peer performs (our DO). */
export type Side = 'us' | 'them'

export interface OptionPolicy {
  /** Options we offer at once: our WILLs, in sending order. */
  readonly offerUs: readonly number[]
  /** Options we ask for at once: our DOs, in sending order. */
  readonly offerThem: readonly number[]
  /** Options whose DO from the peer we accept. */
  readonly acceptUs: readonly number[]
  /** Options whose WILL from the peer we accept. */
  readonly acceptThem: readonly number[]
}

/** Towards an ESXi host. ECHO is offered as in VMware's capture [seen] but never performed: a formality. */
export const VMWARE_POLICY: OptionPolicy = {
  offerUs: [OPTION.BINARY, OPTION.SGA, OPTION.ECHO],
  offerThem: [OPTION.BINARY, OPTION.SGA, OPTION.VMWARE_TELNET_EXT],
  acceptUs: [OPTION.BINARY, OPTION.SGA, OPTION.ECHO],
  acceptThem: [OPTION.BINARY, OPTION.SGA, OPTION.COM_PORT, OPTION.VMWARE_TELNET_EXT],
}

/** Towards a serial line that speaks plain Telnet (`protocol=telnet`). */
export const TELNET_POLICY: OptionPolicy = {
  offerUs: [OPTION.BINARY, OPTION.SGA],
  offerThem: [OPTION.BINARY, OPTION.SGA],
  acceptUs: [OPTION.BINARY, OPTION.SGA],
  // The far end is the terminal's host here: it may echo, as `WILL ECHO` of a Telnet server says.
  acceptThem: [OPTION.BINARY, OPTION.SGA, OPTION.ECHO, OPTION.COM_PORT],
}

/**
 * Towards a person's Telnet client that has to ask for BINARY itself: we echo (the guest does) and never say GA, which
 * makes it send each key at once. Window size, terminal type, LINEMODE and the like mean nothing on a serial line, and
 * are refused.
 */
export const PERSON_NVT_POLICY: OptionPolicy = {
  offerUs: [OPTION.ECHO, OPTION.SGA],
  offerThem: [OPTION.SGA],
  acceptUs: [OPTION.BINARY, OPTION.ECHO, OPTION.SGA],
  acceptThem: [OPTION.BINARY, OPTION.SGA],
}

/**
 * The same with BINARY offered in both directions: without it GNU telnet takes the byte 0x9D, of many a letter in
 * UTF-8, for its escape, `-8` or not [seen]; and every client turns keys of 8 bits into what it likes.
 */
export const PERSON_POLICY: OptionPolicy = {
  ...PERSON_NVT_POLICY,
  offerUs: [...PERSON_NVT_POLICY.offerUs, OPTION.BINARY],
  offerThem: [...PERSON_NVT_POLICY.offerThem, OPTION.BINARY],
}

const SLOTS: readonly number[] = [
  OPTION.BINARY,
  OPTION.ECHO,
  OPTION.SGA,
  OPTION.AUTHENTICATION,
  OPTION.COM_PORT,
  OPTION.VMWARE_TELNET_EXT,
]
const STATES: readonly QState[] = ['NO', 'YES', 'WANTNO', 'WANTNO-OPPOSITE', 'WANTYES', 'WANTYES-OPPOSITE']

/** What one negotiation step leads to; null = nothing. */
export interface OptionStep {
  readonly answer: Verb | null
  readonly announce: 'on' | 'off' | 'refused' | null
}

const NOTHING: OptionStep = { answer: null, announce: null }
const REFUSE_THEM: OptionStep = { answer: DONT, announce: null }
const REFUSE_US: OptionStep = { answer: WONT, announce: null }

/** What every connection of a policy begins with. */
interface Opening {
  readonly us: number
  readonly them: number
  readonly offers: Uint8Array
}

const openings = new WeakMap<OptionPolicy, Opening>()

export class OptionStates {
  readonly policy: OptionPolicy
  #us = 0
  #them = 0

  constructor(policy: OptionPolicy) {
    this.policy = policy
  }

  state(side: Side, option: number): QState {
    const slot = SLOTS.indexOf(option)
    if (slot < 0) return 'NO'
    return STATES[((side === 'us' ? this.#us : this.#them) >> (slot * 3)) & 7] as QState
  }

  /**
   * True while the half is in force. A half we asked to turn off stays on until the peer confirms (RFC 1143: WANTNO is
   * still "on" for what is in flight).
   */
  isOn(side: Side, option: number): boolean {
    const state = this.state(side, option)
    return state === 'YES' || state === 'WANTNO' || state === 'WANTNO-OPPOSITE'
  }

  /**
   * We want all halves on that the policy offers. To be called first: it sets every state. Worked out once for a
   * policy, since each of 20,000 connections begins alike.
   * @returns the offers, encoded; the caller's own.
   */
  offerAll(): Uint8Array {
    let opening = openings.get(this.policy)
    if (opening === undefined) {
      opening = OptionStates.#openingOf(this.policy)
      openings.set(this.policy, opening)
    }
    this.#us = opening.us
    this.#them = opening.them
    return opening.offers.slice()
  }

  static #openingOf(policy: OptionPolicy): Opening {
    const states = new OptionStates(policy)
    const offers: number[] = []
    const offer = (side: Side, option: number) => {
      const { answer } = states.ask(side, option, true)
      if (answer !== null) offers.push(...encodeNegotiation(answer, option))
    }
    for (const option of policy.offerUs) offer('us', option)
    for (const option of policy.offerThem) offer('them', option)
    return { us: states.#us, them: states.#them, offers: Uint8Array.from(offers) }
  }

  /** We want a half on or off. */
  ask(side: Side, option: number, on: boolean): OptionStep {
    return this.#step(side, option, on ? 'ASK_ON' : 'ASK_OFF')
  }

  /** The peer said `verb option`. */
  receive(verb: Verb, option: number): OptionStep {
    const side: Side = verb === WILL || verb === WONT ? 'them' : 'us'
    const positive = verb === WILL || verb === DO
    if (SLOTS.indexOf(option) < 0) return !positive ? NOTHING : side === 'them' ? REFUSE_THEM : REFUSE_US
    if (!positive) return this.#step(side, option, 'NEGATIVE')
    const accepted = (side === 'us' ? this.policy.acceptUs : this.policy.acceptThem).includes(option)
    return this.#step(side, option, accepted ? 'POSITIVE_OK' : 'POSITIVE_NO')
  }

  #step(side: Side, option: number, event: QEvent): OptionStep {
    const slot = SLOTS.indexOf(option)
    if (slot < 0) return NOTHING
    const [next, answer, announce] = qStep(this.state(side, option), event)
    const shift = slot * 3
    const bits = STATES.indexOf(next) << shift
    if (side === 'us') this.#us = (this.#us & ~(7 << shift)) | bits
    else this.#them = (this.#them & ~(7 << shift)) | bits
    if (answer === null && announce === null) return NOTHING
    const verb =
      answer === null ? null : side === 'us' ? (answer === 'POSITIVE' ? WILL : WONT) : answer === 'POSITIVE' ? DO : DONT
    return { answer: verb, announce }
  }
}
