import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  type CaptureRecord,
  formatCaptureHeader,
  formatCaptureRecord,
  type PlayOptions,
  type PlaySummary,
  playCapture,
} from '../../src/capture/index.ts'
import { encodeSubnegotiation, IAC, OPTION, VMWARE_POLICY, WILL } from '../../src/telnet/index.ts'
import { FIXTURES, loadVmwareStreams } from '../support/pages.ts'
import { type DoubleHabits, ProxyDouble } from '../support/proxy-double.ts'

const VMWARE_STREAMS = join(FIXTURES, 'captures', 'vmware-streams.jsonl')
const folder = mkdtempSync(join(tmpdir(), 'vspc-replay-'))
afterAll(() => rmSync(folder, { recursive: true }))

let files = 0
function captureFile(records: readonly CaptureRecord[]): string {
  const path = join(folder, `${files++}.jsonl`)
  writeFileSync(path, formatCaptureHeader({ source: 'test', started: '' }) + records.map(formatCaptureRecord).join(''))
  return path
}

function dialTo(double: ProxyDouble): () => Promise<Duplex> {
  return async () => {
    const [ours, theirs] = duplexPair()
    double.accept(theirs)
    return ours
  }
}

async function play(
  file: string,
  habits: DoubleHabits = {},
  options: Partial<PlayOptions> = {},
): Promise<{ double: ProxyDouble; summary: PlaySummary }> {
  const double = new ProxyDouble(habits)
  const summary = await playCapture(file, { dial: dialTo(double), speed: 'max', answerTimeoutMs: 200, ...options })
  return { double, summary }
}

/** The capture's proxy answers this BEGIN with NOTNOW, which a good proxy has no reason for. */
const REFUSED = 'cd 52 67 55'
const asRecorded: DoubleHabits = {
  answer: (message) => {
    if (message.kind !== 'VMOTION-BEGIN' || message.sequence[0] !== 0xcd) return undefined
    return [{ kind: 'VMOTION-NOTNOW', sequence: message.sequence }]
  },
}

const data = (stream: number, from: 'vm' | 'proxy', bytes: ArrayLike<number>, t = 0): CaptureRecord => ({
  kind: 'data',
  t,
  stream,
  from,
  bytes: Uint8Array.from(bytes),
})
const sub = (...payload: number[]): Uint8Array =>
  encodeSubnegotiation(OPTION.VMWARE_TELNET_EXT, Uint8Array.from(payload))
/** A VM that is known to a proxy: option 232, DO-PROXY, WILL-PROXY. */
const hello = (stream: number): CaptureRecord[] => [
  { kind: 'open', t: 0, stream },
  data(stream, 'vm', [IAC, WILL, 37]),
  data(stream, 'proxy', [IAC, 253, 232]),
  data(stream, 'vm', [IAC, WILL, 232]),
  data(stream, 'proxy', sub(1, 0, 1)),
  data(stream, 'vm', [...sub(0, 0, 1), ...sub(70, 0x53, 0x76)]),
  data(stream, 'proxy', sub(71)),
]

