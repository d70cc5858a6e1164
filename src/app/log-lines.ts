/** Output in lines and pieces, with the times at which it came. Pure but for what reads history. */
import type { History, LoadResult, Marks } from '../history/index.ts'

/** A longer line is given in parts. */
export const MAX_LINE_BYTES = 65_536
/** Read from history at a time. */
const PIECE_BYTES = 262_144

/** Ms since 1970; null where it is not known. */
export type Time = number | null

export type LogPart =
  /** Came at once, as far as is known. `bytes` may be kept. */
  | { readonly kind: 'bytes'; readonly offset: number; readonly time: Time; readonly bytes: Uint8Array }
  /** `missing` bytes from `offset` on are lost; `time` is that of the byte before, `until` that of the one after. */
  | {
      readonly kind: 'gap'
      readonly offset: number
      readonly missing: number
      readonly time: Time
      readonly until: Time
    }

/** When each byte came; asks history for marks as it goes on. */
class TimeCursor {
  readonly #history: History
  #marks: Marks = { offsets: [], times: [], next: 0 }
  #at = -1

  constructor(history: History) {
    this.#history = history
  }

  /** Of the byte at `offset`, which is not before those asked for earlier; and where another time begins. */
  async at(offset: number): Promise<{ time: Time; until: number }> {
    while (offset >= this.#marks.next) {
      const marks = await new Promise<Marks>((resolve) => this.#history.marks(offset, resolve))
      this.#marks = marks.next > offset ? marks : { ...marks, next: Number.POSITIVE_INFINITY }
      this.#at = -1
    }
    const { offsets, times, next } = this.#marks
    while ((offsets[this.#at + 1] ?? Number.POSITIVE_INFINITY) <= offset) this.#at++
    return { time: times[this.#at] ?? null, until: offsets[this.#at + 1] ?? next }
  }
}

/**
 * What history holds of [start, end), in order, cut wherever the time changes.
 * @throws VspcError when it cannot be read.
 */
export async function* logParts(history: History, start: number, end: number): AsyncGenerator<LogPart, void, void> {
  const clock = new TimeCursor(history)
  let last: Time = null
  for (let offset = start; offset < end; ) {
    const length = Math.min(PIECE_BYTES, end - offset)
    const result = await new Promise<LoadResult>((resolve) => history.load(offset, length, resolve))
    if (result.kind === 'failed') throw result.error
    if (result.kind === 'end') return
    if (result.kind === 'gap') {
      const to = Math.min(result.to, end)
      const { time: until } = await clock.at(to)
      yield { kind: 'gap', offset, missing: to - offset, time: last, until }
      offset = to
      continue
    }
    const { bytes } = result
    for (let at = 0; at < bytes.length; ) {
      const { time, until } = await clock.at(offset + at)
      const to = Math.min(bytes.length, until - offset)
      yield { kind: 'bytes', offset: offset + at, time, bytes: bytes.subarray(at, to) }
      at = to
      last = time
    }
    offset += bytes.length
  }
}

export interface LogLine {
  readonly kind: 'line'
  /** Of its first byte. */
  readonly offset: number
  readonly time: Time
  /** Without the line feed, and without carriage returns before it. */
  readonly bytes: Uint8Array
  /** It has no line feed: too long, or it has not come yet. What follows belongs to it. */
  readonly more: boolean
}

export type LogEntry = LogLine | Extract<LogPart, { kind: 'gap' }>

/** The same in lines. In memory is one line at most. */
export async function* logLines(parts: AsyncIterable<LogPart>): AsyncGenerator<LogEntry, void, void> {
  let held: Uint8Array[] = []
  let heldBytes = 0
  let offset = 0
  let time: Time = null
  const line = (more: boolean): LogLine => {
    const whole = held.length === 1 ? (held[0] as Uint8Array) : Buffer.concat(held)
    let length = whole.length
    while (!more && length > 0 && whole[length - 1] === 0x0d) length--
    held = []
    heldBytes = 0
    return { kind: 'line', offset, time, bytes: whole.subarray(0, length), more }
  }
  for await (const part of parts) {
    if (part.kind === 'gap') {
      if (heldBytes > 0) yield line(true)
      yield part
      continue
    }
    for (let at = 0; at < part.bytes.length; ) {
      if (heldBytes === 0) {
        offset = part.offset + at
        time = part.time
      }
      const feed = part.bytes.indexOf(0x0a, at)
      const until = Math.min(feed < 0 ? part.bytes.length : feed, at + MAX_LINE_BYTES - heldBytes)
      if (until > at) held.push(part.bytes.subarray(at, until))
      heldBytes += until - at
      at = until
      if (at === feed) {
        yield line(false)
        at++
      } else if (heldBytes === MAX_LINE_BYTES) yield line(true)
    }
  }
  if (heldBytes > 0) yield line(true)
}
