/**
 * A byte stream that survives the loss of its connections: the machine of src/link between a Duplex and its legs.
 *
 * To its owner it is much like a socket. What was written is delivered even if the owner lets go after `end()`: then it
 * lives on in the background until the other end has everything, or `resumeMs` are over. `destroy()` before the end
 * of both directions gives the stream up, and tells the other end.
 */
import { Duplex } from 'node:stream'
import { ByteQueue, type Clock, type Limits } from '../base/index.ts'
import { type Hello, Link, type LinkClose, type LinkOwner, type Refusal } from '../link/index.ts'
import { ignoreError, type LinkInfo } from './byte-stream.ts'
import type { ResumeLimit } from './contracts.ts'
import { closeError } from './link-errors.ts'
import { linkTicker, type Ticked } from './link-ticker.ts'
import { reset } from './reset.ts'

/** Frames with less than this are copied behind their header: cheaper than writing two pieces. */
const COPY_BYTES = 4_096

/**
 * After a change of the next hop, how long a connection may take to prove that it is not the one that was lost: several
 * round trips, and no more than people wait for a console.
 */
const PROBE_MS = 2_000

/** Who dialled, or accepted, the legs of a stream. */
export interface LinkKeeper {
  /** Frames flow on a leg, for the first time or again. */
  joined(link: LinkStream): void
  /** A leg was lost, and the stream waits for the next one. */
  legLost(link: LinkStream): void
  /** It may be worth while to dial now rather than later. */
  hurry(link: LinkStream): void
  /** No leg is wanted any more. @param error null: everything has arrived, or our owner gave it up. */
  over(link: LinkStream, error: Error | null): void
}

export interface LinkStreamOptions {
  readonly role: 'dialler' | 'acceptor'
  readonly id: Uint8Array
  readonly limits: Pick<Limits, ResumeLimit>
  readonly clock: Clock
  readonly keeper: LinkKeeper
}

const LINK = Symbol('vspc.link')
/** A connection that carries a stream, or did. */
export type LegSocket = Duplex & { [LINK]?: LinkStream }

export class LinkStream extends Duplex implements LinkOwner<LegSocket>, LinkInfo, Ticked {
  readonly #link: Link<LegSocket>
  readonly #options: LinkStreamOptions

  // Reading
  /** `_read` was called and has got nothing yet. */
  #hungry = false
  /** What came while the owner did not read; null = nothing. */
  #queue: ByteQueue | null = null
  /** The end is to follow what is queued. */
  #ending = false

  // Writing: the chunk that the machine has not taken whole
  #rest: Uint8Array | null = null
  #written: ((error?: Error | null) => void) | null = null

  // Time
  #heard = false
  #heardAt: number
  /** Since when frames flow on a leg, or do not. */
  #up = false
  #turnedAt: number
  /** Until when the leg at hand has to answer; -1 = no hurry. */
  #probeUntil = -1
  /** When what is left over in the background is given up; -1 = the owner is still there. */
  #lingerUntil = -1

