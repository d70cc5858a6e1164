/** The channel between a VM and its appliance that needs no connection: keys and values that the host keeps. */
export {
  type ApplianceCall,
  ApplianceSide,
  type ApplianceSideOptions,
  type ChangeOutcome,
  type ChangeResult,
  type VmKeys,
  type VmLook,
} from './appliance-side.ts'
export type {
  CollectorNews,
  CollectorNewsType,
  GuestExit,
  GuestProcess,
  PresentVm,
  Seen,
  VmGuestinfo,
} from './collected.ts'
export { type CollectorOptions, type CollectorState, type CollectorStatus, GuestinfoCollector } from './collector.ts'
export {
  applyChanges,
  diffSnapshots,
  type GuestChange,
  type GuestNews,
  type GuestReport,
  type GuestSnapshot,
  guestNews,
  recordId,
  reportOf,
  takeSnapshot,
} from './diff.ts'
export { type GuestCall, GuestSide, type GuestSideOptions, type SetOutcome, type WatchCall } from './guest-side.ts'
export {
  checkGuestKey,
  checkKey,
  checkWritableKey,
  formatVicKey,
  GUEST_PREFIX,
  isHiddenFromGuest,
  isReadOnlyToGuest,
  isSecret,
  parseVicKey,
  type VicKey,
  type VicStep,
} from './keys.ts'
export type { ResultLine, ResultType, VmRecords } from './ledger.ts'
export { GUESTINFO_LIMITS, type GuestinfoLimits } from './limits.ts'
export {
  type AddressRecord,
  type ErrorRecord,
  emptyRecord,
  formatRecord,
  type GuestRecord,
  isRecordName,
  type ProcessRecord,
  parseRecord,
  parseRecordKey,
  recordKey,
} from './records.ts'
export type { ResultFs } from './result-file.ts'
export { ResultStore, type ResultStoreOptions, type ResultStoreStatus } from './result-store.ts'
export { findTools, type RpcToolOptions, type RunTool, type Tool } from './rpctool.ts'
export type { ToolOutcome } from './tool-answer.ts'
export { decodeValue, encodeValue, NIL } from './values.ts'
export { emptyVicRecord, formatVicRecord, parseVicRecords } from './vic.ts'
