import { describe, expect, onTestFinished, test } from 'vitest'
import { parseEndpoint, type TcpEndpoint } from '../../src/transport/index.ts'
import type { Server, ServerEvent } from '../../src/vspc/index.ts'
import { Door, dialWire, eventually, type Wire } from './loopback.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, frame, HELLO, ID, ID2, migrateTo, turn, UUID, UUID2 } from './vm-peer.ts'

const listener = (query = '') => parseEndpoint(`tcp://127.0.0.1:0${query}`, 'listen', 'vm')
const dialler = (tcpPort: number, query = '?protocol=raw&name=vm1') =>
  parseEndpoint(`tcp://127.0.0.1:${tcpPort}${query}`, 'dial', 'vm')
const tcpPortOf = (server: Server, index = 0): number => (server.listening[index] as TcpEndpoint).tcpPort

async function started(...args: Parameters<typeof testServer>): Promise<TestServer> {
  const setup = testServer(...args)
  await setup.server.start()
  onTestFinished(async () => {
    const stopped = setup.server.stop()
    setup.clock.advance(10_000)
    await stopped
  })
  return setup
}

/** A host with VM number `n`, over a real socket. */
async function host(server: Server, n = 1): Promise<Wire> {
  const wire = await dialWire(tcpPortOf(server))
  const uuid = n === 1 ? UUID : UUID2
  wire.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')), ...frame(CODE.VM_VC_UUID, bytesOf(uuid))])
  await eventually('the port is online', () => server.table.get(n === 1 ? ID : ID2)?.state === 'online')
  return wire
}

describe('start', () => {
  test('opens every listener, and says on which ports', async () => {
    const { server } = await started({}, { listen: [listener(), listener('?protocol=raw&name=vm9')] })
    const ports = server.listening.map((endpoint) => (endpoint as TcpEndpoint).tcpPort)
    expect(ports).toHaveLength(2)
    expect(ports.every((port) => port > 0)).toBe(true)
    const raw = await dialWire(tcpPortOf(server, 1))
    raw.send('hello')
    await eventually('the raw port', () => server.table.get('name:vm9')?.history.next === 5)
  })

  test('a listener that cannot be opened closes those that were: nothing half-started', async () => {
    const door = await Door.open()
    const taken = parseEndpoint(`tcp://127.0.0.1:${door.tcpPort}`, 'listen', 'vm')
    const { server, log } = testServer({}, { listen: [listener(), taken] })
    await expect(server.start()).rejects.toMatchObject({ code: 'VSPC_TRANSPORT_LISTEN' })
    expect(server.listening).toEqual([])
    const [opened] = log.matching(/listening for VMs/)
    const tcpPort = Number(/127\.0\.0\.1:(\d+)/.exec(opened ?? '')?.[1])
    expect((await dialWire(tcpPort)).closed).toBe(true)
  })
})

describe('caps', () => {
  test('maxConnections: one too many is closed, counted, and logged once a minute', async () => {
    const { server, clock, log } = await started({ maxConnections: 1 }, { listen: [listener()] })
    await host(server)
    for (let i = 0; i < 2; i++) {
      const refused = await dialWire(tcpPortOf(server))
      await eventually('it is closed', () => refused.over)
    }
    expect(server.counters.connectionsRefused).toBe(2)
    expect(log.matching(/maxConnections/)).toHaveLength(1)
    clock.advance(60_000)
    const again = await dialWire(tcpPortOf(server))
    await eventually('it is closed', () => again.over)
    expect(log.matching(/maxConnections/)).toHaveLength(2)
    expect(server.connections).toBe(1)
  })

  test('a dialled port that found no room is dialled again, and gets it when there is some', async () => {
    const door = await Door.open()
    const { server, clock } = await started(
      { maxConnections: 1 },
      { listen: [listener()], dial: [dialler(door.tcpPort, '?protocol=raw&name=dialled')] },
    )
    // Whoever comes first: the other one finds the server full.
    await eventually('the dialled port', () => server.table.get('name:dialled')?.state === 'online')
    const vm = await dialWire(tcpPortOf(server))
    await eventually('no room', () => vm.over)
    door.newest.socket.destroy()
    await eventually('the dialled port is gone', () => server.connections === 0)
    const first = await host(server)
    clock.advance(1_000)
    await eventually('dialled without room', () => server.counters.connectionsRefused === 2)
    first.socket.destroy()
    await eventually('room again', () => server.connections === 0)
    // Less than a dial may take, or it would be given up in the same breath.
    clock.advance(2_000)
    await eventually('dialled again', () => server.table.get('name:dialled')?.state === 'online')
  })
})

