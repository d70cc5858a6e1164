/**
 * Everything that reads text somebody else wrote: endpoints, configuration, captures, scripts, identities, control
 * messages. Whatever the text, the outcome is a value or an error with a code; and a value survives being written again.
 */
import { Buffer } from 'node:buffer'
import { describe, expect, test } from 'vitest'
import { readLayer } from '../../src/app/config-layer.ts'
import { parseControl } from '../../src/app/console-control.ts'
import { parseHttpAddress } from '../../src/app/http-address.ts'
import { CODES, cleanText, VspcError } from '../../src/base/index.ts'
import { Capture, type CaptureRecord, formatCaptureHeader, formatCaptureRecord } from '../../src/capture/index.ts'
import { parseDuration } from '../../src/cli/duration.ts'
import { parseOffset } from '../../src/cli/offset.ts'
import { resolveServer } from '../../src/cli/server-address.ts'
import { TerminalFilter } from '../../src/cli/terminal-filter.ts'
import { parseConsoleMessage } from '../../src/client/console-message.ts'
import { parseConfigText } from '../../src/config/file.ts'
import type { ConfigProblem } from '../../src/config/problems.ts'
import { decodeDirName, encodeDirName } from '../../src/history/dir-name.ts'
import { parsePortFile } from '../../src/history/port-file.ts'
import { parseSimScript } from '../../src/sim/script.ts'
import { formatEndpoint, matchesEndpoint, parseEndpoint, parseEndpointPattern } from '../../src/transport/index.ts'
import { canonicalUuid, matchesService, nameText, parseServiceUri } from '../../src/vspc/identity.ts'
import { campaign, shrink } from './campaign.ts'
import { cut } from './hostile.ts'
import { loadFuzzPages } from './pages.ts'
import type { Random } from './random.ts'

/** Reads `text`; checks what comes of it. Throws what it must not throw. */
type Reader = (text: string) => unknown

const ROLES = ['listen', 'dial'] as const
const USES = ['vm', 'plain'] as const

function endpoint(text: string): void {
  for (const role of ROLES) {
    for (const use of USES) {
      coded(() => {
        const parsed = parseEndpoint(text, role, use)
        const again = formatEndpoint(parsed)
        expect(parseEndpoint(again, role, use), again).toEqual(parsed)
        expect(again).not.toMatch(/[\u0000-\u0020\u007f]/)
      })
    }
  }
}

function pattern(text: string): void {
  coded(() => {
    const parsed = parseEndpointPattern(text)
    matchesEndpoint(parsed, parseEndpoint('tcp://10.0.0.1:80', 'dial', 'plain'))
    matchesEndpoint(parsed, parseEndpoint('unix:///run/x.sock', 'dial', 'plain'))
  })
}

function config(text: string): void {
  coded(() => {
    const problems: ConfigProblem[] = []
    readLayer(parseConfigText('vspc.yaml', text, '/'), problems)
    for (const problem of problems) {
      expect(Object.hasOwn(CODES, problem.code)).toBe(true)
      expect(problem.message.length).toBeLessThan(5_000)
    }
  })
}

async function capture(text: string): Promise<void> {
  async function* whole(): AsyncGenerator<string> {
    yield text
  }
  async function* recordsOf(chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<CaptureRecord> {
    yield* await Capture.read(chunks, 'capture')
  }
  try {
    const records: CaptureRecord[] = []
    for await (const record of recordsOf(whole())) records.push(record)
    const written = [formatCaptureHeader({ source: 'x', started: '' }), ...records.map(formatCaptureRecord)]
    async function* bytewise(): AsyncGenerator<Uint8Array> {
      for (const line of written) yield Buffer.from(line)
    }
    const again: CaptureRecord[] = []
    for await (const record of recordsOf(bytewise())) again.push(record)
    expect(again.map(roughly)).toEqual(records.map(roughly))
  } catch (error) {
    onlyCoded(error)
  }
}

/** Microseconds are what the format keeps. */
const roughly = (record: CaptureRecord) => ({ ...record, t: record.t.toFixed(6) })

const LONE_SURROGATE = /\p{Surrogate}/u

function identity(text: string): void {
  const raw = Buffer.from(text, 'utf8')
  const uuid = canonicalUuid(raw)
  // By bytes and by text the same (but for white space beyond ASCII), and its own canonical form.
  if (!/[^\x00-\x7f]/.test(text)) expect(canonicalUuid(text)).toBe(uuid)
  if (uuid !== null) expect([canonicalUuid(uuid), uuid]).toEqual([uuid, uuid.toLowerCase()])
  const uri = parseServiceUri(raw)
  expect(uri.label ?? 'x').toMatch(/^[A-Za-z0-9._-]{1,64}$/)
  expect(matchesService(uri, [text]) || LONE_SURROGATE.test(text)).toBe(true)
  for (const shown of [uri.display, nameText(raw), cleanText(text)]) {
    expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/)
    expect(shown).not.toMatch(LONE_SURROGATE)
    expect(shown.length).toBeLessThanOrEqual(512)
  }
  expect(nameText(raw)).toBe(cleanText(raw))
}

