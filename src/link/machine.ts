/**
 * One end of a resumable stream. No I/O, no clock, no randomness: legs are only stored and compared, time is told as
 * `ping`, `expire` and `legLost`, and everything that is to be done is asked of a {@link LinkOwner}.
 *
 * Positions count the bytes of one direction from 0 over all legs; its FIN takes one more. The sender keeps what is not
 * acknowledged, at most as much as the peer's window and its own cap, and sends it again from where the peer asks. The
 * receiver acknowledges what its owner has consumed: an owner that stops reading stops the sender, never the leg.
 */
import { LocalProtocolError, RemoteProtocolError } from '../base/index.ts'
import {
  decodeWelcome,
  encodeAck,
  encodeDataHeader,
  encodeFin,
  encodeHello,
  encodeOver,
  encodePing,
  encodePong,
  encodeWelcome,
  FrameDecoder,
  type FrameSink,
  fault,
  type Hello,
  type Over,
  Preamble,
  type Refusal,
  WELCOME_BYTES,
} from './codec.ts'
import type { LinkClose, LinkOptions, LinkOwner } from './contracts.ts'
import { Incoming } from './incoming.ts'
import { Outgoing } from './outgoing.ts'
import { type LinkAction, type LinkEvent, type LinkState, transition } from './states.ts'

const MAX_PINGS = 16
/** PINGs to be answered while the leg takes no answers: more than an honest peer has under way. */
const MAX_OWED_PONGS = 2 * MAX_PINGS

export class Link<Leg extends object> implements FrameSink {
  readonly #owner: LinkOwner<Leg>
  readonly #options: LinkOptions
  #state: LinkState = 'WAITING'
  #leg: Leg | null = null
  #decoder: FrameDecoder | null = null
  #preamble: Preamble | null = null
  /** The peer knows of the stream. */
  #known = false
  /** The leg takes no more for now. */
  #blocked = false
  #pings = 0
  #owedPongs = 0
  /** How many there were; of the acceptor, the number of the latest. */
  #legs = 0
  /** Of the event at hand, for its actions. */
  #newLeg: Leg | null = null

  readonly #out = new Outgoing()
  readonly #in: Incoming
  #wantsRoom = false
  #ackWanted = false

  constructor(owner: LinkOwner<Leg>, options: LinkOptions) {
    this.#owner = owner
    this.#options = options
    this.#in = new Incoming(options.windowBytes)
  }

  get state(): LinkState {
    return this.#state
  }

  get leg(): Leg | null {
    return this.#leg
  }

  /** Bytes kept for being sent, or sent again. */
  get keptBytes(): number {
    return this.#out.log.byteLength
  }

  get keptPieces(): number {
    return this.#out.log.pieces
  }

  /** PINGs without PONG on this leg. */
  get pings(): number {
    return this.#pings
  }

  // What the owner of the stream asks

