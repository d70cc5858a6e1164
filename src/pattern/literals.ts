/**
 * What any match of an expression must hold, found by the engine when it compiles; and a search for that which is far
 * faster than the expression. Pure.
 */

/** The engine's own findings, as it keeps them; of another version perhaps, so nothing about them is believed. */
const EXACT = 1
const AND = 2
const OR = 3
/** More alternatives, or shorter ones, are not worth a search of their own. */
const MAX_LITERALS = 64
const MAX_LITERAL = 64
/** Not in plain text, or there for something else. */
const UNSEARCHABLE = /[\0-\x08\x0a-\x1f\x7f-\x9f\ufffd\p{Surrogate}]/u

/** Texts of which any match holds at least one; null when nothing is known. */
export function requiredLiterals(prefilter: unknown): readonly string[] | null {
  if (typeof prefilter !== 'object' || prefilter === null) return null
  const { type, str, subs } = prefilter as Record<string, unknown>
  if (type === EXACT) return typeof str === 'string' && str !== '' && !UNSEARCHABLE.test(str) ? [str] : null
  if (!Array.isArray(subs)) return null
  const parts = subs.map(requiredLiterals)
  if (type === AND) return parts.reduce(better, null)
  if (type !== OR) return null
  const all: string[] = []
  for (const part of parts) {
    if (part === null || all.length + part.length > MAX_LITERALS) return null
    all.push(...part)
  }
  return all.length === 0 ? null : all
}

/** The one that fewer lines are likely to hold. */
function better(a: readonly string[] | null, b: readonly string[] | null): readonly string[] | null {
  if (a === null || b === null) return a ?? b
  return shortest(b) / b.length > shortest(a) / a.length ? b : a
}

function shortest(literals: readonly string[]): number {
  return Math.min(...literals.map(({ length }) => length))
}

/**
 * A native expression that finds them in UTF-8 taken for latin1. Of literals alone, so its time is linear, too.
 * @param ignoreCase as Unicode's simple folding has it: U+017F is an s, and U+212A a k.
 * @returns null when there is nothing to find one of them by.
 */
export function literalSearch(literals: readonly string[], ignoreCase: boolean): string | null {
  const searches = literals.map((literal) => (ignoreCase ? foldedSearch(literal) : bytesSearch(literal)))
  return searches.includes('') ? null : searches.join('|')
}

function bytesSearch(literal: string): string {
  return Array.from(new TextEncoder().encode([...literal].slice(0, MAX_LITERAL).join('')), exactly).join('')
}

function exactly(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`
}

/** Other letters have cases of their own, of other lengths: only the longest run of ASCII is searched for. */
function foldedSearch(literal: string): string {
  const runs = literal.match(/[\0-\x7f]+/g) ?? []
  const run = runs.reduce((longest, one) => (one.length > longest.length ? one : longest), '')
  return Array.from(run.slice(0, MAX_LITERAL), folded).join('')
}

function folded(letter: string): string {
  const [lower, upper] = [letter.toLowerCase(), letter.toUpperCase()]
  if (lower === upper) return exactly(letter.charCodeAt(0))
  if (lower === 's') return '(?:[sS]|\\xc5\\xbf)'
  return lower === 'k' ? '(?:[kK]|\\xe2\\x84\\xaa)' : `[${lower}${upper}]`
}
