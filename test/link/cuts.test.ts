/** The leg is cut after every byte, in either direction, once and twice; and every order of a few events. */
import { expect, test } from 'vitest'
import { type Leg, type Side, World } from './model.ts'

/** Of the pairs of cuts, every so-manieth, all offsets in turn; STRIDE=1 takes all. */
const STRIDE = Number(process.env['STRIDE'] ?? 5)

interface Cut {
  readonly side: Side
  readonly after: number
}

/** A short conversation over legs of which the first ones break off after so many bytes to a side. */
function session(
  cuts: readonly Cut[],
  step: number,
  legBytes: number,
  pauses: boolean,
  begun: (leg: Leg) => void = () => {},
): World {
  const world = new World({ window: { A: 12, D: 20 }, chunk: 5, legBytes })
  const { A, D } = world.end
  begun(world.dial())
  D.write(17)
  A.write(9)
  if (pauses) A.stalled = true
  let cutsDone = 0
  const turns = step === 1 ? 400 : 60
  for (let turn = 0; turn < turns && (A.close === null || D.close === null); turn++) {
    if (turn === 4) A.write(16)
    if (turn === 6) D.end()
    if (turn === 8) A.end()
    if (turn === 9) {
      A.stalled = false
      A.consume()
    }
    if (turn % 5 === 4) {
      A.link.acknowledge()
      D.link.acknowledge()
    }
    if (D.close === null && D.link.leg === null) world.dial()
    for (const leg of world.legs) {
      const cut = leg.number === cutsDone ? cuts[cutsDone] : undefined
      for (const side of ['A', 'D'] as const) {
        const left = cut?.side === side ? cut.after - leg.arrived[side] : Number.POSITIVE_INFINITY
        world.carry(leg, side, Math.min(step, left))
        if (cut !== undefined && leg.arrived[side] === cut.after && cut.side === side && !leg.cut) {
          world.cutLeg(leg)
          cutsDone++
        }
      }
    }
  }
  world.settle()
  world.checkDone()
  return world
}

/** Bytes that arrive at a side over the whole session, on one leg. */
function lengthOf(side: Side, step: number, legBytes: number, pauses: boolean): number {
  let leg: Leg | undefined
  const world = session([], step, legBytes, pauses, (first) => {
    leg = first
  })
  expect(world.faults).toEqual([])
  expect(world.dials).toBe(1)
  return leg?.arrived[side] ?? 0
}

test('a session without cuts is over on both sides', () => {
  expect(lengthOf('A', 1000, 1000, false)).toBeGreaterThan(44 + 17)
})

test.each([
  [1, 1000, false],
  [3, 8, false],
  [1000, 1000, false],
  [1000, 10, true],
])('cut after every byte (steps of %d bytes, legs that take %d, reader stalled: %s)', (step, legBytes, pauses) => {
  for (const side of ['A', 'D'] as const) {
    for (let after = 0; after <= lengthOf(side, step, legBytes, pauses); after++) {
      const { faults } = session([{ side, after }], step, legBytes, pauses)
      expect({ side, after, faults }).toEqual({ side, after, faults: [] })
    }
  }
})

test.each([
  [11, 1000, false],
  [7, 8, true],
])(
  'cut twice, after pairs of bytes (steps of %d bytes, legs that take %d, reader stalled: %s)',
  (step, legBytes, pauses) => {
    const most = { A: lengthOf('A', step, legBytes, pauses), D: lengthOf('D', step, legBytes, pauses) }
    for (const first of ['A', 'D'] as const) {
      for (let one = 0; one <= most[first]; one++) {
        for (const second of ['A', 'D'] as const) {
          for (let two = one % STRIDE; two <= most[second]; two += STRIDE) {
            const cuts = [
              { side: first, after: one },
              { side: second, after: two },
            ]
            const { faults } = session(cuts, step, legBytes, pauses)
            if (faults.length > 0) expect({ cuts, faults }).toEqual({ cuts, faults: [] })
          }
        }
      }
    }
  },
  60_000,
)

/** What can happen next, in any order. Legs are carried whole or by a few bytes, so frames are cut too. */
const EVENTS: Record<string, (world: World) => void> = {
  dialler_writes: ({ end }) => end.D.write(3),
  acceptor_writes: ({ end }) => end.A.write(11),
  dialler_ends: ({ end }) => end.D.end(),
  acceptor_ends: ({ end }) => end.A.end(),
  to_acceptor: (world) => void (world.legs.at(-1) && world.carry(world.legs.at(-1)!, 'A')),
  to_dialler: (world) => void (world.legs.at(-1) && world.carry(world.legs.at(-1)!, 'D')),
  a_bit_each: (world) => {
    for (const leg of world.legs) {
      world.carry(leg, 'A', 50)
      world.carry(leg, 'D', 26)
    }
  },
  dialler_redials: (world) => void (world.end.D.close === null && world.dial()),
  acceptor_notices_death: (world) => {
    const leg = world.end.A.link.leg
    if (leg !== null) world.lose(leg, 'A')
    if (leg !== null) world.cutLeg(leg)
  },
  acceptor_stalls: ({ end }) => {
    end.A.stalled = !end.A.stalled
    if (!end.A.stalled) end.A.consume()
  },
  pings: ({ end }) => {
    end.A.link.ping()
    end.D.link.ping()
  },
}

test('every sequence of four events (and some of five), from the start and from the middle, comes to a good end', () => {
  const names = Object.keys(EVENTS)
  const run = (script: readonly string[], joined: boolean): void => {
    const world = new World({ window: { A: 8, D: 16 }, chunk: 4, legBytes: 40 })
    world.dial()
    if (joined) {
      world.carry(world.legs[0]!, 'A')
      world.carry(world.legs[0]!, 'D')
    }
    for (const name of script) EVENTS[name]!(world)
    world.end.A.end()
    world.end.D.end()
    world.settle()
    world.checkDone()
    if (world.faults.length > 0)
      expect({ script, joined, faults: world.faults }).toEqual({ script, joined, faults: [] })
  }
  const walk = (script: string[], left: number): void => {
    if (left === 0) {
      run(script, true)
      if (script.length < 5 || script[0] === 'to_acceptor') run(script, false)
      return
    }
    for (const name of names) walk([...script, name], left - 1)
  }
  for (let length = 0; length <= 4; length++) walk([], length)
  for (const first of ['to_acceptor', 'dialler_redials']) walk([first], 4)
}, 60_000)
