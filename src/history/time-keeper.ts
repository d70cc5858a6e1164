import type { Clock, Timer } from '../base/index.ts'
import type { DiskHistory } from './disk-history.ts'

/** Marks are written so long after the first of them, many at once: a crash loses them, never the bytes. */
const WRITE_MS = 10_000
const LOOK_MS = 2_500
/** So many are written at once anyway. */
const MANY = 256

/** Sees to it that marks of arrival times get to the disk: a write for many of them, whatever the output. */
export class TimeKeeper {
  readonly #clock: Clock
  /** Ports with marks to be written, and since when; monotonic ms. In that order. */
  readonly #ports = new Map<DiskHistory, number>()
  #timer: Timer | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The port has another mark. */
  marked(port: DiskHistory): void {
    const { times } = port
    if (times === null) return
    if (times.offsets.length >= MANY) times.wanted = true
    if (this.#ports.has(port)) return
    this.#ports.set(port, this.#clock.now())
    this.#timer ??= this.#clock.after(LOOK_MS, this.#look)
  }

  /** They are written, or the port is gone. */
  done(port: DiskHistory): void {
    this.#ports.delete(port)
    if (port.times !== null && port.times.offsets.length > 0 && !port.removed) this.marked(port)
  }

  /** Everything is to be written now. */
  hurry(): void {
    for (const port of this.#ports.keys()) want(port)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  readonly #look = (): void => {
    this.#timer = null
    const now = this.#clock.now()
    for (const [port, since] of this.#ports) {
      if (now - since < WRITE_MS) break
      want(port)
    }
    if (this.#ports.size > 0) this.#timer = this.#clock.after(LOOK_MS, this.#look)
  }
}

function want(port: DiskHistory): void {
  if (port.times === null || port.removed) return
  port.times.wanted = true
  port.wake()
}
