/** How many streams there are of all that may be. */
export class Room {
  readonly #limits: { readonly maxStreams: number }
  #taken = 0

  constructor(limits: { readonly maxStreams: number }) {
    this.#limits = limits
  }

  get taken(): number {
    return this.#taken
  }

  get max(): number {
    return this.#limits.maxStreams
  }

  /** False: there is no more. Otherwise `leave` is called once, when the stream is gone. */
  enter(): boolean {
    if (this.#taken >= this.#limits.maxStreams) return false
    this.#taken++
    return true
  }

  leave(): void {
    this.#taken--
  }
}
