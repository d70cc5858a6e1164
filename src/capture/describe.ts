/** A capture as people read it: per stream and direction, with times and offsets, in protocol words. Pure. */
import { cleanText, formatHex } from '../base/index.ts'
import type { Capture, CaptureOpen, CaptureRecord } from './format.ts'
import { type TelnetItem, TelnetItems } from './items.ts'
import { Sequences } from './sequences.ts'
import { dataWords, itemWords } from './words.ts'

/** One line of a dump, as data. */
export interface CaptureLine {
  /** Seconds since the capture began. */
  readonly t: number
  /** Null for what concerns no stream. */
  readonly stream: number | null
  readonly from: 'vm' | 'proxy' | null
  /** Of the first byte, counted per direction since the stream began (in this file). */
  readonly offset: number | null
  /** Length on the wire. */
  readonly bytes: number
  readonly kind: TelnetItem['kind'] | 'raw' | 'open' | 'close' | 'gap' | 'torn'
  /** Protocol words; safe to print. */
  readonly text: string
  /** Serial data, whole, in hex; only for `data` and `raw`. */
  readonly hex?: string
}

export interface DescribeOptions {
  /** Longer data are cut in `text`. */
  readonly maxDataBytes?: number
}

const DEFAULT_DATA_BYTES = 72

/** Everything in the capture, in recorded order. An item stands at the time of its last byte. */
export async function* captureLines(capture: Capture, options: DescribeOptions = {}): AsyncGenerator<CaptureLine> {
  const describer = new Describer(options.maxDataBytes ?? DEFAULT_DATA_BYTES)
  let t = 0
  for await (const record of capture) {
    t = record.t
    yield* describer.lines(record)
  }
  yield* describer.end(t)
  if (capture.torn) yield whole(t, null, 'torn', 'the file ends in the middle of a line')
}

/** The dump, line by line without line ends; the header comes first. */
export async function* describeCapture(capture: Capture, options: DescribeOptions = {}): AsyncGenerator<string> {
  const { source, started, continues } = capture.header
  yield `capture of ${cleanText(started) || '(no date)'}: ${cleanText(source) || '(no source)'}`
  if (continues !== undefined) yield `continues ${cleanText(continues)}`
  for await (const line of captureLines(capture, options)) yield formatCaptureLine(line)
}

/** `    6.658500  #0  VM ->    438  VMOTION-BEGIN 44 da 87 f1` */
export function formatCaptureLine(line: CaptureLine): string {
  const time = line.t.toFixed(6).padStart(12)
  const stream = (line.stream === null ? '' : `#${line.stream}`).padEnd(4)
  if (line.from === null) return `${time}  ${stream} ${line.text}`
  const offset = String(line.offset ?? 0).padStart(7)
  return `${time}  ${stream}${line.from === 'vm' ? 'VM ->' : '<- PX'}${offset}  ${line.text}`
}

interface StreamState {
  readonly vm: TelnetItems
  readonly proxy: TelnetItems
  /** Not Telnet (`protocol=raw`): bytes are shown as they are. */
  readonly raw: boolean
  readonly offset: { vm: number; proxy: number }
}

class Describer {
  readonly #streams = new Map<number, StreamState>()
  readonly #sequences = new Sequences()
  readonly #maxDataBytes: number

  constructor(maxDataBytes: number) {
    this.#maxDataBytes = maxDataBytes
  }

  *lines(record: CaptureRecord): Generator<CaptureLine> {
    switch (record.kind) {
      case 'open':
        this.#streams.set(record.stream, newStream(isRawEndpoint(record.endpoint)))
        yield whole(record.t, record.stream, 'open', openWords(record))
        return
      case 'close':
        yield* this.#close(record.stream, record.t)
        yield whole(record.t, record.stream, 'close', 'closed')
        return
      case 'gap':
        yield whole(record.t, null, 'gap', `gap: ${record.records} records, ${record.bytes} bytes were not recorded`)
        return
      case 'data':
        yield* this.#data(record.t, record.stream, record.from, record.bytes)
    }
  }

  *end(t: number): Generator<CaptureLine> {
    for (const stream of [...this.#streams.keys()]) yield* this.#close(stream, t)
  }

  *#data(t: number, stream: number, from: 'vm' | 'proxy', bytes: Uint8Array): Generator<CaptureLine> {
    const state = this.#streams.get(stream) ?? newStream(false)
    this.#streams.set(stream, state)
    if (state.raw) {
      const offset = state.offset[from]
      state.offset[from] += bytes.length
      const text = dataWords(bytes, this.#maxDataBytes)
      yield { t, stream, from, offset, bytes: bytes.length, kind: 'raw', text, hex: formatHex(bytes, '') }
      return
    }
    for (const item of state[from].push(bytes)) yield this.#item(t, stream, from, item)
  }

  *#close(stream: number, t: number): Generator<CaptureLine> {
    const state = this.#streams.get(stream)
    this.#streams.delete(stream)
    for (const from of ['vm', 'proxy'] as const) {
      const rest = state?.[from].end()
      if (rest) yield this.#item(t, stream, from, rest)
    }
  }

  #item(t: number, stream: number, from: 'vm' | 'proxy', item: TelnetItem): CaptureLine {
    const text = itemWords(item, this.#sequences, this.#maxDataBytes)
    const line = { t, stream, from, offset: item.start, bytes: item.raw.length, kind: item.kind, text }
    return item.kind === 'data' ? { ...line, hex: formatHex(item.bytes, '') } : line
  }
}

/** Whether a listener's URI says that no Telnet is spoken there. */
export function isRawEndpoint(endpoint: string | undefined): boolean {
  return endpoint !== undefined && /[?&]protocol=raw(&|$)/.test(endpoint)
}

function newStream(raw: boolean): StreamState {
  return { vm: new TelnetItems(), proxy: new TelnetItems(), raw, offset: { vm: 0, proxy: 0 } }
}

function openWords(record: CaptureOpen): string {
  const from = record.peer === undefined ? '' : ` from ${cleanText(record.peer)}`
  const at = record.endpoint === undefined ? '' : ` at ${cleanText(record.endpoint)}`
  return record.continued ? `goes on${from}${at} (began in an earlier file)` : `opened${from}${at}`
}

function whole(t: number, stream: number | null, kind: CaptureLine['kind'], text: string): CaptureLine {
  return { t, stream, from: null, offset: null, bytes: 0, kind, text }
}
