/**
 * Connections of one port that follow on one another faster than their output arrives.
 *
 * A stream that survives its connections may be without one while its VM has long been sent elsewhere: what the VM has
 * printed waits in a relay, and the VM's next connection is there first. So the connections stand in line in the order
 * in which they were made. The first one's output is delivered, that of the others held; each has its turn once the one
 * before has ended, or was waited for long enough: then the order is lost, and no byte.
 *
 * A connection that has not said yet which VM it is may be the one before. If it is without connection just now, or was
 * until a moment ago, it stands in line, too, until it has told.
 *
 * Exists only while somebody is waited for.
 */
import { ByteQueue, type Clock, type Limits, type Timer } from '../base/index.ts'
import { connectedMs } from './connected-time.ts'
import type { VmSession } from './vm-session.ts'

/** One that is not named yet tells nobody when it is. */
const LOOK_AGAIN_MS = 100

export interface SuccessionOwner {
  readonly core: {
    readonly clock: Clock
    readonly limits: Limits
    readonly unnamed: ReadonlySet<VmSession>
  }
  readonly handover: { readonly source: VmSession | null }
  deliver(bytes: Uint8Array, from: VmSession): void
  /** Nobody is waited for any more. */
  lineEnded(): void
}

interface Heir {
  readonly session: VmSession
  /** Since when another one waits for it. Monotonic, ms. */
  since: number
  held: ByteQueue | null
}

export class Succession {
  readonly #port: SuccessionOwner
  /** In order of output; the last one is the port's source. */
  readonly #heirs: Heir[] = []
  #heldBytes = 0
  #timer: Timer | null = null

  constructor(port: SuccessionOwner) {
    this.#port = port
  }

  /** Before the port gets `session`: who may have something to say before it, and itself. */
  join(session: VmSession): void {
    const { source } = this.#port.handover
    const more: VmSession[] = []
    if (source !== null && !source.ended && source.link !== null) more.push(source)
    if (session.link !== null)
      for (const other of this.#port.core.unnamed) if (mayPrecede(other, session)) more.push(other)
    more.push(session)
    this.#add(more)
    this.#advance()
  }

  /** All at once: thousands of one host may be without name when it comes back. */
  #add(sessions: readonly VmSession[]): void {
    const since = this.#port.core.clock.now()
    const known = new Set(this.#heirs.map(({ session }) => session))
    const fresh = [...new Set(sessions)].filter((session) => !known.has(session))
    const last = this.#heirs.at(-1)
    if (last !== undefined && fresh.some(({ order }) => order > last.session.order)) last.since = since
    for (const session of fresh) this.#heirs.push({ session, since, held: null })
    this.#heirs.sort((a, b) => a.session.order - b.session.order)
  }

  /** @returns false: it does not stand in line. */
  output(session: VmSession, bytes: Uint8Array): boolean {
    const at = this.#heirs.findIndex((heir) => heir.session === session)
    if (at < 0) return false
    if (at === 0) {
      this.#port.deliver(bytes, session)
      return true
    }
    const heir = this.#heirs[at] as Heir
    heir.held ??= new ByteQueue(Number.POSITIVE_INFINITY)
    heir.held.push(bytes)
    this.#heldBytes += bytes.length
    if (this.#heldBytes > this.#port.core.limits.destinationOutputBytes) session.pauseReading()
    return true
  }

  /** A connection has said FIN, or is gone. */
  ended(session: VmSession): void {
    if (this.#heirs[0]?.session === session) this.#advance()
  }

  /** The order no longer counts, or cannot be kept. */
  flush(): void {
    while (this.#heirs.length > 0) this.#next()
    this.#over()
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #advance(): void {
    this.stop()
    while (this.#heirs.length > 1) {
      const [first] = this.#heirs as [Heir]
      const left = this.#leftMs(first)
      if (left > 0) {
        this.#timer = this.#port.core.clock.after(left, () => this.#advance())
        return
      }
      this.#next()
    }
    this.flush()
  }

  /** How long it is still waited for, or until it is looked at again. */
  #leftMs({ session, since }: Heir): number {
    const { clock, limits } = this.#port.core
    if (session.ended || isElsewhere(session, this.#port)) return 0
    const waited = clock.now() - since
    const connected = connectedMs(session.link)
    const graceLeft = connected === null ? limits.takeoverTailMs : limits.takeoverGraceMs - Math.min(connected, waited)
    const left = Math.min(graceLeft, limits.takeoverTailMs - waited)
    return session.port === null ? Math.min(left, LOOK_AGAIN_MS) : left
  }

  /** The first one has had its turn. */
  #next(): void {
    this.#heirs.shift()
    const heir = this.#heirs[0]
    const held = heir?.held ?? null
    if (heir === undefined || held === null) return
    heir.held = null
    this.#heldBytes -= held.byteLength
    heir.session.resumeReading()
    for (let piece = held.shift(); piece !== null; piece = held.shift()) this.#port.deliver(piece, heir.session)
  }

  #over(): void {
    this.stop()
    this.#port.lineEnded()
  }
}

/** It was made before, on the same host, and cannot have said yet that it is not the VM's. */
function mayPrecede(other: VmSession, session: VmSession): boolean {
  const connected = connectedMs(other.link)
  const wasAway = connected === null || connected < other.core.limits.takeoverGraceMs
  return other.order < session.order && other.peer.address === session.peer.address && wasAway
}

/** It has said which VM it is, and is another one's; or is nobody's. */
function isElsewhere({ port, role }: VmSession, here: SuccessionOwner): boolean {
  return (port !== null && port !== here) || role === 'refused' || role === 'closed'
}
