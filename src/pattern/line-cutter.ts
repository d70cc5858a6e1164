/** A longer line is taken for several. */
export const MAX_LINE_BYTES = 65_536

const LF = 0x0a
const FIRST_BYTES = 256

/**
 * Makes blocks of whole lines of chunks of output, wherever these were cut. Memory: the line that has not ended yet.
 *
 * @see TextPattern.scan for what blocks are good for.
 */
export class LineCutter {
  readonly #block: (lines: Buffer, offset: number) => void
  /** The beginning of a line. */
  #held: Buffer | null = null
  #length = 0
  /** Of the byte that comes next. */
  #next = 0

  /**
   * @param block gets whole lines, and the offset of the first byte; the last one lacks its line feed where it was too
   * long, or the output ended. Valid during the call.
   */
  constructor(block: (lines: Buffer, offset: number) => void) {
    this.#block = block
  }

  /** @param offset of its first byte; where bytes are missing before it, the line that they were in ends there. */
  push(chunk: Uint8Array, offset: number): void {
    if (offset !== this.#next) this.end()
    this.#next = offset + chunk.length
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    if (this.#length > 0) bytes = bytes.subarray(this.#join(bytes))
    const begin = this.#next - bytes.length
    let whole = bytes.lastIndexOf(LF) + 1
    whole += Math.floor((bytes.length - whole) / MAX_LINE_BYTES) * MAX_LINE_BYTES
    if (whole > 0) this.#block(bytes.subarray(0, whole), begin)
    if (whole < bytes.length) this.#hold(bytes.subarray(whole))
  }

  /** Nothing follows: what is held is a line. */
  end(): void {
    if (this.#length > 0) this.#give(this.#next)
  }

  /** Completes the line that is held. @returns how much of `bytes` belongs to it. */
  #join(bytes: Buffer): number {
    const feed = bytes.indexOf(LF)
    const wanted = feed < 0 ? bytes.length : feed + 1
    const room = MAX_LINE_BYTES - this.#length
    // A line feed alone does not make a line too long.
    const taken = wanted - 1 === room && feed >= 0 ? wanted : Math.min(wanted, room)
    this.#hold(bytes.subarray(0, taken))
    if (taken === wanted && feed < 0 && this.#length < MAX_LINE_BYTES) return taken
    this.#give(this.#next - bytes.length + taken)
    return taken
  }

  #give(end: number): void {
    const lines = (this.#held as Buffer).subarray(0, this.#length)
    this.#held = null
    this.#length = 0
    this.#block(lines, end - lines.length)
  }

  #hold(bytes: Buffer): void {
    const length = this.#length + bytes.length
    if (this.#held === null || this.#held.length < length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.max(FIRST_BYTES, length, Math.min(2 * this.#length, MAX_LINE_BYTES + 1)),
      )
      this.#held?.copy(larger, 0, 0, this.#length)
      this.#held = larger
    }
    bytes.copy(this.#held, this.#length)
    this.#length = length
  }
}
