import { expect, onTestFinished, test } from 'vitest'
import { type ScreenJob, ScreenRenderer } from '../../src/app/screen.ts'
import { type GuardedTerminal, guardTerminal } from '../../src/app/terminal-guard.ts'
import { silentLogger, systemClock } from '../../src/base/index.ts'
import { RawVm, sharedApp } from './support.ts'

const SIZE = { cols: 80, rows: 24, scrollback: 100 }

function renderer(jobMs?: number): ScreenRenderer {
  const made = new ScreenRenderer({ clock: systemClock, log: silentLogger, ...(jobMs === undefined ? {} : { jobMs }) })
  onTestFinished(() => made.close())
  return made
}

const drawing = (made: ScreenRenderer, text: string, size: Omit<ScreenJob, 'id' | 'bytes'> = SIZE) =>
  made.draw(new TextEncoder().encode(text), size, new AbortController().signal)
const draw = (...job: Parameters<typeof drawing>) => drawing(...job).then(({ screen }) => screen)

const CODE = (code: string) => expect.objectContaining({ code })

test('a screen is what a terminal shows, its modes included', async () => {
  const made = renderer()
  expect(await draw(made, 'one\r\nt\x1b[31mw\x1b[0mo')).toBe('one\r\nt\x1b[31mw\x1b[0mo')
  expect(await draw(made, 'secret\x1b[2J\x1b[Hleft')).toBe('left')
  expect(await draw(made, 'x\x1b[?2004h\x1b[?1h')).toBe('x\x1b[?1h\x1b[?2004h')
  expect(await draw(made, 'x\x1b[?25l')).toBe('x\x1b[?25l')
  expect(await draw(made, 'x\x1b[?25l\x1b[?12;25h')).toBe('x')
  expect(await draw(made, 'ä→\u{1f600}')).toBe('ä→\u{1f600}')
})

