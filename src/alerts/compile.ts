/** Makes of a rule, as it is configured, what lines are held against. */
import { shownText, TextPattern } from '../pattern/index.ts'
import type { LineRule } from './line-watch.ts'
import { MIN_LITERAL_LENGTH } from './literal-set.ts'
import type { AlertRule } from './rule.ts'

/** @throws VspcError VSPC_PATTERN. */
export function compileRule({ name, pattern, ignoreCase, literals, everyMs }: AlertRule): LineRule {
  const compiled = new TextPattern(pattern, { ignoreCase })
  return {
    name,
    everyMs,
    literals: literals?.map((text) => text.toLowerCase()) ?? asciiLiterals(compiled.literals, ignoreCase),
    match: (line) => (compiled.test(line) ? shownLine(line, compiled.ranges(line, 1)[0]?.[0] ?? 0) : null),
  }
}

/** Of each literal its longest part that bytes can be searched for in any case; null when there is none. */
function asciiLiterals(literals: readonly string[] | null, ignoreCase: boolean): string[] | null {
  if (literals === null) return null
  // Unicode's case folding knows another K and another S.
  const pieces = ignoreCase ? /[^\x20-\x7e\t]|[ks]/i : /[^\x20-\x7e\t]/
  const found = literals.map((literal) => longest(literal.split(pieces)).toLowerCase())
  return found.every(({ length }) => length >= MIN_LITERAL_LENGTH) ? found : null
}

function longest(texts: readonly string[]): string {
  return texts.reduce((best, text) => (text.length > best.length ? text : best), '')
}

/** Of plain text, which has line ends where the cursor went elsewhere, the line that `at` is in. */
function shownLine(text: string, at: number): string {
  const start = text.lastIndexOf('\n', at - 1) + 1
  const end = text.indexOf('\n', at)
  return shownText(text.slice(at === 0 ? 0 : start, end < 0 ? text.length : end)).trim()
}
