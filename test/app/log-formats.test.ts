import { describe, expect, test } from 'vitest'
import { formatLog } from '../../src/app/log-format.ts'
import { type LogEntry, type LogPart, logLines, logParts, MAX_LINE_BYTES } from '../../src/app/log-lines.ts'
import { limitsWith, ManualClock } from '../../src/base/index.ts'
import { type History, MemoryHistoryStore } from '../../src/history/index.ts'
import { RawVm, startApp } from './support.ts'

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))
const T0 = 1_700_000_000_000
const part = (offset: number, ms: number | null, text: string): LogPart => {
  return { kind: 'bytes', offset, time: ms === null ? null : T0 + ms, bytes: bytes(text) }
}
const gap = (offset: number, missing: number, ms: number, until: number): LogPart => {
  return { kind: 'gap', offset, missing, time: T0 + ms, until: T0 + until }
}

async function* given(...parts: LogPart[]): AsyncGenerator<LogPart> {
  yield* parts
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = []
  for await (const item of items) found.push(item)
  return found
}

const textOf = (entry: LogEntry) =>
  entry.kind === 'gap' ? `gap ${entry.missing}` : Buffer.from(entry.bytes).toString('latin1') + (entry.more ? '~' : '')

describe('lines', () => {
  test('have the time and offset of their first byte, however the output was cut', async () => {
    const lines = await all(
      logLines(given(part(0, 0, 'ab'), part(2, 100, 'c\r\nd'), part(6, 200, '\n\n'), part(8, 300, 'e'))),
    )
    expect(lines.map((line) => [line.offset, (line.time ?? 0) - T0, textOf(line)])).toEqual([
      [0, 0, 'abc'],
      [5, 100, 'd'],
      [7, 200, ''],
      [8, 300, 'e~'],
    ])
  })

  test('that are too long come in parts, and nothing is held that long', async () => {
    const long = 'x'.repeat(MAX_LINE_BYTES + 10)
    const lines = await all(
      logLines(given(part(0, 0, long.slice(0, 50_000)), part(50_000, 1, `${long.slice(50_000)}\ny\n`))),
    )
    expect(lines.map((line) => [line.offset, textOf(line).length])).toEqual([
      [0, MAX_LINE_BYTES + 1],
      [MAX_LINE_BYTES, 10],
      [MAX_LINE_BYTES + 11, 1],
    ])
  })

  test('end where bytes are lost', async () => {
    const lines = await all(logLines(given(part(0, 0, 'half of'), gap(7, 100, 0, 5000), part(107, 5000, 'a line\n'))))
    expect(lines.map(textOf)).toEqual(['half of~', 'gap 100', 'a line'])
  })
})

describe('formats', () => {
  const parts = () =>
    given(
      part(0, 0, '\x1b[1;31mred\x1b[0m\tok \xc3\xa4\r\n'),
      gap(100, 50, 0, 2500),
      part(150, 2500, 'bad \xff\n\x1b]0;title\x07last'),
    )

  test('text: times, no control characters, gaps with times and bytes', async () => {
    expect((await all(formatLog('text', parts(), 'vm'))).join('')).toBe(
      '2023-11-14T22:13:20.000Z red\tok \xe4\n' +
        '2023-11-14T22:13:20.000Z --- 50 bytes are lost, up to 2023-11-14T22:13:22.500Z ---\n' +
        '2023-11-14T22:13:22.500Z bad \ufffd\n' +
        '2023-11-14T22:13:22.500Z last\n',
    )
    expect((await all(formatLog('text', given(part(0, null, ' a\n')), 'vm'))).join('')).toBe(`${'-'.repeat(24)}  a\n`)
  })

  test('ndjson: every byte, whatever it is', async () => {
    const lines = (await all(formatLog('ndjson', parts(), 'vm'))).join('').trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { offset: 0, time: '2023-11-14T22:13:20.000Z', text: '\x1b[1;31mred\x1b[0m\tok \xe4' },
      { offset: 100, time: '2023-11-14T22:13:20.000Z', gap: 50, until: '2023-11-14T22:13:22.500Z' },
      { offset: 150, time: '2023-11-14T22:13:22.500Z', base64: Buffer.from('bad \xff', 'latin1').toString('base64') },
      { offset: 156, time: '2023-11-14T22:13:22.500Z', text: '\x1b]0;title\x07last', more: true },
    ])
  })

  test('asciicast: what a player expects, and time never goes backwards', async () => {
    const cast = given(
      part(0, 0, 'a\xc3'),
      part(2, 500, '\xa4'),
      part(3, 100, 'b'),
      part(4, null, 'c'),
      gap(5, 9, 100, 4000),
    )
    const lines = (await all(formatLog('asciicast', cast, 'my vm'))).join('').trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { version: 2, width: 80, height: 25, timestamp: T0 / 1000, title: 'my vm' },
      [0, 'o', 'a'],
      [0.5, 'o', 'ä'],
      [0.5, 'o', 'b'],
      [0.5, 'o', 'c'],
      [4, 'm', '9 bytes are lost'],
    ])
    expect(JSON.parse((await all(formatLog('asciicast', given(), 'empty'))).join(''))).toMatchObject({ version: 2 })
  })
})

