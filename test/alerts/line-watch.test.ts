import { performance } from 'node:perf_hooks'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BatchWriter, readBatch } from '../../src/alerts/batch.ts'
import { compileRule } from '../../src/alerts/compile.ts'
import { withoutEscapes } from '../../src/alerts/escapes.ts'
import { BUILT_IN_RULES } from '../../src/alerts/index.ts'
import { MAX_LINE_BYTES, REST_MS } from '../../src/alerts/line-watch.ts'
import { LiteralSet } from '../../src/alerts/literal-set.ts'
import { RateLimits } from '../../src/alerts/rate.ts'
import { plainText } from '../../src/pattern/index.ts'
import { ruleOf, rulesFound, watchOf } from './support.ts'

test('colours in the middle of a word hide no match', () => {
  expect(rulesFound([ruleOf('disk full')], ['\x1b[31mdi\x1b[1msk\x1b[0m full\r\n'])).toEqual(['test'])
  expect(rulesFound([ruleOf('disk full')], ['disk\x1b[C', 'full\r\n'])).toEqual(['test'])
  expect(rulesFound([ruleOf('disk full')], ['\x1b]0;title\x07disk full\n'])).toEqual(['test'])
})

test('a cursor that is moved joins no words', () => {
  expect(rulesFound([ruleOf('disk full')], ['disk \x1b[5;5Hfull\r\n'])).toEqual([])
})

test('carriage returns end lines: what a progress bar wrote over is not shown with what it wrote', () => {
  const { hits, take } = watchOf([ruleOf('^90 %')])
  take('10 %\r90 %\r100 %\r\n')
  expect(hits).toEqual([{ rule: 0, serial: 1, offset: 5, line: '90 %', suppressed: 0 }])
})

test('a match is shown with its own line only, and harmless', () => {
  const { hits, take } = watchOf([ruleOf('disk full')])
  take('other\x1b[2Jdisk full \x00\x07\ton /dev/sda\x1b[Hmore\n')
  expect(hits.map(({ line }) => line)).toEqual(['disk full \ton /dev/sda'])
})

test('a line without an end, as a prompt, is looked at once it has rested, and told once', () => {
  const { hits, take, watch } = watchOf([ruleOf('login:'), ruleOf('password', { name: 'other' })])
  take('vm1 login: ', 1, 1_000)
  expect(watch.restless).toBe(true)
  watch.rest(1_000 + REST_MS - 1)
  expect(hits).toEqual([])
  watch.rest(1_000 + REST_MS)
  expect(hits.map(({ line }) => line)).toEqual(['vm1 login:'])
  expect(watch.restless).toBe(false)
  take('root password\r\n', 1, 9_000)
  expect(hits.map(({ rule }) => rule)).toEqual([0, 1])
})

test('where bytes are missing two halves of lines are no line', () => {
  const { hits, watch } = watchOf([ruleOf('disk full')])
  watch.take(1, 0, Buffer.from('disk '), 0, 5, 0)
  watch.take(1, 6, Buffer.from('full\n'), 0, 5, 0)
  expect(hits).toEqual([])
})

test('ports do not get into each other', () => {
  const { hits, take } = watchOf([ruleOf('disk full')])
  take('disk ', 1)
  take('disk ', 2)
  take('full\n', 2)
  take('empty\n', 1)
  expect(hits.map(({ serial }) => serial)).toEqual([2])
})

test('a line without end takes no memory without end, and is looked at in pieces', () => {
  const { hits, take, watch } = watchOf([ruleOf('needle')])
  for (let i = 0; i < 50; i++) take('x'.repeat(1_000))
  take(`needle${'x'.repeat(3 * MAX_LINE_BYTES)}`)
  expect(hits).toHaveLength(1)
  take(`${'y'.repeat(2 * MAX_LINE_BYTES)}needle\n`, 2)
  expect(hits).toHaveLength(2)
  expect(watch.forgotten).toBe(0)
})

test('unfinished lines of very many ports stay within their bound: the oldest go, and are counted', () => {
  const { hits, take, watch } = watchOf([ruleOf('needle')])
  const half = 'x'.repeat(7_000)
  take('need', 1)
  for (let serial = 2; serial < 4_000; serial++) take(half, serial)
  expect(watch.forgotten).toBeGreaterThan(10_000_000)
  take('le\n', 1)
  expect(hits).toEqual([])
})

test('a rule speaks of a port once in its time, then says how often it did not', () => {
  const { hits, take, watch } = watchOf([ruleOf('down', { everyMs: 1_000 })])
  for (const now of [0, 500, 999, 1_000, 1_001]) take('link down\n', 1, now)
  take('link down\n', 2, 1)
  expect(hits.map(({ serial, suppressed }) => [serial, suppressed])).toEqual([
    [1, 0],
    [1, 2],
    [2, 0],
  ])
  expect(watch.suppressed).toBe(3)
})

