import { ByteQueue, type Clock, type Timer } from '../base/index.ts'

/**
 * Output of a vMotion's destination that has to wait: before COMPLETE because the VM does not run there yet, after it
 * because the old source's last bytes go first. Exists only during a vMotion.
 */
export class DestinationOutput<Session> {
  readonly #queue: ByteQueue
  readonly #deliver: (bytes: Uint8Array) => void
  #tailOf: Session | null = null
  #timer: Timer | null = null

  /** @param maxBytes past it, held output is `full`. */
  constructor(maxBytes: number, deliver: (bytes: Uint8Array) => void) {
    this.#queue = new ByteQueue(maxBytes)
    this.#deliver = deliver
  }

  /** The old source whose end is awaited; null before COMPLETE. */
  get tailOf(): Session | null {
    return this.#tailOf
  }

  /** Appends a copy. @returns true when more is held than should be. */
  push(bytes: Uint8Array): boolean {
    this.#queue.push(bytes)
    return this.#queue.full
  }

  /** From COMPLETE on: `expired` is called after `ms`, unless `stop` comes first. */
  awaitTail(former: Session, clock: Clock, ms: number, expired: () => void): void {
    this.#tailOf = former
    this.#timer = clock.after(ms, expired)
  }

  flush(): void {
    this.stop()
    for (let piece = this.#queue.shift(); piece !== null; piece = this.#queue.shift()) this.#deliver(piece)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }
}
