/** Fake ESXi hosts: the VM side of option 232, written from the protocol without our own codec. */
export {
  type Announcement,
  type AutoAnswers,
  OPENINGS,
  type Opening,
  parseOpening,
  type SimLine,
} from './autopilot.ts'
export type { Check, CheckOptions } from './check/check.ts'
export type { CheckConsoles, CheckedVm, ConsoleLink, ConsoleListener } from './check/console.ts'
export { CHECKS, checkServer } from './check/run.ts'
export { STUBBORN_WAYS, StubbornPeer, type StubbornWay } from './check/stubborn-peer.ts'
export { tcpConsoles } from './check/telnet-console.ts'
export type { CheckReport, CheckResult, Figures } from './check/verdict.ts'
export { KNOWN_BY_VM, OPTION, SUB, type Verb } from './codes.ts'
export { ConnectionLog, type ItemMatch, type WaitOptions } from './connection-log.ts'
export {
  CounterGuest,
  type Guest,
  type GuestFactory,
  type GuestMachine,
  PATTERN_RECORD_BYTES,
  PatternGuest,
  patternBytes,
  patternFault,
  SilentGuest,
  silentGuest,
} from './guest.ts'
export { BackendGuest } from './guest-backend.ts'
export { createGuest, GUEST_KINDS, type GuestKind, type GuestSpec, parseGuests } from './guest-kinds.ts'
export { ShellGuest } from './guest-shell.ts'
export type { CloseInfo } from './host-socket.ts'
export { canonicalUuid, formatEsxUuid, type IdentityAnswer, type SimIdentity, simUuid, simVmName } from './identity.ts'
export { IDENTITY_KINDS, type IdentityKind } from './identity-kinds.ts'
export { describeItem, ItemSink, type WireItem } from './item.ts'
export type { MigrateOptions, MigrationResult, MigrationStage, SimHost } from './migration.ts'
export {
  MIGRATION_FAILURES,
  type MigrationFailure,
  type MigrationOutcome,
  SOURCE_FINS,
  type SourceFin,
  VARIANTS,
} from './migration-variants.ts'
export type { PortMoveResult } from './port-move.ts'
export { type QemuGuest, type QemuGuestOptions, startQemuGuest } from './qemu/guest.ts'
export { QEMU_PROMPT } from './qemu/initramfs.ts'
export { findGuestProgram, findProgram, GUEST_PROGRAMS, type GuestProgram, peersDir } from './qemu/programs.ts'
export { Random } from './random.ts'
export type { Reply } from './reply-waits.ts'
export { matchesVm, parseSimScript, type SimStep } from './script.ts'
export { SimConnection, type SimConnectionHandler, type SimConnectionOptions } from './sim-connection.ts'
export type { SimPort, SimPortState } from './sim-port.ts'
export { type SimPortSpec, SimVm, type SimVmOptions } from './sim-vm.ts'
export { Simulation, simulate } from './simulation.ts'
export type { SimulationEvent, SimulationOptions, SimulationStatistics } from './simulation-types.ts'
export { parseSplit, type WriteSplit } from './split-writer.ts'
export type { LatencySummary, VmotionCounts } from './statistics.ts'
export { parseSimTarget, type SimTarget, type SimTls } from './target.ts'
export {
  doubleIac,
  encodeDoProxy,
  encodeKnown,
  encodeSub,
  encodeVerb,
  encodeVmware,
  WireParser,
  type WireSink,
} from './wire.ts'
