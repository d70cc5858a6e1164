import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import {
  Capture,
  type CaptureRecord,
  formatCaptureHeader,
  formatCaptureRecord,
  openCapture,
} from '../../src/capture/index.ts'

const HEADER = '{"vspc-capture":1,"source":"test","started":"2026-11-22T15:08:01.000Z"}'

async function* once<T>(...parts: T[]): AsyncGenerator<T> {
  yield* parts
}

async function records(...chunks: (string | Uint8Array)[]): Promise<CaptureRecord[]> {
  const found: CaptureRecord[] = []
  for await (const record of await Capture.read(once(...chunks), 'x.jsonl')) found.push(record)
  return found
}

/** Rejects with a coded failure that says where. */
async function fault(text: string, message: RegExp): Promise<void> {
  await expect(records(text)).rejects.toMatchObject({
    code: 'VSPC_CAPTURE_FORMAT',
    message: expect.stringMatching(message),
  })
}

describe('capture format', () => {
  test('header and records are the documented JSON lines', () => {
    expect(formatCaptureHeader({ source: 'test', started: '2026-11-22T15:08:01.000Z' })).toBe(`${HEADER}\n`)
    const lines = [
      formatCaptureRecord({ kind: 'open', t: 0, stream: 0, peer: '10.0.0.7:1', endpoint: 'tcp://0.0.0.0:1' }),
      formatCaptureRecord({ kind: 'open', t: 0, stream: 1, continued: true }),
      formatCaptureRecord({ kind: 'data', t: 1.5, stream: 1, from: 'vm', bytes: Uint8Array.of(0xff, 0x0a) }),
      formatCaptureRecord({ kind: 'data', t: 1.0000004, stream: 1, from: 'proxy', bytes: Uint8Array.of(1) }),
      formatCaptureRecord({ kind: 'gap', t: 2, records: 3, bytes: 4 }),
      formatCaptureRecord({ kind: 'close', t: 3, stream: 1 }),
    ]
    expect(lines).toEqual([
      '{"t":0.000000,"s":0,"e":"open","peer":"10.0.0.7:1","endpoint":"tcp://0.0.0.0:1"}\n',
      '{"t":0.000000,"s":1,"e":"open","continued":true}\n',
      '{"t":1.500000,"s":1,"d":">","hex":"ff0a"}\n',
      '{"t":1.000000,"s":1,"d":"<","hex":"01"}\n',
      '{"t":2.000000,"gap":{"records":3,"bytes":4}}\n',
      '{"t":3.000000,"s":1,"e":"close"}\n',
    ])
  })

  test('any records come back as they went out, wherever the file is cut into reads', async () => {
    const t = fc.integer({ min: 0, max: 10 ** 9 }).map((n) => n / 1000)
    const stream = fc.integer({ min: 0, max: 5 })
    const record: fc.Arbitrary<CaptureRecord> = fc.oneof(
      fc.record({
        kind: fc.constant('data' as const),
        t,
        stream,
        from: fc.constantFrom('vm' as const, 'proxy' as const),
        bytes: fc.uint8Array({ maxLength: 20 }),
      }),
      fc.record({ kind: fc.constant('close' as const), t, stream }),
      fc.record({
        kind: fc.constant('open' as const),
        t,
        stream,
        peer: fc.string(),
        endpoint: fc.string({ unit: 'grapheme' }),
      }),
      fc.record({ kind: fc.constant('gap' as const), t, records: fc.nat(), bytes: fc.nat() }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(record, { maxLength: 8 }), fc.integer({ min: 1, max: 60 }), async (list, size) => {
        const bytes = new TextEncoder().encode(`${HEADER}\n${list.map(formatCaptureRecord).join('')}`)
        const chunks: Uint8Array[] = []
        for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size))
        expect(await records(...chunks)).toEqual(list)
      }),
      { numRuns: 200 },
    )
  })

  test('fields and lines that this version does not know are ignored, blank lines and CRLF too', async () => {
    const text = [
      HEADER,
      '{"t":0,"s":0,"d":">","hex":"61","colour":"red"}',
      '',
      '{"t":1,"note":"a line of a kind to come"}',
      '{"t":1,"s":0,"e":"paused"}',
      '{"t":2,"s":0,"e":"close"}\r',
      '',
    ].join('\n')
    expect((await records(text)).map(({ kind }) => kind)).toEqual(['data', 'close'])
  })

  test('a last line torn by a crash is left out, and said', async () => {
    const whole = `${HEADER}\n{"t":0,"s":0,"d":">","hex":"61"}\n`
    for (const rest of ['{', '{"t":1,"s":0,"d":">","he', '{"t":1,"s":0,"d":">","hex":"6"}', '{"t":1.5']) {
      const capture = await Capture.read(once(whole + rest))
      const kinds: string[] = []
      for await (const { kind } of capture) kinds.push(kind)
      expect(kinds, rest).toEqual(['data'])
      expect(capture.torn, rest).toBe(true)
    }
    const capture = await Capture.read(once(`${whole}{"t":1,"s":0,"d":">","hex":"62"}`))
    let last: CaptureRecord | undefined
    for await (const record of capture) last = record
    expect(last).toMatchObject({ bytes: Uint8Array.of(0x62) })
    expect(capture.torn).toBe(false)
  })

  test('what is wrong is said with file and line', async () => {
    await fault('', /^x\.jsonl:1: the file is empty/)
    await fault('hello\n', /^x\.jsonl:1: not JSON/)
    await fault('[]\n', /:1: not a JSON object/)
    await fault('{"t":0}\n', /:1: not a capture: the first line must be a header/)
    await fault('{"vspc-capture":2}\n', /:1: capture format 2; this program reads 1/)
    const line2 = (line: string, message: RegExp): Promise<void> => fault(`${HEADER}\n${line}\n${HEADER}\n`, message)
    await line2('{"t":1,"s":0,"d":">","hex":"6', /:2: not JSON/)
    await line2('{"t":1,"s":0,"d":">","hex":"6"}', /:2: "hex" must be/)
    await line2('{"t":1,"s":0,"d":">"}', /:2: "hex" must be/)
    await line2('{"t":1,"s":0,"d":"out","hex":"61"}', /:2: "d" must be/)
    await line2('{"t":-1,"s":0,"d":">","hex":"61"}', /:2: "t" must be/)
    await line2('{"t":"1","s":0,"d":">","hex":"61"}', /:2: "t" must be/)
    await line2('{"t":1,"s":1.5,"d":">","hex":"61"}', /:2: "s" must be/)
    await line2('{"t":1,"d":">","hex":"61"}', /:2: "s" must be/)
    await line2('7', /:2: not a JSON object/)
  })

  test('a file that is one endless line is refused, not read into memory', async () => {
    let read = 0
    async function* endless(): AsyncGenerator<string> {
      yield `${HEADER}\n`
      for (;;) {
        read += 1 << 20
        yield 'x'.repeat(1 << 20)
      }
    }
    const capture = await Capture.read(endless())
    await expect(capture[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'VSPC_CAPTURE_FORMAT' })
    expect(read).toBeLessThan(32 << 20)
  })
})

