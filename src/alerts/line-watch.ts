/**
 * Puts the output of ports together to lines and tells which rules match them. It only computes; all memory is bounded.
 *
 * Most output is only looked through for the literals of which every match holds one; a line that has one, or an escape
 * sequence that could hide one, is looked at closely. A line ends at LF or CR. One that is longer than
 * {@link MAX_LINE_BYTES} is looked at in pieces; one without an end, such as a prompt, once it has rested.
 */
import { plainText } from '../pattern/index.ts'
import { withoutEscapes } from './escapes.ts'
import { LiteralSet } from './literal-set.ts'
import { RateLimits } from './rate.ts'

export const MAX_LINE_BYTES = 8_192
/** An unfinished line that did not grow for so long is looked at as it is. */
export const REST_MS = 1_000
/** What unfinished lines of all ports may hold; the oldest go first. */
const MAX_UNFINISHED_BYTES = 16 << 20
const FIRST_BYTES = 128
/** Of an unfinished line, beside its bytes. */
const ENTRY_COST = 200

const LF = 0x0a
const CR = 0x0d
const ESC = 0x1b

/** A rule as far as lines go. */
export interface LineRule {
  readonly name: string
  /** What of `line`, as `plainText` makes it, is to be shown; null when it does not match. In linear time. */
  match(line: string): string | null
  /** ASCII in lower case: a line without any of them, in any case, is none for `match`; null = any line may be. */
  readonly literals: readonly string[] | null
  /** One hit per port and so long. */
  readonly everyMs: number
}

export interface Hit {
  /** Which of the rules. */
  readonly rule: number
  readonly serial: number
  /** Of the first byte of the line. */
  readonly offset: number
  readonly line: string
  /** Hits of this rule on this port that were not told since the last one that was. */
  readonly suppressed: number
}

interface Unfinished {
  bytes: Uint8Array
  length: number
  /** Offset of its first byte. */
  readonly start: number
  changedAt: number
  /** It was looked at as it is. */
  rested: boolean
  /** Rules that have matched it already. */
  told: number[]
}

export class LineWatch {
  readonly #rules: readonly LineRule[]
  readonly #tell: (hit: Hit) => void
  readonly #limits: RateLimits
  /** Null: every line has to be looked at. */
  readonly #literals: LiteralSet | null
  readonly #unfinished = new Map<number, Unfinished>()
  /** A line without its escape sequences. */
  readonly #scratch = new Uint8Array(MAX_LINE_BYTES)
  #unfinishedBytes = 0
  #forgotten = 0
  #now = 0

  constructor(rules: readonly LineRule[], tell: (hit: Hit) => void) {
    this.#rules = rules
    this.#tell = tell
    this.#limits = new RateLimits()
    const literals = rules.flatMap((rule) => rule.literals ?? [''])
    this.#literals = literals.length === 0 || literals.includes('') ? null : new LiteralSet(literals)
  }

  /** Hits that were not told: too many of one rule on one port. */
  get suppressed(): number {
    return this.#limits.suppressed
  }

  /** Bytes of unfinished lines that were given up for those of other ports. */
  get forgotten(): number {
    return this.#forgotten
  }

  /** Unfinished lines that `rest` has yet to look at. */
  get restless(): boolean {
    for (const line of this.#unfinished.values()) if (!line.rested) return true
    return false
  }

  /** Takes `bytes[from, to)`, of which the first has that offset. They may be changed afterwards. @param now in ms. */
  take(serial: number, offset: number, bytes: Uint8Array, from: number, to: number, now: number): void {
    this.#now = now
    let at = from
    const before = this.#unfinished.get(serial)
    if (before !== undefined && before.start + before.length === offset) {
      const end = endOfLine(bytes, from, to)
      const kept = this.#grow(serial, before, bytes, from, end)
      if (end === to) return
      if (kept !== null) {
        this.#forget(serial, kept)
        this.#line(serial, kept.start, kept.bytes, 0, kept.length, kept.told)
      }
      at = end + 1
    } else if (before !== undefined) this.#forget(serial, before)
    const last = behindLastLine(bytes, at, to)
    this.#lines(serial, offset - from, bytes, at, last)
    if (last < to) this.#keep(serial, offset - from + last, bytes, last, to)
  }

  /** Looks at unfinished lines that have rested for {@link REST_MS}. */
  rest(now: number): void {
    this.#now = now
    for (const [serial, line] of this.#unfinished) {
      if (line.rested || now - line.changedAt < REST_MS) continue
      line.rested = true
      this.#line(serial, line.start, line.bytes, 0, line.length, line.told)
    }
  }

  /** Whole lines. @param base of the offsets: that of `bytes[0]`. */
  #lines(serial: number, base: number, bytes: Uint8Array, from: number, to: number): void {
    const literals = this.#literals
    let at = from
    let hidden = literals === null ? to : nextEscape(bytes, from, to)
    while (at < to) {
      const found = literals === null ? at : literals.search(bytes, at, hidden)
      if (found >= to) return
      const start = startOfLine(bytes, at, found)
      const end = endOfLine(bytes, found, to)
      for (let piece = start; piece < end; piece += MAX_LINE_BYTES) {
        this.#line(serial, base + piece, bytes, piece, Math.min(end, piece + MAX_LINE_BYTES), null)
      }
      at = end + 1
      if (hidden < at) hidden = nextEscape(bytes, at, to)
    }
  }

