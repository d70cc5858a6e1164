/**
 * What a VM says by itself on a connection: the opening, agreement on options, the announcement (DO-PROXY or PEER),
 * identity, COM-PORT, and UNKNOWN-SUBOPTION-RCVD-1 for codes it does not know. Every part can be switched off.
 */
import { type Clock, VspcError } from '../base/index.ts'
import { DO, IAC, KNOWN_BY_VM, OPTION, SB, SE, SUB, WILL } from './codes.ts'
import { IDENTITY_QUESTIONS, isIdentityQuestion, planAnswer, type SimIdentity } from './identity.ts'
import { VmNegotiation } from './negotiation.ts'
import { encodeDoProxy, encodeKnown, encodeSub, encodeVerb, encodeVmware } from './wire.ts'

/**
 * Who asks first. `reactive`: WILL AUTHENTICATION, then only answers [seen]. `late-proactive`: volunteers its WILLs and
 * DOs once AUTHENTICATION was answered [guess, see what passive concentrators get]. `proactive`: at once [doc].
 */
export const OPENINGS = ['reactive', 'late-proactive', 'proactive'] as const
export type Opening = (typeof OPENINGS)[number]

/** What follows KNOWN-SUBOPTIONS-1: a fresh port, a vMotion destination, or nothing. */
export type Announcement =
  | { readonly kind: 'do-proxy'; readonly direction: string; readonly serviceURI: string | Uint8Array }
  /** `payload` is sequence and secret as given, so that wrong ones can be sent. */
  | { readonly kind: 'peer'; readonly payload: Uint8Array }
  | { readonly kind: 'none' }

/** Serial line settings announced over RFC 2217, once the proxy accepted COM-PORT. */
export interface SimLine {
  readonly baud: number
  readonly dataSize: number
  /** 1 none, 2 odd, 3 even, 4 mark, 5 space. */
  readonly parity: number
  /** 1, 2, or 3 for one and a half. */
  readonly stopSize: number
}

export interface AutoAnswers {
  /** WILL AUTHENTICATION as the first bytes. */
  readonly auth: boolean
  /** Agreement on options, and the opening's own offers. */
  readonly options: boolean
  /** KNOWN-SUBOPTIONS-1 and the announcement once option 232 is on. */
  readonly announce: boolean
  /** WILL COM-PORT: after WILL-PROXY, or right behind PEER. */
  readonly comPort: boolean
  readonly identity: boolean
  /** UNKNOWN-SUBOPTION-RCVD-1 for codes outside the VM's list. */
  readonly unknown: boolean
}

export interface AutopilotOptions {
  readonly opening: Opening
  readonly announcement: Announcement
  readonly identity: SimIdentity
  readonly auto: AutoAnswers
  readonly known: readonly number[]
  readonly line: SimLine | null
  /** TLS was there from the first byte: AUTHENTICATION is not offered [doc]. */
  readonly secure: boolean
  /** Accept the AUTHENTICATION upgrade to TLS when the proxy asks for it. */
  readonly authUpgrade: boolean
  readonly clock: Clock
}

/** The connection, as the autopilot needs it. */
export interface AutopilotWire {
  sendRaw(bytes: Uint8Array): void
  /** KNOWN-1 and the announcement have been written. */
  announced(): void
  upgradeToTls(): void
}

const SSL = 7
const AUTH = { IS: 0, SEND: 1, REPLY: 2 } as const
/** Modifier bytes of the SSL type [other]: 1 START, 2 ACCEPTED. */
const SSL_START = 1
const SSL_ACCEPTED = 2

export class Autopilot {
  readonly #options: AutopilotOptions
  readonly #wire: AutopilotWire
  readonly #negotiation = new VmNegotiation()
  #announced = false

  constructor(options: AutopilotOptions, wire: AutopilotWire) {
    this.#options = options
    this.#wire = wire
  }

  /** Option 232 stands. */
  get vmwareOn(): boolean {
    return this.#negotiation.usOn(OPTION.VMWARE)
  }

  get announcement(): Announcement {
    return this.#options.announcement
  }

  /** BINARY and SGA both ways and 232, as C8 asks for. */
  get settled(): boolean {
    const n = this.#negotiation
    const line = n.usOn(OPTION.BINARY) && n.themOn(OPTION.BINARY) && n.usOn(OPTION.SGA) && n.themOn(OPTION.SGA)
    return line && this.vmwareOn
  }

  /** The connection is up. */
  start(): void {
    const { auto, opening, secure } = this.#options
    if (auto.auth && !secure) this.#ask(WILL, OPTION.AUTHENTICATION)
    // Without an AUTHENTICATION to wait for, "late" is now.
    if (opening === 'proactive' || (opening === 'late-proactive' && (secure || !auto.auth))) this.#volunteer()
  }

