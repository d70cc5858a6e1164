import { describe, expect, onTestFinished, test } from 'vitest'
import { parseEndpointPattern } from '../../src/transport/index.ts'
import { Door, eventually } from './loopback.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, ID, migrateTo, turn, type VmPeer } from './vm-peer.ts'

interface Stage extends TestServer {
  vm: VmPeer
  door: Door
}

/** A VM of direction C whose serviceURI is a listener of ours. `allow` as in "allowDial"; `%` is that listener's port. */
async function stage(
  allow: string[],
  limits: Parameters<typeof testServer>[0] = {},
  uri = 'tcp://127.0.0.1:%',
): Promise<Stage> {
  const door = await Door.open()
  const at = (text: string): string => text.replace('%', String(door.tcpPort))
  const setup = testServer(limits, { allowDial: allow.map((text) => parseEndpointPattern(at(text))) })
  onTestFinished(() => setup.server.stop())
  const vm = await bootVm(setup.server, { direction: 'C', uri: at(uri) })
  return { ...setup, vm, door }
}

const spliced = (setup: Stage): Promise<void> =>
  eventually(
    'spliced',
    () => setup.door.wires.length > 0 && portOf(setup.server, setup.vm.session.port?.id ?? '').consoles.length > 0,
  )

describe('what a VM wants dialled', () => {
  test.each([
    ['nothing is allowed', []],
    ['another host is', ['tcp://10.0.0.1:%']],
    ['another port is', ['tcp://127.0.0.1:1']],
    ['another scheme is', ['tls://127.0.0.1:%']],
    ['a name that looks like it is', ['tcp://127.0.0.1.example.org:%']],
  ])('is not dialled while %s; consoles are served [C19]', async (_, allow) => {
    const { vm, server, door } = await stage(allow)
    expect(vm.said(CODE.WILL_PROXY)).toEqual([''])
    const console = new TestConsole(portOf(server, ID))
    console.type('x')
    vm.print('y')
    for (let i = 0; i < 20; i++) await turn()
    expect([door.wires.length, vm.input, console.text]).toEqual([0, 'x', 'y'])
    expect(portOf(server, ID).info()).toMatchObject({ direction: 'client', consoles: 1 })
  })

  test('direction S is never dialled, however much is allowed [C19]', async () => {
    const door = await Door.open()
    const { server } = testServer({}, { allowDial: [parseEndpointPattern('tcp://*:*')] })
    await bootVm(server, { direction: 'S', uri: `tcp://127.0.0.1:${door.tcpPort}` })
    for (let i = 0; i < 20; i++) await turn()
    expect(door.wires).toHaveLength(0)
  })

  test.each([
    'vSPC.py',
    '',
    'http://127.0.0.1:%',
    'tcp://127.0.0.1:%?cert=/etc/passwd&key=/etc/passwd',
    'unix:///tmp/../etc/x',
    'tcp://127.0.0.1:99999',
    '\x1b]0;tcp://127.0.0.1:%',
  ])('%j is no endpoint that may be dialled, and no reason to refuse the VM [C19, C20]', async (uri) => {
    const { vm, server, door } = await stage(['tcp://*:*', 'unix:///tmp/*'], {}, uri)
    expect(vm.said(CODE.WILL_PROXY)).toEqual([''])
    for (let i = 0; i < 20; i++) await turn()
    expect([door.wires.length, server.table.size]).toEqual([0, 1])
  })

  test('host:port without a scheme is TCP', async () => {
    const setup = await stage(['tcp://127.0.0.1:%'], {}, '127.0.0.1:%')
    await spliced(setup)
  })
})

