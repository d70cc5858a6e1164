/**
 * Fixtures that are pages: Markdown to read beside the RFC, and to run.
 *
 * A page holds cases: a heading (with C-ids), prose, a `hex` block of what arrives, an `events` block of what it means,
 * and, for a whole session, a `sent` block of what goes back. The fence's info string sets options (`max-sub=16`,
 * `policy=telnet`, `replies=16`, `start`). A dialogue page holds the steps of TCP connections; see loadDialogue.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { formatHex, parseHex } from '../../src/base/index.ts'
import {
  commandName,
  type DecoderSink,
  decodeVmMessage,
  OPTION,
  optionName,
  suboptionName,
  TELNET_POLICY,
  type TelnetOwner,
  TelnetSession,
  VMWARE_POLICY,
  type VmMessage,
  type VmwareAnomaly,
} from '../../src/telnet/index.ts'

export const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url))

/** One fenced block of a page. */
interface Block {
  readonly kind: string
  readonly options: ReadonlyMap<string, string>
  readonly text: string
  /** Line of the fence, counted from 1. */
  readonly line: number
}

interface Section {
  readonly heading: string
  readonly line: number
  readonly blocks: Block[]
}

/** One case of a fixture page. */
export interface PageCase {
  /** `framing.md:12 title [C1]`. */
  readonly name: string
  readonly input: Uint8Array
  /** Expected event lines; with their `@offset` where the page states one. */
  readonly events: readonly string[]
  /** Expected bytes to the peer; null where the page does not say. */
  readonly sent: Uint8Array | null
  readonly options: ReadonlyMap<string, string>
}

/** The cases of all pages in a folder under test/fixtures. */
export function loadPages(folder: string): PageCase[] {
  const files = readdirSync(join(FIXTURES, folder)).filter((name) => name.endsWith('.md'))
  return files.sort().flatMap((name) => loadPage(join(FIXTURES, folder, name)))
}

export function loadPage(file: string): PageCase[] {
  const cases: PageCase[] = []
  for (const section of sections(readFileSync(file, 'utf8'))) {
    const hex = section.blocks.find((block) => block.kind === 'hex')
    if (!hex) continue
    const where = `${basename(file)}:${section.line}`
    const events = section.blocks.find((block) => block.kind === 'events')
    if (!events) throw new Error(`${where}: a hex block without an events block`)
    const sent = section.blocks.find((block) => block.kind === 'sent')
    cases.push({
      name: `${where} ${section.heading}`,
      input: hexBlock(hex.text, where),
      events: lines(events.text),
      sent: sent ? hexBlock(sent.text, where) : null,
      options: hex.options,
    })
  }
  if (cases.length === 0) throw new Error(`${file}: no case in it`)
  return cases
}

