/** `vspc relay` as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, test } from 'vitest'
import { closed, connectTo, digest, echo, FarEnd, readExactly, temporaryFolder, until } from '../relay/support.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'

class RelayProcess {
  readonly child: ChildProcess
  readonly out: string[] = []
  err = ''

  constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, [VSPC_BIN, 'relay', ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome() },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on('line', (line) => this.out.push(line))
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString()
    })
    onTestFinished(() => {
      this.child.kill('SIGKILL')
    })
  }

  /** @param lines to wait for. */
  static async start(args: readonly string[], lines = 1): Promise<RelayProcess> {
    const relay = new RelayProcess(args)
    await until(`it to be ready: ${relay.err}`, () => relay.out.length >= lines || relay.child.exitCode !== null)
    return relay
  }

  async end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    const exit = once(this.child, 'exit')
    this.child.kill(signal)
    const [code, by] = await exit
    return code ?? by
  }
}

test('it says what it relays, passes bytes on, is asked and told by its control endpoint, and drains at SIGTERM', async () => {
  const folder = temporaryFolder()
  const [one, two] = [await FarEnd.listen({ onSocket: echo }), await FarEnd.listen({ onSocket: echo })]
  const control = `unix://${folder}/control.sock`
  const relay = await RelayProcess.start(
    [
      '--listen',
      `unix://${folder}/vm.sock`,
      '--dial',
      'next-hop:a',
      '--next-hop',
      `a=${one.uri}`,
      '--control',
      control,
    ],
    2,
  )
  expect(relay.out).toEqual([`relaying unix://${folder}/vm.sock -> next-hop:a`, `control on ${control}`])
  const client = await connectTo(`unix://${folder}/vm.sock`)
  client.write('hello')
  expect((await readExactly(client, 5)).toString()).toBe('hello')

  const hop = await runVspc(['relay', 'next-hop', 'get', 'a', '--control', control])
  expect([hop.code, hop.stdout.toString(), hop.stderr]).toEqual([0, `${one.uri}\n`, ''])
  const set = await runVspc(['relay', 'next-hop', 'set', 'a', two.uri, '--control', control])
  expect([set.code, set.stdout.toString(), set.stderr]).toEqual([0, '', ''])
  const hops = await runVspc(['relay', 'next-hop', 'get', '--json', '--control', control])
  expect(JSON.parse(hops.stdout.toString())).toEqual([{ name: 'a', endpoint: two.uri, configured: one.uri }])
  const status = await runVspc(['relay', 'status', '--control', control])
  expect(status.stdout.toString()).toMatch(/^ROUTE +FROM +TO +STREAMS +HELD +FORWARD +BACK +LAST ERROR\nroute1 +unix:/)
  const json = await runVspc(['relay', 'status', '--json', '--control', control])
  expect(JSON.parse(json.stdout.toString())).toMatchObject([{ name: 'route1', streams: 1, bytesForward: 5 }])
  const unknown = await runVspc(['relay', 'next-hop', 'set', 'b', two.uri, '--control', control])
  expect([unknown.code, unknown.stderr]).toEqual([2, 'vspc: there is no next hop "b"; accepted: a; did you mean a?\n'])
  const bad = await runVspc(['relay', 'next-hop', 'set', 'a', 'nonsense', '--control', control])
  expect([bad.code, bad.stderr]).toEqual([2, expect.stringMatching(/^vspc: endpoint "nonsense": it has no scheme/)])

  const end = digest(client)
  const exit = relay.end('SIGTERM')
  expect((await end).bytes).toBe(0)
  client.end()
  expect(await exit).toBe(0)
})

test('--json: one line that says where it listens, with the port really bound', async () => {
  const far = await FarEnd.listen({ onSocket: echo })
  const relay = await RelayProcess.start(['--listen', 'tcp://127.0.0.1:0', '--dial', far.uri, '--json'])
  const { relaying, control } = JSON.parse(relay.out[0] ?? '')
  expect(control).toBeNull()
  expect(relaying).toEqual([
    { name: 'route1', from: expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]/), to: far.uri },
  ])
  const client = await connectTo(relaying[0].from)
  client.write('x')
  await readExactly(client, 1)
})

test('killed and started again: VMs see an end, the stale socket is no obstacle, new streams pass', async () => {
  const folder = temporaryFolder()
  const far = await FarEnd.listen({ onSocket: echo })
  const args = ['--listen', `unix://${folder}/vm.sock`, '--dial', far.uri]
  const first = await RelayProcess.start(args)
  const client = await connectTo(`unix://${folder}/vm.sock`)
  client.write('x')
  await readExactly(client, 1)
  expect(await first.end('SIGKILL')).toBe('SIGKILL')
  client.end()
  await closed(client)
  await RelayProcess.start(args)
  const again = await connectTo(`unix://${folder}/vm.sock`)
  again.write('again')
  expect((await readExactly(again, 5)).toString()).toBe('again')
})

