/** Long runs of everything at random: chunks, cuts, silent legs, stalls, ends. What must always hold is in the model. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Side, World } from './model.ts'

type Step = readonly [what: number, side: Side, n: number]

/** By weight; `n` is 0 to 999. */
const STEPS: readonly [weight: number, run: (world: World, side: Side, n: number) => void][] = [
  [8, (world, side, n) => world.end[side].write(n < 800 ? n % 7 : n - 700)],
  [20, (world, side, n) => carryAll(world, side, n < 800 ? n % 40 : 10_000)],
  // A leg is cut; one side notices now, the other when it looks.
  [2, (world, _side, n) => cutOne(world, n)],
  [2, (world, side, n) => loseOne(world, side, n)],
  // The dialler knows better, or has found another way.
  [1, (world) => void (world.end.D.close === null && world.dial())],
  [3, (world) => void (world.end.D.close === null && world.end.D.link.leg === null && world.dial())],
  [
    2,
    (world, side) => {
      world.end[side].stalled = true
    },
  ],
  [
    2,
    (world, side) => {
      world.end[side].stalled = false
      world.end[side].consume()
    },
  ],
  [3, (world, side, n) => world.end[side].consume(n % 50)],
  [2, (world, side) => world.end[side].link.acknowledge()],
  [1, (world, side) => world.end[side].link.ping()],
  [0.1, (world, side) => world.end[side].end()],
]

function carryAll(world: World, side: Side, count: number): void {
  for (const leg of world.legs) world.carry(leg, side, count)
}

function cutOne(world: World, n: number): void {
  const leg = world.legs[n % Math.max(1, world.legs.length)]
  if (leg !== undefined) world.cutLeg(leg)
}

function loseOne(world: World, side: Side, n: number): void {
  const leg = world.legs[n % Math.max(1, world.legs.length)]
  if (leg === undefined) return
  world.lose(leg, side)
  world.cutLeg(leg)
}

const side = fc.constantFrom<Side>('A', 'D')
const step: fc.Arbitrary<Step> = fc.tuple(
  fc.oneof(...STEPS.map(([weight], i) => ({ weight: weight * 10, arbitrary: fc.constant(i) }))),
  side,
  fc.nat(999),
)
const world = fc.record({
  window: fc.record({ A: fc.integer({ min: 1, max: 900 }), D: fc.integer({ min: 1, max: 900 }) }),
  chunk: fc.integer({ min: 1, max: 1500 }),
  legBytes: fc.integer({ min: 1, max: 2000 }),
})

test('whatever the network does: every byte once and in order, both ends once, memory within bounds', () => {
  fc.assert(
    fc.property(world, fc.array(step, { maxLength: 250, size: 'max' }), (options, script) => {
      const run = new World(options)
      run.dial()
      for (const [what, where, n] of script) {
        STEPS[what]![1](run, where, n)
        run.end.A.check()
        run.end.D.check()
        if (run.faults.length > 0) break
      }
      expect(run.faults).toEqual([])
      run.end.A.end()
      run.end.D.end()
      run.settle()
      run.checkDone()
      expect(run.faults).toEqual([])
    }),
    { numRuns: Number(process.env['RUNS'] ?? 100) },
  )
}, 60_000)

test('a stalled reader stops the sender at the smaller window, a PING is answered all the same', () => {
  const run = new World({ window: { A: 300, D: 5000 } })
  run.dial()
  run.settle()
  run.end.A.stalled = true
  run.end.D.write(100_000)
  for (let i = 0; i < 20; i++) carryAll(run, i % 2 === 0 ? 'A' : 'D', 10_000)
  expect(run.end.A.unconsumed).toBe(300)
  expect(run.end.D.link.keptBytes).toBe(300)
  run.end.D.link.ping()
  expect(run.end.D.link.pings).toBe(1)
  carryAll(run, 'A', 10)
  carryAll(run, 'D', 10)
  expect(run.end.D.link.pings).toBe(0)
  run.end.A.stalled = false
  run.end.A.consume()
  run.settle()
  expect(run.end.A.got).toBe(100_000)
  expect(run.faults).toEqual([])
})

test('a sender that keeps less than the reader takes is acknowledged in time', () => {
  const run = new World({ window: { A: 5000, D: 100 } })
  run.dial()
  run.settle()
  run.end.D.write(3000)
  // No settle(): nobody asks for acknowledgements here.
  for (let i = 0; i < 100; i++) carryAll(run, i % 2 === 0 ? 'A' : 'D', 10_000)
  expect(run.end.A.got).toBe(3000)
})

test('one-byte writes are kept in few pieces, and nothing is kept once it is acknowledged', () => {
  const run = new World({ window: { A: 100_000, D: 100_000 }, chunk: 1 })
  run.dial()
  run.settle()
  run.end.A.stalled = true
  run.end.D.write(50_000)
  carryAll(run, 'A', 1_000_000)
  expect(run.end.D.link.keptBytes).toBe(50_000)
  expect(run.end.D.link.keptPieces).toBeLessThan(20)
  run.settle()
  expect([run.end.D.link.keptBytes, run.end.D.link.keptPieces]).toEqual([0, 0])
  expect(run.faults).toEqual([])
})
