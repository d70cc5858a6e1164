/** Output received and not yet taken by anyone. Positions count every byte this console was ever given. */
export class Unread {
  readonly #chunks: { position: number; bytes: Uint8Array }[] = []
  #length = 0
  #next = 0
  /** Where offset and position began to differ by another number; oldest first. */
  readonly #anchors: { position: number; offset: number }[] = []

  get length(): number {
    return this.#length
  }

  /** Position of the next byte to come. */
  get next(): number {
    return this.#next
  }

  get chunks(): readonly { readonly position: number; readonly bytes: Uint8Array }[] {
    return this.#chunks
  }

  /** @param offset of its first byte in the port's output. The bytes are kept. */
  push(bytes: Uint8Array, offset: number): void {
    const last = this.#anchors.at(-1)
    if (last === undefined || offset - this.#next !== last.offset - last.position) {
      this.#anchors.push({ position: this.#next, offset })
      if (this.#anchors.length > MAX_ANCHORS) this.#anchors.shift()
    }
    this.#chunks.push({ position: this.#next, bytes })
    this.#next += bytes.length
    this.#length += bytes.length
  }

  /** The oldest chunk; null when there is none. */
  shift(): Uint8Array | null {
    const chunk = this.#chunks.shift()
    if (!chunk) return null
    this.#length -= chunk.bytes.length
    return chunk.bytes
  }

  /** Forgets all before `position`. */
  dropBefore(position: number): void {
    for (;;) {
      const first = this.#chunks[0]
      if (!first || first.position >= position) return
      const cut = Math.min(position - first.position, first.bytes.length)
      this.#length -= cut
      if (cut < first.bytes.length) {
        this.#chunks[0] = { position: position, bytes: first.bytes.subarray(cut) }
        return
      }
      this.#chunks.shift()
    }
  }

  /** Forgets the oldest until at most `bytes` are left. */
  keepLast(bytes: number): void {
    if (this.#length > bytes) this.dropBefore(this.#next - bytes)
  }

  /** Offset in the port's output of the byte at `position`. */
  offsetOf(position: number): number {
    const anchor = this.#anchors.findLast((one) => one.position <= position) ?? this.#anchors[0]
    return anchor ? anchor.offset + (position - anchor.position) : position
  }

  /** A copy of all of it. */
  toBytes(): Uint8Array {
    return Buffer.concat(this.#chunks.map(({ bytes }) => bytes))
  }
}

/** Gaps and new beginnings that are remembered; older ones make offsets of long forgotten output wrong. */
const MAX_ANCHORS = 64
