import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { loadConfig, type Settings } from '../../src/app/index.ts'
import type { Limits } from '../../src/base/index.ts'
import {
  ABORT,
  AO,
  AYT,
  BRK,
  DM,
  DO,
  DONT,
  EC,
  EL,
  EOF,
  GA,
  IAC,
  IP,
  NOP,
  SB,
  SE,
  SUSP,
  WILL,
  WONT,
} from '../../src/telnet/index.ts'
import { type AppUnderTest, eventually, RAW_VM, RawVm, startApp, TestConsole, until } from './support.ts'
import { atMenu, BareClient, freeRange, startTelnet, telnetPortOf } from './telnet-support.ts'

const BINARY = 0
const ECHO = 1
const SGA = 3
const TIMING_MARK = 6
const NAWS = 31

const latin = (...bytes: number[]) => Buffer.from(bytes).toString('latin1')
const VM_2 = 'tcp://127.0.0.1:0?protocol=raw&name=vm2'
const TELNET_VM = 'tcp://127.0.0.1:0?protocol=telnet&name=vm1'
const OPENING = latin(IAC, WILL, ECHO, IAC, WILL, SGA, IAC, WILL, BINARY, IAC, DO, SGA, IAC, DO, BINARY)

/** A client at the console of `vm1`, past the banner. */
async function attached(app: AppUnderTest, port = 'vm1'): Promise<BareClient> {
  const client = await BareClient.to(await telnetPortOf(app, port))
  await client.next('"quit"\r\n')
  return client
}

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-telnet-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

