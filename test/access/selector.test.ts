import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseGlob } from '../../src/access/glob.ts'
import { formatSelector, parseSelector, selects } from '../../src/access/selector.ts'
import { port, UUID } from './support.ts'

/** The obvious one: what a pattern means, as a regular expression. */
function naive(pattern: string): RegExp {
  const plainly = (character: string) => character.replace(/[\\^$.*+?()[\]{}|/]/gu, '\\$&')
  const text = [...pattern.matchAll(/\\(.)|([*?])|(.)/gsu)].map(([, literal, wild, plain]) =>
    wild === '*' ? '[^]*' : wild === '?' ? '[^]' : plainly(literal ?? plain ?? ''),
  )
  return new RegExp(`^${text.join('')}$`, 'u')
}

describe('patterns', () => {
  test.each([
    ['web*', 'web1', true],
    ['web*', 'web', true],
    ['web*', 'my-web1', false],
    ['web*', 'Web1', false],
    ['*-db', 'prod-db', true],
    ['*-db', 'prod-db2', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['w?b', 'wéb', true],
    ['w?b', 'w\u{1f600}b', true],
    ['w?b', 'wb', false],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['a\\\\', 'a\\', true],
    ['.*', 'anything', false],
    ['[ab]', 'a', false],
    ['web1', 'web1\n', false],
    ['*', '', true],
    ['?*', '', false],
  ])('"%s" and "%s": %s', (pattern, text, fits) => {
    expect(parseGlob(pattern).matches(text)).toBe(fits)
  })

  test('as the obvious way says, for any pattern and name', () => {
    const alphabet = fc.constantFrom('a', 'b', '*', '?', '.', '-', '\u{1f600}')
    const word = fc.array(alphabet, { maxLength: 9 }).map((all) => all.join(''))
    fc.assert(
      fc.property(word, word, (pattern, text) => {
        fc.pre(pattern !== '')
        expect(parseGlob(pattern).matches(text)).toBe(naive(pattern).test(text))
      }),
      { numRuns: 2_000 },
    )
  })

  test('a name made to be slow is not: the work is bounded by pattern times name', () => {
    const hostile = parseGlob(`${'*a'.repeat(127)}b`)
    const started = performance.now()
    expect(hostile.matches('a'.repeat(1_024))).toBe(false)
    // With backtracking over each star this would not end in this life; so it takes a millisecond or few.
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('what is too long to be a name fits nothing, not even "*"', () => {
    expect(parseGlob('*').matches('a'.repeat(1_025))).toBe(false)
  })

  test.each(['', 'a\\', 'a'.repeat(257)])('"%s" is no pattern', (text) => {
    expect(() => parseGlob(text)).toThrow(expect.objectContaining({ code: 'VSPC_CONFIG_INVALID' }))
  })
})

describe('selectors', () => {
  test.each([
    ['*', 'all', true, true, true],
    ['web*', 'name:web*', true, false, false],
    ['name:web*', 'name:web*', true, false, false],
    ['name:host:1', 'name:host:1', false, false, false],
    [`uuid:${UUID.toUpperCase()}`, `uuid:${UUID}`, true, false, false],
    ['uuid:56 4d 12 34 56 78 9a bc-de f0 11 22 33 44 55 66', `uuid:${UUID}`, true, false, false],
    ['host:10.0.*', 'host:10.0.*', true, true, false],
    ['name:*', 'name:*', true, false, false],
  ])('"%s" is %s: web1 %s, one without name and UUID %s, the whole server %s', (text, shown, web1, bare, server) => {
    const selector = parseSelector(text)
    expect(formatSelector(selector)).toBe(shown === 'all' ? '*' : shown)
    expect(selects(selector, port())).toBe(web1)
    expect(selects(selector, port({ name: '', uuid: null }))).toBe(bare)
    expect(selects(selector, null)).toBe(server)
  })

  test.each(['hosts:10.0.0.1', 'uuid:1234', 'uuid:', 'Name:web1', ''])(
    '"%s" is refused, not taken for a name',
    (text) => {
      expect(() => parseSelector(text)).toThrow(expect.objectContaining({ code: 'VSPC_CONFIG_INVALID' }))
    },
  )

  test('a VM that calls itself by a selector is not what that selects', () => {
    const other = port({ name: `uuid:${UUID}`, uuid: null, host: null })
    expect(selects(parseSelector(`uuid:${UUID}`), other)).toBe(false)
    expect(selects(parseSelector('host:*'), other)).toBe(false)
  })
})
