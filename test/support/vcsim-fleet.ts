/** VMs of a simulator with serial ports on them, and moves of one VM from host to host. */
import {
  addSerialPort,
  type Direction,
  findVm,
  leaf,
  list,
  type ManagedRef,
  node,
  readSerialPorts,
  reconfigureVm,
  refElement,
  type SerialPort,
  taskOf,
  type VsphereSession,
} from '../../src/vsphere/index.ts'

export interface FleetBacking {
  readonly serviceURI: string
  readonly direction: Direction
  readonly proxyURI: string | null
}

/** Eight at a time. */
export async function addPorts(
  session: VsphereSession,
  vms: readonly ManagedRef[],
  backing: (at: number) => FleetBacking,
): Promise<void> {
  await forAll(vms, (vm, at) => reconfigureVm(session, vm, { devices: [addSerialPort(backing(at))] }))
}

/** Serial ports of every VM by the VM's name. */
export async function portsOfAll(session: VsphereSession): Promise<Map<string, SerialPort[]>> {
  const all = await list(session, 'VirtualMachine', ['name', 'config.hardware.device'])
  return new Map(
    all.map(({ properties }) => [
      properties.get('name')?.text ?? '',
      readSerialPorts(properties.get('config.hardware.device')),
    ]),
  )
}

/** Ends when the simulator has moved it. */
export async function relocate(session: VsphereSession, vm: ManagedRef, host: ManagedRef): Promise<void> {
  const response = await session.call(vm, 'RelocateVM_Task', [node('spec', [refElement('host', host)])])
  await session.tasks.wait(taskOf(response), 'relocate')
}

export interface SimHost {
  readonly ref: ManagedRef
  readonly name: string
}

/** The hosts of the cluster, by name. */
export async function clusterHosts(session: VsphereSession): Promise<SimHost[]> {
  const found = await list(session, 'HostSystem', ['name'])
  return found
    .map(({ ref, properties }) => ({ ref, name: properties.get('name')?.text ?? '' }))
    .filter(({ name }) => name.startsWith('DC0_C0_'))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

export async function refsOf(session: VsphereSession, names: readonly string[]): Promise<ManagedRef[]> {
  return Promise.all(names.map(async (name) => (await findVm(session, name)).ref))
}

export async function allVms(session: VsphereSession): Promise<{ ref: ManagedRef; name: string }[]> {
  const found = await list(session, 'VirtualMachine', ['name'])
  return found.map(({ ref, properties }) => ({ ref, name: properties.get('name')?.text ?? '' }))
}

export async function rename(session: VsphereSession, vm: ManagedRef, name: string): Promise<void> {
  const response = await session.call(vm, 'Rename_Task', [leaf('newName', name)])
  await session.tasks.wait(taskOf(response), 'rename')
}

/** Does it for all, eight at a time. */
export async function forAll<T>(all: readonly T[], what: (one: T, at: number) => Promise<void>): Promise<void> {
  const queue = [...all.entries()]
  const worker = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) await what(next[1], next[0])
  }
  await Promise.all(Array.from({ length: 8 }, worker))
}
