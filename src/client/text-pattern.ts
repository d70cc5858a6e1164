/**
 * Searching a text that grows, so that the result does not depend on where its pieces were cut.
 *
 * A regular expression tried on whatever has come so far finds `(\d+)` in "exit 1" when the "27" is still on its way. So
 * patterns are tried at fixed points only: at each line end (CR or LF), after {@link LINE_UNITS} characters without one,
 * and, for prompts, once the output pauses. The first point at which the pattern matches what came before it counts.
 */

/** Characters without a line end after which patterns are tried all the same. */
export const LINE_UNITS = 4_096

export interface Found {
  readonly match: RegExpExecArray
  /** Where the text was cut when it matched. */
  readonly point: number
}

/** One expression, with what is known about how it can be searched. */
export class TextPattern {
  readonly #regex: RegExp
  /** Adding text behind a match can take it away, as with `$`. */
  readonly #endSensitive: boolean
  readonly #spansLines: boolean

  /** @param pattern a string is searched for as it is. */
  constructor(pattern: string | RegExp) {
    const source = typeof pattern === 'string' ? escapeRegex(pattern) : pattern.source
    const flags = typeof pattern === 'string' ? '' : pattern.flags.replace(/[gy]/g, '')
    this.#regex = new RegExp(source, `${flags}g`)
    this.#endSensitive = isEndSensitive(source)
    this.#spansLines = spansLines(source, flags)
  }

  /**
   * The first match at a point after `tried`, up to and including `to`.
   * @param to a point. @param window a match begins at most this many characters before its point.
   */
  find(text: string, tried: number, to: number, window: number): Found | null {
    let first = Math.max(0, tried - window)
    if (!this.#spansLines) first = Math.max(first, lineStart(text, tried))
    if (!this.#endSensitive) {
      // No match in all of it: none in a part of it either.
      const match = this.#exec(text, first, to)
      if (!match) return null
      first = match.index
    }
    for (let point = nextPoint(text, tried, to); point !== null; point = nextPoint(text, point, to)) {
      if (point <= first) continue
      let from = Math.max(first, point - window)
      if (!this.#spansLines && this.#endSensitive) from = Math.max(from, lineStart(text, point - 1))
      const match = this.#exec(text, from, point)
      if (match) return { match, point }
    }
    return null
  }

  /** `^` means the very beginning: what stands before `from` is seen, though not searched. */
  #exec(text: string, from: number, to: number): RegExpExecArray | null {
    this.#regex.lastIndex = from
    return this.#regex.exec(to === text.length ? text : text.slice(0, to))
  }
}

/** The last point of a text of which all before `tried` was dealt with; null when there is no new one. */
export function lastPoint(text: string, tried: number): number | null {
  const end = Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1
  const from = Math.max(end, tried)
  const forced = from + Math.floor((text.length - from) / LINE_UNITS) * LINE_UNITS
  return forced > tried ? forced : null
}

/** The first point after `after`; `to` is one, wherever it lies. */
function nextPoint(text: string, after: number, to: number): number | null {
  if (after >= to) return null
  LINE_END.lastIndex = after
  const found = LINE_END.exec(text)
  const lineEnd = found ? found.index + 1 : Number.POSITIVE_INFINITY
  return Math.min(lineEnd, after + LINE_UNITS, to)
}

const LINE_END = /[\r\n]/g

/** Where the line begins in which the character at `index` stands, or would stand. */
function lineStart(text: string, index: number): number {
  if (index <= 0) return 0
  return Math.max(text.lastIndexOf('\n', index - 1), text.lastIndexOf('\r', index - 1)) + 1
}

function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}

/** May be true without need, which only costs time. */
function isEndSensitive(source: string): boolean {
  return /\$|\(\?!|\\[bB]/.test(source.replace(/\\[^bB]/g, ''))
}

/** Could a match hold a line end? May be true without need, which only costs time. */
function spansLines(source: string, flags: string): boolean {
  return (
    /[sv]/.test(flags) ||
    /\[\^|\\[nrsDWcxupPfvk\d]|\\t-|\(\?[a-z]*s/.test(source.replace(/\\\\/g, '')) ||
    /[\0-\x1f\u2028\u2029]/.test(source)
  )
}