test('both sides away: it goes on dialling, joins them when they come, and ends well when it is told to', async () => {
  const folder = temporaryFolder()
  const [one, two] = [`unix://${folder}/one.sock`, `unix://${folder}/two.sock`]
  const relay = await RelayProcess.start(['--dial', one, '--dial', two])
  await until('the first dial to have failed', () => relay.err.includes('one.sock'))
  // Nothing of it is open now: only what is to come keeps it alive.
  const near = await FarEnd.listen({ onSocket: (socket) => socket.end('through'), path: `${folder}/one.sock` })
  const far = await FarEnd.listen({ path: `${folder}/two.sock` })
  await until('the two to be joined', () => far.sockets.length > 0)
  expect(near.sockets.length).toBeGreaterThan(0)
  expect(relay.child.exitCode).toBeNull()
  expect(await relay.end('SIGTERM')).toBe(0)
})

test('SIGHUP: a new file is applied while streams live on; one with mistakes is told of and changes nothing', async () => {
  const folder = temporaryFolder()
  const far = await FarEnd.listen({ onSocket: echo })
  const file = join(folder, 'relay.yaml')
  const write = (names: string[], more = '') =>
    writeFileSync(
      file,
      `routes:\n${names.map((name) => `  - {name: ${name}, listen: unix:///${folder}/${name}.sock, dial: '${far.uri}'}\n`).join('')}${more}`,
    )
  write(['a', 'b'])
  const relay = await RelayProcess.start(['--config', file], 2)
  const live = await connectTo(`unix://${folder}/a.sock`)
  live.write('live')
  await readExactly(live, 4)
  write(['c'], 'limitz: {}\n')
  relay.child.kill('SIGHUP')
  await until('the mistake to be told', () => relay.err.includes('configuration not reloaded'))
  expect(relay.err).toContain('did you mean limits?')
  await connectTo(`unix://${folder}/b.sock`)
  write(['b', 'c'])
  relay.child.kill('SIGHUP')
  await until('the new route', () => relay.err.includes('configuration reloaded'))
  const fresh = await connectTo(`unix://${folder}/c.sock`)
  fresh.write('c')
  await readExactly(fresh, 1)
  await expect(connectTo(`unix://${folder}/a.sock`)).rejects.toMatchObject({ code: 'ENOENT' })
  live.write('still')
  expect((await readExactly(live, 5)).toString()).toBe('still')
})

test.each([
  [[], 2, /^vspc: --listen, --dial: there is nothing to do: a route needs two sides/],
  [['--listen', 'unix:///a'], 2, /^vspc: --listen, --dial: routes\[0\] has 1 side\(s\)/],
  [['--listen', 'tpc://a:1', '--dial', 'unix:///b'], 2, /^vspc: --listen: endpoint "tpc:.*did you mean tcp:\/\/\?/],
  [['--when-away', 'hold'], 2, /^vspc: --when-away belongs to a route/],
  [['--listen', 'unix:///a', '--dial', 'unix:///b', '--next-hop', 'x'], 2, /^vspc: --next-hop "x" is not NAME=URI/],
  [
    ['--listen', 'unix:///a', '--dial', 'next-hop:x'],
    2,
    /there is no next hop "x"; accepted: there are none; name them/,
  ],
  [['--config', '/nowhere.yaml'], 1, /^vspc: \/nowhere\.yaml: there is no such file/],
  [['--listen', 'unix:///nowhere/a.sock', '--dial', 'unix:///b'], 1, /^vspc: cannot listen on unix:.*does not exist/],
  [['status'], 2, /^vspc: where is the relay\? Give its control endpoint as --control URI/],
  [
    ['status', '--control', 'unix:///nowhere'],
    6,
    /^vspc: cannot reach unix:.*check --control, and whether the relay runs/,
  ],
  [['next-hop', 'set', 'a'], 2, /missing required argument 'uri'/],
  [['frobnicate'], 2, /too many arguments|unknown command/],
] as [string[], number, RegExp][])('vspc relay %j ends with %d and says why', async (args, code, message) => {
  const run = await runVspc(['relay', ...args])
  expect(run.stderr).toMatch(message)
  expect(run.code).toBe(code)
  expect(run.stdout.toString()).toBe('')
})
