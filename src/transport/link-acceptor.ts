/** The side of resumable streams that is dialled: finds the stream that a connection belongs to. */
import type { Duplex } from 'node:stream'
import { type Clock, errorMessage, type Timer, VspcError } from '../base/index.ts'
import { decodeHello, encodeRefusal, HELLO_BYTES, Preamble, type Refusal, VERSION, versionOf } from '../link/index.ts'
import { type ByteStream, ignoreError } from './byte-stream.ts'
import type { ListenHandlers, ListenOptions } from './contracts.ts'
import { closeLeg, type LinkKeeper, LinkStream } from './link-stream.ts'

/**
 * Streams that may be resumed: one table for all listeners of an owner, since a stream may come back by another; and one
 * for those that it dials, if it is to wait for them.
 */
export class LinkTable {
  /** By stream id, those in the background too. Ids are capabilities: they are looked up, never shown. */
  readonly #links = new Map<string, LinkStream>()
  readonly #ids = new Map<LinkStream, string>()
  #emptied: (() => void)[] = []

  /** Streams that are there, or kept for their peers to come back. */
  get size(): number {
    return this.#links.size
  }

  get(id: string): LinkStream | undefined {
    return this.#links.get(id)
  }

  set(id: string, link: LinkStream): void {
    this.#links.set(id, link)
    this.#ids.set(link, id)
  }