describe('spliced', () => {
  test('every byte value passes both ways, through a vMotion, while somebody watches', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { vm, server, door } = setup
    const watcher = new TestConsole(portOf(server, ID), { mode: 'read' })
    const all = Uint8Array.from({ length: 256 }, (_, i) => i)
    vm.print(all)
    door.newest.send(all)
    await eventually('both', () => door.newest.bytes.length === 256 && vm.input.length === 256)
    expect(new Uint8Array(door.newest.bytes)).toEqual(all)
    expect(bytesOf(vm.input)).toEqual(all)
    vm.say(CODE.BEGIN, [1])
    door.newest.send('held')
    const next = await migrateTo(server, vm.cookie)
    await eventually('the input came in', () => portOf(server, ID).handover.state === 'PEERED')
    next.say(CODE.COMPLETE, [1])
    vm.end()
    next.print('from the new host')
    await eventually('through', () => next.input === 'held' && door.newest.text.endsWith('host'))
    expect(door.wires).toHaveLength(1)
    expect(watcher.bytes).toHaveLength(256 + 17)
  })

  test('a peer that reads slowly gets every byte from history; one too slow is cut, not fed a stream with a hole', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'], { historyBytes: 1 << 20 })
    await spliced(setup)
    const { vm, server, door, log } = setup
    const wire = door.newest
    wire.socket.pause()
    const chunk = Buffer.alloc(65_536, 'a')
    for (let i = 0; i < 8; i++) vm.socket.push(Buffer.from(chunk))
    wire.socket.resume()
    await eventually('all of it', () => wire.bytes.length === 8 * 65_536)
    wire.socket.pause()
    // More than history and the kernel's buffers hold together.
    for (let i = 0; i < 400; i++) {
      vm.socket.push(Buffer.from(chunk))
      if (i % 20 === 0) await turn()
    }
    wire.socket.resume()
    await eventually('cut', () => wire.over)
    expect(log.matching(/serviceURI disconnected.*too slow/)).toHaveLength(1)
    expect(portOf(server, ID).history.next).toBe(408 * 65_536)
  })

  test('a VM that does not read makes its peer wait: nothing is lost, and memory has an end', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'], { inputBytes: 65_536 })
    await spliced(setup)
    const { vm, door, server } = setup
    vm.socket.stalled = true
    const sent = Buffer.alloc(8 << 20, 'abcdefg')
    door.newest.socket.write(sent)
    let before = -1
    for (let quiet = 0; quiet < 20; ) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      const taken = portOf(server, ID).bytesToVm
      quiet = taken === before ? quiet + 1 : 0
      before = taken
    }
    expect(door.newest.socket.writableLength).toBeGreaterThan(0)
    await eventually('all of it', () => {
      vm.socket.stalled = false
      return vm.heard.reduce((sum, heard) => sum + ('data' in heard ? heard.data.length : 0), 0) === sent.length
    })
    expect(Buffer.compare(Buffer.from(vm.input, 'latin1'), sent)).toBe(0)
  })

  test('a peer that hangs up is dialled again after a pause; one that says FIN gets ours', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { door, clock, server } = setup
    door.newest.socket.end()
    await eventually('our FIN', () => door.newest.over)
    await eventually('detached', () => portOf(server, ID).consoles.length === 0)
    expect(door.wires).toHaveLength(1)
    clock.advance(500)
    await eventually('dialled again', () => door.wires.length === 2 && portOf(server, ID).consoles.length === 1)
  })

  test('a port that somebody holds exclusively is dialled for in vain, and again later', async () => {
    const door = await Door.open()
    const { server, clock, log } = testServer({}, { allowDial: [parseEndpointPattern('tcp://127.0.0.1:*')] })
    onTestFinished(() => server.stop())
    const description = { direction: 'C', uri: `tcp://127.0.0.1:${door.tcpPort}` } as const
    const first = await bootVm(server, { ...description, direction: 'S' })
    const alone = new TestConsole(portOf(server, ID), { mode: 'exclusive' })
    first.reset()
    await turn()
    await bootVm(server, description)
    await eventually('turned away', () => door.wires.length === 1 && door.newest.over)
    expect(log.matching(/the port is taken/)).toHaveLength(1)
    alone.console.detach()
    clock.advance(1_000)
    await eventually('spliced', () => portOf(server, ID).consoles.length === 1)
  })

  test('what was still on its way to the peer when the server stops arrives', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { vm, server, door } = setup
    const wire = door.newest
    wire.socket.pause()
    const chunk = Buffer.alloc(65_536, 'z')
    for (let i = 0; i < 4; i++) vm.socket.push(Buffer.from(chunk))
    void server.stop()
    await turn()
    wire.socket.resume()
    await eventually('the end', () => wire.over)
    expect(wire.bytes).toHaveLength(4 * 65_536)
  })

  test('forgetting the port ends the connection for good', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { vm, server, door, clock } = setup
    vm.reset()
    await turn()
    expect(server.forget(portOf(server, ID))).toBe(true)
    await eventually('gone', () => door.newest.over)
    clock.advance(5_000)
    for (let i = 0; i < 20; i++) await turn()
    expect(door.wires).toHaveLength(1)
  })

  test('a VM that comes back with another direction is not spliced to its old serviceURI any more [C19]', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { vm, server, door, clock } = setup
    vm.reset()
    await turn()
    await bootVm(server, { direction: 'S', uri: 'vSPC.py' })
    await eventually('let go', () => door.newest.over)
    clock.advance(5_000)
    for (let i = 0; i < 20; i++) await turn()
    expect(door.wires).toHaveLength(1)
    expect(portOf(server, ID).consoles).toHaveLength(0)
  })

  test('a VM that comes back with another serviceURI is spliced to that one', async () => {
    const setup = await stage(['tcp://127.0.0.1:*'])
    await spliced(setup)
    const { vm, server, door } = setup
    const other = await Door.open()
    vm.reset()
    await turn()
    const next = await bootVm(server, { direction: 'C', uri: `tcp://127.0.0.1:${other.tcpPort}` })
    await eventually('there', () => other.wires.length === 1 && portOf(server, ID).consoles.length === 1)
    await eventually('not here', () => door.newest.over)
    next.print('x')
    await eventually('through', () => other.newest.text === 'x')
  })
})
