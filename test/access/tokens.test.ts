import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ANONYMOUS,
  digestOf,
  newSecret,
  secretFault,
  TICKET_PREFIX,
  TOKEN_PREFIX,
  timeOf,
} from '../../src/access/index.ts'
import { formatSecret } from '../../src/access/secret.ts'
import { formatTokens, parseTokens } from '../../src/access/token-file.ts'
import { type TokenRecord, TokenTable } from '../../src/access/tokens.ts'
import { errorMessage } from '../../src/base/index.ts'
import { accessOf } from './support.ts'

const BYTES = Uint8Array.from({ length: 32 }, (_, i) => i * 7)

describe('secrets', () => {
  test('say what they are, and are always of one length', () => {
    const shape = /^vspct_[0-9A-Za-z]{49}$/
    expect(newSecret(TOKEN_PREFIX)).toMatch(shape)
    expect(formatSecret(TOKEN_PREFIX, new Uint8Array(32))).toMatch(shape)
    expect(formatSecret(TOKEN_PREFIX, new Uint8Array(32).fill(255))).toMatch(shape)
    expect(newSecret(TOKEN_PREFIX)).not.toBe(newSecret(TOKEN_PREFIX))
  })

  // From an independent implementation (python: zlib.crc32, int.from_bytes, divmod by 62).
  test('are those that another program makes of the same bytes', () => {
    expect(formatSecret(TOKEN_PREFIX, BYTES)).toBe('vspct_00P7TMJAMtIAKPK15KMeONVl8lPkp3Q5J7OZtDH3YNd2TRCVi')
  })

  test('two of different bytes are different', () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(bytes, bytes, (one, other) => {
        fc.pre(one.some((byte, at) => byte !== other[at]))
        expect(formatSecret(TOKEN_PREFIX, one)).not.toBe(formatSecret(TOKEN_PREFIX, other))
        expect(secretFault(TOKEN_PREFIX, formatSecret(TOKEN_PREFIX, one))).toBeNull()
      }),
    )
  })

  test('any one character changed, and any two swapped, is noticed', () => {
    const token = formatSecret(TOKEN_PREFIX, BYTES)
    for (let at = 0; at < token.length; at++) {
      for (const other of '0Az') {
        if (token[at] === other) continue
        expect(secretFault(TOKEN_PREFIX, token.slice(0, at) + other + token.slice(at + 1))).not.toBeNull()
      }
      const [one = '', two = ''] = token.slice(at, at + 2)
      if (two !== '' && one !== two)
        expect(secretFault(TOKEN_PREFIX, token.slice(0, at) + two + one + token.slice(at + 2))).not.toBeNull()
    }
  })

  test('what is no token is told why, and never repeated', () => {
    const token = newSecret(TOKEN_PREFIX)
    const wrong = [
      '',
      'hunter2',
      newSecret(TICKET_PREFIX),
      token.slice(0, -1),
      `${token}0`,
      `${token.slice(0, -1)}\n`,
      `${token.slice(0, -2)}é0`,
    ]
    for (const text of wrong) {
      const fault = secretFault(TOKEN_PREFIX, text)
      expect(fault).not.toBeNull()
      if (text !== '') expect(fault).not.toContain(text)
    }
  })

  test('a cut one is told from a mistyped one', () => {
    const token = newSecret(TOKEN_PREFIX)
    expect(secretFault(TOKEN_PREFIX, token.slice(0, -1))).toContain('54 characters, not 55')
    expect(secretFault(TOKEN_PREFIX, `${token}0`)).toContain('56 characters, not 55')
  })

  test('a secret of fewer bytes is never made', () => {
    expect(() => formatSecret(TOKEN_PREFIX, new Uint8Array(16))).toThrow(RangeError)
  })
})

const DAY = 86_400_000
const NOW = Date.UTC(2026, 5, 1)
const record = (over: Partial<TokenRecord> = {}): TokenRecord => ({
  name: 'ci',
  sha256: digestOf('x'),
  groups: [],
  roles: [],
  ports: ['*'],
  created: new Date(NOW).toISOString(),
  expires: null,
  ...over,
})
const { roles } = accessOf('access: { roles: { night: [break] } }')

