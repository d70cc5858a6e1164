/**
 * The VM's side of option negotiation in a replay (RFC 1143).
 *
 * The recording's own verbs are sent as they come. What the server says and the recording answers, now or later, needs
 * nothing from us. The rest (offers that the recording's proxy did not make) is answered here: refused when it is a
 * wish, acknowledged when it ends something. Pure.
 */
import { DO, DONT, type QEvent, type QState, qStep, type Verb, WILL, WONT } from '../telnet/index.ts'

/** A half of an option as the VM sees it: `us` = the VM performs it. */
type Half = `${'us' | 'them'} ${number}`

export class VmNegotiation {
  readonly #states = new Map<Half, QState>()
  /** Verbs the recording still has to say, per half, in order. */
  readonly #toCome = new Map<Half, Verb[]>()
  /** Halves whose next recorded verb answers something that the server has said already. */
  readonly #owed = new Set<Half>()

  /** First pass: the recording's VM says this. */
  plan(verb: Verb, option: number): void {
    const half = halfOfOurs(verb, option)
    const list = this.#toCome.get(half)
    if (list) list.push(verb)
    else this.#toCome.set(half, [verb])
  }

  /** The recording's VM says this now; its bytes are sent as recorded. */
  sent(verb: Verb, option: number): void {
    const half = halfOfOurs(verb, option)
    this.#toCome.get(half)?.shift()
    if (this.#owed.delete(half)) return
    this.#step(half, verb === WILL || verb === DO ? 'ASK_ON' : 'ASK_OFF')
  }

  /** The server says this. @returns the verb to answer with; null when nothing or the recording answers. */
  heard(verb: Verb, option: number): Verb | null {
    const half: Half = verb === WILL || verb === WONT ? `them ${option}` : `us ${option}`
    const positive = verb === WILL || verb === DO
    const next = this.#toCome.get(half)?.[0]
    const agrees = next === WILL || next === DO
    const answer = this.#step(half, positive ? (agrees ? 'POSITIVE_OK' : 'POSITIVE_NO') : 'NEGATIVE')
    if (answer === null) return null
    if (next !== undefined && agrees === (answer === 'POSITIVE')) {
      this.#owed.add(half)
      return null
    }
    return half.startsWith('us') ? (answer === 'POSITIVE' ? WILL : WONT) : answer === 'POSITIVE' ? DO : DONT
  }

  #step(half: Half, event: QEvent): 'POSITIVE' | 'NEGATIVE' | null {
    const [next, answer] = qStep(this.#states.get(half) ?? 'NO', event)
    this.#states.set(half, next)
    return answer
  }
}

/** WILL and WONT are about the VM's own half, DO and DONT about the proxy's. */
function halfOfOurs(verb: Verb, option: number): Half {
  return verb === WILL || verb === WONT ? `us ${option}` : `them ${option}`
}
