/** What may be pasted into a console. Pure. */

/** A line without its end runs nothing; anything longer is looked at first. */
const MAX_UNASKED_CHARACTERS = 2_000

/** Control characters that no text has: ESC among them, so that a copied page cannot end a bracketed paste and go on. */
const UNWANTED = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g

export interface Paste {
  readonly text: string
  readonly lines: number
  /** Control characters that were left out. */
  readonly removed: number
  /** A person has to agree. */
  readonly ask: boolean
}

export function preparePaste(raw: string): Paste {
  const text = raw.replace(/\r\n?/g, '\n').replace(UNWANTED, '')
  const removed = (raw.match(UNWANTED) ?? []).length
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
  return { text, lines, removed, ask: text.includes('\n') || removed > 0 || text.length > MAX_UNASKED_CHARACTERS }
}

/** The same as one line: nothing of it runs before Enter is pressed. */
export function asOneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}
