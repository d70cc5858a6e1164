/** Exactly once, in order: what went in at one end against what came out at the other. Pure. */
import { sameBytes } from '../wire.ts'

export type StreamFault = 'lost' | 'doubled' | 'reordered' | 'added' | 'changed'

export interface StreamComparison {
  readonly fault: StreamFault | null
  /** Offset of the first byte that is not as sent. */
  readonly at: number
  /** Bytes concerned. */
  readonly count: number
}

/** Compares what arrived with what was sent. One region of difference is assumed, as a faulty migration leaves it. */
export function compareStreams(sent: Uint8Array, arrived: Uint8Array): StreamComparison {
  if (sameBytes(sent, arrived)) return { fault: null, at: 0, count: 0 }
  const shorter = Math.min(sent.length, arrived.length)
  let head = 0
  while (head < shorter && sent[head] === arrived[head]) head++
  let tail = 0
  while (tail < shorter - head && sent[sent.length - 1 - tail] === arrived[arrived.length - 1 - tail]) tail++
  const missing = sent.subarray(head, sent.length - tail)
  const extra = arrived.subarray(head, arrived.length - tail)
  if (extra.length === 0) return { fault: 'lost', at: head, count: missing.length }
  if (missing.length === 0) {
    return { fault: isRepeat(sent, extra, head) ? 'doubled' : 'added', at: head, count: extra.length }
  }
  const sorted = sameBytes(missing.slice().sort(), extra.slice().sort())
  return { fault: sorted ? 'reordered' : 'changed', at: head, count: Math.max(missing.length, extra.length) }
}

/** The extra bytes at `at` say again what stands around there in what was sent. */
function isRepeat(sent: Uint8Array, extra: Uint8Array, at: number): boolean {
  const behind = sent.subarray(Math.max(0, at - extra.length), at)
  const ahead = sent.subarray(at, at + extra.length)
  return sameBytes(behind, extra) || sameBytes(ahead, extra)
}

const WORDS: Record<StreamFault, string> = {
  lost: 'lost',
  doubled: 'doubled',
  reordered: 'out of order',
  added: 'too many',
  changed: 'changed',
}

/** One direction's faults: none, or `VM to console: 12 bytes lost at offset 1300 of 4000`. */
export function judgeStream(direction: string, sent: Uint8Array, arrived: Uint8Array): string[] {
  const { fault, at, count } = compareStreams(sent, arrived)
  if (fault === null) return []
  return [`${direction}: ${count} bytes ${WORDS[fault]} at offset ${at} of ${sent.length}`]
}
