/** The settings of following the guestinfo of VMs: one schema and one check, and the VMs they mean. */
import { cleanText, errorMessage, VspcError } from '../base/index.ts'
import type { ConfigProblem, SettingsSource } from '../config/index.ts'
import { parseVmTerm } from '../vmotion/index.ts'
import { leaf, type ManagedRef, refOf, type VsphereSession } from '../vsphere/index.ts'

/** As they stand in a file. */
export interface GuestinfoSettings {
  vms?: string
}

const ACCEPTED = '"*" for all that the user may see, folder:/DC/vm/prod or pool:/DC/host/cluster/Resources/prod'

/** The section `guestinfo`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const GUESTINFO_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['vms'],
  description:
    'Follows what VMs publish as guestinfo (addresses, errors, how processes end), keeps it below dataDir and tells it; ' +
    'see docs/guestinfo.md. Needs the section `vsphere`. Default: nothing is followed.',
  properties: {
    vms: {
      type: 'string',
      description:
        'Which VMs: `*` all that the user may see, or those below a folder or resource pool: `folder:PATH`, `pool:PATH`.',
      accepts: ACCEPTED,
    },
  },
} as const

/** Checked and complete; plain data. */
export interface GuestinfoConfig {
  /** `*`, `folder:PATH` or `pool:PATH`. */
  readonly vms: string
}

/** The section of one source, or null when it is not complete and right; then `problems` says why. */
export function readGuestinfoSection(
  { vms }: GuestinfoSettings,
  source: SettingsSource,
  problems: ConfigProblem[],
): GuestinfoConfig | null {
  if (vms === undefined) {
    const { guestinfo } = source.values as { guestinfo?: object }
    // What is there and did not fit has been reported.
    if (guestinfo === undefined || !Object.hasOwn(guestinfo, 'vms')) {
      const message = `guestinfo.vms is missing; accepted is ${ACCEPTED}`
      problems.push({ code: 'VSPC_CONFIG_INVALID', ...source.locate(['guestinfo'], 'key'), message })
    }
    return null
  }
  try {
    parsePlace(vms)
    return { vms }
  } catch (error) {
    const code = error instanceof VspcError ? error.code : 'VSPC_CONFIG_INVALID'
    problems.push({ code, ...source.locate(['guestinfo', 'vms'], 'value'), message: errorMessage(error) })
    return null
  }
}

/** As it would stand in a file. */
export function guestinfoSettings({ vms }: GuestinfoConfig): GuestinfoSettings {
  return { vms }
}

/** Inventory path of the folder or pool that holds the VMs; null for all VMs. @throws VspcError VSPC_CONFIG_INVALID. */
function parsePlace(vms: string): string | null {
  const { folder, resourcePool, name } = /^[A-Za-z]+:/.test(vms) ? parseVmTerm(vms) : { name: vms }
  const path = folder ?? resourcePool
  if (path !== undefined) return path.replace(/^\/+|\/+$/g, '')
  if (name === '*') return null
  const message = `guestinfo.vms "${cleanText(vms, 200)}" is neither all VMs nor a place; accepted is ${ACCEPTED}`
  throw new VspcError('VSPC_CONFIG_INVALID', message)
}

/**
 * What finds the place below which VMs are meant; null where all are.
 * @throws VspcError VSPC_CONFIG_INVALID; what is returned VSPC_VSPHERE_*, and the signal's reason.
 */
export function guestinfoPlace({
  vms,
}: GuestinfoConfig): ((session: VsphereSession, signal: AbortSignal) => Promise<ManagedRef>) | null {
  const path = parsePlace(vms)
  if (path === null) return null
  return async (session, signal) => {
    const args = [leaf('inventoryPath', path)]
    const call = { signal, repeatable: true }
    const response = await session.call(session.content.searchIndex, 'FindByInventoryPath', args, call)
    const ref = refOf(response, 'returnval')
    if (ref !== null && ref.type !== 'VirtualMachine') return ref
    const what = ref === null ? 'is not there, or the user may not see it' : 'is a VM, not a folder or resource pool'
    throw new VspcError('VSPC_VSPHERE_NOT_FOUND', `guestinfo.vms: ${cleanText(vms, 200)} ${what}`)
  }
}
