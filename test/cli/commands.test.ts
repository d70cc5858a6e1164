import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { RawVm, startApp } from '../app/support.ts'
import { type RunOptions, runVspc, VSPC_BIN } from '../support/cli.ts'
import { FakePort, FakeServer } from './fake-server.ts'

// The built program, in pipes, against the double.

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function serve(...ports: FakePort[]): Promise<FakeServer> {
  const server = await FakeServer.start(...ports)
  cleanups.push(() => server.stop())
  return server
}

/** Runs against `server`, unless the test names another. */
function run(server: FakeServer, args: readonly string[], options: RunOptions = {}) {
  return runVspc(args, { ...options, env: { VSPC_SERVER: server.url, ...options.env } })
}

/** The address of a TCP port on which nobody listens. */
async function deadAddress(): Promise<string> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return `http://127.0.0.1:${port}`
}

describe('the program', () => {
  test('version and help go to stdout and end with 0', async () => {
    const version = await runVspc(['--version'])
    expect(version.stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/)
    const help = await runVspc(['attach', '--help'])
    expect([version.code, help.code]).toEqual([0, 0])
    expect(help.stdout.toString()).toContain('vspc attach -s web1')
    expect(help.stderr).toBe('')
  })

  test.concurrent.each([
    [[], 'Usage: vspc'],
    [['prots'], "vspc: unknown command 'prots'\n(Did you mean ports?)"],
    [['attach'], "vspc: missing required argument 'port'"],
    [['attach', 'a', 'b'], 'vspc: too many arguments'],
    [['attach', '--frce', 'a'], "vspc: unknown option '--frce'\n(Did you mean --force?)"],
    [['attach', '-s', '-x', 'a'], "'-s, --spy' cannot be used with option '-x, --exclusive'"],
    [['attach', ''], 'vspc: PORT is empty'],
    [['attach', '--wait=5', 'a'], 'vspc: --wait: "5" is not a duration: a unit is missing'],
    [['attach', '--from', 'x', 'a'], 'vspc: --from: "x" is no offset'],
    [['ports', '-o', 'yaml'], 'table, json'],
    [['log', '-n', '1', '--from', '2', 'a'], 'vspc: -n and --from contradict each other'],
    [['log', '-n', '1', '--since', '1h', 'a'], 'vspc: -n and --since contradict each other'],
    [['log', '-f', '--until', '1h', 'a'], 'vspc: -f and --until contradict each other'],
    [['log', '--since', 'noon', 'a'], 'vspc: --since: "noon" is no time'],
    [['log', '--grep', '(', 'a'], 'vspc: --grep: '],
    [['log', '-t', '--format', 'asciicast', 'a'], 'vspc: --format asciicast is a whole recording'],
  ])('%j is a usage error, on stderr, with 2', async (args, message) => {
    const { code, stdout, stderr } = await runVspc(args, { env: { VSPC_SERVER: await deadAddress() } })
    expect(stderr).toContain(message)
    expect([code, stdout.toString()]).toEqual([2, ''])
  })

  test('no server: says which address, what to start and which option to use, and ends with 6', async () => {
    const address = await deadAddress()
    for (const args of [['ports'], ['attach', 'a'], ['attach', '--wait', 'a'], ['log', 'a']]) {
      const { code, stderr, stdout } = await runVspc(args, { env: { VSPC_SERVER: address } })
      expect(stderr).toContain(`no server at ${address}: start one with 'vspc serve'`)
      expect(stderr).toContain('--server')
      expect([code, stdout.length]).toEqual([6, 0])
    }
  })
})

