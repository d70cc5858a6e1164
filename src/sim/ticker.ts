import type { Clock, Timer } from '../base/index.ts'

export interface Tickable {
  tick(): void
}

/** Steps an interval is divided into at most, so that ten thousand counters do not all print in one instant. */
const MAX_SLOTS = 50
const MIN_SLOT_MS = 10

/** One timer for all who want to be called every `intervalMs`; subscribers are spread over the interval. */
export class Ticker {
  readonly #clock: Clock
  readonly #slotMs: number
  readonly #slots: Set<Tickable>[]
  #next = 0
  #assigned = 0
  #members = 0
  #timer: Timer | null = null
  #due = 0

  constructor(clock: Clock, intervalMs: number) {
    const slots = Math.min(MAX_SLOTS, Math.max(1, Math.floor(intervalMs / MIN_SLOT_MS)))
    this.#clock = clock
    this.#slotMs = intervalMs / slots
    this.#slots = Array.from({ length: slots }, () => new Set<Tickable>())
  }

  add(member: Tickable): void {
    if (this.#slots.some((slot) => slot.has(member))) return
    // The slot furthest ahead, so that the first tick comes after a whole interval.
    const ahead = (this.#next + this.#slots.length - 1 - (this.#assigned++ % this.#slots.length)) % this.#slots.length
    this.#slots[ahead]?.add(member)
    this.#members++
    if (this.#timer === null) {
      this.#due = this.#clock.now() + this.#slotMs
      this.#arm()
    }
  }

  delete(member: Tickable): void {
    for (const slot of this.#slots) {
      if (!slot.delete(member)) continue
      this.#members--
      if (this.#members === 0) {
        this.#timer?.cancel()
        this.#timer = null
      }
      return
    }
  }

  #arm(): void {
    // Against the schedule, not against now: a late timer does not slow the clock down.
    this.#timer = this.#clock.after(Math.max(0, this.#due - this.#clock.now()), () => this.#run())
  }

  #run(): void {
    const slot = this.#slots[this.#next]
    this.#next = (this.#next + 1) % this.#slots.length
    const now = this.#clock.now()
    // After a long stall (a stopped process) missed ticks are dropped instead of made up for all at once.
    this.#due = now - this.#due > 1_000 ? now + this.#slotMs : this.#due + this.#slotMs
    this.#arm()
    for (const member of slot ?? []) member.tick()
  }
}

/** Tickers by interval, shared by all guests of a simulation. */
export class Tickers {
  readonly #clock: Clock
  readonly #byInterval = new Map<number, Ticker>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get(intervalMs: number): Ticker {
    let ticker = this.#byInterval.get(intervalMs)
    if (!ticker) {
      ticker = new Ticker(this.#clock, intervalMs)
      this.#byInterval.set(intervalMs, ticker)
    }
    return ticker
  }
}
