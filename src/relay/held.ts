/** Streams that wait for their other side: not read, watched for their end, and not for ever. */
import type { Clock, Timer } from '../base/index.ts'
import type { ByteStream } from '../transport/index.ts'

/** A stream with nobody to pass it on to yet. */
export class Held {
  readonly stream: ByteStream
  readonly since: number
  /** Set while it is dialled for; aborting gives that up. */
  dialling: AbortController | null = null
  /** Taken out, or gone. */
  over = false
  /** Its peer has sent its end (and nothing before it that is still unread). */
  ended = false
  readonly #events: (held: Held, what: 'end' | 'close') => void

  constructor(stream: ByteStream, since: number, events: (held: Held, what: 'end' | 'close') => void) {
    this.stream = stream
    this.since = since
    this.#events = events
    const { socket } = stream
    socket.on('error', ignoreError)
    socket.on('end', this.#onEnd).on('close', this.#onClose)
    socket.pause()
    // It may have gone before anybody listened.
    if (socket.closed) queueMicrotask(this.#onClose)
    else if (socket.readableEnded) queueMicrotask(this.#onEnd)
  }

  readonly #onEnd = (): void => {
    this.ended = true
    if (!this.over) this.#events(this, 'end')
  }

  readonly #onClose = (): void => {
    if (!this.over) this.#events(this, 'close')
  }

  /** No longer watched. The listener for errors stays until the stream has a new owner. */
  release(): void {
    this.over = true
    this.stream.socket.off('end', this.#onEnd).off('close', this.#onClose)
  }
}

/** One function for all streams, so that it costs no closure. `close` follows, and is what counts. */
export function ignoreError(): void {}

/** The held streams of one side, in order of arrival; one timer for them all, for the oldest is the first to time out. */
export class HeldStreams {
  readonly #clock: Clock
  readonly #limits: { readonly relayHoldMs: number }
  readonly #let: (held: Held, why: 'gone' | 'expired') => void
  readonly #all = new Set<Held>()
  #timer: Timer | null = null
  /** Whether the end of its input is the end of a stream: yes, while there is no telling when it will be passed on. */
  goneAtEnd: boolean

  /** @param letGo what to do with one that left, or that has waited too long: it is out of here already. */
  constructor(
    clock: Clock,
    limits: { readonly relayHoldMs: number },
    goneAtEnd: boolean,
    letGo: (held: Held, why: 'gone' | 'expired') => void,
  ) {
    this.#clock = clock
    this.#limits = limits
    this.goneAtEnd = goneAtEnd
    this.#let = letGo
  }

  get size(): number {
    return this.#all.size
  }

  [Symbol.iterator](): Iterator<Held> {
    return this.#all.values()
  }

  first(): Held | null {
    for (const held of this.#all) return held
    return null
  }

  add(stream: ByteStream): Held {
    const held = new Held(stream, this.#clock.now(), (one, what) => this.#happened(one, what))
    this.#all.add(held)
    if (this.#timer === null) this.#watch()
    return held
  }

  /** Out of the waiting; the caller owns its stream. */
  take(held: Held): void {
    held.release()
    this.#all.delete(held)
    if (this.#all.size > 0) return
    this.#timer?.cancel()
    this.#timer = null
  }

  /** Streams that have ended while that did not count. */
  dropEnded(): void {
    for (const held of [...this.#all]) if (held.ended) this.#happened(held, 'end')
  }

  #happened(held: Held, what: 'end' | 'close'): void {
    if (what === 'end' && !this.goneAtEnd) return
    this.take(held)
    this.#let(held, 'gone')
  }

  #watch(): void {
    const oldest = this.first()
    if (oldest === null) return
    const left = oldest.since + this.#limits.relayHoldMs - this.#clock.now()
    this.#timer = this.#clock.after(Math.max(0, left), () => {
      this.#timer = null
      const now = this.#clock.now()
      for (const held of [...this.#all]) {
        if (held.since + this.#limits.relayHoldMs > now) break
        this.take(held)
        this.#let(held, 'expired')
      }
      if (this.#timer === null) this.#watch()
    })
  }
}