describe('a console', () => {
  test('it says what it is, takes keys and shows output', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await BareClient.to(await telnetPortOf(app))
    expect(await client.next('[vspc] ')).toBe(OPENING)
    expect(await client.next('\r\n')).toBe('vm1 (name:vm1), online on 127.0.0.1; to leave: ^] then "quit"')
    client.write('ls\r\0')
    await vm.hears('ls\r')
    await vm.print(app, 'a\r\n10%\r20%\r')
    await client.hears('a\r\n10%\r\x0020%\r')
    await vm.print(app, '30%\xff')
    await client.hears('\x0030%\xc3\xbf')
    await vm.print(app, Buffer.of(0xff, 0x1b, 0x5b, 0x63))
    // A query of the guest goes to the person's terminal: nobody here answers it.
    await client.hears('\xff\xff\x1b[c')
    expect(vm.received.toString('latin1')).toBe('ls\r')
  })

  test('it is a console like any other: listed, announced, counted', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const events: string[] = []
    app.server.subscribe((event) => {
      if ('console' in event) events.push(`${event.type} ${event.console?.who.replace(/\d+$/, 'N')}`)
    })
    const client = await attached(app)
    expect(app.server.table.resolve('vm1').consoles.map(({ mode }) => mode)).toEqual(['write'])
    const scrape = async () => (await fetch(`${app.url}/metrics`)).text()
    expect(await scrape()).toMatch(/^vspc_telnet_connections 1$/m)
    expect(await scrape()).toMatch(/^vspc_consoles\{mode="write"\} 1$/m)
    client.socket.end()
    await client.ended()
    await eventually(() => events.length === 2)
    expect(events).toEqual(['console-attached telnet:127.0.0.1:N', 'console-detached telnet:127.0.0.1:N'])
    expect(await scrape()).toMatch(/^vspc_telnet_connections_total 1$/m)
  })

  test.each([
    ['is offered, and agreed to', true],
    ['is not offered, but asked for', false],
  ])('BINARY %s: all 256 values both ways, twice each, and back again', async (_name, binary) => {
    const app = await startTelnet({ telnet: { binary } })
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    const all = Buffer.from(Array.from({ length: 512 }, (_, i) => i >> 1))
    const doubled = Buffer.from([...all].flatMap((byte) => (byte === IAC ? [byte, byte] : [byte])))
    client.write(latin(IAC, WILL, BINARY, IAC, DO, BINARY))
    if (!binary) await client.next(latin(IAC, DO, BINARY, IAC, WILL, BINARY))
    client.write(doubled)
    await vm.hears(all.toString('latin1'))
    await vm.print(app, all)
    await client.next(doubled.toString('latin1'))
    // And back to the network virtual terminal.
    client.write(latin(IAC, WONT, BINARY, IAC, DONT, BINARY))
    await client.next(latin(IAC, DONT, BINARY, IAC, WONT, BINARY))
    client.write('x\r\n')
    await vm.print(app, '\rx')
    await client.hears('\r\0x')
    client.write('!')
    await vm.hears('x\r!')
  })

  test('a client that refuses BINARY is a network virtual terminal, each direction for itself', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    client.write(latin(IAC, WONT, BINARY, IAC, DO, BINARY))
    client.write('x\r\n\r\0')
    await vm.hears('x\r\r')
    await vm.print(app, '\ry')
    await client.hears('\ry')
  })

  test('what means nothing on a serial line is refused; an Enter cut in two is one', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    client.write(latin(IAC, WILL, NAWS, IAC, SB, NAWS, 0, 80, 0, 24, IAC, SE, IAC, DO, TIMING_MARK))
    await client.next(latin(IAC, DONT, NAWS, IAC, WONT, TIMING_MARK))
    client.write('a\r')
    await vm.hears('a\r')
    client.write('\nb\n')
    await vm.hears('a\rb\n')
  })

  test('BRK is a BREAK of the line, a burst of them is one; AYT is answered', async () => {
    const app = await startTelnet({ listen: [TELNET_VM] })
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    const breaks = () => vm.received.toString('latin1').split(latin(IAC, BRK)).length - 1
    client.write(latin(IAC, BRK))
    await eventually(() => breaks() === 1)
    const since = app.server.clock.now()
    await eventually(() => app.server.clock.now() - since > 60)
    client.write(latin(...Array.from({ length: 200 }, () => [IAC, BRK]).flat()))
    client.write(latin(IAC, AYT))
    await client.hears('[vspc] yes; vm1 is online on 127.0.0.1\r\n')
    await eventually(() => breaks() === 2)
    client.write('end')
    await vm.hears('end')
    expect(breaks()).toBe(2)
  })

  test('signals and editing are the keys that a guest has for them; NOP, AO and GA are nothing', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    const codes = [IP, EC, EL, EOF, SUSP, ABORT, NOP, AO, GA, DM]
    client.write(latin(...codes.flatMap((code) => [0x61, IAC, code]), 0x62))
    await vm.hears('a\x03a\x7fa\x15a\x04a\x1aa\x1caaaab')
  })

  test('a line that cannot carry a BREAK says so', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const client = await attached(app)
    client.write(latin(IAC, BRK))
    await client.hears('[vspc] a raw byte stream cannot carry a break')
  })

  test('lines tell of what happens to the VM, each on a line of its own', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    await vm.print(app, 'login: ')
    vm.socket.end()
    expect(await client.next('\r\n[vspc] the VM is offline, waiting for it')).toBe('login: ')
    const next = await RawVm.connect(app)
    await client.next('[vspc] the VM is online again, on 127.0.0.1\r\n')
    await next.print(app, 'x')
    await client.hears('x')
    expect(client.text.endsWith('x')).toBe(true)
  })

  test('a move does not spoil the picture of vi: it is told after it', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    await vm.print(app, '\x1b[?1049hpicture')
    await client.next('picture')
    const port = app.server.table.resolve('vm1')
    port.tellConsoles({ type: 'state', state: 'migrating', host: '127.0.0.1', reason: '' })
    port.tellConsoles({ type: 'state', state: 'online', host: '127.0.0.2', reason: '' })
    await vm.print(app, ':wq\x1b[?1049l')
    expect(await client.next('\r\n[vspc] now on 127.0.0.2\r\n')).toBe(':wq\x1b[?1049l')
    port.tellConsoles({ type: 'state', state: 'migrating', host: '127.0.0.2', reason: '' })
    await client.hears('[vspc] the VM is moving to another host...\r\n')
  })

  test('without notices there is nothing but output', async () => {
    const app = await startTelnet({ telnet: { notices: false } })
    const vm = await RawVm.connect(app)
    const client = await BareClient.to(await telnetPortOf(app))
    await eventually(() => app.server.table.resolve('vm1').consoles.length === 1)
    client.write(latin(IAC, AYT, IAC, BRK))
    vm.socket.end()
    await eventually(() => app.server.table.resolve('vm1').state === 'offline')
    await (await RawVm.connect(app)).print(app, 'output')
    await client.hears('output')
    expect(client.text).toBe(`${OPENING}output`)
    await app.stop()
    await client.ended()
    expect(client.text).toBe(`${OPENING}output`)
  })

  test('where one may write, the second client watches, and is told once that its keys are discarded', async () => {
    const app = await startTelnet({ writers: 'single' })
    const vm = await RawVm.connect(app)
    const writer = await attached(app)
    const reader = await BareClient.to(await telnetPortOf(app))
    await reader.hears('[vspc] vm1 is held by telnet:127.0.0.1:')
    await reader.next('reading only; to leave: ^] then "quit"\r\n')
    reader.write('x')
    await reader.next('[vspc] reading only: what you type is discarded\r\n')
    for (let i = 0; i < 5; i++) reader.write('x')
    writer.write('w')
    await vm.hears('w')
    await vm.print(app, 'both')
    await reader.hears('both')
    expect(reader.text).toBe('both')
    expect(vm.received.toString()).toBe('w')
  })

  test('a web user takes over by force: the client is told, and reads on', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const client = await attached(app)
    const web = await TestConsole.open(app, 'mode=exclusive&force=1')
    await web.message('attached')
    await client.hears('[vspc] you read only now (')
    web.request({ type: 'mode', mode: 'read' })
    await web.message('writer')
  })

  test('the server stops: clients are told, and it does not wait for them', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const [client, menu] = [await attached(app), await atMenu(app)]
    await menu.hears('> ')
    await app.stop()
    await client.ended()
    await menu.ended()
    expect(client.text).toContain('[vspc] the server is stopping\r\n')
    expect(menu.text).toContain('[vspc] the server is stopping\r\n')
  })
})

