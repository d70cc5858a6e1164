import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { ManualClock, type VspcError } from '../../src/base/index.ts'
import {
  Capture,
  type CaptureDisk,
  type CaptureFile,
  type CaptureRecord,
  openRecorder,
  playCapture,
  type RecorderOptions,
} from '../../src/capture/index.ts'
import { encodeSubnegotiation, OPTION } from '../../src/telnet/index.ts'
import { FIXTURES } from '../support/pages.ts'
import { ProxyDouble } from '../support/proxy-double.ts'

const root = mkdtempSync(join(tmpdir(), 'vspc-recorder-'))
afterAll(() => rmSync(root, { recursive: true }))
let folders = 0
const freshDir = (): string => join(root, String(folders++), 'captures')

const VM = { peer: '10.0.0.7:51234', endpoint: 'tcp://0.0.0.0:13370' }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const sub = (...payload: number[]): Uint8Array =>
  encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, Uint8Array.from(payload))

/** A disk in memory that can be slow, and broken. */
class FakeDisk implements CaptureDisk {
  readonly files = new Map<string, string>()
  readonly removed: string[] = []
  broken: Error | null = null
  /** Writes wait while this is set. */
  gate: Promise<void> | null = null
  longestWrite = 0

  async create(path: string): Promise<CaptureFile> {
    if (this.broken) throw this.broken
    if (this.files.has(path)) throw Object.assign(new Error('exists'), { code: 'EEXIST' })
    this.files.set(path, '')
    return {
      write: async (text) => {
        this.longestWrite = Math.max(this.longestWrite, text.length)
        await this.gate
        if (this.broken) throw this.broken
        this.files.set(path, this.files.get(path) + text)
      },
      close: async () => {},
    }
  }

  async remove(path: string): Promise<void> {
    this.removed.push(path)
    this.files.delete(path)
  }

  /** Contents, oldest first. */
  get texts(): string[] {
    return [...this.files.values()]
  }
}

async function parsed(text: string): Promise<CaptureRecord[]> {
  async function* chunks(): AsyncGenerator<string> {
    yield text
  }
  const found: CaptureRecord[] = []
  for await (const record of await Capture.read(chunks())) found.push(record)
  return found
}

async function withDisk(options: Partial<RecorderOptions> = {}) {
  const disk = new FakeDisk()
  const clock = new ManualClock()
  const errors: VspcError[] = []
  const recorder = await openRecorder({
    dir: freshDir(),
    disk,
    clock,
    onError: (error) => errors.push(error),
    ...options,
  })
  return { disk, clock, errors, recorder }
}

/** Lets everything that is under way on the fake disk finish. */
const settle = (): Promise<void> => new Promise((done) => setImmediate(done))

