/** Peers that answer every verb, always: what a server without RFC 1143's Q method argues with for ever. */
import { DO, DONT, WILL, WONT } from '../codes.ts'
import type { SimConnection, SimConnectionHandler } from '../sim-connection.ts'

/** `confirm`: takes everything, and confirms confirmations; `refuse`: refuses everything, always; `mirror`: repeats it. */
export const STUBBORN_WAYS = ['confirm', 'refuse', 'mirror'] as const
export type StubbornWay = (typeof STUBBORN_WAYS)[number]

/** So many verbs are an argument without end. */
export const ENDLESS_VERBS = 200

const ANSWERS: Record<StubbornWay, Record<number, number>> = {
  confirm: { [WILL]: DO, [DO]: WILL, [WONT]: DONT, [DONT]: WONT },
  refuse: { [WILL]: DONT, [DO]: WONT, [WONT]: DONT, [DONT]: WONT },
  mirror: { [WILL]: WILL, [DO]: DO, [WONT]: WONT, [DONT]: DONT },
}

/** Handler of a connection that does nothing by itself (`auto: false`). */
export class StubbornPeer implements SimConnectionHandler {
  verbs = 0
  readonly #way: StubbornWay

  constructor(way: StubbornWay) {
    this.#way = way
  }

  verb(connection: SimConnection, verb: number, option: number): void {
    this.verbs++
    const answer = ANSWERS[this.#way][verb]
    if (answer !== undefined && this.verbs <= ENDLESS_VERBS) connection.verb(answer, option)
  }
}
