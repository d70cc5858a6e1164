import { RE2JS, RE2JSException } from 're2js'
import { VspcError } from '../base/index.ts'
import { MAX_LINE_BYTES } from './line-cutter.ts'
import { literalSearch, requiredLiterals } from './literals.ts'
import { plainText, SPECIAL } from './plain.ts'

export interface PatternFlags {
  readonly ignoreCase?: boolean
  /** The pattern is text, not an expression. */
  readonly fixed?: boolean
}

/** In UTF-16 units of a text; `end` is after the last one. */
export type TextRange = readonly [start: number, end: number]

/** Longer ones are no expressions that people write, and what takes longest to compile. */
const MAX_PATTERN = 1_000
/** Steps per character that the slowest way of matching may take. */
const MAX_PROGRAM = 2_000
const LF = 0x0a

/**
 * A pattern that lines of output are searched for, in RE2's syntax: no pattern, however it was made, takes more than time
 * in proportion to the text. It is matched against lines as people read them (see plain.ts).
 */
export class TextPattern {
  /** As it was given. */
  readonly source: string
  /** Texts of which one is in every line that matches, whatever case is ignored; null = nothing is known of them. */
  readonly literals: readonly string[] | null
  readonly #expression: RE2JS
  /** Finds lines that may match in bytes taken for latin1; null = any line may. */
  readonly #search: RegExp | null

  /** @throws VspcError VSPC_PATTERN: what is wrong with it. */
  constructor(source: string, flags: PatternFlags = {}) {
    this.source = source
    if (source === '') throw badPattern('it is empty')
    if (source.length > MAX_PATTERN) throw badPattern(`it has more than ${MAX_PATTERN} characters`)
    const { ignoreCase = false, fixed = false } = flags
    const text = fixed ? RE2JS.quote(source) : source
    const plain = compile(text, RE2JS.MULTILINE)
    this.#expression = ignoreCase ? compile(text, RE2JS.MULTILINE | RE2JS.CASE_INSENSITIVE) : plain
    if (this.#expression.programSize() > MAX_PROGRAM) {
      throw badPattern('it is too large: repeat less, as with {1000}, or search for a part of it')
    }
    // What a match must hold with its cases ignored is what it must hold otherwise, with its cases ignored.
    this.literals = requiredLiterals(plain.re2().prefilter)
    const search = this.literals === null ? null : literalSearch(this.literals, ignoreCase)
    this.#search = search === null ? null : new RegExp(`${SPECIAL}|${search}`, 'g')
  }

  /** @param text as `plainText` makes it. */
  test(text: string): boolean {
    return this.#expression.test(text)
  }

  /** The first matches in `text`, none of them empty and at most `max`, from left to right. */
  ranges(text: string, max: number): TextRange[] {
    const ranges: TextRange[] = []
    const matcher = this.#expression.matcher(text)
    // An empty match is not shown, but takes time.
    for (let tries = 2 * max; tries > 0 && ranges.length < max && matcher.find(); tries--) {
      if (matcher.end() > matcher.start()) ranges.push([matcher.start(), matcher.end()])
    }
    return ranges
  }

  /**
   * Looks through whole lines; the last one may lack its line feed. Those longer than `MAX_LINE_BYTES` are taken for
   * several.
   * @param found gets each line that matches, in order: where it begins and ends (without its line feed), and its plain
   * text. False ends the search.
   * @returns where it ended: at the end, or after the line that `found` did not want to go on from.
   */
  scan(lines: Buffer, found: (start: number, end: number, text: string) => boolean): number {
    const search = this.#search
    const latin1 = search === null ? '' : lines.toString('latin1')
    const { length } = lines
    for (let at = 0; at < length; ) {
      if (search !== null) {
        search.lastIndex = at
        const candidate = search.exec(latin1)
        if (candidate === null) return length
        at = lineStart(lines, at, candidate.index)
      }
      const end = lineEnd(lines, at)
      const text = plainText(lines.subarray(at, end))
      const next = lines[end] === LF ? end + 1 : end
      if (this.#expression.test(text) && !found(at, end, text)) return next
      at = next
    }
    return length
  }
}

/** Where the line begins that the byte at `place` is in; `from` is the beginning of one. */
function lineStart(lines: Buffer, from: number, place: number): number {
  const begin = place === from ? from : Math.max(from, lines.lastIndexOf(LF, place - 1) + 1)
  return begin + Math.floor((place - begin) / MAX_LINE_BYTES) * MAX_LINE_BYTES
}

/** Where the line ends that begins at `start`: its line feed, unless it is too long. */
export function lineEnd(lines: Buffer, start: number): number {
  const feed = lines.indexOf(LF, start)
  return Math.min(feed < 0 ? lines.length : feed, start + MAX_LINE_BYTES)
}

function compile(text: string, flags: number): RE2JS {
  try {
    return RE2JS.compile(text, flags)
  } catch (cause) {
    if (!(cause instanceof RE2JSException)) throw cause
    // The engine puts the flags before it.
    const fault = cause.message.replace(/^error parsing regexp: /, '').replace(/`\(\?[ims]+\)/, '`')
    throw badPattern(fault, cause)
  }
}

function badPattern(fault: string, cause?: unknown): VspcError {
  const hint = 'RE2 syntax is used (no look-around, no back-references)'
  return new VspcError('VSPC_PATTERN', `the pattern cannot be used: ${fault}. ${hint}`, { cause })
}
