import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Backlog } from '../../src/history/backlog.ts'
import { BacklogTotals } from '../../src/history/blocks.ts'
import { byteAt, bytesAt, firstWrong } from './support.ts'

/** What is appended in one piece of this size has a block of its own. */
const BLOCK = 65_536

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

test('what is appended is copied: its buffer may be used again', () => {
  const backlog = new Backlog(new BacklogTotals())
  const buffer = bytesAt(1, 0, 200_000)
  backlog.append(buffer.subarray(0, 70_000), 0)
  backlog.append(buffer.subarray(70_000), 70_000)
  buffer.fill(0)
  for (let at = 0; at < 200_000; ) {
    const piece = backlog.read(at, 200_000, 200_000) as Uint8Array
    expect(firstWrong(1, at, piece)).toBeNull()
    at += piece.length
  }
})

interface Held {
  readonly stream: number
  readonly at: number
  readonly bytes: Uint8Array
}

test('blocks are used again, but not while a reader or the disk has them', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          port: fc.nat(2),
          act: fc.constantFrom('append', 'read', 'release', 'take', 'settle', 'clear'),
          n: fc.integer({ min: 1, max: 150_000 }),
        }),
        { maxLength: 80 },
      ),
      (steps) => {
        const totals = new BacklogTotals()
        const ports = [0, 1, 2].map((stream) => ({
          stream,
          backlog: new Backlog(totals),
          next: 0,
          written: 0,
          flight: 0,
          gone: 0,
        }))
        const held: Held[] = []
        const flying = new Map<number, Held[]>()
        for (const { port, act, n } of steps) {
          const one = ports[port] as (typeof ports)[number]
          const { backlog, stream } = one
          if (act === 'append') {
            backlog.append(bytesAt(stream, one.next, n), one.next)
            one.next += n
          } else if (act === 'read') {
            const at = n % (one.next + 1)
            const bytes = backlog.read(at, one.next, 65_536)
            if (bytes !== null) held.push({ stream, at, bytes })
          } else if (act === 'release' && held.length > 0) {
            const [done] = held.splice(n % held.length, 1)
            totals.giveBack((done as Held).bytes)
          } else if (act === 'take' && one.flight === 0 && backlog.pendingStart(one.written) !== null) {
            const views: Uint8Array[] = []
            one.written = backlog.pendingStart(one.written) ?? 0
            one.flight = backlog.take(one.written, n, views)
            const flight: Held[] = []
            let at = one.written
            for (const bytes of views) {
              flight.push({ stream, at, bytes })
              at += bytes.length
            }
            flying.set(port, flight)
          } else if (act === 'settle' && one.flight > 0) {
            backlog.landed()
            one.written += one.flight
            one.flight = 0
            flying.delete(port)
            backlog.settle(one.written)
            backlog.evict(n > 75_000 ? 0 : n)
          } else if (act === 'clear') {
            // As when its port is removed; what flies is still with the disk.
            backlog.clear()
            one.backlog = new Backlog(totals)
            one.flight = 0
            one.written = one.next
          }
          for (const { stream: from, at, bytes } of [...held, ...[...flying.values()].flat()]) {
            expect(firstWrong(from, at, bytes)).toBeNull()
          }
        }
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 60) },
  )
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
  for (let i = 0; i < 3; i++) backlog.append(bytesAt(1, i * BLOCK, BLOCK), i * BLOCK)
  expect(backlog.take(0, BLOCK, [])).toBe(BLOCK)
  expect(backlog.dropOldest(0, false)).toBe(BLOCK)
  // The write fails: its bytes are pending again, and those behind the hole do not follow them.
  backlog.landed()
  expect(backlog.take(0, 1_000_000, [])).toBe(BLOCK)
  backlog.landed()
  backlog.settle(BLOCK)
  expect([backlog.pendingStart(BLOCK), backlog.take(2 * BLOCK, 1_000_000, [])]).toEqual([2 * BLOCK, BLOCK])
})
