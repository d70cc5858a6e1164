/** Places for the VMs that are worked on at once. */
import type { Clock } from '../base/index.ts'

export interface RetargetSlotsOptions {
  readonly clock: Clock
  /** Whoever takes longer makes room for another one, as long as there are no more than `most`. */
  readonly hangMs: number
  readonly most: number
  /** There may be room. */
  readonly onFree: () => void
}

/**
 * Some VMs may hang, those of a host that does not answer, say: they must not keep the others waiting, and neither must
 * those that have failed before. A server that is slow with all of them must not get ever more to do.
 */
export class RetargetSlots {
  readonly #options: RetargetSlotsOptions
  #running = 0
  /** Of those: have given up their place. */
  #hanging = 0
  /** Of those that have not: had failed before. */
  #later = 0

  constructor(options: RetargetSlotsOptions) {
    this.#options = options
  }

  get running(): number {
    return this.#running
  }

  /** @param allowed places, those of the hanging not counted. */
  isFree(allowed: number): boolean {
    return this.#running - this.#hanging < allowed && this.#running < Math.max(allowed, this.#options.most)
  }

  /** Those that have failed before may hang again: they never take all places. */
  isFreeForLater(allowed: number): boolean {
    return this.#later < Math.max(1, allowed >> 1)
  }

  /** @returns gives the place back; to be called once. */
  take(later: boolean): () => void {
    const { clock, hangMs, onFree } = this.#options
    this.#running++
    if (later) this.#later++
    let hangs = false
    const patience = clock.after(hangMs, () => {
      hangs = true
      this.#hanging++
      if (later) this.#later--
      onFree()
    })
    return () => {
      patience.cancel()
      this.#running--
      if (hangs) this.#hanging--
      else if (later) this.#later--
    }
  }
}
