import { cleanText } from '../base/index.ts'
import { AnsiScanner, type ExpectError, type ExpectMatch } from '../client/index.ts'
import type { FoundStep } from './expect.ts'
import type { ExpectFlags } from './expect-options.ts'
import { cleanMessage } from './output.ts'

const SEEN_LINES = 20

/** One match, or one group, a line; on a terminal made harmless. */
export function formatMatches(found: readonly FoundStep[], flags: ExpectFlags): Uint8Array {
  const what = flags.print ?? 'match'
  if (what === 'none') return new Uint8Array(0)
  const texts = found.flatMap(({ text, groups }) => (what === 'groups' ? groups.map((group) => group ?? '') : [text]))
  const lines = texts.map((text) => `${process.stdout.isTTY ? cleanMessage(text) : text}\n`).join('')
  return Buffer.from(lines, flags.encoding ?? 'utf8')
}

/** One line of JSON, harmless on a terminal too. */
export function formatReport(port: string, found: readonly FoundStep[], error: ExpectError | null): string {
  const matches = found.map(({ pattern, ...match }) => ({ pattern, ...shown(match) }))
  const report = {
    matched: error === null,
    port,
    matches,
    ...(error
      ? {
          code: error.code,
          message: error.message,
          failed: error.match && shown(error.match),
          seen: seenLines(error.seen),
        }
      : {}),
  }
  const json = JSON.stringify(report).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return `${json}\n`
}

function shown({ text, groups, named, startOffset, endOffset }: ExpectMatch) {
  return { text, groups: groups.map((group) => group ?? null), named, startOffset, endOffset }
}

/** The last lines of what the console showed, without control sequences. */
export function seenLines(seen: Uint8Array): string[] {
  const parts: Uint8Array[] = []
  new AnsiScanner().push(seen, { text: (bytes) => parts.push(bytes), csi: () => {}, escape: () => {} })
  const lines = Buffer.concat(parts)
    .toString('utf8')
    .split(/[\r\n]+/)
    .map((line) => cleanText(line, 500))
    .filter((line) => line !== '')
  return lines.slice(-SEEN_LINES)
}