describe('stop', () => {
  test('consoles are told and closed, VMs get what was typed and then FIN', async () => {
    const { server, events } = await started({}, { listen: [listener()] })
    const vm = await host(server)
    const console = new TestConsole(portOf(server, ID))
    const tcpPort = tcpPortOf(server)
    console.type('last words')
    const stopped = server.stop()
    await eventually('FIN', () => vm.ended)
    vm.socket.end()
    await stopped
    expect(vm.text.endsWith('last words')).toBe(true)
    expect(console.told('detached')[0]).toMatchObject({ code: 'VSPC_SERVER_STOPPING' })
    expect(console.closedFor).toBe('the server is stopping')
    expect(events.at(-1)?.type).toBe('port-offline')
    expect((await dialWire(tcpPort)).closed).toBe(true)
  })

  test('a VM that does not answer our FIN is reset after drainMs, and stop ends', async () => {
    const { server, clock } = await started({ drainMs: 700 }, { listen: [listener()] })
    const vm = await host(server)
    const stopped = server.stop()
    await eventually('FIN', () => vm.ended)
    let done = false
    void stopped.then(() => {
      done = true
    })
    clock.advance(699)
    await turn()
    expect(done).toBe(false)
    clock.advance(1)
    await stopped
    expect(server.connections).toBe(0)
  })

  test('a vMotion that begins meanwhile is refused [C33]', async () => {
    const { server } = await started({}, { listen: [listener()] })
    const vm = await host(server)
    const stopped = server.stop()
    vm.send(frame(CODE.BEGIN, [1, 2]))
    await eventually('FIN', () => vm.ended)
    vm.socket.end()
    await stopped
    expect(vm.text).not.toContain(String.fromCharCode(...frame(CODE.GOAHEAD).slice(0, 4)))
  })

  test('a BEGIN that still drains is answered NOTNOW', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    vm.socket.stalled = true
    new TestConsole(portOf(server, ID)).type('x'.repeat(20_000))
    vm.say(CODE.BEGIN, [1])
    await server.stop()
    vm.socket.stalled = false
    await turn()
    expect([vm.said(CODE.NOTNOW), vm.said(CODE.GOAHEAD)]).toEqual([['01'], []])
  })

  test('twice is once, and both wait for the end', async () => {
    const { server } = await started({}, { listen: [listener()] })
    const vm = await host(server)
    const first = server.stop()
    const second = server.stop()
    let done = false
    void second.then(() => {
      done = true
    })
    await eventually('FIN', () => vm.ended)
    expect(done).toBe(false)
    vm.socket.end()
    await Promise.all([first, second])
  })

  test('in the middle of a vMotion it leaves no timer behind', async () => {
    const { server, clock } = await started({}, { listen: [listener()] })
    const vm = await host(server)
    vm.send(frame(CODE.BEGIN, [1]))
    await eventually('GOAHEAD', () => server.cookies.size === 1)
    const stopped = server.stop()
    await eventually('FIN', () => vm.ended)
    vm.socket.end()
    await stopped
    expect(clock.pending).toBe(0)
  })
})

describe('ports that stay offline', () => {
  test('are removed after portRetentionMs, with their history, and announced', async () => {
    const { server, clock, events } = await started({ portRetentionMs: 600_000 })
    const vm = await bootVm(server)
    vm.print('old')
    clock.advance(1_000_000)
    expect(server.table.size).toBe(1)
    vm.reset()
    await turn()
    clock.advance(600_000)
    expect(server.table.size).toBe(1)
    clock.advance(60_000)
    expect(server.table.size).toBe(0)
    expect(events.at(-1)).toMatchObject({ type: 'port-removed', port: { id: ID } })
    await bootVm(server)
    expect(portOf(server, ID).history.next).toBe(0)
    expect(server.table.countOf(ID)).toBe(1)
  })

  test('stay while somebody watches', async () => {
    const { server, clock } = await started({ portRetentionMs: 0 })
    const vm = await bootVm(server)
    const console = new TestConsole(portOf(server, ID))
    vm.reset()
    await turn()
    clock.advance(600_000)
    expect(server.table.size).toBe(1)
    console.console.detach()
    clock.advance(60_000)
    expect(server.table.size).toBe(0)
  })

  test('one in an open vMotion is not offline: it stays', async () => {
    const { server, clock } = await started({ portRetentionMs: 0, orphanMs: 600_000 })
    const vm = await bootVm(server)
    vm.say(CODE.BEGIN, [1])
    vm.reset()
    await turn()
    clock.advance(300_000)
    const next = await migrateTo(server, vm.cookie)
    next.say(CODE.COMPLETE, [1])
    expect(portOf(server, ID).state).toBe('online')
  })

  test('forget: an offline port goes at once, its consoles are told; an online one stays', async () => {
    const { server, events } = testServer()
    const vm = await bootVm(server)
    const port = portOf(server, ID)
    expect(server.forget(port)).toBe(false)
    const console = new TestConsole(port)
    vm.reset()
    await turn()
    expect(server.forget(port)).toBe(true)
    expect(console.told('detached')[0]).toMatchObject({ code: 'VSPC_PORT_REMOVED' })
    expect(server.table.size).toBe(0)
    expect(events.at(-1)?.type).toBe('port-removed')
  })

  test('a forgotten port does not come back with the ABORT of an old source', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    vm.say(CODE.BEGIN, [1])
    const destination = await migrateTo(server, vm.cookie)
    destination.say(CODE.COMPLETE, [1])
    destination.reset()
    await turn()
    const port = portOf(server, ID)
    server.forget(port)
    vm.say(CODE.ABORT)
    expect(port.state).toBe('offline')
    expect([...server.table]).toEqual([])
  })
})

