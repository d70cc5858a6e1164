import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Backlog, BacklogTotals } from '../../src/history/backlog.ts'
import { byteAt, bytesAt, firstWrong } from './support.ts'

type Act =
  | { act: 'append'; n: number }
  | { act: 'take' | 'settle' | 'abandon'; n: number }
  | { act: 'drop'; newest: boolean }
  | { act: 'evict'; n: number }

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ act: fc.constant('append' as const), n: fc.integer({ min: 1, max: 4000 }) }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constant('append' as const), n: fc.integer({ min: 1, max: 80 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({ act: fc.constantFrom('take' as const, 'settle', 'abandon'), n: fc.nat(9000) }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('drop' as const), newest: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('evict' as const), n: fc.nat(6000) }) },
)

/** Offsets that are held, and what is being written: the naive truth. */
class Naive {
  readonly held = new Set<number>()
  next = 0
  written = 0
  flight: { from: number; to: number } | null = null
}

function play(acts: readonly Act[]): void {
  const totals = new BacklogTotals()
  const backlog = new Backlog(totals)
  const naive = new Naive()
  for (const one of acts) {
    step(backlog, naive, one)
    compare(backlog, naive, totals)
  }
  backlog.clear()
  expect([totals.pending, totals.tail, backlog.empty]).toEqual([0, 0, true])
}

function step(backlog: Backlog, naive: Naive, one: Act): void {
  switch (one.act) {
    case 'append':
      backlog.append(bytesAt(1, naive.next, one.n), naive.next)
      for (let i = 0; i < one.n; i++) naive.held.add(naive.next + i)
      naive.next += one.n
      break
    case 'take':
      if (naive.flight === null) take(backlog, naive, 1 + one.n)
      break
    case 'settle':
    case 'abandon': {
      if (naive.flight === null) break
      const { from, to } = naive.flight
      naive.flight = null
      backlog.landed()
      if (one.act === 'abandon') break
      naive.written = from + 1 + (one.n % (to - from))
      backlog.settle(naive.written)
      break
    }
    case 'drop':
      drop(backlog, naive, one.newest)
      break
    case 'evict':
      evict(backlog, naive, one.n)
      break
  }
}

function take(backlog: Backlog, naive: Naive, maxBytes: number): void {
  const from = backlog.pendingStart(naive.written)
  const first = [...naive.held].filter((offset) => offset >= naive.written).sort((a, b) => a - b)[0] ?? null
  expect(from).toBe(first)
  if (from === null) return
  // Bytes before a hole have nothing behind them: the caller goes on at `from`, in another file.
  naive.written = from
  const views: Uint8Array[] = []
  const bytes = backlog.take(from, maxBytes, views)
  expect(bytes).toBeGreaterThan(0)
  // One piece may be larger than asked for, several together may not.
  if (views.length > 1) expect(bytes).toBeLessThanOrEqual(maxBytes)
  let at = from
  for (const view of views) {
    expect(firstWrong(1, at, view)).toBeNull()
    at += view.length
  }
  expect(at - from).toBe(bytes)
  naive.flight = { from, to: at }
}

function drop(backlog: Backlog, naive: Naive, newest: boolean): void {
  const before = naive.held.size
  const bytes = backlog.dropOldest(naive.written, newest)
  // Which ones went, the backlog says: they must be pending, in one run, and not be in flight.
  const gone = [...naive.held].filter((offset) => backlog.read(offset, naive.next, 1) === null)
  const unwritten = gone.filter((offset) => offset >= naive.written)
  expect(unwritten.length).toBe(bytes)
  if (naive.flight) for (const offset of gone) expect(offset).toBeGreaterThanOrEqual(naive.flight.to)
  if (!newest) expect(gone).not.toContain(naive.next - 1)
  for (const offset of gone) naive.held.delete(offset)
  expect(before - naive.held.size).toBe(gone.length)
}

function evict(backlog: Backlog, naive: Naive, keep: number): void {
  backlog.evict(keep)
  const gone = [...naive.held].filter((offset) => backlog.read(offset, naive.next, 1) === null)
  for (const offset of gone) {
    expect(offset).toBeLessThan(naive.written)
    naive.held.delete(offset)
  }
}

function compare(backlog: Backlog, naive: Naive, totals: BacklogTotals): void {
  const offsets = [...naive.held].sort((a, b) => a - b)
  expect(backlog.start).toBe(offsets[0] ?? null)
  for (const offset of [0, naive.written, naive.next - 1, ...offsets.filter((_, i) => i % 97 === 0)]) {
    const piece = backlog.read(offset, naive.next, 50)
    expect(piece !== null).toBe(naive.held.has(offset))
    if (piece !== null) expect(firstWrong(1, offset, piece)).toBeNull()
  }
  expect([totals.pending, totals.tail]).toEqual([backlog.pendingCost, backlog.tailCost])
  // Costs cover the bytes, and not much more than that and a block.
  const pending = offsets.filter((offset) => offset >= naive.written).length
  expect(backlog.pendingCost).toBeGreaterThanOrEqual(pending)
  expect(backlog.pendingCost === 0).toBe(pending === 0)
}

test('it holds what a naive one would, whatever is appended, written, dropped and evicted in whatever order', () => {
  fc.assert(fc.property(fc.array(act, { maxLength: 60 }), play), { numRuns: Number(process.env['RUNS'] ?? 150) })
})

test('a large chunk is kept by reference, and a small part of a large buffer is not', () => {
  const backlog = new Backlog(new BacklogTotals())
  const chunk = bytesAt(1, 0, 65_536)
  backlog.append(chunk, 0)
  expect(backlog.read(0, 100_000, 100_000)?.buffer).toBe(chunk.buffer)
  backlog.append(chunk.subarray(0, 3000), 65_536)
  expect(backlog.read(65_536, 100_000, 1)?.buffer).not.toBe(chunk.buffer)
})

test('bytes that come one by one share blocks: a megabyte of them is less than a hundred pieces', () => {
  const backlog = new Backlog(new BacklogTotals())
  for (let i = 0; i < 1 << 20; i++) backlog.append(Uint8Array.of(byteAt(1, i)), i)
  const views: Uint8Array[] = []
  expect(backlog.take(0, 1 << 20, views)).toBeGreaterThan((1 << 20) - 20_000)
  expect(views.length).toBeLessThan(100)
  expect(backlog.pendingCost).toBeLessThan((1 << 20) + 40_000)
})

test('a view handed out does not change when more is packed behind it', () => {
  const backlog = new Backlog(new BacklogTotals())
  backlog.append(bytesAt(1, 0, 10), 0)
  const before = backlog.read(0, 10, 100) as Uint8Array
  backlog.append(bytesAt(1, 10, 10), 10)
  expect(before.length).toBe(10)
  expect(backlog.read(0, 20, 100)?.length).toBe(20)
})

test('what is written next ends at a hole', () => {
  const backlog = new Backlog(new BacklogTotals())
  for (let i = 0; i < 3; i++) backlog.append(bytesAt(1, i * 3000, 3000), i * 3000)
  expect(backlog.take(0, 3000, [])).toBe(3000)
  expect(backlog.dropOldest(0, false)).toBe(3000)
  // The write fails: its bytes are pending again, and those behind the hole do not follow them.
  backlog.landed()
  expect(backlog.take(0, 100_000, [])).toBe(3000)
  backlog.landed()
  backlog.settle(3000)
  expect([backlog.pendingStart(3000), backlog.take(6000, 100_000, [])]).toEqual([6000, 3000])
})
