/**
 * What a VM has said, by offset. Offsets count every byte the VM ever sent.
 *
 * Consoles are cursors into this: it is the only buffer between a VM and a slow reader. A later implementation keeps it
 * on disk; the interface only promises what that one can keep too.
 */
export interface History {
  /** Oldest offset still held. */
  readonly start: number
  /** Offset of the next byte to come. */
  readonly next: number
  /** Keeps `bytes`, which nobody may change afterwards; they may be kept by reference. */
  append(bytes: Uint8Array): void
  /** Up to `maxBytes` from `offset` on, as an immutable view; null when `offset` is outside [start, next). */
  read(offset: number, maxBytes: number): Uint8Array | null
}

const NONE: never[] = []
/** Pieces from this size on are kept by reference; smaller ones are packed, so that they do not pin a read buffer. */
const BY_REFERENCE = 2048

/**
 * The last `maxBytes` in memory. Costs nothing while empty, and about what it holds otherwise; `start` moves on by whole
 * pieces, so up to one piece (64 KiB) more than `maxBytes` may be held.
 */
export class MemoryHistory implements History {
  readonly #maxBytes: number
  #pieces: Uint8Array[] = NONE
  #offsets: number[] = NONE
  #head = 0
  #next = 0
  #block: Uint8Array | null = null
  #blockUsed = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get start(): number {
    return this.#head < this.#pieces.length ? (this.#offsets[this.#head] as number) : this.#next
  }

  get next(): number {
    return this.#next
  }

  append(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    if (this.#pieces === NONE) {
      this.#pieces = []
      this.#offsets = []
    }
    if (bytes.length < BY_REFERENCE) this.#pack(bytes)
    // A part of a read buffer that is mostly something else would pin all of it. (`slice` of a Buffer is no copy.)
    else this.#push(bytes.length * 2 < bytes.buffer.byteLength ? new Uint8Array(bytes) : bytes)
    this.#next += bytes.length
    while (this.#head < this.#pieces.length && this.#next - this.#secondOffset() >= this.#maxBytes) this.#dropOldest()
  }

  read(offset: number, maxBytes: number): Uint8Array | null {
    if (offset < this.start || offset >= this.#next) return null
    let low = this.#head
    let high = this.#pieces.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#offsets[middle] as number) <= offset) low = middle
      else high = middle - 1
    }
    const piece = this.#pieces[low] as Uint8Array
    const from = offset - (this.#offsets[low] as number)
    return piece.subarray(from, Math.min(piece.length, from + maxBytes))
  }

  /** Where the history would start without its oldest piece. */
  #secondOffset(): number {
    const second = this.#head + 1
    return second < this.#pieces.length ? (this.#offsets[second] as number) : this.#next
  }

  #push(piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#offsets.push(this.#next)
  }

  #pack(bytes: Uint8Array): void {
    const block = this.#block
    if (block === null || this.#blockUsed + bytes.length > block.length) {
      const fresh = new Uint8Array(Math.max(bytes.length, block === null ? 256 : Math.min(16_384, block.length * 4)))
      fresh.set(bytes)
      this.#block = fresh
      this.#blockUsed = bytes.length
      this.#push(fresh.subarray(0, bytes.length))
      return
    }
    block.set(bytes, this.#blockUsed)
    const last = this.#pieces.length - 1
    const tail = last >= this.#head ? this.#pieces[last] : undefined
    if (tail?.buffer === block.buffer && tail.byteOffset + tail.length === block.byteOffset + this.#blockUsed) {
      this.#pieces[last] = new Uint8Array(block.buffer, tail.byteOffset, tail.length + bytes.length)
    } else {
      this.#push(block.subarray(this.#blockUsed, this.#blockUsed + bytes.length))
    }
    this.#blockUsed += bytes.length
  }

  #dropOldest(): void {
    this.#head++
    if (this.#head < 32 || this.#head * 2 < this.#pieces.length) return
    this.#pieces = this.#pieces.slice(this.#head)
    this.#offsets = this.#offsets.slice(this.#head)
    this.#head = 0
  }
}
