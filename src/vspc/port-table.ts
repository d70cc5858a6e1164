import { VspcError } from '../base/index.ts'
import type { Core } from './core.ts'
import {
  announcedIdentity,
  canonicalUuid,
  NOBODY,
  portId,
  type ServiceUri,
  type VmIdentity,
  vmKey,
} from './identity.ts'
import { Port } from './port.ts'
import type { VmSession } from './vm-session.ts'

/** After a start, hosts get this long to dial before a port that was quiet for long enough is forgotten. */
const RETURN_MS = 3_600_000

/** All ports of a server by id, how connections find theirs, and how people name them. */
export class PortTable {
  readonly #core: Core
  readonly #ports = new Map<string, Port>()
  readonly #perVm = new Map<string, number>()

  constructor(core: Core) {
    this.#core = core
  }

  get size(): number {
    return this.#ports.size
  }

  get(id: string): Port | undefined {
    return this.#ports.get(id)
  }

  /** Ports of one VM. */
  countOf(vmKey: string): number {
    return this.#perVm.get(vmKey) ?? 0
  }

  /**
   * Gives a connection its port, made if it is new.
   * @param service what DO-PROXY said; null for streams that say nothing.
   */
  attach(
    session: VmSession,
    identity: VmIdentity,
    service: { uri: ServiceUri | null; direction: 'server' | 'client' } | null,
  ): void {
    const known = knownOf(session, identity)
    const key = keyOf(session, known)
    const label = service?.uri?.label ?? labelOf(session)
    const existing = this.#ports.get(portId(key, label))
    const port = existing ?? this.#create(session, key, label)
    if (port === null) return
    const { serviceURI, direction } = port
    port.serviceURI = service?.uri?.display ?? serviceURI
    port.direction = service?.direction ?? direction
    if (existing) {
      if (port.serviceURI !== serviceURI || port.direction !== direction) port.history.metaChanged()
      port.learn(known)
    } else {
      port.name = known.name
      port.vcUuid = known.vcUuid
      port.biosUuid = known.biosUuid
      port.locationUuid = known.locationUuid
      this.add(port)
      port.emitPort('port-added')
    }
    session.attached(port)
  }

  /** Would a connection that says nothing of itself take its port from another one? */
  isTaken(session: VmSession): boolean {
    const key = keyOf(session, knownOf(session, NOBODY))
    const port = this.#ports.get(portId(key, labelOf(session)))
    return port !== undefined && port.handover.state !== 'OFFLINE'
  }

  #create(session: VmSession, key: string, label: string | null): Port | null {
    const { limits, log } = this.#core
    const limit =
      this.size >= limits.maxPorts ? 'maxPorts' : this.countOf(key) >= limits.maxPortsPerVm ? 'maxPortsPerVm' : null
    if (limit === null) return new Port(this.#core, key, label)
    log.error(
      { vm: key, label, limit, value: limits[limit] },
      'no room for another port; connection kept unattached, then closed',
    )
    this.#core.refusals.note('no-room', session.peer, `the limit "${limit}" (${limits[limit]}) is reached`)
    session.refuse(limits.refusedLingerMs)
    return null
  }

