const EMPTY = new Uint8Array(0)

/** Bytes kept in order, growing by doubling; for logs that a test reads as a whole. */
export class ByteLog {
  #buffer: Uint8Array = EMPTY
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Everything so far: a view that later appends leave untouched. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  /** Appends a copy. */
  append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2, 64))
      grown.set(this.bytes)
      this.#buffer = grown
    }
    this.#buffer.set(bytes, this.#length)
    this.#length = needed
  }
}

/** Position of `needle` in `bytes` at or after `from`; -1 when absent. */
export function findBytes(bytes: Uint8Array, needle: Uint8Array, from = 0): number {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return view.indexOf(needle, from)
}
