import { EventEmitter } from 'node:events'
import { expect, test, vi } from 'vitest'
import { LogFiles } from '../../src/app/log-files/log-files.ts'
import { NameTemplate } from '../../src/app/log-files/names.ts'
import { ManualClock, silentLogger } from '../../src/base/index.ts'
import { Searches } from '../../src/search/index.ts'
import type { Server } from '../../src/vspc/index.ts'

/** A double: a thread that hangs in a call to a disk that does not answer. Nothing ends such a thread. */
vi.mock('node:worker_threads', () => ({
  Worker: class extends EventEmitter {
    unref() {}
    postMessage() {}
    terminate() {
      return new Promise(() => {})
    }
  },
}))

/** Lets promises go on, then time, until `ended`. */
async function within(ms: number, clock: ManualClock, ended: Promise<unknown>): Promise<boolean> {
  let over = false
  void ended.then(() => {
    over = true
  })
  for (let passed = 0; passed <= ms && !over; passed += 100) {
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(100)
  }
  await new Promise((resolve) => setImmediate(resolve))
  return over
}

test('a directory of log files that does not answer does not hold up the end of the server', async () => {
  const clock = new ManualClock()
  const table = { get: () => undefined, [Symbol.iterator]: () => [].values() }
  const histories = { flush: () => Promise.resolve() }
  const server = { clock, limits: { logFileBytes: 65_536 }, table, histories } as unknown as Server
  const files = new LogFiles(
    { dir: '/nowhere', layout: 'named', template: new NameTemplate('{name}') },
    server,
    silentLogger,
  )
  expect(await within(5_000, clock, files.close(1_000))).toBe(true)
})

test('a search whose disk does not answer does not hold up the end of the server', async () => {
  const clock = new ManualClock()
  const searches = new Searches({ clock, log: silentLogger, limits: () => ({ maxSearches: 1, searchMs: 60_000 }) })
  const source = {
    ports: 0,
    bytes: 0,
    next: () => Promise.resolve(null),
    again: () => null,
    load: () => Promise.resolve({ kind: 'gone' } as const),
  }
  const query = { pattern: 'x', ignoreCase: false, fixed: false, since: null, until: null, start: 0, end: 1 }
  searches.start({ ...query, context: 0, limit: 1, perPort: 1, counts: false }, source)
  expect(await within(5_000, clock, searches.close())).toBe(true)
})
