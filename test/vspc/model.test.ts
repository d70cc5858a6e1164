import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CHAOS, Chaos, type ChaosAction } from './chaos-world.ts'
import { ACTIONS, type Action, World } from './model-world.ts'

function weighted<Name extends string>(weights: Record<Name, number>): fc.Arbitrary<Name> {
  const names = Object.keys(weights) as Name[]
  return fc.oneof(...names.map((name) => ({ arbitrary: fc.constant(name), weight: weights[name] })))
}

const action: fc.Arbitrary<Action> = fc.record({ act: weighted(ACTIONS), n: fc.nat(59) })
const chaosAction: fc.Arbitrary<ChaosAction> = fc.record({ act: weighted(CHAOS), link: fc.nat(15), n: fc.nat(59) })

describe('any interleaving', () => {
  test('a VM that keeps to the protocol gets every byte once and in order, whatever its hosts and network do', async () => {
    const actions = fc.array(action, { maxLength: 80, size: 'max' })
    await fc.assert(
      fc.asyncProperty(actions, fc.boolean(), async (script, prompt) => {
        const world = await World.start({ prompt, highWaterMark: 40 })
        for (const one of script) await world.do(one)
        await world.rest()
        expect(world.faults).toEqual([])
      }),
      { numRuns: Number(process.env['RUNS'] ?? 1000) },
    )
  })

  test('hosts that say anything at any time lose and double nothing, and leave no port deaf', async () => {
    const actions = fc.array(chaosAction, { maxLength: 60, size: 'max' })
    await fc.assert(
      fc.asyncProperty(actions, fc.boolean(), async (script, stalls) => {
        const chaos = new Chaos(stalls)
        for (const one of script) await chaos.do(one)
        await chaos.rest()
        expect(chaos.faults).toEqual([])
      }),
      { numRuns: Number(process.env['RUNS'] ?? 1000) },
    )
  })
})
