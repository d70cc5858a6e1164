/**
 * Cuts one direction of a recorded Telnet stream into whole items that still have their bytes as on the wire: what a
 * dump shows with offsets, what redaction rewrites, and what replay sends piece by piece.
 */
import { Decoder, type DecoderSink, type TelnetAnomaly, type Verb } from '../telnet/index.ts'

/** `start` and `end`: offsets in the stream, `end` exclusive. `raw`: the bytes between; their concatenation is the stream. */
export type TelnetItem = { readonly start: number; readonly end: number; readonly raw: Uint8Array } & (
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'command'; readonly code: number }
  | { readonly kind: 'negotiation'; readonly verb: Verb; readonly option: number }
  | { readonly kind: 'sub'; readonly option: number; readonly payload: Uint8Array }
  | { readonly kind: 'anomaly'; readonly anomaly: TelnetAnomaly }
  /** Part of a subnegotiation too long to be held, or what was open when the stream ended. */
  | { readonly kind: 'partial' }
)

type What =
  | { kind: 'data'; bytes: Uint8Array }
  | { kind: 'command'; code: number }
  | { kind: 'negotiation'; verb: Verb; option: number }
  | { kind: 'sub'; option: number; payload: Uint8Array }
  | { kind: 'anomaly'; anomaly: TelnetAnomaly }
  | { kind: 'partial' }

const MAX_SUB_BYTES = 65_536
/** Twice the cap (every byte doubled) and the frame: past it the item is a subnegotiation over the cap. */
const MAX_HELD_BYTES = 2 * MAX_SUB_BYTES + 16

const NOTHING = new Uint8Array(0)

export class TelnetItems implements DecoderSink {
  readonly #decoder = new Decoder(MAX_SUB_BYTES)
  /** What is not part of an item yet; begins at offset #start. */
  #held: Uint8Array = NOTHING
  #start = 0
  #found: TelnetItem[] = []

  /** @returns the items that this chunk completes. The chunk is left as it is, and not kept. */
  push(chunk: Uint8Array): TelnetItem[] {
    this.#found = []
    // Not slice(): that of a Buffer is no copy. Two copies, because the decoder overwrites its input.
    this.#held = this.#held.length === 0 ? new Uint8Array(chunk) : concat([this.#held, chunk])
    this.#decoder.push(new Uint8Array(chunk), this)
    if (this.#held.length > MAX_HELD_BYTES) this.#cut({ kind: 'partial' }, this.#start + this.#held.length)
    return this.#found
  }

  /** The stream has ended: what is left of it, if anything is. */
  end(): TelnetItem | null {
    if (this.#held.length === 0) return null
    this.#found = []
    this.#cut({ kind: 'partial' }, this.#start + this.#held.length)
    return this.#found[0] ?? null
  }

  data(bytes: Uint8Array): void {
    this.#cut({ kind: 'data', bytes: bytes.slice() }, this.#decoder.offset)
  }

  command(code: number): void {
    this.#cut({ kind: 'command', code }, this.#decoder.offset)
  }

  negotiation(verb: Verb, option: number): void {
    this.#cut({ kind: 'negotiation', verb, option }, this.#decoder.offset)
  }

  subnegotiation(option: number, payload: Uint8Array): void {
    this.#cut({ kind: 'sub', option, payload: payload.slice() }, this.#decoder.offset)
  }

  anomaly(anomaly: TelnetAnomaly, offset: number): void {
    this.#cut({ kind: 'anomaly', anomaly }, offset + 1)
  }

  #cut(what: What, end: number): void {
    const length = end - this.#start
    const raw = this.#held.subarray(0, length)
    this.#held = length === this.#held.length ? NOTHING : this.#held.subarray(length)
    this.#found.push({ ...what, start: this.#start, end, raw })
    this.#start = end
  }
}

/** The parts in one piece; the part itself where there is only one. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0]
  let length = 0
  for (const part of parts) length += part.length
  const all = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