describe('the four connections of the capture, against a proxy that gives secrets of its own', () => {
  test('are played whole at full speed: every PEER carries the secret really given, and nothing deviates [C2, C32, C37]', async () => {
    const { double, summary } = await play(VMWARE_STREAMS, asRecorded)
    expect(summary.mismatches).toEqual([])
    expect(summary.streams).toBe(4)
    const heard = double.connections.map((connection) => connection.heard.filter((kind) => /VMOTION|PROXY/.test(kind)))
    expect(heard).toEqual([
      ['DO-PROXY', 'VMOTION-BEGIN'],
      ['VMOTION-PEER', 'VMOTION-COMPLETE', 'VMOTION-BEGIN'],
      ['VMOTION-PEER', 'VMOTION-COMPLETE', 'VMOTION-BEGIN', 'VMOTION-BEGIN', 'VMOTION-ABORT', 'VMOTION-BEGIN'],
      ['VMOTION-PEER', 'VMOTION-COMPLETE'],
    ])
    expect(double.connections.every(({ ended }) => ended)).toBe(true)
    expect([...double.output]).toEqual([...double.output].map((_, i) => 0x20 + (i % 95)))
    // The double's secrets are a byte longer than the recorded ones, with 0xFF at both ends: three bytes more on the wire.
    const recorded = loadVmwareStreams().connections.flatMap(({ steps }) => steps.filter(({ from }) => from === 'vm'))
    const bytes = recorded.reduce((sum, step) => sum + step.bytes.length, 0)
    expect(summary.bytesSent).toBe(bytes + 3 * 3)
    expect(summary.bytesReceived).toBeGreaterThan(0)
  })

  test('a refusal that becomes a consent is told in protocol words', async () => {
    const { summary } = await play(VMWARE_STREAMS)
    expect(summary.mismatches.map(({ message }) => message)).toEqual([
      `stream 2 at 18.301 s: VMOTION-NOTNOW ${REFUSED} expected, VMOTION-GOAHEAD ${REFUSED} came`,
    ])
    expect(summary.mismatches[0]).toMatchObject({ code: 'VSPC_REPLAY_MISMATCH', stream: 2 })
  })

  test('a proxy that refuses DO-PROXY and never gives GOAHEAD is told on, and the replay still ends', async () => {
    const { summary } = await play(
      VMWARE_STREAMS,
      {
        answer: (message) =>
          message.kind === 'VMOTION-BEGIN' ? [] : message.kind === 'DO-PROXY' ? [{ kind: 'WONT-PROXY' }] : undefined,
      },
      { answerTimeoutMs: 20 },
    )
    const messages = summary.mismatches.map(({ message }) => message.replace(/ at [\d.]+ s/, ''))
    expect(messages).toContain('stream 0: WILL-PROXY expected, WONT-PROXY came')
    expect(messages).toContain('stream 0: VMOTION-GOAHEAD 44 da 87 f1 expected, nothing came')
    expect(messages).toContain('stream 1: VMOTION-PEER-OK 44 da 87 f1 expected, nothing came')
    expect(messages).toContain(`stream 2: VMOTION-NOTNOW ${REFUSED} expected, nothing came`)
    expect(summary.streams).toBe(4)
  })

  test('over real TCP, the same', async () => {
    const double = new ProxyDouble(asRecorded)
    const server = createServer({ allowHalfOpen: true }, double.accept)
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    try {
      const summary = await playCapture(VMWARE_STREAMS, {
        speed: 'max',
        dial: () =>
          new Promise((resolve, reject) => {
            const socket = connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }, () =>
              resolve(socket),
            )
            socket.once('error', reject)
          }),
      })
      expect(summary.mismatches).toEqual([])
      expect([...double.output]).toEqual([...double.output].map((_, i) => 0x20 + (i % 95)))
    } finally {
      await new Promise((done) => server.close(done))
    }
  })
})

describe('negotiation that differs from the recording', () => {
  test('offers the recorded proxy did not make are refused, once, and change nothing', async () => {
    const firstWords = Uint8Array.of(IAC, 253, 31, IAC, WILL, 24, IAC, 253, 31)
    const answered: number[] = []
    const double = new ProxyDouble({ ...asRecorded, firstWords })
    const summary = await playCapture(VMWARE_STREAMS, {
      speed: 'max',
      dial: async () => {
        const [ours, theirs] = duplexPair()
        theirs.on('data', (chunk: Uint8Array) => answered.push(...chunk))
        double.accept(theirs)
        return ours
      },
    })
    expect(summary.mismatches).toEqual([])
    const said = answered.join(' ')
    expect(said).toContain('255 252 31')
    expect(said).toContain('255 254 24')
    expect(said.split('255 254 24').length - 1).toBe(4)
  })

  test('a proxy that takes COM-PORT, where the recorded one refused, is not answered: it confirmed our offer', async () => {
    const { double, summary } = await play(VMWARE_STREAMS, asRecorded)
    expect(VMWARE_POLICY.acceptThem).toContain(OPTION.COM_PORT)
    expect(summary.mismatches).toEqual([])
    expect(double.connections.flatMap(({ heard }) => heard).filter((text) => text.startsWith('anomaly'))).toEqual([])
  })

  test('a proxy that offers nothing itself is served by the recorded verbs, with a moment of patience once, not per stream', async () => {
    const policy = { ...VMWARE_POLICY, offerUs: [], offerThem: [] }
    const clock = new ManualClock()
    const double = new ProxyDouble({ ...asRecorded, policy })
    let waits = 0
    const playing = playCapture(VMWARE_STREAMS, { dial: dialTo(double), speed: 'max', clock })
    // Time moves on only while the replay has nothing else to do but wait.
    const summary = await advanceUntil(playing, clock, 50, () => waits++)
    expect(summary.mismatches).toEqual([])
    expect(double.connections).toHaveLength(4)
    expect(clock.now()).toBeLessThan(4000)
  })

  test('turning off what the recording has on is acknowledged', async () => {
    const file = captureFile([...hello(0), data(0, 'vm', [0x61], 1), { kind: 'close', t: 2, stream: 0 }])
    const said: number[] = []
    const double = new ProxyDouble()
    const clock = new ManualClock()
    const playing = playCapture(file, {
      speed: 1,
      clock,
      dial: async () => {
        const [ours, theirs] = duplexPair()
        theirs.on('data', (chunk: Uint8Array) => {
          said.push(...chunk)
          // Later, as a socket would: the double answers DO-PROXY first.
          const asked = Buffer.from(chunk).includes(Buffer.from(sub(70, 0x53, 0x76)))
          if (asked) setImmediate(() => theirs.write(Uint8Array.of(IAC, 254, 232)))
        })
        double.accept(theirs)
        return ours
      },
    })
    await advanceUntil(playing, clock, 100)
    // WILL 232 was said by the recording; DONT 232 must be met with WONT 232.
    expect(said.join(' ')).toContain(`${IAC} 252 232`)
  })
})

