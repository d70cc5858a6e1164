import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SendLog } from '../../src/link/send-log.ts'

const step = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('append' as const), fc.oneof(fc.nat(5), fc.nat(300), fc.nat(9_000))) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('next' as const), fc.oneof(fc.nat(20), fc.nat(5_000))) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('drop' as const), fc.nat(1000)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('rewind' as const), fc.nat(1000)) },
)

test('it gives back what was put in, from wherever it is asked, and is as large as what it holds', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400, size: 'max' }), (steps) => {
      const log = new SendLog()
      let position = 0
      let oldest = 0
      let next = 0
      for (const [what, n] of steps) {
        if (what === 'append') {
          log.append(Uint8Array.from({ length: n }, (_, i) => (position + i) & 0xff))
          position += n
        } else if (what === 'next') {
          const bytes = log.next(n)
          if (n === 0 || next === position) expect(bytes).toBeNull()
          else {
            expect(bytes?.length).toBeGreaterThan(0)
            expect(bytes?.length).toBeLessThanOrEqual(n)
            for (const byte of bytes ?? []) if (byte !== (next++ & 0xff)) throw new Error(`wrong byte at ${next - 1}`)
          }
        } else if (what === 'drop') {
          const count = Math.floor(((next - oldest) * n) / 1000)
          log.drop(count)
          oldest += count
        } else {
          // Only what was sent is sent again.
          next = oldest + Math.floor(((next - oldest) * n) / 1000)
          log.rewind(next - oldest)
        }
        expect([log.byteLength, log.unsentBytes]).toEqual([position - oldest, position - next])
        expect(log.pieces).toBeLessThanOrEqual(4 + log.byteLength / 512)
      }
    }),
    { numRuns: 100 },
  )
})

test('hundreds of pieces: sending goes on in the middle after the front was let go', () => {
  const log = new SendLog()
  for (let i = 0; i < 300; i++) log.append(new Uint8Array(5_000).fill(i & 0xff))
  for (let i = 0; i < 200; i++) expect(log.next(5_000)?.[0]).toBe(i)
  log.drop(5_000 * 180)
  expect(log.next(5_000)?.[0]).toBe(200)
  log.rewind(5_000 * 10 + 7)
  expect(log.next(1 << 20)).toEqual(new Uint8Array(4_993).fill(190))
})

test('a large chunk is kept as it is; a small part of a larger one is copied, so that it does not hold it', () => {
  const log = new SendLog()
  const whole = new Uint8Array(8_192)
  const part = new Uint8Array(65_536).subarray(0, 8_192)
  log.append(whole)
  log.append(part)
  expect(log.next(8_192)?.buffer).toBe(whole.buffer)
  expect(log.next(8_192)?.buffer).not.toBe(part.buffer)
})