function sections(text: string): Section[] {
  const found: Section[] = []
  let current: Section = { heading: '', line: 1, blocks: [] }
  let open: { kind: string; options: Map<string, string>; line: number; body: string[] } | null = null
  for (const [index, line] of text.split('\n').entries()) {
    if (open) {
      if (line.startsWith('```')) {
        current.blocks.push({ kind: open.kind, options: open.options, line: open.line, text: open.body.join('\n') })
        open = null
      } else open.body.push(line)
    } else if (line.startsWith('```')) {
      const [kind = '', ...words] = line.slice(3).trim().split(/\s+/)
      const options = new Map(words.map((word) => word.split('=', 2)).map(([key = '', value = '']) => [key, value]))
      open = { kind, options, line: index + 1, body: [] }
    } else if (/^#+ /.test(line)) {
      current = { heading: line.replace(/^#+ /, ''), line: index + 1, blocks: [] }
      found.push(current)
    }
  }
  return found
}

function lines(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim().replace(/\s+(?=(?:[^"]*"[^"]*")*[^"]*$)/g, ' '))
    .filter((line) => line !== '')
}

/** Hex pairs, `"text"` for its bytes, `61*500` for a run, `#` begins a comment. */
function hexBlock(text: string, where: string): Uint8Array {
  const bytes: number[] = []
  for (const line of text.split('\n')) {
    for (const [token] of line.replace(/(?:^|\s)#.*$/, '').matchAll(/"[^"]*"|\S+/g)) appendToken(bytes, token, where)
  }
  return Uint8Array.from(bytes)
}

function appendToken(bytes: number[], token: string, where: string): void {
  if (token.startsWith('"')) {
    for (const byte of new TextEncoder().encode(token.slice(1, -1))) bytes.push(byte)
    return
  }
  const run = /^([0-9a-fA-F]{2})\*(\d+)$/.exec(token)
  const parsed = parseHex(run ? (run[1] as string) : token)
  if (!parsed) throw new Error(`${where}: "${token}" is neither hex nor quoted text`)
  for (let i = 0; i < Number(run?.[2] ?? 1); i++) bytes.push(...parsed)
}

// Event logs

interface LogEntry {
  text: string
  offset: number
  data: number[] | null
}

/** Event lines as pages write them; pieces of data that follow each other are one event. */
export class EventLog {
  readonly #entries: LogEntry[] = []

  add(text: string, offset: number): void {
    this.#entries.push({ text, offset, data: null })
  }

  data(bytes: Uint8Array, offset: number): void {
    const last = this.#entries.at(-1)
    if (last?.data) {
      for (const byte of bytes) last.data.push(byte)
      last.offset = offset
    } else {
      this.#entries.push({ text: '', offset, data: [...bytes] })
    }
  }

  /** @returns `@12 anomaly stray-se`, ...: the offset is that of the last byte of what is reported. */
  lines(): string[] {
    return this.#entries.map((entry) => {
      const text = entry.data ? `data ${quote(Uint8Array.from(entry.data))}` : entry.text
      return `@${entry.offset} ${text}`
    })
  }
}

/** `"abc\xff"`: printable ASCII as it is, the rest as escapes. */
export function quote(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c || byte < 0x20 || byte > 0x7e) text += `\\x${byte.toString(16).padStart(2, '0')}`
    else text += String.fromCharCode(byte)
  }
  return `"${text}"`
}

/** Writes what a decoder reports into a log. `offset()` gives the bytes consumed, as {@link Decoder.offset} does. */
export function loggingSink(log: EventLog, offset: () => number): DecoderSink {
  return {
    data: (bytes) => log.data(bytes, offset() - 1),
    command: (code) => log.add(`command ${commandName(code)}`, offset() - 1),
    negotiation: (verb, option) => log.add(`negotiation ${commandName(verb)} ${optionName(option)}`, offset() - 1),
    subnegotiation: (option, payload) =>
      log.add(`sub ${optionName(option)} ${formatHex(payload)}`.trimEnd(), offset() - 1),
    anomaly: (kind, at) => log.add(`anomaly ${kind}`, at),
  }
}

/** A session whose events and answers are kept; 232 subnegotiations are shown as VMware's messages. */
export class LoggedSession implements TelnetOwner {
  readonly log = new EventLog()
  readonly sent: number[] = []
  readonly session: TelnetSession
  #consumed = 0

  constructor(options: ReadonlyMap<string, string> = new Map()) {
    this.session = new TelnetSession(this, options.get('policy') === 'telnet' ? TELNET_POLICY : VMWARE_POLICY, {
      maxSubnegotiationBytes: Number(options.get('max-sub') ?? 4096),
      maxNegotiationReplies: Number(options.get('replies') ?? 256),
    })
    if (options.has('start')) this.session.start()
  }

  receive(chunk: Uint8Array): void {
    this.#consumed += this.session.receive(chunk)
  }

  telnetData(bytes: Uint8Array): void {
    this.log.data(bytes, -1)
  }

  telnetOption(side: string, option: number, change: string): void {
    this.log.add(`option ${side} ${optionName(option)} ${change}`, -1)
  }

  telnetSubnegotiation(option: number, payload: Uint8Array): void {
    const text =
      option === OPTION.VMWARE_TELNET_EXT
        ? `vm ${vmMessageText(decodeVmMessage(payload))}`
        : `sub ${optionName(option)} ${formatHex(payload)}`
    this.log.add(text.trimEnd(), -1)
  }

  telnetCommand(code: number): void {
    this.log.add(`command ${commandName(code)}`, -1)
  }

  telnetAnomaly(kind: string, offset: number): void {
    this.log.add(`anomaly ${kind}`, offset)
  }

  telnetSend(bytes: Uint8Array): void {
    for (const byte of bytes) this.sent.push(byte)
  }

  /** Only anomalies have an offset here: the owner of a session is told no other. */
  lines(): string[] {
    return this.log.lines().map((line) => line.replace(/^@-1 /, ''))
  }
}

/** `VMOTION-BEGIN 44 da 87 f1`, `DO-PROXY server "vSPC.py"`, `unknown 99`, ... */
export function vmMessageText(message: VmMessage | VmwareAnomaly | null): string {
  if (message === null) return 'empty'
  switch (message.kind) {
    case 'KNOWN-SUBOPTIONS-1':
      return `${message.kind} ${[...message.codes].join(' ')}`
    case 'UNKNOWN-SUBOPTION-RCVD-1':
      return `${message.kind} ${message.code}`
    case 'VMOTION-BEGIN':
    case 'VMOTION-COMPLETE':
      return `${message.kind} ${formatHex(message.sequence)}`
    case 'VMOTION-PEER':
      return `${message.kind} ${formatHex(message.cookie)}`
    case 'VMOTION-ABORT':
      return message.kind
    case 'DO-PROXY':
      return `${message.kind} ${message.direction} ${quote(message.serviceURI)}`
    case 'VM-VC-UUID':
    case 'VM-BIOS-UUID':
    case 'VM-LOCATION-UUID':
    case 'VM-NAME':
      return `${message.kind} ${quote(message.text)}`
    case 'unknown':
      return `unknown ${message.code}`
    case 'malformed':
      return `malformed ${suboptionName(message.code)}`
  }
}

/** Drops `@offset` from the actual lines where the expected one states none. */
export function alignOffsets(actual: readonly string[], expected: readonly string[]): string[] {
  return actual.map((line, i) => ((expected[i] ?? '@').startsWith('@') ? line : line.replace(/^@\d+ /, '')))
}

// Chunkings

/** A way to cut `bytes`, with a name for the message of a failing test. */
export interface Chunking {
  readonly name: string
  /** Fresh copies: the decoder overwrites what it is given. */
  readonly chunks: () => Iterable<Uint8Array>
}

/** Whole, byte by byte and at every other chunk size, and in two pieces cut at every offset. */
export function* chunkings(bytes: Uint8Array): Generator<Chunking> {
  yield { name: 'whole', chunks: () => [bytes.slice()] }
  for (let size = 1; size < bytes.length; size++) {
    yield { name: `in chunks of ${size}`, chunks: () => pieces(bytes, size) }
  }
  for (let at = 1; at < bytes.length; at++) {
    yield { name: `cut at ${at}`, chunks: () => [bytes.slice(0, at), bytes.slice(at)] }
  }
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size)
}

// Dialogues

export interface DialogueStep {
  readonly from: 'vm' | 'proxy'
  readonly bytes: Uint8Array
  /** What it is, in protocol words. */
  readonly note: string
  /** Seconds since the first byte of the capture. */
  readonly t: number
  /** Frame of the capture whose bytes are quoted; null where the page reconstructs them. */
  readonly frame: number | null
}

/** One TCP connection, opened by the VM's host. */
export interface DialogueConnection {
  readonly name: string
  /** Number of the TCP stream in the capture. */
  readonly stream: number
  readonly openedAt: number
  /** When the VM's side sends FIN; null where the capture ends first. */
  readonly finAt: number | null
  readonly steps: readonly DialogueStep[]
}

export interface Dialogue {
  readonly title: string
  readonly connections: readonly DialogueConnection[]
  /** Per connection: what a session with VMware's policy reports of the VM's bytes. */
  readonly events: ReadonlyMap<string, readonly string[]>
}

const DIALOGUES = ['stream-0.md', 'stream-1.md', 'stream-2.md', 'stream-3.md']

/** All four connections of VMware's capture as one dialogue: the streams hand the VM to each other by vMotion. */
export function loadVmwareStreams(): Dialogue {
  const pages = DIALOGUES.map((name) => loadDialogue(join(FIXTURES, 'vmotion', name)))
  return {
    title: "the four connections of VMware's capture",
    connections: pages.flatMap((page) => page.connections),
    events: new Map(pages.flatMap((page) => [...page.events])),
  }
}

/**
 * Reads a dialogue page. Each `dialogue` block is one connection, named by its heading, one step a line:
 *
 *     6.658500  VM  80   FF FA E8 28 44 DA 87 F1 FF F0   ; VMOTION-BEGIN
 *
 * that is time, who speaks (`VM`, `PX`, or `open` and `fin` of the VM's side), the capture's frame whose bytes are
 * quoted (`-` = reconstructed), bytes in hex or quotes, and a note.
 */
export function loadDialogue(file: string): Dialogue {
  const connections: DialogueConnection[] = []
  const events = new Map<string, readonly string[]>()
  const found = sections(readFileSync(file, 'utf8'))
  for (const section of found) {
    const block = section.blocks.find((candidate) => candidate.kind === 'dialogue')
    if (!block) continue
    connections.push(parseConnection(section.heading, block, basename(file)))
    const log = section.blocks.find((candidate) => candidate.kind === 'events')
    if (log) events.set(section.heading, lines(log.text))
  }
  if (connections.length === 0) throw new Error(`${file}: no dialogue block in it`)
  return { title: found[0]?.heading ?? '', connections, events }
}

function parseConnection(name: string, block: Block, file: string): DialogueConnection {
  let openedAt: number | null = null
  let finAt: number | null = null
  let previous = Number.NEGATIVE_INFINITY
  const steps: DialogueStep[] = []
  for (const [index, line] of block.text.split('\n').entries()) {
    if (line.trim() === '') continue
    const where = `${file}:${block.line + 1 + index}`
    const match = /^\s*(\d+\.\d+)\s+(VM|PX|open|fin)\s+(\d+|-)(?:\s+([^;]*?))?\s*(?:;\s*(.*))?$/.exec(line)
    if (!match) throw new Error(`${where}: not a dialogue line: ${line}`)
    const [, time, who, frame, hex = '', note = ''] = match
    const t = Number(time)
    if (t < previous) throw new Error(`${where}: time runs backwards`)
    previous = t
    if (who === 'open') openedAt = t
    else if (who === 'fin') finAt = t
    else {
      const bytes = hexBlock(hex, where)
      if (bytes.length === 0) throw new Error(`${where}: no bytes`)
      steps.push({ from: who === 'VM' ? 'vm' : 'proxy', bytes, note, t, frame: frame === '-' ? null : Number(frame) })
    }
  }
  if (openedAt === null) throw new Error(`${file}: "${name}" has no open line`)
  return { name, stream: Number(block.options.get('stream')), openedAt, finAt, steps }
}

/** What happens when, over all connections: the order in which to play a dialogue. */
export type TimelineEntry =
  | { readonly t: number; readonly connection: DialogueConnection; readonly event: 'open' | 'fin' }
  | { readonly t: number; readonly connection: DialogueConnection; readonly event: 'step'; readonly step: DialogueStep }

export function timeline(dialogue: Dialogue): TimelineEntry[] {
  const entries: TimelineEntry[] = []
  for (const connection of dialogue.connections) {
    entries.push({ t: connection.openedAt, connection, event: 'open' })
    for (const step of connection.steps) entries.push({ t: step.t, connection, event: 'step', step })
    if (connection.finAt !== null) entries.push({ t: connection.finAt, connection, event: 'fin' })
  }
  // Stable: steps of one moment keep the page's order.
  return entries.sort((a, b) => a.t - b.t)
}

/** All bytes one side of a connection sends, in one piece. */
export function bytesFrom(connection: DialogueConnection, from: 'vm' | 'proxy'): Uint8Array {
  const parts = connection.steps.filter((step) => step.from === from).flatMap((step) => [...step.bytes])
  return Uint8Array.from(parts)
}
