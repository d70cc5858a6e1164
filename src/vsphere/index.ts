/** A small typed client of the vSphere API. */
export {
  asRef,
  childOf,
  childrenOf,
  type Element,
  flagOf,
  leaf,
  type ManagedRef,
  node,
  numberOf,
  parseFlag,
  refElement,
  refKey,
  refOf,
  textOf,
} from './element.ts'
export { type Fault, faultError, VsphereFault } from './faults.ts'
export {
  type FirewallRuleset,
  readFirewall,
  readHostConnection,
  readServerTime,
} from './host-facts.ts'
export {
  customFieldNames,
  findVm,
  findVms,
  type HostInfo,
  hostInfo,
  hostOfVm,
  readCustomValues,
  readHosts,
  readSetting,
  type VmIdentity,
  vmIdentity,
} from './inventory.ts'
export { VsphereInventory, type VsphereInventoryOptions } from './inventory-adapter.ts'
export { VSPHERE_LIMITS, type VsphereLimits } from './limits.ts'
export { LoginGuard } from './login-guard.ts'
export { createView, forget, list, type ReadOptions, retrieve, retrieveOne } from './properties.ts'
export { readExtraConfig, reconfigureVm, type VmChange } from './reconfigure.ts'
export {
  addSerialPort,
  type Direction,
  editSerialPort,
  readSerialPorts,
  removeSerialPort,
  type SerialPort,
  type SerialPortChange,
  type UriBacking,
} from './serial-ports.ts'
export type { About, ServiceContent } from './service-content.ts'
export { type CallOptions, type ConnectOptions, connect, type VsphereSession } from './session.ts'
export type { ObjectContent, ObjectUpdate, PropertyQuery } from './specs.ts'
export { type TaskOptions, taskOf } from './tasks.ts'
export { formatVsphereUrl, parseVsphereUrl, type VsphereUrl } from './url.ts'
export { parseUuid } from './uuid.ts'
export { type News, type WatchOptions, type WatchQuery, watch } from './watch.ts'
