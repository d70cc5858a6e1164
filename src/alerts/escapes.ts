/**
 * Bytes without what steers a terminal, far faster than `plainText` makes text of them: only to see whether that is worth
 * it. What `plainText` keeps is kept, next to what it keeps it next to. Pure.
 */

const ESC = 0x1b
const BEL = 0x07
const TAB = 0x09
const LF = 0x0a
const SPACE = 0x20

/** Final bytes of CSI sequences that go elsewhere on the screen, or clear it: they part words. */
const MOVES = new Set([...'ABEFGHJdf'].map((final) => final.charCodeAt(0)))
/** CUF is a way to write blanks. */
const FORWARD = 0x43

/**
 * Copies `bytes[from, to)` to the beginning of `target` without control sequences (ECMA-48) and control characters.
 * @returns how many bytes that are; no more than there were.
 */
export function withoutEscapes(bytes: Uint8Array, from: number, to: number, target: Uint8Array): number {
  let length = 0
  for (let at = from; at < to; ) {
    const byte = bytes[at] as number
    if (byte !== ESC) {
      if (byte >= SPACE || byte === TAB) target[length++] = byte
      at++
      continue
    }
    at = endOfEscape(bytes, at + 1, to)
    // Of a CSI sequence; others end otherwise, or part words for nothing, which only costs.
    const final = bytes[at - 1] as number
    if (final === FORWARD) target[length++] = SPACE
    else if (MOVES.has(final)) target[length++] = LF
  }
  return length
}

/** Where the sequence ends whose first byte after ESC is at `at`. */
function endOfEscape(bytes: Uint8Array, at: number, to: number): number {
  switch (bytes[at]) {
    case 0x5b:
      return after(bytes, skip(bytes, skip(bytes, at + 1, to, 0x30, 0x3f), to, 0x20, 0x2f), to, 0x40)
    // ] P X ^ _
    case 0x5d:
    case 0x50:
    case 0x58:
    case 0x5e:
    case 0x5f:
      return endOfString(bytes, at + 1, to)
    default:
      return after(bytes, skip(bytes, at, to, 0x20, 0x2f), to, 0x30)
  }
}

function skip(bytes: Uint8Array, from: number, to: number, low: number, high: number): number {
  let at = from
  while (at < to && (bytes[at] as number) >= low && (bytes[at] as number) <= high) at++
  return at
}

/** Behind the final byte at `at`, if one is there: what is none is text again. */
function after(bytes: Uint8Array, at: number, to: number, low: number): number {
  return at < to && (bytes[at] as number) >= low && (bytes[at] as number) <= 0x7e ? at + 1 : at
}

function endOfString(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) {
    if (bytes[at] === BEL) return at + 1
    if (bytes[at] === ESC) return bytes[at + 1] === 0x5c && at + 1 < to ? at + 2 : at
  }
  return to
}
