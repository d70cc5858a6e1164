import type { Clock, Logger } from '../base/index.ts'

/** The same problem is told once in this time. */
const QUIET_MS = 60_000
/** Different problems remembered; a peer that causes ever new ones must not fill the memory. */
const MAX_KEPT = 256

/** Logs problems, the same one at most once a minute: a thousand VMs that cannot be served are one line, not a flood. */
export class ProblemLog {
  readonly #log: Logger
  readonly #clock: Clock
  readonly #kept = new Map<string, { at: number; repeated: number }>()

  constructor(log: Logger, clock: Clock) {
    this.#log = log
    this.#clock = clock
  }

  /** @param key what makes it the same problem. */
  warn(key: string, fields: object, message: string): void {
    const now = this.#clock.now()
    const before = this.#kept.get(key)
    if (before !== undefined && now - before.at < QUIET_MS) {
      before.repeated++
      return
    }
    // Deleted first, so that the map stays in order of time and the oldest is the first to go.
    this.#kept.delete(key)
    this.#kept.set(key, { at: now, repeated: 0 })
    if (this.#kept.size > MAX_KEPT) {
      for (const oldest of this.#kept.keys()) {
        this.#kept.delete(oldest)
        break
      }
    }
    const repeated = before?.repeated ?? 0
    this.#log.warn(repeated === 0 ? fields : { ...fields, repeatedSinceLastTold: repeated }, message)
  }

  /** It is over: should it come back, it is told at once. */
  forget(key: string): void {
    this.#kept.delete(key)
  }
}
