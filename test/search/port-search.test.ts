import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { formatTrailer, MEMBER_BYTES } from '../../src/history/archive.ts'
import { archiveName, indexName, segmentName } from '../../src/history/port-file.ts'
import { formatRecords, INDEX_HEADER } from '../../src/history/times.ts'
import { plainText, TextPattern } from '../../src/pattern/index.ts'
import { PortSearch, type SearchHost } from '../../src/search/port-search.ts'
import type { SearchedPort, SearchQuery, SearchTotals } from '../../src/search/types.ts'

let root = ''
let folder = ''
let count = 0
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'vspc-search-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeEach(() => newFolder())

function newFolder(): void {
  folder = join(root, String(++count))
  mkdirSync(folder)
}

const QUERY: SearchQuery = {
  pattern: 'oops',
  ignoreCase: false,
  fixed: false,
  since: null,
  until: null,
  start: 0,
  end: Number.MAX_SAFE_INTEGER,
  context: 0,
  limit: 1_000,
  perPort: 1_000,
  counts: false,
}

interface Record {
  readonly type: string
  readonly offset: number
  readonly end: number
  readonly text: string
  readonly time: string | null
  readonly matches: unknown
  readonly skipped?: { readonly reason: string; readonly bytes: number }
}

/** A port as files on the disk, made by hand; what is not in them is in memory. */
interface Layout {
  readonly output: Buffer
  /** Where files begin; the first one at 0. */
  readonly starts: readonly number[]
  readonly written: number
  readonly packed?: readonly number[]
  readonly times?: readonly (readonly [offset: number, time: number])[]
}

function store({ output, starts, written, packed = [], times = [] }: Layout): SearchedPort {
  const files = starts.map((start, i) => ({
    start,
    end: starts[i + 1] ?? written,
    lastWriteAt: times.at(-1)?.[1] ?? 0,
  }))
  for (const [i, { start, end }] of files.entries()) {
    const bytes = output.subarray(start, end)
    if (packed.includes(i)) writeFileSync(join(folder, archiveName(start)), archive(bytes))
    else writeFileSync(join(folder, segmentName(start)), bytes)
    const mine = times.filter(([offset]) => offset >= start && offset < end)
    const marks = { offsets: mine.map(([offset]) => offset), times: mine.map(([, time]) => time) }
    if (mine.length > 0) {
      writeFileSync(
        join(folder, indexName(start)),
        [INDEX_HEADER, formatRecords(marks, mine.length, start)]
          .map((part) => Buffer.from(part))
          .reduce((a, b) => Buffer.concat([a, b])),
      )
    }
  }
  const marks = { offsets: [], times: [] }
  const port = { id: 'vm1', name: 'vm1', epoch: 'e1', start: 0, end: output.length, marks }
  return { ...port, files: { folder, files, written, marks } }
}

function archive(bytes: Buffer): Buffer {
  const members: Buffer[] = []
  for (let at = 0; at < bytes.length; at += MEMBER_BYTES) members.push(gzipSync(bytes.subarray(at, at + MEMBER_BYTES)))
  return Buffer.concat([
    ...members,
    formatTrailer(
      members.map(({ length }) => length),
      bytes.length,
    ),
  ])
}

async function search(
  port: SearchedPort,
  output: Buffer,
  query: Partial<SearchQuery> = {},
  host: Partial<SearchHost> = {},
): Promise<{ records: Record[]; totals: SearchTotals }> {
  const totals = { ports: 0, bytes: 0, matches: 0, truncated: false, skippedPorts: 0, skippedBytes: 0, lostBytes: 0 }
  const whole = { ...QUERY, ...query }
  const run = new PortSearch(port, whole, new TextPattern(whole.pattern, whole), totals, {
    again: async () => port,
    load: async (_port, offset) => ({ kind: 'bytes', bytes: Uint8Array.from(output.subarray(offset, offset + 1000)) }),
    pause: async () => {},
    ...host,
  })
  await run.run()
  const records = run.found.map((line) => JSON.parse(line) as Record)
  return { records, totals }
}

const lines = (records: readonly Record[]) => records.filter(({ type }) => type === 'line' || type === 'context')

/** The slow and obvious way. */
function naive(output: Buffer, pattern: RegExp, context: number): [string, number, string][] {
  const all: [number, string][] = []
  for (let at = 0; at < output.length; ) {
    const feed = output.indexOf(10, at)
    const end = feed < 0 ? output.length : feed
    all.push([at, plainText(output.subarray(at, end))])
    at = end + 1
  }
  const hit = all.map(([, text]) => pattern.test(text))
  return all.flatMap(([at, text], i) => {
    if (hit[i]) return [['line', at, text] as [string, number, string]]
    const near = hit.slice(Math.max(0, i - context), i + context + 1).some(Boolean)
    return near ? [['context', at, text] as [string, number, string]] : []
  })
}