describe('a recorder', () => {
  test('writes what went over a connection, with times, into a file named by time and process alone', async () => {
    const dir = freshDir()
    const clock = new ManualClock()
    const recorder = await openRecorder({ dir, clock, pid: 4711, source: 'vspc test' })
    const tap = recorder.open({ peer: '../../etc/passwd', endpoint: VM.endpoint })
    const chunk = Uint8Array.of(0xff, 0xfb, 0x25)
    tap?.fromVm(chunk)
    // The view is only valid during the call.
    chunk.fill(0)
    clock.advance(1500)
    tap?.toVm(Uint8Array.of(0xff, 0xfe, 0x25))
    tap?.close()
    tap?.close()
    tap?.fromVm(bytes('late'))
    await recorder.close()
    const [name, ...others] = readdirSync(dir)
    expect(others).toEqual([])
    expect(name).toMatch(/^vspc-20\d{6}T\d{6}Z-4711\.jsonl$/)
    const path = join(dir, name ?? '')
    expect(statSync(path).mode & 0o077).toBe(0)
    expect(readFileSync(path, 'utf8')).toBe(
      [
        '{"vspc-capture":1,"source":"vspc test","started":"2023-11-14T22:13:20.000Z"}',
        '{"t":0.000000,"s":0,"e":"open","peer":"../../etc/passwd","endpoint":"tcp://0.0.0.0:13370"}',
        '{"t":0.000000,"s":0,"d":">","hex":"fffb25"}',
        '{"t":1.500000,"s":0,"d":"<","hex":"fffe25"}',
        '{"t":1.500000,"s":0,"e":"close"}',
        '',
      ].join('\n'),
    )
    expect(recorder.stats).toMatchObject({
      path,
      files: 1,
      records: 4,
      droppedRecords: 0,
      diskErrors: 0,
      pendingBytes: 0,
    })
    expect(recorder.open(VM)).toBeNull()
  })

  test('numbers streams, and takes the next name when one is taken', async () => {
    const dir = freshDir()
    const clock = new ManualClock()
    const first = await openRecorder({ dir, clock, pid: 1 })
    const second = await openRecorder({ dir, clock, pid: 1 })
    for (const recorder of [first, second]) {
      recorder.open(VM)?.fromVm(bytes('a'))
      recorder.open(VM)?.fromVm(bytes('b'))
      await recorder.close()
    }
    expect(readdirSync(dir).map((name) => name.replace(/^.*Z/, ''))).toEqual(['-1-2.jsonl', '-1.jsonl'])
    const records = await parsed(readFileSync(second.stats.path ?? '', 'utf8'))
    expect(records.filter(({ kind }) => kind === 'open')).toMatchObject([{ stream: 0 }, { stream: 1 }])
  })

  test('a folder that cannot be made is an error at the start, with its name', async () => {
    const dir = join(root, 'a-file')
    writeFileSync(dir, '')
    const opening = openRecorder({ dir })
    await expect(opening).rejects.toMatchObject({ code: 'VSPC_CAPTURE_WRITE', message: expect.stringContaining(dir) })
  })

  test('goes on in a new file at its size, announces there who goes on, and keeps only so many', async () => {
    const { disk, recorder } = await withDisk({ maxFileBytes: 1000, maxFiles: 3 })
    const busy = recorder.open(VM)
    const idle = recorder.open(VM)
    for (let i = 0; i < 100; i++) {
      busy?.fromVm(bytes(`line ${i}\n`))
      await settle()
    }
    idle?.fromVm(bytes('me too'))
    busy?.close()
    await recorder.close()
    expect(disk.files.size).toBe(3)
    expect(disk.removed.length).toBeGreaterThan(2)
    expect(recorder.stats.files).toBe(3 + disk.removed.length)
    let seen = ''
    for (const text of disk.texts) {
      expect(text.length).toBeLessThan(1400)
      const [header = ''] = text.split('\n')
      expect(JSON.parse(header)).toMatchObject({ continues: expect.stringMatching(/^vspc-.*\.jsonl$/) })
      const records = await parsed(text)
      expect(records[0]).toMatchObject({ kind: 'open', continued: true, ...VM })
      for (const record of records) if (record.kind === 'data') seen += Buffer.from(record.bytes).toString()
    }
    const all = `${Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join('')}me too`
    expect(all.endsWith(seen)).toBe(true)
  })

  test('a disk slower than the VMs costs records, told as a gap, never memory and never time', async () => {
    const { disk, recorder, errors } = await withDisk({ maxPendingBytes: 100_000 })
    let open: () => void = () => {}
    disk.gate = new Promise((done) => {
      open = done
    })
    const tap = recorder.open(VM)
    const chunk = new Uint8Array(1000).fill(0x61)
    for (let i = 0; i < 1000; i++) {
      tap?.fromVm(chunk)
      expect(recorder.stats.pendingBytes).toBeLessThanOrEqual(100_000)
    }
    const { droppedRecords, droppedBytes } = recorder.stats
    expect(droppedRecords).toBeGreaterThan(900)
    expect(droppedBytes).toBe(droppedRecords * 1000)
    open()
    await settle()
    tap?.fromVm(bytes('after'))
    await recorder.close()
    const records = await parsed(disk.texts[0] ?? '')
    expect(records.at(-2)).toMatchObject({ kind: 'gap', records: droppedRecords, bytes: droppedBytes })
    expect(records.at(-1)).toMatchObject({ kind: 'data', bytes: bytes('after') })
    expect(records.filter(({ kind }) => kind === 'data')).toHaveLength(1000 - droppedRecords + 1)
    expect(errors).toEqual([])
  })

  test('a stream whose opening was dropped is announced with its first bytes that are not', async () => {
    const { disk, recorder } = await withDisk({ maxPendingBytes: 1000 })
    recorder.open(VM)?.fromVm(new Uint8Array(400))
    const late = recorder.open(VM)
    late?.fromVm(bytes('dropped'))
    await settle()
    late?.fromVm(bytes('kept'))
    await recorder.close()
    const of1 = (await parsed(disk.texts[0] ?? '')).filter((record) => 'stream' in record && record.stream === 1)
    expect(of1).toMatchObject([
      { kind: 'open', ...VM },
      { kind: 'data', bytes: bytes('kept') },
    ])
    expect(of1[0]).not.toHaveProperty('continued')
  })

  test('drops at the very end are told too', async () => {
    const { disk, recorder } = await withDisk({ maxPendingBytes: 1000 })
    recorder.open(VM)?.fromVm(new Uint8Array(5000))
    await recorder.close()
    expect((await parsed(disk.texts[0] ?? '')).at(-1)).toMatchObject({ kind: 'gap', records: 1, bytes: 5000 })
  })

  test('many chunks become few writes of bounded size', async () => {
    const { disk, recorder } = await withDisk()
    const tap = recorder.open(VM)
    for (let i = 0; i < 500; i++) tap?.fromVm(new Uint8Array(4096))
    await recorder.close()
    expect(disk.longestWrite).toBeGreaterThan(100_000)
    expect(disk.longestWrite).toBeLessThan(300_000)
    expect((await parsed(disk.texts[0] ?? '')).filter(({ kind }) => kind === 'data')).toHaveLength(500)
  })

  test('a full disk is reported once, counted, survived, and tried again in a new file', async () => {
    const { disk, clock, recorder, errors } = await withDisk()
    const tap = recorder.open(VM)
    tap?.fromVm(bytes('before'))
    await settle()
    disk.broken = new Error('ENOSPC: no space left on device')
    tap?.fromVm(bytes('lost'))
    await settle()
    tap?.fromVm(bytes('lost too'))
    expect(errors).toMatchObject([{ code: 'VSPC_CAPTURE_WRITE', message: expect.stringContaining('no space left') }])
    clock.advance(10_000)
    tap?.fromVm(bytes('still full'))
    await settle()
    expect(errors).toHaveLength(1)
    expect(recorder.stats.diskErrors).toBe(2)
    disk.broken = null
    clock.advance(10_000)
    tap?.fromVm(bytes('again'))
    await recorder.close()
    const last = await parsed(disk.texts.at(-1) ?? '')
    expect(last.map(({ kind }) => kind)).toEqual(['gap', 'open', 'data'])
    expect(last[0]).toMatchObject({ bytes: 'lost'.length + 'lost too'.length + 'still full'.length })
    expect(last[1]).toMatchObject({ continued: true })
    expect(last[2]).toMatchObject({ bytes: bytes('again') })
  })

  test('a disk that hangs does not keep the server from stopping', async () => {
    const { disk, clock, recorder } = await withDisk()
    disk.gate = new Promise(() => {})
    recorder.open(VM)?.fromVm(bytes('a'))
    const closing = recorder.close(5000)
    await settle()
    clock.advance(5000)
    await closing
    expect(clock.pending).toBe(0)
  })

  test('with redaction no secret reaches the disk, cut anywhere; a connection that says no Telnet is left alone', async () => {
    const { disk, recorder } = await withDisk({ redact: true })
    const secret = [0xde, 0xad, 0xbe, 0xef]
    const source = recorder.open(VM)
    const destination = recorder.open(VM)
    const raw = recorder.open({ peer: 'x', endpoint: 'tcp://127.0.0.1:4001?protocol=raw&name=vm1' })
    for (const byte of sub(40, 1, 2, 3, 4)) source?.fromVm(Uint8Array.of(byte))
    for (const byte of sub(41, 1, 2, 3, 4, ...secret)) source?.toVm(Uint8Array.of(byte))
    for (const byte of sub(44, 1, 2, 3, 4, ...secret)) destination?.fromVm(Uint8Array.of(byte))
    const looksLikeOne = sub(41, 9, 9, 9)
    raw?.toVm(looksLikeOne)
    source?.toVm(sub(41, 1, 2, 3, 4, ...secret).subarray(0, 10))
    source?.close()
    await recorder.close()
    const [text = ''] = disk.texts
    expect(text).not.toMatch(/de(ad)?/)
    const data = (await parsed(text)).filter((record) => record.kind === 'data')
    const of = (stream: number, from: string): number[] =>
      data.flatMap((record) => (record.stream === stream && record.from === from ? [...record.bytes] : []))
    expect(of(0, 'vm')).toEqual([...sub(40, 1, 2, 3, 4)])
    expect(of(0, 'proxy').slice(0, 14)).toEqual([...sub(41, 1, 2, 3, 4, 0, 0, 0, 0)])
    expect(of(1, 'vm')).toEqual([...sub(44, 1, 2, 3, 4, 0, 0, 0, 0)])
    expect(of(2, 'proxy')).toEqual([...looksLikeOne])
  })
})

