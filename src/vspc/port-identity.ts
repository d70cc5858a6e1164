import { portId, type VmIdentity } from './identity.ts'
import type { Port } from './port.ts'

/**
 * Takes over what a VM says about itself on a connection that is attached already: a name may change at any time, a
 * UUID is kept once it is known, and one that comes late gives the port its proper id.
 */
export function learnIdentity(port: Port, identity: VmIdentity): void {
  if (identity.name !== '' && identity.name !== port.name) {
    port.name = identity.name
    port.history.metaChanged()
    port.emitPort('port-renamed')
    port.tellConsoles({ type: 'renamed', name: port.displayName, port: port.id })
  }
  if (port.biosUuid === null && identity.biosUuid !== null) {
    port.biosUuid = identity.biosUuid
    port.history.metaChanged()
  }
  port.locationUuid = identity.locationUuid ?? port.locationUuid
  if (identity.vcUuid === null || identity.vcUuid === port.vcUuid) return
  if (port.vcUuid !== null) {
    port.core.log.warn(
      { port: port.id, uuid: identity.vcUuid },
      'VM-VC-UUID changed on an attached port; the first one is kept',
    )
    return
  }
  port.vcUuid = identity.vcUuid
  port.history.metaChanged()
  rekey(port, identity.vcUuid)
}

/** The UUID came after the port had to be named without it. */
function rekey(port: Port, key: string): void {
  const { table, log } = port.core
  const previousId = port.id
  if (key === port.vmKey) return
  const known = table.get(portId(key, port.label))
  if (known !== undefined) {
    const session = port.handover.source
    // In the middle of a vMotion the cookie is this port's: what is typed elsewhere would go to a stunned VM.
    if (known.state !== 'offline' || session === null || port.handover.state !== 'STEADY') {
      log.warn(
        { port: previousId, uuid: key },
        'late VM-VC-UUID names another port, and one of the two is in use; this one keeps its id',
      )
      return
    }
    // The VM comes back to the port that its users are attached to; the one named in haste stays behind, offline.
    log.info({ port: known.id, previousId }, 'the VM is back: its VM-VC-UUID came late')
    port.sessionClosed(session)
    session.attached(known)
    return
  }
  if (!port.history.rename(portId(key, port.label))) {
    log.warn({ port: previousId, uuid: key }, 'late VM-VC-UUID names a port that has a history; this one keeps its id')
    return
  }
  table.remove(port)
  port.vmKey = key
  table.add(port)
  port.history.metaChanged()
  log.info({ port: port.id, previousId }, 'port named by its UUID, which came late')
  port.core.emit((at) => ({ type: 'port-rekeyed', at, port: port.info(), previousId }))
  port.tellConsoles({ type: 'renamed', name: port.displayName, port: port.id })
}
