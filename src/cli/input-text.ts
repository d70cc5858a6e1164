import { VspcError } from '../base/index.ts'

const ESCAPES: { readonly [letter: string]: number | undefined } = {
  r: 0x0d,
  n: 0x0a,
  t: 0x09,
  b: 0x08,
  a: 0x07,
  e: 0x1b,
  '0': 0x00,
  '\\': 0x5c,
}

/**
 * The bytes meant by a text of the command line: UTF-8, with `\r \n \t \b \a \e \0 \\` and `\xHH` for any byte.
 * @throws VspcError VSPC_USAGE naming `what`, for any other backslash.
 */
export function parseInputText(text: string, what: string): Uint8Array {
  const parts: Uint8Array[] = []
  let rest = 0
  for (const { 0: sequence, index } of text.matchAll(/\\(?:x[0-9a-fA-F]{2}|[\s\S]|$)/g)) {
    parts.push(Buffer.from(text.slice(rest, index), 'utf8'))
    rest = index + sequence.length
    const byte = sequence.length === 4 ? Number.parseInt(sequence.slice(2), 16) : ESCAPES[sequence.slice(1)]
    if (byte === undefined) {
      throw new VspcError(
        'VSPC_USAGE',
        `${what}: "${sequence}" is no escape: there are \\r \\n \\t \\b \\a \\e \\0 \\xHH, and \\\\ for a backslash`,
      )
    }
    parts.push(Uint8Array.of(byte))
  }
  parts.push(Buffer.from(text.slice(rest), 'utf8'))
  return Buffer.concat(parts)
}

const CR = 0x0d
const LF = 0x0a

/**
 * `bytes` with the Enter key behind them.
 * @param enter null: unless they end with a line end already.
 */
export function withEnter(bytes: Uint8Array, enter: boolean | null): Uint8Array {
  const last = bytes.at(-1)
  const wanted = enter ?? (last !== CR && last !== LF)
  return wanted ? Buffer.concat([bytes, Uint8Array.of(CR)]) : bytes
}
