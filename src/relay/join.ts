/**
 * Two byte streams joined: what comes out of one goes into the other.
 *
 * - Nothing is looked into, and nothing is made for each chunk: no promise, no closure, no copy, no log line.
 * - End of input closes the other one's writing half only. Where one of the two knows no such thing (a pipe), it ends
 *   both.
 * - A side that does not read stops the other one from being read: at most its high-water mark and one chunk wait here.
 * - When one is gone, the other gets what is on its way to it, as long as it takes any, and then its end.
 *
 * There may be 20,000 of them: the listeners are functions shared by all, which find theirs through the socket.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/index.ts'

/** What the joins of a route share. */
export interface JoinGround {
  readonly clock: Clock
  readonly limits: { readonly closeMs: number }
  /** Bytes from the first to the second stream, and back. */
  readonly counters: { bytesForward: number; bytesBack: number }
  /** False: the end of one is the end of both. */
  readonly halfClose: boolean
  /** Both are gone. */
  closed(join: Join): void
}

const NOTHING = new Uint8Array(0)

const JOIN = Symbol('vspc.join')
type JoinedSocket = Duplex & { [JOIN]?: Join }

export class Join {
  /** Where `forward` begins, and where it leads. */
  readonly first: Duplex
  readonly second: Duplex
  readonly #ground: JoinGround
  /** From now on what is read is thrown away: there is nobody left to get it. */
  #closing = false
  #timer: Timer | null = null
  #done = false

  /** Takes ownership of both; they may have been closed already. */
  constructor(first: Duplex, second: Duplex, ground: JoinGround) {
    this.first = first
    this.second = second
    this.#ground = ground
    this.#attach(first)
    this.#attach(second)
  }

  #attach(socket: JoinedSocket): void {
    socket[JOIN] = this
    socket.on('error', onError).on('end', onEnd).on('close', onClose).on('drain', onDrain)
    // Whatever has happened before anybody listened.
    if (socket.closed) queueMicrotask(() => this.socketClosed(socket))
    else if (socket.readableEnded) queueMicrotask(() => this.socketEnded(socket))
    socket.on('data', onData)
    // Held streams were paused by name: a listener alone does not undo that.
    socket.resume()
  }

  #other(socket: Duplex): Duplex {
    return socket === this.first ? this.second : this.first
  }

  receive(from: Duplex, chunk: Uint8Array): void {
    if (this.#closing) return
    let to: Duplex
    if (from === this.first) {
      to = this.second
      this.#ground.counters.bytesForward += chunk.length
    } else {
      to = this.first
      this.#ground.counters.bytesBack += chunk.length
    }
    to.write(chunk)
    // write() says false for a chunk above the high-water mark even if the kernel has taken all of it: then there is
    // nothing to wait for. `drain` follows only if it has said so.
    if (to.writableLength > 0 && to.writableNeedDrain) from.pause()
  }

  socketDrained(socket: Duplex): void {
    const from = this.#other(socket)
    if (from.isPaused()) from.resume()
  }

  socketEnded(socket: Duplex): void {
    if (this.#closing) return
    if (this.#ground.halfClose) this.#other(socket).end()
    else this.close()
  }

  socketClosed(socket: Duplex): void {
    const other = this.#other(socket)
    if (!other.closed) {
      this.close()
      return
    }
    this.#timer?.cancel()
    this.#timer = null
    if (this.#done) return
    this.#done = true
    this.#ground.closed(this)
  }

  /**
   * Notices that a stream is gone which is not read because the other one takes nothing: the system tells whoever
   * writes, were it nothing at all.
   */
  look(): void {
    if (this.#closing) return
    for (const socket of [this.first, this.second]) {
      if (socket.isPaused() && socket.writable && socket.writableLength === 0) socket.write(NOTHING)
    }
  }

  /** Ends both streams once they have taken what is on its way to them; those that take nothing are destroyed. */
  close(): void {
    if (this.#closing) return
    this.#closing = true
    for (const socket of [this.first, this.second]) {
      if (socket.destroyed) continue
      socket.end()
      // Unread bytes would turn the close into a reset, which takes away from the peer what it has not read yet.
      socket.resume()
    }
    this.#watch(this.#waiting())
  }

  /** Ends both at once, whatever is on its way. */
  abort(): void {
    this.#closing = true
    this.first.destroy()
    this.second.destroy()
  }

  /** Given up when a whole `closeMs` brings nothing. @param before bytes that waited at its beginning. */
  #watch(before: number): void {
    this.#timer = this.#ground.clock.after(this.#ground.limits.closeMs, () => {
      this.#timer = null
      const waiting = this.#waiting()
      if (waiting > 0 && waiting < before) this.#watch(waiting)
      else this.abort()
    })
  }

  #waiting(): number {
    const of = (socket: Duplex): number => (socket.destroyed ? 0 : socket.writableLength)
    return of(this.first) + of(this.second)
  }
}

function onData(this: JoinedSocket, chunk: Uint8Array): void {
  this[JOIN]?.receive(this, chunk)
}

function onEnd(this: JoinedSocket): void {
  this[JOIN]?.socketEnded(this)
}

function onClose(this: JoinedSocket): void {
  this[JOIN]?.socketClosed(this)
}

function onDrain(this: JoinedSocket): void {
  this[JOIN]?.socketDrained(this)
}

/** `close` follows, and is what counts: a reset is an ordinary end of a VM's connection. */
function onError(this: JoinedSocket): void {}
