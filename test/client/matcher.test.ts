import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Matcher, type MatcherOptions } from '../../src/client/matcher.ts'
import { utf8BytesOf, utf8OpenTail } from '../../src/client/utf8.ts'

const bytes = (text: string) => Buffer.from(text, 'utf8')

function matcher(patterns: (string | RegExp)[], options: Partial<MatcherOptions> = {}): Matcher {
  return new Matcher({ patterns, failOn: [], encoding: 'utf8', strip: true, windowChars: 65_536, ...options })
}

/** Chunks in order, from `position` on, then a pause. */
function run(chunks: readonly Uint8Array[], make: () => Matcher, position = 0) {
  const one = make()
  let at = position
  for (const chunk of chunks) {
    const match = one.push(chunk, at)
    if (match) return match
    at += chunk.length
  }
  return one.settle()
}

/** Every way to cut `whole` in two, and byte by byte. */
function cuts(whole: Uint8Array): Uint8Array[][] {
  const inTwo = Array.from({ length: whole.length + 1 }, (_, at) => [whole.subarray(0, at), whole.subarray(at)])
  return [...inTwo, Array.from(whole, (byte) => Uint8Array.of(byte))]
}

const PAGES: [string, string, (string | RegExp)[], Partial<MatcherOptions>, string | null][] = [
  ['a prompt without a line end', 'boot ok\r\nlogin: ', ['login: '], {}, 'login: '],
  ['greedy groups are whole', 'exit 127\r\n# ', [/exit (\d+)/], {}, 'exit 127'],
  ['the end of the output', 'a # b\r\n# ', [/# $/], {}, '# '],
  ['the end of a line', 'one\r\ntwo\r\nthree', [/^tw.$/m], {}, 'two'],
  ['lookahead that later text forbids', 'foobar\nfoo baz\n', [/foo(?!bar)/], {}, 'foo'],
  ['over lines', 'BEGIN\r\n1\r\nEND\r\n2\r\nEND\r\n', [/BEGIN[\s\S]*END/], {}, 'BEGIN\r\n1\r\nEND'],
  ['the first line that matches, not the first pattern', 'one\r\ntwo\r\n', ['two', 'one'], {}, 'one'],
  ['colours inside', '\x1b[1;32mlog\x1b[0min:\x1b]0;title\x07 ', ['login: '], {}, 'login: '],
  ['colours kept', '\x1b[32mok\x1b[0m\n', [/\x1b\[32mok/], { strip: false }, '\x1b[32mok'],
  ['characters of several bytes', 'äöü 😀 grün\r\n', [/😀 gr.n/u], {}, '😀 grün'],
  ['8-bit', '\xff\xfe\x80ok\n', ['\u00c3\u00bf\u00c3\u00be'], { encoding: 'latin1', strip: false }, 'Ã¿Ã¾'],
  ['nothing there', 'all quiet\r\n# ', ['panic'], {}, null],
  ['the very beginning, which a later line is not', 'x\nroot\n', [/^root/], {}, null],
  ['the end of what had come, though more follows', 'a\r\nb\r\n', [/a\r\n$/], {}, 'a\r\n'],
  ['a line feed in the pattern', 'a\r\nb\r\n', ['a\r\nb'], {}, 'a\r\nb'],
  ['no line end for long', `${'-'.repeat(9_000)}done${'-'.repeat(9_000)}`, ['done'], {}, 'done'],
]

describe('the same match however the output is cut', () => {
  test.each(PAGES)('%s', (_name, output, patterns, options, expected) => {
    const whole = bytes(output)
    const reference = run([whole], () => matcher(patterns, options), 1_000)
    expect(reference?.text ?? null).toBe(expected)
    const ways = whole.length > 1_000 ? cuts(whole).slice(8_980, 9_020) : cuts(whole)
    for (const chunks of ways) {
      expect(run(chunks, () => matcher(patterns, options), 1_000)).toEqual(reference)
    }
    if (!reference) return
    // The way back to the bytes: what stands there is what matched, control sequences aside.
    const there = whole.subarray(reference.start - 1_000, reference.end - 1_000)
    const plain = options.encoding === 'latin1' ? there.toString('latin1') : there.toString('utf8')
    const shown = options.strip === false ? plain : plain.replace(/\x1b(?:\[[\d;]*m|\][^\x07]*\x07)/g, '')
    expect(shown).toBe(reference.text)
  })

  test('property: any output, any cut, any of many patterns', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      'ab',
      '\r\n',
      '\n',
      '\r',
      ' ',
      '\x1b[1m',
      '\x1b',
      'é',
      '😀',
      '\xff',
      '# ',
      '12',
    )
    const output = fc.array(piece, { maxLength: 60 }).map((pieces) =>
      // \xff as the byte, which is no UTF-8; the rest as UTF-8.
      Buffer.concat(pieces.map((text) => (text === '\xff' ? Buffer.of(0xff) : bytes(text)))),
    )
    const pattern = fc.constantFrom<string | RegExp>(
      ...['ab', '\r\n', /a+/, /a+b*$/, /^a/, /^b$/m, /b(?!a)/, /a[\s\S]*b/, /(\d+)/, /\bab\b/, /[^a]+b/, /# $/, /é./u],
      ...[/(?<=\n)a/, /\ba\B/, /😀/, /\n(?!a)/, /\r\n$/],
    )
    const cutAt = fc.array(fc.nat(200), { maxLength: 6 })
    const windowChars = fc.constantFrom(1, 3, 8, 65_536)
    const strip = fc.boolean()
    const encoding = fc.constantFrom('utf8', 'latin1')
    fc.assert(
      fc.property(
        ...[output, fc.array(pattern, { minLength: 1, maxLength: 3 }), fc.array(pattern, { maxLength: 1 })],
        ...[cutAt, windowChars, strip, encoding],
        (whole, patterns, failOn, cutting, windowChars, strip, encoding) => {
          const make = () =>
            matcher(patterns as RegExp[], { failOn, windowChars, strip, encoding } as unknown as MatcherOptions)
          const at = [...new Set(cutting as number[])].filter((n) => n < whole.length).sort((a, b) => a - b)
          const edges = [0, ...at, whole.length]
          const chunks = edges.slice(1).map((end, i) => whole.subarray(edges[i], end))
          expect(run(chunks, make)).toEqual(run([whole], make))
        },
      ),
      { numRuns: 3_000 },
    )
  })
})

describe('what it finds', () => {
  test('groups, named ones and those that took no part', () => {
    const match = run([bytes('status=3 up\n')], () => matcher([/status=(?<code>\d+)( down)? (\w+)/]))
    expect(match).toMatchObject({ index: 0, failed: false, groups: ['3', undefined, 'up'], named: { code: '3' } })
  })

  test('a failure counts before a match in the same line, but not before one in an earlier line', () => {
    const options = { failOn: [/panic/] }
    expect(run([bytes('login: panic\n')], () => matcher(['login:'], options))).toMatchObject({ failed: true })
    expect(run([bytes('login:\npanic\n')], () => matcher(['login:'], options))).toMatchObject({ failed: false })
    expect(run([bytes('panic\nlogin:\n')], () => matcher(['login:'], options))).toMatchObject({
      failed: true,
      index: 0,
    })
  })

  test('the open line is tried only when told that the output pauses', () => {
    const one = matcher([/exit (\d+)/])
    expect(one.push(bytes('exit 1'), 0)).toBeNull()
    expect(one.open).toBe(true)
    expect(one.push(bytes('27\r'), 6)).toMatchObject({ groups: ['127'] })
  })

  test('a match begins within the window, and a pattern cannot see further back', () => {
    const far = bytes(`BEGIN\n${'.\n'.repeat(50)}END\n`)
    expect(run([far], () => matcher([/BEGIN[\s\S]*END/], { windowChars: 50 }))).toBeNull()
    expect(run([far], () => matcher([/BEGIN[\s\S]*END/], { windowChars: 500 }))).not.toBeNull()
  })

  test('a match may begin a whole window back, however much came and was forgotten before', () => {
    for (let lines = 0; lines < 60; lines++) {
      const chunks = [
        ...Array.from({ length: lines }, () => bytes('x\n')),
        bytes('BEGIN\n'),
        bytes('....\n'),
        bytes('END\n'),
      ]
      const match = run(chunks, () => matcher([/BEGIN[\s\S]*END/], { windowChars: 15 }))
      expect(match).toMatchObject({ start: 2 * lines, end: 2 * lines + 14 })
      expect(run(chunks, () => matcher([/BEGIN[\s\S]*END/], { windowChars: 14 }))).toBeNull()
    }
  })

  test('20 MB of output without a match leave about a window in memory, and every line is tried', () => {
    const one = matcher([/needle (\d+)/, /[\s\S]needle/, /straw$/m], { windowChars: 4_096 })
    const chunk = bytes('a line of quite ordinary \x1b[31mhay\x1b[0m, as they come, ä and so on\r\n'.repeat(900))
    const before = process.memoryUsage().heapUsed
    let position = 0
    for (let round = 0; round < 400; round++) {
      expect(one.push(chunk, position)).toBeNull()
      position += chunk.length
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 << 20)
    const match = one.push(bytes('a needle 42\r\n'), position)
    expect(match).toMatchObject({ text: 'needle 42', start: position + 2, end: position + 11 })
  }, 30_000)
})

test('characters are counted in bytes as the decoder counts them, broken ones included', () => {
  const hostile = fc.array(
    fc.constantFrom(0x00, 0x41, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff),
    { maxLength: 12 },
  )
  fc.assert(
    fc.property(hostile, (list) => {
      const raw = Uint8Array.from(list)
      const open = utf8OpenTail(raw)
      const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw)
      expect(utf8BytesOf(raw, text.length)).toBe(raw.length)
      for (let units = 0; units <= text.length; units++) {
        const end = utf8BytesOf(raw, units)
        const part = new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw.subarray(0, end))
        expect(part.length).toBeGreaterThanOrEqual(units)
        expect(text.startsWith(part)).toBe(true)
      }
      // What is held back and then completed gives the same as all at once.
      const first = new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw.subarray(0, raw.length - open))
      const rest = new TextDecoder('utf-8', { ignoreBOM: true }).decode(raw.subarray(raw.length - open))
      expect(first + rest).toBe(text)
    }),
    { numRuns: 5_000 },
  )
})
