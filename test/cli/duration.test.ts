import { expect, test } from 'vitest'
import { MAX_DURATION_MS, parseDuration } from '../../src/cli/duration.ts'

test.each([
  ['0', 0],
  ['500ms', 500],
  ['10s', 10_000],
  ['1.5s', 1_500],
  ['2m', 120_000],
  ['1h', 3_600_000],
  ['24d', 2_073_600_000],
])('%s is %d ms', (text, ms) => {
  expect(parseDuration(text, '--wait')).toBe(ms)
})

test.each([
  ['10', 'a unit is missing: 10s'],
  ['', 'write 500ms'],
  ['s', 'write 500ms'],
  ['-1s', 'write 500ms'],
  ['1 s', 'write 500ms'],
  ['1S', 'write 500ms'],
  ['1e3s', 'write 500ms'],
  ['10sec', 'write 500ms'],
])('%j is refused, with what to write', (text, hint) => {
  expect(() => parseDuration(text, '--linger')).toThrow(`--linger: "${text}" is not a duration`)
  expect(() => parseDuration(text, '--linger')).toThrow(hint)
})

test('a duration that would overflow a timer is refused, not turned into 1 ms', () => {
  expect(parseDuration('24d', '--wait')).toBeLessThanOrEqual(MAX_DURATION_MS)
  expect(() => parseDuration('25d', '--wait')).toThrow('too long')
  expect(() => parseDuration(`${'9'.repeat(400)}h`, '--wait')).toThrow('too long')
})
