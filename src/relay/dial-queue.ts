/**
 * The dialled side of a route: dials once for each stream that comes, and holds streams while the other side is away.
 *
 * While it is away there is one attempt at a time for all of them, with growing pauses; the first that succeeds lets
 * the others dial. Streams are dialled for in order of arrival.
 */
import { Backoff, errorMessage, type Timer, VspcError } from '../base/index.ts'
import type { ByteStream } from '../transport/index.ts'
import { announcementFor } from './announcement.ts'
import type { RelayCore } from './core.ts'
import { type Held, HeldStreams, ignoreError } from './held.ts'
import { formatHop, type Hop, type RoutePlan } from './plan.ts'
import type { RouteCounters } from './route-counters.ts'
import { Target } from './target.ts'

/** A thousand VMs that come back at once must not overflow the other side's queue of connections. */
const MAX_DIALS_AT_ONCE = 128

/** As many that have left may be kept beside as many as are held: looking through all for each would cost more. */
const SWEEP_AT = 64

export interface DialQueueOwner {
  /** Takes ownership of both. */
  join(from: ByteStream, to: ByteStream): void
  /** Not passed on, and closed. Called once for each stream that was not joined. */
  dropped(stream: ByteStream): void
}

export class DialQueue {
  readonly #core: RelayCore
  readonly #route: RoutePlan
  readonly #hop: Hop
  readonly #counters: RouteCounters
  readonly #owner: DialQueueOwner
  readonly #target: Target
  readonly #backoff: Backoff
  readonly #held: HeldStreams
  /** Held ones that are not dialled for, in order. */
  #ready: Held[] = []
  #dials = 0
  #away = false
  /** While away: the last failure, and when to try again. */
  #failedAt = 0
  #notBefore = 0
  #timer: Timer | null = null
  /** The one that is dialled for to see whether the other side is back. */
  #probing: Held | null = null
  #retired = false

  constructor(core: RelayCore, route: RoutePlan, hop: Hop, counters: RouteCounters, owner: DialQueueOwner) {
    this.#core = core
    this.#route = route
    this.#hop = hop
    this.#counters = counters
    this.#owner = owner
    this.#target = new Target(core.hops, hop)
    this.#backoff = new Backoff(core.limits, core.random)
    this.#held = new HeldStreams(core.clock, core.limits, false, (held, why) => this.#letGo(held, why))
  }

  get held(): number {
    return this.#held.size
  }

  get away(): boolean {
    return this.#away
  }

  /** Takes ownership. */
  take(stream: ByteStream): void {
    if (this.#away && this.#held.size >= this.#core.limits.relayHeld) {
      this.#refuse(stream, this.#fullMessage())
      return
    }
    this.#ready.push(this.#held.add(stream))
    this.#sweep()
    if (this.#away) this.#hasten()
    this.#pump()
  }

  /** Those that left while they waited: none is taken out while the other side is away but the first one, so they add up. */
  #sweep(): void {
    if (this.#ready.length > 2 * this.#held.size + SWEEP_AT) this.#ready = this.#ready.filter(({ over }) => !over)
  }

  /** Who comes now may have heard that the other side is back: however long the pauses have become, it is tried soon. */
  #hasten(): void {
    const soonest = this.#failedAt + this.#core.limits.redialMinMs
    if (this.#notBefore <= soonest) return
    this.#notBefore = soonest
    this.#timer?.cancel()
    this.#timer = null
  }

  /** The other side is somewhere else now: dialled there at once, also for those that are being dialled for. */
  hopChanged(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#setAway(false)
    for (const held of this.#held)
      held.dialling?.abort(new VspcError('VSPC_TRANSPORT_DIAL', 'the next hop was changed'))
    this.#pump()
  }

  /** Lets go whatever is held; nothing is dialled any more. */
  retire(): void {
    this.#retired = true
    this.#timer?.cancel()
    for (const held of [...this.#held]) {
      this.#held.take(held)
      this.#drop(held)
    }
    this.#ready = []
  }

  #pump(): void {
    if (this.#retired) return
    if (this.#away) {
      this.#retryWhenDue()
      return
    }
    while (this.#dials < MAX_DIALS_AT_ONCE) {
      const held = this.#nextReady()
      if (held === null) return
      this.#dial(held)
    }
  }

  #nextReady(): Held | null {
    for (;;) {
      const held = this.#ready.shift()
      if (held === undefined) return null
      if (!held.over) return held
    }
  }

  #retryWhenDue(): void {
    if (this.#timer !== null || this.#dials > 0 || this.#held.size === 0) return
    const left = this.#notBefore - this.#core.clock.now()
    if (left <= 0) this.#retry()
    else this.#timer = this.#core.clock.after(left, () => this.#retry())
  }

  /** One for all. */
  #retry(): void {
    this.#timer = null
    const held = this.#nextReady()
    if (held === null) return
    this.#probing = held
    this.#dial(held)
  }

  #dial(held: Held): void {
    const abort = new AbortController()
    held.dialling = abort
    this.#dials++
    const done = (): void => {
      this.#dials--
      held.dialling = null
      if (this.#probing === held) this.#probing = null
    }
    this.#connect(held, abort.signal).then(
      (to) => {
        done()
        this.#succeeded(held, to)
        this.#pump()
      },
      (error: unknown) => {
        const wasProbe = this.#probing === held
        done()
        this.#failed(held, error, abort.signal.aborted, wasProbe)
        this.#pump()
      },
    )
  }

