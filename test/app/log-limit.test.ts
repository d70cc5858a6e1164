import { expect, test } from 'vitest'
import { LogLimit } from '../../src/app/log-limit.ts'

/** A limit with a clock that stands still unless it is moved. */
function limited() {
  const told: [string, number][] = []
  const due: (() => void)[] = []
  let now = 0
  const limit = new LogLimit({
    tell: (message, count) => told.push([message, count]),
    now: () => now,
    after: (_ms, run) => due.push(run),
  })
  return { limit, told, due, pass: (ms: number) => (now += ms) }
}

const written = (limit: LogLimit, message: string, lines: number, fields: object = {}): number => {
  let count = 0
  for (let i = 0; i < lines; i++) if (limit.allows(fields, message)) count++
  return count
}

test('a flood of one message is cut, counted, and told once; others go on', () => {
  const { limit, told, due } = limited()
  const count = written(limit, 'peer left', 10_000)
  expect(count).toBe(200)
  expect(limit.leftOut).toBe(9_800)
  expect(written(limit, 'something else', 1)).toBe(1)
  expect(due).toHaveLength(1)
  due.shift()?.()
  expect(told).toEqual([['peer left', 9_800]])
  // Nothing new: nothing to tell.
  written(limit, 'something else', 1)
  expect(due).toHaveLength(0)
})

test('a flood that lasts is told again, at the pace of the limit', () => {
  const { limit, told, due, pass } = limited()
  written(limit, 'peer left', 1_000)
  due.shift()?.()
  pass(10_000)
  expect(written(limit, 'peer left', 1_000)).toBe(100)
  due.shift()?.()
  expect(told).toEqual([
    ['peer left', 800],
    ['peer left', 900],
  ])
})

test('what comes seldom is never cut, however long that goes on', () => {
  const { limit, pass } = limited()
  for (let second = 0; second < 5_000; second++) {
    expect(limit.allows({}, 'once a second')).toBe(true)
    pass(1_000)
  }
})

test('a whole site of ports may come back at once', () => {
  const { limit } = limited()
  expect(written(limit, 'port online', 20_000, { port: 'x' })).toBe(20_000)
  expect(written(limit, 'port online', 10, { port: 'x' })).toBe(0)
})

test('messages that never repeat share a limit in the end: no memory grows', () => {
  const { limit } = limited()
  let count = 0
  for (let i = 0; i < 5_000; i++) if (limit.allows({}, `message ${i}`)) count++
  expect(count).toBe(500 + 200)
})
