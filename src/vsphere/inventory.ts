/** Finding VMs, and where they run. */
import { cleanText, VspcError } from '../base/index.ts'
import { childOf, childrenOf, type Element, leaf, type ManagedRef, numberOf, refKey, textOf } from './element.ts'
import { VsphereFault } from './faults.ts'
import { list, type ReadOptions, retrieve, retrieveOne } from './properties.ts'
import type { VsphereSession } from './session.ts'
import { type ObjectContent, readRefs } from './specs.ts'
import { parseUuid } from './uuid.ts'

export interface VmIdentity {
  readonly ref: ManagedRef
  readonly name: string
  /** Unique within a vCenter. Null where the server does not say. */
  readonly instanceUuid: string | null
  /** Clones may share it. */
  readonly biosUuid: string | null
}

const IDENTITY = ['name', 'config.instanceUuid', 'config.uuid']
const SHOWN_CANDIDATES = 5

/**
 * Every VM that `selector` means: a UUID in any spelling (instance UUID first, then BIOS UUID), an inventory path
 * (`/DC/vm/folder/name`, with or without the first slash), or else a name.
 */
export async function findVms(
  session: VsphereSession,
  selector: string,
  options: ReadOptions = {},
): Promise<VmIdentity[]> {
  const uuid = parseUuid(selector)
  if (uuid !== null) {
    const byInstance = await findByUuid(session, uuid, true, options)
    const found = byInstance.length > 0 ? byInstance : await findByUuid(session, uuid, false, options)
    if (found.length > 0) return identify(session, found, options)
  }
  if (selector.includes('/')) {
    const ref = await findByPath(session, selector, options)
    if (ref !== null) return identify(session, [ref], options)
  }
  const all = await list(session, 'VirtualMachine', ['name'], options)
  const named = all.filter(({ properties }) => vmName(properties.get('name')) === selector)
  return identify(
    session,
    named.map(({ ref }) => ref),
    options,
  )
}

/** @throws VspcError VSPC_VSPHERE_NOT_FOUND or VSPC_VSPHERE_AMBIGUOUS. */
export async function findVm(
  session: VsphereSession,
  selector: string,
  options: ReadOptions = {},
): Promise<VmIdentity> {
  const found = await findVms(session, selector, options)
  const [one, ...others] = found
  const shown = cleanText(selector, 100)
  if (one === undefined) {
    throw new VspcError(
      'VSPC_VSPHERE_NOT_FOUND',
      `no VM '${shown}' in ${session.url}; give its name, inventory path or UUID (a VM that the user may not see is not found either)`,
    )
  }
  if (others.length > 0) {
    const candidates = found.slice(0, SHOWN_CANDIDATES).map((vm) => `${vm.name} (${vm.instanceUuid ?? vm.ref.value})`)
    const more = found.length > SHOWN_CANDIDATES ? ` and ${found.length - SHOWN_CANDIDATES} more` : ''
    throw new VspcError(
      'VSPC_VSPHERE_AMBIGUOUS',
      `'${shown}' means ${found.length} VMs: ${candidates.join(', ')}${more}; give the instance UUID`,
    )
  }
  return one
}

async function findByUuid(
  session: VsphereSession,
  uuid: string,
  instanceUuid: boolean,
  options: ReadOptions,
): Promise<ManagedRef[]> {
  const args = [leaf('uuid', uuid), leaf('vmSearch', true), leaf('instanceUuid', instanceUuid)]
  try {
    const response = await session.call(session.content.searchIndex, 'FindAllByUuid', args, {
      ...options,
      repeatable: true,
    })
    const refs = readRefs(response).filter(({ type }) => type === 'VirtualMachine')
    return [...new Map(refs.map((ref) => [refKey(ref), ref])).values()]
  } catch (error) {
    // The simulator. FindByUuid would hide that there are several.
    if (!(error instanceof VsphereFault) || error.fault !== 'MethodNotFound') throw error
  }
  const property = instanceUuid ? 'config.instanceUuid' : 'config.uuid'
  const all = await list(session, 'VirtualMachine', [property], options)
  return all.filter(({ properties }) => properties.get(property)?.text.toLowerCase() === uuid).map(({ ref }) => ref)
}

async function findByPath(session: VsphereSession, path: string, options: ReadOptions): Promise<ManagedRef | null> {
  const args = [leaf('inventoryPath', path.replace(/^\/+|\/+$/g, ''))]
  const response = await session.call(session.content.searchIndex, 'FindByInventoryPath', args, {
    ...options,
    repeatable: true,
  })
  return readRefs(response).find(({ type }) => type === 'VirtualMachine') ?? null
}

async function identify(
  session: VsphereSession,
  refs: readonly ManagedRef[],
  options: ReadOptions,
): Promise<VmIdentity[]> {
  const found = await retrieve(session, { type: 'VirtualMachine', properties: IDENTITY, objects: refs }, options)
  return found.map(vmIdentity)
}