describe('who somebody with a token is', () => {
  test('unknown, known, expired to the millisecond', () => {
    const table = new TokenTable([record({ expires: new Date(NOW + DAY).toISOString() })], roles)
    expect(table.find(digestOf('y'), NOW)).toEqual({ kind: 'unknown' })
    expect(table.find(digestOf('x'), NOW + DAY - 1)).toMatchObject({
      kind: 'valid',
      subject: { user: 'ci', via: 'token' },
    })
    expect(table.find(digestOf('x'), NOW + DAY)).toEqual({ kind: 'expired', name: 'ci' })
    expect(table.find(digestOf('x'), Number.NaN)).toEqual({ kind: 'expired', name: 'ci' })
  })

  test('roles become rights on its ports; those that do not exist give nothing, and are named', () => {
    const table = new TokenTable([record({ roles: ['night', 'gone'], ports: ['web*'] })], roles)
    const found = table.find(digestOf('x'), NOW)
    expect(found).toMatchObject({ subject: { grants: [{ capabilities: ['break'], ports: [{ kind: 'name' }] }] } })
    expect(table.unknownRoles).toEqual(['token ci: role gone'])
  })

  test('a token that was removed, replaced under its name, or ran out no longer counts', () => {
    const before = new TokenTable([record()], roles).find(digestOf('x'), NOW)
    const subject = before.kind === 'valid' ? before.subject : ANONYMOUS
    expect(new TokenTable([record()], roles).current(subject, NOW)).not.toBeNull()
    expect(new TokenTable([], roles).current(subject, NOW)).toBeNull()
    expect(new TokenTable([record({ sha256: digestOf('y') })], roles).current(subject, NOW)).toBeNull()
    const short = new TokenTable([record({ expires: new Date(NOW).toISOString() })], roles)
    expect(short.current(subject, NOW)).toBeNull()
    expect(short.current(ANONYMOUS, NOW)).not.toBeNull()
    const less = new TokenTable([record({ roles: [], groups: ['new'] })], roles).current(subject, NOW)
    expect(less).toMatchObject({ groups: ['new'], grants: [] })
  })
})

test('times are those of the system, for every day of four centuries', () => {
  for (let at = Date.UTC(1970, 0, 1); at < Date.UTC(2370, 0, 1); at += DAY * 3 + 3_661_001) {
    const text = new Date(at).toISOString()
    if (timeOf(text) !== at) expect([text, timeOf(text)]).toEqual([text, at])
  }
  expect(timeOf('2026-02-29T00:00:00Z')).toBeNaN()
  expect(timeOf('2026-13-01T00:00:00Z')).toBeNaN()
})

