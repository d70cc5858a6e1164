/** `vspc log` by lines: with times, searched, as text or JSON. */
import { setTimeout as pause } from 'node:timers/promises'
import { cleanText, VspcError } from '../base/index.ts'
import { chunksOf, jsonLines, notOurs, type ServerClient } from '../client/index.ts'
import type { LogPrinter } from './log-printer.ts'
import { type LogQuery, openLog } from './log-query.ts'
import { printNote } from './output.ts'

export interface LineOptions {
  readonly follow: boolean
  readonly timestamps: boolean
  readonly grep: RegExp | null
  /** `raw`: lines as they are; `text`: without control characters; `ndjson`: as the server gives them. */
  readonly format: 'raw' | 'text' | 'ndjson'
}

/** How often a log that is followed is asked for again. */
const POLL_MS = 500
const NO_TIME = '-'.repeat(24)

/** A line of the server's ndjson. */
interface Entry {
  readonly offset: number
  readonly time: string | null
  readonly text?: string
  readonly base64?: string
  readonly more?: boolean
  readonly gap?: number
  readonly until?: string | null
}

/** @returns when all is printed; with `follow` never. @throws VspcError. */
export async function printLines(
  client: ServerClient,
  port: string,
  query: LogQuery,
  options: LineOptions,
  printer: LogPrinter,
): Promise<void> {
  const lines = new LinePrinter(options, printer)
  let next = await printOnce(client, port, query, options, lines)
  let epoch = next.epoch
  let away = false
  while (options.follow) {
    await pause(POLL_MS)
    try {
      next = await printOnce(client, port, { start: next.offset, epoch }, options, lines)
      if (away) printNote('the server is back')
      away = false
      epoch = next.epoch
    } catch (error) {
      if (!(error instanceof VspcError) || error.code !== 'VSPC_SERVER_UNREACHABLE') throw error
      if (!away) printNote(`${error.message}; reconnecting`)
      away = true
    }
  }
}

/** @returns where to go on. */
async function printOnce(
  client: ServerClient,
  port: string,
  { epoch: known, ...query }: LogQuery & { readonly epoch?: string },
  options: LineOptions,
  lines: LinePrinter,
): Promise<{ offset: number; epoch: string }> {
  const { next, epoch, body } = await openLog(client, port, { ...query, format: 'ndjson' })
  if (known !== undefined && known !== epoch) {
    body.destroy()
    printNote('the server has restarted without its history: what follows is all it holds now')
    return { offset: 0, epoch }
  }
  let last: Entry | null = null
  for await (const text of jsonLines(client, chunksOf(body))) {
    if (last !== null) await lines.print(last)
    last = parseEntry(client, text)
  }
  if (last === null) return { offset: next, epoch }
  // The end of the line is still to come.
  if (options.follow && last.more === true) return { offset: last.offset, epoch }
  await lines.print(last)
  return { offset: next, epoch }
}

function parseEntry(client: ServerClient, text: string): Entry {
  try {
    const entry = JSON.parse(text) as Partial<Entry> | null
    if (typeof entry?.offset === 'number') return entry as Entry
  } catch (cause) {
    throw notOurs(client.address, 'a line of its log is no JSON', cause)
  }
  throw notOurs(client.address, 'a line of its log has no offset')
}

class LinePrinter {
  readonly #options: LineOptions
  readonly #printer: LogPrinter
  /** The line before was not ended. */
  #open = false

  constructor(options: LineOptions, printer: LogPrinter) {
    this.#options = options
    this.#printer = printer
  }

  async print(entry: Entry): Promise<void> {
    const { grep, format, timestamps } = this.#options
    if (entry.gap !== undefined && format !== 'ndjson') {
      printNote(`${entry.gap} bytes are lost between ${entry.time ?? 'an unknown time'} and ${entry.until ?? 'later'}`)
      return
    }
    const bytes = entry.base64 === undefined ? Buffer.from(entry.text ?? '') : Buffer.from(entry.base64, 'base64')
    if (grep !== null && (entry.gap !== undefined || !grep.test(plainText(bytes)))) return
    if (format === 'ndjson') {
      await this.#printer.print(Buffer.from(`${JSON.stringify(entry)}\n`))
      return
    }
    const time = timestamps && !this.#open ? `${entry.time ?? NO_TIME} ` : ''
    const line = format === 'text' ? Buffer.from(cleanText(plainText(bytes), bytes.length)) : bytes
    this.#open = entry.more === true
    await this.#printer.print(Buffer.concat([Buffer.from(time), line, Buffer.from(this.#open ? '' : '\n')]))
  }
}

/** CSI, OSC and other strings, and two-character sequences. */
const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g

/** So that colours do not hide a word. */
function plainText(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(SEQUENCE, '').replaceAll('\t', ' ')
}