test('a history is cut where the time changes, and every byte of it comes once', async () => {
  const clock = new ManualClock()
  const store = new MemoryHistoryStore(limitsWith(), 'all', clock)
  const owner = { describe: () => ({}) as never, historyVisible: () => {}, historyDrained: () => {} }
  const history: History = store.open('vm', owner)
  let printed = ''
  for (let i = 0; i < 500; i++) {
    clock.advance(i % 7 === 0 ? 1000 : 1)
    const text = `line ${i}\n`
    printed += text
    history.append(bytes(text))
  }
  const parts = await all(logParts(history, 0, history.next))
  let next = 0
  for (const one of parts) {
    if (one.kind === 'gap') throw new Error('a gap')
    expect(one.offset).toBe(next)
    expect(Buffer.from(one.bytes).toString()).toBe(printed.slice(next, next + one.bytes.length))
    expect(one.time).not.toBeNull()
    next += one.bytes.length
  }
  expect(next).toBe(printed.length)
  // About one for each of the 72 times.
  expect(parts.length).toBeGreaterThanOrEqual(72)
  expect(parts.length).toBeLessThan(80)
  expect(
    (await all(logParts(history, 100, 200))).reduce(
      (sum, one) => sum + (one.kind === 'bytes' ? one.bytes.length : 0),
      0,
    ),
  ).toBe(100)
})

describe('GET /api/v1/ports/{id}/log', () => {
  test.each(['disk', 'memory'] as const)('with times, from %s', async (history) => {
    const app = await startApp({ history })
    const vm = await RawVm.connect(app)
    const before = Date.now()
    await vm.print(app, 'first\r\n')
    const path = `${app.url}/api/v1/ports/vm1/log`
    const answer = await fetch(`${path}?format=ndjson`)
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
    expect(['x-vspc-start', 'x-vspc-next'].map((name) => answer.headers.get(name))).toEqual(['0', '7'])
    const line = (await answer.json()) as { offset: number; time: string; text: string }
    expect([line.offset, line.text]).toEqual([0, 'first'])
    expect(Math.abs(Date.parse(line.time) - before)).toBeLessThan(10_000)
    const get = async (query: string) => (await fetch(`${path}?${query}`)).text()
    expect(await get(`since=${before - 1}`)).toBe('first\r\n')
    expect(await get('since=-60000')).toBe('first\r\n')
    expect(await get(`since=${encodeURIComponent(new Date(before + 60_000).toISOString())}`)).toBe('')
    expect(await get('until=-60000')).toBe('')
    expect(await get(`until=${before + 60_000}`)).toBe('first\r\n')
    expect(await get('format=text')).toBe(`${line.time} first\n`)
    expect((await get('format=asciicast')).split('\n')[1]).toBe('[0,"o","first\\r\\n"]')
    expect((await fetch(`${path}?format=text`, { method: 'HEAD' })).headers.get('content-type')).toBe(
      'text/plain; charset=utf-8',
    )
  })

  test.each([
    ['since=yesterday', 'since: "yesterday" is no time'],
    ['until=', 'until: "" is no time'],
    ['format=xml', 'format'],
  ])('%s is a problem', async (query, detail) => {
    const app = await startApp()
    await RawVm.connect(app)
    const answer = await fetch(`${app.url}/api/v1/ports/vm1/log?${query}`)
    expect(answer.status).toBe(400)
    expect(await answer.text()).toContain(JSON.stringify(detail).slice(1, -1))
  })
})