/** Of a VM that was read with `name`, `config.instanceUuid` and `config.uuid`. */
export function vmIdentity({ ref, properties }: ObjectContent): VmIdentity {
  return {
    ref,
    name: vmName(properties.get('name')) ?? ref.value,
    instanceUuid: properties.get('config.instanceUuid')?.text || null,
    biosUuid: properties.get('config.uuid')?.text || null,
  }
}

/** vSphere escapes three characters in names. [doc] */
function vmName(element: Element | undefined): string | null {
  return element?.text.replace(/%(2f|5c|25)/gi, (escaped) => decodeURIComponent(escaped)) ?? null
}

export interface HostInfo {
  readonly ref: ManagedRef
  /** As in the inventory: a DNS name or an address. */
  readonly name: string
  /** Addresses of its management interfaces, IPv4 first; empty where the user may not see them. */
  readonly managementIps: readonly string[]
}

/** What {@link hostInfo} reads. */
export const HOST_PROPERTIES = ['name', 'config.virtualNicManagerInfo.netConfig', 'config.network.vnic']

/** The host that a VM runs on, or is registered on while it is off; null when there is none, or no such VM. */
export async function hostOfVm(
  session: VsphereSession,
  vm: ManagedRef,
  options: ReadOptions = {},
): Promise<ManagedRef | null> {
  const found = await retrieveOne(session, vm, ['runtime.host'], options)
  const host = found?.properties.get('runtime.host')
  return host === undefined || host.text === '' ? null : { type: host.refType ?? 'HostSystem', value: host.text }
}

export async function readHosts(
  session: VsphereSession,
  hosts: readonly ManagedRef[],
  options: ReadOptions = {},
): Promise<HostInfo[]> {
  const found = await retrieve(session, { type: 'HostSystem', properties: HOST_PROPERTIES, objects: hosts }, options)
  return found.map(hostInfo)
}

/** Of a host that was read with {@link HOST_PROPERTIES}. */
export function hostInfo({ ref, properties }: ObjectContent): HostInfo {
  const netConfigs = properties.get('config.virtualNicManagerInfo.netConfig')?.children ?? []
  const management = netConfigs.find((one) => textOf(one, 'nicType') === 'management')
  const selected = new Set(childrenOf(management, 'selectedVnic').map(({ text }) => text))
  const candidates = childrenOf(management, 'candidateVnic')
  const chosen = candidates.filter((nic) => selected.has(textOf(nic, 'key') ?? ''))
  // A host without that table has only one interface, mostly; the first one is the one it was installed with.
  const nics = chosen.length > 0 ? chosen : candidates.slice(0, 1)
  const all = nics.length > 0 ? nics : (properties.get('config.network.vnic')?.children.slice(0, 1) ?? [])
  return { ref, name: properties.get('name')?.text ?? ref.value, managementIps: [...new Set(all.flatMap(addresses))] }
}

function addresses(nic: Element): string[] {
  const ip = childOf(childOf(nic, 'spec'), 'ip')
  const v6 = childrenOf(childOf(ip, 'ipV6Config'), 'ipV6Address').map((one) => textOf(one, 'ipAddress') ?? '')
  // A link-local address is of no use to anybody who is not on that link.
  return [textOf(ip, 'ipAddress') ?? '', ...v6].filter((address) => address !== '' && !/^fe[89ab]/i.test(address))
}

/** Names of custom attributes by their key; empty on a stand-alone host, which has none. */
export async function customFieldNames(
  session: VsphereSession,
  options: ReadOptions = {},
): Promise<ReadonlyMap<number, string>> {
  const manager = session.content.customFieldsManager
  if (manager === null) return new Map()
  const found = await retrieveOne(session, manager, ['field'], options)
  const names = new Map<number, string>()
  for (const field of found?.properties.get('field')?.children ?? []) {
    const key = numberOf(field, 'key')
    if (key !== null) names.set(key, textOf(field, 'name') ?? '')
  }
  return names
}

/** @param element value of the property `customValue`. Values of fields that are gone are left out. */
export function readCustomValues(
  element: Element | null | undefined,
  names: ReadonlyMap<number, string>,
): Map<string, string> {
  const values = new Map<string, string>()
  for (const one of element?.children ?? []) {
    const name = names.get(numberOf(one, 'key') ?? -1)
    if (name !== undefined) values.set(name, textOf(one, 'value') ?? '')
  }
  return values
}

/** An advanced setting of vCenter, such as config.vpxd.SerialPort.PersistNetworkBacking; null = not set. */
export async function readSetting(
  session: VsphereSession,
  name: string,
  options: ReadOptions = {},
): Promise<string | null> {
  const { optionManager } = session.content
  if (optionManager === null) return null
  try {
    const response = await session.call(optionManager, 'QueryOptions', [leaf('name', name)], {
      ...options,
      repeatable: true,
    })
    const found = response.children.find((option) => textOf(option, 'key') === name)
    return textOf(found, 'value')
  } catch (error) {
    if (error instanceof VsphereFault && error.fault === 'InvalidName') return null
    throw error
  }
}
