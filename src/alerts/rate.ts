/** How often a rule may speak of one port. Pure. */

/** Beyond it those that spoke longest ago are forgotten, half of all: they may speak again too soon. */
const MAX_ENTRIES = 20_000
/** More rules than there can be. */
const RULES = 4_096

/** More than are told of all rules and ports together; beyond it they would only take the time of the server's own thread. */
const MAX_PER_MINUTE = 1_000
const MINUTE_MS = 60_000

interface Entry {
  /** When it may speak again. */
  readonly until: number
  /** When its minute began, and how often it has spoken since. */
  readonly from: number
  readonly told: number
  suppressed: number
}

export class RateLimits {
  /** By rule and port, in the order in which they last spoke. */
  readonly #entries = new Map<number, Entry>()
  #suppressed = 0

  /** How often the answer was no. */
  get suppressed(): number {
    return this.#suppressed
  }

  /** @returns how often the answer was no since it last was not; null when it is no. */
  allow(rule: number, serial: number, everyMs: number, now: number): number | null {
    const key = serial * RULES + rule
    const entry = this.#entries.get(key)
    const isSameMinute = entry !== undefined && now - entry.from < MINUTE_MS
    if (entry !== undefined && (now < entry.until || (isSameMinute && entry.told >= MAX_PER_MINUTE))) {
      entry.suppressed++
      this.#suppressed++
      return null
    }
    this.#entries.delete(key)
    const minute = isSameMinute ? { from: entry.from, told: entry.told + 1 } : { from: now, told: 1 }
    this.#entries.set(key, { until: now + everyMs, ...minute, suppressed: 0 })
    if (this.#entries.size > MAX_ENTRIES) this.#forgetHalf()
    return entry?.suppressed ?? 0
  }

  /** At once: to look for the oldest each time would take as long as there are others that have gone. */
  #forgetHalf(): void {
    let left = MAX_ENTRIES / 2
    for (const key of this.#entries.keys()) {
      if (left-- === 0) return
      this.#entries.delete(key)
    }
  }
}