describe('what a replay does not do', () => {
  test('a broken-off server is told once, and the rest of the recording is still played', async () => {
    const clock = new ManualClock()
    const double = new ProxyDouble({ hangUpOn: 'DO-PROXY' })
    const file = captureFile([
      ...hello(0),
      data(0, 'vm', [0x61], 1),
      data(0, 'vm', [0x62], 2),
      { kind: 'open', t: 3, stream: 1 },
      data(1, 'vm', [IAC, WILL, 37], 3),
    ])
    const summary = await advanceUntil(playCapture(file, { dial: dialTo(double), speed: 1, clock }), clock, 100)
    const cut = summary.mismatches.filter(({ message }) => message.includes('has closed the connection'))
    expect(cut).toHaveLength(1)
    expect(double.connections).toHaveLength(2)
  })

  test('complaints about suboptions and unasked GOAHEADs are deviations', async () => {
    const { summary } = await play(
      captureFile([...hello(0), data(0, 'vm', sub(82, 0x76), 1), { kind: 'close', t: 1, stream: 0 }]),
      {
        answer: (message) =>
          message.kind === 'VM-NAME'
            ? [
                { kind: 'UNKNOWN-SUBOPTION-RCVD-2', code: 82 },
                { kind: 'VMOTION-GOAHEAD', sequence: Uint8Array.of(1), secret: Uint8Array.of(2) },
              ]
            : undefined,
      },
    )
    expect(summary.mismatches.map(({ got }) => got)).toEqual([
      'UNKNOWN-SUBOPTION-RCVD-2 52',
      expect.stringContaining('VMOTION-GOAHEAD'),
    ])
  })

  test('a wrong cookie that was recorded is played wrong', async () => {
    const { double, summary } = await play(
      captureFile([...hello(0), data(0, 'vm', sub(44, 9, 9, 9, 9), 1), data(0, 'vm', [0x61], 2)]),
    )
    expect(double.connections[0]?.heard).toContain('VMOTION-PEER')
    expect(summary.mismatches).toEqual([])
  })

  test('a redacted capture still migrates: zeros are replaced by the real secret', async () => {
    const { double, summary } = await play(
      captureFile([
        ...hello(0),
        data(0, 'vm', sub(40, 1, 2, 3, 4), 1),
        data(0, 'proxy', sub(41, 1, 2, 3, 4, 0, 0, 0, 0), 1),
        { kind: 'open', t: 2, stream: 1 },
        data(1, 'vm', [IAC, WILL, 232, ...sub(44, 1, 2, 3, 4, 0, 0, 0, 0)], 2),
        data(1, 'proxy', sub(45, 1, 2, 3, 4), 2),
        data(1, 'vm', sub(46, 1, 2, 3, 4), 2),
      ]),
    )
    expect(summary.mismatches).toEqual([])
    expect(double.connections[1]?.heard).toEqual(['VMOTION-PEER', 'VMOTION-COMPLETE'])
  })

  test('commands cut in two by the recording arrive whole, with our own answers before or behind them', async () => {
    const bytes = [...sub(70, 0x53, 0x76, 0x6d), 0x61, IAC, IAC, 0x62]
    const records = bytes.map((byte, i) => data(0, 'vm', [byte], 1 + i / 1000))
    const { double, summary } = await play(captureFile([...hello(0), ...records, { kind: 'close', t: 2, stream: 0 }]))
    expect(summary.mismatches).toEqual([])
    expect(double.connections[0]?.data).toEqual([0x61, 0xff, 0x62])
    expect(double.connections[0]?.heard.filter((kind) => kind === 'DO-PROXY')).toHaveLength(2)
  })

  test('a stream whose beginning is in an earlier file is left out and counted', async () => {
    const { double, summary } = await play(
      captureFile([
        { kind: 'open', t: 0, stream: 7, continued: true },
        data(7, 'vm', [0x61]),
        { kind: 'gap', t: 0, records: 2, bytes: 99 },
        ...hello(8),
      ]),
    )
    expect(summary).toMatchObject({ streams: 1, skippedStreams: 1, gapBytes: 99, mismatches: [] })
    expect(double.connections).toHaveLength(1)
  })

  test('a raw stream is played as it is, IAC or not', async () => {
    const got: number[] = []
    const summary = await playCapture(
      captureFile([
        { kind: 'open', t: 0, stream: 0, endpoint: 'tcp://127.0.0.1:4001?protocol=raw&name=vm1' },
        data(0, 'vm', [IAC, 250, 0, IAC]),
        data(0, 'proxy', [IAC, 251]),
        data(0, 'vm', [1, 2]),
      ]),
      {
        speed: 'max',
        dial: async () => {
          const [ours, theirs] = duplexPair()
          theirs.on('data', (chunk: Uint8Array) => got.push(...chunk))
          theirs.on('end', () => theirs.end())
          return ours
        },
      },
    )
    expect(got).toEqual([IAC, 250, 0, IAC, 1, 2])
    expect(summary.mismatches).toEqual([])
  })
})