  /** @param bytes not changed from now on. @returns how many were taken, from the front; `canSend` follows if not all. */
  send(bytes: Uint8Array): number {
    if (this.#out.ended) throw new LocalProtocolError('VSPC_INTERNAL', 'resumable stream: written to after its end')
    if (this.#state === 'CLOSED') return 0
    const taken = Math.max(0, Math.min(this.#window - this.#out.log.byteLength, bytes.length))
    this.#wantsRoom = taken < bytes.length
    if (taken > 0) {
      this.#out.append(taken === bytes.length ? bytes : bytes.subarray(0, taken))
      this.#pump()
    }
    return taken
  }

  /** Nothing follows; the other direction goes on. */
  end(): void {
    this.#out.finish()
    this.#pump()
  }

  /** The owner has done with `count` more of the bytes delivered to it. */
  consumed(count: number): void {
    this.#in.consume(count)
    // The other end may keep less than our window: it must not wait for an acknowledgement that waits for it.
    if (this.#in.untold > this.#window >> 2 || this.#in.done) this.#pump(true)
  }

  /** Tells the peer what was consumed; for when a stream goes idle. Cheap when there is nothing to tell. */
  acknowledge(): void {
    if (this.#in.untold > 0) this.#pump(true)
  }

  /** Asks the peer for a sign of life. */
  ping(): void {
    const leg = this.#leg
    if (leg === null || !this.#flows || this.#pings >= MAX_PINGS) return
    this.#pings++
    this.#write(leg, encodePing(), null)
  }

  abort(): void {
    this.#fire('abort', { why: 'aborted' })
  }

  /** The stream has been without leg for too long, or is left over. */
  expire(): void {
    this.#fire('expired', { why: 'expired' })
  }

  // What happens to legs

  /** Dialler: a leg to the peer is there. It takes the place of any other. */
  dialled(leg: Leg): void {
    this.#newLeg = leg
    this.#legs++
    this.#fire('dialled')
    this.#newLeg = null
  }

  /**
   * Acceptor: a leg with this HELLO. It takes the place of any other.
   * @returns null, or why not: then the leg is still the caller's. With `offsets` the stream is over.
   */
  accepted(leg: Leg, hello: Hello): Refusal | null {
    if (this.#state === 'CLOSED') return 'closing'
    const begins = hello.kind === 'new'
    if (begins && !this.#fresh) return 'duplicate'
    // It was overtaken by a later one: the peer has long given it up, and its position is of then.
    if (hello.leg <= this.#legs) return 'stale'
    try {
      this.#out.replayFrom(hello.received, hello.window)
    } catch (error) {
      this.#failed(error)
      return 'offsets'
    }
    this.#legs = hello.leg
    // A dialler that missed our first WELCOME begins again.
    this.#known = !begins
    this.#newLeg = leg
    this.#fire('accepted')
    this.#newLeg = null
    return null
  }

  /** Bytes of a leg; those of one that is no longer ours are ignored. */
  legBytes(leg: Leg, chunk: Uint8Array): void {
    if (leg !== this.#leg) return
    try {
      const frames = this.#preamble === null ? chunk : this.#greeted(this.#preamble, chunk)
      if (leg === this.#leg) this.#decoder?.push(frames, this)
    } catch (error) {
      if (leg === this.#leg) this.#failed(error)
      else if (!(error instanceof RemoteProtocolError)) throw error
    }
  }

  /** The leg broke, ended, or gives no sign of life; ignored of one that is no longer ours. */
  legLost(leg: Leg): void {
    if (leg === this.#leg) this.#fire('legLost')
  }

  legDrained(leg: Leg): void {
    if (leg !== this.#leg) return
    this.#blocked = false
    this.#pump()
  }

  // FrameSink: only ever called for the leg at hand, in JOINED or CLOSING

  linkData(bytes: Uint8Array): void {
    this.#in.data(bytes.length)
    this.#owner.deliver(bytes)
  }

  linkFin(): void {
    this.#in.fin()
    this.#owner.deliverEnd()
    this.#pump(true)
  }

  linkAck(consumed: number): void {
    this.#out.acknowledge(consumed)
    this.#pump()
    this.#offerRoom()
  }

  linkOver(why: Over): void {
    if (why !== 'done') this.#fire('peerGone', { why: 'peerGone', over: why })
    else if (!this.#fire('peerDone')) throw fault('done before both ends were')
  }

  linkPing(): void {
    if (++this.#owedPongs > MAX_OWED_PONGS) throw fault('PINGs without end')
    this.#pump()
  }

  linkPong(): void {
    if (this.#pings === 0) throw fault('PONG without PING')
    this.#pings--
  }

  // Inside

  /** What may be under way in each direction. */
  get #window(): number {
    return Math.min(this.#options.windowBytes, this.#out.peerWindow)
  }

  get #flows(): boolean {
    return this.#state === 'JOINED' || this.#state === 'CLOSING'
  }

  /** Nothing has come, and nothing of ours was acknowledged. */
  get #fresh(): boolean {
    return this.#in.received === 0 && this.#out.acked === 0
  }

  get #done(): boolean {
    return this.#out.done && this.#in.done
  }

  /** Takes the WELCOME off the front. @returns the frames that follow it. */
  #greeted(preamble: Preamble, chunk: Uint8Array): Uint8Array {
    const frames = chunk.subarray(preamble.push(chunk))
    if (!preamble.complete) return frames
    this.#preamble = null
    const welcome = decodeWelcome(preamble.bytes)
    const { status } = welcome
    if (status === 'unknown') this.#fire('turnedAway', { why: 'unknown' })
    else if (status === 'refused') this.#fire('turnedAway', { why: 'refused', refusal: welcome.refusal })
    else {
      if ((status === 'new') === this.#known) throw fault(`WELCOME as ${status}`)
      this.#known = true
      this.#out.replayFrom(welcome.received, welcome.window)
      this.#fire('welcomed')
    }
    return frames
  }

  #offerRoom(): void {
    if (!this.#wantsRoom || this.#state === 'CLOSED' || this.#out.log.byteLength >= this.#window) return
    this.#wantsRoom = false
    this.#owner.canSend()
  }

  /** Writes what there is to write, while the leg takes it. @param ackNow also what was consumed, however little. */
  #pump(ackNow = false): void {
    if (ackNow) this.#ackWanted = true
    const leg = this.#leg
    if (leg === null || !this.#flows) return
    for (; this.#owedPongs > 0 && !this.#blocked; this.#owedPongs--) this.#write(leg, encodePong(), null)
    if (this.#ackWanted && !this.#blocked) {
      this.#ackWanted = false
      if (this.#in.untold > 0) this.#write(leg, encodeAck(this.#in.consumed), null)
      this.#in.told()
    }
    while (!this.#blocked) {
      const bytes = this.#out.next()
      if (bytes === null) break
      this.#write(leg, encodeDataHeader(bytes.length), bytes)
    }
    if (!this.#blocked && this.#out.takeFin()) this.#write(leg, encodeFin(), null)
    if (this.#done && this.#in.untold === 0) this.#fire('done')
  }

  #write(leg: Leg, head: Uint8Array, body: Uint8Array | null): void {
    if (!this.#owner.writeLeg(leg, head, body)) this.#blocked = true
  }

  /** The peer broke the protocol; anything else is a bug of ours, and thrown on. */
  #failed(error: unknown): void {
    if (!(error instanceof RemoteProtocolError)) throw error
    this.#fire('fault', { why: 'fault', error })
  }

  /** @returns false if the event means nothing now. */
  #fire(event: LinkEvent, close: LinkClose = DONE): boolean {
    const cell = transition(this.#state, event)
    if (cell === null) return false
    const [next, ...actions] = cell
    this.#state = next
    for (const action of actions) this.#perform(action, close)
    return true
  }

  #perform(action: LinkAction, close: LinkClose): void {
    const leg = this.#leg
    switch (action) {
      case 'dropLeg':
        this.#letGo('abort')
        break
      case 'flushLeg':
        this.#letGo('flush')
        break
      case 'takeLeg':
        this.#take()
        break
      case 'hello':
        this.#preamble = new Preamble(WELCOME_BYTES)
        if (leg !== null) this.#write(leg, this.#hello(), null)
        break
      case 'welcome':
        if (leg !== null) this.#write(leg, this.#welcome(), null)
        this.#known = true
        break
      case 'replay':
        this.#owner.joined()
        this.#pump(true)
        this.#offerRoom()
        break
      case 'tellDone':
        if (leg !== null) this.#write(leg, encodeOver('done'), null)
        break
      case 'tellOver': {
        const { why } = close
        if (leg !== null) this.#write(leg, encodeOver(why === 'fault' || why === 'expired' ? why : 'aborted'), null)
        break
      }
      case 'close': {
        // However it came about, if nothing is missing.
        const how = this.#done ? DONE : close
        this.#out.log.clear()
        this.#owner.linkClosed(how)
        break
      }
    }
  }

  #hello(): Uint8Array {
    return encodeHello({
      kind: this.#known ? 'resume' : 'new',
      id: this.#options.id,
      leg: this.#legs,
      received: this.#in.received,
      window: this.#options.windowBytes,
    })
  }

  #welcome(): Uint8Array {
    return encodeWelcome({
      status: this.#known ? 'resumed' : 'new',
      refusal: 'none',
      received: this.#in.received,
      window: this.#options.windowBytes,
    })
  }

  #take(): void {
    this.#leg = this.#newLeg
    this.#decoder = new FrameDecoder()
    this.#preamble = null
    this.#blocked = false
    this.#pings = 0
    this.#owedPongs = 0
    this.#ackWanted = false
    this.#in.forgetTold()
  }

  #letGo(how: 'flush' | 'abort'): void {
    const leg = this.#leg
    this.#leg = null
    this.#decoder?.stop()
    this.#decoder = null
    if (leg !== null) this.#owner.dropLeg(leg, how)
  }
}

const DONE: LinkClose = { why: 'done' }