  /**
   * Two connections keep sending under one id, so they are two ports: `session`, the older one, gets an id of its own
   * (`ID#2`, ...).
   */
  park(port: Port, session: VmSession): Port {
    for (let n = 2; ; n++) {
      const label = `${port.label ?? ''}#${n}`
      const existing = this.#ports.get(`${port.vmKey}:${label}`)
      if (existing && existing.handover.state !== 'OFFLINE') continue
      const parked = existing ?? new Port(this.#core, port.vmKey, label)
      if (!existing) {
        parked.name = port.name
        parked.vcUuid = port.vcUuid
        parked.biosUuid = port.biosUuid
        parked.locationUuid = port.locationUuid
        parked.serviceURI = port.serviceURI
        parked.direction = port.direction
        this.add(parked)
        parked.emitPort('port-added')
      }
      session.attached(parked)
      return parked
    }
  }

  /** Adds a port for each history that is there from before, offline until its VM connects. */
  restore(): void {
    const { histories, clock, log } = this.#core
    for (const { id, meta, lastWriteAt } of [...histories.stored()]) {
      if (portId(meta.vmKey, meta.label) !== id) {
        log.warn({ port: id }, 'history: the port file names another port; left as it is')
        continue
      }
      const port = new Port(this.#core, meta.vmKey, meta.label, meta.epoch)
      port.name = meta.name
      port.vcUuid = meta.vcUuid
      port.biosUuid = meta.biosUuid
      port.serviceURI = meta.serviceURI
      port.direction = meta.direction
      port.lastOutputAt = lastWriteAt
      // One that was connected and silent must not go before its host had time to come back.
      const { historyRetentionMs } = this.#core.limits
      const quietMs = Math.max(0, clock.wall() - lastWriteAt)
      port.offlineSince = clock.now() - Math.min(quietMs, Math.max(0, historyRetentionMs - RETURN_MS))
      this.add(port)
      // Its port file was lost: the new epoch has to outlive this run.
      if (meta.epoch === null) port.history.metaChanged()
    }
  }

  add(port: Port): void {
    this.#ports.set(port.id, port)
    this.#perVm.set(port.vmKey, this.countOf(port.vmKey) + 1)
  }

  /** Takes a port out under the id and key it has now. */
  remove(port: Port): void {
    if (!this.#ports.delete(port.id)) return
    const left = this.countOf(port.vmKey) - 1
    if (left > 0) this.#perVm.set(port.vmKey, left)
    else this.#perVm.delete(port.vmKey)
  }

  [Symbol.iterator](): IterableIterator<Port> {
    return this.#ports.values()
  }

  /**
   * Finds a port by what a person typed: id, UUID in any spelling, `NAME`, `NAME/LABEL`, `UUID/LABEL`, or a unique
   * prefix of an id or name.
   * @param isVisible what does not pass it does not exist, in messages neither. Default: all exist.
   * @throws VspcError VSPC_PORT_NOT_FOUND, VSPC_PORT_AMBIGUOUS (with the candidates in the message).
   */
  resolve(text: string, isVisible?: (port: Port) => boolean): Port {
    const exact = this.#ports.get(text)
    if (exact && (isVisible === undefined || isVisible(exact))) return exact
    for (const candidates of this.#candidates(text, isVisible)) {
      if (candidates.length === 1) return candidates[0] as Port
      if (candidates.length > 1) throw ambiguous(text, candidates)
    }
    throw new VspcError(
      'VSPC_PORT_NOT_FOUND',
      `no port matches "${text}"; ${this.size === 0 && isVisible === undefined ? 'no VM has connected yet' : '"vspc ports" lists them'}`,
    )
  }

  /** From the most to the least exact reading of `text`. */
  *#candidates(text: string, isVisible: ((port: Port) => boolean) | undefined): Generator<Port[]> {
    const known = [...this.#ports.values()]
    const all = isVisible === undefined ? known : known.filter(isVisible)
    const slash = text.lastIndexOf('/')
    const colon = text.indexOf(':')
    const uuid = canonicalUuid(text)
    if (uuid !== null) yield unlabelledFirst(all.filter((port) => port.vmKey === uuid || port.biosUuid === uuid))
    for (const at of [slash, colon]) {
      if (at <= 0) continue
      const vm = text.slice(0, at)
      const label = text.slice(at + 1)
      const vmUuid = canonicalUuid(vm)
      yield all.filter(
        (port) => port.label === label && (port.name === vm || (vmUuid !== null && port.vmKey === vmUuid)),
      )
    }
    yield unlabelledFirst(all.filter((port) => port.name === text))
    const lower = text.toLowerCase()
    if (lower === '') return
    yield unlabelledFirst(all.filter((port) => port.name.toLowerCase() === lower))
    const digits = /^[0-9a-f-]{4,}$/.test(lower) ? lower.replaceAll('-', '') : null
    yield unlabelledFirst(
      all.filter(
        (port) =>
          port.name.toLowerCase().startsWith(lower) ||
          port.id.startsWith(lower) ||
          (digits !== null && port.id.replaceAll('-', '').startsWith(digits)),
      ),
    )
  }
}

/** Identity, with what stands in for one that is not said: the announcement of a relay, else the listener's or dialler's. */
function knownOf({ announced, entry }: VmSession, identity: VmIdentity): VmIdentity {
  if (announced?.uniqueId != null) return announcedIdentity(announced.uniqueId)
  return identity.name === '' && entry.name !== null ? { ...identity, name: entry.name } : identity
}

function keyOf({ entry, peer }: VmSession, known: VmIdentity): string {
  return vmKey(known, entry.address ?? peer.address)
}

function labelOf({ announced, entry }: VmSession): string | null {
  return announced?.label ?? entry.label
}

/** A VM's port without label is meant when only the VM is named; several labelled ones stay ambiguous. */
function unlabelledFirst(ports: Port[]): Port[] {
  if (ports.length < 2 || ports.some((port) => port.vmKey !== ports[0]?.vmKey)) return ports
  const plain = ports.filter((port) => port.label === null)
  return plain.length === 1 ? plain : ports
}

function ambiguous(text: string, candidates: Port[]): VspcError {
  const shown = candidates.slice(0, 5).map((port) => `${port.displayName} (${port.id})`)
  const more = candidates.length > shown.length ? `, and ${candidates.length - shown.length} more` : ''
  return new VspcError(
    'VSPC_PORT_AMBIGUOUS',
    `"${text}" matches ${candidates.length} ports: ${shown.join(', ')}${more}`,
  )
}
