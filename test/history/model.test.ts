import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ACTIONS, type Action, type ActionName, World } from './model-world.ts'

const names = Object.keys(ACTIONS) as ActionName[]
const action: fc.Arbitrary<Action> = fc.record({
  act: fc.oneof(...names.map((name) => ({ arbitrary: fc.constant(name), weight: ACTIONS[name] }))),
  n: fc.nat(999),
})

test('whatever the disk does: no wrong byte, nothing shown twice or lost when shown, gaps are what was dropped', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 200, size: 'max' }), async (script) => {
      const world = await World.start()
      for (const one of script) {
        await world.do(one)
        expect(world.faults).toEqual([])
      }
      await world.rest()
      expect(world.faults).toEqual([])
    }),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
}, 60_000)