  async #connect(held: Held, signal: AbortSignal): Promise<ByteStream> {
    const { limits, clock, transport, dialledLinks: links } = this.#core
    const nextHop = this.#target.nextHop()
    const endpoint = this.#target.now()
    const announce = announcementFor(held.stream, this.#route, endpoint)
    return transport.dial(endpoint, {
      signal,
      timeoutMs: limits.dialMs,
      keepAliveMs: limits.keepAliveMs,
      clock,
      limits,
      links,
      ...(announce === undefined ? {} : { announce }),
      ...(nextHop === undefined ? {} : { nextHop }),
    })
  }

  #succeeded(held: Held, to: ByteStream): void {
    if (this.#away) {
      this.#setAway(false)
      this.#core.log.info({ route: this.#route.name, held: this.#held.size }, 'the dialled side is back')
    }
    if (held.over) {
      to.socket.on('error', ignoreError)
      to.socket.destroy()
      return
    }
    this.#held.take(held)
    this.#owner.join(held.stream, to)
  }

  #failed(held: Held, error: unknown, aborted: boolean, wasProbe: boolean): void {
    if (!held.over) this.#ready.unshift(held)
    // Let go, or sent elsewhere: that says nothing about the other side.
    if (aborted || this.#retired) return
    const reason = errorMessage(error)
    this.#counters.dialFailures++
    this.#counters.lastError = { message: reason, at: this.#core.clock.wall() }
    const refuse = this.#route.whenAway === 'refuse'
    this.#core.problems.warn(
      this.#problemKey(),
      { route: this.#route.name, to: formatHop(this.#hop), reason },
      refuse
        ? 'dial failed; streams are closed while it is away'
        : 'dial failed; streams are held while it is dialled again, with growing pauses',
    )
    if (refuse) {
      if (held.over) return
      this.#held.take(held)
      this.#counters.refused++
      this.#drop(held)
      return
    }
    // Others that were being dialled for when the first one failed say nothing new.
    if (this.#away && !wasProbe) return
    this.#failedAt = this.#core.clock.now()
    this.#notBefore = this.#failedAt + this.#backoff.next()
    this.#setAway(true)
    this.#held.dropEnded()
    this.#shed()
  }

  /** What came in while nobody knew that it would have to wait. */
  #shed(): void {
    let over = this.#held.size - this.#core.limits.relayHeld
    for (const held of over > 0 ? [...this.#held].reverse() : []) {
      if (over <= 0) break
      if (held.dialling !== null) continue
      over--
      this.#held.take(held)
      this.#refuse(held.stream, this.#fullMessage())
    }
  }

  #letGo(held: Held, why: 'gone' | 'expired'): void {
    if (why === 'expired') {
      this.#counters.expired++
      this.#core.problems.warn(
        `expired ${this.#route.name}`,
        { route: this.#route.name, heldMs: this.#core.limits.relayHoldMs },
        'a held stream was closed: the dialled side stayed away too long',
      )
    }
    this.#drop(held)
  }

  #drop(held: Held): void {
    held.dialling?.abort(new VspcError('VSPC_TRANSPORT_DIAL', 'the stream to be passed on is gone'))
    held.stream.socket.destroy()
    this.#owner.dropped(held.stream)
  }

  #refuse(stream: ByteStream, message: string): void {
    this.#counters.refused++
    this.#core.problems.warn(`full ${this.#route.name}`, { route: this.#route.name, code: 'VSPC_RELAY_FULL' }, message)
    stream.socket.on('error', ignoreError)
    stream.socket.destroy()
    this.#owner.dropped(stream)
  }

  #fullMessage(): string {
    return `a stream was closed: ${this.#core.limits.relayHeld} are held already; raise limits.relayHeld for more`
  }

  #setAway(away: boolean): void {
    this.#away = away
    // Who only ends its own half may still want to read: that counts as the end once nobody answers.
    this.#held.goneAtEnd = away
    if (away) return
    this.#backoff.reset()
    this.#core.problems.forget(this.#problemKey())
  }

  #problemKey(): string {
    return `dial ${this.#route.name}`
  }
}
