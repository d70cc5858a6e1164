import type { Limits } from '../base/index.ts'
import type { RandomBytes } from '../vmotion/index.ts'

/** Pauses between attempts: doubling from `redialMinMs` to `redialMaxMs`, each shortened by up to a half at random. */
export class Backoff {
  readonly #limits: Pick<Limits, 'redialMinMs' | 'redialMaxMs'>
  readonly #random: RandomBytes
  #attempts = 0

  constructor(limits: Pick<Limits, 'redialMinMs' | 'redialMaxMs'>, random: RandomBytes) {
    this.#limits = limits
    this.#random = random
  }

  /** The next attempt starts with the shortest pause again. */
  reset(): void {
    this.#attempts = 0
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const { redialMinMs, redialMaxMs } = this.#limits
    const full = Math.min(redialMaxMs, redialMinMs * 2 ** Math.min(this.#attempts++, 30))
    const byte = this.#random(1)[0] as number
    return full * (0.5 + byte / 512)
  }
}
