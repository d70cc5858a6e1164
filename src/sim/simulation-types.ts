import type { Clock } from '../base/index.ts'
import type { Opening } from './autopilot.ts'
import type { GuestSpec } from './guest-kinds.ts'
import type { IdentityKind } from './identity-kinds.ts'
import type { MigrationResult } from './migration.ts'
import type { SimStep } from './script.ts'
import type { WriteSplit } from './split-writer.ts'
import type { LatencySummary, VmotionCounts } from './statistics.ts'
import type { SimTarget } from './target.ts'

export interface SimulationOptions {
  /** Where the hosts connect to; VMs are spread over them in turn. At least one. */
  readonly targets: readonly SimTarget[]
  /** Default 2. */
  readonly hosts?: number
  /** Default 10. */
  readonly vms?: number
  /** Default 1. With more, each serviceURI gets `?port=ttyS0` and so on. */
  readonly portsPerVm?: number
  /** Random vMotions per second over all VMs. Default 0. */
  readonly vmotionsPerSecond?: number
  /** At most so many at the same time. Default 50. */
  readonly maxVmotionsAtOnce?: number
  /** For random vMotions: the guest's pause between GOAHEAD and the new connection. Default 0. */
  readonly stunMs?: number
  /** VMs take these in turn. Default: a shell in each. */
  readonly guests?: readonly GuestSpec[]
  /** A byte stream for the first port of the first VM, or of every VM if it contains `{vm}`. */
  readonly backend?: string
  /** Default `vSPC.py`. */
  readonly serviceURI?: string
  readonly opening?: Opening | 'mixed'
  /** Default `normal`. */
  readonly identity?: IdentityKind
  /** How every write is cut. Default: not at all. */
  readonly split?: WriteSplit
  /** For UUIDs, sequences and the choice of who moves where. Default 1. */
  readonly seed?: number
  readonly script?: readonly SimStep[]
  /** VMs that may be connecting at once. Default 64. */
  readonly connectsAtOnce?: number
  readonly redialMs?: number
  /** Default true here, so that latencies are the proxy's and not Nagle's. */
  readonly noDelay?: boolean
  /** Ends the simulation like `stop`. */
  readonly signal?: AbortSignal
  readonly clock?: Clock
  readonly onEvent?: (event: SimulationEvent) => void
}

export type SimulationEvent =
  | { readonly type: 'vmotion'; readonly vm: string; readonly result: MigrationResult }
  /** Something a reader should know: a VM that could not attach, a step that could not be done. */
  | { readonly type: 'note'; readonly vm: string; readonly text: string }

export interface SimulationStatistics {
  readonly hosts: number
  readonly vms: number
  readonly ports: number
  readonly portsAttached: number
  readonly portsRefused: number
  readonly reconnects: number
  readonly vmotions: VmotionCounts
  /** BEGIN to GOAHEAD or NOTNOW, in ms. */
  readonly goaheadMs: LatencySummary | null
  /** BEGIN to COMPLETE, in ms. */
  readonly stunnedMs: LatencySummary | null
  readonly bytesFromVms: number
  readonly bytesToVms: number
  /** Console input that a proxy sent where no guest reads it. */
  readonly lostInputBytes: number
  readonly violations: number
  /** The first few violations in words. */
  readonly violationSamples: readonly string[]
}
