/**
 * What went wrong once, as pages in test/fixtures/fuzz/*.txt: to read, and to replay before anything else.
 *
 *     # What went wrong, where, and what is right.
 *     target decoder
 *     "a" ff fa e8 28 ff f0      a line is one chunk: hex, "text", 41*500 and (41 42)*500 for
 *                                runs; # begins a comment
 *
 * Lines of the target `session` are acts instead; see session-script.ts. A page's first comment line is its title.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatHex, parseHex } from '../../src/base/index.ts'
import { FIXTURES } from '../support/pages.ts'

export interface FuzzPage {
  /** `late-complete.txt: what went wrong`. */
  readonly name: string
  readonly target: string
  readonly lines: readonly string[]
  /** For targets that take bytes: a chunk per line. */
  readonly chunks: readonly Uint8Array[]
  readonly bytes: Uint8Array
}

/** Pages for `target`. */
export function loadFuzzPages(target: string): FuzzPage[] {
  const folder = join(FIXTURES, 'fuzz')
  const files = readdirSync(folder).filter((name) => name.endsWith('.txt'))
  const pages = files.sort().map((name) => parsePage(name, readFileSync(join(folder, name), 'utf8')))
  return pages.filter((page) => page.target === target)
}

function parsePage(file: string, text: string): FuzzPage {
  const title = /^#\s*(.+)$/m.exec(text)?.[1]
  const lines = text
    .split('\n')
    .map((line) => line.replace(/(?:^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
  const [first = '', ...body] = lines
  const target = /^target (\S+)$/.exec(first)?.[1]
  if (title === undefined || target === undefined) throw new Error(`${file}: begins with "# title", then "target NAME"`)
  const chunks = target === 'session' ? [] : body.map((line) => hexBytes(line, file))
  return { name: `${file}: ${title}`, target, lines: body, chunks, bytes: Uint8Array.from(Buffer.concat(chunks)) }
}

/** Hex pairs, `"text"`, `41*500`, `(ff fc e8)*100`. */
export function hexBytes(text: string, where: string): Uint8Array {
  const bytes: number[] = []
  for (const [token, group, times] of text.matchAll(/\(([^)]*)\)\*(\d+)|"[^"]*"|\S+/g)) {
    if (group !== undefined) {
      const one = hexBytes(group, where)
      for (let n = Number(times); n > 0; n--) for (const byte of one) bytes.push(byte)
      continue
    }
    if (token.startsWith('"')) {
      bytes.push(...Buffer.from(token.slice(1, -1)))
      continue
    }
    const run = /^([0-9a-f]{2})\*(\d+)$/.exec(token)
    const parsed = parseHex(run?.[1] ?? token)
    if (parsed === null) throw new Error(`${where}: "${token}" is neither hex nor quoted text`)
    for (let n = Number(run?.[2] ?? 1); n > 0; n--) for (const byte of parsed) bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}

/** Bytes as a page has them: runs shortened. */
export function hexText(bytes: Iterable<number>): string {
  const words: string[] = []
  const all = [...bytes]
  for (let at = 0; at < all.length; ) {
    let end = at
    while (end < all.length && all[end] === all[at]) end++
    const pair = formatHex(Uint8Array.of(all[at] as number))
    if (end - at > 8) words.push(`${pair}*${end - at}`)
    else for (let n = at; n < end; n++) words.push(pair)
    at = end
  }
  return words.join(' ')
}

/** As {@link hexText}, cut into lines. */
export function hexLines(bytes: Iterable<number>): string {
  return hexText(bytes).replace(/(.{1,110})(?: |$)/g, '$1\n')
}
