/** Faults of vim25, as errors with a code of ours. Pure. */
import { cleanText, type ErrorCode, VspcError } from '../base/index.ts'
import { childOf, type Element, refOf, textOf } from './element.ts'

export interface Fault {
  /** Its type in vim25: `NoPermission`. */
  readonly name: string
  /** In the server's words and language. */
  readonly message: string
  readonly detail: Element | null
}

/** The server did not do what was asked. Branch on `code`; `fault` is for those who need to know more. */
export class VsphereFault extends VspcError {
  readonly fault: string

  constructor(code: ErrorCode, fault: string, message: string) {
    super(code, message)
    this.name = 'VsphereFault'
    this.fault = fault
  }
}

/**
 * Faults by what they mean to us; any other is VSPC_VSPHERE_FAULT. Types derive from each other in vim25, and a server
 * names the most special one: the derived ones that matter are listed too.
 */
const CODE_OF = new Map<string, ErrorCode>(
  Object.entries({
    NotAuthenticated: 'VSPC_VSPHERE_SESSION',
    InvalidLogin: 'VSPC_VSPHERE_LOGIN',
    PasswordExpired: 'VSPC_VSPHERE_LOGIN',
    NoSubjectName: 'VSPC_VSPHERE_LOGIN',
    NoPermission: 'VSPC_VSPHERE_PERMISSION',
    NoPermissionOnHost: 'VSPC_VSPHERE_PERMISSION',
    RestrictedByAdministrator: 'VSPC_VSPHERE_PERMISSION',
    RestrictedVersion: 'VSPC_VSPHERE_PERMISSION',
    SecurityError: 'VSPC_VSPHERE_PERMISSION',
    ManagedObjectNotFound: 'VSPC_VSPHERE_NOT_FOUND',
    NotFound: 'VSPC_VSPHERE_NOT_FOUND',
    TaskInProgress: 'VSPC_VSPHERE_BUSY',
    VAppTaskInProgress: 'VSPC_VSPHERE_BUSY',
    ConcurrentAccess: 'VSPC_VSPHERE_BUSY',
    ResourceInUse: 'VSPC_VSPHERE_BUSY',
    HostCommunication: 'VSPC_VSPHERE_BUSY',
    HostNotConnected: 'VSPC_VSPHERE_BUSY',
    HostNotReachable: 'VSPC_VSPHERE_BUSY',
    Timedout: 'VSPC_VSPHERE_BUSY',
    InvalidState: 'VSPC_VSPHERE_STATE',
    InvalidPowerState: 'VSPC_VSPHERE_STATE',
    InvalidHostState: 'VSPC_VSPHERE_STATE',
    InvalidHostConnectionState: 'VSPC_VSPHERE_STATE',
    VmToolsUpgradeFault: 'VSPC_VSPHERE_STATE',
  } as const),
)

/** @param doing what was tried, for people: `cannot log in to https://vc/sdk`. */
export function faultError(fault: Fault, doing: string): VsphereFault {
  const code = CODE_OF.get(fault.name) ?? 'VSPC_VSPHERE_FAULT'
  const name = cleanText(fault.name, 60)
  const said = cleanText(fault.message, 300)
  const named = said === '' ? name : `${name}: ${said}`
  return new VsphereFault(code, name, `${doing}: ${[explain(code, fault), named].filter(Boolean).join(' ')}`)
}

/** Of a task, or of a property that cannot be read: a LocalizedMethodFault. Null where there is none. */
export function localizedFault(element: Element | null): Fault | null {
  const detail = childOf(element, 'fault')
  if (detail === null) return null
  return { name: detail.type ?? 'unknown', message: textOf(element, 'localizedMessage') ?? '', detail }
}

function explain(code: ErrorCode, { detail }: Fault): string {
  switch (code) {
    case 'VSPC_VSPHERE_LOGIN':
      return 'the server refuses user or password.'
    case 'VSPC_VSPHERE_PERMISSION': {
      const privilege = textOf(detail, 'privilegeId')
      const object = refOf(detail, 'object')
      if (privilege === null) return ''
      const where = object === null ? '' : ` on ${cleanText(object.value, 80)}`
      return `the user lacks the privilege ${cleanText(privilege, 80)}${where}.`
    }
    default:
      return ''
  }
}
