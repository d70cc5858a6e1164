/**
 * Re-pointing VMs' serial ports: what has to change so that they name the relay on the appliance's host. Pure: the same
 * VMs and target always give the same plan in the same order, and what was applied gives a plan without changes.
 */
import type { SerialPortInfo, UriBackingInfo, VmName, VmPorts } from './inventory.ts'
import { matches } from './vm-selection.ts'

/** Which ports of a selected VM; without any of these every network port that has a proxy. */
export interface PortChoice {
  /** By number, from 1, in the order of keys, or by label. These are pointed at the proxy even if they had none. */
  readonly ports?: readonly (number | string)[]
  /** Pattern of what the port says. */
  readonly serviceURI?: string
  /** The same; it has to fit what ports are pointed at, too, or they are found once only. */
  readonly proxyURI?: string
}

export interface RetargetTarget {
  readonly proxyURI: string
  readonly choice: PortChoice
}

export type ChangeReason =
  /** Its proxy is another one. */
  | 'elsewhere'
  /** The proxy is right, but the port is not connected although it is meant to be while the VM is on. */
  | 'disconnected'
  /** The proxy is right, but the host has given up to connect to it. */
  | 'failed'

export type CannotReason =
  /** Nothing that could be pointed anywhere. */
  | 'no-port'
  /** None with that number or label. */
  | 'no-such-port'
  /** A pipe, a file, a device of the host. */
  | 'not-network'
  /** Nobody knows what it has. */
  | 'unreadable'

export interface ChangeStep {
  readonly do: 'change'
  readonly why: ChangeReason
  readonly vm: VmPorts
  readonly port: SerialPortInfo
  readonly from: UriBackingInfo
  readonly to: UriBackingInfo
  /** Disconnected first: the backing of a connected port may not change. */
  readonly disconnect: boolean
  readonly connect: boolean
}

export interface KeepStep {
  readonly do: 'keep'
  readonly why: 'right'
  readonly vm: VmPorts
  readonly port: SerialPortInfo
}

export interface CannotStep {
  readonly do: 'cannot'
  readonly why: CannotReason
  readonly vm: VmPorts
  /** Null where it is about the whole VM. */
  readonly port: SerialPortInfo | null
  /** For people. */
  readonly message: string
}

export type RetargetStep = ChangeStep | KeepStep | CannotStep

/** Ports that were disconnected to be re-pointed, and not connected since. */
export type HalfDone = ReadonlySet<string>

export function halfDoneKey({ id, instanceUuid }: VmName, port: SerialPortInfo): string {
  // A vCenter that was set up anew gives the id to another VM.
  return `${instanceUuid ?? id}/${port.key}`
}

/** @returns every chosen port with what is to become of it; by VM name, then port. */
export function planRetarget(
  vms: readonly VmPorts[],
  target: RetargetTarget,
  halfDone: HalfDone = new Set(),
): RetargetStep[] {
  return [...vms].sort(byName).flatMap((vm) => planVm(vm, target, halfDone))
}

/** The order of plans. */
export function byName(a: VmName, b: VmName): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

export function planVm(vm: VmPorts, target: RetargetTarget, halfDone: HalfDone = new Set()): RetargetStep[] {
  if (vm.unreadable != null) return [{ do: 'cannot', why: 'unreadable', vm, port: null, message: vm.unreadable }]
  const steps = choose(vm, target).map((chosen) =>
    'do' in chosen ? chosen : planPort(vm, chosen, target.proxyURI, halfDone),
  )
  if (steps.length > 0) return steps
  return [{ do: 'cannot', why: 'no-port', vm, port: null, message: 'it has no serial port that fits' }]
}

function choose(vm: VmPorts, { choice, proxyURI: wanted }: RetargetTarget): (SerialPortInfo | CannotStep)[] {
  const { serviceURI, proxyURI } = choice
  const fits = ({ backing }: SerialPortInfo): boolean =>
    backing.kind === 'uri' &&
    (serviceURI === undefined || matches(serviceURI, backing.serviceURI)) &&
    (proxyURI === undefined || backing.proxyURI === wanted || matches(proxyURI, backing.proxyURI ?? ''))
  const ports = [...vm.ports].sort((a, b) => a.key - b.key)
  if (choice.ports === undefined) {
    return ports.filter((port) => fits(port) && port.backing.kind === 'uri' && port.backing.proxyURI !== null)
  }
  const chosen: (SerialPortInfo | CannotStep)[] = []
  for (const [at, port] of ports.entries()) {
    if (!choice.ports.some((one) => one === at + 1 || one === port.label)) continue
    if (port.backing.kind !== 'uri') {
      const message = `${port.label || `port ${at + 1}`} is no network port (${port.backing.type})`
      chosen.push({ do: 'cannot', why: 'not-network', vm, port, message })
    } else if (fits(port)) {
      chosen.push(port)
    }
  }
  for (const one of choice.ports) {
    const known = typeof one === 'number' ? one >= 1 && one <= ports.length : ports.some(({ label }) => label === one)
    if (known) continue
    const message = typeof one === 'number' ? `it has no serial port ${one}` : `it has no port "${one}"`
    chosen.push({ do: 'cannot', why: 'no-such-port', vm, port: null, message })
  }
  return chosen
}

function planPort(vm: VmPorts, port: SerialPortInfo, proxyURI: string, halfDone: HalfDone): RetargetStep {
  const from = port.backing
  // choose() lets nothing else through.
  if (from.kind !== 'uri') return { do: 'cannot', why: 'not-network', vm, port, message: from.type }
  const why = changeReason(vm, port, from, proxyURI, halfDone)
  if (why === null) return { do: 'keep', why: 'right', vm, port }
  return {
    do: 'change',
    why,
    vm,
    port,
    from,
    to: { ...from, proxyURI },
    disconnect: vm.poweredOn && port.connected,
    connect: vm.poweredOn,
  }
}

function changeReason(
  vm: VmPorts,
  port: SerialPortInfo,
  from: UriBackingInfo,
  proxyURI: string,
  halfDone: HalfDone,
): ChangeReason | null {
  if (from.proxyURI !== proxyURI) return 'elsewhere'
  if (!vm.poweredOn) return null
  // One that starts disconnected is connected by somebody else, if at all.
  if (!port.connected) return port.startConnected || halfDone.has(halfDoneKey(vm, port)) ? 'disconnected' : null
  return port.status === 'unrecoverableError' ? 'failed' : null
}

/** A step as plain data: for `--plan`, the API and `--json`. */
export interface StepInfo {
  readonly vm: string
  readonly uuid: string | null
  readonly port: string | null
  readonly do: RetargetStep['do']
  readonly why: string
  readonly from: string | null
  readonly to: string | null
}

const WHY: Record<ChangeReason, string> = {
  elsewhere: 'points elsewhere',
  disconnected: 'is not connected',
  failed: 'the host has given up to connect it',
}

export function stepInfo(step: RetargetStep): StepInfo {
  const { vm, port } = step
  const now = port?.backing.kind === 'uri' ? port.backing.proxyURI : null
  return {
    vm: vm.name,
    uuid: vm.instanceUuid,
    port: port === null ? null : port.label || String(port.key),
    do: step.do,
    why: step.do === 'change' ? WHY[step.why] : step.do === 'keep' ? 'is right already' : step.message,
    from: now,
    to: step.do === 'change' ? step.to.proxyURI : null,
  }
}
