/** What re-pointing is told to do, and what it shows of itself. */
import { type Clock, VspcError } from '../base/index.ts'
import type { Filled } from './host-template.ts'
import type { Failure, HostPlace, Inventory, VmPorts, WantedFacts } from './inventory.ts'
import type { NextHopPusher } from './next-hop-push.ts'
import { type PortChoice, planRetarget, type RetargetStep } from './retarget.ts'
import type { RetargetCounts, RetargetEvent, RetargetTimes, VmState } from './retarget-events.ts'

export interface RetargetOptions {
  readonly inventory: Inventory
  /** Called for every VM of a listing; looks at all but ports and power. Has to leave out the appliance itself. */
  readonly selects: (vm: VmPorts) => boolean
  readonly wanted: WantedFacts
  readonly choice: PortChoice
  /** What ports are to name while the appliance is there. */
  readonly proxyURI: (place: HostPlace) => Filled
}

export interface RetargeterOptions extends RetargetOptions {
  readonly clock: Clock
  /** From 0 to 1, for the spread of pauses. */
  readonly random: () => number
  /** Null: there are no peer relays. */
  readonly pusher?: NextHopPusher | null
  readonly times?: Partial<RetargetTimes>
  /** Called at once; must not throw. */
  readonly onEvent?: (event: RetargetEvent) => void
}

/** One VM, for people and programs. */
export interface RetargetVmStatus {
  readonly vm: string
  readonly uuid: string | null
  readonly state: VmState
  readonly failure: Failure | null
  readonly attempts: number
}

export interface RetargetStatus {
  readonly place: HostPlace | null
  readonly proxyURI: string | null
  readonly settled: boolean
  readonly counts: RetargetCounts
  /** Peer relays that have not heard of the move. */
  readonly nextHopsOpen: number
}

/** What would be done for a place. Changes nothing. @throws as {@link Inventory.listVms}; VSPC_ENDPOINT_SYNTAX. */
export async function readPlan(
  options: RetargetOptions,
  place: HostPlace,
  signal: AbortSignal,
): Promise<RetargetStep[]> {
  const filled = options.proxyURI(place)
  if ('problem' in filled) throw new VspcError('VSPC_ENDPOINT_SYNTAX', filled.problem)
  const all = await options.inventory.listVms(options.wanted, { signal, only: options.selects })
  return planRetarget(all.filter(options.selects), { proxyURI: filled.uri, choice: options.choice })
}
