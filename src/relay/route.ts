/** One route: two sides, the streams between them, and what is held for want of the other side. */
import type { Timer } from '../base/index.ts'
import type { ByteStream } from '../transport/index.ts'
import type { RelayCore } from './core.ts'
import { DialQueue, type DialQueueOwner } from './dial-queue.ts'
import { DialSource } from './dial-source.ts'
import { ignoreError } from './held.ts'
import { Join, type JoinGround } from './join.ts'
import { formatSide, type Hop, type RoutePlan, type Side, type WhenAway } from './plan.ts'
import { Rendezvous } from './rendezvous.ts'
import { newCounters, type RouteCounters } from './route-counters.ts'

/** As the control endpoint shows it. */
export interface RouteStatus {
  readonly name: string
  readonly from: string
  readonly to: string
  readonly whenAway: WhenAway
  readonly maxStreams: number | null
  /** Joined now. */
  readonly streams: number
  readonly held: number
  /** The dialled side could not be reached the last time. */
  readonly away: boolean
  readonly accepted: number
  readonly joined: number
  readonly refused: number
  readonly expired: number
  readonly dialFailures: number
  readonly bytesForward: number
  readonly bytesBack: number
  readonly lastError: { readonly message: string; readonly at: string } | null
}

export class Route implements DialQueueOwner {
  readonly plan: RoutePlan
  readonly #core: RelayCore
  readonly #counters: RouteCounters = newCounters()
  readonly #joins = new Set<Join>()
  readonly #ground: JoinGround
  /** Null: both sides listen. */
  readonly #queue: DialQueue | null
  readonly #rendezvous: Rendezvous | null
  readonly #source: DialSource | null
  #retired = false
  /** Runs while there are joins. */
  #patrol: Timer | null = null
  /** Called each time the last live stream is gone. */
  onEmpty: () => void = () => {}
  #emptied: (() => void)[] = []

  constructor(core: RelayCore, plan: RoutePlan) {
    this.plan = plan
    this.#core = core
    const [first, second] = plan.sides
    const bothDial = first.role === 'dial' && second.role === 'dial'
    this.#ground = {
      clock: core.clock,
      limits: core.limits,
      counters: this.#counters,
      // Pipes have no end of their own, and who dials both sides begins anew when either has ended.
      halfClose: !bothDial && !plan.sides.some(isPipe),
      closed: (join) => this.#left(join),
    }
    this.#queue = second.role === 'dial' ? new DialQueue(core, plan, second.hop, this.#counters, this) : null
    this.#rendezvous = second.role === 'listen' ? new Rendezvous(core, plan.name, this.#counters, this) : null
    this.#source =
      first.role === 'dial'
        ? new DialSource(core, plan.name, first.hop, this.#counters, (stream) => this.accept(0, stream))
        : null
  }

  /** Begins to dial, where nobody is to come. */
  start(): void {
    this.#source?.start()
  }

  get live(): number {
    return this.#joins.size
  }

  /** A stream has come on this side; takes ownership. */
  accept(side: 0 | 1, stream: ByteStream): void {
    this.#counters.accepted++
    const full = this.#fullMessage()
    if (full !== null || this.#retired) {
      this.#counters.refused++
      if (full !== null) {
        const fields = { route: this.plan.name, code: 'VSPC_RELAY_FULL' }
        this.#core.problems.warn(`full ${this.plan.name}`, fields, full)
      }
      stream.socket.on('error', ignoreError)
      stream.socket.destroy()
      return
    }
    this.#core.room.enter()
    if (this.#queue !== null) this.#queue.take(stream)
    else this.#rendezvous?.take(side, stream)
  }

  #fullMessage(): string | null {
    const { maxStreams } = this.plan
    const { room } = this.#core
    if (maxStreams !== null && this.live + this.#held >= maxStreams) {
      return `a stream was closed: the route has ${maxStreams} already; raise its maxStreams for more`
    }
    if (room.taken < room.max) return null
    return `a stream was closed: the relay has ${room.max} already; raise limits.maxStreams for more`
  }

  join(from: ByteStream, to: ByteStream): void {
    // Of two that came, each has taken room: together they are one stream.
    if (this.#rendezvous !== null) this.#core.room.leave()
    this.#counters.joined++
    const join = new Join(from.socket, to.socket, this.#ground)
    from.socket.off('error', ignoreError)
    to.socket.off('error', ignoreError)
    this.#joins.add(join)
    if (this.#patrol === null) this.#lookAfter()
    this.#core.log.debug({ route: this.plan.name, from: from.peer.display, to: to.peer.display }, 'joined')
  }

  dropped(_stream: ByteStream): void {
    this.#core.room.leave()
  }

  /** One timer for all: a stream that was reset while nobody read it must not keep its place for ever. */
  #lookAfter(): void {
    this.#patrol = this.#core.clock.after(this.#core.limits.keepAliveMs, () => {
      for (const join of this.#joins) join.look()
      this.#lookAfter()
    })
  }

  #left(join: Join): void {
    this.#joins.delete(join)
    this.#core.room.leave()
    if (this.#joins.size > 0) return
    this.#patrol?.cancel()
    this.#patrol = null
    this.onEmpty()
    for (const resolve of this.#emptied.splice(0)) resolve()
  }

  /** A next hop leads elsewhere: streams to come go there, those that can be resumed find out whether they have to. */
  hopChanged(name: string): void {
    const [first, second] = this.plan.sides
    if (leadsThrough(second, name)) {
      this.#queue?.hopChanged()
      for (const join of this.#joins) this.#core.probe(join.second)
    }
    if (leadsThrough(first, name)) {
      this.#source?.hopChanged()
      for (const join of this.#joins) this.#core.probe(join.first)
    }
  }

  /** Takes nothing more and lets go what is held; live streams go on. */
  retire(): void {
    this.#retired = true
    this.#source?.retire()
    this.#queue?.retire()
    this.#rendezvous?.retire()
  }

  /** Ends live streams, each once it has got what is on its way. Resolves when they are gone. */
  drain(): Promise<void> {
    if (this.#joins.size === 0) return Promise.resolve()
    const emptied = new Promise<void>((resolve) => {
      this.#emptied.push(resolve)
    })
    for (const join of this.#joins) join.close()
    return emptied
  }

  abort(): void {
    for (const join of this.#joins) join.abort()
  }

  get #held(): number {
    return (this.#queue?.held ?? 0) + (this.#rendezvous?.held ?? 0)
  }

  status(): RouteStatus {
    const { lastError, ...counts } = this.#counters
    const [first, second] = this.plan.sides
    return {
      name: this.plan.name,
      from: formatSide(first),
      to: formatSide(second),
      whenAway: this.plan.whenAway,
      maxStreams: this.plan.maxStreams,
      streams: this.live,
      held: this.#held,
      away: this.#queue?.away ?? false,
      ...counts,
      lastError: lastError === null ? null : { ...lastError, at: new Date(lastError.at).toISOString() },
    }
  }
}

function isPipe(side: Side): boolean {
  return (
    (side.role === 'listen' && side.endpoint.scheme === 'fifo') ||
    (side.role === 'dial' && side.hop.kind === 'endpoint' && side.hop.endpoint.scheme === 'fifo')
  )
}

function leadsThrough(side: Side, name: string): boolean {
  const hop: Hop | null = side.role === 'dial' ? side.hop : null
  return hop !== null && hop.kind === 'next-hop' && hop.name === name
}
