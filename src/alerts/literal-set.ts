/**
 * Finds the first of several short texts in bytes, whatever their case (ASCII), without looking at every byte: the way
 * of Wu and Manber ("A fast algorithm for multi-pattern searching", 1994) with blocks of two bytes. Pure.
 *
 * It only says where a line is worth a closer look, so a few bytes too many found are no fault; one missed would be.
 */

/** Blocks of two bytes: with a literal of this length the search goes on by three bytes at a time. */
const BLOCK = 2
/** Shorter ones would be found everywhere. */
export const MIN_LITERAL_LENGTH = 2
/** What a pattern of nobody's making is long; keeps the way to a hit short. */
const MAX_SHIFT = 254

export class LiteralSet {
  /** How far to go on after a block that ends here; 0 = a literal may begin `length - BLOCK` before. */
  readonly #shift = new Uint8Array(65_536)
  /** Literals, in lower case, by the last block of their first `#length` bytes. */
  readonly #candidates = new Map<number, Uint8Array[]>()
  /** That many bytes of each literal decide on the shift. */
  readonly #length: number

  /** @param literals one at least, of {@link MIN_LITERAL_LENGTH} ASCII characters or more each. */
  constructor(literals: readonly string[]) {
    const all = literals.map((text) => new TextEncoder().encode(text.toLowerCase()))
    this.#length = Math.min(MAX_SHIFT, ...all.map(({ length }) => length))
    if (!(this.#length >= MIN_LITERAL_LENGTH)) throw new RangeError(`a literal has ${MIN_LITERAL_LENGTH} bytes or more`)
    this.#shift.fill(this.#length - BLOCK + 1)
    for (const literal of all) this.#add(literal)
  }

  /** Where the first literal in `bytes[from, to)` begins; `to` when there is none. */
  search(bytes: Uint8Array, from: number, to: number): number {
    const shift = this.#shift
    const length = this.#length
    for (let at = from + length - 1; at < to; ) {
      const block = ((bytes[at - 1] as number) << 8) | (bytes[at] as number)
      const step = shift[block] as number
      if (step > 0) {
        at += step
        continue
      }
      const start = at - length + 1
      if (this.#isAt(bytes, start, to, block)) return start
      at++
    }
    return to
  }

  #add(literal: Uint8Array): void {
    for (let end = BLOCK - 1; end < this.#length; end++) {
      const step = this.#length - 1 - end
      for (const block of bothCases(literal[end - 1] as number, literal[end] as number)) {
        if (step < (this.#shift[block] as number)) this.#shift[block] = step
        if (step > 0) continue
        const same = this.#candidates.get(block)
        if (same === undefined) this.#candidates.set(block, [literal])
        else same.push(literal)
      }
    }
  }

  #isAt(bytes: Uint8Array, start: number, to: number, block: number): boolean {
    for (const literal of this.#candidates.get(block) ?? []) {
      if (start + literal.length <= to && equals(bytes, start, literal)) return true
    }
    return false
  }
}

function equals(bytes: Uint8Array, start: number, literal: Uint8Array): boolean {
  for (let at = 0; at < literal.length; at++) {
    if (lower(bytes[start + at] as number) !== literal[at]) return false
  }
  return true
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte
}

function upper(byte: number): number {
  return byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte
}

/** As numbers, each once. */
function bothCases(first: number, second: number): Set<number> {
  const blocks = new Set<number>()
  for (const a of [first, upper(first)]) for (const b of [second, upper(second)]) blocks.add((a << 8) | b)
  return blocks
}
