/**
 * A FIFO of byte chunks with a cap in bytes and in pieces.
 *
 * `push` copies (the caller keeps its buffer), so a queued keystroke never pins a socket's 64 KiB read buffer. Small
 * pieces are packed into shared blocks: what is queued costs about its size, whatever the chunking.
 */
export class ByteQueue {
  readonly #maxBytes: number
  readonly #maxPieces: number
  #pieces: Uint8Array[] = []
  #head = 0
  #bytes = 0
  #block: Uint8Array | null = null
  #blockUsed = 0

  constructor(maxBytes: number, maxPieces = Number.POSITIVE_INFINITY) {
    this.#maxBytes = maxBytes
    this.#maxPieces = maxPieces
  }

  get byteLength(): number {
    return this.#bytes
  }

  get pieces(): number {
    return this.#pieces.length - this.#head
  }

  /** True once a cap is reached: the producer should pause. */
  get full(): boolean {
    return this.#bytes >= this.#maxBytes || this.pieces >= this.#maxPieces
  }

  /** Appends a copy of `bytes`. Always accepts (one chunk past the cap), so that nothing already read is lost. */
  push(bytes: Uint8Array): void {
    const length = bytes.length
    if (length === 0) return
    this.#bytes += length
    const last = this.#pieces.length - 1
    const block = this.#block
    if (block && this.#blockUsed + length <= block.length) {
      block.set(bytes, this.#blockUsed)
      const tail = last >= this.#head ? this.#pieces[last] : undefined
      const tailEnd = tail?.buffer === block.buffer ? tail.byteOffset + tail.length : -1
      if (tail && tailEnd === block.byteOffset + this.#blockUsed) {
        this.#pieces[last] = new Uint8Array(block.buffer, tail.byteOffset, tail.length + length)
      } else {
        this.#pieces.push(block.subarray(this.#blockUsed, this.#blockUsed + length))
      }
      this.#blockUsed += length
      return
    }
    if (length >= 1024) {
      // Not slice(): that of a Buffer is no copy.
      this.#pieces.push(new Uint8Array(bytes))
      return
    }
    const fresh = new Uint8Array(Math.max(length, this.#bytes > 4096 ? 4096 : 256))
    fresh.set(bytes)
    this.#block = fresh
    this.#blockUsed = length
    this.#pieces.push(fresh.subarray(0, length))
  }

  /** Removes and returns the oldest piece, at most `maxBytes` of it; null when empty. The caller owns it. */
  shift(maxBytes = Number.POSITIVE_INFINITY): Uint8Array | null {
    if (this.#head >= this.#pieces.length) return null
    const piece = this.#pieces[this.#head] as Uint8Array
    if (piece.length > maxBytes) {
      this.#pieces[this.#head] = piece.subarray(maxBytes)
      this.#bytes -= maxBytes
      return piece.subarray(0, maxBytes)
    }
    this.#head++
    this.#bytes -= piece.length
    if (this.#head === this.#pieces.length) {
      this.#pieces = []
      this.#head = 0
      this.#block = null
      this.#blockUsed = 0
    } else if (this.#head > 64 && this.#head * 2 > this.#pieces.length) {
      this.#pieces = this.#pieces.slice(this.#head)
      this.#head = 0
    }
    return piece
  }

  clear(): void {
    this.#pieces = []
    this.#head = 0
    this.#bytes = 0
    this.#block = null
    this.#blockUsed = 0
  }
}
