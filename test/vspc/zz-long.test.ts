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

/** `begin deliver:1`: names, with a number where it matters. */
function script(text: string): Action[] {
  return text.split(' ').map((word) => {
    const [act, n = '0'] = word.split(':')
    return { act: act as Action['act'], n: Number(n) }
  })
}

/** `attach/2:8`: name, connection, number. */
function chaosScript(text: string): ChaosAction[] {
  return text.split(' ').map((word) => {
    const [, act, link = '0', n = '0'] = /^(\w+?)(?:\/(\d+))?(?::(\d+))?$/.exec(word) ?? []
    return { act: act as ChaosAction['act'], link: Number(link), n: Number(n) }
  })
}

/**
 * What once failed, with the fault it showed, in the product or in one of it with a line taken out. `prompt` and
 * `stalls` as in the properties below.
 */
const FAILED: [string, boolean][] = [
  // The old source's last bytes arrive after the destination's first.
  ['begin print proceed proceed proceed proceed print deliver:1 deliver:1 deliver:0', true],
  // The next BEGIN while the last vMotion's output still waits for its turn.
  ['proceed proceed proceed proceed complete:3 proceed deliverAll proceed print deliver deliver print proceed', false],
  // Typed during a vMotion that is then aborted, or given up without a word.
  ['proceed proceed type abort deliverAll', true],
  ['proceed deliver type', true],
  // BEGIN three times while the socket takes nothing.
  ['stall proceed beginNew beginNew intruder', true],
  // Last words of a stunned VM are no sign that it runs on.
  ['proceed print deliver type deliver', true],
  // The host breaks off at every step.
  ['proceed deliver crash:1 boot deliverAll type', true],
  ['proceed proceed proceed proceed stall crash type deliverAll', false],
  ['proceed proceed proceed replace proceed proceed', true],
  ['reconnect type reconnect type deliverAll', false],
  ['crash:16 boot crash type', true],
]
const CHAOS_FAILED: [string, boolean][] = [
  // A second port under one URI, told FIN long ago, got an id of its own and could not be sent anything.
  ['connect attach:2 advance attach:2 advance:31 print', false],
  // ABORT on a connection that a newer one had superseded, and that was told FIN: the port came back to it, deaf.
  ['type attach:2 attach:2 advance:55 fin/7 abort', false],
  // The chunk that proved the second port was lost.
  ['connect attach:2 advance attach:2 advance:18 print', false],
  // Output of a destination that was given up came out with that of the next.
  ['connect attach begin peer print/7 peer complete', false],
  ['print attach begin peer complete begin peer print/11', false],
  // One connection in two roles.
  ['stall attach:1 attach:1 peer attach:4 peer begin peer peer/15', true],
  // A destination whose first timer still ran.
  ['connect attach begin peer advance:34', false],
]

async function judge(actions: readonly Action[], prompt: boolean): Promise<void> {
  const world = await World.start({ prompt, highWaterMark: 40 })
  for (const one of actions) await world.do(one)
  await world.rest()
  expect(world.faults).toEqual([])
}

async function judgeChaos(actions: readonly ChaosAction[], stalls: boolean): Promise<void> {
  const chaos = new Chaos(stalls)
  for (const one of actions) await chaos.do(one)
  await chaos.rest()
  expect(chaos.faults).toEqual([])
}

describe('a VM that keeps to the protocol, on hosts and a network that need not', () => {
  test.each(FAILED)('%s', (text, prompt) => judge(script(text), prompt))

  // A failure prints its seed, and the shortest script it could find: add that to the list above.
  test('gets every byte once and in order, and gives every byte once and in order [C30, C34-C37, C40-C46]', async () => {
    const actions = fc.array(action, { maxLength: 80, size: 'max' })
    await fc.assert(fc.asyncProperty(actions, fc.boolean(), judge), { numRuns: 12000 })
  })
})

describe('hosts that say anything at any time', () => {
  test.each(CHAOS_FAILED)('%s', (text, stalls) => judgeChaos(chaosScript(text), stalls))

  test('lose and double nothing, get nothing that is not theirs, and leave no port deaf [C41-C48]', async () => {
    const actions = fc.array(chaosAction, { maxLength: 60, size: 'max' })
    await fc.assert(fc.asyncProperty(actions, fc.boolean(), judgeChaos), { numRuns: 12000 })
  })
})
