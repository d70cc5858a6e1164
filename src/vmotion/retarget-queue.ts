/** The VMs of a re-pointing: what is known of each, and whose turn it is. Pure but for the timers it holds. */
import type { Backoff, Timer } from '../base/index.ts'
import type { Failure, VmPorts } from './inventory.ts'
import type { RetargetCounts, VmState } from './retarget-events.ts'

/** One selected VM. */
export interface TrackedVm {
  vm: VmPorts
  state: VmState
  /** When `vm` was read; null = it was changed since. */
  readAt: number | null
  /** Counts what happens to any VM: tells whether a listing that began earlier knows of the last change. */
  touched: number
  /** No longer selected; forgotten as soon as nothing is under way. */
  leaving: boolean
  /** Of the target at hand, in a row. */
  attempts: number
  /** Of any target: those that fail are tried behind the others. */
  failures: number
  readonly backoff: Backoff
  retry: Timer | null
  failure: Failure | null
  /** The generation in which the new backing was set, and not yet found to have no effect. */
  applied: number
  /** As told last, so that it is told once. */
  cannot: string
}

/** Found just now. */
export function trackedVm(vm: VmPorts, readAt: number, backoff: Backoff): TrackedVm {
  return {
    vm,
    state: 'right',
    readAt,
    touched: 0,
    leaving: false,
    attempts: 0,
    failures: 0,
    backoff,
    retry: null,
    failure: null,
    applied: 0,
    cannot: '',
  }
}

type Lane = 'urgent' | 'first' | 'later'
const LANES: readonly Lane[] = ['urgent', 'first', 'later']

export class RetargetQueue {
  readonly #lanes: Record<Lane, Set<TrackedVm>> = { urgent: new Set(), first: new Set(), later: new Set() }

  /** @param urgent a port of it is disconnected. Those that have failed before come after those that have not. */
  add(one: TrackedVm, urgent: boolean): void {
    this.remove(one)
    one.state = 'queued'
    this.#lanes[one.failures > 0 ? 'later' : urgent ? 'urgent' : 'first'].add(one)
  }

  remove(one: TrackedVm): void {
    one.retry?.cancel()
    one.retry = null
    for (const lane of LANES) this.#lanes[lane].delete(one)
  }

  /**
   * The next one that fits, no longer queued; null = nobody waits.
   * @param later also of those that have failed before.
   */
  take(later: boolean, fits: (one: TrackedVm) => boolean): TrackedVm | null {
    for (const lane of LANES) {
      if (lane === 'later' && !later) break
      for (const one of this.#lanes[lane]) {
        if (!fits(one)) continue
        this.#lanes[lane].delete(one)
        return one
      }
    }
    return null
  }
}

export function countStates(all: Iterable<TrackedVm>): RetargetCounts {
  const counts = { vms: 0, queued: 0, working: 0, waiting: 0, stuck: 0, right: 0, cannot: 0 }
  for (const { state } of all) {
    counts.vms++
    counts[state]++
  }
  return counts
}
