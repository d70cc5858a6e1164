/** Lines that were found, as grep prints them. Pure. */
import type { SearchRecord } from '../client/index.ts'

export type FoundLine = Extract<SearchRecord, { type: 'line' | 'context' }>

export interface GrepStyle {
  /** Which port it is. */
  readonly names: boolean
  readonly offsets: boolean
  readonly times: boolean
  readonly colour: boolean
  /** Lines around were asked for: groups of lines are told apart. */
  readonly context: boolean
}

const NO_TIME = '-'.repeat(24)
/** As GNU grep has them. */
const MATCH = '\x1b[1;31m'
const NAME = '\x1b[35m'
const OFFSET = '\x1b[32m'
const SEPARATOR = '\x1b[36m'
const PLAIN = '\x1b[m'

/** Whatever a server says: nothing that a terminal obeys. */
export function terminalText(text: string): string {
  return text.replace(/[\0-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, ' ')
}

export class GrepPrinter {
  readonly #style: GrepStyle
  /** Where the line after the last one begins. */
  #port = ''
  #end = -1

  constructor(style: GrepStyle) {
    this.#style = style
  }

  format(line: FoundLine): string {
    const { names, offsets, times, context } = this.#style
    const mark = line.type === 'line' ? ':' : '-'
    const separator = this.#paint(SEPARATOR, mark)
    const apart = context && this.#end >= 0 && (line.port !== this.#port || line.offset !== this.#end)
    this.#port = line.port
    this.#end = line.end
    return [
      apart ? `${this.#paint(SEPARATOR, '--')}\n` : '',
      names ? this.#paint(NAME, terminalText(line.name)) + separator : '',
      offsets ? this.#paint(OFFSET, String(line.offset)) + separator : '',
      times ? `${terminalText(line.time ?? NO_TIME)} ` : '',
      this.#text(line),
      '\n',
    ].join('')
  }

  name(name: string): string {
    return this.#paint(NAME, terminalText(name))
  }

  count(name: string, matches: number): string {
    return this.#style.names ? `${this.name(name)}${this.#paint(SEPARATOR, ':')}${matches}\n` : `${matches}\n`
  }

  #text({ text, matches = [] }: FoundLine): string {
    if (!this.#style.colour) return terminalText(text)
    let painted = ''
    let at = 0
    for (const [start, end] of matches) {
      if (!(start >= at && end > start)) continue
      painted += terminalText(text.slice(at, start)) + this.#paint(MATCH, terminalText(text.slice(start, end)))
      at = end
    }
    return painted + terminalText(text.slice(at))
  }

  #paint(colour: string, text: string): string {
    return this.#style.colour ? `${colour}${text}${PLAIN}` : text
  }
}