describe('the file', () => {
  test('what is written is what is read, whatever the names', () => {
    const principal = fc.constantFrom(
      'ops',
      'a"b',
      'a\\b',
      "it's",
      '# no comment',
      '- x',
      'ä: b',
      '~',
      'true',
      '12',
      '*a',
      '&a',
      '{{}}',
    )
    const list = fc.array(principal, { maxLength: 3 })
    fc.assert(
      fc.property(list, list, fc.constantFrom(null, '2030-01-31T12:00:00.000Z'), (groups, more, expires) => {
        const records = [
          record({ groups, roles: more, expires }),
          record({ name: 'two', sha256: digestOf('2'), ports: ['web*', 'name:a\\*"b'] }),
        ]
        expect(parseTokens('t.yaml', formatTokens(records))).toEqual(records)
      }),
    )
    expect(parseTokens('t.yaml', formatTokens([]))).toEqual([])
  })

  test('a large file does not hold a server up: a thousandth of what YAML would take', () => {
    const many = Array.from({ length: 2_000 }, (_, i) => record({ name: `t${i}`, sha256: digestOf(`${i}`) }))
    const text = formatTokens(many)
    const started = performance.now()
    expect(parseTokens('t.yaml', text)).toEqual(many)
    expect(performance.now() - started).toBeLessThan(500)
    // Nor does one that is broken, at its very end or in the middle; and the place is right.
    expect(() => parseTokens('t.yaml', text.slice(0, -2))).toThrow(/^t\.yaml:2002:2: this is no JSON/)
    expect(() => parseTokens('t.yaml', text.replace('"t1000"', 't1000'))).toThrow(/^t\.yaml:1002:10: this is no JSON/)
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('a wrong value in JSON has its place, too', () => {
    const text = formatTokens([record(), record({ name: 'two', sha256: 'x' })])
    expect(() => parseTokens('t.yaml', text)).toThrow(/^t\.yaml:3:24: this is no SHA-256/)
  })

  const SHA = '0'.repeat(64)
  const head = 'version: 1\ntokens:\n'
  const token = (line: string) =>
    `${head}  - name: ci\n    sha256: "${SHA}"\n    created: 2030-01-31T12:00:00Z\n    ${line}\n`
  test.each([
    ['', 't.yaml:1:1: this is no file of tokens'],
    ['{', 't.yaml:1:2:'],
    ['hello', 't.yaml:1:1: the file holds'],
    ['version: 2\ntokens: []\n', 't.yaml:1:10: version is 2'],
    ['tokens: []\n', 't.yaml:1:1: this is no file of tokens'],
    [`${head}  - ci\n`, 't.yaml:3:5: tokens[0] is the text "ci"'],
    [`${head}  - name: ci\n`, 't.yaml:3:5: a token has'],
    [token('role: [admin]'), 't.yaml:6:5: "tokens[0].role" is not a setting'],
    [token('roles: admin'), 't.yaml:6:12: tokens[0].roles is the text "admin"'],
    [token('expires: tomorrow'), 't.yaml:6:14: "tomorrow" is no time'],
    [token('expires: 2030-02-31T00:00:00Z'), 't.yaml:6:14:'],
    [token('expires: 2030-01-31T12:00:00+01:00'), 't.yaml:6:14:'],
    [token('groups: ["a,b"]'), 't.yaml:6:14: "a,b" is no name of a group'],
    [token('ports: [web1, "hosts:1"]'), 't.yaml:6:19: "hosts:1" selects no ports'],
    [token('ports: [&a [*a]]'), 't.yaml:6:'],
    [
      `${token('groups: []')}  - name: ci\n    sha256: "${'1'.repeat(64)}"\n    created: 2030-01-31T12:00:00Z\n`,
      't.yaml:7:11: the name of tokens[0] again',
    ],
    [
      `${token('groups: []')}  - name: two\n    sha256: "${SHA}"\n    created: 2030-01-31T12:00:00Z\n`,
      't.yaml:8:13: the sha256 of tokens[0] again',
    ],
  ])('%j is refused at its place', (text, expected) => {
    let message = 'no problem'
    try {
      parseTokens('t.yaml', text)
    } catch (error) {
      message = errorMessage(error)
    }
    expect(message).toContain(expected)
  })

  test('a token that somebody put in the place of its SHA-256 is not repeated', () => {
    const secret = newSecret(TOKEN_PREFIX)
    let message = ''
    try {
      parseTokens('t.yaml', `${head}  - { name: ci, sha256: ${secret}, created: 2030-01-31T12:00:00Z }\n`)
    } catch (error) {
      message = errorMessage(error)
    }
    expect(message).toContain('t.yaml:3:25: this is no SHA-256')
    expect(message).not.toContain(secret.slice(6, 20))
  })

  test('any text ends in records or in a coded error, never in anything else', () => {
    const line = fc.constantFrom(
      'version: 1',
      'tokens:',
      '  - name: a',
      '    sha256: x',
      '  - null',
      '[',
      '&a',
      '*a',
      '? x',
      '---',
      '\u0000',
      '    ports: [*]',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(line, fc.string({ maxLength: 20 })), { maxLength: 8 }), (lines) => {
        try {
          expect(Array.isArray(parseTokens('t.yaml', lines.join('\n')))).toBe(true)
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^VSPC_CONFIG_/) })
        }
      }),
    )
  })
})
