import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest'
import { limitsWith, silentLogger, systemClock } from '../../src/base/index.ts'
import { describeCapture, openCapture, openRecorder, playCapture } from '../../src/capture/index.ts'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { parseSpeed, registerReplay } from '../../src/cli/replay.ts'
import { dial, formatEndpoint, parseEndpoint } from '../../src/transport/index.ts'
import { Server, type ServerOptions } from '../../src/vspc/index.ts'
import { FIXTURES } from '../support/pages.ts'
import { TestConsole } from '../vspc/support.ts'

const VMWARE_STREAMS = join(FIXTURES, 'captures', 'vmware-streams.jsonl')
/** Serial bytes in all four streams. */
const PRINTED = 980
const folder = mkdtempSync(join(tmpdir(), 'vspc-server-replay-'))
afterAll(() => rmSync(folder, { recursive: true }))

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A real server on a free port of the loopback; everything it prints is in `output` once a console is attached. */
async function startServer(options: Partial<ServerOptions> = {}): Promise<{ server: Server; uri: string }> {
  const server = new Server({
    listen: [parseEndpoint('tcp://127.0.0.1:0', 'listen', 'vm')],
    dial: [],
    serviceUris: [],
    allowDial: [],
    writers: 'shared',
    limits: limitsWith({ drainMs: 100 }),
    clock: systemClock,
    log: silentLogger,
    random: randomBytes,
    ...options,
  })
  await server.start()
  cleanups.push(() => server.stop())
  const [endpoint] = server.listening
  if (!endpoint) throw new Error('no listener')
  return { server, uri: formatEndpoint(endpoint) }
}

function playTo(uri: string, file: string): ReturnType<typeof playCapture> {
  const endpoint = parseEndpoint(uri, 'dial', 'plain')
  return playCapture(file, {
    speed: 'max',
    dial: async (signal) => (await dial(endpoint, { signal, timeoutMs: 5000 })).socket,
  })
}

describe('the four connections of the capture, against our own server over TCP', () => {
  test('one port, three vMotions, every printed byte once and in order; only the NOTNOW differs [C2, C30, C36, C37]', async () => {
    const { server, uri } = await startServer()
    const consoles: TestConsole[] = []
    server.subscribe((event) => {
      const port = event.type === 'port-added' ? server.table.get(event.port.id) : undefined
      if (port) consoles.push(new TestConsole(port, { from: 0 }))
    })
    const summary = await playTo(uri, VMWARE_STREAMS)
    expect(summary.mismatches.map(({ expected, got }) => [expected, got])).toEqual([
      ['VMOTION-NOTNOW cd 52 67 55', 'VMOTION-GOAHEAD cd 52 67 55'],
    ])
    expect(consoles).toHaveLength(1)
    const [console] = consoles
    expect([...(console?.bytes ?? [])]).toEqual([...(console?.bytes ?? [])].map((_, i) => 0x20 + (i % 95)))
    expect(console?.bytes.length).toBe(PRINTED)
    const [port] = server.table
    expect(port?.info()).toMatchObject({
      id: '01234567-89ab-cdef-fedc-ba9800000000',
      vmotions: 3,
      bytesFromVm: PRINTED,
    })
  })

  test.each([false, true])(
    'what the server records of that replays without a deviation (redacted: %s)',
    async (redact) => {
      const recorder = await openRecorder({ dir: join(folder, `captures-${redact}`), redact })
      const first = await startServer({ tap: recorder })
      await playTo(first.uri, VMWARE_STREAMS)
      await first.server.stop()
      await recorder.close()
      const file = recorder.stats.path ?? ''
      const dump: string[] = []
      for await (const line of describeCapture(await openCapture(file))) dump.push(line)
      expect(dump.filter((line) => line.endsWith('closed'))).toHaveLength(4)
      expect(dump.filter((line) => /secret 00 00 00 00 00 00 00 00$/.test(line))).toHaveLength(redact ? 8 : 0)
      const second = await startServer()
      const summary = await playTo(second.uri, file)
      expect(summary.mismatches).toEqual([])
      expect([...second.server.table].map((port) => port.info().bytesFromVm)).toEqual([PRINTED])
    },
  )
})