describe('TCP ports', () => {
  test('each serial port has one, the API says which, and restarts do not change it', async () => {
    const [dataDir, ports] = [folder(), await freeRange()]
    const settings = { dataDir, listen: [RAW_VM, VM_2], telnet: { ports } }
    const first = await startApp(settings)
    const there = await RawVm.connect(first, 1)
    const two = await telnetPortOf(first, 'vm2')
    // A port without any output is not known after a restart, before its VM is back.
    await there.print(first, 'hello', 'vm2')
    await RawVm.connect(first, 0)
    const one = await telnetPortOf(first, 'vm1')
    expect(one).not.toBe(two)
    expect(await (await fetch(`${first.url}/api/v1/ports/vm2`)).json()).toMatchObject({ telnetPort: two })
    await first.stop()

    const second = await startApp(settings)
    // Open before any VM is there, as the names are known; and the other way round.
    const client = await BareClient.to(two)
    await client.hears('vm2 (name:vm2), offline, waiting for it')
    await RawVm.connect(second, 0)
    expect([await telnetPortOf(second, 'vm1'), await telnetPortOf(second, 'vm2')]).toEqual([one, two])
    await second.stop()

    // Also where history is gone, and with it the ports.
    const third = await startApp({ ...settings, history: 'memory' })
    await RawVm.connect(third, 0)
    expect(await telnetPortOf(third, 'vm1')).toBe(one)
  })

  test('off by default', async () => {
    const app = await startApp()
    await RawVm.connect(app)
    expect(app.telnetMenu).toBeNull()
    expect(await (await fetch(`${app.url}/api/v1/ports/vm1`)).json()).not.toHaveProperty('telnetPort')
    expect(await (await fetch(`${app.url}/metrics`)).text()).not.toContain('vspc_telnet_ports')
  })

  test('a number that somebody else has is passed over', async () => {
    const ports = await freeRange()
    const taken = createServer().listen(Number.parseInt(ports, 10), '127.0.0.1')
    onTestFinished(() => void taken.close())
    const app = await startTelnet({ telnet: { ports } })
    await RawVm.connect(app)
    expect(await telnetPortOf(app)).toBeGreaterThan(Number.parseInt(ports, 10))
  })

  test('a port that is removed gives up its socket, but keeps its number', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const number = await telnetPortOf(app)
    const client = await attached(app)
    vm.socket.end()
    await client.hears('offline')
    expect((await fetch(`${app.url}/api/v1/ports/vm1`, { method: 'DELETE' })).status).toBe(204)
    await client.ended()
    expect(client.text).toContain('[vspc] the port was removed\r\n')
    await eventually(() =>
      BareClient.to(number).then(
        () => false,
        () => true,
      ),
    )
    await RawVm.connect(app)
    expect(await telnetPortOf(app)).toBe(number)
  })

  test('more serial ports than numbers: said once; the menu has them; a removed one makes room', async () => {
    const range = Number.parseInt(await freeRange(), 10)
    const app = await startTelnet({ listen: [RAW_VM, VM_2], telnet: { ports: `${range}-${range}` } })
    const vm = await RawVm.connect(app, 0)
    expect(await telnetPortOf(app, 'vm1')).toBe(range)
    await RawVm.connect(app, 1)
    await eventually(() => app.logged.find('telnet: no TCP port') !== undefined)
    const menu = await atMenu(app)
    await menu.hears('vm2')
    vm.socket.end()
    await eventually(() => app.server.table.resolve('vm1').state === 'offline')
    await fetch(`${app.url}/api/v1/ports/vm1`, { method: 'DELETE' })
    expect(await telnetPortOf(app, 'vm2')).toBe(range)
  })

  test('a damaged file is moved aside, told, and does not keep the server from starting', async () => {
    const dataDir = folder()
    const file = join(dataDir, 'telnet-ports.json')
    writeFileSync(file, '{"vspc-telnet-ports": 1, "ports": {"a": 5, "b": 5}}')
    const app = await startTelnet({ dataDir })
    await RawVm.connect(app)
    const number = await telnetPortOf(app)
    expect(app.logged.find('damaged')).toMatchObject({ file: `${file}.damaged` })
    expect(readFileSync(`${file}.damaged`, 'utf8')).toContain('"b": 5')
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ 'vspc-telnet-ports': 1, ports: { 'name:vm1': number } })
  })
})

