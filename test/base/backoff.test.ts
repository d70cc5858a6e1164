import { describe, expect, test } from 'vitest'
import { Backoff } from '../../src/base/index.ts'

const limits = { redialMinMs: 500, redialMaxMs: 15_000 }
const constant = (byte: number) => () => byte / 256

describe('Backoff', () => {
  test('pauses double up to the longest, never beyond', () => {
    const backoff = new Backoff(limits, constant(255))
    const pauses = Array.from({ length: 100 }, () => backoff.next())
    const full = pauses.map((pause) => Math.round(pause / (0.5 + 255 / 512)))
    expect(full.slice(0, 7)).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000])
    expect(Math.max(...pauses)).toBeLessThan(15_000)
  })

  test('chance shortens a pause by up to a half, so that a thousand hosts do not come back at once', () => {
    for (const byte of [0, 1, 100, 254, 255]) {
      const pause = new Backoff(limits, constant(byte)).next()
      expect(pause).toBeGreaterThanOrEqual(250)
      expect(pause).toBeLessThan(500)
    }
    expect(new Backoff(limits, constant(0)).next()).toBe(250)
  })

  test('after a success it begins with the shortest again', () => {
    const backoff = new Backoff(limits, constant(0))
    for (let i = 0; i < 10; i++) backoff.next()
    backoff.reset()
    expect(backoff.next()).toBe(250)
  })

  test('a longest pause below the shortest is the longest', () => {
    expect(new Backoff({ redialMinMs: 500, redialMaxMs: 100 }, constant(0)).next()).toBe(50)
  })
})
