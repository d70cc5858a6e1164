/**
 * The capture format: JSON lines. A header, then one line per chunk, opened or closed stream, or gap:
 *
 *     {"vspc-capture":1,"source":"vspc 0.1.0","started":"2026-11-22T15:08:01.000Z"}
 *     {"t":0.000000,"s":0,"e":"open","peer":"10.0.0.7:51234","endpoint":"tcp://0.0.0.0:13370"}
 *     {"t":0.000300,"s":0,"d":">","hex":"fffb25"}
 *
 * `t` counts seconds since `started`, `s` is the stream (one TCP connection), `>` comes from the VM. Readers ignore
 * fields they do not know and lines that are none of these, so that the format can grow. Pure: no files here.
 */
import { formatHex, parseHex, VspcError } from '../base/index.ts'

export const CAPTURE_VERSION = 1

/** A longer line is no capture of ours, and nothing to hold in memory: a chunk of 64 KiB makes one of 128 KiB. */
const MAX_LINE_CHARS = 16 << 20

export interface CaptureHeader {
  /** Who recorded it, and from what, in words. */
  readonly source: string
  /** ISO 8601: the moment that `t` counts from. */
  readonly started: string
  /** Name of the file that this one goes on from. */
  readonly continues?: string
}

/** `t`: seconds since {@link CaptureHeader.started}. */
export type CaptureRecord =
  | {
      readonly kind: 'data'
      readonly t: number
      readonly stream: number
      readonly from: 'vm' | 'proxy'
      readonly bytes: Uint8Array
    }
  | CaptureOpen
  | { readonly kind: 'close'; readonly t: number; readonly stream: number }
  /** The recorder could not keep up, or the disk was full: this much is missing here, of whatever stream. */
  | { readonly kind: 'gap'; readonly t: number; readonly records: number; readonly bytes: number }

export interface CaptureOpen {
  readonly kind: 'open'
  readonly t: number
  readonly stream: number
  readonly peer?: string
  /** URI of the listener that took it. */
  readonly endpoint?: string
  /** The stream began in an earlier file. */
  readonly continued?: boolean
}

/** One line, with its line end. */
export function formatCaptureHeader(header: CaptureHeader): string {
  return `${JSON.stringify({ 'vspc-capture': CAPTURE_VERSION, ...header })}\n`
}

/** One line, with its line end. */
export function formatCaptureRecord(record: CaptureRecord): string {
  const time = `{"t":${record.t.toFixed(6)}`
  switch (record.kind) {
    case 'data':
      return formatCaptureData(record.t, record.stream, record.from, formatHex(record.bytes, ''))
    case 'open': {
      const { peer, endpoint, continued } = record
      // JSON.stringify leaves out what is undefined.
      return `${time},${JSON.stringify({ s: record.stream, e: 'open', peer, endpoint, continued }).slice(1)}\n`
    }
    case 'close':
      return `${time},"s":${record.stream},"e":"close"}\n`
    case 'gap':
      return `${time},"gap":{"records":${record.records},"bytes":${record.bytes}}}\n`
  }
}

/** {@link formatCaptureRecord} of data whose hex digits are there already: one line per chunk, so no object for it. */
export function formatCaptureData(t: number, stream: number, from: 'vm' | 'proxy', hex: string): string {
  return `{"t":${t.toFixed(6)},"s":${stream},"d":"${from === 'vm' ? '>' : '<'}","hex":"${hex}"}\n`
}

/** A capture being read: the header at once, the records once and in order. */
export class Capture implements AsyncIterable<CaptureRecord> {
  readonly header: CaptureHeader
  readonly #lines: AsyncGenerator<Line>
  readonly #fault: Fault
  #torn = false

  private constructor(header: CaptureHeader, lines: AsyncGenerator<Line>, fault: Fault) {
    this.header = header
    this.#lines = lines
    this.#fault = fault
  }

  /**
   * Reads the header.
   * @param chunks the file's bytes or text, cut anywhere; closed when the records end, or are left early.
   * @param name of the file, for errors.
   * @throws VspcError VSPC_CAPTURE_FORMAT naming the line; also later, from the iterator.
   */
  static async read(chunks: AsyncIterable<Uint8Array | string>, name = 'capture'): Promise<Capture> {
    const fault: Fault = (line, what, cause) =>
      new VspcError('VSPC_CAPTURE_FORMAT', `${name}:${line}: ${what}`, cause === undefined ? {} : { cause })
    const lines = splitLines(chunks, fault)
    const first = await lines.next()
    if (first.done) throw fault(1, 'the file is empty, not even a header is in it')
    return new Capture(parseHeader(first.value.text, fault), lines, fault)
  }