describe('a reload of the settings', () => {
  /** As `app` was started, with another section. */
  function reload(app: AppUnderTest, settings: Settings): void {
    const config = loadConfig({
      env: { HOME: folder() },
      flags: { listen: [RAW_VM], http: '127.0.0.1:0', ...settings },
    })
    expect(app.reload({ ...config, limits: app.server.limits as Limits }).needRestart).toEqual([])
  }

  test('other TCP ports, another menu, none at all: who is attached works on', async () => {
    const dataDir = folder()
    const start = { ports: await freeRange(), menu: '127.0.0.1:0' }
    const app = await startApp({ dataDir, telnet: start })
    const vm = await RawVm.connect(app)
    const before = await telnetPortOf(app)
    const client = await attached(app)
    const works = async (text: string) => {
      client.write(text)
      await vm.hears(text)
    }
    const ports = await freeRange()
    reload(app, { dataDir, telnet: { ...start, ports, binary: false } })
    await eventually(() => (app.server.table.resolve('vm1').telnetPort ?? before) !== before)
    const after = await telnetPortOf(app)
    expect(after).toBeGreaterThanOrEqual(Number.parseInt(ports, 10))
    await works('one')
    const other = await BareClient.to(after)
    await other.hears('to leave')
    expect(other.text).not.toContain(latin(IAC, WILL, BINARY))

    const menu = app.telnetMenu
    const free = Number.parseInt(await freeRange(1), 10)
    reload(app, { dataDir, telnet: { menu: `127.0.0.1:${free}` } })
    await eventually(() => app.telnetMenu === `127.0.0.1:${free}`)
    expect(menu).not.toBe(app.telnetMenu)
    await eventually(() => app.server.table.resolve('vm1').telnetPort === null)
    await works('two')
    reload(app, { dataDir })
    await eventually(() => app.telnetMenu === null)
    await works('three')
    // And back, to the number it had first.
    reload(app, { dataDir, telnet: { ports: start.ports } })
    expect(await telnetPortOf(app)).toBe(before)
  })

  test('a menu that cannot be had is told, and the old one stays', async () => {
    const dataDir = folder()
    const app = await startApp({ dataDir, telnet: { menu: '127.0.0.1:0' } })
    const menu = app.telnetMenu
    const taken = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void taken.close())
    await once(taken, 'listening')
    reload(app, { dataDir, telnet: { menu: `127.0.0.1:${(taken.address() as AddressInfo).port}` } })
    await eventually(() => app.logged.find('the menu stays where it was') !== undefined)
    expect(app.telnetMenu).toBe(menu)
    await (await atMenu(app)).hears('No VM has connected yet')
  })

  test('Telnet where there was none', async () => {
    const dataDir = folder()
    const app = await startApp({ dataDir })
    await RawVm.connect(app)
    reload(app, { dataDir, telnet: { ports: await freeRange(), menu: '127.0.0.1:0' } })
    await (await attached(app)).socket.end()
    await (await atMenu(app)).hears('vm1')
    expect(await (await fetch(`${app.url}/metrics`)).text()).toMatch(/^vspc_telnet_ports 1$/m)
  })
})

