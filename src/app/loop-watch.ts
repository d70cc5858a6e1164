/**
 * How late the event loop runs, and jumps of the clock. By a timer of our own: what Node measures (monitorEventLoopDelay)
 * can only be read by one reader, who has to reset it, and Prometheus often comes in pairs.
 */
import { performance } from 'node:perf_hooks'

/** Twenty wake-ups a second do not show in an idle server's CPU time. */
const TICK_MS = 50
/** How far back `recent` looks, at least; twice that at most. */
const WINDOW_MS = 60_000
/** NTP slews by less than this in a tick; more is a step, or a machine that was suspended. */
const JUMP_MS = 1_000

/** Upper bounds, seconds; above them all is the last bucket. */
export const DELAY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5] as const

export interface LoopDelay {
  /** Upper bounds of the buckets that the quantiles fall into, ms; `maxMs` is exact. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** By how much the wall clock went ahead (or back) of the time that passed. */
export interface ClockJump {
  /** Ms since 1970, by the new time. */
  readonly at: number
  readonly byMs: number
}

export interface LoopTimes {
  /** Monotonic, ms. */
  now(): number
  wall(): number
}

const SYSTEM: LoopTimes = { now: () => performance.now(), wall: () => Date.now() }

class Delays {
  readonly buckets = new Array<number>(DELAY_BUCKETS.length + 1).fill(0)
  count = 0
  maxMs = 0

  add(ms: number): void {
    const at = DELAY_BUCKETS.findIndex((bound) => ms <= bound * 1_000)
    const bucket = at < 0 ? DELAY_BUCKETS.length : at
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1
    this.count++
    this.maxMs = Math.max(this.maxMs, ms)
  }
}

export class LoopWatch {
  /** Told of each delay, in seconds. */
  readonly #observe: (seconds: number) => void
  readonly #times: LoopTimes
  #timer: NodeJS.Timeout | null = null
  #last: number
  #aheadMs: number
  #before = new Delays()
  #current = new Delays()
  #windowSince: number
  jumps = 0
  lastJump: ClockJump | null = null

  constructor(observe: (seconds: number) => void, times: LoopTimes = SYSTEM) {
    this.#observe = observe
    this.#times = times
    this.#last = times.now()
    this.#windowSince = this.#last
    this.#aheadMs = times.wall() - this.#last
  }

  start(): void {
    this.#last = this.#times.now()
    this.#timer ??= setInterval(() => this.tick(), TICK_MS).unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  /** Of the last one or two minutes. */
  get recent(): LoopDelay {
    const maxMs = Math.max(this.#before.maxMs, this.#current.maxMs)
    return { p50Ms: this.#quantile(0.5, maxMs), p99Ms: this.#quantile(0.99, maxMs), maxMs }
  }

  /** What the timer does. */
  tick(): void {
    const now = this.#times.now()
    const delay = Math.max(0, now - this.#last - TICK_MS)
    this.#last = now
    this.#observe(delay / 1_000)
    if (now - this.#windowSince >= WINDOW_MS) {
      this.#before = this.#current
      this.#current = new Delays()
      this.#windowSince = now
    }
    this.#current.add(delay)
    this.#lookAtClock(now)
  }

  #lookAtClock(now: number): void {
    const wall = this.#times.wall()
    const ahead = wall - now
    const by = ahead - this.#aheadMs
    this.#aheadMs = ahead
    if (Math.abs(by) < JUMP_MS) return
    this.jumps++
    this.lastJump = { at: wall, byMs: Math.round(by) }
  }

  #quantile(quantile: number, maxMs: number): number {
    const wanted = Math.ceil((this.#before.count + this.#current.count) * quantile)
    let seen = 0
    for (const [at, bound] of DELAY_BUCKETS.entries()) {
      seen += (this.#before.buckets[at] ?? 0) + (this.#current.buckets[at] ?? 0)
      if (seen >= wanted) return Math.min(bound * 1_000, maxMs)
    }
    return maxMs
  }
}
