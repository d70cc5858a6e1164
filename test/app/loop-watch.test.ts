import { expect, test } from 'vitest'
import { LoopWatch } from '../../src/app/loop-watch.ts'

/** A watch whose timer is this test. `tick(70)`: it came 70 ms after the last one, 20 later than planned. */
function watched() {
  let now = 1_000
  let ahead = 1_700_000_000_000
  const seen: number[] = []
  const watch = new LoopWatch((seconds) => seen.push(seconds), { now: () => now, wall: () => now + ahead })
  return {
    watch,
    seen,
    tick(ms: number) {
      now += ms
      watch.tick()
    },
    jump(ms: number) {
      ahead += ms
    },
  }
}

test('what comes later than planned is the delay; what is on time is none', () => {
  const { watch, seen, tick } = watched()
  for (let i = 0; i < 98; i++) tick(50)
  tick(70)
  tick(1_550)
  expect(seen.slice(-3).map((one) => Math.round(one * 1_000))).toEqual([0, 20, 1_500])
  expect(watch.recent).toEqual({ p50Ms: 1, p99Ms: 25, maxMs: 1_500 })
})

test('it looks back a minute or two, and forgets what was before', () => {
  const { watch, tick } = watched()
  tick(3_050)
  for (let i = 0; i < 1_300; i++) tick(50)
  expect(watch.recent.maxMs).toBe(3_000)
  for (let i = 0; i < 1_300; i++) tick(50)
  expect(watch.recent.maxMs).toBe(0)
})

test('a clock that is set is a jump, in both directions; one that is slewed, or a loop that hangs, is none', () => {
  const { watch, tick, jump } = watched()
  for (let i = 0; i < 100; i++) {
    jump(0.5)
    tick(50)
  }
  tick(60_000)
  expect([watch.jumps, watch.lastJump]).toEqual([0, null])
  jump(-5_000)
  tick(50)
  expect([watch.jumps, watch.lastJump?.byMs]).toEqual([1, -5_000])
  jump(3_600_000)
  tick(50)
  expect([watch.jumps, watch.lastJump?.byMs]).toEqual([2, 3_600_000])
})

test('before anything was seen, nothing is said', () => {
  expect(watched().watch.recent).toEqual({ p50Ms: 0, p99Ms: 0, maxMs: 0 })
})
