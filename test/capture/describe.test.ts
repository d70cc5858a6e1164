import { describe, expect, test } from 'vitest'
import {
  Capture,
  type CaptureLine,
  type CaptureRecord,
  captureLines,
  describeCapture,
  formatCaptureHeader,
  formatCaptureRecord,
} from '../../src/capture/index.ts'
import { encodeSubnegotiation, IAC } from '../../src/telnet/index.ts'

async function capture(records: readonly CaptureRecord[], tail = ''): Promise<Capture> {
  async function* chunks(): AsyncGenerator<string> {
    yield formatCaptureHeader({ source: 'te\u001b[31mst', started: '2026-11-22T15:08:01.000Z' })
    for (const record of records) yield formatCaptureRecord(record)
    yield tail
  }
  return await Capture.read(chunks())
}

async function lines(records: readonly CaptureRecord[], tail = ''): Promise<CaptureLine[]> {
  const found: CaptureLine[] = []
  for await (const line of captureLines(await capture(records, tail))) found.push(line)
  return found
}

const data = (from: 'vm' | 'proxy', ...bytes: number[]): CaptureRecord => ({
  kind: 'data',
  t: 1,
  stream: 0,
  from,
  bytes: Uint8Array.from(bytes),
})
const sub = (option: number, ...payload: number[]): number[] => [
  ...encodeSubnegotiation(option, Uint8Array.from(payload)),
]
const ascii = (text: string): number[] => [...Buffer.from(text)]

describe('a dump', () => {
  test.each<[string, 'vm' | 'proxy', number[], string]>([
    ['a negotiation', 'vm', [IAC, 251, 44], 'WILL COM-PORT'],
    ['an option without a name', 'vm', [IAC, 253, 99], 'DO 99'],
    ['a command', 'proxy', [IAC, 243], 'BRK'],
    ['an undefined command', 'vm', [IAC, 5], '5'],
    ['a COM-PORT setting', 'vm', sub(44, 1, 0, 0, 0x25, 0x80), 'COM-PORT SET-BAUDRATE 00 00 25 80'],
    ['its answer', 'proxy', sub(44, 101, 0, 0, 0x25, 0x80), 'COM-PORT SET-BAUDRATE (server) 00 00 25 80'],
    ['another option', 'vm', sub(24, 1), 'SB TERMINAL-TYPE 01'],
    ['direction client', 'vm', sub(232, 70, 0x43, ...ascii('x')), 'DO-PROXY client "x"'],
    ['an odd direction', 'vm', sub(232, 70, 0x41), 'DO-PROXY (direction 65) ""'],
    ['no direction', 'vm', sub(232, 70), 'DO-PROXY (no direction) ""'],
    ['an unknown suboption', 'vm', sub(232, 99, 1, 2), '99 01 02'],
    ['a cookie without a BEGIN', 'vm', sub(232, 44, 1, 2), 'VMOTION-PEER sequence and secret 01 02'],
    ['a complaint', 'proxy', sub(232, 3, 82), 'UNKNOWN-SUBOPTION-RCVD-2 82'],
    ['a stray SE', 'vm', [IAC, 240], '! stray-se: ff f0'],
    ['data', 'vm', [...ascii('a"\\'), 13, 10, 9, 27, 0, 0x9b, IAC, IAC], 'data "a\\"\\\\\\r\\n\\t\\e\\x00\\x9b\\xff"'],
    ['a name in another script', 'vm', sub(232, 82, ...ascii('東京-né')), 'VM-NAME "東京-né"'],
    ['a name that attacks the terminal', 'vm', sub(232, 82, 27, ...ascii(']0;x\u202e')), 'VM-NAME "\\e]0;x\\u{202e}"'],
    ['a name that is not UTF-8', 'vm', sub(232, 82, 0xc3, 0x28), 'VM-NAME "\\xc3("'],
  ])('shows %s', async (_, from, bytes, text) => {
    const [line, ...others] = await lines([data(from, ...bytes)])
    expect(line?.text).toBe(text)
    expect(others).toEqual([])
  })

  test('nothing printed holds a control character, whatever was recorded', async () => {
    const all = Array.from({ length: 256 }, (_, byte) => byte)
    const records = [
      data('vm', ...all),
      data('proxy', ...sub(232, 82, ...all)),
      data('vm', ...sub(232, 70, ...all)),
      { kind: 'open', t: 2, stream: 1, peer: 'a\u001b[2J', endpoint: 'b\u0007' } as const,
    ]
    for await (const line of describeCapture(await capture(records)))
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
  })

  test('long data are cut in the text and whole in the JSON', async () => {
    const [line] = await lines([data('vm', ...new Array<number>(5000).fill(0x61))])
    expect(line?.text).toMatch(/^data "a{72}"\.\.\. \(5000 bytes\)$/)
    expect(line?.hex).toHaveLength(10_000)
  })

  test('items cut in two by the recording are shown once, at the time of their end', async () => {
    const found = await lines([
      data('vm', 0x61, IAC),
      { ...data('vm', 251), t: 2 },
      { ...data('vm', 0, 0x62), t: 3 },
    ] as CaptureRecord[])
    expect(found.map(({ t, offset, text }) => [t, offset, text])).toEqual([
      [1, 0, 'data "a"'],
      [3, 1, 'WILL BINARY'],
      [3, 4, 'data "b"'],
    ])
  })

  test('gaps, opened and closed streams, what was cut off, and a torn end are said', async () => {
    const found = await lines(
      [
        { kind: 'open', t: 0, stream: 0, peer: 'p', endpoint: 'e' },
        { kind: 'open', t: 0, stream: 1, continued: true },
        { kind: 'gap', t: 1, records: 2, bytes: 30 },
        data('vm', IAC, 250, 232, 50),
        { kind: 'close', t: 2, stream: 0 },
      ],
      '{"t":3',
    )
    expect(found.map(({ text }) => text)).toEqual([
      'opened from p at e',
      'goes on (began in an earlier file)',
      'gap: 2 records, 30 bytes were not recorded',
      '! cut off: ff fa e8 32',
      'closed',
      'the file ends in the middle of a line',
    ])
  })

  test('a raw stream is data, IAC or not', async () => {
    const found = await lines([
      { kind: 'open', t: 0, stream: 0, endpoint: 'tcp://h:1?name=a&protocol=raw' },
      data('vm', IAC, 251),
      data('vm', 0x61),
    ])
    expect(found.slice(1).map(({ text, offset, kind }) => [text, offset, kind])).toEqual([
      ['data "\\xff\\xfb"', 0, 'raw'],
      ['data "a"', 2, 'raw'],
    ])
  })
})
