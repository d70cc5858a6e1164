import { ByteQueue, type Limits } from '../base/index.ts'

/** Who takes the bytes of an {@link InputQueue}. */
export interface InputTaker {
  readonly writable: boolean
}

/**
 * Input accepted for a VM and not yet handed to its connection: because it is moving, offline, or does not read.
 *
 * Nothing is ever dropped here. At its cap the queue is full, and whoever fills it has to pause; it says so once, and
 * once more when it has drained to half.
 */
export class InputQueue {
  readonly #queue: ByteQueue
  readonly #limits: Pick<Limits, 'inputBytes' | 'inputPieces' | 'vmSocketBytes'>
  #full = false

  constructor(limits: Pick<Limits, 'inputBytes' | 'inputPieces' | 'vmSocketBytes'>) {
    this.#limits = limits
    this.#queue = new ByteQueue(limits.inputBytes, limits.inputPieces)
  }

  get byteLength(): number {
    return this.#queue.byteLength
  }

  get full(): boolean {
    return this.#full
  }

  /** Appends a copy. @returns true when this made the queue full: pause the producers. */
  push(bytes: Uint8Array): boolean {
    this.#queue.push(bytes)
    if (this.#full || !this.#queue.full) return false
    this.#full = true
    return true
  }

  /** Hands over what `to` takes. @returns true when producers that were paused may go on. */
  pump<Taker extends InputTaker>(to: Taker, send: (to: Taker, piece: Uint8Array) => void): boolean {
    while (to.writable) {
      const piece = this.#queue.shift(this.#limits.vmSocketBytes)
      if (piece === null) break
      send(to, piece)
    }
    const halfEmpty =
      this.#queue.byteLength * 2 <= this.#limits.inputBytes && this.#queue.pieces * 2 <= this.#limits.inputPieces
    if (!this.#full || !halfEmpty) return false
    this.#full = false
    return true
  }
}