describe('vspc replay', () => {
  /** Runs the command in this process. */
  async function run(...args: string[]): Promise<{ code: number; out: string; error: string }> {
    let out = ''
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      out += String(chunk)
      return true
    })
    const interrupts = process.listeners('SIGINT')
    try {
      const program = new Command().exitOverride().configureOutput({ writeErr: () => {} })
      registerReplay(program)
      await program.parseAsync(['replay', ...args], { from: 'user' })
      return { code: 0, out, error: '' }
    } catch (error) {
      return { code: exitCodeOf(error), out, error: (error as Error).message }
    } finally {
      write.mockRestore()
      for (const listener of process.listeners('SIGINT')) {
        if (!interrupts.includes(listener)) process.off('SIGINT', listener)
      }
    }
  }

  test('shows a capture, as text and as JSON', async () => {
    const shown = await run(VMWARE_STREAMS)
    expect(shown.code).toBe(0)
    expect(shown.out).toContain('#0  VM ->    376  VMOTION-BEGIN 44 da 87 f1\n')
    expect(shown.out).not.toContain('\u001b')
    const json = await run(VMWARE_STREAMS, '--json')
    const lines = json.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.length).toBe(shown.out.trimEnd().split('\n').length - 1)
    expect(lines[1]).toEqual({
      t: 0.0003,
      stream: 0,
      from: 'vm',
      offset: 0,
      bytes: 3,
      kind: 'negotiation',
      text: 'WILL AUTHENTICATION',
    })
  })

  test('plays one, and ends with 1 where the server deviates, naming where', async () => {
    const { uri } = await startServer()
    const played = await run(VMWARE_STREAMS, '--to', uri, '--speed', 'max')
    expect(played).toMatchObject({ code: 1, error: expect.stringContaining('VSPC_REPLAY_MISMATCH') })
    expect(played.out).toMatch(/^played 4 connections in \d+\.\d s: \d+ bytes sent, \d+ received\n/)
    expect(played.out).toContain(
      '  stream 2 at 18.301 s: VMOTION-NOTNOW cd 52 67 55 expected, VMOTION-GOAHEAD cd 52 67 55 came\n',
    )
    const json = await run(VMWARE_STREAMS, '--to', uri, '--speed', 'max', '--json')
    expect(JSON.parse(json.out)).toMatchObject({
      target: uri,
      streams: 4,
      mismatches: [{ code: 'VSPC_REPLAY_MISMATCH' }],
    })
  })

  test('mistakes are said, with the exit code of their kind', async () => {
    expect(await run(VMWARE_STREAMS, '--speed', '2')).toMatchObject({
      code: 2,
      error: expect.stringContaining('--to URI'),
    })
    for (const speed of ['fast', '0', '-1', '1e9', '']) {
      const result = await run(VMWARE_STREAMS, '--to', 'tcp://127.0.0.1:1', `--speed=${speed}`)
      expect(result).toMatchObject({ code: 2, error: expect.stringContaining('--speed') })
    }
    expect(await run(VMWARE_STREAMS, '--to', 'telnet://h:1')).toMatchObject({
      code: 2,
      error: expect.stringContaining('telnet'),
    })
    const missing = await run(join(folder, 'none.jsonl'))
    expect(missing).toMatchObject({ code: 1, error: expect.stringContaining('none.jsonl: no such file') })
    const notOne = await run(join(FIXTURES, 'vmotion', 'stream-0.md'))
    expect(notOne).toMatchObject({ code: 1, error: expect.stringContaining('stream-0.md:1: not JSON') })
  })

  test('no server there ends with 6', async () => {
    const server = createServer()
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    await new Promise((done) => server.close(done))
    expect((await run(VMWARE_STREAMS, '--to', `tcp://127.0.0.1:${port}`)).code).toBe(6)
  })

  test('speeds', () => {
    expect(['1', '0.5', '10', 'max'].map(parseSpeed)).toEqual([1, 0.5, 10, 'max'])
  })
})
