/**
 * When output came, as marks: the byte at an offset, and what follows up to the next mark, came at a time. Pure.
 *
 * Not each chunk gets one: times are right to within `COARSE_MS`, where much comes at once within `FINE_MS`, and never
 * take more than a tenth of what they are about.
 */

const FINE_MS = 50
const COARSE_MS = 250
/** Less than this many bytes get a mark only after `COARSE_MS`. */
const FINE_BYTES = 128
const LOOK_BYTES = 16_384
/** In memory; of more, as where the disk fails, the oldest go. */
const MAX_MARKS = 8192

/** In order of their offsets. Both of one length. */
export interface Marks {
  readonly offsets: readonly number[]
  /** Ms since 1970, as the clock of the server was then: it may have been set back. */
  readonly times: readonly number[]
  /** Marks from this offset on are to be asked for again; infinite = there are no more by now. */
  readonly next: number
}

export const NO_MARKS: Marks = { offsets: [], times: [], next: Number.POSITIVE_INFINITY }

/** The marks of one port that are in memory: those not yet in its files, or all of them where there are none. */
export class Times {
  #offset = -1
  #time = 0
  /** The last of those that were let go of. */
  #dropped = 0
  readonly offsets: number[] = []
  readonly times: number[] = []
  /** From this offset on the clock is to be looked at in any case: a look costs as much as keeping a line. */
  lookAt = 0
  /** They are to be written now. */
  wanted = false
  /** Segment of the index file whose `size` is known; -1 = none. */
  segment = -1
  size = 0

  /** Bytes from `offset` on came at `wall`. @returns whether that made a mark. */
  add(offset: number, wall: number): boolean {
    this.lookAt = offset + LOOK_BYTES
    if (this.#offset >= 0) {
      const ms = Math.abs(wall - this.#time)
      if (ms < FINE_MS || (ms < COARSE_MS && offset - this.#offset < FINE_BYTES)) return false
    }
    this.#offset = offset
    this.#time = wall
    if (this.offsets.length >= MAX_MARKS) this.drop(MAX_MARKS / 2)
    this.offsets.push(offset)
    this.times.push(wall)
    return true
  }

  /** Some are to be written: it is time, or those to come belong to another file. @param full the file is. */
  due(written: number, full: boolean): boolean {
    return (this.wanted || full) && (this.offsets[0] ?? Number.POSITIVE_INFINITY) < written
  }

  /** Bytes from `segment` on are in another file: it has to say when its first one came. */
  begin(segment: number): void {
    const before = this.below(segment + 1)
    if (this.offsets[before - 1] === segment || this.#offset < 0) return
    const time = this.times[before - 1] ?? this.#dropped
    if (time === 0) return
    this.offsets.splice(before, 0, segment)
    this.times.splice(before, 0, time)
  }

  /** How many there are below `offset`. */
  below(offset: number): number {
    return countBelow(this.offsets, offset)
  }

  /** Lets go of the oldest. */
  drop(count: number): void {
    this.#dropped = this.times[count - 1] ?? this.#dropped
    this.offsets.splice(0, count)
    this.times.splice(0, count)
  }

  /** Lets go of those that only bytes before `start` need. */
  trim(start: number): void {
    this.drop(Math.max(0, this.below(start + 1) - 1))
  }
}

/** Of numbers in order: how many are less. */
export function countBelow(numbers: readonly number[], than: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((numbers[middle] as number) < than) low = middle + 1
    else high = middle
  }
  return low
}

// The file

export const INDEX_HEADER = new TextEncoder().encode('vspc-times1\n')
/** Of a record, and of the header: u48 offset from the segment's first byte, u48 ms since 1970, big-endian. */
export const RECORD_BYTES = 12

/** Records of the first `count` marks, for the index of `segment`. */
export function formatRecords(marks: Pick<Marks, 'offsets' | 'times'>, count: number, segment: number): Uint8Array {
  const bytes = new Uint8Array(count * RECORD_BYTES)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < count; i++) {
    // A segment's first byte may have come with bytes before it.
    put(view, i * RECORD_BYTES, Math.max(0, (marks.offsets[i] as number) - segment))
    put(view, i * RECORD_BYTES + 6, Math.max(0, Math.trunc(marks.times[i] as number)))
  }
  return bytes
}

/**
 * The marks of an index file; what is torn, or has no order, as power losses leave it, ends them.
 * @param bytes with the header. @param end of the segment: what is said to be beyond it is not there.
 */
export function parseIndex(bytes: Uint8Array, segment: number, end: number): { offsets: number[]; times: number[] } {
  const offsets: number[] = []
  const times: number[] = []
  if (INDEX_HEADER.some((byte, i) => bytes[i] !== byte)) return { offsets, times }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = RECORD_BYTES; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
    const offset = segment + get(view, at)
    const time = get(view, at + 6)
    if (time === 0 || offset >= end || offset <= (offsets.at(-1) ?? -1)) break
    offsets.push(offset)
    times.push(time)
  }
  return { offsets, times }
}

function put(view: DataView, at: number, value: number): void {
  view.setUint16(at, Math.floor(value / 2 ** 32))
  view.setUint32(at + 2, value % 2 ** 32)
}

function get(view: DataView, at: number): number {
  return view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2)
}