  delete(link: LinkStream): void {
    const id = this.#ids.get(link)
    this.#ids.delete(link)
    if (id !== undefined) this.#links.delete(id)
    if (this.#links.size === 0) for (const resolve of this.#emptied.splice(0)) resolve()
  }

  /**
   * Resolves when no stream is left, neither with its owner nor in the background. What is left after `withinMs` is
   * given up: for who is about to exit, and must not do so before what was written has arrived, or much later.
   */
  async emptied(clock: Clock, withinMs: number): Promise<void> {
    if (this.#links.size === 0) return
    const timer = clock.after(Math.max(0, withinMs), () => {
      for (const link of [...this.#links.values()]) link.giveUp()
    })
    await new Promise<void>((resolve) => this.#emptied.push(resolve))
    timer.cancel()
  }
}

/** Takes connections that begin with a HELLO. Each new stream is handed over once; its later connections join it. */
export class LinkAcceptor implements LinkKeeper {
  readonly #handlers: ListenHandlers
  readonly #limits: ListenOptions['limits']
  readonly #clock: Clock
  readonly #links: LinkTable
  readonly #greeting = new Set<Greeting>()
  #closed = false

  constructor(handlers: ListenHandlers, options: Pick<ListenOptions, 'limits' | 'clock' | 'links'>) {
    this.#handlers = handlers
    this.#links = options.links ?? new LinkTable()
    this.#limits = options.limits
    this.#clock = options.clock
  }

  /** Streams that are there, or kept for their peers to come back. */
  get size(): number {
    return this.#links.size
  }

  /** Takes ownership of a connection that was accepted. */
  take(stream: ByteStream): void {
    if (this.#closed) {
      stream.socket.on('error', ignoreError)
      stream.socket.destroy()
      return
    }
    this.#greeting.add(new Greeting(stream, this.#limits.proxyHeaderMs, this.#clock, this))
  }

  /** Takes no new streams, and no connections of old ones; streams handed over live on. */
  close(): void {
    this.#closed = true
    for (const greeting of this.#greeting) greeting.stream.socket.destroy()
  }

  // For Greeting

  ended(greeting: Greeting): void {
    this.#greeting.delete(greeting)
  }

  problem(stream: ByteStream, error: VspcError): void {
    if (!this.#closed) this.#handlers.problem({ kind: 'resume', peer: stream.peer, error })
  }

  /** @param bytes a whole HELLO. @param rest what came behind it. */
  hello(stream: ByteStream, bytes: Uint8Array, rest: Uint8Array): void {
    const version = versionOf(bytes)
    if (version !== VERSION) {
      this.#refuse(stream, 'version', `it speaks version ${version} of this protocol, and we ${VERSION}`)
      return
    }
    let hello: ReturnType<typeof decodeHello>
    try {
      hello = decodeHello(bytes)
    } catch (error) {
      this.problem(stream, protocolError(error))
      stream.socket.destroy()
      return
    }
    const key = Buffer.from(hello.id).toString('latin1')
    let link = this.#links.get(key)
    if (link === undefined) {
      if (hello.kind === 'resume') {
        this.#turnAway(stream)
        return
      }
      if (this.#links.size >= this.#limits.maxResumable) {
        this.#refuse(stream, 'full', `${this.#links.size} resumable streams are there ("maxResumable")`)
        return
      }
      link = this.#begin(key, hello.id)
      this.#handlers.stream({ ...stream, socket: link, link })
    }
    const refusal = link.accepted(stream.socket, hello, rest)
    if (refusal === null) return
    if (refusal === 'closing') this.#turnAway(stream)
    else this.#refuse(stream, refusal, REFUSALS[refusal] ?? refusal)
  }

  #begin(key: string, id: Uint8Array): LinkStream {
    const link = new LinkStream({ role: 'acceptor', id, limits: this.#limits, clock: this.#clock, keeper: this })
    this.#links.set(key, link)
    return link
  }

  #refuse(stream: ByteStream, refusal: Refusal, why: string): void {
    this.problem(stream, new VspcError('VSPC_LINK_REFUSED', `a resumable stream was refused: ${why}`))
    this.#answer(stream.socket, encodeRefusal('refused', refusal))
  }

  #turnAway(stream: ByteStream): void {
    const why = 'it is not known here (any more): this end was restarted, or the stream was away for too long'
    this.problem(stream, new VspcError('VSPC_LINK_REFUSED', `a stream could not be resumed: ${why}`))
    this.#answer(stream.socket, encodeRefusal('unknown', 'none'))
  }

  #answer(socket: Duplex, bytes: Uint8Array): void {
    socket.write(bytes)
    closeLeg(socket, this.#clock, this.#limits.proxyHeaderMs)
  }

  // LinkKeeper: whoever dials is at the other end

  joined(): void {}

  legLost(): void {}

  hurry(): void {}

  over(link: LinkStream): void {
    this.#links.delete(link)
  }
}

const REFUSALS: Partial<Record<Refusal, string>> = {
  duplicate: 'it is there already',
  stale: 'a later connection of the same stream was faster',
  offsets: 'it wants to go on where it cannot be',
}

/** A connection whose HELLO is not complete. */
class Greeting {
  readonly stream: ByteStream
  readonly #acceptor: LinkAcceptor
  readonly #preamble = new Preamble(HELLO_BYTES)
  readonly #timer: Timer
  #over = false

  constructor(stream: ByteStream, withinMs: number, clock: Clock, acceptor: LinkAcceptor) {
    this.stream = stream
    this.#acceptor = acceptor
    const { socket } = stream
    socket.on('error', ignoreError)
    this.#timer = clock.after(withinMs, () => this.#fail(`no HELLO within ${withinMs} ms`))
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onEnd)
    socket.resume()
  }

  readonly #onData = (chunk: Uint8Array): void => {
    let taken: number
    try {
      taken = this.#preamble.push(chunk)
    } catch {
      this.#fail('it begins otherwise; does the peer say "resume=on", too?')
      return
    }
    if (!this.#preamble.complete) return
    this.#settle()
    this.#acceptor.hello(this.stream, this.#preamble.bytes, chunk.subarray(taken))
  }

  readonly #onEnd = (): void => this.#fail('the peer left before its HELLO was complete')

  #fail(why: string): void {
    if (!this.#settle()) return
    this.#acceptor.problem(this.stream, new VspcError('VSPC_LINK_PROTOCOL', `no resumable stream: ${why}`))
    this.stream.socket.destroy()
  }

  #settle(): boolean {
    if (this.#over) return false
    this.#over = true
    this.#timer.cancel()
    const { socket } = this.stream
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('close', this.#onEnd)
    this.#acceptor.ended(this)
    return true
  }
}

function protocolError(thrown: unknown): VspcError {
  return thrown instanceof VspcError ? thrown : new VspcError('VSPC_LINK_PROTOCOL', errorMessage(thrown))
}
