/**
 * What was sent and is not yet acknowledged, kept to be sent again, and what waits to be sent.
 *
 * Large chunks are kept as they are, small ones packed into blocks: what is kept costs about its size, whatever the
 * chunking, and so does the number of pieces.
 */

/** From this size on a chunk is kept by reference, if it does not hold more than as much again in memory. */
const KEEP_BYTES = 4_096
const FIRST_BLOCK_BYTES = 256
const BLOCK_BYTES = 4_096

export class SendLog {
  #pieces: Uint8Array[] = []
  /** Pieces before this one are acknowledged. */
  #head = 0
  #bytes = 0
  /** Where to send from: a piece, and how far into it. */
  #next = 0
  #offset = 0
  #unsent = 0
  #block: Uint8Array | null = null
  #blockUsed = 0

  get byteLength(): number {
    return this.#bytes
  }

  get unsentBytes(): number {
    return this.#unsent
  }

  get pieces(): number {
    return this.#pieces.length - this.#head
  }

  /** @param bytes not changed by anybody from now on: large chunks are kept without copying. */
  append(bytes: Uint8Array): void {
    const { length } = bytes
    if (length === 0) return
    this.#bytes += length
    this.#unsent += length
    if (length >= KEEP_BYTES) {
      // Not slice(): that of a Buffer is no copy.
      this.#pieces.push(bytes.buffer.byteLength <= 2 * length ? bytes : new Uint8Array(bytes))
      return
    }
    const block = this.#block
    if (block === null || this.#blockUsed + length > block.length) {
      const size = this.#bytes > FIRST_BLOCK_BYTES ? BLOCK_BYTES : FIRST_BLOCK_BYTES
      this.#block = new Uint8Array(Math.max(length, size))
      this.#block.set(bytes)
      this.#blockUsed = length
      this.#pieces.push(this.#block.subarray(0, length))
      return
    }
    block.set(bytes, this.#blockUsed)
    const last = this.#pieces.length - 1
    const tail = last >= this.#head ? this.#pieces[last] : undefined
    // The block is ours alone, so a last piece of it ends where it is filled.
    if (tail !== undefined && tail.buffer === block.buffer) {
      this.#pieces[last] = new Uint8Array(block.buffer, tail.byteOffset, tail.length + length)
    } else {
      this.#pieces.push(block.subarray(this.#blockUsed, this.#blockUsed + length))
    }
    this.#blockUsed += length
  }

  /** The next bytes to send, at least one and at most `maxBytes`; null when all were sent. A view, not to be changed. */
  next(maxBytes: number): Uint8Array | null {
    const piece = this.#pieces[this.#next]
    if (piece === undefined || maxBytes <= 0 || this.#unsent === 0) return null
    // A piece that was sent whole may have grown since.
    if (this.#offset === piece.length) {
      this.#next++
      this.#offset = 0
      return this.next(maxBytes)
    }
    const end = Math.min(piece.length, this.#offset + maxBytes)
    const slice = this.#offset === 0 && end === piece.length ? piece : piece.subarray(this.#offset, end)
    this.#offset = end
    this.#unsent -= slice.length
    return slice
  }

  /** Forgets the oldest `count` bytes, all of them sent. */
  drop(count: number): void {
    let left = count
    while (left > 0) {
      const piece = this.#pieces[this.#head] as Uint8Array
      if (piece.length > left) {
        this.#pieces[this.#head] = piece.subarray(left)
        if (this.#next === this.#head) this.#offset -= left
        break
      }
      left -= piece.length
      if (this.#next === this.#head) {
        this.#next++
        this.#offset = 0
      }
      this.#head++
    }
    this.#bytes -= count
    if (this.#head === this.#pieces.length) this.clear()
    else if (this.#head > 64 && this.#head * 2 > this.#pieces.length) {
      this.#pieces = this.#pieces.slice(this.#head)
      this.#next -= this.#head
      this.#head = 0
    }
  }

  /** Sending goes on `skip` bytes after the oldest one. */
  rewind(skip: number): void {
    this.#next = this.#head
    this.#offset = skip
    for (let piece = this.#pieces[this.#next]; piece !== undefined && this.#offset > piece.length; ) {
      this.#offset -= piece.length
      piece = this.#pieces[++this.#next]
    }
    this.#unsent = this.#bytes - skip
  }

  clear(): void {
    this.#pieces = []
    this.#head = 0
    this.#bytes = 0
    this.#next = 0
    this.#offset = 0
    this.#unsent = 0
    this.#block = null
    this.#blockUsed = 0
  }
}
