const CR = 0x0d
const LF = 0x0a

/**
 * Turns the line ends of piped text into the Enter key: LF and CR LF become CR; all else passes as it is. Pure; the
 * same for any chunking.
 */
export class EnterKeys {
  #afterCr = false

  /** A changed copy, or `chunk` itself when there is nothing to change. */
  convert(chunk: Uint8Array): Uint8Array {
    if (chunk.length === 0) return chunk
    if (!chunk.includes(LF)) {
      this.#afterCr = chunk[chunk.length - 1] === CR
      return chunk
    }
    const converted = new Uint8Array(chunk.length)
    let length = 0
    for (const byte of chunk) {
      if (byte !== LF) converted[length++] = byte
      else if (!this.#afterCr) converted[length++] = CR
      this.#afterCr = byte === CR
    }
    return converted.subarray(0, length)
  }
}

/** Where the last `count` lines of `text` begin; a line feed at the very end ends the last line. */
export function lastLinesStart(text: Uint8Array, count: number): number {
  if (count <= 0) return text.length
  let at = text.length
  if (at > 0 && text[at - 1] === LF) at--
  for (let left = count; left > 0; left--) {
    const found = at > 0 ? text.lastIndexOf(LF, at - 1) : -1
    if (found < 0) return 0
    at = found
  }
  return at + 1
}
