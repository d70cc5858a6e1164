/**
 * The sending half of a stream: positions, and what is kept until it is acknowledged. Positions count data over all
 * legs; the FIN is the one after the last.
 */
import { fault, MAX_DATA_BYTES } from './codec.ts'
import { SendLog } from './send-log.ts'

export class Outgoing {
  readonly log = new SendLog()
  /** Given to us so far; once `ended`, the position of the FIN. */
  #end = 0
  #ended = false
  #acked = 0
  /** The next position on this leg, and on any leg so far. */
  #sent = 0
  #sentHigh = 0
  #peerWindow = 0

  get acked(): number {
    return this.#acked
  }

  get ended(): boolean {
    return this.#ended
  }

  /** What the peer takes ahead of its owner; 0 before it said. */
  get peerWindow(): number {
    return this.#peerWindow
  }

  /** Everything is acknowledged, the FIN too. */
  get done(): boolean {
    return this.#ended && this.#acked === this.#end + 1
  }

  append(bytes: Uint8Array): void {
    this.log.append(bytes)
    this.#end += bytes.length
  }

  finish(): void {
    this.#ended = true
  }

  /** The next data to be sent on this leg, as much as the peer's window and a frame allow; null: none, or not now. */
  next(): Uint8Array | null {
    const bytes = this.log.next(Math.min(MAX_DATA_BYTES, this.#acked + this.#peerWindow - this.#sent))
    if (bytes !== null) this.#advance(bytes.length)
    return bytes
  }

  /** True once on each leg that has to carry the FIN: now. */
  takeFin(): boolean {
    if (!this.#ended || this.#sent !== this.#end) return false
    this.#advance(1)
    return true
  }

  /** @throws RemoteProtocolError */
  acknowledge(position: number): void {
    if (position < this.#acked) throw fault(`ACK goes back from ${this.#acked} to ${position}`)
    if (position > this.#sent) throw fault(`ACK of ${position}, sent are ${this.#sent}`)
    this.log.drop(this.#data(position) - this.#data(this.#acked))
    this.#acked = position
  }

  /** A new leg, on which the peer wants what begins at `position`. @throws RemoteProtocolError; nothing has changed then. */
  replayFrom(position: number, peerWindow: number): void {
    if (position < this.#acked || position > this.#sentHigh) {
      throw fault(`resumed at ${position}, not within ${this.#acked} to ${this.#sentHigh}`)
    }
    this.#sent = position
    this.#peerWindow = peerWindow
    this.log.rewind(this.#data(position) - this.#data(this.#acked))
  }

  #advance(by: number): void {
    this.#sent += by
    if (this.#sent > this.#sentHigh) this.#sentHigh = this.#sent
  }

  #data(position: number): number {
    return Math.min(position, this.#end)
  }
}
