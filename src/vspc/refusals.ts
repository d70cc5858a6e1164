/**
 * Connections that got no port, and why: counted, and the last ones kept for whoever asks why a VM does not come. What
 * one peer gets wrong again and again is one entry.
 */
import { cleanText } from '../base/index.ts'
import type { ListenProblem, PeerInfo } from '../transport/index.ts'

/** Why; stable, and labels of a metric. */
export const REFUSAL_REASONS = [
  /** WONT-PROXY: its serviceURI is not one of "serviceUris". */
  'service-uri',
  /** It does not know the VMware extension. */
  'not-vmware',
  /** It said nothing that we know in time. */
  'no-agreement',
  /** It knows the extension, and asked for nothing in time. */
  'no-announcement',
  /** A vMotion's destination with a secret that we have not given, or not any more. */
  'vmotion-peer',
  /** It left before it said which VM it is. */
  'left',
  /** The limits maxPorts and maxPortsPerVm. */
  'no-room',
  /** The limit maxConnections. */
  'connections',
  /** A connection could not be accepted: no descriptor is left, mostly. */
  'accept',
  /** TLS handshake. */
  'tls',
  /** PROXY header: none, a broken one, or one of somebody who is not trusted. */
  'proxy',
  /** Resumable streams that could not begin or go on. */
  'resume',
] as const
export type RefusalReason = (typeof REFUSAL_REASONS)[number]

/** Nobody is refused because of a certificate warning: peers judge it themselves. */
const OF_LISTENERS: Readonly<Record<ListenProblem['kind'], RefusalReason | null>> = {
  accept: 'accept',
  handshake: 'tls',
  certificate: null,
  proxy: 'proxy',
  resume: 'resume',
}

/** What a problem of a listener was for the peer; null for none. */
export function refusalOf(kind: ListenProblem['kind']): RefusalReason | null {
  return OF_LISTENERS[kind]
}

export interface Refusal {
  readonly reason: RefusalReason
  /** Address of the peer, cleaned; null where it has none. */
  readonly peer: string | null
  /** In words, cleaned. */
  readonly detail: string
  /** How often, since it is in this list. */
  readonly count: number
  /** Ms since 1970. */
  readonly firstAt: number
  readonly lastAt: number
}

/** Kept entries: enough to see a pattern, nothing that a crowd of peers could grow. */
export const MAX_REFUSALS = 100
export const MAX_OF_ONE_PEER = 10
const MAX_DETAIL = 300

type Entry = { -readonly [name in keyof Refusal]: Refusal[name] }

export class Refusals {
  readonly counts = Object.fromEntries(REFUSAL_REASONS.map((reason) => [reason, 0])) as Record<RefusalReason, number>
  /** Those seen last at the end. */
  readonly #recent = new Map<string, Entry>()
  readonly #clock: { wall(): number }

  constructor(clock: { wall(): number }) {
    this.#clock = clock
  }

  note(reason: RefusalReason, peer: PeerInfo | null, detail: string): void {
    this.counts[reason]++
    const now = this.#clock.wall()
    const address = peer?.address ?? null
    const key = `${reason} ${address} ${detail}`
    const known = this.#recent.get(key)
    if (known !== undefined) {
      this.#recent.delete(key)
      this.#recent.set(key, known)
      known.count++
      known.lastAt = now
      return
    }
    const text = cleanText(detail, MAX_DETAIL)
    const shown = address === null ? null : cleanText(address, 100)
    this.#recent.set(key, { reason, peer: shown, detail: text, count: 1, firstAt: now, lastAt: now })
    this.#makeRoom(shown)
  }

  /** One peer that says something else each time must not push out all others. */
  #makeRoom(peer: string | null): void {
    const own = [...this.#recent].filter(([, entry]) => entry.peer === peer).map(([key]) => key)
    const [oldest] = own.length > MAX_OF_ONE_PEER ? own : this.#recent.size > MAX_REFUSALS ? this.#recent.keys() : []
    if (oldest !== undefined) this.#recent.delete(oldest)
  }

  /** Newest first. */
  get recent(): Refusal[] {
    return [...this.#recent.values()].reverse()
  }
}
