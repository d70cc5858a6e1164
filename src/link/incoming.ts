/** The receiving half of a stream: positions over all legs, the FIN being the one after the last byte. */
import { LocalProtocolError } from '../base/index.ts'
import { fault } from './codec.ts'

export class Incoming {
  readonly #window: number
  #received = 0
  #fin = false
  /** Without the FIN, which is consumed with the last byte before it. */
  #consumed = 0
  /** As told to the peer on this leg. */
  #told = 0

  constructor(window: number) {
    this.#window = window
  }

  /** Where the peer has to go on on a new leg. */
  get received(): number {
    return this.#received
  }

  /** What an ACK says. */
  get consumed(): number {
    return this.#fin && this.#consumed === this.#received - 1 ? this.#received : this.#consumed
  }

  get untold(): number {
    return this.consumed - this.#told
  }

  get ended(): boolean {
    return this.#fin
  }

  /** Everything is consumed, the FIN too. */
  get done(): boolean {
    return this.#fin && this.consumed === this.#received
  }

  /** @throws RemoteProtocolError */
  data(length: number): void {
    if (this.#fin) throw fault('DATA after FIN')
    if (this.#received + length > this.#consumed + this.#window) throw fault('DATA beyond the window')
    this.#received += length
  }

  /** @throws RemoteProtocolError */
  fin(): void {
    if (this.#fin) throw fault('second FIN')
    this.#fin = true
    this.#received++
  }

  /** The owner has done with `count` more bytes. */
  consume(count: number): void {
    this.#consumed += count
    if (this.#consumed <= this.#received - (this.#fin ? 1 : 0)) return
    throw new LocalProtocolError('VSPC_INTERNAL', 'resumable stream: more consumed than delivered')
  }

  told(): void {
    this.#told = this.consumed
  }

  /** On a new leg the peer has to be told again. */
  forgetTold(): void {
    this.#told = 0
  }
}