test('what is found does not depend on files, compression, memory or pieces', async () => {
  const line = fc.oneof(
    fc.constantFrom('oops', 'an oops here\r', 'nothing', '', '\x1b[1moo\x1b[0mps'),
    fc.string({ maxLength: 40 }),
  )
  const outputs = fc.array(line, { maxLength: 400 }).map((all) => Buffer.from(all.join('\n')))
  await fc.assert(
    fc.asyncProperty(
      outputs,
      fc.array(fc.nat(), { maxLength: 4 }),
      fc.nat(),
      fc.nat({ max: 3 }),
      fc.subarray([0, 1, 2]),
      async (output, cuts, tail, context, packed) => {
        newFolder()
        const written = output.length - (tail % (output.length + 1))
        const starts = [...new Set([0, ...cuts.map((cut) => cut % (written + 1))])]
          .filter((cut) => cut < written)
          .sort((a, b) => a - b)
        const port = store({ output, starts, written, packed: packed.filter((i) => i < starts.length) })
        const { records, totals } = await search(port, output, { context })
        expect(lines(records).map(({ type, offset, text }) => [type, offset, text])).toEqual(
          naive(output, /oops/, context),
        )
        expect(totals.bytes).toBe(output.length)
      },
    ),
    { numRuns: 150 },
  )
})

const OUTPUT = Buffer.from(
  Array.from({ length: 100_000 }, (_, i) => `line ${i} ${i % 1000 === 999 ? 'oops' : ''}\n`).join(''),
)
const STARTS = [0, 300_000, 600_000]

describe('files that change while they are searched', () => {
  test('one that is compressed before its turn is found under its new name', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    let once = false
    const { records, totals } = await search(
      port,
      OUTPUT,
      {},
      {
        pause: async () => {
          if (once) return
          once = true
          const plain = join(folder, segmentName(300_000))
          writeFileSync(join(folder, archiveName(300_000)), archive(readFileSync(plain)))
          rmSync(plain)
        },
      },
    )
    expect(lines(records)).toHaveLength(100)
    expect(totals.skippedBytes).toBe(0)
  })

  test('one that is compressed or deleted in the middle is read to its end', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length, packed: [0] })
    const { records, totals } = await search(
      port,
      OUTPUT,
      {},
      {
        pause: async () => rmSync(join(folder, archiveName(0)), { force: true }),
      },
    )
    expect(lines(records)).toHaveLength(100)
    expect(totals.skippedBytes).toBe(0)
  })

  test('one that was deleted to make room is skipped, and said so', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    rmSync(join(folder, segmentName(0)))
    const after = { ...port, start: 300_000, files: port.files && { ...port.files, files: port.files.files.slice(1) } }
    const { records, totals } = await search(port, OUTPUT, {}, { again: async () => after })
    const expected = naive(OUTPUT, /oops/, 0).filter(([, at]) => at >= 300_000)
    expect(lines(records).map(({ offset }) => offset)).toEqual(expected.map(([, at]) => at))
    expect(records.at(-1)?.skipped).toEqual({ reason: 'removed', bytes: 300_000 })
    expect(totals).toMatchObject({ skippedPorts: 1, skippedBytes: 300_000, bytes: OUTPUT.length - 300_000 })
  })

  test('one that somebody else has deleted is skipped, and the rest found', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    rmSync(join(folder, segmentName(300_000)))
    const { records } = await search(port, OUTPUT)
    expect(records.at(-1)?.skipped).toEqual({ reason: 'missing', bytes: 300_000 })
    expect(lines(records).every(({ offset }) => offset < 300_000 || offset >= 600_000)).toBe(true)
  })

  test('a folder that is renamed is followed', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    const to = `${folder}-moved`
    let moved = port
    const { records, totals } = await search(
      port,
      OUTPUT,
      {},
      {
        pause: async () => {
          if (moved !== port) return
          renameSync(folder, to)
          moved = { ...port, files: port.files && { ...port.files, folder: to } }
        },
        again: async () => moved,
      },
    )
    expect(lines(records)).toHaveLength(100)
    expect(totals.skippedBytes).toBe(0)
  })

  test('a port that is removed ends there', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    rmSync(join(folder, segmentName(300_000)))
    const { records } = await search(port, OUTPUT, {}, { again: async () => null })
    expect(records.at(-1)?.skipped).toEqual({ reason: 'removed', bytes: OUTPUT.length - 300_000 })
  })

  test('a damaged part of a compressed file costs that part alone', async () => {
    const port = store({ output: OUTPUT, starts: [0], written: OUTPUT.length, packed: [0] })
    const path = join(folder, archiveName(0))
    const bytes = readFileSync(path)
    bytes.fill(0xff, 40, 60)
    writeFileSync(path, bytes)
    const { records, totals } = await search(port, OUTPUT)
    expect(records.at(-1)?.skipped).toEqual({ reason: 'unreadable', bytes: MEMBER_BYTES })
    expect(totals.bytes).toBe(OUTPUT.length - MEMBER_BYTES)
    expect(lines(records).length).toBeGreaterThan(50)
  })

  test('a link, a folder or rubbish in the place of a file is not read', async () => {
    const port = store({ output: OUTPUT, starts: STARTS, written: OUTPUT.length })
    rmSync(join(folder, segmentName(0)))
    mkdirSync(join(folder, segmentName(0)))
    rmSync(join(folder, segmentName(300_000)))
    writeFileSync(join(folder, archiveName(300_000)), gzipSync('oops\n'))
    const { records, totals } = await search(port, OUTPUT)
    expect(totals.skippedBytes).toBe(600_000)
    expect(records.at(-1)?.skipped?.reason).toBe('unreadable')
  })

  test('a file that was cut ends there: what is missing is lost, and joins nothing', async () => {
    const output = Buffer.from('first oo\nps second\n')
    const port = store({ output, starts: [0, 9], written: output.length })
    writeFileSync(join(folder, segmentName(0)), 'first oo')
    const { records, totals } = await search(port, output)
    expect(lines(records)).toEqual([])
    expect(totals.lostBytes).toBe(1)
  })
})