describe('capture files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vspc-format-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  test('a file that is not there, a folder, and one that is no capture: said in words', async () => {
    const missing = join(folder, 'missing.jsonl')
    await expect(openCapture(missing)).rejects.toMatchObject({
      code: 'VSPC_CAPTURE_READ',
      message: `${missing}: no such file`,
    })
    await expect(openCapture(folder)).rejects.toMatchObject({
      code: 'VSPC_CAPTURE_READ',
      message: /a folder, not a capture/,
    })
    const text = join(folder, 'notes.txt')
    writeFileSync(text, 'remember the milk\n')
    await expect(openCapture(text)).rejects.toMatchObject({
      code: 'VSPC_CAPTURE_FORMAT',
      message: `${text}:1: not JSON`,
    })
  })

  test('left half-read it is closed', async () => {
    const path = join(folder, 'long.jsonl')
    writeFileSync(path, `${HEADER}\n${'{"t":0,"s":0,"d":">","hex":"61"}\n'.repeat(50_000)}`)
    for await (const record of await openCapture(path)) {
      expect(record.kind).toBe('data')
      break
    }
    const capture = await openCapture(path)
    await capture.close()
    const rest: CaptureRecord[] = []
    for await (const record of capture) rest.push(record)
    expect(rest).toEqual([])
  })
})
