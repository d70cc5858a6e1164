/** Recorded output as text, JSON lines or asciicast. Pure. */
import { cleanText } from '../base/index.ts'
import { type LogEntry, type LogPart, logLines, type Time } from './log-lines.ts'

export const LOG_FORMATS = {
  raw: 'application/octet-stream',
  text: 'text/plain; charset=utf-8',
  ndjson: 'application/x-ndjson',
  asciicast: 'application/x-asciicast',
} as const
export type LogFormat = keyof typeof LOG_FORMATS

/** As wide as a time. */
const NO_TIME = '-'.repeat(24)
/** CSI, OSC and other strings, and two-character sequences: ECMA-48, as terminals take them. */
const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g

export function formatLog(
  format: Exclude<LogFormat, 'raw'>,
  parts: AsyncIterable<LogPart>,
  title: string,
): AsyncIterable<string> {
  if (format === 'asciicast') return asciicast(parts, title)
  return each(logLines(parts), format === 'text' ? textOf : jsonOf)
}

async function* each(entries: AsyncIterable<LogEntry>, format: (entry: LogEntry) => string): AsyncGenerator<string> {
  // Many lines in one piece: a piece costs more than a line.
  let text = ''
  for await (const entry of entries) {
    text += format(entry)
    if (text.length < 32_768) continue
    yield text
    text = ''
  }
  if (text !== '') yield text
}

function isoTime(time: Time): string | null {
  if (time === null) return null
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

function textOf(entry: LogEntry): string {
  const time = isoTime(entry.time) ?? NO_TIME
  if (entry.kind === 'gap') {
    const until = isoTime(entry.until)
    return `${time} --- ${entry.missing} bytes are lost${until === null ? '' : `, up to ${until}`} ---\n`
  }
  const text = new TextDecoder().decode(entry.bytes).replace(SEQUENCE, '')
  return `${time} ${text.split('\t').map(printable).join('\t')}\n`
}

/** Without control characters; blanks at the ends stay. */
function printable(text: string): string {
  const rest = text.trimStart()
  const before = text.length - rest.length
  const after = rest.length - rest.trimEnd().length
  return ' '.repeat(before) + cleanText(rest, text.length) + ' '.repeat(after)
}

function jsonOf(entry: LogEntry): string {
  const { offset } = entry
  const time = isoTime(entry.time)
  if (entry.kind === 'gap')
    return `${JSON.stringify({ offset, time, gap: entry.missing, until: isoTime(entry.until) })}\n`
  const more = entry.more ? { more: true } : {}
  return `${JSON.stringify({ offset, time, ...contentOf(entry.bytes), ...more })}\n`
}

/** Every byte, whatever it is. */
function contentOf(bytes: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) }
  } catch {
    return { base64: Buffer.from(bytes).toString('base64') }
  }
}

/** asciicast v2: one header, then [seconds, "o", output]; what is lost is a marker. */
async function* asciicast(parts: AsyncIterable<LogPart>, title: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let begin: number | null = null
  let seconds = 0
  let headed = false
  for await (const part of parts) {
    const time = part.kind === 'gap' ? (part.until ?? part.time) : part.time
    begin ??= time
    // Times that are not known, and clocks that were set back, must not let it go backwards.
    if (time !== null && begin !== null) seconds = Math.max(seconds, (time - begin) / 1000)
    if (!headed) yield header(title, begin)
    headed = true
    const lost = part.kind === 'gap' ? `${part.missing} bytes are lost` : ''
    const text = part.kind === 'gap' ? lost : decoder.decode(part.bytes, { stream: true })
    if (text !== '') yield `${JSON.stringify([seconds, part.kind === 'gap' ? 'm' : 'o', text])}\n`
  }
  if (!headed) yield header(title, null)
}

function header(title: string, begin: Time): string {
  const timestamp = begin === null ? {} : { timestamp: Math.floor(begin / 1000) }
  return `${JSON.stringify({ version: 2, width: 80, height: 25, ...timestamp, title })}\n`
}