describe('recorded and played again', () => {
  test.each([{ redact: false }, { redact: true }])(
    'what a recorder wrote migrates again against a proxy with other secrets ($redact)',
    async ({ redact }) => {
      const dir = freshDir()
      const recorder = await openRecorder({ dir, redact })
      const recorded = new ProxyDouble()
      const first = await playCapture(join(FIXTURES, 'captures', 'vmware-streams.jsonl'), {
        speed: 'max',
        dial: async (_, stream) => {
          const [ours, theirs] = duplexPair()
          const tap = recorder.open({ peer: `stream ${stream}`, endpoint: VM.endpoint })
          const write = theirs.write.bind(theirs)
          theirs.write = ((chunk: Uint8Array) => {
            tap?.toVm(chunk)
            return write(chunk)
          }) as typeof theirs.write
          theirs.on('data', (chunk: Uint8Array) => tap?.fromVm(chunk))
          theirs.on('end', () => tap?.close())
          recorded.accept(theirs)
          return ours
        },
      })
      await recorder.close()
      expect(first.streams).toBe(4)
      const again = new ProxyDouble()
      const summary = await playCapture(recorder.stats.path ?? '', {
        speed: 'max',
        dial: async () => {
          const [ours, theirs] = duplexPair()
          again.accept(theirs)
          return ours
        },
      })
      expect(summary).toMatchObject({ streams: 4, mismatches: [], gapBytes: 0, skippedStreams: 0 })
      expect(again.output).toEqual(recorded.output)
      expect(again.connections.map(({ heard }) => heard)).toEqual(recorded.connections.map(({ heard }) => heard))
    },
  )
})
