/**
 * Patterns of names: `*` stands for any text, `?` for one character, `\` takes the next one as it is. Pure.
 *
 * Names come from whoever edits a VM, so no name may make this slow: a star is never gone back to beyond the last one, which
 * bounds the work by pattern times name, both capped. Case counts, since what only nearly fits is not what was granted.
 */
import { cleanText, VspcError } from '../base/index.ts'

const MAX_PATTERN_CHARACTERS = 256
/** Longer than any name that the concentrator keeps; what is longer fits nothing. */
const MAX_TEXT_UNITS = 1_024

const ANY = Symbol('*')
const ONE = Symbol('?')
type Part = string | typeof ANY | typeof ONE

export interface Glob {
  /** As written. */
  readonly text: string
  matches(text: string): boolean
}

/** @throws VspcError VSPC_CONFIG_INVALID. */
export function parseGlob(text: string): Glob {
  const parts: Part[] = []
  const characters = [...text]
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] as string
    if (character === '*') {
      if (parts.at(-1) !== ANY) parts.push(ANY)
    } else if (character === '?') parts.push(ONE)
    else if (character !== '\\') parts.push(character)
    else {
      const literal = characters[++at]
      if (literal === undefined) throw invalid(text, 'ends with a backslash; write "\\\\" for one')
      parts.push(literal)
    }
  }
  if (parts.length === 0) throw invalid(text, 'is empty; "*" fits everything')
  if (characters.length > MAX_PATTERN_CHARACTERS) {
    throw invalid(text, `has ${characters.length} characters; at most ${MAX_PATTERN_CHARACTERS} are accepted`)
  }
  return { text, matches: (name) => name.length <= MAX_TEXT_UNITS && fits(parts, [...name]) }
}

function fits(parts: readonly Part[], text: readonly string[]): boolean {
  let part = 0
  let at = 0
  /** The last star, and where the text goes on behind what it stands for so far. */
  let star = -1
  let resume = 0
  while (at < text.length) {
    const wanted = parts[part]
    if (wanted === ANY) {
      star = part++
      resume = at
    } else if (wanted === ONE || (wanted !== undefined && wanted === text[at])) {
      part++
      at++
    } else if (star >= 0) {
      part = star + 1
      at = ++resume
    } else return false
  }
  while (parts[part] === ANY) part++
  return part === parts.length
}

function invalid(text: string, fault: string): VspcError {
  return new VspcError('VSPC_CONFIG_INVALID', `pattern "${cleanText(text, 100)}" ${fault}`)
}
