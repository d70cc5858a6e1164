/** What one hook has yet to get: a bounded queue, a few deliveries at a time, later attempts after growing pauses. */
import { Backoff, type Clock, type Logger, type Timer } from '../base/index.ts'
import { MAX_EVENT_BYTES } from './event.ts'
import type { Deliver, Delivery, Hook, Outcome } from './hook.ts'

/** Events that wait; past it the oldest go. */
const MAX_WAITING = 1_000
const MAX_WAITING_BYTES = 4 << 20
const PAUSES = { redialMinMs: 1_000, redialMaxMs: 60_000 }
/** A receiver may ask for a longer pause, up to this. */
const MAX_PAUSE_MS = 300_000
const REPEAT_LOG_MS = 60_000

/** Only grow. */
export interface HookCounters {
  delivered: number
  /** The receiver does not want it. */
  failed: number
  /** Not delivered in time, over all attempts. */
  expired: number
  /** There were too many, or the server was stopped. */
  dropped: number
  retries: number
}

interface Waiting {
  readonly delivery: Delivery
  readonly cost: number
  readonly expiresAt: number
  readonly backoff: Backoff
  notBefore: number
}

export interface HookQueueOptions {
  readonly hook: Pick<Hook, 'name' | 'expireMs' | 'parallel'>
  readonly deliver: Deliver
  readonly counters: HookCounters
  readonly clock: Clock
  readonly log: Logger
  /** From 0 to 1. */
  readonly random: () => number
}

export class HookQueue {
  readonly #options: HookQueueOptions
  /** In the order of the events. */
  readonly #waiting: Waiting[] = []
  readonly #running = new Set<Promise<void>>()
  readonly #abort = new AbortController()
  #bytes = 0
  #timer: Timer | null = null
  #loggedAt = new Map<string, number>()
  #draining = false
  #idle: (() => void) | null = null

  constructor(options: HookQueueOptions) {
    this.#options = options
  }

  /** Events that wait or are being delivered. */
  get length(): number {
    return this.#waiting.length + this.#running.size
  }

  add(delivery: Delivery): void {
    const { clock, counters, hook, random } = this.#options
    const cost = delivery.body.length
    if (this.#abort.signal.aborted || cost > MAX_EVENT_BYTES) {
      counters.dropped++
      return
    }
    const now = clock.now()
    const backoff = new Backoff(PAUSES, random)
    this.#waiting.push({ delivery, cost, expiresAt: now + hook.expireMs, backoff, notBefore: now })
    this.#bytes += cost
    while (this.#waiting.length > MAX_WAITING || this.#bytes > MAX_WAITING_BYTES) this.#dropOldest()
    this.#pump()
  }

  /** Takes no more pauses: what waits is tried at once, once. Resolves when nothing is left, or after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#draining = true
    for (const one of this.#waiting) one.notBefore = Number.NEGATIVE_INFINITY
    this.#pump()
    if (this.length > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#options.clock.after(graceMs, resolve)
        this.#idle = () => {
          timer.cancel()
          resolve()
        }
      })
    }
    const left = this.length
    this.#timer?.cancel()
    this.#options.counters.dropped += this.#waiting.splice(0).length
    this.#abort.abort()
    await Promise.all(this.#running)
    if (left > 0) this.#options.log.warn({ events: left }, 'hook: not delivered before the end')
  }

  #pump(): void {
    const { clock, hook } = this.#options
    this.#timer?.cancel()
    this.#timer = null
    const now = clock.now()
    for (let at = 0; at < this.#waiting.length && this.#running.size < hook.parallel; ) {
      const one = this.#waiting[at] as Waiting
      if (now >= one.expiresAt) {
        this.#take(at)
        this.#options.counters.expired++
        this.#say('error', 'hook: an event was given up, it could not be delivered in time', one, '')
      } else if (now >= one.notBefore) {
        this.#take(at)
        this.#run(one)
      } else if (hook.parallel === 1) {
        // Those behind it wait: they come in order.
        break
      } else at++
    }
    if (this.length === 0) this.#idle?.()
    if (this.#running.size < hook.parallel) this.#sleep(now)
  }

  /** Until the first of those that wait may be tried again. */
  #sleep(now: number): void {
    const { clock, hook } = this.#options
    const next = hook.parallel === 1 ? this.#waiting.slice(0, 1) : this.#waiting
    if (next.length === 0) return
    const first = Math.min(...next.map(({ notBefore, expiresAt }) => Math.min(notBefore, expiresAt)))
    this.#timer = clock.after(Math.max(0, first - now), () => this.#pump())
  }

  #run(one: Waiting): void {
    const running = this.#options.deliver(one.delivery, this.#abort.signal).then((outcome) => {
      this.#running.delete(running)
      this.#ended(one, outcome)
      this.#pump()
    })
    this.#running.add(running)
  }

  #ended(one: Waiting, outcome: Outcome): void {
    const { clock, counters } = this.#options
    switch (outcome.kind) {
      case 'delivered':
        counters.delivered++
        return
      case 'failed':
        counters.failed++
        this.#say('error', 'hook: an event is not wanted; it is not tried again', one, outcome.detail)
        return
      case 'retry': {
        if (this.#draining || this.#abort.signal.aborted) {
          counters.dropped++
          return
        }
        counters.retries++
        const pauseMs = Math.max(one.backoff.next(), Math.min(outcome.afterMs ?? 0, MAX_PAUSE_MS))
        one.notBefore = clock.now() + pauseMs
        this.#waiting.unshift(one)
        this.#bytes += one.cost
        this.#say('warn', 'hook: an event could not be delivered; it is tried again', one, outcome.detail)
      }
    }
  }

  #take(at: number): void {
    const [one] = this.#waiting.splice(at, 1)
    this.#bytes -= one?.cost ?? 0
  }

  #dropOldest(): void {
    const [one] = this.#waiting
    if (one === undefined) return
    this.#take(0)
    this.#options.counters.dropped++
    this.#say('error', 'hook: events come faster than they are delivered; the oldest are dropped', one, '')
  }

  /** Each message once a minute: receivers that are away are away for many events. */
  #say(level: 'warn' | 'error', message: string, { delivery }: Waiting, reason: string): void {
    const { clock, log } = this.#options
    const last = this.#loggedAt.get(message)
    if (last !== undefined && clock.now() - last < REPEAT_LOG_MS) return
    this.#loggedAt.set(message, clock.now())
    log[level]({ event: delivery.id, type: delivery.type, ...(reason === '' ? {} : { reason }) }, message)
  }
}
