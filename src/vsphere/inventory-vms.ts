/** VMs with their serial ports, as the re-pointing wants them: all in one listing, or one read afresh. */
import { cleanText, errorMessage, VspcError } from '../base/index.ts'
import type { ListOptions, SerialPortInfo, VmName, VmPorts, WantedFacts } from '../vmotion/index.ts'
import { asRef, type ManagedRef, parseFlag, refKey } from './element.ts'
import { faultError } from './faults.ts'
import { customFieldNames, readCustomValues, vmIdentity } from './inventory.ts'
import { list, type ReadOptions, retrieve, retrieveOne } from './properties.ts'
import { readSerialPorts, type SerialPort } from './serial-ports.ts'
import type { VsphereSession } from './session.ts'
import type { ObjectContent } from './specs.ts'

/** The device behind a port: an edit echoes it whole, so it is kept for as long as the port is known. */
export type KnownDevices = WeakMap<SerialPortInfo, SerialPort>

const FACTS = ['name', 'config.instanceUuid', 'config.uuid', 'config.template']
/** All devices, and they are long: some 10 kB of each VM. Power belongs to them: what is off has nothing connected. */
const DEVICES = ['runtime.powerState', 'config.hardware.device']
/** VMs that one call names. */
const CHUNK = 500
/** What stands between a VM and the root, and has a name in paths. */
const FOLDERS = ['Folder', 'Datacenter']
const POOLS = [...FOLDERS, 'ComputeResource', 'ResourcePool']
const MAX_DEPTH = 64

export function vmRef({ id }: Pick<VmName, 'id'>): ManagedRef {
  return { type: 'VirtualMachine', value: id }
}

/** Without templates. Where only some VMs are wanted, all are read without their devices first. */
export async function listVmPorts(
  session: VsphereSession,
  wanted: WantedFacts,
  devices: KnownDevices,
  { only, ...options }: ListOptions,
): Promise<VmPorts[]> {
  const { folders, resourcePools, customValues } = wanted
  const extra = [
    ...(folders ? ['parent'] : []),
    ...(resourcePools ? ['resourcePool'] : []),
    ...(customValues ? ['customValue'] : []),
  ]
  const [found, pathOf, fields] = await Promise.all([
    list(session, 'VirtualMachine', [...FACTS, ...extra, ...(only === undefined ? DEVICES : [])], options),
    readPaths(session, resourcePools ? POOLS : folders ? FOLDERS : [], options),
    customValues ? customFieldNames(session, options) : new Map<number, string>(),
  ])
  const vms = found.filter(isNoTemplate).map((object) => ({
    ...vmPorts(object, devices),
    ...(only === undefined ? readability(object, vmIdentity(object).name) : {}),
    // A VM in a vApp has no folder.
    folder: folders ? pathOf(asRef(object.properties.get('parent'))) : '',
    resourcePool: resourcePools ? pathOf(asRef(object.properties.get('resourcePool'))) : '',
    customValues: readCustomValues(object.properties.get('customValue'), fields),
  }))
  return only === undefined ? vms : withPorts(session, vms.filter(only), devices, options)
}

async function withPorts(
  session: VsphereSession,
  vms: readonly VmPorts[],
  devices: KnownDevices,
  options: ReadOptions,
): Promise<VmPorts[]> {
  const all: VmPorts[] = []
  for (let at = 0; at < vms.length; at += CHUNK) {
    const chunk = vms.slice(at, at + CHUNK)
    const query = { type: 'VirtualMachine', properties: DEVICES, objects: chunk.map(vmRef) }
    const found = new Map((await retrieve(session, query, options)).map((object) => [object.ref.value, object]))
    for (const vm of chunk) {
      const object = found.get(vm.id)
      // Deleted in this moment.
      if (object !== undefined) all.push({ ...vm, ...hardware(object, devices), ...readability(object, vm.name) })
    }
  }
  return all
}

/** Null when it is gone. @throws what the server says of power or devices that it does not give out. */
export async function readVmPorts(
  session: VsphereSession,
  vm: VmPorts,
  devices: KnownDevices,
  options: ReadOptions,
): Promise<VmPorts | null> {
  const found = await retrieveOne(session, vmRef(vm), [...FACTS, ...DEVICES], options)
  if (found === null) return null
  const unknown = unknownHardware(found, vm.name)
  if (unknown !== null) throw unknown
  const { folder, resourcePool, customValues } = vm
  return { ...vmPorts(found, devices), folder, resourcePool, customValues }
}

function isNoTemplate({ properties }: ObjectContent): boolean {
  return parseFlag(properties.get('config.template')?.text) !== true
}

type Fresh = Omit<VmPorts, 'folder' | 'resourcePool' | 'customValues'>

function vmPorts(object: ObjectContent, devices: KnownDevices): Fresh {
  const { name, instanceUuid, biosUuid } = vmIdentity(object)
  return {
    id: object.ref.value,
    name,
    instanceUuid,
    biosUuid,
    ...hardware(object, devices),
  }
}

function hardware({ properties }: ObjectContent, devices: KnownDevices): Pick<VmPorts, 'poweredOn' | 'ports'> {
  return {
    poweredOn: properties.get('runtime.powerState')?.text === 'poweredOn',
    ports: readSerialPorts(properties.get('config.hardware.device')).map((port) => portInfo(port, devices)),
  }
}

/** A VM whose devices are not told must not pass for one without serial ports, nor for one that is off. */
function unknownHardware({ properties, missing }: ObjectContent, name: string): VspcError | null {
  const path = DEVICES.find((one) => !properties.has(one))
  if (path === undefined) return null
  const doing = `cannot read ${path} of VM ${cleanText(name, 100)}`
  const fault = missing.get(path)
  if (fault !== undefined) return faultError({ name: fault, message: '', detail: null }, doing)
  // Of one that is off, and whose files are out of reach, nothing is connected either.
  const power = properties.get('runtime.powerState')?.text
  if (power !== undefined && power !== 'poweredOn') return null
  return new VspcError('VSPC_VSPHERE_STATE', `${doing}: the server does not tell it just now`)
}

function readability(object: ObjectContent, name: string): Pick<VmPorts, 'unreadable'> {
  const unknown = unknownHardware(object, name)
  return unknown === null ? {} : { unreadable: errorMessage(unknown) }
}

function portInfo(port: SerialPort, devices: KnownDevices): SerialPortInfo {
  const { key, label, connected, startConnected, status, backing } = port
  const info: SerialPortInfo = {
    key,
    label,
    backing: backing.kind === 'pipe' ? { kind: 'pipe', type: `pipe ${backing.pipeName}` } : backing,
    connected,
    startConnected,
    status,
  }
  devices.set(info, port)
  return info
}

/** Inventory paths of containers. One above which something may not be seen has none: ''. */
async function readPaths(
  session: VsphereSession,
  types: readonly string[],
  options: ReadOptions,
): Promise<(ref: ManagedRef | null) => string> {
  const listings = await Promise.all(types.map((type) => list(session, type, ['name', 'parent'], options)))
  const known = new Map(listings.flat().map((object) => [refKey(object.ref), object.properties]))
  const root = refKey(session.content.rootFolder)
  return (ref) => {
    const names: string[] = []
    let at = ref
    while (at !== null && refKey(at) !== root && names.length < MAX_DEPTH) {
      const properties = known.get(refKey(at))
      const name = properties?.get('name')?.text
      if (name === undefined) return ''
      names.unshift(name)
      at = asRef(properties?.get('parent'))
    }
    return at === null || names.length === 0 || names.length === MAX_DEPTH ? '' : `/${names.join('/')}`
  }
}