test('a rule that matches every line of a flood does not flood whoever is told', () => {
  const limits = new RateLimits()
  let told = 0
  for (let i = 0; i < 100_000; i++) if (limits.allow(0, 1, 0, i / 10) !== null) told++
  expect(told).toBe(1_000)
  expect(limits.suppressed).toBe(99_000)
  // Another port, another rule, and the next minute.
  expect(limits.allow(0, 2, 0, 10_000)).toBe(0)
  expect(limits.allow(1, 1, 0, 10_000)).toBe(0)
  expect(limits.allow(0, 1, 0, 60_000)).toBe(99_000)
})

test('limits of very many ports and rules take bounded memory', () => {
  const limits = new RateLimits()
  for (let serial = 0; serial < 100_000; serial++) limits.allow(0, serial, 1e9, 0)
  expect(limits.allow(0, 99_999, 1e9, 0)).toBeNull()
  // Forgotten.
  expect(limits.allow(0, 0, 1e9, 0)).toBe(0)
})

test('a pattern that says nothing of what a line holds is held against every line', () => {
  const rules = [ruleOf('^[0-9]+$', { name: 'number' }), ...BUILT_IN_RULES]
  expect(rulesFound(rules, ['a\n12\n', 'Kernel panic - not syncing: x\n', '3\r\n'])).toEqual([
    'number',
    'kernel-panic',
    'number',
  ])
})

test('ignoring case finds what Unicode takes for the same letter, and what is no ASCII', () => {
  const found = (pattern: string, line: string) =>
    rulesFound([ruleOf(pattern, { ignoreCase: true })], [`${Buffer.from(line).toString('latin1')}\n`])
  expect(found('disk full', 'DISK FULL')).toEqual(['test'])
  expect(found('disk full', 'di\u017f\u212a full')).toEqual(['test'])
  expect(found('skk', 'S\u212ak')).toEqual(['test'])
  expect(found('über', 'ÜBER')).toEqual(['test'])
})

test('the search finds what a plain search finds', () => {
  const letters = fc.constantFrom('a', 'b', 'A', 'B', 'k', '\n', 'é')
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'k'), minLength: 2, maxLength: 6 })
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 1, maxLength: 5 }),
      fc.string({ unit: letters, maxLength: 80 }),
      fc.nat(10),
      (words, text, from) => {
        const bytes = Buffer.from(text, 'latin1')
        const begin = Math.min(from, bytes.length)
        const found = words.map((one) => text.toLowerCase().indexOf(one, begin)).filter((at) => at >= 0)
        const expected = found.length === 0 ? bytes.length : Math.min(...found)
        expect(new LiteralSet(words).search(bytes, begin, bytes.length)).toBe(expected)
      },
    ),
  )
})

test('what is looked through without escape sequences holds whatever plain text holds', () => {
  const piece = fc.constantFrom(
    '\x1b[',
    '\x1b]',
    '\x1b',
    '\x07',
    '\x1b\\',
    '31m',
    '5;5H',
    'C',
    'J',
    ' ',
    '(B',
    'ab',
    '\x00',
    '\x9b',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.array(piece, { maxLength: 6 }), (before, after) => {
      const bytes = Buffer.from(`${before.join('')}\x1b[mneedle${after.join('')}`, 'latin1')
      fc.pre(plainText(bytes).includes('needle'))
      const target = new Uint8Array(bytes.length)
      const length = withoutEscapes(bytes, 0, bytes.length, target)
      expect(Buffer.from(target.subarray(0, length)).toString('latin1')).toContain('needle')
    }),
  )
})

test('batches give back what was put in, record by record, whatever the sizes', () => {
  const record = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.nat(100), fc.boolean())
  fc.assert(
    fc.property(fc.array(record, { maxLength: 30 }), (records) => {
      const buffer = new ArrayBuffer(1_024)
      const writer = new BatchWriter(buffer)
      const ends = new Map<number, number>()
      const put: string[] = []
      for (const [serial, length, isGap] of records) {
        const offset = (ends.get(serial) ?? 0) + (isGap ? 7 : 0)
        const bytes = Buffer.alloc(length, put.length + 1)
        const taken = writer.add(serial, offset, bytes, 0)
        expect(taken).toBeLessThanOrEqual(length)
        ends.set(serial, offset + taken)
        for (let at = 0; at < taken; at++) put.push(`${serial} ${offset + at} ${bytes[at]}`)
        if (taken < length) break
      }
      const got: string[] = []
      readBatch(buffer, writer.used, (serial, offset, bytes, from, to) => {
        for (let at = from; at < to; at++) got.push(`${serial} ${offset + at - from} ${bytes[at]}`)
      })
      expect(got).toEqual(put)
    }),
  )
})

test.each(['(a+)+$', '(a|aa)+$', '(.*)*x', '^(([a-z])+.)+[A-Z]([a-z])+$', '(a?){60}a{60}'])(
  'a pattern that takes others for ever takes its time by the length of the line: %s',
  (pattern) => {
    const rule = compileRule(ruleOf(pattern))
    const time = (length: number): number => {
      const line = `${'a'.repeat(length)}!`
      const begin = performance.now()
      rule.match(line)
      return performance.now() - begin
    }
    time(1_000)
    // Backtracking would not end within the age of the universe.
    expect(time(MAX_LINE_BYTES)).toBeLessThan(2_000)
  },
)