describe('events', () => {
  test('the life of a port, in order, each with the state it has then', async () => {
    const { server, events } = testServer()
    const vm = await bootVm(server)
    vm.say(CODE.BEGIN, [1])
    const next = await migrateTo(server, vm.cookie)
    next.say(CODE.COMPLETE, [1])
    next.reset()
    await turn()
    const told = (event: ServerEvent): string => `${event.type} ${event.port.state} ${event.port.host}`
    expect(events.map(told)).toEqual([
      'port-added offline null',
      'port-online online 10.0.0.1',
      'port-renamed online 10.0.0.1',
      'vmotion-begin migrating 10.0.0.1',
      'vmotion-complete online 10.0.0.2',
      'port-offline offline 10.0.0.2',
    ])
  })

  test('nobody is told after unsubscribing, and nothing is made for nobody', async () => {
    const { server } = testServer()
    const heard: string[] = []
    const end = server.subscribe((event) => heard.push(event.type))
    await bootVm(server)
    end()
    end()
    await bootVm(server, { uuid: UUID2 })
    expect(heard.filter((type) => type === 'port-added')).toHaveLength(1)
  })
})

describe('dialled ports', () => {
  test('are dialled at once, served like any other, and dialled again after a pause when they break', async () => {
    const door = await Door.open()
    const { server, clock } = await started(
      {},
      { dial: [dialler(door.tcpPort)], random: (n) => new Uint8Array(n).fill(255) },
    )
    await eventually('dialled', () => server.table.get('name:vm1')?.state === 'online')
    const console = new TestConsole(portOf(server, 'name:vm1'))
    door.newest.send('one ')
    await eventually('output', () => console.text === 'one ')
    console.type('typed')
    await eventually('input', () => door.newest.text === 'typed')
    door.newest.socket.destroy()
    await eventually('offline', () => portOf(server, 'name:vm1').state === 'offline')
    clock.advance(400)
    await turn()
    expect(door.wires).toHaveLength(1)
    clock.advance(100)
    await eventually('dialled again', () => portOf(server, 'name:vm1').state === 'online')
    door.newest.send('two')
    await eventually('one stream', () => console.text === 'one two')
    expect(server.table.size).toBe(1)
  })

  test('pauses grow while it fails, the reason is logged once, and a good connection forgets them', async () => {
    const door = await Door.open()
    const { tcpPort } = door
    await door.shut()
    const { server, clock, log } = await started({}, { dial: [dialler(tcpPort)], random: (n) => new Uint8Array(n) })
    await eventually('failed', () => server.counters.dialFailures === 1)
    // Half of 500, 1000, 2000, 4000.
    for (const [i, pause] of [250, 500, 1000, 2000].entries()) {
      await eventually('a pause', () => clock.pending === 2)
      clock.advance(pause - 1)
      await turn()
      expect(server.counters.dialFailures).toBe(i + 1)
      clock.advance(1)
      await eventually('failed again', () => server.counters.dialFailures === i + 2)
    }
    expect(log.matching(/dial failed/)).toHaveLength(1)
    const again = await Door.open(tcpPort)
    clock.advance(4_000)
    await eventually('dialled', () => again.wires.length === 1)
    // Broken at once: pauses go on growing. After five good seconds: the shortest again.
    await eventually('online', () => server.table.get('name:vm1')?.state === 'online')
    again.newest.socket.destroy()
    await eventually('offline', () => server.connections === 0)
    clock.advance(7_499)
    await turn()
    expect(again.wires).toHaveLength(1)
    clock.advance(1)
    await eventually('dialled', () => server.connections === 1)
    clock.advance(5_000)
    again.newest.socket.destroy()
    await eventually('offline', () => server.connections === 0)
    clock.advance(250)
    await eventually('dialled soon', () => server.connections === 1)
  })

  test('are not dialled any more after stop', async () => {
    const door = await Door.open()
    const { server, clock } = await started({}, { dial: [dialler(door.tcpPort)] })
    await eventually('dialled', () => server.connections === 1)
    const stopped = server.stop()
    await eventually('FIN', () => door.newest.ended)
    door.newest.socket.destroy()
    await stopped
    clock.advance(100_000)
    await turn()
    expect(door.wires).toHaveLength(1)
    expect(clock.pending).toBe(0)
  })

  test('two endpoints of one VM are told apart by their labels', async () => {
    const [a, b] = [await Door.open(), await Door.open()]
    const query = (label: string) => `?protocol=raw&name=vm1&label=${label}`
    const { server } = await started(
      {},
      { dial: [dialler(a.tcpPort, query('com1')), dialler(b.tcpPort, query('com2'))] },
    )
    await eventually('both', () => server.connections === 2 && server.table.size === 2)
    expect([...server.table].map(({ id }) => id).sort()).toEqual(['name:vm1:com1', 'name:vm1:com2'])
  })
})
