/** What the re-pointing of VMs tells, and its times. */
import type { Failure, HostPlace, VmName } from './inventory.ts'
import type { PushEvent } from './next-hop-push.ts'
import type { CannotStep, ChangeStep } from './retarget.ts'

/** Milliseconds or a count, as the name says. */
export interface RetargetTimes {
  /** VMs that are changed at once. */
  readonly concurrency: number
  /** A VM that takes longer gives up its place to another one, while there are fewer than `mostAtOnce` in all. */
  readonly hangMs: number
  readonly mostAtOnce: number
  /** One call, a change waited for included. */
  readonly callMs: number
  /** One attempt to tell a peer relay. */
  readonly pushMs: number
  /** First and longest pause of a VM, a listing or a push that failed, and of all when the server is out of reach. */
  readonly retryMinMs: number
  readonly retryMaxMs: number
  /** After so many failures in a row a VM is only tried every `slowMs`; where time alone does not help, at once. */
  readonly quickAttempts: number
  readonly slowMs: number
  /** What is known of a VM for longer is read again before it is changed. */
  readonly freshMs: number
  /** How often all VMs are looked at without a move. */
  readonly resyncMs: number
}

export const RETARGET_TIMES: RetargetTimes = {
  concurrency: 8,
  hangMs: 5_000,
  mostAtOnce: 24,
  callMs: 30_000,
  pushMs: 3_000,
  retryMinMs: 250,
  retryMaxMs: 15_000,
  quickAttempts: 8,
  slowMs: 60_000,
  freshMs: 5_000,
  resyncMs: 300_000,
}

export type VmState =
  /** Waits for its turn. */
  | 'queued'
  | 'working'
  /** Has failed; it is tried again soon. */
  | 'waiting'
  /** Has failed often, or for a reason that lasts; it is tried again now and then. */
  | 'stuck'
  | 'right'
  /** There is nothing in it that could be changed. */
  | 'cannot'

export interface RetargetCounts extends Readonly<Record<VmState, number>> {
  readonly vms: number
}

export interface RetargetSummary {
  readonly place: HostPlace
  readonly proxyURI: string
  readonly counts: RetargetCounts
  /** VMs changed since the move. */
  readonly changed: number
  /** Since the move. */
  readonly ms: number
}

export type RetargetEvent =
  | PushEvent
  | { readonly kind: 'target'; readonly place: HostPlace; readonly proxyURI: string }
  /** There is no address for the host: nothing is changed until there is. */
  | { readonly kind: 'no-target'; readonly place: HostPlace; readonly message: string }
  /** Next hops have none for the host; VMs are re-pointed all the same. */
  | { readonly kind: 'no-next-hop'; readonly place: HostPlace; readonly failure: Failure }
  | { readonly kind: 'listed'; readonly counts: RetargetCounts }
  | { readonly kind: 'list-failed'; readonly failure: Failure; readonly retryMs: number }
  | { readonly kind: 'changed'; readonly vm: VmName; readonly steps: readonly ChangeStep[] }
  | { readonly kind: 'cannot'; readonly vm: VmName; readonly steps: readonly CannotStep[] }
  | {
      readonly kind: 'failed'
      readonly vm: VmName
      readonly failure: Failure
      readonly attempts: number
      readonly retryMs: number
    }
  /** It is no longer there, or no longer selected. */
  | { readonly kind: 'forgotten'; readonly vm: VmName }
  /** Once for each target, when every VM is right, cannot be changed, or is stuck. */
  | { readonly kind: 'settled'; readonly summary: RetargetSummary }
