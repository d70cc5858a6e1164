/** The VMs that a command line means: one by one as they are named, or all that fit a pattern; and one of them read. */
import { cleanText, VspcError } from '../base/index.ts'
import { parseVmTerm, selects, type VmTerm, wantedFacts } from '../vmotion/index.ts'
import {
  faultError,
  findVm,
  type ManagedRef,
  type ReadOptions,
  readSerialPorts,
  retrieveOne,
  type VsphereInventory,
  type VsphereSession,
  vmIdentity,
} from '../vsphere/index.ts'
import type { PointVm } from './point-plan.ts'

export interface SelectedVm {
  readonly ref: ManagedRef
  readonly name: string
  readonly instanceUuid: string | null
}

export interface UnknownVm {
  /** As it was given. */
  readonly selector: string
  /** VSPC_VSPHERE_NOT_FOUND, VSPC_VSPHERE_AMBIGUOUS. */
  readonly error: VspcError
}

export interface Selection {
  /** By name, each once. */
  readonly vms: readonly SelectedVm[]
  readonly unknown: readonly UnknownVm[]
}

/** A VM on a command line: what to look it up by, or what it has to fit. */
export type VmArgument = { readonly exactly: string } | { readonly fits: VmTerm; readonly text: string }

/**
 * As `--vms` of `vspc track`, but a name without `*` and `?` means that very name.
 * @throws VspcError VSPC_CONFIG_INVALID.
 */
export function parseVmArgument(text: string): VmArgument {
  const term = parseVmTerm(text)
  if (term.vm !== undefined) return { exactly: term.vm }
  if (term.name !== undefined && !/[*?]/.test(term.name)) return { exactly: term.name }
  return { fits: term, text }
}

/** @throws what keeps all of them from being looked up. */
export async function selectVms(
  inventory: VsphereInventory,
  session: VsphereSession,
  wanted: readonly VmArgument[],
  signal: AbortSignal,
): Promise<Selection> {
  const vms = new Map<string, SelectedVm>()
  const unknown: UnknownVm[] = []
  const take = (vm: SelectedVm): void => void vms.set(vm.ref.value, vm)
  for (const argument of wanted) {
    if (!('exactly' in argument)) continue
    try {
      take(await findVm(session, argument.exactly, { signal }))
    } catch (error) {
      if (!isUnknown(error)) throw error
      unknown.push({ selector: argument.exactly, error })
    }
  }
  const patterns = wanted.flatMap((argument) => ('fits' in argument ? [argument] : []))
  if (patterns.length > 0) {
    const all = await inventory.listVms(wantedFacts(patterns.map(({ fits }) => fits)), { signal })
    for (const { fits, text } of patterns) {
      const found = all.filter((vm) => selects([fits], vm))
      for (const { id, name, instanceUuid } of found) {
        take({ ref: { type: 'VirtualMachine', value: id }, name, instanceUuid })
      }
      if (found.length > 0) continue
      const message = `no VM fits '${cleanText(text, 100)}', or the user may see none of them`
      unknown.push({ selector: text, error: new VspcError('VSPC_VSPHERE_NOT_FOUND', message) })
    }
  }
  const byName = [...vms.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  return { vms: byName, unknown }
}

function isUnknown(error: unknown): error is VspcError {
  return (
    error instanceof VspcError && (error.code === 'VSPC_VSPHERE_NOT_FOUND' || error.code === 'VSPC_VSPHERE_AMBIGUOUS')
  )
}

const PROPERTIES = ['name', 'config.instanceUuid', 'config.uuid', 'runtime.powerState', 'config.hardware.device']
const NEEDED = ['runtime.powerState', 'config.hardware.device']

/** The VM as it is now. @throws VspcError VSPC_VSPHERE_NOT_FOUND when it is gone; what the server does not give out. */
export async function readPointVm(
  session: VsphereSession,
  { ref, name }: SelectedVm,
  options: ReadOptions,
): Promise<PointVm> {
  const shown = cleanText(name, 100)
  const found = await retrieveOne(session, ref, PROPERTIES, options)
  if (found === null) throw new VspcError('VSPC_VSPHERE_NOT_FOUND', `VM ${shown} is no longer there`)
  for (const path of NEEDED) {
    const fault = found.missing.get(path)
    if (fault !== undefined)
      throw faultError({ name: fault, message: '', detail: null }, `cannot read ${path} of ${shown}`)
  }
  const identity = vmIdentity(found)
  return {
    ref,
    name: identity.name,
    instanceUuid: identity.instanceUuid,
    poweredOn: found.properties.get('runtime.powerState')?.text === 'poweredOn',
    ports: readSerialPorts(found.properties.get('config.hardware.device')),
  }
}
