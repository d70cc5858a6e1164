/**
 * What following the appliance and re-pointing serial ports need of vSphere: plain data, and calls that fail with coded
 * errors. Versions of change feeds, sessions, tasks and devices as the server wants them echoed stay behind it.
 */
import { CODES, errorMessage, VspcError } from '../base/index.ts'

export interface VmName {
  /** Of the inventory (`vm-42`): stays while the VM is registered, never to be shown alone. */
  readonly id: string
  readonly name: string
  /** Outlives registrations; null where the server does not say. */
  readonly instanceUuid: string | null
}

/** An ESXi host. */
export interface HostPlace {
  readonly id: string
  /** As in the inventory: a DNS name or an address. */
  readonly name: string
  /** Of its management interfaces, the preferred first; empty where the user may not see them. */
  readonly managementIps: readonly string[]
}

export interface UriBackingInfo {
  readonly kind: 'uri'
  readonly serviceURI: string
  /** `server` or `client`; servers take others, too. */
  readonly direction: string
  /** Null: the host itself connects, without a vSPC. */
  readonly proxyURI: string | null
}

/** A pipe, a file, a device of the host. `type` is for people. */
export interface OtherBackingInfo {
  readonly kind: 'pipe' | 'other'
  readonly type: string
}

export interface SerialPortInfo {
  /** Names the device within its VM. */
  readonly key: number
  /** `Serial port 1`, in the server's language. */
  readonly label: string
  readonly backing: UriBackingInfo | OtherBackingInfo
  readonly connected: boolean
  readonly startConnected: boolean
  /** `ok`, `untried`, `recoverableError`, `unrecoverableError`; null = not told. */
  readonly status: string | null
}

export interface VmPorts extends VmName {
  readonly biosUuid: string | null
  /** Only a VM that is on has connected devices. */
  readonly poweredOn: boolean
  /** Inventory path of its folder (`/DC/vm/prod`) and its own (`/DC/vm/prod/web1`). Empty unless asked for. */
  readonly folder: string
  /** Inventory path of its resource pool or vApp. Empty unless asked for. */
  readonly resourcePool: string
  /** Custom attributes by name. Empty unless asked for. */
  readonly customValues: ReadonlyMap<string, string>
  /** In the order of their keys. */
  readonly ports: readonly SerialPortInfo[]
  /** Why a listing could not tell ports and power, for people; absent or null = it did. */
  readonly unreadable?: string | null
}

/** Which facts a listing has to bring; the rest may be left empty, which saves calls. */
export interface WantedFacts {
  readonly folders: boolean
  readonly resourcePools: boolean
  readonly customValues: boolean
}

/** The edit of one port: what is absent stays as it is. */
export interface PortChange {
  /** As it came from {@link Inventory.listVms} or {@link Inventory.readVm}: an implementation may know more of it. */
  readonly port: SerialPortInfo
  readonly backing?: Omit<UriBackingInfo, 'kind'>
  readonly connected?: boolean
}

export interface InventoryOptions {
  /** Aborting makes the call fail soon, with the signal's reason; what the server does meanwhile goes on. */
  readonly signal: AbortSignal
}

export interface ListOptions extends InventoryOptions {
  /**
   * VMs for which this is false may be left out, so that their ports need not be read. It is asked about VMs whose ports
   * (and power) are not known yet: there are none.
   */
  readonly only?: (vm: VmPorts) => boolean
}

/**
 * Every call may fail with anything; {@link failureOf} says what that means. No call repeats a change by itself.
 */
export interface Inventory {
  /** Every VM that a name, inventory path or UUID (instance first, then BIOS) means. None is no failure. */
  findVms(selector: string, options: InventoryOptions): Promise<readonly VmName[]>
  /** Where the VM is now, or registered while it is off; null while it has no host. Fails as `gone` without VM. */
  readPlace(vm: VmName, options: InventoryOptions): Promise<HostPlace | null>
  /**
   * Tells the id of the VM's host: the present one first, then whenever it may have changed; a repetition is no fault.
   * It may begin anew by itself after troubles that pass. Ends only by failing: as `gone` when the VM is no longer
   * there, and with the signal's reason.
   */
  followPlace(vm: VmName, options: InventoryOptions): AsyncIterable<string | null>
  /** All VMs that the user may see, without templates. */
  listVms(wanted: WantedFacts, options: ListOptions): Promise<readonly VmPorts[]>
  /**
   * Power, ports and names are fresh, other facts may be those of the listing. Fails as `gone` without VM, and where
   * power or ports are not given out: a VM without ports is another thing.
   */
  readVm(vm: VmPorts, options: InventoryOptions): Promise<VmPorts>
  /** All in one reconfiguration, waited for. */
  changePorts(vm: VmPorts, changes: readonly PortChange[], options: InventoryOptions): Promise<void>
}

export type FailureKind =
  /**
   * The server was not reached, is not the right one, or does not let us in: it concerns everything that is asked of it.
   */
  | 'transient'
  /** This object cannot be changed just now; or nobody knows whether it was. */
  | 'busy'
  /** Somebody has to grant something. */
  | 'permission'
  /** There is no such object, or none that the user may see. */
  | 'gone'
  /** Asked in vain; asking again as it is helps little. */
  | 'refused'

export interface Failure {
  readonly kind: FailureKind
  /** For people. */
  readonly message: string
}

const KINDS = new Map<string, FailureKind>([
  // Whoever may not log in, or does not trust the server, need not ask for each VM in turn.
  ['VSPC_VSPHERE_LOGIN', 'transient'],
  ['VSPC_TLS_PIN_MISMATCH', 'transient'],
  ['VSPC_TLS_PEER_REFUSED', 'transient'],
  ['VSPC_VSPHERE_PERMISSION', 'permission'],
  ['VSPC_VSPHERE_NOT_FOUND', 'gone'],
  ['VSPC_VSPHERE_BUSY', 'busy'],
  ['VSPC_VSPHERE_STATE', 'busy'],
  // It may still end well: look before it is repeated.
  ['VSPC_VSPHERE_TASK_TIMEOUT', 'busy'],
])

/** What to make of something that a call of the inventory threw. Unknown errors are refusals: they are retried slowly. */
export function failureOf(thrown: unknown): Failure {
  const message = errorMessage(thrown)
  if (!(thrown instanceof VspcError)) return { kind: 'refused', message }
  return { kind: KINDS.get(thrown.code) ?? (CODES[thrown.code].retryable ? 'transient' : 'refused'), message }
}
