/** What following the appliance is told to do, tells of what happens, and shows of itself. */
import type { Clock, Logger } from '../base/index.ts'
import type {
  ApplianceMove,
  Failure,
  Filled,
  HostPlace,
  NextHopChange,
  NextHopPusher,
  PortChoice,
  RetargetEvent,
  RetargetStatus,
  RetargetStep,
  RetargetVmStatus,
  VmName,
  VmTerm,
} from '../vmotion/index.ts'
import type { VsphereAccess } from './access.ts'
import type { Trouble, TroubleSource } from './troubles.ts'

/** What is to be done: parsed, with its templates and tables. */
export interface TrackingPlan {
  /** Name, inventory path or UUID of the appliance's VM. */
  readonly appliance: string
  readonly terms: readonly VmTerm[]
  readonly choice: PortChoice
  readonly proxyURI: (place: HostPlace) => Filled
  readonly nextHops: NextHopPusher | null
}

export type TrackingEvent =
  | { readonly kind: 'moved'; readonly move: ApplianceMove }
  /** Told once until it is well again, or something else is wrong; it is tried again by itself. */
  | { readonly kind: 'trouble'; readonly source: TroubleSource; readonly failure: Failure }
  /** After a trouble, when there is none left. */
  | { readonly kind: 'well' }
  /** Once for each VM or peer and reason; `news` is false for what fails again as before. */
  | { readonly kind: 'retarget'; readonly event: RetargetEvent; readonly news: boolean }
  /** A shortcoming of how things are set up. */
  | { readonly kind: 'hint'; readonly message: string }

export interface TrackingOptions extends TrackingPlan {
  readonly access: VsphereAccess
  readonly clock: Clock
  /** From 0 to 1, for the spread of pauses. */
  readonly random: () => number
  /** Of the sessions; what happens is told as events. */
  readonly log: Logger
  /** Called at once; must not throw. */
  readonly onEvent: (event: TrackingEvent) => void
}

export interface TrackingStatus {
  /** The appliance's own VM, once it was found. */
  readonly vm: VmName | null
  /** Where the appliance is, as far as known, and since when that was seen: milliseconds since 1970. */
  readonly host: HostPlace | null
  readonly since: number | null
  readonly moves: number
  /** The one that has lasted longest. */
  readonly trouble: Trouble | null
  /** The server has let us in, and nothing since says that it no longer does. */
  readonly reachable: boolean
  readonly retarget: RetargetStatus
}

/** One VM that is not right. */
export interface TrackedVmInfo extends Omit<RetargetVmStatus, 'failure'> {
  /** Null while nothing has failed. */
  readonly reason: string | null
}

export interface PlanReport {
  readonly place: HostPlace
  /** Empty where there is none for the host. */
  readonly proxyURI: string
  readonly steps: readonly RetargetStep[]
  /** Or why they cannot be told. */
  readonly nextHops: readonly NextHopChange[] | { readonly problem: string }
}