describe('the menu', () => {
  test('by number, by name, by search; watching only; the rest of what was sent goes to the VM', async () => {
    const app = await startTelnet({ listen: [RAW_VM, VM_2] })
    const [one, two] = [await RawVm.connect(app, 0), await RawVm.connect(app, 1)]
    const byNumber = await atMenu(app)
    const page = await byNumber.next('> ')
    expect(page).toContain(
      `${OPENING}Serial ports: 2\r\n 1  vm1  online     127.0.0.1\r\n 2  vm2  online     127.0.0.1\r\n`,
    )
    byNumber.write('vm\r\0')
    expect(await byNumber.next('> ')).toContain('vm\r\nSerial ports with "vm": 2\r\n')
    byNumber.write('nobody\r\0')
    expect(await byNumber.next('> ')).toContain('No port is called "nobody".')
    byNumber.write('2\r\0uptime\r\0')
    await byNumber.next('vm2 (name:vm2), online on 127.0.0.1; ^Ec ? for help, ^Ec . leaves\r\n')
    await two.hears('uptime\r')
    await two.print(app, 'up', 'vm2')
    await byNumber.hears('up')

    const byName = await atMenu(app)
    byName.write('s VM1\r\n')
    await byName.next('reading only; ^Ec ? for help, ^Ec . leaves\r\n')
    byName.write('x')
    await byName.next('what you type is discarded; ^Ec q asks for the keyboard\r\n')
    expect(one.received.length).toBe(0)

    const leaving = await atMenu(app)
    leaving.write('q\r\0')
    await leaving.ended()
  })

  test('a client that echoes for itself is not echoed to', async () => {
    const app = await startTelnet()
    await RawVm.connect(app)
    const client = await atMenu(app)
    await client.next('> ')
    client.write(latin(IAC, DONT, ECHO))
    client.write('zz\r\0')
    expect(await client.next('.\r\n> ')).toBe('No port is called "zz"')
  })
})

describe('hostile clients', () => {
  /** What a flood must not change: another client of the same port types and reads. */
  async function works(app: AppUnderTest, vm: RawVm): Promise<void> {
    const client = await attached(app)
    client.write('still here\r\0')
    await vm.hears('still here\r')
    await vm.print(app, 'and there')
    await client.hears('and there')
    client.socket.destroy()
  }

  test('an option loop gets an answer for a while, then silence', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    const turn = latin(IAC, DO, BINARY, IAC, DONT, BINARY, IAC, WILL, 99, IAC, DO, 200)
    for (let i = 0; i < 200; i++) client.write(turn.repeat(50))
    client.write('end')
    await vm.hears('end')
    await eventually(() => app.server.counters.telnetAnomalies > 0)
    expect(client.received.length).toBeLessThan(3 * app.server.limits.maxNegotiationReplies + 1)
    await works(app, vm)
  })

  test('one that never reads costs its buffer, not the VM; when it reads again it gets every byte', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const client = await attached(app)
    client.socket.pause()
    const chunk = Buffer.alloc(256 * 1024, 'a line of output, 0123456789\r\n')
    for (let i = 0; i < 64; i++) await vm.print(app, chunk)
    const [console] = app.server.table.resolve('vm1').consoles
    expect(console?.offset).toBeLessThan(64 * chunk.length)
    client.write(latin(...Array.from({ length: 1000 }, () => [IAC, AYT]).flat()))
    await works(app, vm)
    client.socket.resume()
    await until(client, () => client.length > 64 * chunk.length)
    await client.hears('and there')
    const text = client.text.replace(/\r\n\[vspc\][^\r]*|\[vspc\][^\r]*\r\n/g, '')
    expect(text.length).toBeGreaterThanOrEqual(64 * chunk.length)
    expect(text.startsWith(chunk.toString())).toBe(true)
  }, 30_000)

  test('a flood of searches at the menu, never read, and endless lines', async () => {
    const app = await startTelnet()
    const vm = await RawVm.connect(app)
    const [searching, endless] = [await atMenu(app), await atMenu(app)]
    searching.socket.pause()
    for (let i = 0; i < 100; i++) searching.write('a\r\n'.repeat(20_000))
    for (let i = 0; i < 100; i++) endless.write('x'.repeat(60_000))
    await works(app, vm)
    endless.write('\x15vm1\r\0')
    await endless.hears('vm1 (name:vm1), online')
  })

  test('too many of them are turned away', async () => {
    const app = await startTelnet({}, { maxTelnetConnections: 2 })
    await RawVm.connect(app)
    await attached(app)
    const second = await attached(app)
    const third = await BareClient.to(await telnetPortOf(app))
    await third.ended()
    expect(third.text).toContain('maxTelnetConnections')
    second.socket.destroy()
    await eventually(() => app.server.table.resolve('vm1').consoles.length === 1)
    await attached(app)
  })
})
