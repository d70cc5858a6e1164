/**
 * The network virtual terminal of RFC 854 beside a serial line: what becomes of carriage returns.
 *
 * A serial line knows CR and LF, each for itself. On the wire a CR never stands alone unless BINARY (RFC 856) is in
 * force: CR NUL is the bare one, CR LF a new line. Each transform gives the same whatever the chunking, and holds
 * nothing back: a CR at the end of a chunk is passed on at once, and only what may follow it is remembered.
 */

const NUL = 0
const LF = 10
const CR = 13

/** From a person's client to the serial line: CR NUL and CR LF, both of which clients send for Enter, are CR. */
export class NvtInput {
  #afterCr = false

  /** @returns `bytes` itself or a part of it when nothing has to change, else a new array; may be empty. */
  decode(bytes: Uint8Array, binary: boolean): Uint8Array {
    if (binary) {
      this.#afterCr = false
      return bytes
    }
    if (bytes.length === 0) return bytes
    const skip = this.#afterCr && (bytes[0] === NUL || bytes[0] === LF) ? 1 : 0
    this.#afterCr = bytes[bytes.length - 1] === CR
    let at = bytes.indexOf(CR, skip)
    if (at < 0) return skip === 0 ? bytes : bytes.subarray(skip)
    const out = new Uint8Array(bytes.length - skip)
    let read = skip
    let write = 0
    while (at >= 0) {
      out.set(bytes.subarray(read, at + 1), write)
      write += at + 1 - read
      read = at + 1
      if (bytes[read] === NUL || bytes[read] === LF) read++
      at = bytes.indexOf(CR, read)
    }
    out.set(bytes.subarray(read), write)
    return out.subarray(0, write + bytes.length - read)
  }
}

/** From the serial line to a person's client: a CR without LF behind it gets a NUL. IAC is not doubled here. */
export class NvtOutput {
  /** The last byte was a CR: a NUL follows unless an LF does. */
  #owed = false

  /** @returns `bytes` itself when nothing has to change, else a new array. */
  encode(bytes: Uint8Array, binary: boolean): Uint8Array {
    if (binary || bytes.length === 0) {
      if (binary) this.#owed = false
      return bytes
    }
    const owed = this.#owed && bytes[0] !== LF
    const nuls = bareReturns(bytes) + (owed ? 1 : 0)
    this.#owed = bytes[bytes.length - 1] === CR
    if (nuls === 0) return bytes
    const out = new Uint8Array(bytes.length + nuls)
    let write = owed ? 1 : 0
    let read = 0
    for (let at = bytes.indexOf(CR); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(CR, at + 1)) {
      if (bytes[at + 1] === LF) continue
      out.set(bytes.subarray(read, at + 1), write)
      // The NUL is there already.
      write += at + 1 - read + 1
      read = at + 1
    }
    out.set(bytes.subarray(read), write)
    return out
  }
}

/** CRs with something other than LF behind them. */
function bareReturns(bytes: Uint8Array): number {
  let count = 0
  for (let at = bytes.indexOf(CR); at >= 0 && at + 1 < bytes.length; at = bytes.indexOf(CR, at + 1)) {
    if (bytes[at + 1] !== LF) count++
  }
  return count
}
