import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineStarts } from '../../src/cli/log.ts'
import { EnterKeys, lastLinesStart } from '../../src/cli/piped-input.ts'

const latin1 = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))

function entered(...chunks: string[]): string {
  const keys = new EnterKeys()
  return chunks.map((chunk) => Buffer.from(keys.convert(latin1(chunk))).toString('latin1')).join('')
}

describe('piped input', () => {
  test.each([
    ['ls\n', 'ls\r'],
    ['ls\r\n', 'ls\r'],
    ['ls\r', 'ls\r'],
    ['\n\n', '\r\r'],
    ['\r\n\r\n', '\r\r'],
    ['a\r\rb', 'a\r\rb'],
    ['\x00\xff\x1d.', '\x00\xff\x1d.'],
  ])('%j becomes %j, split anywhere', (text, keys) => {
    for (let at = 0; at <= text.length; at++) expect(entered(text.slice(0, at), text.slice(at))).toBe(keys)
  })
})

describe('the last lines', () => {
  const text = 'one\r\ntwo\n\nfour'

  test.each([
    [text, 0, ''],
    [text, 1, 'four'],
    [text, 2, '\nfour'],
    [text, 3, 'two\n\nfour'],
    [text, 4, text],
    [text, 99, text],
    ['a\nb\n', 1, 'b\n'],
    ['\n', 1, '\n'],
    ['', 3, ''],
  ])('of %j, %d', (whole, count, last) => {
    expect(whole.slice(lastLinesStart(latin1(whole), count))).toBe(last)
    const starts = new LineStarts(count, 1000)
    starts.push(latin1(whole))
    expect(whole.slice(starts.first - 1000)).toBe(last)
  })

  test('a stream finds the same lines as the whole text, in any chunks', () => {
    const textOf = fc.array(fc.constantFrom('a', '\n', 'bc', '\r\n'), { maxLength: 30 }).map((parts) => parts.join(''))
    fc.assert(
      fc.property(textOf, fc.nat(12), fc.nat(30), (whole, count, cut) => {
        const starts = new LineStarts(count, 7)
        starts.push(latin1(whole.slice(0, cut)))
        starts.push(latin1(whole.slice(cut)))
        expect(starts.first - 7).toBe(lastLinesStart(latin1(whole), count))
      }),
    )
  })

  test('a first line that may have been cut by where the stream began is not taken for a whole one', () => {
    const starts = new LineStarts(2, 0)
    starts.push(latin1('wo\nthree\n'))
    expect(starts.complete).toBe(false)
    const more = new LineStarts(2, 0)
    more.push(latin1('ne\ntwo\nthree\n'))
    expect(more.complete).toBe(true)
  })
})
