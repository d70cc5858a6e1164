import { type ConsoleEncoding, ConsoleText } from './console-text.ts'
import { type Found, lastPoint, TextPattern } from './text-pattern.ts'

export interface MatcherOptions {
  /** One of these is waited for; the first one of those that match at the same point counts. */
  readonly patterns: readonly (string | RegExp)[]
  /** These end the wait as a failure; before `patterns` where both match at the same point. */
  readonly failOn: readonly (string | RegExp)[]
  readonly encoding: ConsoleEncoding
  /** Leaves terminal control sequences (colours, cursor moves, titles) out of the text. */
  readonly strip: boolean
  /** How far back a match may begin, in characters. More text is not kept. */
  readonly windowChars: number
}

export interface Match {
  /** Index in `failOn` or `patterns`. */
  readonly index: number
  readonly failed: boolean
  readonly text: string
  /** Capture groups from 1 on; undefined for those that took no part. */
  readonly groups: readonly (string | undefined)[]
  readonly named: { readonly [name: string]: string | undefined }
  /** Position of its first byte, and after its last one. */
  readonly start: number
  readonly end: number
}

/**
 * Looks for patterns in console output as it comes. The result is the same however the output is cut into chunks: see
 * text-pattern.ts for when patterns are tried. Bounded: it keeps about twice `windowChars` and one chunk.
 */
export class Matcher {
  readonly #text: ConsoleText
  readonly #patterns: readonly { pattern: TextPattern; index: number; failed: boolean }[]
  readonly #windowChars: number
  /** All before this has been dealt with. */
  #tried = 0

  constructor({ patterns, failOn, encoding, strip, windowChars }: MatcherOptions) {
    this.#text = new ConsoleText(encoding, strip)
    this.#windowChars = windowChars
    this.#patterns = [
      ...failOn.map((pattern, index) => ({ pattern: new TextPattern(pattern), index, failed: true })),
      ...patterns.map((pattern, index) => ({ pattern: new TextPattern(pattern), index, failed: false })),
    ]
  }

  /** True when the end of the text has not been tried yet: {@link settle} does, once the output pauses. */
  get open(): boolean {
    return this.#text.text.length > this.#tried
  }

  /** @param position of the first byte of `chunk`, in bytes. After a match there is nothing more to be pushed. */
  push(chunk: Uint8Array, position: number): Match | null {
    this.#text.push(chunk, position)
    const to = lastPoint(this.#text.text, this.#tried)
    return to === null ? null : this.#try(to)
  }

  /** Tries the patterns on all there is, the open line included. */
  settle(): Match | null {
    return this.open ? this.#try(this.#text.text.length) : null
  }

  #try(to: number): Match | null {
    const { text } = this.#text
    let best: { found: Found; index: number; failed: boolean } | null = null
    for (const { pattern, index, failed } of this.#patterns) {
      // Only an earlier point is better.
      const found = pattern.find(text, this.#tried, best?.found.point ?? to, this.#windowChars)
      if (found && (best === null || found.point < best.found.point)) best = { found, index, failed }
    }
    if (best) return this.#match(best.found.match, best.index, best.failed)
    this.#tried = to
    this.#forget()
    return null
  }

  #match(match: RegExpExecArray, index: number, failed: boolean): Match {
    const [text, ...groups] = match
    const from = match.index
    return {
      index,
      failed,
      text,
      groups,
      named: { ...match.groups },
      start: this.#text.startOf(from),
      end: this.#text.endOf(from + text.length),
    }
  }

  /** Any later point is further on, so that no match begins with what is then the first character, and `^` is not true. */
  #forget(): void {
    const excess = this.#tried - this.#windowChars
    if (excess < this.#windowChars) return
    this.#text.drop(excess)
    this.#tried -= excess
  }
}
