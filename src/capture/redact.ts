/**
 * Takes the secrets of vMotion out of a recorded stream: the secret in VMOTION-GOAHEAD and VMOTION-PEER becomes zeros,
 * as many as it had bytes.
 *
 * Only whole items can be judged, so an unfinished one is held back until the chunk that ends it. What cannot be
 * judged (no BEGIN seen, cut off, longer than any secret) is zeroed whole. Limit: a peer that forgets to double an
 * 0xFF inside a secret makes the rest of it serial data, which stay.
 */
import { encodeSubnegotiation, IAC, OPTION, SB, SUBOPTION } from '../telnet/index.ts'
import { concat, type TelnetItem, TelnetItems } from './items.ts'
import type { Sequences } from './sequences.ts'

/** IAC, SB, option and code: what is kept of a frame that is zeroed otherwise. */
const FRAME_HEAD = 4

/** One direction of one stream. `sequences` is shared by both directions of all streams: a PEER comes on another one. */
export class Redactor {
  readonly #items = new TelnetItems()
  readonly #sequences: Sequences

  constructor(sequences: Sequences) {
    this.#sequences = sequences
  }

  /** @returns what may be recorded so far; may be empty. */
  push(chunk: Uint8Array): Uint8Array {
    return concat(this.#items.push(chunk).map((item) => this.#redacted(item)))
  }

  /** The stream has ended: what was held back. */
  end(): Uint8Array {
    const rest = this.#items.end()
    return rest ? this.#redacted(rest) : new Uint8Array(0)
  }

  #redacted(item: TelnetItem): Uint8Array {
    if (item.kind === 'sub') return this.#redactedSub(item.option, item.payload) ?? item.raw
    if (item.kind === 'partial') return zeroed(item.raw, isFrame(item.raw) ? FRAME_HEAD : 0, 0)
    if (item.kind === 'anomaly' && item.anomaly !== 'stray-se' && item.anomaly !== 'empty-subnegotiation') {
      return zeroed(item.raw, isFrame(item.raw) ? FRAME_HEAD : 0, 2)
    }
    return item.raw
  }

  #redactedSub(option: number, payload: Uint8Array): Uint8Array | null {
    if (option !== OPTION.VMWARE_TELNET_EXT) return null
    const body = payload.subarray(1)
    switch (payload[0]) {
      case SUBOPTION.VMOTION_BEGIN:
        this.#sequences.learn(body)
        return null
      case SUBOPTION.VMOTION_GOAHEAD:
      case SUBOPTION.VMOTION_PEER: {
        const kept = 1 + (this.#sequences.lengthIn(body) ?? 0)
        return encodeSubnegotiation(option, zeroed(payload, kept, 0))
      }
      default:
        return null
    }
  }
}

function isFrame(raw: Uint8Array): boolean {
  return raw[0] === IAC && raw[1] === SB
}

/** A copy with zeros but for the first `head` and the last `tail` bytes. */
function zeroed(bytes: Uint8Array, head: number, tail: number): Uint8Array {
  const out = bytes.slice()
  if (out.length > head + tail) out.fill(0, head, out.length - tail)
  return out
}
