import { describe, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { EscapeParser, formatKey, parseEscapeChar } from '../../src/cli/escape.ts'

/** What comes out: bytes for the VM as text, commands as `<KEY>`. */
function run(escapeByte: number | null, chunks: readonly Uint8Array[]): string {
  const parser = new EscapeParser(escapeByte)
  let seen = ''
  const sink = {
    data: (bytes: Uint8Array) => {
      seen += Buffer.from(bytes).toString('latin1')
    },
    command: (byte: number) => {
      seen += `<${formatKey(byte)}>`
    },
  }
  for (const chunk of chunks) parser.push(chunk, sink)
  return seen
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))

const CASES: { name: string; typed: string; seen: string; escapeByte?: number | null }[] = [
  { name: 'plain text passes', typed: 'ls -l\r', seen: 'ls -l\r' },
  { name: 'a command in the middle', typed: 'ab\x1d.cd', seen: 'ab<.>cd' },
  { name: 'escape twice gives one', typed: 'a\x1d\x1db', seen: 'a\x1db' },
  { name: 'escape four times gives two', typed: '\x1d\x1d\x1d\x1d', seen: '\x1d\x1d' },
  { name: 'escape three times and a letter', typed: '\x1d\x1d\x1d?', seen: '\x1d<?>' },
  { name: 'commands back to back', typed: '\x1dw\x1ds\x1d.', seen: '<w><s><.>' },
  { name: 'an unknown letter sends nothing', typed: '\x1dkx', seen: '<k>x' },
  { name: 'Enter after the escape sends nothing', typed: '\x1d\rx', seen: '<^M>x' },
  { name: 'an arrow key after the escape is one command, its tail is not typed', typed: '\x1d\x1b[Ax', seen: '<^[>x' },
  { name: 'a key with parameters likewise', typed: '\x1d\x1b[1;5Cx', seen: '<^[>x' },
  { name: 'a function key of the SS3 kind likewise', typed: '\x1d\x1bOPx', seen: '<^[>x' },
  { name: 'Esc alone cancels', typed: '\x1d\x1bls', seen: '<^[>ls' },
  { name: 'Esc alone, then a command', typed: '\x1d\x1b\x1d.', seen: '<^[><.>' },
  { name: 'arrow keys outside of escapes pass', typed: '\x1b[A\x1bOB', seen: '\x1b[A\x1bOB' },
  { name: 'a letter outside ASCII after the escape sends none of its bytes', typed: '\x1d\xc3\xa9x', seen: '<0xc3>x' },
  { name: 'nor one of three or four bytes', typed: '\x1d\xe2\x82\xacx\x1d\xf0\x9f\x98\x80y', seen: '<0xe2>x<0xf0>y' },
  { name: 'a cut letter does not swallow what is typed next', typed: '\x1d\xe2ab', seen: '<0xe2>ab' },
  { name: 'a stray continuation byte is a command of one byte', typed: '\x1d\xa9\xa9', seen: '<0xa9>\xa9' },
  { name: 'a control character ends a broken key', typed: '\x1d\x1b[1\rx', seen: '<^[>\rx' },
  { name: '8-bit input passes', typed: '\x00\x80\xff\x1f', seen: '\x00\x80\xff\x1f' },
  { name: 'another escape character', typed: 'a~.b\x1d.', seen: 'a<.>b\x1d.', escapeByte: 0x7e },
  { name: 'an 8-bit chunk with NUL as escape', typed: 'a\x00.b', seen: 'a<.>b', escapeByte: 0 },
  { name: 'no escape character at all', typed: 'a\x1d.b', seen: 'a\x1d.b', escapeByte: null },
]

describe('escapes', () => {
  for (const { name, typed, seen, escapeByte = 0x1d } of CASES) {
    test(`${name}: whole, split at every offset, byte by byte`, () => {
      const whole = bytes(typed)
      expect(run(escapeByte, [whole])).toBe(seen)
      for (let at = 0; at <= whole.length; at++) {
        expect(run(escapeByte, [whole.subarray(0, at), whole.subarray(at)]), `split at ${at}`).toBe(seen)
      }
      expect(
        run(
          escapeByte,
          [...whole].map((byte) => Uint8Array.of(byte)),
        ),
      ).toBe(seen)
    })
  }

  test('every byte after the escape character is one command or the character itself, and never typed', () => {
    for (let byte = 0; byte < 256; byte++) {
      const seen = run(0x1d, [Uint8Array.of(0x1d, byte)])
      expect(seen).toBe(byte === 0x1d ? '\x1d' : `<${formatKey(byte)}>`)
    }
  })

  test('every byte outside of escapes is typed as it is', () => {
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0x1d)
    expect(run(0x1d, [all])).toBe(Buffer.from(all).toString('latin1'))
  })
})

describe('escape characters', () => {
  test.each([
    ['^]', 0x1d],
    ['^a', 1],
    ['^A', 1],
    ['^@', 0],
    ['^?', 0x7f],
    ['^^', 0x1e],
    ['^_', 0x1f],
    ['~', 0x7e],
    ['^', 0x5e],
    ['\x1d', 0x1d],
    ['none', null],
    ['NONE', null],
  ])('%j means %j', (text, byte) => {
    expect(parseEscapeChar(text, '-e')).toBe(byte)
  })

  test.each([
    ['', 'no escape character'],
    ['^1', 'no escape character'],
    ['ab', 'no escape character'],
    ['é', 'no escape character'],
    ['^M', 'Enter'],
    ['^j', 'Enter'],
    ['^[', 'arrow key'],
  ])('%j is refused with the source and a reason', (text, reason) => {
    expect(() => parseEscapeChar(text, 'VSPC_ESCAPE')).toThrow(VspcError)
    expect(() => parseEscapeChar(text, 'VSPC_ESCAPE')).toThrow(`VSPC_ESCAPE: "${text}"`)
    expect(() => parseEscapeChar(text, 'VSPC_ESCAPE')).toThrow(reason)
  })
})