  verb(verb: number, option: number): void {
    if (!this.#options.auto.options) return
    const step = this.#negotiation.receive(verb, option)
    if (step.answer !== null) this.#wire.sendRaw(encodeVerb(step.answer, option))
    if (option === OPTION.AUTHENTICATION && step.change !== null && this.#options.opening === 'late-proactive') {
      this.#volunteer()
    }
    if (step.change !== 'on' || verb !== DO) return
    if (option === OPTION.VMWARE) this.#announce()
    else if (option === OPTION.COM_PORT) this.#sendLine()
  }

  sub(option: number, payload: Uint8Array): void {
    if (option === OPTION.AUTHENTICATION) this.#authentication(payload)
    if (option !== OPTION.VMWARE || !this.vmwareOn) return
    const code = payload[0]
    if (code === undefined) return
    const { auto, identity } = this.#options
    if (code === SUB.WILL_PROXY) {
      if (auto.comPort) this.#ask(WILL, OPTION.COM_PORT)
    } else if (isIdentityQuestion(code)) {
      if (auto.identity) this.#answerIdentity(identity, code)
    } else if (auto.unknown && !KNOWN_BY_VM.includes(code)) {
      this.#wire.sendRaw(encodeVmware(SUB.UNKNOWN_SUBOPTION_RCVD_1, Uint8Array.of(code)))
    }
  }

  #ask(verb: typeof WILL | typeof DO, option: number): void {
    if (this.#negotiation.ask(verb, option)) this.#wire.sendRaw(encodeVerb(verb, option))
  }

  #volunteer(): void {
    if (!this.#options.auto.options) return
    for (const option of [OPTION.BINARY, OPTION.SGA, OPTION.VMWARE]) this.#ask(WILL, option)
    for (const option of [OPTION.BINARY, OPTION.SGA]) this.#ask(DO, option)
  }

  #announce(): void {
    const { announcement, auto, identity, known } = this.#options
    if (!auto.announce || this.#announced) return
    this.#announced = true
    this.#wire.sendRaw(encodeKnown(known))
    if (announcement.kind === 'do-proxy') {
      this.#wire.sendRaw(encodeDoProxy(announcement.direction, announcement.serviceURI))
    } else if (announcement.kind === 'peer') {
      this.#wire.sendRaw(encodeVmware(SUB.VMOTION_PEER, announcement.payload))
      if (auto.comPort) this.#ask(WILL, OPTION.COM_PORT)
    }
    if (auto.identity) {
      for (const question of IDENTITY_QUESTIONS) {
        if (planAnswer(identity, question)?.volunteer) this.#answerIdentity(identity, question)
      }
    }
    this.#wire.announced()
  }

  #answerIdentity(identity: SimIdentity, question: number): void {
    const answer = planAnswer(identity, question)
    if (answer === null) return
    const frame = encodeVmware(answer.code, answer.payload)
    if (answer.delayMs > 0) this.#options.clock.after(answer.delayMs, () => this.#wire.sendRaw(frame))
    else this.#wire.sendRaw(frame)
  }

  /** RFC 2217 client: baud as 4 bytes big-endian, the others one byte. */
  #sendLine(): void {
    const line = this.#options.line
    if (line === null) return
    const baud = new Uint8Array(5)
    baud[0] = 1
    new DataView(baud.buffer).setUint32(1, line.baud)
    this.#wire.sendRaw(encodeSub(OPTION.COM_PORT, baud))
    this.#wire.sendRaw(encodeSub(OPTION.COM_PORT, Uint8Array.of(2, line.dataSize)))
    this.#wire.sendRaw(encodeSub(OPTION.COM_PORT, Uint8Array.of(3, line.parity)))
    this.#wire.sendRaw(encodeSub(OPTION.COM_PORT, Uint8Array.of(4, line.stopSize)))
  }

  /** SEND lists (type, modifier) pairs; the answer is IS SSL START, or IS NULL to decline [other]. */
  #authentication(payload: Uint8Array): void {
    if (!this.#options.auto.auth) return
    if (payload[0] === AUTH.SEND) {
      const offered = payload[1] === SSL && this.#options.authUpgrade
      const is = offered ? [AUTH.IS, SSL, 0, SSL_START] : [AUTH.IS, 0, 0]
      this.#wire.sendRaw(Uint8Array.of(IAC, SB, OPTION.AUTHENTICATION, ...is, IAC, SE))
    } else if (payload[0] === AUTH.REPLY && payload[1] === SSL && payload[3] === SSL_ACCEPTED) {
      this.#wire.upgradeToTls()
    }
  }
}

export const ALL_AUTOMATIC: AutoAnswers = {
  auth: true,
  options: true,
  announce: true,
  comPort: true,
  identity: true,
  unknown: true,
}

export const NOTHING_AUTOMATIC: AutoAnswers = {
  auth: false,
  options: false,
  announce: false,
  comPort: false,
  identity: false,
  unknown: false,
}

/** @throws VspcError VSPC_USAGE for a word that is no opening. */
export function parseOpening(word: string): Opening {
  const opening = OPENINGS.find((known) => known === word)
  if (opening) return opening
  throw new VspcError('VSPC_USAGE', `unknown opening "${word}"; accepted: ${OPENINGS.join(', ')}`)
}
