import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Cookie, CookieTable, drawSecret, SECRET_BYTES, sameBytes } from '../../src/vmotion/index.ts'

const SEQUENCE = Uint8Array.of(0x76, 0x19, 0xff, 0xe9)
const SECRET = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const payload = (cookie: Cookie<unknown>) => Uint8Array.from([...cookie.sequence, ...cookie.secret])

describe('secrets', () => {
  test('have 8 bytes, none of them 00 or FF, and are never drawn twice [C31]', () => {
    const secrets = Array.from({ length: 10_000 }, () => drawSecret(randomBytes))
    expect(secrets.filter(({ length }) => length !== SECRET_BYTES)).toEqual([])
    expect(secrets.filter((secret) => secret.includes(0x00) || secret.includes(0xff))).toEqual([])
    expect(new Set(secrets.map((secret) => secret.join())).size).toBe(10_000)
  })

  test('every other byte value occurs: nothing more is left out than has to be', () => {
    const seen = new Set<number>()
    for (let i = 0; i < 5_000; i++) for (const byte of drawSecret(randomBytes)) seen.add(byte)
    expect(seen.size).toBe(254)
  })

  test.each([
    ['nothing but FF', (length: number) => new Uint8Array(length).fill(0xff)],
    ['nothing but 00', (length: number) => new Uint8Array(length)],
    ['nothing at all', () => new Uint8Array(0)],
  ])('a source that yields %s is an error with a code, not an endless loop [C50]', (_, random) => {
    expect(() => drawSecret(random)).toThrowError(expect.objectContaining({ code: 'VSPC_VMOTION_SECRET' }))
  })

  test('a source that yields one good byte at a time is made do with', () => {
    let calls = 0
    const secret = drawSecret((length) => {
      const bytes = new Uint8Array(length).fill(0xff)
      bytes[calls % length] = ++calls
      return bytes
    })
    expect([...secret]).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('a source that fails is not hidden', () => {
    const failure = new Error('entropy pool closed')
    expect(() =>
      drawSecret(() => {
        throw failure
      }),
    ).toThrow(failure)
  })
})

describe('CookieTable', () => {
  test('finds the whole payload alone: nothing truncated, extended, empty or of another secret [C43]', () => {
    const table = new CookieTable<string>(randomBytes)
    const cookie = table.open('port', SEQUENCE, SECRET)
    const good = payload(cookie)
    expect(table.find(good)).toBe(cookie)
    for (let length = 0; length < good.length; length++) expect(table.find(good.subarray(0, length))).toBeNull()
    for (let from = 1; from < good.length; from++) expect(table.find(good.subarray(from))).toBeNull()
    expect(table.find(Uint8Array.from([...good, 0]))).toBeNull()
    expect(table.find(Uint8Array.from([0, ...good]))).toBeNull()
    expect(table.find(SEQUENCE)).toBeNull()
    expect(table.find(SECRET)).toBeNull()
    expect(table.find(Uint8Array.from([...SECRET, ...SEQUENCE]))).toBeNull()
  })

  test('one wrong bit anywhere is a wrong cookie', () => {
    const table = new CookieTable<string>(randomBytes)
    const good = payload(table.open('port', SEQUENCE, SECRET))
    for (let bit = 0; bit < good.length * 8; bit++) {
      const wrong = good.slice()
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(table.find(wrong), `bit ${bit}`).toBeNull()
    }
  })

  test('a cookie is useless once closed, and closing it again harms no other', () => {
    const table = new CookieTable<string>(randomBytes)
    const first = table.open('a', SEQUENCE, SECRET)
    const second = table.open('b', Uint8Array.of(9), SECRET)
    table.close(first)
    table.close(first)
    expect(table.find(payload(first))).toBeNull()
    expect(table.find(payload(second))).toBe(second)
    expect(table.size).toBe(1)
    table.close({ owner: 'c', sequence: SEQUENCE, secret: SECRET })
    expect(table.size).toBe(1)
  })

  test('two ports with one sequence are told apart by their secrets [C40]', () => {
    const table = new CookieTable<string>(randomBytes)
    const a = table.open('a', SEQUENCE, drawSecret(randomBytes))
    const b = table.open('b', SEQUENCE, drawSecret(randomBytes))
    expect(table.find(payload(a))?.owner).toBe('a')
    expect(table.find(payload(b))?.owner).toBe('b')
    table.close(a)
    expect(table.find(payload(b))?.owner).toBe('b')
  })

  test('what the caller does to its arrays afterwards changes no cookie', () => {
    const table = new CookieTable<string>(randomBytes)
    // As Buffers, which is what sockets give: slice() of one is no copy.
    const sequence = Buffer.from(SEQUENCE)
    const secret = Buffer.from(SECRET)
    const cookie = table.open('port', sequence, secret)
    const good = payload(cookie)
    sequence.fill(0)
    secret.fill(0)
    expect(table.find(good)).toBe(cookie)
    expect([...cookie.sequence, ...cookie.secret]).toEqual([...good])
  })

  test('many entries opened and closed in any order: each is found while it is open, and leaves nothing behind', () => {
    const entry = fc.record({
      sequence: fc.uint8Array({ minLength: 1, maxLength: 20 }),
      secret: fc.uint8Array({ minLength: 8, maxLength: 8 }),
      closes: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 60 }), fc.integer(), (entries, seed) => {
        // A constant source of randomness, too: the table must be right, not only lucky.
        const table = new CookieTable<number>((length) => new Uint8Array(length).fill(seed & 0xff))
        const open: Cookie<number>[] = []
        entries.forEach(({ sequence, secret, closes }, i) => {
          const cookie = table.open(i, sequence, Uint8Array.from([...secret.subarray(0, 6), i, 1]))
          open.push(cookie)
          if (closes % 3 === 0) {
            const [closed] = open.splice(closes % open.length, 1)
            if (closed) {
              table.close(closed)
              expect(table.find(payload(closed))?.owner).not.toBe(closed.owner)
            }
          }
          expect(table.size).toBe(open.length)
        })
        for (const cookie of open) expect(table.find(payload(cookie))?.owner).toBe(cookie.owner)
        for (const cookie of open) table.close(cookie)
        expect(table.size).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  test('10,000 open vMotions of one sequence at once: each finds its own', () => {
    const table = new CookieTable<number>(randomBytes)
    const cookies = Array.from({ length: 10_000 }, (_, i) => table.open(i, SEQUENCE, drawSecret(randomBytes)))
    expect(cookies.filter((cookie) => table.find(payload(cookie)) !== cookie)).toEqual([])
    expect(table.find(new Uint8Array(12))).toBeNull()
  })
})

test('sameBytes: same length and same content', () => {
  expect(sameBytes(SEQUENCE, SEQUENCE.slice())).toBe(true)
  expect(sameBytes(new Uint8Array(0), new Uint8Array(0))).toBe(true)
  expect(sameBytes(SEQUENCE, SEQUENCE.subarray(0, 3))).toBe(false)
  expect(sameBytes(SEQUENCE, Uint8Array.of(0x76, 0x19, 0xff, 0xe8))).toBe(false)
})
