import type { Clock, Timer } from '../base/index.ts'
import type { DiskHistory } from './disk-history.ts'

/** Where nobody follows, a disk may be slower by this factor before it matters. */
const UNFOLLOWED = 10

/**
 * Ports with bytes that may not be shown yet. One timer for all of them, and none while there are none.
 *
 * A port is late after two looks, not one: an event loop that was held up itself sees its timers before the writes that
 * have ended meanwhile.
 */
export class Lateness {
  readonly #clock: Clock
  readonly #maxMs: () => number
  /** In the order of their `waitingSince`. */
  readonly #waiting = new Set<DiskHistory>()
  #timer: Timer | null = null

  constructor(clock: Clock, maxMs: () => number) {
    this.#clock = clock
    this.#maxMs = maxMs
  }

  /** The port waits from now on, whether it did before or not. */
  wait(port: DiskHistory, now: number = this.#clock.now()): void {
    const { work } = port
    if (work === null) return
    if (work.waitingSince >= 0) this.#waiting.delete(port)
    work.waitingSince = now
    work.seenWaiting = false
    this.#waiting.add(port)
    this.#timer ??= this.#clock.after(this.#maxMs() / 2, this.#look)
  }

  end(port: DiskHistory): void {
    const { work } = port
    if (work === null || work.waitingSince < 0) return
    work.waitingSince = -1
    this.#waiting.delete(port)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#waiting.clear()
  }

  readonly #look = (): void => {
    this.#timer = null
    const now = this.#clock.now()
    const maxMs = this.#maxMs()
    for (const port of this.#waiting) {
      const { work } = port
      if (work === null || now - work.waitingSince < maxMs / 2) break
      const patience = port.followed ? maxMs : maxMs * UNFOLLOWED
      if (work.seenWaiting && now - work.waitingSince >= patience) port.becomeLate()
      else work.seenWaiting = true
    }
    if (this.#waiting.size > 0) this.#timer ??= this.#clock.after(maxMs / 2, this.#look)
  }
}
