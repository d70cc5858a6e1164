import { Backlog } from './backlog.ts'
import type { BacklogTotals } from './blocks.ts'
import type { DiskHistory } from './disk-history.ts'

/**
 * Where a port stands with its writer. `gathering`: its turn comes when there is more, or in a moment. `queued`: waits
 * for its turn. `busy`: something is under way. `failed`: tried
 * again later. `blocked`: its folder's name is still taken by a port that is being moved or removed.
 */
export type Activity = 'idle' | 'gathering' | 'queued' | 'busy' | 'failed' | 'blocked'

/** What a writer has to do next for a port. */
export type Step = 'remove' | 'move' | 'make-folder' | 'new-segment' | 'open' | 'check' | 'write' | 'describe' | 'index'

/** Waits for bytes to be visible, up to an offset. */
interface Waiter {
  readonly upTo: number
  readonly done: () => void
}

/** What a port needs only while something goes on with it: an idle port has none. */
export class Work {
  readonly backlog: Backlog
  activity: Activity = 'idle'
  /** In the writer's queue. */
  nextReady: DiskHistory | null = null
  /** Its bytes are shown before they are written, because that fails or takes too long. */
  late = false
  /** Bytes wait to be shown since then, monotonic ms; -1 while none do. */
  waitingSince = -1
  /** Looked at while waiting. */
  seenWaiting = false
  #waiters: Waiter[] | null = null
  /** An `append` returned false: the source waits since then, monotonic ms; -1 while it does not. */
  pausedSince = -1
  /** The disk took less than it was given the last time. */
  partial = false
  failures = 0
  failureCode: string | null = null
  /** Monotonic ms. */
  retryAt = 0

  constructor(totals: BacklogTotals) {
    this.backlog = new Backlog(totals)
  }

  /** Nothing would be lost with it. */
  get atRest(): boolean {
    return this.activity === 'idle' && this.backlog.empty && !this.late
  }

  /** Somebody waits for bytes to be visible. */
  get awaited(): boolean {
    return this.#waiters !== null
  }

  /** `upTo` is not less than that of those who wait already. */
  await(upTo: number, done: () => void): void {
    this.#waiters ??= []
    this.#waiters.push({ upTo, done })
  }

  shown(visible: number): void {
    while (this.#waiters !== null) {
      const [first] = this.#waiters
      if (first === undefined) this.#waiters = null
      else if (first.upTo > visible) return
      else {
        this.#waiters.shift()
        first.done()
      }
    }
  }
}
