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
export type Step = 'remove' | 'move' | 'make-folder' | 'new-segment' | 'open' | 'check' | 'write' | 'describe'

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
}
