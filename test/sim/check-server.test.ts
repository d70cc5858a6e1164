/** The judge against our own server, by the library and by the command; and its two kinds of console. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { Command } from 'commander'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { exitCodeOf } from '../../src/cli/exit-codes.ts'
import { resolveServer } from '../../src/cli/server-address.ts'
import { registerSim } from '../../src/cli/sim.ts'
import { webConsoles } from '../../src/cli/sim-console.ts'
import { CHECKS, type CheckReport, checkServer, tcpConsoles } from '../../src/sim/index.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import { startApp } from '../app/support.ts'
import { JudgedDouble } from './judged-double.ts'

afterEach(() => vi.restoreAllMocks())

const failures = (report: CheckReport) =>
  report.checks.filter((check) => check.outcome !== 'pass').map((check) => `${check.name}: ${check.reason}`)

async function ourServer(): Promise<{ tcpPort: number; url: string }> {
  const app = await startApp({ listen: ['tcp://127.0.0.1:0'] }, { resumeAfterMs: 10, sourceTailMs: 5 })
  const { tcpPort } = app.server.listening[0] as TcpEndpoint
  return { tcpPort, url: app.url }
}

async function command(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const run = { exitCode: 0, stdout: '', stderr: '' }
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    run.stdout += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    run.stderr += text
    return true
  })
  const program = new Command('vspc').exitOverride()
  registerSim(program)
  try {
    await program.parseAsync(['sim', '--check', ...args], { from: 'user' })
  } catch (error) {
    run.exitCode = exitCodeOf(error)
    run.stderr += (error as Error).message
  }
  return run
}

describe('our own server', () => {
  it('passes every check, with consoles over WebSocket', async () => {
    const { tcpPort, url } = await ourServer()
    const report = await checkServer({
      target: { host: '127.0.0.1', port: tcpPort },
      consoles: webConsoles(resolveServer({ server: url }, {})),
      migrations: 40,
      quietMs: 2,
      resumeMs: 60,
    })
    expect(failures(report)).toEqual([])
    expect(report.passed).toBe(CHECKS.length)
  }, 60_000)
})

describe('vspc sim --check', () => {
  it('prints a verdict for each check and ends with 0', async () => {
    const { tcpPort, url } = await ourServer()
    const target = `tcp://127.0.0.1:${tcpPort}`
    const args = ['--target', target, '--console', url, '--only', 'C29,all-bytes', '--migrations', '5']
    const { exitCode, stdout } = await command(...args)
    expect(stdout).toMatch(/^C29 {2}pass {2}every BEGIN gets exactly one GOAHEAD.*\n {11}p50 \d+\.\d\d, p99 /)
    expect(stdout).toContain(`C3   pass  all 256 byte values pass both ways unchanged\n`)
    expect(stdout).toMatch(/with consoles at http:\/\/127\.0\.0\.1:\d+: 2 passed, 0 failed, 0 skipped\n$/)
    expect(exitCode).toBe(0)
  })

  it('a failed check is FAIL with its reason, and exit code 1; --json is for machines', async () => {
    const double = await JudgedDouble.listen('secret-short')
    try {
      const target = `tcp://127.0.0.1:${double.target.port}`
      const people = await command('--target', target, '--only', 'secrets,C3', '--migrations', '2')
      expect(people.exitCode).toBe(1)
      expect(people.stdout).toContain('C31  FAIL  secrets have 4 bytes or more')
      expect(people.stdout).toContain('           a secret has 2 bytes, 4 are the least\n')
      expect(people.stdout).toMatch(/^C3 {3}- {5}all 256 byte values .* \(skipped: needs --console\)$/m)
      expect(people.stderr).toBe('1 check failed')
      vi.restoreAllMocks()
      const machines = await command('--target', target, '--only', 'secrets', '--migrations', '2', '--json')
      expect(machines.exitCode).toBe(1)
      expect(JSON.parse(machines.stdout)).toMatchObject({
        console: null,
        failed: 1,
        checks: [{ id: 'C31', name: 'secrets', outcome: 'fail', figures: { secrets: 2, bytes: 2 } }],
      })
    } finally {
      await double.close()
    }
  })

  it('no server is exit code 6', async () => {
    const double = await JudgedDouble.listen()
    const target = `tcp://127.0.0.1:${double.target.port}`
    await double.close()
    const gone = await command('--target', target)
    expect(gone).toMatchObject({ exitCode: 6, stdout: '' })
    expect(gone.stderr).toContain("is 'vspc serve' running there?")
    vi.restoreAllMocks()
    const noConsole = await command('--target', target, '--console', target.replace('tcp:', 'http:'))
    expect(noConsole).toMatchObject({ exitCode: 6, stdout: '' })
  })

  it.each([
    [['--only', 'C99'], 'no check "C99"'],
    [['--console', 'telnet://x:1'], '--console: "telnet://x:1" is neither http://HOST:PORT'],
    [['--console', 'tcp://x'], '"tcp://x": expected tcp://HOST:PORT'],
    [['--console', 'tcp://x:1?protocol=ssh'], 'protocol "ssh"; accepted: telnet, raw'],
    [['--target', 'tcp://a:1', '--target', 'tcp://b:1'], 'give --target once'],
  ])('%j is a usage error', async (args, message) => {
    // Named so that no server that happens to run at the usual address is asked.
    const named = args.includes('--target') ? args : ['--target', 'tcp://127.0.0.1:9', ...args]
    const { exitCode, stderr } = await command(...named)
    expect(exitCode).toBe(2)
    expect(stderr).toContain(message)
  })
})

/** A console port of the double: what foreign servers have. */
async function consolePort(double: JudgedDouble, protocol: 'raw' | 'telnet' | 'nvt') {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => void serve(socket))
  const serve = async (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const digits = double.newest
    const uuid = digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    const out = (bytes: Uint8Array) => {
      let line = Buffer.from(bytes).toString('latin1')
      if (protocol !== 'raw') line = line.replaceAll('\xff', '\xff\xff')
      if (protocol === 'nvt') line = line.replaceAll('\r', '\r\0')
      socket.write(Buffer.from(line, 'latin1'))
    }
    const listener = { data: out, closed: () => socket.end() }
    const link = await double.consoles.attach({ name: '', uuid }, listener)
    if (protocol === 'telnet') socket.write(Buffer.from('fffb00fffd00', 'hex'))
    // A greeting, as such ports have one.
    socket.write('connected\r\n')
    let tail = ''
    socket.on('data', (chunk: Buffer) => {
      tail += chunk.toString('latin1')
      const whole = protocol === 'raw' ? tail : (/^(?:[^\xff]|\xff\xff|\xff[\xfb-\xfe][\s\S])*/.exec(tail)?.[0] ?? '')
      tail = tail.slice(whole.length)
      let typed = whole
      if (protocol !== 'raw')
        typed = typed.replaceAll(/\xff([\xfb-\xfe][\s\S]|\xff)/g, (_, c) => (c === '\xff' ? c : ''))
      if (protocol === 'nvt') {
        for (const [, option] of whole.matchAll(/\xff\xfb([\s\S])/g))
          socket.write(Buffer.from(`\xff\xfe${option}`, 'latin1'))
        typed = typed.replaceAll('\r\0', '\r')
      }
      link.write(Buffer.from(typed, 'latin1'))
    })
    socket.on('close', () => void link.close())
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return {
    uri: `tcp://127.0.0.1:${port}${protocol === 'raw' ? '?protocol=raw' : ''}`,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

describe('consoles on a TCP port', () => {
  it.each(['raw', 'telnet', 'nvt'] as const)('%s: every byte value passes, greeting and all', async (protocol) => {
    const double = await JudgedDouble.listen()
    const port = await consolePort(double, protocol)
    try {
      const report = await checkServer({
        target: double.target,
        consoles: tcpConsoles(port.uri),
        only: ['all-bytes', 'exactly-once-five', 'takeover', 'exactly-once-source-lost'],
        quietMs: 0,
        limitMs: 2_000,
      })
      expect(failures(report)).toEqual([])
      expect(report).toMatchObject({ passed: 4, console: port.uri })
    } finally {
      await port.close()
      await double.close()
    }
  })
})
