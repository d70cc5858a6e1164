import type { Hit } from './line-watch.ts'
import type { AlertRule } from './rule.ts'

/** To the thread: output to look at; the buffer comes back. */
export interface WatchJob {
  readonly buffer: ArrayBuffer
  readonly used: number
}

/** What the thread is started with. */
export interface WatchStart {
  readonly rules: readonly AlertRule[]
}

/** From the thread: after each job, and when lines have rested. */
export interface WatchReport {
  /** To be used again. */
  readonly buffer: ArrayBuffer | null
  readonly hits: readonly Hit[]
  /** Since it started. */
  readonly suppressed: number
  readonly forgotten: number
}