  constructor(options: LinkStreamOptions) {
    super({ allowHalfOpen: true })
    this.#options = options
    this.#link = new Link<LegSocket>(this, {
      role: options.role,
      id: options.id,
      windowBytes: options.limits.resumeBytes,
    })
    this.#heardAt = options.clock.now()
    this.#turnedAt = this.#heardAt
    this.on('error', ignoreError)
    linkTicker(options.clock).add(this)
  }

  /** Frames flow; false: the leg is lost, not there yet, or the stream is over. */
  get up(): boolean {
    return this.#up
  }

  get connectedMs(): number | null {
    if (this.over) return Number.POSITIVE_INFINITY
    return this.#up ? this.#options.clock.now() - this.#turnedAt : null
  }

  /** Of what was sent, kept until it is acknowledged. */
  get keptBytes(): number {
    return this.#link.keptBytes
  }

  /** The stream is no more, neither for its owner nor in the background. */
  get over(): boolean {
    return this.#link.state === 'CLOSED'
  }

  // Legs

  /** Dialler: takes over a connection to the peer. */
  dialled(leg: LegSocket): void {
    this.#attach(leg)
    this.#freshLeg()
    this.#link.dialled(leg)
    if (this.over) leg.destroy()
    // Lost while nobody was listening.
    else if (leg.destroyed) queueMicrotask(() => this.legEnded(leg))
  }

  /** Acceptor: takes over a connection that began with `hello`, unless it says why not. @param rest what came behind it. */
  accepted(leg: LegSocket, hello: Hello, rest: Uint8Array): Refusal | null {
    this.#attach(leg)
    const refusal = this.#link.accepted(leg, hello)
    if (refusal !== null) delete leg[LINK]
    else if (rest.length > 0) this.legData(leg, rest)
    return refusal
  }

  #attach(leg: LegSocket): void {
    leg[LINK] = this
    leg.on('error', ignoreError).on('end', onLegEnd).on('close', onLegEnd).on('drain', onLegDrain).on('data', onLegData)
    // One that was paused for want of an owner is not started by a listener alone.
    leg.resume()
  }

  /** A leg is there that has not said anything yet. */
  #freshLeg(): void {
    this.#heardAt = this.#options.clock.now()
    this.#heard = false
    this.#probeUntil = -1
  }

  /** Drops a leg whose HELLO is not answered yet. */
  dropUnanswered(): void {
    if (!this.up) this.loseLeg()
  }

  /** It is over now, whatever is missing: nobody has time for it any more. */
  giveUp(): void {
    const { leg } = this.#link
    this.#link.expire()
    leg?.destroy()
  }

  /** Drops the leg; the stream goes on without. */
  loseLeg(): void {
    const { leg } = this.#link
    if (leg !== null) this.legEnded(leg)
  }

  legData(leg: LegSocket, chunk: Uint8Array): void {
    this.#heard = true
    this.#link.legBytes(leg, chunk)
  }

  legEnded(leg: LegSocket): void {
    if (leg !== this.#link.leg) return
    this.#link.legLost(leg)
    this.#fellDown()
    this.#options.keeper.legLost(this)
  }

  legDrained(leg: LegSocket): void {
    this.#link.legDrained(leg)
  }

  #fellDown(): void {
    if (this.#up) this.#turnedAt = this.#options.clock.now()
    this.#up = false
    this.#probeUntil = -1
  }

  // Time

  get tickMs(): number {
    const { resumeMs, resumePingMs, resumeDeadMs } = this.#options.limits
    return Math.min(resumeMs, resumePingMs, resumeDeadMs) / 4
  }

  /** The acceptor asks only if the dialler, whose PING is a sign of life too, did not: one PING will do for both. */
  get #pingMs(): number {
    const { resumePingMs, resumeDeadMs } = this.#options.limits
    if (this.#options.role === 'dialler') return resumePingMs
    return Math.min(1.5 * resumePingMs, (resumePingMs + resumeDeadMs) / 2)
  }

  tick(now: number): void {
    const { resumeMs, resumeDeadMs } = this.#options.limits
    const link = this.#link
    if (this.#heard) {
      this.#heard = false
      this.#heardAt = now
    }
    if (link.leg !== null) {
      link.acknowledge()
      const silent = now - this.#heardAt
      if (this.#probeUntil >= 0 && link.pings === 0) this.#probeUntil = -1
      if (silent >= resumeDeadMs || (this.#probeUntil >= 0 && now >= this.#probeUntil)) this.loseLeg()
      else if (silent >= this.#pingMs && link.pings === 0) link.ping()
    }
    const away = !this.#up && now - this.#turnedAt >= resumeMs
    if (away || (this.#lingerUntil >= 0 && now >= this.#lingerUntil)) link.expire()
  }

  /** The next hop is another now: is the leg still good? If there is none, it is a good moment to dial. */
  probe(): void {
    if (this.over) return
    if (!this.up) {
      this.#options.keeper.hurry(this)
      return
    }
    this.#link.ping()
    this.#probeUntil = this.#options.clock.now() + PROBE_MS
  }

  // LinkOwner

  writeLeg(leg: LegSocket, head: Uint8Array, body: Uint8Array | null): boolean {
    if (body === null) return leg.write(head)
    if (body.length < COPY_BYTES) {
      const frame = Buffer.allocUnsafe(head.length + body.length)
      frame.set(head)
      frame.set(body, head.length)
      return leg.write(frame)
    }
    leg.cork()
    leg.write(head)
    const more = leg.write(body)
    leg.uncork()
    return more
  }

  dropLeg(leg: LegSocket, how: 'flush' | 'abort'): void {
    delete leg[LINK]
    if (how === 'abort') reset(leg)
    else if (this.#up) closeLeg(leg, this.#options.clock, this.#options.limits.resumeDeadMs)
    else abandonLeg(leg, this.#options.clock)
  }

  joined(): void {
    this.#freshLeg()
    this.#turnedAt = this.#options.clock.now()
    this.#up = true
    this.#options.keeper.joined(this)
  }

  deliver(bytes: Uint8Array): void {
    if (this.destroyed) {
      // Nobody will read it, but the other end has to get rid of it.
      this.#link.consumed(bytes.length)
      return
    }
    if (this.#queue === null && (this.#hungry || (this.readableFlowing && this.readableLength === 0))) {
      this.#pass(bytes)
      return
    }
    // Packed: a stream of tiny frames must not cost more than its bytes.
    this.#queue ??= new ByteQueue(Number.POSITIVE_INFINITY)
    this.#queue.push(bytes)
  }

  deliverEnd(): void {
    this.#ending = true
    if (this.#queue === null && !this.destroyed) this.push(null)
  }

  canSend(): void {
    const written = this.#written
    if (this.#rest === null || written === null) return
    const taken = this.#link.send(this.#rest)
    if (taken < this.#rest.length) {
      this.#rest = this.#rest.subarray(taken)
      return
    }
    this.#rest = null
    this.#written = null
    written()
  }

  linkClosed(close: LinkClose): void {
    this.#queue = null
    linkTicker(this.#options.clock).delete(this)
    const error = closeError(close, this.#options.limits.resumeMs)
    this.#options.keeper.over(this, error)
    if (error !== null) this.destroy(error)
  }

  // Duplex

  override _read(): void {
    let passed = false
    for (let piece = this.#queue?.shift() ?? null; piece !== null; piece = this.#queue?.shift() ?? null) {
      passed = true
      if (!this.#pass(piece)) return
    }
    this.#queue = null
    // Not asked again before it gets something: the queue may have been empty, its last piece having filled the buffer.
    if (!this.#ending) this.#hungry = !passed
    else if (!this.destroyed) this.push(null)
  }

  /** Gives bytes to the owner; false: enough for now. */
  #pass(bytes: Uint8Array): boolean {
    this.#hungry = false
    const more = this.push(bytes)
    this.#link.consumed(bytes.length)
    return more
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, written: (error?: Error | null) => void): void {
    const taken = this.#link.send(chunk)
    if (taken === chunk.length) {
      written()
      return
    }
    this.#rest = taken === 0 ? chunk : chunk.subarray(taken)
    this.#written = written
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#link.end()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const link = this.#link
    this.#rest = null
    this.#written = null
    if (!this.over) {
      const waiting = this.#queue?.byteLength ?? 0
      this.#queue = null
      if (error === null && this.writableEnded && this.writableLength === 0) {
        // As the system does with a closed socket: the other end still gets what was written.
        link.end()
        this.#lingerUntil = this.#options.clock.now() + this.#options.limits.resumeMs
        if (waiting > 0) link.consumed(waiting)
      } else link.abort()
    }
    done(error)
  }
}

/** Ends a leg once what was written is out; what still comes is not read by anybody. */
export function closeLeg(leg: Duplex, clock: Clock, withinMs: number): void {
  if (leg.destroyed) return
  const timer = clock.after(withinMs, () => leg.destroy())
  leg.once('close', () => timer.cancel())
  leg.on('error', ignoreError)
  leg.end()
  // Unread bytes would turn the close into a reset, and take the last frames from the peer.
  leg.resume()
}

/**
 * Ends a leg on which no frames have flowed. The peer closes it, or it is held unread by a relay on the way, which would
 * notice nothing behind a FIN.
 */
function abandonLeg(leg: Duplex, clock: Clock): void {
  if (leg.destroyed) return
  const timer = clock.after(PROBE_MS, () => reset(leg))
  leg.once('close', () => timer.cancel()).once('end', () => leg.destroy())
  leg.resume()
}

function onLegData(this: LegSocket, chunk: Uint8Array): void {
  this[LINK]?.legData(this, chunk)
}

function onLegEnd(this: LegSocket): void {
  this[LINK]?.legEnded(this)
}

function onLegDrain(this: LegSocket): void {
  this[LINK]?.legDrained(this)
}
