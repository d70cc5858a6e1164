import type { Clock, Timer } from '../base/index.ts'
import type { DiskHistory } from './disk-history.ts'
import type { Work } from './work.ts'

/** A source is kept waiting for about this long at a time, whatever the disk does. */
const PAUSE_MS = 100
/** A disk that has written nothing for this long is not waited for at all. */
const STALLED_MS = 250
const LOOK_MS = 20
/**
 * What counts of the time between two looks at the disk. While this process does not run, it hears of nothing that was
 * written meanwhile; and the first it hears of may be what sources have sent.
 */
const MAX_SEEN_MS = 2 * LOOK_MS

/**
 * Which ports' sources are asked to wait for the disk: so a disk that works loses nothing to sources that are faster for
 * a while.
 *
 * A source is never held up for long: after `PAUSE_MS` it may bring another chunk, however far behind the disk is. What
 * it says that is no output (VMOTION-BEGIN, say) is thus late by as many pauses as there are chunks before it. And a
 * disk that hangs or fails slows no source down once that is known.
 */
export class Pauses {
  readonly #clock: Clock
  /** In the order of their `pausedSince`. */
  readonly #paused = new Set<DiskHistory>()
  #timer: Timer | null = null
  /** When the disk was looked at last; monotonic ms. */
  #seenAt = 0
  /** How long it has been seen to write nothing, ms. */
  #stuckMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Something was written, or is going to be after there was nothing to write. */
  progress(now: number = this.#clock.now()): void {
    this.#seenAt = now
    this.#stuckMs = 0
  }

  #see(now: number): void {
    this.#stuckMs += Math.min(now - this.#seenAt, MAX_SEEN_MS)
    this.#seenAt = now
  }

  /** @returns whether the port's source is to wait. */
  begin(port: DiskHistory, work: Work): boolean {
    if (work.pausedSince >= 0) return true
    const now = this.#clock.now()
    this.#see(now)
    if (work.activity === 'failed' || this.#stuckMs > STALLED_MS) return false
    work.pausedSince = now
    this.#paused.add(port)
    this.#timer ??= this.#clock.after(LOOK_MS, this.#look)
    return true
  }

  /** @returns false when the port was not paused. */
  end(port: DiskHistory, work: Work): boolean {
    if (work.pausedSince < 0) return false
    work.pausedSince = -1
    return this.#paused.delete(port)
  }

  /** Nobody has to wait any longer. */
  endAll(): void {
    for (const port of this.#paused) port.resume()
    this.#timer?.cancel()
    this.#timer = null
  }

  readonly #look = (): void => {
    this.#timer = null
    const now = this.#clock.now()
    this.#see(now)
    for (const port of this.#paused) {
      if (port.work !== null && now - port.work.pausedSince < PAUSE_MS) break
      port.resume()
    }
    if (this.#paused.size > 0) this.#timer ??= this.#clock.after(LOOK_MS, this.#look)
  }
}