describe('a part of it', () => {
  const T = Date.UTC(2026, 10, 23)
  const output = Buffer.from('oops 1\noops 2\noops 3\noops 4\noops 5\n')
  const times = [
    [0, T],
    [7, T + 1_000],
    [14, T + 2_000],
    [28, T + 4_000],
  ] as const
  const port = () => store({ output, starts: [0, 14], written: output.length, times })
  const found = async (query: Partial<SearchQuery>) =>
    lines((await search(port(), output, query)).records)
      .map(({ text }) => text.at(-1))
      .join('')

  test('by time', async () => {
    expect(await found({ since: T + 500 })).toBe('2345')
    expect(await found({ since: T + 2_000 })).toBe('345')
    expect(await found({ until: T + 1_000 })).toBe('12')
    expect(await found({ since: T + 1_000, until: T + 3_999 })).toBe('234')
    expect(await found({ since: T + 5_000 })).toBe('')
  })

  test('by offset', async () => {
    expect(await found({ start: 14 })).toBe('345')
    expect(await found({ start: 7, end: 21 })).toBe('23')
  })

  test('lines have the time at which they came', async () => {
    const { records } = await search(port(), output)
    expect(lines(records).map(({ time }) => Date.parse(time ?? '') - T)).toEqual([0, 1_000, 2_000, 2_000, 4_000])
  })

  test('where times are not known it is too much rather than too little', async () => {
    const bare = store({ output, starts: [0], written: output.length })
    expect(lines((await search(bare, output, { since: 0 })).records)).toHaveLength(5)
  })

  test('not more than was asked for', async () => {
    const { records, totals } = await search(port(), output, { limit: 2 })
    expect(lines(records)).toHaveLength(2)
    expect(totals).toMatchObject({ matches: 2, truncated: true })
    const one = await search(port(), output, { perPort: 1 })
    expect(lines(one.records)).toHaveLength(1)
    expect(one.totals.truncated).toBe(false)
    expect(one.records.at(-1)).toMatchObject({ type: 'port', matches: 1, truncated: true })
  })

  test('numbers alone, also of nothing', async () => {
    const { records } = await search(port(), output, { counts: true, limit: 1, context: 3 })
    expect(records).toEqual([expect.objectContaining({ type: 'port', matches: 5 })])
    const none = await search(port(), output, { counts: true, pattern: 'panic' })
    expect(none.records).toEqual([expect.objectContaining({ type: 'port', matches: 0 })])
  })
})

test('of a long line what is around the first match is given, and ranges fit it', async () => {
  const output = Buffer.from(`${'é'.repeat(5_000)}oops${'x'.repeat(5_000)} oops\n`)
  const { records } = await search(store({ output, starts: [0], written: output.length }), output)
  const [line] = records as unknown as { text: string; matches: [number, number][]; cut: boolean }[]
  expect(line?.text).toHaveLength(2_000)
  expect(line?.cut).toBe(true)
  expect(line?.matches.map(([from, to]) => line.text.slice(from, to))).toEqual(['oops'])
})