  /** After the last record: the file ends in the middle of a line, as a crash of the recorder leaves it. */
  get torn(): boolean {
    return this.#torn
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<CaptureRecord> {
    try {
      for await (const line of this.#lines) {
        const record = this.#parse(line)
        if (record) yield record
      }
    } finally {
      await this.close()
    }
  }

  /** For a capture of which nothing more is wanted. */
  async close(): Promise<void> {
    await this.#lines.return(undefined)
  }

  #parse(line: Line): CaptureRecord | null {
    if (line.text.trim() === '') return null
    try {
      return parseRecord(line.text, (what, cause) => this.#fault(line.number, what, cause))
    } catch (error) {
      if (line.ended) throw error
      this.#torn = true
      return null
    }
  }
}

/** Makes the error for what is wrong in a line. */
type Fault = (line: number, what: string, cause?: unknown) => VspcError
type LineFault = (what: string, cause?: unknown) => VspcError

interface Line {
  readonly text: string
  /** Counted from 1. */
  readonly number: number
  /** False for a last line without line end. */
  readonly ended: boolean
}

async function* splitLines(chunks: AsyncIterable<Uint8Array | string>, fault: Fault): AsyncGenerator<Line> {
  const decoder = new TextDecoder()
  let number = 0
  let parts: string[] = []
  let held = 0
  for await (const chunk of chunks) {
    const text = typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      parts.push(text.slice(start, end))
      yield { text: parts.join('').replace(/\r$/, ''), number: ++number, ended: true }
      parts = []
      held = 0
      start = end + 1
    }
    if (start === text.length) continue
    parts.push(text.slice(start))
    held += text.length - start
    if (held > MAX_LINE_CHARS) throw fault(number + 1, `longer than ${MAX_LINE_CHARS} characters`)
  }
  parts.push(decoder.decode())
  const rest = parts.join('')
  if (rest !== '') yield { text: rest, number: number + 1, ended: false }
}

function parseHeader(text: string, fault: Fault): CaptureHeader {
  const json = parseObject(text, (what, cause) => fault(1, what, cause))
  const version = json['vspc-capture']
  if (version === undefined) {
    throw fault(1, 'not a capture: the first line must be a header, {"vspc-capture":1,...}')
  }
  if (version !== CAPTURE_VERSION) {
    throw fault(1, `capture format ${JSON.stringify(version)}; this program reads ${CAPTURE_VERSION}`)
  }
  const { source, started, continues } = json
  return {
    source: typeof source === 'string' ? source : '',
    started: typeof started === 'string' ? started : '',
    ...(typeof continues === 'string' ? { continues } : {}),
  }
}

/** @returns null for a line of a kind that this version does not know. */
function parseRecord(text: string, fault: LineFault): CaptureRecord | null {
  const json = parseObject(text, fault)
  const isGap = typeof json['gap'] === 'object' && json['gap'] !== null
  if (!isGap && json['d'] === undefined && json['e'] === undefined) return null
  const t = json['t']
  // JSON writes 1e999, which is no time to wait for.
  if (typeof t !== 'number' || t < 0 || !Number.isFinite(t)) throw fault('"t" must be a time in seconds, 0 or more')
  if (isGap) {
    const { records, bytes } = json['gap'] as Record<string, unknown>
    return { kind: 'gap', t, records: countOr0(records), bytes: countOr0(bytes) }
  }
  const stream = json['s']
  if (typeof stream !== 'number' || !Number.isSafeInteger(stream) || stream < 0) {
    throw fault('"s" must be the number of a stream, 0 or more')
  }
  return json['d'] === undefined ? parseLifecycle(json, t, stream) : parseData(json, t, stream, fault)
}

function parseData(json: Record<string, unknown>, t: number, stream: number, fault: LineFault): CaptureRecord {
  const direction = json['d']
  if (direction !== '>' && direction !== '<') throw fault('"d" must be ">" (from the VM) or "<"')
  const bytes = typeof json['hex'] === 'string' ? parseHex(json['hex']) : null
  if (bytes === null) throw fault('"hex" must be pairs of hex digits')
  return { kind: 'data', t, stream, from: direction === '>' ? 'vm' : 'proxy', bytes }
}

function parseLifecycle(json: Record<string, unknown>, t: number, stream: number): CaptureRecord | null {
  if (json['e'] === 'close') return { kind: 'close', t, stream }
  if (json['e'] !== 'open') return null
  return {
    kind: 'open',
    t,
    stream,
    ...(typeof json['peer'] === 'string' ? { peer: json['peer'] } : {}),
    ...(typeof json['endpoint'] === 'string' ? { endpoint: json['endpoint'] } : {}),
    ...(json['continued'] === true ? { continued: true } : {}),
  }
}

function parseObject(text: string, fault: LineFault): Record<string, unknown> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw fault('not JSON', cause)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw fault('not a JSON object')
  return json as Record<string, unknown>
}

function countOr0(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
}
