/** What is wrong with the whole, told once until it is well again or something else is wrong. */
import type { Failure } from '../vmotion/index.ts'

export type TroubleSource =
  /** Following the appliance. */
  | 'appliance'
  /** Waiting for news of it. */
  | 'news'
  /** Working on VMs. */
  | 'vms'
  /** There is no address for the host it is on. */
  | 'target'
  /** Nor one for the peer relays. */
  | 'next-hops'

export interface Trouble {
  readonly failure: Failure
  /** Milliseconds since 1970. */
  readonly since: number
}

export class Troubles {
  readonly #open = new Map<TroubleSource, Trouble>()

  /** The one that has lasted longest. */
  get first(): Trouble | null {
    const [first] = [...this.#open.values()].sort((a, b) => a.since - b.since)
    return first ?? null
  }

  some(fits: (failure: Failure) => boolean): boolean {
    return [...this.#open.values()].some(({ failure }) => fits(failure))
  }

  /** @returns true for what was not known: while the server is away, all sources say the same. */
  add(source: TroubleSource, failure: Failure, now: number): boolean {
    const known = this.some(({ message }) => message === failure.message)
    // What has another reason now has still been wrong since then.
    const since = this.#open.get(source)?.since ?? now
    this.#open.set(source, { failure, since })
    return !known
  }

  /** @returns true when all is well again. */
  end(source: TroubleSource): boolean {
    return this.#open.delete(source) && this.#open.size === 0
  }
}
