import type { Clock, Limits, Logger, Tap } from '../base/index.ts'
import type { HistoryStore } from '../history/index.ts'
import type { CookieTable, RandomBytes } from '../vmotion/index.ts'
import type { WriterPolicy } from './arbitration.ts'
import type { Port } from './port.ts'
import type { PortTable } from './port-table.ts'
import type { Refusals } from './refusals.ts'
import type { ServerEvent, VmotionResult } from './types.ts'
import type { VmSession } from './vm-session.ts'

/** Plain counters, read by metrics; all of them only grow. */
export class Counters {
  connectionsAccepted = 0
  connectionsRefused = 0
  connectionsClosed = 0
  negotiationTimeouts = 0
  notVmwarePeers = 0
  wontProxy = 0
  unknownPeers = 0
  tlsFailures = 0
  listenerProblems = 0
  dialFailures = 0
  takeovers = 0
  bytesFromVm = 0
  bytesToVm = 0
  consoleBytes = 0
  consoleGapBytes = 0
  preAttachBytesDropped = 0
  telnetAnomalies = 0
  suboptionAnomalies = 0
  unknownSuboptions = 0
  vmotionsBegun = 0
  vmotionsCompleted = 0
  vmotionsImplicit = 0
  vmotionsAborted = 0
  vmotionsRefused = 0
  vmotionsTimedOut = 0
  consolesAttached = 0
  consolesRefused = 0
  splicesDialled = 0
  splicesAccepted = 0
  splicesRefused = 0
  splicesTooSlow = 0
  internalErrors = 0
}

/** Looks at the output of all ports, off the data path. Must neither throw nor wait. */
export interface OutputWatch {
  /**
   * What a port has sent, once for each byte and in order. `bytes` are valid only during the call.
   * @param serial of the port. @param offset of the first byte.
   */
  output(serial: number, offset: number, bytes: Uint8Array): void
}

/** What ports and sessions share: one object per server, made by `Server`. */
export interface Core {
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Logger
  readonly random: RandomBytes
  readonly tap: Tap | null
  /** Null: nobody looks. */
  readonly watch: OutputWatch | null
  readonly cookies: CookieTable<Port>
  readonly table: PortTable
  /** Of all ports. */
  readonly histories: HistoryStore
  readonly counters: Counters
  /** Connections that got no port. */
  readonly refusals: Refusals
  /** serviceURI names we answer to; none = any. */
  readonly serviceUris: readonly string[]
  readonly writers: WriterPolicy
  /** Random, of this run. */
  readonly epoch: string
  /** True from `stop()` on: no new vMotion is granted. */
  readonly stopping: boolean
  /** On streams that survive their connections: a VM that was told WILL-PROXY and has not said yet which one it is. */
  readonly unnamed: Set<VmSession>
  /** BEGIN to GOAHEAD or NOTNOW, ms. */
  observeGoahead(ms: number): void
  /** BEGIN to the end, ms. */
  observeVmotion(result: VmotionResult, ms: number): void
  /** `make` is only called when somebody listens. */
  emit(make: (at: string) => ServerEvent): void
  /** Two connections live under one id: gives the older one a port of its own. */
  park(port: Port, session: VmSession): Port
  /** A port came online, or has another connection: what is to be dialled for it is. Before it delivers anything. */
  cameOnline(port: Port): void
  sessionClosed(session: VmSession): void
}

/** From 0 up to 1, in steps of 1/256: enough to keep those that failed together apart. */
export function fraction(random: RandomBytes): number {
  return (random(1)[0] as number) / 256
}
