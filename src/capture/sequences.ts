/**
 * VMOTION-GOAHEAD and VMOTION-PEER carry sequence and secret without a delimiter: only who has seen the BEGIN knows
 * where they divide. This remembers sequences, never secrets.
 */
import { formatHex } from '../base/index.ts'

const MAX_REMEMBERED = 4096

export class Sequences {
  /** Hex of the sequence to its length in bytes; oldest first. */
  readonly #seen = new Map<string, number>()

  learn(sequence: Uint8Array): void {
    const key = formatHex(sequence, '')
    this.#seen.delete(key)
    this.#seen.set(key, sequence.length)
    if (this.#seen.size <= MAX_REMEMBERED) return
    const [oldest] = this.#seen.keys()
    if (oldest !== undefined) this.#seen.delete(oldest)
  }

  /** Length of the longest sequence that `cookie` begins with; null when it begins with none we have seen. */
  lengthIn(cookie: Uint8Array): number | null {
    const hex = formatHex(cookie, '')
    let longest: number | null = null
    for (const length of new Set(this.#seen.values())) {
      const known = length <= cookie.length && this.#seen.has(hex.slice(0, 2 * length))
      if (known && length > (longest ?? 0)) longest = length
    }
    return longest
  }
}
