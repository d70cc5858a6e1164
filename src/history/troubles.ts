import type { Clock, Timer } from '../base/index.ts'
import type { HistoryProblem } from './history.ts'

/** A problem is over when nothing was seen of it for this long; so one that comes and goes is told of once. */
const SETTLE_MS = 2_000

interface Trouble {
  readonly problem: HistoryProblem
  /** Says whether it lasts, for problems that are a state; null for those that are events. */
  readonly lasts: (() => boolean) | null
  /** Monotonic ms. */
  lastSeen: number
}

/** Tells of each problem once when it begins and once when it has ended, however often it shows. */
export class Troubles {
  readonly #clock: Clock
  readonly #report: (problem: HistoryProblem) => void
  readonly #current = new Map<string, Trouble>()
  #timer: Timer | null = null

  constructor(clock: Clock, report: (problem: HistoryProblem) => void) {
    this.#clock = clock
    this.#report = report
  }

  /** `make` is only called for a problem that is new: kind and code name it. */
  seen(
    kind: HistoryProblem['kind'],
    code: string | null,
    make: () => { path: string | null; message: string },
    lasts: (() => boolean) | null = null,
  ): void {
    const key = `${kind} ${code}`
    const known = this.#current.get(key)
    if (known !== undefined) {
      known.lastSeen = this.#clock.now()
      return
    }
    const problem: HistoryProblem = { kind, state: 'began', code, ...make() }
    this.#current.set(key, { problem, lasts, lastSeen: this.#clock.now() })
    this.#schedule()
    this.#report(problem)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#current.clear()
  }

  #schedule(): void {
    this.#timer ??= this.#clock.after(SETTLE_MS / 4, () => {
      this.#timer = null
      this.#settle()
      if (this.#current.size > 0) this.#schedule()
    })
  }

  #settle(): void {
    const now = this.#clock.now()
    for (const [key, trouble] of this.#current) {
      if (trouble.lasts?.()) trouble.lastSeen = now
      if (now - trouble.lastSeen < SETTLE_MS) continue
      this.#current.delete(key)
      this.#report({ ...trouble.problem, state: 'ended', message: `over: ${trouble.problem.message}` })
    }
  }
}
