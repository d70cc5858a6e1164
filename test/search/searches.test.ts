import { expect, onTestFinished, test } from 'vitest'
import { ManualClock, silentLogger } from '../../src/base/index.ts'
import { type SearchedPort, Searches, type SearchNews } from '../../src/search/index.ts'
import { eventually } from '../vspc/loopback.ts'

const QUERY = {
  pattern: 'oops',
  ignoreCase: false,
  fixed: false,
  since: null,
  until: null,
  start: 0,
  end: Number.MAX_SAFE_INTEGER,
  context: 0,
  limit: 1_000_000,
  perPort: 1_000_000,
  counts: false,
}
const PIECE = Buffer.from('oops, and more\n'.repeat(10_000))

/** A port that never ends, in memory. */
function endless() {
  const port: SearchedPort = {
    id: 'name:vm1',
    name: 'vm1',
    epoch: 'e',
    start: 0,
    end: Number.MAX_SAFE_INTEGER,
    files: null,
    marks: { offsets: [], times: [] },
  }
  return {
    ports: 1,
    bytes: 1,
    next: () => Promise.resolve(port),
    again: () => port,
    load: () => Promise.resolve({ kind: 'bytes', bytes: Uint8Array.from(PIECE) } as const),
  }
}

test('a search whose client has ceased to read gives its place to others when its time is over', async () => {
  const clock = new ManualClock()
  const limits = () => ({ maxSearches: 1, searchMs: 1_000 })
  const searches = new Searches({ clock, log: silentLogger, limits })
  onTestFinished(() => searches.close())
  const { news } = searches.start(QUERY, endless())
  expect((await news.next()).value).toMatchObject({ kind: 'found' })
  clock.advance(999)
  expect(() => searches.start(QUERY, endless())).toThrow(expect.objectContaining({ code: 'VSPC_SEARCH_BUSY' }))
  clock.advance(1)
  expect(searches.running).toBe(0)
  const other = searches.start(QUERY, endless())
  // Who reads on, however late, is told how it ended.
  let last: SearchNews | null = null
  for await (const one of news) last = one
  expect(last).toMatchObject({ kind: 'end', end: 'time', totals: { truncated: true } })
  expect(searches.running).toBe(1)
  await other.stop()
})

test('a search that nobody has begun to read is over in time, too', async () => {
  const clock = new ManualClock()
  const searches = new Searches({ clock, log: silentLogger, limits: () => ({ maxSearches: 1, searchMs: 1_000 }) })
  onTestFinished(() => searches.close())
  searches.start(QUERY, endless())
  clock.advance(1_000)
  await eventually('its place is free', () => searches.running === 0)
})
