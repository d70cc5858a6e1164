/** The lines before and after those that match, across blocks of lines. Pure. */
import { lineEnd } from '../pattern/index.ts'

const LF = 0x0a

/** Gives lines in order, each once. */
export class LineContext {
  readonly #count: number
  readonly #line: (bytes: Buffer, offset: number, end: number) => void
  /** Lines before the block, none of them given: copies. */
  #before: { readonly bytes: Buffer; readonly offset: number; readonly end: number }[] = []
  /** Lines to be given after the last match. */
  #owed = 0
  #lines: Buffer = Buffer.alloc(0)
  #offset = 0
  /** What comes before it in the block was given, or is not to be. */
  #at = 0

  /** @param line gets each line of context: its bytes without the line feed, where it begins, and where the next one does. */
  constructor(count: number, line: (bytes: Buffer, offset: number, end: number) => void) {
    this.#count = count
    this.#line = line
  }

  /** Lines follow; `offset` is that of their first byte. */
  begin(lines: Buffer, offset: number): void {
    if (offset !== this.#offset + this.#lines.length) {
      this.#before = []
      this.#owed = 0
    }
    this.#lines = lines
    this.#offset = offset
    this.#at = 0
  }

  /** The line from `start` to `end` matches. @returns where the next one begins. */
  match(start: number, end: number): number {
    this.#giveOwed(start)
    if (this.#at === 0) {
      const missing = this.#count - this.#countBack(start)
      if (missing > 0) for (const one of this.#before.slice(-missing)) this.#line(one.bytes, one.offset, one.end)
    }
    this.#before = []
    this.#at = this.#back(start)
    while (this.#at < start) this.#give()
    this.#at = nextLine(this.#lines, end)
    this.#owed = this.#count
    return this.#at
  }

  /** No more of them match. */
  finish(): void {
    this.#giveOwed(this.#lines.length)
    if (this.#count === 0) return
    const from = this.#back(this.#lines.length)
    const kept = this.#at === 0 ? this.#before : []
    for (let at = from; at < this.#lines.length; ) {
      const end = lineEnd(this.#lines, at)
      const next = nextLine(this.#lines, end)
      const bytes = Buffer.from(this.#lines.subarray(at, end))
      kept.push({ bytes, offset: this.#offset + at, end: this.#offset + next })
      at = next
    }
    this.#before = kept.slice(-this.#count)
  }

  #giveOwed(until: number): void {
    for (; this.#owed > 0 && this.#at < until; this.#owed--) this.#give()
  }

  #give(): void {
    const end = lineEnd(this.#lines, this.#at)
    const next = nextLine(this.#lines, end)
    this.#line(this.#lines.subarray(this.#at, end), this.#offset + this.#at, this.#offset + next)
    this.#at = next
  }

  /** Where the last lines before `place` begin that may be given. */
  #back(place: number): number {
    let at = place
    for (let left = this.#count; left > 0 && at > this.#at; left--) at = lineBefore(this.#lines, this.#at, at)
    return at
  }

  #countBack(place: number): number {
    let at = place
    let count = 0
    for (; count < this.#count && at > this.#at; count++) at = lineBefore(this.#lines, this.#at, at)
    return count
  }
}

/** Where the line begins that ends before `place`; parts of a long line count as one here. */
function lineBefore(lines: Buffer, from: number, place: number): number {
  return place - 2 < from ? from : Math.max(from, lines.lastIndexOf(LF, place - 2) + 1)
}

function nextLine(lines: Buffer, end: number): number {
  return lines[end] === LF ? end + 1 : end
}
