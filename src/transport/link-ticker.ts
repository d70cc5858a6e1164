/**
 * One timer for all resumable streams that share a clock: for signs of life, late acknowledgements and what expires.
 * With 10,000 idle streams that is one pass over them now and then instead of timers for each.
 */
import type { Clock } from '../base/index.ts'

export interface Ticked {
  /** How late a tick may be for it. */
  readonly tickMs: number
  tick(now: number): void
}

/** Twice a second is often enough for what is measured in seconds, and costs nothing. */
const MAX_TICK_MS = 500
const MIN_TICK_MS = 10

export class LinkTicker {
  readonly #clock: Clock
  readonly #members = new Set<Ticked>()
  #tickMs = MAX_TICK_MS
  #armed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(member: Ticked): void {
    this.#members.add(member)
    // The first pause may still be the longer one of those before it; it is at most half a second.
    this.#tickMs = Math.max(MIN_TICK_MS, Math.min(this.#tickMs, member.tickMs))
    this.#arm()
  }

  delete(member: Ticked): void {
    this.#members.delete(member)
  }

  #arm(): void {
    if (this.#armed) return
    this.#armed = true
    this.#clock.after(this.#tickMs, () => this.#run())
  }

  #run(): void {
    this.#armed = false
    const now = this.#clock.now()
    for (const member of this.#members) member.tick(now)
    if (this.#members.size > 0) this.#arm()
    else this.#tickMs = MAX_TICK_MS
  }
}

const tickers = new WeakMap<Clock, LinkTicker>()

/** The one of this clock. */
export function linkTicker(clock: Clock): LinkTicker {
  let ticker = tickers.get(clock)
  if (ticker === undefined) {
    ticker = new LinkTicker(clock)
    tickers.set(clock, ticker)
  }
  return ticker
}