describe('time', () => {
  test('at speed 10 everything happens at a tenth of its recorded time', async () => {
    const clock = new ManualClock()
    const at: [number, number][] = []
    const file = captureFile([
      { kind: 'open', t: 5, stream: 0, endpoint: 'x?protocol=raw' },
      data(0, 'vm', [1], 6),
      data(0, 'vm', [2], 8),
      { kind: 'close', t: 8, stream: 0 },
    ])
    const playing = playCapture(file, {
      speed: 10,
      clock,
      dial: async () => {
        const [ours, theirs] = duplexPair()
        theirs.on('data', (chunk: Uint8Array) => at.push([clock.now(), chunk[0] ?? -1]))
        theirs.on('end', () => theirs.end())
        return ours
      },
    })
    await advanceUntil(playing, clock, 10)
    expect(at).toEqual([
      [100, 1],
      [300, 2],
    ])
  })

  test('an abort ends the replay with its reason and leaves no connection open', async () => {
    const stop = new AbortController()
    let ours: Duplex | undefined
    const file = captureFile([...hello(0), data(0, 'vm', [1], 3600)])
    const double = new ProxyDouble({
      answer: (message) => {
        if (message.kind === 'DO-PROXY') setImmediate(() => stop.abort(new Error('enough')))
        return undefined
      },
    })
    const dial = async (): Promise<Duplex> => {
      ours = await dialTo(double)()
      return ours
    }
    await expect(playCapture(file, { speed: 1, signal: stop.signal, dial })).rejects.toThrow('enough')
    expect(ours?.destroyed).toBe(true)
  })

  test('an abort before the start opens nothing', async () => {
    let dialled = 0
    const dial = async (): Promise<Duplex> => {
      dialled++
      return duplexPair()[0]
    }
    const playing = playCapture(captureFile(hello(0)), {
      speed: 'max',
      signal: AbortSignal.abort(new Error('no')),
      dial,
    })
    await expect(playing).rejects.toThrow('no')
    expect(dialled).toBe(0)
  })

  test('a server that cannot be reached ends the replay with what the dialler threw', async () => {
    const dial = (): Promise<Duplex> => Promise.reject(new Error('refused'))
    await expect(playCapture(captureFile(hello(0)), { speed: 'max', dial })).rejects.toThrow('refused')
  })
})

/** Moves a manual clock on whenever the event loop has nothing else to do, until `work` is done. */
async function advanceUntil<T>(work: Promise<T>, clock: ManualClock, stepMs: number, each?: () => void): Promise<T> {
  let settled = false
  const done = work.finally(() => {
    settled = true
  })
  while (!settled) {
    for (let i = 0; i < 10 && !settled; i++) await new Promise<void>((turn) => setImmediate(turn))
    // Files are still being read while nobody waits for the clock.
    if (settled || clock.pending === 0) continue
    each?.()
    clock.advance(stepMs)
  }
  return await done
}
