import type { Limits } from './limits.ts'

/** Pauses between attempts: doubling from `redialMinMs` to `redialMaxMs`, each shortened by up to a half at random. */
export class Backoff {
  readonly #limits: Pick<Limits, 'redialMinMs' | 'redialMaxMs'>
  readonly #random: () => number
  #attempts = 0

  /** @param limits looked at for each pause. @param random from 0 to 1, as Math.random. */
  constructor(limits: Pick<Limits, 'redialMinMs' | 'redialMaxMs'>, random: () => number) {
    this.#limits = limits
    this.#random = random
  }

  /** The next attempt starts with the shortest pause again. */
  reset(): void {
    this.#attempts = 0
  }

  /** Milliseconds to wait before the next attempt. Many that failed at once do not come back in step. */
  next(): number {
    const { redialMinMs, redialMaxMs } = this.#limits
    const full = Math.min(redialMaxMs, redialMinMs * 2 ** Math.min(this.#attempts++, 30))
    return full * (0.5 + this.#random() / 2)
  }
}
