import type { Clock } from '../base/index.ts'
import type { Announcement } from './autopilot.ts'
import { SUB } from './codes.ts'
import type { SimConnection } from './sim-connection.ts'
import type { SimPort } from './sim-port.ts'
import { concatBytes, sameBytes, startsWith } from './wire.ts'

/** What one port saw of a migration. */
export interface PortMoveResult {
  readonly port: number
  readonly sequence: Uint8Array
  readonly secret: Uint8Array | null
  /** Cookies (sequence and secret) of earlier BEGINs of the same migration, dead by now. */
  readonly superseded: readonly Uint8Array[]
  /** From BEGIN written to its answer parsed. */
  readonly goaheadMs: number | null
  /** From PEER written to PEER-OK parsed, of the last destination. */
  readonly peerOkMs: number | null
  /** PEER-OK was received, be it for a cookie that should not have got it. */
  readonly peerOk: boolean
  readonly source: SimConnection
  readonly destinations: readonly SimConnection[]
}

export type BeginAnswer = 'goahead' | 'notnow' | 'timeout' | 'closed'
export type PeerAnswer = 'ok' | 'silent' | 'closed'

/** The handshake of one port in one migration. */
export class PortMove {
  readonly port: SimPort
  readonly source: SimConnection
  readonly destinations: SimConnection[] = []
  sequence: Uint8Array
  readonly #clock: Clock
  readonly #violation: (text: string) => void
  #secret: Uint8Array | null = null
  readonly #superseded: Uint8Array[] = []
  #goaheadMs: number | null = null
  #peerOkMs: number | null = null
  #peerOk = false

  constructor(port: SimPort, source: SimConnection, sequence: Uint8Array, violation: (text: string) => void) {
    this.port = port
    this.source = source
    this.sequence = sequence
    this.#clock = port.clock
    this.#violation = violation
  }

  get cookie(): Uint8Array {
    return concatBytes(this.sequence, this.#secret ?? new Uint8Array(0))
  }

  get destination(): SimConnection | null {
    return this.destinations[this.destinations.length - 1] ?? null
  }

  /** BEGIN, and its answer within the host's limit. */
  async begin(limitMs: number): Promise<BeginAnswer> {
    if (this.#secret) this.#superseded.push(this.cookie)
    const previous = this.#secret
    const { sequence } = this
    this.port.stun(sequence)
    const waiting = this.source.reply([SUB.VMOTION_GOAHEAD, SUB.VMOTION_NOTNOW], limitMs, (payload) =>
      this.#echoes(payload),
    )
    const began = this.#clock.now()
    this.source.begin(sequence)
    const reply = await waiting
    if (reply.kind !== 'sub') return reply.kind
    this.#goaheadMs = reply.atMs - began
    const rest = reply.payload.slice(sequence.length)
    if (reply.code === SUB.VMOTION_NOTNOW) {
      if (rest.length > 0) this.#violation(`NOTNOW carries ${rest.length} bytes besides the sequence`)
      return 'notnow'
    }
    if (rest.length === 0) this.#violation('GOAHEAD carries no secret')
    const sameBegin = this.#superseded.some((cookie) => startsWith(cookie, sequence))
    if (previous && !sameBegin && sameBytes(previous, rest)) this.#violation('GOAHEAD repeats a secret')
    this.#secret = rest
    return 'goahead'
  }

  /**
   * A destination that shows `payload`. `fence`: silence is judged by a later answer on the same connection instead of
   * by `limitMs`, so that a refusal takes no time.
   */
  async peer(
    connect: (announcement: Announcement) => SimConnection,
    payload: Uint8Array,
    limitMs: number,
    judge: 'limit' | 'fence',
    onWritten?: () => void,
  ): Promise<PeerAnswer> {
    const destination = connect({ kind: 'peer', payload })
    this.destinations.push(destination)
    let writtenAt = this.#clock.now()
    const written = new Promise<void>((resolve) => {
      this.port.setDestination(destination, () => {
        writtenAt = this.#clock.now()
        if (!destination.isClosed) onWritten?.()
        resolve()
      })
    })
    const waiting = destination
      .reply([SUB.VMOTION_PEER_OK], limitMs, (reply) => startsWith(reply, this.sequence))
      .then((reply) => {
        if (reply.kind !== 'sub') return reply.kind
        const extra = reply.payload.length - this.sequence.length
        if (extra > 0) this.#violation(`PEER-OK carries ${extra} bytes besides the sequence`)
        this.#peerOk = true
        this.#peerOkMs = reply.atMs - writtenAt
        return 'ok' as const
      })
    if (judge === 'fence') {
      const before = this.#peerOk
      await written
      const fence = await destination.fence(limitMs)
      if (this.#peerOk !== before) return 'ok'
      if (fence.kind === 'sub') return 'silent'
    }
    const answer = await waiting
    return answer === 'timeout' ? 'silent' : answer
  }

  dropDestination(): void {
    this.destination?.reset()
    this.port.setDestination(null)
  }

  result(): PortMoveResult {
    return {
      port: this.port.index,
      sequence: this.sequence,
      secret: this.#secret,
      superseded: this.#superseded,
      goaheadMs: this.#goaheadMs,
      peerOkMs: this.#peerOkMs,
      peerOk: this.#peerOk,
      source: this.source,
      destinations: this.destinations,
    }
  }

  #echoes(payload: Uint8Array): boolean {
    if (startsWith(payload, this.sequence)) return true
    this.#violation('an answer to BEGIN does not echo its sequence')
    return false
  }
}