const folders = new Map<string, string>()

function folder(text: string): void {
  const name = encodeDirName(text)
  expect(name).toMatch(/^[a-z0-9+=-][a-z0-9.+=-]{0,130}$/)
  const other = folders.get(name)
  expect(other === undefined || other === text, `${text} and ${other} share a folder`).toBe(true)
  if (folders.size < 100_000) folders.set(name, text)
  const id = decodeDirName(name)
  expect(id === null || id === text).toBe(true)
  const foreign = decodeDirName(text)
  if (foreign !== null) expect(encodeDirName(foreign)).toBe(text)
}

/** What comes through when `pieces` and then an end to any sequence do. */
function filtered(pieces: readonly Uint8Array[]): number[] {
  const passed: number[] = []
  const filter = new TerminalFilter()
  for (const piece of [...pieces, Uint8Array.of(0x18, 0x0a)]) filter.push(piece, (part) => passed.push(...part))
  return passed
}

function terminal(text: string): void {
  const bytes = Buffer.from(text, 'latin1')
  const passed = filtered([bytes])
  expect(filtered(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(passed)
  // Nothing that was let through begins a sequence of its own behind another's end.
  expect(filtered([Uint8Array.from(passed)]).slice(0, passed.length)).toEqual(passed)
}

const READERS: { readonly [target: string]: Reader } = {
  endpoint,
  pattern,
  'http-address': (text) => coded(() => parseHttpAddress(text)),
  config,
  capture,
  'sim-script': (text) => coded(() => parseSimScript(text)),
  identity,
  folder,
  'port-file': (text) => parsePortFile(text),
  control: (text) => coded(() => parseControl(Buffer.from(text))),
  'console-message': (text) => parseConsoleMessage(text),
  arguments: (text) => {
    coded(() => parseDuration(text, '--wait'))
    coded(() => parseOffset(text, '--from'))
    coded(() => resolveServer({ server: text }, {}))
  },
  terminal,
}

/** Runs it; an error of ours is an answer. */
function coded(run: () => unknown): void {
  try {
    run()
  } catch (error) {
    onlyCoded(error)
  }
}

function onlyCoded(error: unknown): void {
  if (!(error instanceof VspcError)) throw error
  expect(error.message).not.toBe('')
}

/** Good texts to spoil. */
const GOOD: { readonly [target: string]: readonly string[] } = {
  endpoint: [
    'tcp://0.0.0.0:13370',
    'tcp://[::1]:0?protocol=raw&name=vm%201&label=com1',
    `tls://esx1.example.com:443?pin=sha256:${'ab'.repeat(32)}&servername=x.y&tlsMin=1.2`,
    'tcp://127.0.0.1:0?cert=/c.pem&key=/k.pem&protocol=telnet',
    'unix:///run/vspc%20x.sock?name=a',
    'fifo:///run/vm1',
    'vsock://any:13370',
    'hvsock:///run/v.sock:5000',
  ],
  pattern: ['tcp://10.0.0.*:2379', 'tls://*:*', 'unix:///run/vspc/*.sock', 'tcp://[fe80::*]:1'],
  'http-address': ['127.0.0.1:13371', '[::1]:0', 'localhost:80', 'off', '0.0.0.0:1'],
  config: [
    'listen:\n  - tcp://127.0.0.1:13370\nhttp: 127.0.0.1:0\nlimits:\n  maxPorts: 10\n',
    '{"listen": ["tcp://0.0.0.0:1"], "serviceUris": [vSPC.py], writers: shared}',
    'a: &x [1]\nb: *x\nc: {<<: *x}\n',
    'allowDial: [ "tcp://*:1" ]\nlogLevel: debug\ndataDir: .\n',
  ],
  capture: [
    '{"vspc-capture":1,"source":"s","started":"x"}\n{"t":0,"s":0,"e":"open","peer":"p"}\n{"t":0.1,"s":0,"d":">","hex":"fffb25"}\n{"t":1,"s":0,"e":"close"}\n',
    '{"vspc-capture":1}\n{"t":1,"gap":{"records":1,"bytes":2}}\n{"t":1e3,"s":1,"d":"<","hex":""}\n',
  ],
  'sim-script': [
    '- { at: 5, vm: vm-0001, do: migrate }\n- { at: 1, every: 2, vm: "*", do: print, text: hi }\n',
    '- at: 0\n  vm: a?\n  do: power-off\n  how: fin\n- &x { at: 1, vm: b, do: drop }\n- *x\n',
  ],
  identity: [
    '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00',
    '01234567-89AB-CDEF-FEDC-BA9800000000',
    'telnet://vSPC.py:13370/?port=a%20b',
    'vSPC.py?port=com1&x=y',
    'vm \u202e1\u0000',
  ],
  folder: [
    '01234567-89ab-cdef-fedc-ba9800000000:com1',
    'name:Vm Ä/..',
    'addr:10.0.0.1:50',
    '.',
    '..',
    `==${'a'.repeat(64)}`,
  ],
  'port-file': ['{"vspc-port":1,"id":"a","vmKey":"a","label":null,"name":"x","direction":"server"}'],
  control: ['{"type":"mode","mode":"write","force":true}', '{"type":"break"}', '{"type":"who"}'],
  'console-message': [
    '{"type":"attached","port":"p","name":"n","mode":"read","offset":0,"start":0,"next":0,"state":"online","console":1,"epoch":"e"}',
    '{"type":"writer","mode":"read","writers":[{"id":1,"who":"w","mode":"write","attachedAt":"t"}],"reason":""}',
    '{"type":"gap","bytes":1,"offset":9}',
  ],
  arguments: ['10s', '1.5h', '0', '500ms', '-4096', 'http://127.0.0.1:13371', 'https://[::1]/x/'],
  terminal: [
    'a\u001b[31mred\u001b[0m\u001b[6n\u001b]0;title\u0007b\u009b?25hc\u0005d',
    '\u001bP+q544e\u001b\\x\u00c2\u009by\u001b[>0q\u001bZ\u001b[5',
  ],
}

const WORDS = [
  ...[
    '\u0000',
    '\n',
    '\r\n',
    '\t',
    ' ',
    '"',
    "'",
    '\\',
    '%',
    '%00',
    '%zz',
    '/',
    '//',
    ':',
    '://',
    '?',
    '#',
    '&',
    '=',
    '@',
  ],
  ...['[', ']', '{', '}', '*', '**', '!', '!!binary x', '|', '>', '<<: ', '- ', '---\n', '...\n', '&a ', '*a ', ','],
  ...['0', '-1', '65536', '9007199254740993', '1e999', 'NaN', 'null', 'true', '~', '0x10', '1_000', '.inf', '.nan'],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', '\ud800', '\udfff', '\u202e', 'ä', '😀', '\ufeff', 'İ'],
  ...['\u001b', '\u001b[', '\u009b', '\u00c2', '\u0090', '\u009c', 'ff', 'z'.repeat(300), '[[[['.repeat(50)],
]

/** One word, number or quoted text replaced by something else. */
function otherWord(random: Random, text: string): string {
  const words = [...text.matchAll(/"[^"]*"|-?[\w.]+/g)]
  if (words.length === 0) return text
  const { index, 0: word } = random.pick(words)
  return text.slice(0, index) + random.pick(WORDS) + text.slice(index + word.length)
}

function spoiled(random: Random, target: string): string {
  const good = GOOD[target] as readonly string[]
  let text = random.oneIn(20) ? random.pick(good.concat(WORDS)).repeat(random.size(2_000)) : random.pick(good)
  for (let n = random.below(6); n > 0; n--) {
    if (random.oneIn(3)) text = otherWord(random, text)
    const at = random.below(text.length + 1)
    const end = at + random.size(text.length - at)
    const insert = random.pick([
      random.pick(WORDS),
      random.pick(WORDS) + random.pick(WORDS),
      '',
      text.slice(at, end),
      String.fromCharCode(random.oneIn(3) ? random.below(65_536) : random.below(256)),
      random.pick(good).slice(random.below(20)),
    ])
    text = text.slice(0, at) + insert + text.slice(random.oneIn(2) ? at : end)
    if (text.length > 60_000) text = text.slice(0, 60_000)
  }
  return text
}

async function fails(reader: Reader, text: string): Promise<unknown> {
  try {
    await reader(text)
    return null
  } catch (error) {
    return error ?? 'nothing'
  }
}

describe('pages', () => {
  for (const [target, reader] of Object.entries(READERS)) {
    for (const page of loadFuzzPages(target)) {
      test(page.name, async () => {
        for (const chunk of page.chunks) await reader(Buffer.from(chunk).toString('utf8'))
      })
    }
  }
})

for (const [target, reader] of Object.entries(READERS)) {
  campaign(`${target}: any text gives a value or a coded error`, 15, async (random) => {
    for (let n = 0; n < 10; n++) {
      const text = spoiled(random, target)
      const error = await fails(reader, text)
      if (error === null) continue
      const least = await shrink([...text], async (fewer) => (await fails(reader, fewer.join(''))) !== null)
      throw new Error(`${JSON.stringify(least.join('').slice(0, 3_000))}\n${String(error)}`, { cause: error })
    }
  })
}

campaign('a capture reads the same however its bytes are cut', 20, async (random) => {
  const bytes = Buffer.from(GOOD['capture']?.[0] as string)
  const read = async (pieces: readonly Uint8Array[]): Promise<CaptureRecord[]> => {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield* pieces
    }
    const records: CaptureRecord[] = []
    for await (const record of await Capture.read(chunks())) records.push(record)
    return records
  }
  expect(await read(cut(random, Uint8Array.from(bytes)))).toEqual(await read([bytes]))
})
