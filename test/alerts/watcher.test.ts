/** The thread and the way to it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import type { Hit } from '../../src/alerts/index.ts'
import { type AlertRule, BUILT_IN_RULES, OutputWatcher } from '../../src/alerts/index.ts'
import { ManualClock, silentLogger, systemClock } from '../../src/base/index.ts'
import { eventually } from '../vspc/loopback.ts'
import { ruleOf } from './support.ts'

const MIB = 1 << 20

interface Setup {
  readonly watcher: OutputWatcher
  readonly hits: Hit[]
  readonly said: string[]
}

/** @param program of the thread, in the place of ours. */
function setUp(rules: readonly AlertRule[], program?: string, clock = systemClock as typeof systemClock): Setup {
  const hits: Hit[] = []
  const said: string[] = []
  const say = (_fields: object, message: string) => void said.push(message)
  const dir = mkdtempSync(join(tmpdir(), 'vspc-alerts-'))
  const file = join(dir, 'thread.mjs')
  if (program !== undefined) writeFileSync(file, program)
  const watcher = new OutputWatcher({
    clock,
    log: { ...silentLogger, warn: say, error: say },
    maxBytes: MIB,
    tell: (hit) => hits.push(hit),
    ...(program === undefined ? {} : { workerFile: pathToFileURL(file) }),
  })
  onTestFinished(async () => {
    await watcher.close()
    rmSync(dir, { recursive: true })
  })
  watcher.watch(rules)
  return { watcher, hits, said }
}

test('what is given to the thread is found there, though the buffer is used again at once', async () => {
  const { watcher, hits } = setUp(BUILT_IN_RULES)
  const bytes = Buffer.from('[    1.0] Kernel panic - not syncing: x\r\n')
  watcher.output(7, 100, bytes)
  bytes.fill(0)
  await eventually('it is found', () => hits.length === 1)
  expect(hits).toEqual([
    { rule: 0, serial: 7, offset: 100, line: '[    1.0] Kernel panic - not syncing: x', suppressed: 0 },
  ])
})

test('a thread that hangs costs its batches and not a byte more: output goes on, and what is skipped is counted', async () => {
  const { watcher, said } = setUp([ruleOf('x')], 'for (;;);')
  const chunk = Buffer.alloc(65_536, 'y')
  const before = process.memoryUsage().arrayBuffers
  for (let offset = 0; offset < 512 * MIB; offset += chunk.length) watcher.output(1 + (offset % 7), offset, chunk)
  expect(watcher.counters.lookedAtBytes).toBeLessThanOrEqual(MIB)
  expect(watcher.counters.skippedBytes).toBe(512 * MIB - watcher.counters.lookedAtBytes)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * MIB)
  expect(said.filter((text) => text.includes('do not keep up'))).toHaveLength(1)
})

test('a thread that is stuck is ended, and another one takes its place', async () => {
  const clock = new ManualClock()
  const { watcher, said } = setUp([ruleOf('x')], 'for (;;);', clock)
  const chunk = Buffer.alloc(65_536, 'y')
  const flood = (): void => {
    for (let i = 0; i < 64; i++) watcher.output(1 + i, 0, chunk)
  }
  flood()
  clock.advance(29_000)
  flood()
  expect(watcher.counters.failures).toBe(0)
  clock.advance(2_000)
  flood()
  expect(watcher.counters.failures).toBe(1)
  expect(said.some((text) => text.includes('another one is started'))).toBe(true)
  const before = watcher.counters.lookedAtBytes
  flood()
  expect(watcher.counters.lookedAtBytes).toBe(before)
  clock.advance(5_000)
  flood()
  expect(watcher.counters.lookedAtBytes).toBeGreaterThan(before)
})

test('a thread that dies is started again, after a while', async () => {
  const clock = new ManualClock()
  const { watcher } = setUp([ruleOf('x')], 'process.exit(3)', clock)
  await eventually('it is seen', () => watcher.counters.failures === 1)
  clock.advance(5_000)
  await eventually('the next one dies too', () => watcher.counters.failures === 2)
})

test('a port that floods does not hide the others', async () => {
  const { watcher, hits } = setUp([ruleOf('needle')])
  const chunk = Buffer.alloc(65_536, 'x\n')
  for (let offset = 0; offset < 64 * MIB; offset += chunk.length) watcher.output(1, offset, chunk)
  // Nothing comes back before the end of this turn, and the flood has what it can get.
  expect(watcher.counters.skippedBytes).toBeGreaterThan(60 * MIB)
  watcher.output(2, 0, Buffer.from('needle\n'))
  await eventually('it is found', () => hits.length === 1)
  expect(hits[0]?.serial).toBe(2)
})

test('other rules count from the moment they are given; none, and there is no thread', async () => {
  const { watcher, hits } = setUp([ruleOf('one')])
  watcher.watch([ruleOf('two')])
  watcher.output(1, 0, Buffer.from('one\ntwo\n'))
  await eventually('it is found', () => hits.length === 1)
  expect(hits[0]?.line).toBe('two')
  watcher.watch([])
  expect(watcher.active).toBe(false)
  watcher.output(1, 8, Buffer.from('two\n'))
  expect(watcher.counters.failures).toBe(0)
})
