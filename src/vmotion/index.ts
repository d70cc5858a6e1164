export {
  ApplianceHost,
  type ApplianceHostOptions,
  type ApplianceStatus,
  type ApplianceTimes,
} from './appliance-host.ts'
export { ApplianceMachine, type ApplianceMove, type ApplianceOwner, type ApplianceTimer } from './appliance-machine.ts'
export {
  APPLIANCE_TRANSITIONS,
  type ApplianceAction,
  type ApplianceCell,
  type ApplianceEvent,
  type ApplianceState,
  applianceTransition,
} from './appliance-states.ts'
export { type Cookie, CookieTable, drawSecret, type RandomBytes, SECRET_BYTES, sameBytes } from './cookies.ts'
export { Handover, type HandoverOwner, type HandoverReport } from './handover.ts'
export {
  type Filled,
  fillProxyTemplate,
  fillTemplate,
  type HostTemplate,
  parseHostTemplate,
  parseProxyTemplate,
  proxyFault,
  type RelayTable,
} from './host-template.ts'
export {
  type Failure,
  type FailureKind,
  failureOf,
  type HostPlace,
  type Inventory,
  type InventoryOptions,
  type ListOptions,
  type OtherBackingInfo,
  type PortChange,
  type SerialPortInfo,
  type UriBackingInfo,
  type VmName,
  type VmPorts,
  type WantedFacts,
} from './inventory.ts'
export type { NextHopChange, NextHopPusher } from './next-hop-push.ts'
export {
  type CannotReason,
  type CannotStep,
  type ChangeReason,
  type ChangeStep,
  type KeepStep,
  type PortChoice,
  planRetarget,
  type RetargetStep,
  type RetargetTarget,
  type StepInfo,
  stepInfo,
} from './retarget.ts'
export type {
  RetargetCounts,
  RetargetEvent,
  RetargetSummary,
  RetargetTimes,
  VmState,
} from './retarget-events.ts'
export {
  type RetargeterOptions,
  type RetargetOptions,
  type RetargetStatus,
  type RetargetVmStatus,
  readPlan,
} from './retarget-options.ts'
export { Retargeter } from './retarget-run.ts'
export {
  type HandoverAction,
  type HandoverCell,
  type HandoverEvent,
  type HandoverState,
  TRANSITIONS,
  transition,
} from './states.ts'
export { matches, parseVmTerm, selects, type VmTerm, wantedFacts } from './vm-selection.ts'
