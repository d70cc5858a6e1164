/** What a VM has said of itself on one connection. */
import type { ServiceUri, VmIdentity } from './identity.ts'

/** Who a VM is, and what it was asked; dropped once the port is known and nothing is outstanding. */
export interface Introduction extends VmIdentity {
  serviceUri: ServiceUri | null
  direction: 'server' | 'client'
  /** WILL-PROXY was sent: the port is attached as soon as it has a name. */
  accepted: boolean
  /** Questions without an answer yet, by code of the answer. */
  waiting: Set<number>
  biosAsked: boolean
  knownToVm: Uint8Array | null
}

export function introduction(): Introduction {
  return {
    vcUuid: null,
    biosUuid: null,
    locationUuid: null,
    name: '',
    serviceUri: null,
    direction: 'server',
    accepted: false,
    waiting: new Set(),
    biosAsked: false,
    knownToVm: null,
  }
}
