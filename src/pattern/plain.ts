/**
 * A line of output as people read it: what patterns are matched against. Pure.
 *
 * Colours must not hide a word, and a cursor that is moved must not join two. So control sequences go, those that move
 * the cursor become a line end, and so does a carriage return within the line (a progress bar is many lines in one);
 * `^` and `$` match there, `.` does not. Other control characters but the tab go. Bytes that are no UTF-8 are U+FFFD.
 */

/** CSI, OSC and other strings, and two-character sequences (ECMA-48); a control character. Linear: no part can begin within another. */
const CONTROL =
  /(?:\x1b\[|\x9b)[0-?]*[ -/]*([@-~])|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]|[\0-\x08\x0a-\x1f\x7f-\x9f]/g

/** Bytes, as latin1, whose going may join others: the UTF-8 of U+0080 to U+009F begins with C2. A carriage return stays one character. */
export const SPECIAL = '[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]|\\xc2[\\x80-\\x9f]'
const SPECIAL_TEXT = /[\0-\x08\x0a-\x1f\x7f-\x9f]/

/** SGR: colours and the like. */
const COLOUR = /\x1b\[[0-9;]*m/g

/** Final bytes of CSI sequences that go elsewhere on the screen, or clear it: CUU CUD CNL CPL CHA CUP ED VPA HVP. */
const MOVES = 'ABEFGHJdf'
/** CUF: programs write blanks that way. */
const FORWARD = 'C'

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** @param line without its line feed; carriage returns at its end do not count. */
export function plainText(line: Uint8Array): string {
  let end = line.length
  while (end > 0 && line[end - 1] === 0x0d) end--
  const text = decoder.decode(end === line.length ? line : line.subarray(0, end))
  if (!SPECIAL_TEXT.test(text)) return text
  // Nearly all there is, and without a call for each.
  const uncoloured = text.replace(COLOUR, '')
  return SPECIAL_TEXT.test(uncoloured) ? uncoloured.replace(CONTROL, plain) : uncoloured
}

function plain(found: string, final: string | undefined): string {
  if (final !== undefined) return MOVES.includes(final) ? '\n' : final === FORWARD ? ' ' : ''
  return found === '\r' || found === '\n' ? '\n' : ''
}

/** What could turn text around, hide in it, or break a line. */
const UNSHOWN = /[\0-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g
const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

/** Plain text that is safe to show, character by character: ranges in the one are ranges in the other. */
export function shownText(plain: string): string {
  return plain.replace(UNSHOWN, (found) => (found === '\t' ? '\t' : ' ')).replace(LONE, '\ufffd')
}
