import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { plainText, shownText, TextPattern } from '../../src/pattern/index.ts'

/** The slow and obvious way: line by line, the expression alone. */
function naive(pattern: TextPattern, bytes: Buffer): [number, number, string][] {
  const found: [number, number, string][] = []
  let start = 0
  while (start < bytes.length) {
    const feed = bytes.indexOf(10, start)
    const end = feed < 0 ? bytes.length : feed
    const text = plainText(bytes.subarray(start, end))
    if (pattern.test(text)) found.push([start, end, text])
    start = end + 1
  }
  return found
}

function scanned(pattern: TextPattern, bytes: Buffer): [number, number, string][] {
  const found: [number, number, string][] = []
  pattern.scan(bytes, (...line) => {
    found.push(line)
    return true
  })
  return found
}

const texts = (pattern: TextPattern, output: string | Buffer) =>
  scanned(pattern, Buffer.from(output)).map(([, , text]) => text)

describe('what is found', () => {
  test('lines with their places, with and without carriage returns and the last line feed', () => {
    const output = Buffer.from('one\r\ntwo oops\r\r\n\noops')
    expect(scanned(new TextPattern('oops'), output)).toEqual([
      [5, 15, 'two oops'],
      [17, 21, 'oops'],
    ])
    expect(texts(new TextPattern('oops$'), output)).toEqual(['two oops', 'oops'])
    expect(texts(new TextPattern('^oops'), output)).toEqual(['oops'])
  })

  test.each([
    ['a colour in the middle of a word', 'lo\x1b[1;31mgin\x1b[0m: ', 'login:'],
    ['a title before it', '\x1b]0;root@web01\x07login: ', '^login:'],
    ['a character set chosen by ncurses', '\x1b(B\x1b[m\x0flogin: ', '^login:'],
    ['a bell before it', '\x07login: ', '^login:'],
    ['a C1 introducer', '\u009b32mlog\u009b0min: ', '^login'],
    ['NUL bytes between', 'l\0o\0g\0i\0n', 'login'],
    ['a cleared screen before it', 'old\x1b[2J\x1b[Hlogin: ', '^login:'],
    ['a progress bar', ' 10%\r 20%\rdone', '^done$'],
    ['blanks that are moves', 'login:\x1b[4Croot', 'login: root'],
  ])('%s hides nothing', (_what, output, pattern) => {
    expect(texts(new TextPattern(pattern), `before\n${output}\nafter\n`)).toHaveLength(1)
  })

  test('a cursor that goes elsewhere joins no words', () => {
    expect(texts(new TextPattern('oneTwo'), 'one\x1b[5;1HTwo\n')).toEqual([])
    expect(texts(new TextPattern('one.*Two'), 'one\x1b[5;1HTwo\n')).toEqual([])
  })

  test('bytes that are no UTF-8 neither throw nor hide what is beside them', () => {
    const output = Buffer.from([0xff, 0xc3, 0x6f, 0x6f, 0x70, 0x73, 0xe2, 0x82, 0x0a, 0x80, 0x9b])
    expect(texts(new TextPattern('oops'), output)).toEqual(['\ufffd\ufffdoops\ufffd'])
    expect(texts(new TextPattern('^..oops.$'), output)).toHaveLength(1)
    expect(texts(new TextPattern('^.{2}$'), output)).toEqual(['\ufffd\ufffd'])
    expect(texts(new TextPattern('\ufffd'), output)).toHaveLength(2)
  })

  test('text as it is, and cases ignored as Unicode has them', () => {
    expect(texts(new TextPattern('a.b(', { fixed: true }), 'a.b(\naxb(\n')).toEqual(['a.b('])
    expect(
      texts(new TextPattern('KERNEL panic', { ignoreCase: true }), 'Kernel PANIC\n\u212aernel panic\n'),
    ).toHaveLength(2)
    expect(texts(new TextPattern('Gruß.', { ignoreCase: true, fixed: true }), 'GRUẞ.\ngruß.\ngrußx\n')).toHaveLength(2)
    expect(texts(new TextPattern('ÄRGER', { ignoreCase: true }), 'ärger\n')).toHaveLength(1)
  })

  test('a line that is too long is searched in parts that do not depend on the block', () => {
    const long = Buffer.from(`${'x'.repeat(65_535)}oops${'y'.repeat(70_000)}oops\nend\n`)
    const places = scanned(new TextPattern('oops'), long)
    expect(places.map(([start]) => start)).toEqual([131_072])
    expect(scanned(new TextPattern('end'), long)).toHaveLength(1)
    // Half of a word at each side of the cut.
    expect(texts(new TextPattern('oop$'), long)).toHaveLength(0)
    expect(texts(new TextPattern('xo$'), long)).toHaveLength(1)
  })

  test('an end that is asked for is kept to', () => {
    const lines = Buffer.from('oops 1\noops 2\noops 3\n')
    let count = 0
    expect(new TextPattern('oops').scan(lines, () => ++count < 2)).toBe(14)
    expect(count).toBe(2)
  })

  test('ranges are those of the text, none of them empty', () => {
    const pattern = new TextPattern('o+|x*')
    expect(pattern.ranges('foo boo', 10)).toEqual([
      [1, 3],
      [5, 7],
    ])
    expect(pattern.ranges('o o o', 2)).toHaveLength(2)
    expect(new TextPattern('x*').ranges('abc'.repeat(100), 3)).toEqual([])
  })
})

