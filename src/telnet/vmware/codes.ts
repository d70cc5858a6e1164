/**
 * Suboptions of VMWARE-TELNET-EXT (option 232), by VMware's names. Frame: `IAC SB 232 code payload IAC SE`.
 * [doc] VMware's paper "Using a Proxy with vSphere Virtual Serial Ports"; [seen] VMware's capture; 84-87 [other].
 */
export const SUBOPTION = {
  KNOWN_SUBOPTIONS_1: 0,
  KNOWN_SUBOPTIONS_2: 1,
  UNKNOWN_SUBOPTION_RCVD_1: 2,
  UNKNOWN_SUBOPTION_RCVD_2: 3,
  VMOTION_BEGIN: 40,
  VMOTION_GOAHEAD: 41,
  VMOTION_NOTNOW: 43,
  VMOTION_PEER: 44,
  VMOTION_PEER_OK: 45,
  VMOTION_COMPLETE: 46,
  VMOTION_ABORT: 48,
  DO_PROXY: 70,
  WILL_PROXY: 71,
  WONT_PROXY: 73,
  VM_VC_UUID: 80,
  GET_VM_VC_UUID: 81,
  VM_NAME: 82,
  GET_VM_NAME: 83,
  VM_BIOS_UUID: 84,
  GET_VM_BIOS_UUID: 85,
  VM_LOCATION_UUID: 86,
  GET_VM_LOCATION_UUID: 87,
} as const

export type SuboptionName = keyof typeof SUBOPTION
export type SuboptionCode = (typeof SUBOPTION)[SuboptionName]

const NAMES = new Map<number, string>(
  Object.entries(SUBOPTION).map(([name, code]) => [code, name.replace(/_(?=[12]$)/, '-').replaceAll('_', '-')]),
)

/** `VMOTION-BEGIN`, `KNOWN-SUBOPTIONS-1`, ...; the number for unassigned codes. */
export function suboptionName(code: number): string {
  return NAMES.get(code) ?? String(code)
}

/**
 * What we say in KNOWN-SUBOPTIONS-2, ascending, the same every time: everything this product sends or takes, with the
 * identification pairs 84-87, which VMware's own proxy in the capture left out.
 */
export const PROXY_KNOWN_SUBOPTIONS: readonly number[] = Object.values(SUBOPTION).sort((a, b) => a - b)
