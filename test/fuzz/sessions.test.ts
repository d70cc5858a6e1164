/** Whole sessions in memory: hostile hosts at every moment of each other's vMotions, beside a healthy VM. */
import { describe, expect, test } from 'vitest'
import { campaign, shrink } from './campaign.ts'
import { HELLO } from './hostile.ts'
import { loadFuzzPages } from './pages.ts'
import { memoryGround } from './session-ground.ts'
import { type Act, formatAct, generateScript, parseAct } from './session-script.ts'
import { SessionWorld } from './session-world.ts'

const play = (acts: readonly Act[]): Promise<string[]> => new SessionWorld(memoryGround()).run(acts)

describe('pages', () => {
  for (const page of loadFuzzPages('session')) {
    test(page.name, async () => {
      const acts = page.lines.map((line) => parseAct(line, page.name))
      expect(acts.map(formatAct).map((line) => formatAct(parseAct(line, page.name)))).toEqual(acts.map(formatAct))
      expect(await play(acts)).toEqual([])
    })
  }
})

campaign('hostile hosts cost a healthy VM nothing, and leave nothing behind', 30, async (random) => {
  const acts = generateScript(random)
  const faults = await play(acts)
  if (faults.length === 0) return
  const kind = (fault: string): string => fault.replace(/\d+/g, '').slice(0, 30)
  const wanted = kind(faults[0] as string)
  const least = await shrink(acts, async (fewer) => (await play(fewer)).some((fault) => kind(fault) === wanted), 150)
  const page = least.map(formatAct).map((line) => line.slice(0, 2_000))
  throw new Error([...faults.map((fault) => fault.slice(0, 500)), 'the least of it, as a page:', ...page].join('\n'))
})

test('ten thousand mistakes of one connection are not ten thousand log lines', async () => {
  const ground = memoryGround()
  const unknownPeer = [0xff, 0xfa, 232, 44, 1, 0xff, 0xf0]
  const many = Array.from({ length: 2_000 }, () => unknownPeer).flat()
  const acts: Act[] = [{ line: 'A', do: 'send', parts: [HELLO] }]
  for (let n = 0; n < 5; n++) acts.push({ line: 'A', do: 'send', parts: [many] })
  expect(await new SessionWorld(ground).run(acts)).toEqual([])
  expect(ground.server.counters.unknownPeers).toBe(10_000)
  expect(ground.log.lines.length).toBeLessThan(100)
})
