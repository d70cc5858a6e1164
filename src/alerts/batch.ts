/**
 * Output of many ports on its way to the thread that looks at it: records in one block of memory, which goes there and
 * comes back. Pure.
 *
 * A record is a header of 16 bytes (serial u32, length u32, offset f64) and the bytes, filled up to a multiple of 8. Output
 * that goes on where the last record ended makes that one longer.
 */

const HEADER = 16
const ALIGN = 7

/** Whoever fills it. */
export class BatchWriter {
  readonly #bytes: Uint8Array
  readonly #words: Uint32Array
  readonly #offsets: Float64Array
  /** Of the record that is being made longer. */
  #last = 0
  #serial = 0
  #expected = -1
  #used = 0

  /** @param buffer a multiple of 8 long. */
  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer)
    this.#words = new Uint32Array(buffer)
    this.#offsets = new Float64Array(buffer)
  }

  get buffer(): ArrayBuffer {
    return this.#bytes.buffer as ArrayBuffer
  }

  /** Bytes to hand over; 0 = nothing is in it. */
  get used(): number {
    return (this.#used + ALIGN) & ~ALIGN
  }

  /** Copies as much of `bytes[from, ...)` as there is room for. @param serial not 0. @returns how much that is. */
  add(serial: number, offset: number, bytes: Uint8Array, from: number): number {
    const goesOn = serial === this.#serial && offset === this.#expected
    const start = goesOn ? this.#used : this.used + HEADER
    const length = Math.min(bytes.length - from, this.#bytes.length - start)
    if (length <= 0) return 0
    if (goesOn) {
      this.#words[this.#last + 1] = (this.#words[this.#last + 1] as number) + length
    } else {
      const word = (start - HEADER) >> 2
      this.#words[word] = serial
      this.#words[word + 1] = length
      this.#offsets[(start - HEADER + 8) >> 3] = offset
      this.#last = word
      this.#serial = serial
    }
    this.#bytes.set(length === bytes.length ? bytes : bytes.subarray(from, from + length), start)
    this.#used = start + length
    this.#expected = offset + length
    return length
  }
}

/** Takes the bytes `bytes[from, to)` of the port with that serial, the first of which has `offset`. */
export type TakeRecord = (serial: number, offset: number, bytes: Uint8Array, from: number, to: number) => void

/** Hands over each record in turn. @param used of the writer. */
export function readBatch(buffer: ArrayBuffer, used: number, take: TakeRecord): void {
  const bytes = new Uint8Array(buffer)
  const words = new Uint32Array(buffer)
  const offsets = new Float64Array(buffer)
  for (let at = 0; at < used; ) {
    const serial = words[at >> 2] as number
    const length = words[(at >> 2) + 1] as number
    const from = at + HEADER
    take(serial, offsets[(at + 8) >> 3] as number, bytes, from, from + length)
    at = (from + length + ALIGN) & ~ALIGN
  }
}