test('no query survives: what is drawn asks a terminal nothing', async () => {
  const queries = ['[c', '[>c', '[5n', '[6n', '[?6n', '[4$p', '[?25$p', 'P$qm\x1b\\', ']10;?\x07', ']4;1;?\x07', '[18t']
  const screen = await draw(renderer(), queries.map((query) => `q\x1b${query}`).join('\r\n'))
  const left = screen.replace(/\x1b\[[\d;]*[ABCDHm]/g, '').replace(/[q\r\n]/g, '')
  expect(left).toBe('')
})

test('scrollback is kept as far as it is asked for', async () => {
  const lines = Array.from({ length: 200 }, (_, at) => `line ${at}`).join('\r\n')
  expect((await draw(renderer(), lines, { ...SIZE, scrollback: 10 })).split('\r\n')).toHaveLength(34)
})

test('it is told from where on all is still there, and in which line a byte stands', async () => {
  const line = (at: number) => `line ${String(at).padStart(4, '0')}\r\n`
  const all = Array.from({ length: 1_000 }, (_, at) => line(at)).join('')
  const mark = all.indexOf('line 0900')
  const { screen, top, markLine } = await drawing(renderer(), all, { ...SIZE, scrollback: 200, mark })
  const lines = screen.split('\r\n')
  expect(lines[markLine ?? -1]).toBe('line 0900')
  // What is there begins at most a piece earlier than is said, and never later.
  const first = all.indexOf(lines[0] ?? '?')
  expect(top).toBeGreaterThanOrEqual(first)
  expect(top - first).toBeLessThan(600)
  expect(await drawing(renderer(), all, { ...SIZE, scrollback: 200, mark: 0 })).toMatchObject({ markLine: null })
  expect(await drawing(renderer(), all, { ...SIZE, scrollback: 2_000, mark: 0 })).toMatchObject({ markLine: 0, top: 0 })
  // Cleared away, scrollback included; and a full-screen program, which has no lines.
  const cleared = `${all}\x1b[3J\x1b[2J\x1b[Hx`
  expect((await drawing(renderer(), cleared, { ...SIZE, scrollback: 2_000 })).top).toBeGreaterThan(all.length - 600)
  expect(await drawing(renderer(), `a\x1b[?1049hb`, { ...SIZE, mark: 9 })).toMatchObject({ markLine: null, top: 0 })
})

/** One by one, each of these kept a terminal busy for hours before the guard, or takes it to the edge of its memory. */
const HOSTILE = ['L', 'M', 'S', 'T', 'P', 'I', 'Z', '@', 'X', 'b', ' @', ' A', "'}", "'~"]

test('no control sequence repeats something two thousand million times', async () => {
  const made = renderer(4_000)
  const every = Array.from({ length: 63 }, (_, at) => String.fromCharCode(0x40 + at))
  const all = ['', '?', '>', '!'].flatMap((prefix) =>
    every.map((final) => `x\x1b[${prefix}2147483647;2147483647${final}`),
  )
  await draw(made, `${HOSTILE.map((final) => `x\x1b[2147483647${final}`).join('')}${all.join('')}`)
  expect(await draw(made, 'alive')).toBe('alive')
})

test('the guard swallows absurd counts, and absurd texts to repeat, alone', () => {
  const handlers = new Map<string, ((params: (number | number[])[]) => boolean)[]>()
  let chars = 'x'
  guardTerminal({
    parser: {
      registerCsiHandler: ({ intermediates = '', final }, run) =>
        handlers.set(intermediates + final, [...(handlers.get(intermediates + final) ?? []), run]),
    },
    buffer: {
      active: { baseY: 3, cursorX: 5, cursorY: 1, getLine: (y) => (y === 4 ? line : undefined) },
    },
  })
  const line: ReturnType<GuardedTerminal['buffer']['active']['getLine']> = {
    // A wide character: its second cell is empty.
    getCell: (x) => ({ getChars: () => (x === 3 ? chars : '') }),
  }
  const isSwallowed = (id: string, ...params: number[]) => handlers.get(id)?.some((run) => run(params))
  expect([...handlers.keys()].sort()).toEqual([...HOSTILE].sort())
  for (const id of handlers.keys())
    expect([isSwallowed(id), isSwallowed(id, 1), isSwallowed(id, 10_000), isSwallowed(id, 10_001)]).toEqual([
      ...[false, false, false, true],
    ])
  chars = 'e'.padEnd(9, '\u0301')
  expect([...handlers.keys()].filter((id) => isSwallowed(id, 1))).toEqual(['b'])
})

test('a cell full of combining characters is not repeated: a thousand bytes took the thread, and a GiB', async () => {
  const made = renderer(4_000)
  const cell = `e${'\u0301'.repeat(20_000)}`
  for (const text of [cell, `${' '.repeat(SIZE.cols - 1)}${cell}`, `\u4e2d${cell.slice(1)}`]) {
    const screen = await draw(made, `${text}\x1b[10000b\r\nleft`)
    expect(screen.length).toBeLessThan(21_000)
    expect(screen.endsWith('left')).toBe(true)
  }
})

test('for who has left before it was his turn to ask nothing is drawn', () => {
  const gone = AbortSignal.abort()
  expect(() => renderer().draw(new Uint8Array(1), SIZE, gone)).toThrow(CODE('VSPC_SCREEN_UNAVAILABLE'))
})

test('a drawing that takes too long is given up, and the next one is not hurt', async () => {
  const made = renderer(1)
  const long = 'x\x1b[31m'.repeat(400_000)
  await expect(draw(made, long)).rejects.toEqual(CODE('VSPC_SCREEN_UNAVAILABLE'))
  await made.close()
  const next = renderer()
  expect(await draw(next, 'fine')).toBe('fine')
})

test('only so many wait; who left is not drawn for; closing fails the rest', async () => {
  const made = renderer()
  const leaving = new AbortController()
  const first = draw(made, 'x'.repeat(500_000))
  const left = made.draw(new Uint8Array(1), SIZE, leaving.signal)
  const waiting = Array.from({ length: 15 }, () => draw(made, 'y'))
  expect(() => draw(made, 'one too many')).toThrow(CODE('VSPC_SCREEN_UNAVAILABLE'))
  leaving.abort()
  await expect(left).rejects.toEqual(CODE('VSPC_SCREEN_UNAVAILABLE'))
  await first
  const closed = Promise.allSettled(waiting)
  await made.close()
  const results = await closed
  expect(results.at(-1)?.status).toBe('rejected')
  expect(() => draw(made, 'too late')).toThrow(CODE('VSPC_SCREEN_UNAVAILABLE'))
})

const app = sharedApp(async (running) => {
  const vm = await RawVm.connect(running)
  await vm.print(running, `${'old\r\n'.repeat(2_000)}newest line`)
})
const get = (query = '', port = 'vm1') => fetch(`${app().url}/api/v1/ports/${port}/screen${query}`)

test('the screen of a port, with the offset to go on at', async () => {
  const { history, epoch, id } = app().server.table.resolve('vm1')
  const answer = await get('?cols=40&rows=5')
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8'])
  const body = (await answer.json()) as Record<string, unknown>
  expect(body).toEqual({
    ...{
      port: id,
      epoch,
      start: 0,
      offset: history.next,
      historyStart: 0,
      historyEnd: history.next,
      cols: 40,
      rows: 5,
    },
    ...{ top: expect.any(Number), markLine: null, from: null, until: null },
    screen: 'old\r\nold\r\nold\r\nold\r\nnewest line',
  })
})

test('of part of the output only whole lines are drawn', async () => {
  const { start, offset, screen } = (await (await get('?bytes=23')).json()) as Record<string, unknown>
  expect([screen, Number(offset) - Number(start)]).toEqual(['old\r\nold\r\nnewest line', 21])
})

test('any part of the output, and when it came', async () => {
  const { historyEnd } = (await (await get('?bytes=0')).json()) as { historyEnd: number }
  const body = (await (await get('?end=25&bytes=13&scrollback=100&mark=20')).json()) as Record<string, unknown>
  // Whole lines: from the first one that begins within.
  expect(body).toMatchObject({ start: 15, offset: 25, historyStart: 0, historyEnd, top: 15, markLine: 1 })
  expect(body['screen']).toMatch(/^old\r\nold\x1b\[1B/)
  expect(Math.abs(Date.parse(String(body['from'])) - Date.now())).toBeLessThan(60_000)
  expect(Date.parse(String(body['until']))).toBeGreaterThanOrEqual(Date.parse(String(body['from'])))
  expect(await (await get('?end=999999999&mark=999999999')).json()).toMatchObject({
    offset: historyEnd,
    markLine: null,
  })
  expect(await (await get('?end=0')).json()).toMatchObject({ offset: 0, screen: '' })
})

test.each([
  ['?end=-1', 400],
  ['?mark=x', 400],
  ['?cols=1', 400],
  ['?cols=501', 400],
  ['?rows=0', 400],
  ['?scrollback=20001', 400],
  ['?bytes=2097153', 400],
  ['?cols=500&scrollback=20000', 400],
  ['?what=1', 400],
  ['?bytes=0', 200],
])('%s gives %i', async (query, status) => {
  expect((await get(query)).status).toBe(status)
})

test('only so many read history for a screen at once: the rest is refused before it takes memory', async () => {
  const { history } = app().server.table.resolve('vm1')
  const settled = history.settled
  onTestFinished(() => {
    history.settled = settled
  })
  const held: (() => void)[] = []
  history.settled = (done) => void held.push(done)
  const answered: number[] = []
  const asked = Array.from({ length: 30 }, async () => answered.push((await get()).status))
  await expect.poll(() => held.length + answered.length).toBe(30)
  expect([held.length, new Set(answered)]).toEqual([17, new Set([503])])
  for (const done of held.splice(0)) done()
  await Promise.all(asked)
  expect(answered.filter((status) => status === 200)).toHaveLength(17)
  history.settled = settled
  expect((await get()).status).toBe(200)
})

test('an unknown port has no screen', async () => {
  expect((await get('', 'nobody')).status).toBe(404)
})
