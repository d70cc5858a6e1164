/** What was found, as lines of JSON. Texts are safe to show: no control characters, no text that turns around. Pure. */
import { shownText, type TextPattern, type TextRange } from '../pattern/index.ts'
import type { SearchedPort } from './types.ts'

/** UTF-16 units of a line that are given; of a longer one, what is around the first match. */
export const MAX_TEXT = 2_000
const BEFORE = 500
/** Matches in a line that are told. */
const MAX_RANGES = 32

export type SkipReason =
  /** The port, or its oldest output, was removed while it was searched. */
  | 'removed'
  /** A file is not where it should be. */
  | 'missing'
  /** A file cannot be read, or is damaged. */
  | 'unreadable'

export interface Line {
  readonly offset: number
  /** Of the byte after it, its line feed included. */
  readonly end: number
  /** Ms since 1970; null where it is not known. */
  readonly time: number | null
  readonly text: string
}

/** Records of one port. */
export class PortRecords {
  readonly #port: string

  constructor({ id, name }: Pick<SearchedPort, 'id' | 'name'>) {
    this.#port = `"port":${JSON.stringify(id)},"name":${JSON.stringify(name)}`
  }

  match(line: Line, pattern: TextPattern): string {
    const all = pattern.ranges(line.text, MAX_RANGES)
    const { length } = line.text
    const from = length > MAX_TEXT ? Math.max(0, Math.min((all[0]?.[0] ?? 0) - BEFORE, length - MAX_TEXT)) : 0
    const until = Math.min(length, from + MAX_TEXT)
    const matches: TextRange[] = []
    for (const [start, end] of all) {
      if (start < until) matches.push([start - from, Math.min(end, until) - from])
    }
    return this.#line('line', line, from, `,"matches":${JSON.stringify(matches)}`)
  }

  context(line: Line): string {
    return this.#line('context', line, 0, '')
  }

  /** What became of the port as a whole. */
  port(found: {
    readonly matches: number
    readonly bytes: number
    readonly truncated: boolean
    readonly skipped: { readonly reason: SkipReason; readonly bytes: number } | null
  }): string {
    const { matches, bytes, truncated, skipped } = found
    const more = JSON.stringify({ matches, bytes, ...(truncated && { truncated }), ...(skipped && { skipped }) })
    return `{"type":"port",${this.#port},${more.slice(1)}\n`
  }

  #line(type: string, { offset, end, time, text }: Line, from: number, matches: string): string {
    const shown = JSON.stringify(shownText(text.length > MAX_TEXT ? text.slice(from, from + MAX_TEXT) : text))
    const cut = text.length > MAX_TEXT ? ',"cut":true' : ''
    const at = `"offset":${offset},"end":${end},"time":${timeText(time)}`
    return `{"type":"${type}",${this.#port},${at},"text":${shown}${matches}${cut}}\n`
  }
}

function timeText(time: number | null): string {
  const date = time === null ? null : new Date(time)
  return date === null || Number.isNaN(date.getTime()) ? 'null' : `"${date.toISOString()}"`
}