  /** Keeps the beginning of a line for later. */
  #keep(serial: number, start: number, bytes: Uint8Array, from: number, to: number): void {
    const length = Math.min(to - from, FIRST_BYTES)
    const line: Unfinished = {
      bytes: new Uint8Array(length <= FIRST_BYTES / 2 ? FIRST_BYTES / 2 : FIRST_BYTES),
      length: 0,
      start,
      changedAt: this.#now,
      rested: false,
      told: [],
    }
    this.#unfinished.set(serial, line)
    this.#unfinishedBytes += line.bytes.length + ENTRY_COST
    this.#grow(serial, line, bytes, from, to)
    for (const [oldest, other] of this.#unfinished) {
      if (this.#unfinishedBytes <= MAX_UNFINISHED_BYTES || oldest === serial) return
      this.#forgotten += other.length
      this.#forget(oldest, other)
    }
  }

  /** @returns what is unfinished now: another one, or null, when it became too long to be one. */
  #grow(serial: number, line: Unfinished, bytes: Uint8Array, from: number, to: number): Unfinished | null {
    const length = Math.min(to - from, MAX_LINE_BYTES - line.length)
    const needed = line.length + length
    if (needed > line.bytes.length) {
      let size = line.bytes.length
      while (size < needed) size *= 2
      const larger = new Uint8Array(size)
      larger.set(line.bytes.subarray(0, line.length))
      this.#unfinishedBytes += size - line.bytes.length
      line.bytes = larger
    }
    line.bytes.set(bytes.subarray(from, from + length), line.length)
    line.length = needed
    line.changedAt = this.#now
    line.rested = false
    if (needed < MAX_LINE_BYTES) return line
    this.#forget(serial, line)
    this.#line(serial, line.start, line.bytes, 0, needed, line.told)
    if (from + length === to) return null
    this.#keep(serial, line.start + needed, bytes, from + length, to)
    return this.#unfinished.get(serial) ?? null
  }

  #forget(serial: number, line: Unfinished): void {
    this.#unfinished.delete(serial)
    this.#unfinishedBytes -= line.bytes.length + ENTRY_COST
  }

  #mayMatch(bytes: Uint8Array, from: number, to: number, literals: LiteralSet): boolean {
    if (nextEscape(bytes, from, to) === to) return literals.search(bytes, from, to) < to
    const length = withoutEscapes(bytes, from, to, this.#scratch)
    return literals.search(this.#scratch, 0, length) < length
  }

  /** @param told rules that have matched it; gets those that do now. Null: nobody asks again. */
  #line(serial: number, offset: number, bytes: Uint8Array, from: number, to: number, told: number[] | null): void {
    if (from === to) return
    if (this.#literals !== null && !this.#mayMatch(bytes, from, to, this.#literals)) return
    const line = plainText(bytes.subarray(from, to))
    const lower = line.toLowerCase()
    for (const [index, rule] of this.#rules.entries()) {
      if (rule.literals !== null && !rule.literals.some((literal) => lower.includes(literal))) continue
      if (told?.includes(index)) continue
      const shown = rule.match(line)
      if (shown === null) continue
      told?.push(index)
      const suppressed = this.#limits.allow(index, serial, rule.everyMs, this.#now)
      if (suppressed !== null) this.#tell({ rule: index, serial, offset, line: shown, suppressed })
    }
  }
}

function nextEscape(bytes: Uint8Array, from: number, to: number): number {
  if (from >= to) return to
  const at = bytes.subarray(from, to).indexOf(ESC)
  return at < 0 ? to : from + at
}

/** Of the next LF or CR; `to` when there is none. */
function endOfLine(bytes: Uint8Array, from: number, to: number): number {
  let at = from
  while (at < to && bytes[at] !== LF && bytes[at] !== CR) at++
  return at
}

/** Of the first byte of the line that `at` is in, not before `from`. */
function startOfLine(bytes: Uint8Array, from: number, at: number): number {
  let start = at
  while (start > from && bytes[start - 1] !== LF && bytes[start - 1] !== CR) start--
  return start
}

function behindLastLine(bytes: Uint8Array, from: number, to: number): number {
  let at = to
  while (at > from && bytes[at - 1] !== LF && bytes[at - 1] !== CR) at--
  return at
}
