import type { PortMeta } from '../history/index.ts'
import type { Port } from './port.ts'
import type { PortInfo } from './types.ts'

/** The port as the outside sees it; a copy. */
export function portInfo(port: Port): PortInfo {
  const session = port.lastSession
  const online = port.handover.source !== null || port.handover.destination !== null
  return {
    id: port.id,
    vm: {
      name: port.name,
      uuid: port.vcUuid ?? port.biosUuid,
      ...(port.biosUuid === null ? {} : { biosUuid: port.biosUuid }),
      ...(port.locationUuid === null ? {} : { locationUuid: port.locationUuid }),
    },
    label: port.label,
    state: port.state,
    host: session?.peer.address ?? null,
    transport: session?.transport ?? null,
    direction: port.direction,
    serviceURI: port.serviceURI,
    consoles: port.consoles.length,
    bytesFromVm: port.history.next,
    bytesToVm: port.bytesToVm,
    connectedAt: online && session ? new Date(session.connectedAt).toISOString() : null,
    vmotions: port.vmotions,
    historyStart: port.history.start,
    protocol: session?.protocol ?? 'vmware',
    line: port.line,
    lastOutputAt: port.lastOutputAt === 0 ? null : new Date(port.lastOutputAt).toISOString(),
    ...(port.telnetPort === null ? {} : { telnetPort: port.telnetPort }),
  }
}

/** What is kept of the port beside its history. */
export function portMeta(port: Port): PortMeta {
  const { vmKey, label, epoch, name, vcUuid, biosUuid, serviceURI, direction } = port
  return { vmKey, label, epoch, name, vcUuid, biosUuid, serviceURI, direction }
}
