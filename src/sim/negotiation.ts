/**
 * The VM's side of option negotiation: what it agrees to, and what it has asked for itself.
 *
 * Deliberately smaller than RFC 1143: a VM never turns an option off by itself, so NO, asked and on are enough. An
 * answer to our own request is never answered; a repeated request for what is on is ignored.
 */
import { DO, DONT, OPTION, WILL, WONT } from './codes.ts'

/** The VM's own options ("us"): it says WILL. [seen] BINARY, SGA, 232; AUTHENTICATION and COM-PORT it offers itself. */
const US: readonly number[] = [OPTION.BINARY, OPTION.SGA, OPTION.COM_PORT, OPTION.VMWARE]
/** The proxy's options ("them"): the VM says DO. [seen] It accepts the proxy's ECHO too. */
const THEM: readonly number[] = [OPTION.BINARY, OPTION.ECHO, OPTION.SGA]

const BITS = new Map<number, number>(
  [OPTION.BINARY, OPTION.ECHO, OPTION.SGA, OPTION.AUTHENTICATION, OPTION.COM_PORT, OPTION.VMWARE].map(
    (option, index) => [option, 1 << index] as const,
  ),
)

export interface NegotiationStep {
  /** The verb to answer with, for the same option; null: no answer. */
  readonly answer: number | null
  readonly change: 'on' | 'off' | 'refused' | null
}

const NOTHING: NegotiationStep = { answer: null, change: null }

export class VmNegotiation {
  #usAsked = 0
  #usOn = 0
  #themAsked = 0
  #themOn = 0
  readonly #us: readonly number[]
  readonly #them: readonly number[]

  /** @param us options of ours to agree to when asked. @param them the same for the other side's. */
  constructor(us: readonly number[] = US, them: readonly number[] = THEM) {
    this.#us = us
    this.#them = them
  }

  usOn(option: number): boolean {
    return (this.#usOn & bit(option)) !== 0
  }

  themOn(option: number): boolean {
    return (this.#themOn & bit(option)) !== 0
  }

  /** The VM wants to offer (WILL) or request (DO). False: already asked or on, so nothing is to be sent. */
  ask(verb: typeof WILL | typeof DO, option: number): boolean {
    const mask = bit(option)
    if (verb === WILL) {
      if ((this.#usAsked | this.#usOn) & mask) return false
      this.#usAsked |= mask
    } else {
      if ((this.#themAsked | this.#themOn) & mask) return false
      this.#themAsked |= mask
    }
    return true
  }

  receive(verb: number, option: number): NegotiationStep {
    const mask = bit(option)
    switch (verb) {
      case DO:
        if (this.#usOn & mask) return NOTHING
        if (this.#usAsked & mask) {
          this.#usAsked &= ~mask
          this.#usOn |= mask
          return { answer: null, change: 'on' }
        }
        if (!this.#us.includes(option)) return { answer: WONT, change: null }
        this.#usOn |= mask
        return { answer: WILL, change: 'on' }
      case DONT:
        if (this.#usAsked & mask) {
          this.#usAsked &= ~mask
          return { answer: null, change: 'refused' }
        }
        if (!(this.#usOn & mask)) return NOTHING
        this.#usOn &= ~mask
        return { answer: WONT, change: 'off' }
      case WILL:
        if (this.#themOn & mask) return NOTHING
        if (this.#themAsked & mask) {
          this.#themAsked &= ~mask
          this.#themOn |= mask
          return { answer: null, change: 'on' }
        }
        if (!this.#them.includes(option)) return { answer: DONT, change: null }
        this.#themOn |= mask
        return { answer: DO, change: 'on' }
      case WONT:
        if (this.#themAsked & mask) {
          this.#themAsked &= ~mask
          return { answer: null, change: 'refused' }
        }
        if (!(this.#themOn & mask)) return NOTHING
        this.#themOn &= ~mask
        return { answer: DONT, change: 'off' }
      default:
        return NOTHING
    }
  }
}

/** Options we know nothing of share bit 0, which is never set: they are refused each time they are asked for. */
function bit(option: number): number {
  return BITS.get(option) ?? 0
}