test('a listener that hangs up, as one with TLS does on plain HTTP, is asked to be looked at', async () => {
  const listener = createTcpServer((socket) => socket.on('error', () => {}).once('data', () => socket.end()))
  listener.listen(0, '127.0.0.1')
  cleanups.push(() => listener.close())
  await once(listener, 'listening')
  const url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`
  const { code, stderr } = await runVspc(['ports'], { env: { VSPC_SERVER: url } })
  expect([code, stderr]).toEqual([6, expect.stringContaining(`${url} hung up without an answer`)])
  expect(stderr).toContain('http, not https')
})

describe('ports', () => {
  test('a table on stdout, nothing on stderr', async () => {
    const server = await serve(new FakePort('web2', { consoles: 2 }), new FakePort('db', { label: 'com1' }))
    for (const command of ['ports', 'ls']) {
      const { code, stdout, stderr } = await run(server, [command])
      const lines = stdout.toString().trimEnd().split('\n')
      expect(lines[0]).toMatch(/^NAME +LABEL +STATE +HOST +CONSOLES +OUT +LAST OUTPUT +ID$/)
      expect(lines.slice(1).map((line) => line.split(/ +/)[0])).toEqual(['db', 'web2'])
      expect([code, stderr]).toEqual([0, ''])
    }
  })

  test('JSON is what the server said, whatever the spelling of the option', async () => {
    const server = await serve(new FakePort('web1'))
    for (const option of [['--json'], ['-o', 'json'], ['--output=json']]) {
      const { stdout } = await run(server, ['ports', ...option])
      expect(JSON.parse(stdout.toString())).toEqual(server.ports.map(({ info }) => info))
    }
  })

  test('no ports: a table or list of none, and on stderr how to point a VM at the server', async () => {
    const server = await serve()
    const table = await run(server, ['ports'])
    expect([table.code, table.stdout.toString()]).toEqual([0, ''])
    expect(table.stderr).toContain('telnet://127.0.0.1:13370')
    const json = await run(server, ['ports', '--json'])
    expect([json.stdout.toString(), json.stderr]).toEqual(['[]\n', ''])
  })

  test('nothing that one may see is not told as nothing there', async () => {
    const rules = [{ who: ['anyone'], can: ['list'], ports: ['web*'] }]
    const app = await startApp({ access: { rules } as never })
    await RawVm.connect(app)
    const { code, stdout, stderr } = await runVspc(['ports'], { env: { VSPC_SERVER: app.url } })
    expect([code, stdout.toString()]).toEqual([0, ''])
    expect(stderr).toBe(
      `vspc: there is no port that you may see ("vspc token check --server ${app.url}" says what you may)\n`,
    )
  })

  test('the token is sent, and asked for when it is missing', async () => {
    const server = await serve(new FakePort('web1'))
    server.refuse = (_method, _url) =>
      server.requests.at(-1)?.headers.authorization === 'Bearer t0ken' ? null : { status: 401, detail: 'who are you' }
    const without = await run(server, ['ports'])
    expect(without.code).toBe(4)
    expect(without.stderr).toBe('vspc: who are you (no token given: use --token-file, VSPC_TOKEN_FILE or VSPC_TOKEN)\n')
    const withToken = await run(server, ['ports'], { env: { VSPC_TOKEN: 't0ken' } })
    expect(withToken.code).toBe(0)
    expect((await run(server, ['attach', '-s', 'nobody'], { env: { VSPC_TOKEN: 't0ken' } })).code).toBe(3)
  })

  test('something that is no vspc server is named as such', async () => {
    const server = await serve()
    server.refuse = () => ({ status: 418 })
    const { code, stderr } = await run(server, ['ports'])
    expect(stderr).toContain('does not answer like a vspc server')
    expect(code).toBe(1)
  })

  test('a reader that goes away ends it quietly', async () => {
    const port = new FakePort('big')
    port.held = Buffer.alloc(8 << 20, 'line\n')
    const server = await serve(port)
    const child = spawn(process.execPath, [VSPC_BIN, 'log', 'big'], {
      env: { PATH: process.env['PATH'] ?? '', VSPC_SERVER: server.url },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let complaints = ''
    child.stderr.on('data', (text) => {
      complaints += text
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const [code] = await once(child, 'close')
    expect([code, complaints]).toEqual([0, ''])
  })
})

describe('log', () => {
  test('prints the bytes as they are', async () => {
    const port = new FakePort('web1')
    port.held = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const server = await serve(port)
    const { code, stdout, stderr } = await run(server, ['log', 'web1'])
    expect(stdout.equals(port.held)).toBe(true)
    expect([code, stderr]).toEqual([0, ''])
  })

  test('the last lines, also when they reach further back than the first look', async () => {
    const port = new FakePort('web1')
    const lines = Array.from({ length: 3_000 }, (_, n) => `line ${n} ${'x'.repeat(60)}\r\n`)
    port.start = 1_000_000
    port.held = Buffer.from(lines.join(''))
    const server = await serve(port)
    for (const count of [0, 1, 10, 2_000, 3_000, 9_999]) {
      const { stdout } = await run(server, ['log', '-n', String(count), 'web1'])
      expect(stdout.toString()).toBe(count === 0 ? '' : lines.slice(-count).join(''))
    }
  })

  test('from an offset, with a note about what is gone', async () => {
    const port = new FakePort('web1')
    port.start = 100
    port.held = Buffer.from('0123456789')
    const server = await serve(port)
    expect((await run(server, ['log', '--from', '105', 'web1'])).stdout.toString()).toBe('56789')
    expect((await run(server, ['log', '--from', '-3', 'web1'])).stdout.toString()).toBe('789')
    const gone = await run(server, ['log', '--from', '40', 'web1'])
    expect(gone.stdout.toString()).toBe('0123456789')
    expect(gone.stderr).toBe('vspc: the 60 bytes before offset 100 are no longer held\n')
  })

  test('no such port, with the way to find one', async () => {
    const server = await serve()
    const { code, stderr } = await run(server, ['log', 'nobody'])
    expect(stderr).toBe("vspc: no port matches nobody (see 'vspc ports')\n")
    expect(code).toBe(3)
  })

  test('follows without losing or doubling a byte, over a restart, until the port is gone', async () => {
    const port = new FakePort('web1')
    port.held = Buffer.from('before;')
    const server = await serve(port)
    const running = run(server, ['log', '-f', 'web1'])
    await server.until(() => port.consoles.length === 1)
    port.output('live;')
    await server.stop()
    port.output('meanwhile;')
    await server.listen()
    await server.until(() => port.consoles.length === 1)
    port.output('after;')
    port.say({ type: 'detached', reason: 'the port was removed', code: 'VSPC_PORT_REMOVED' })
    port.close()
    const { code, stdout, stderr } = await running
    expect(stdout.toString()).toBe('before;live;meanwhile;after;')
    expect(stderr).toMatch(/reconnecting\nvspc: attached again\nvspc: the port was removed\n$/)
    expect(code).toBe(7)
  })
})

describe('attach in a pipe', () => {
  test('echo ls | vspc attach web1', async () => {
    const port = new FakePort('web1')
    port.typed = (bytes) => port.output(`${bytes.toString().replace('\r', '\r\n')}file-1\r\n$ `)
    const server = await serve(port)
    const { code, stdout, stderr } = await run(server, ['attach', '--linger', '200ms', 'web1'], { input: 'ls\n' })
    expect(port.input.toString()).toBe('ls\r')
    expect(stdout.toString()).toBe('ls\r\nfile-1\r\n$ ')
    expect(stderr).toBe(`[vspc] attached to web1 (${port.info.id})\n`)
    expect(code).toBe(0)
  })

  test('all 256 bytes go both ways, and no escape is seen', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const port = new FakePort('web1')
    port.typed = () => {
      if (port.input.length === all.length) port.output(all)
    }
    const server = await serve(port)
    const { stdout } = await run(server, ['attach', '--raw-input', '--linger', '200ms', 'web1'], { input: all })
    expect(port.input.equals(all)).toBe(true)
    expect(stdout.equals(all)).toBe(true)
  })

  test('a large script arrives whole, and so does its output', async () => {
    const port = new FakePort('web1')
    port.typed = (bytes) => port.output(bytes)
    const server = await serve(port)
    const script = Buffer.alloc(3 << 20, '0123456789abcde\r')
    const { stdout, code } = await run(server, ['attach', '-q', '--linger', '500ms', 'web1'], { input: script })
    expect(code).toBe(0)
    expect(port.input.equals(script)).toBe(true)
    expect(stdout.equals(script)).toBe(true)
  })

  test.each([
    [{ status: 404, code: 'VSPC_PORT_NOT_FOUND', detail: 'no port matches' }, 3, "no port matches (see 'vspc ports')"],
    [{ status: 404 }, 3, "Refused (see 'vspc ports')"],
    [{ status: 409, code: 'VSPC_PORT_AMBIGUOUS', detail: '2 ports match: a, b' }, 3, '2 ports match: a, b'],
    [{ status: 403, detail: 'not for you' }, 4, 'not for you'],
    [
      { status: 409, code: 'VSPC_CONSOLE_BUSY', detail: 'bob holds it' },
      5,
      'bob holds it; --queue waits, -f takes it over',
    ],
    [{ status: 503, code: 'VSPC_SERVER_STOPPING', detail: 'stopping' }, 6, 'stopping'],
    [{ status: 500 }, 1, 'does not answer like a vspc server (HTTP status 500'],
    [{ status: 400, code: 'VSPC_FROM_THE_FUTURE', detail: 'bad\x1b[31m offset' }, 2, 'bad[31m offset'],
  ])('refused with %j: ends with %d and says why', async (refusal, exitCode, message) => {
    const server = await serve(new FakePort('web1'))
    server.refuse = () => refusal
    const { code, stderr, stdout } = await run(server, ['attach', 'web1'], { input: 'x' })
    expect(stderr).toMatch(/^vspc: /)
    expect(stderr).toContain(message)
    expect([code, stdout.length]).toEqual([exitCode, 0])
  })

  test('refused by a message after the upgrade: the same', async () => {
    const port = new FakePort('web1')
    port.greeting = () => {
      setImmediate(() => port.close())
      return [{ type: 'error', code: 'VSPC_CONSOLE_BUSY', message: 'bob holds it' }]
    }
    const { code, stderr } = await run(await serve(port), ['attach', 'web1'])
    expect(stderr).toBe('vspc: bob holds it; --queue waits, -f takes it over, -s only watches\n')
    expect(code).toBe(5)
  })

  test('a server without our subprotocol is no vspc server', async () => {
    const server = await serve(new FakePort('web1'))
    server.speakSubprotocol = false
    const { code, stderr } = await run(server, ['attach', 'web1'])
    expect(stderr).toContain('does not answer like a vspc server')
    expect(code).toBe(1)
  })

  test('mode, force and offset are asked for as given; the name as typed', async () => {
    const port = new FakePort('web 1/com2')
    const server = await serve(port)
    await run(server, ['attach', '-x', '-f', '--from', '-10', '--linger', '0', 'web 1/com2'], { input: '' })
    expect(server.requests[0]?.url).toBe('/api/v1/ports/web%201%2Fcom2/console?mode=exclusive&from=-10&force=1')
  })

  test('--wait does not take the port for a duration, and waits until it is online', async () => {
    const server = await serve()
    const running = run(server, ['attach', '--wait', 'web1', '--linger', '0'], { input: 'x' })
    await server.until(() => server.requests.length > 0)
    const port = server.add(new FakePort('web1', { state: 'offline' }))
    await server.until(() => server.requests.length > 2)
    port.info.state = 'online'
    const { code, stderr } = await running
    expect(port.input.toString()).toBe('x')
    expect(stderr).toContain('vspc: there is no port "web1" yet: waiting for it\n')
    expect(code).toBe(0)
  })

  test('--wait that takes too long ends with 124', async () => {
    const { code, stderr } = await run(await serve(), ['attach', '--wait=100ms', 'web1'])
    expect(stderr).toContain('vspc: there is no port "web1" yet; gave up after 0.1 s\n')
    expect(code).toBe(124)
  })

  test('an offline VM gets no input: 7', async () => {
    const port = new FakePort('web1', { state: 'offline' })
    const { code, stderr } = await run(await serve(port), ['attach', 'web1'], { input: 'x' })
    expect(stderr).toContain('vspc: web1 is offline, no input was sent: --wait waits for it\n')
    expect([code, port.input.length]).toEqual([7, 0])
  })

  test('the port is removed while attached: 7', async () => {
    const port = new FakePort('web1')
    const server = await serve(port)
    const running = run(server, ['attach', '-s', 'web1'])
    await server.until(() => port.consoles.length === 1)
    port.say({ type: 'detached', reason: 'the port was removed', code: 'VSPC_PORT_REMOVED' })
    port.close()
    const { code, stderr } = await running
    expect(stderr).toContain('vspc: the port was removed\n')
    expect(code).toBe(7)
  })

  test('watching with stdin closed goes on; Ctrl-C ends it with 130, a kill with 143', async () => {
    const port = new FakePort('web1')
    const server = await serve(port)
    for (const [signal, expected] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const child = spawn(process.execPath, [VSPC_BIN, 'attach', '-s', 'web1'], {
        env: { PATH: process.env['PATH'] ?? '', VSPC_SERVER: server.url },
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      await server.until(() => port.consoles.length === 1)
      port.output('x')
      await once(child.stdout, 'data')
      child.kill(signal)
      const [code] = await once(child, 'close')
      expect(code).toBe(expected)
      await server.until(() => port.consoles.length === 0)
    }
  })
})
