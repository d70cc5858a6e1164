/** When output came, of one file after the other; and where a search by time begins and ends. Pure. */
import type { Marks } from '../history/index.ts'

type Known = Pick<Marks, 'offsets' | 'times'>

export class Arrivals {
  readonly #offsets: readonly number[]
  readonly #times: readonly number[]
  #at = -1
  readonly #before: number | null

  /**
   * @param stored what its index says. @param pending marks that may not be in it yet. @param end of the file.
   * @param before when the last byte of the file before came: a line may have begun there.
   */
  constructor(stored: Known, pending: Known, end: number, before: number | null) {
    this.#before = before
    const last = stored.offsets.at(-1) ?? -1
    const from = pending.offsets.findIndex((offset) => offset > last)
    const until = pending.offsets.findLastIndex((offset) => offset < end) + 1
    if (from < 0 || from >= until) {
      this.#offsets = stored.offsets
      this.#times = stored.times
    } else {
      this.#offsets = [...stored.offsets, ...pending.offsets.slice(from, until)]
      this.#times = [...stored.times, ...pending.times.slice(from, until)]
    }
  }

  get known(): boolean {
    return this.#offsets.length > 0
  }

  /** Of the byte at `offset`, which is not before those asked for earlier; null when it is not known. */
  timeOf(offset: number): number | null {
    while ((this.#offsets[this.#at + 1] ?? Number.POSITIVE_INFINITY) <= offset) this.#at++
    return this.#times[this.#at] ?? (this.known ? this.#before : null)
  }

  get lastTime(): number | null {
    return this.#times.at(-1) ?? null
  }

  /** Offset of the first byte from `from` on that came at `wall` or later; null when there is none. */
  firstAt(wall: number, from: number): number | null {
    const offsets = this.#offsets
    for (let i = 0; i < offsets.length; i++) {
      const next = offsets[i + 1] ?? Number.POSITIVE_INFINITY
      if (next > from && (this.#times[i] as number) >= wall) return Math.max(from, offsets[i] as number)
    }
    return null
  }
}