test('the fast search finds what the slow one finds, whatever the pattern and the output', () => {
  const words = ['oops', 'sk', 'K', '\u212a', 'ſ', 'Ärger', 'é', '\ufffd', 'panic: ', ' ', '\t', '1', 'a|b', '.']
  const noise = ['\r', '\n', '\r\n', '\x1b[31m', '\x1b[', '\x1b]0;t\x07', '\0', '\x0f', '\u0085', '\u009b1m']
  const bytes = fc.uint8Array({ maxLength: 3 }).map((raw) => Buffer.from(raw))
  const output = fc
    .array(
      fc.oneof(
        fc.constantFrom(...words, ...noise).map((text) => Buffer.from(text)),
        bytes,
      ),
      { maxLength: 60 },
    )
    .map((parts) => Buffer.concat(parts))
  const quoted = fc.constantFrom(...words).map((word) => word.replace(/[|.]/g, '\\$&'))
  const atom = fc.oneof(quoted, fc.constantFrom('.', '\\d+', '[a-p]', '^', '$', '\\b', '(?i:s)', 'x*', '\\s'))
  const sequence = fc.array(atom, { minLength: 1, maxLength: 4 }).map((atoms) => atoms.join(''))
  const pattern = fc.oneof(
    sequence,
    fc.array(sequence, { minLength: 2, maxLength: 3 }).map((parts) => `(?:${parts.join('|')})`),
    fc.tuple(sequence, sequence).map(([a, b]) => `(${a})+(?:${b})?`),
  )
  fc.assert(
    fc.property(pattern, fc.boolean(), output, (source, ignoreCase, bytesOut) => {
      const compiled = new TextPattern(source, { ignoreCase })
      expect(scanned(compiled, bytesOut)).toEqual(naive(compiled, bytesOut))
    }),
    { numRuns: 2_000 },
  )
})

describe('a pattern that would hurt', () => {
  test.each([
    ['', /empty/],
    ['(a', /missing closing/],
    ['a**b', /repetition/],
    ['(?=a)', /look-around/],
    ['\\1', /escape/],
    ['((a{100}){100}){100}', /repeat/],
    [`(?:${'a?'.repeat(20)}){60}`, /too large/],
    ['a'.repeat(1_001), /1000 characters/],
  ])('%j is refused with the reason', (source, reason) => {
    expect(() => new TextPattern(source)).toThrow(
      expect.objectContaining({ code: 'VSPC_PATTERN', message: expect.stringMatching(reason) }),
    )
  })

  test('flags that we add are not shown in the fault', () => {
    expect(() => new TextPattern('(oops', { ignoreCase: true })).toThrow('`(oops`')
  })

  test.each(['(x+x+)+y', '(x|x)*y', '(.*x){20}$y', '(?:x?){200}x{200}y'])('%s takes time as any other', (source) => {
    const pattern = new TextPattern(source)
    const line = Buffer.from(`${'x'.repeat(60_000)}\n`)
    const before = process.cpuUsage()
    expect(scanned(pattern, line)).toEqual([])
    // Backtracking would take longer than the universe has been there for.
    expect(process.cpuUsage(before).user).toBeLessThan(5_000_000)
  })

  test('sequences that never end take time as any others', () => {
    const pattern = new TextPattern('oops')
    const line = Buffer.from('\x1b]\x1b[1;1;1;1'.repeat(40_000))
    const before = process.cpuUsage()
    expect(scanned(pattern, line)).toEqual([])
    expect(process.cpuUsage(before).user).toBeLessThan(5_000_000)
  })
})

test('what is shown has no control characters, and is as long as what was searched', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: 'binary' }), (bytes, text) => {
      for (const plain of [plainText(bytes), plainText(Buffer.from(text)), text]) {
        const shown = shownText(plain)
        expect(shown).toHaveLength(plain.length)
        expect(shown).not.toMatch(/[\0-\x08\x0a-\x1f\x7f-\x9f\u202e]/)
        expect(Buffer.from(shown).toString()).toBe(shown)
      }
    }),
  )
})
