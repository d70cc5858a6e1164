import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Limits } from '../../src/base/index.ts'
import { MemoryHistoryStore, openHistoryStore } from '../../src/history/index.ts'
import { parseForward } from '../../src/vspc/index.ts'
import { Door, eventually, Wire } from './loopback.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, ID, ID2, migrateTo, turn, UUID2, type VmPeer } from './vm-peer.ts'

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i)

function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vspc-fwd-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A server with rules, not started: its ports are those that connect. */
function forwarding(rules: string[], limits: Partial<Limits> = {}, options = {}): TestServer {
  const setup = testServer(limits, { forward: rules.map(parseForward), ...options })
  onTestFinished(() => {
    const stopped = setup.server.stop()
    // Its deadlines are on a clock that stands still.
    setup.clock.advance(60_000)
    return stopped
  })
  return setup
}

/** A program that connects to a Unix socket, once that is there. */
async function program(path: string): Promise<Wire> {
  await eventually(`a socket at ${path}`, () => existsSync(path))
  const socket = connect({ path, allowHalfOpen: true })
  const wire = new Wire(socket)
  await eventually('connected', () => !socket.connecting)
  return wire
}

async function quiet(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn()
}

const consolesOf = ({ server }: TestServer, id = ID): number => portOf(server, id).consoles.length

interface Dialled extends TestServer {
  door: Door
  vm: VmPeer
}

async function dialled(limits: Partial<Limits> = {}, pattern = '*'): Promise<Dialled> {
  const door = await Door.open()
  const setup = forwarding([`${pattern}=tcp://127.0.0.1:${door.tcpPort}`], limits)
  const vm = await bootVm(setup.server)
  await eventually('joined', () => door.wires.length === 1 && consolesOf(setup) === 1)
  return { ...setup, door, vm }
}

interface Listened extends TestServer {
  dir: string
  path: string
  vm: VmPeer
}

async function listened(limits: Partial<Limits> = {}): Promise<Listened> {
  const dir = temporaryDir()
  const setup = forwarding([`*=unix://${dir}/{uuid}.sock`], limits)
  const vm = await bootVm(setup.server)
  return { ...setup, dir, path: `${dir}/${ID}.sock`, vm }
}

describe('a program that is dialled', () => {
  test('is dialled when the VM comes online; every byte value passes both ways, through a vMotion, while somebody spies', async () => {
    const setup = await dialled()
    const { vm, server, door } = setup
    const spy = new TestConsole(portOf(server, ID), { mode: 'read' })
    vm.print(ALL_BYTES)
    door.newest.send(ALL_BYTES)
    await eventually('both', () => door.newest.bytes.length === 256 && vm.input.length === 256)
    expect(new Uint8Array(door.newest.bytes)).toEqual(ALL_BYTES)
    expect(bytesOf(vm.input)).toEqual(ALL_BYTES)
    vm.say(CODE.BEGIN, [1])
    door.newest.send('held')
    const next = await migrateTo(server, vm.cookie)
    await quiet()
    expect([vm.input.length, next.input]).toEqual([256, ''])
    vm.print('from the old host, ')
    next.say(CODE.COMPLETE, [1])
    vm.end()
    next.print('from the new one')
    await eventually('through', () => next.input === 'held' && door.newest.text.endsWith('new one'))
    expect(door.newest.text.slice(256)).toBe('from the old host, from the new one')
    expect(spy.bytes).toHaveLength(256 + 35)
    expect(door.wires).toHaveLength(1)
    expect(portOf(server, ID).consoles[0]?.who).toBe(`forward:tcp://127.0.0.1:${door.tcpPort}`)
  })

  test('what the VM says while nobody is reached is not lost to the first connection', async () => {
    const place = await Door.open()
    await place.shut()
    const { server, clock, log } = forwarding([`*=tcp://127.0.0.1:${place.tcpPort}`])
    const vm = await bootVm(server)
    vm.print('hello from the beginning')
    await eventually('refused', () => log.matching(/dial failed.*ECONNREFUSED|dial failed.*refused/).length === 1)
    expect(log.matching(/dial failed/)[0]).toContain(ID)
    const door = await Door.open(place.tcpPort)
    clock.advance(500)
    await eventually('told', () => door.wires.length === 1 && door.newest.text === 'hello from the beginning')
  })

  test('when it is reached too late for that, it begins with what is left', async () => {
    const place = await Door.open()
    await place.shut()
    const { server, clock, log } = forwarding([`*=tcp://127.0.0.1:${place.tcpPort}`], { historyBytes: 65_536 })
    const vm = await bootVm(server)
    const said = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251))
    vm.print(said)
    await eventually('refused', () => log.matching(/dial failed/).length === 1)
    const { history } = portOf(server, ID)
    expect(history.start).toBeGreaterThan(0)
    const left = said.subarray(history.start)
    const door = await Door.open(place.tcpPort)
    clock.advance(500)
    await eventually('told', () => door.wires.length === 1 && door.newest.bytes.length === left.length)
    expect(Buffer.compare(door.newest.bytes, left)).toBe(0)
    expect(log.matching(/too slow/)).toHaveLength(0)
  })

  test('a VM that drops its connection while nobody is reached, and comes back soon, is still heard from the beginning', async () => {
    const place = await Door.open()
    await place.shut()
    const { server, log } = forwarding([`*=tcp://127.0.0.1:${place.tcpPort}`])
    const vm = await bootVm(server)
    vm.print('one ')
    await eventually('refused', () => log.matching(/dial failed/).length === 1)
    vm.reset()
    await turn()
    const door = await Door.open(place.tcpPort)
    const again = await bootVm(server)
    again.print('two')
    await eventually('told', () => door.wires.length === 1 && door.newest.text === 'one two')
  })

  test('a new connection is a new conversation: it gets what comes then, no half of an old message', async () => {
    const { vm, door, clock, server, log } = await dialled()
    vm.print('half a mess')
    await eventually('heard', () => door.newest.text === 'half a mess')
    door.newest.socket.end()
    await eventually('our FIN', () => door.newest.over)
    vm.print('age')
    await eventually('it is over', () => log.matching(/forward disconnected/).length === 1)
    clock.advance(500)
    await eventually('dialled again', () => door.wires.length === 2 && portOf(server, ID).consoles.length === 1)
    vm.print('next')
    await eventually('heard', () => door.newest.text === 'next')
  })

  test('a port that no rule means is left alone', async () => {
    const door = await Door.open()
    const { server } = forwarding([`other=tcp://127.0.0.1:${door.tcpPort}`])
    await bootVm(server)
    await quiet()
    expect([door.wires.length, portOf(server, ID).consoles.length]).toEqual([0, 0])
  })

  test('the first rule that matches counts', async () => {
    const [first, second] = [await Door.open(), await Door.open()]
    const { server } = forwarding([`vm1=tcp://127.0.0.1:${first.tcpPort}`, `*=tcp://127.0.0.1:${second.tcpPort}`])
    await bootVm(server)
    await bootVm(server, { uuid: UUID2, name: 'vm2' })
    await eventually('both', () => first.wires.length === 1 && second.wires.length === 1)
  })

  test('a name that comes late, or changes, decides anew', async () => {
    const door = await Door.open()
    const setup = forwarding([`vm1=tcp://127.0.0.1:${door.tcpPort}`])
    const { server } = setup
    const vm = await bootVm(server, { name: null })
    await quiet()
    expect(door.wires).toHaveLength(0)
    vm.print('said before the name was known')
    vm.say(CODE.VM_NAME, 'vm1')
    await eventually('heard', () => door.wires.length === 1 && door.newest.text === 'said before the name was known')
    vm.say(CODE.VM_NAME, 'vm2')
    await eventually('let go', () => door.newest.over && consolesOf(setup) === 0)
  })

  test('while the VM is away its program stays, what it says is held; after the linger it is let go', async () => {
    const setup = await dialled({ forwardLingerMs: 5_000 })
    const { vm, door, clock, server } = setup
    vm.reset()
    await eventually('away', () => portOf(server, ID).state === 'offline')
    door.newest.send('held')
    await eventually('taken', () => consolesOf(setup) === 1 && door.newest.socket.writableLength === 0)
    await quiet()
    clock.advance(4_999)
    const back = await bootVm(server)
    await eventually('delivered', () => back.input === 'held')
    clock.advance(10_000)
    await quiet()
    expect([door.wires.length, door.newest.over]).toEqual([1, false])
    back.reset()
    await eventually('away again', () => portOf(server, ID).state === 'offline')
    clock.advance(3_000)
    const third = await bootVm(server)
    third.reset()
    await eventually('and again', () => portOf(server, ID).state === 'offline')
    // Counted from the last time, not from the first.
    clock.advance(4_999)
    await quiet()
    expect([door.newest.over, consolesOf(setup)]).toEqual([false, 1])
    clock.advance(1)
    await eventually('let go', () => door.newest.over && consolesOf(setup) === 0)
    clock.advance(60_000)
    await quiet()
    expect(door.wires).toHaveLength(1)
    await bootVm(server)
    await eventually('dialled anew', () => door.wires.length === 2)
  })

  test('what it says to a VM that does not read waits in its own socket: nothing is lost, and memory has an end', async () => {
    const { vm, door, server } = await dialled({ inputBytes: 65_536 })
    vm.socket.stalled = true
    const sent = Buffer.alloc(8 << 20, 'abcdefg')
    door.newest.socket.write(sent)
    let before = -1
    for (let still = 0; still < 20; ) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      const taken = portOf(server, ID).bytesToVm
      still = taken === before ? still + 1 : 0
      before = taken
    }
    expect(door.newest.socket.writableLength).toBeGreaterThan(0)
    await eventually('all of it', () => {
      vm.socket.stalled = false
      return vm.heard.reduce((sum, heard) => sum + ('data' in heard ? heard.data.length : 0), 0) === sent.length
    })
    expect(Buffer.compare(Buffer.from(vm.input, 'latin1'), sent)).toBe(0)
  })

  test('too slow: it is disconnected rather than fed a stream with a hole; the VM is not held up', async () => {
    const { vm, door, server, log } = await dialled({ historyBytes: 1 << 20 })
    door.newest.socket.pause()
    const chunk = Buffer.alloc(65_536, 'a')
    for (let i = 0; i < 400; i++) {
      vm.socket.push(Buffer.from(chunk))
      if (i % 20 === 0) await turn()
    }
    await eventually('all said', () => portOf(server, ID).history.next === 400 * 65_536)
    door.newest.socket.resume()
    await eventually('cut', () => door.newest.over)
    expect(log.matching(/forward disconnected.*too slow/)).toHaveLength(1)
    expect(server.counters.splicesTooSlow).toBe(1)
    expect(Buffer.compare(door.newest.bytes, Buffer.alloc(door.newest.bytes.length, 'a'))).toBe(0)
  })

  test('who takes the port over by force cuts it off, instead of having it talk to nobody', async () => {
    const setup = await dialled()
    const { server, door, clock, log } = setup
    const person = new TestConsole(portOf(server, ID), { mode: 'exclusive', force: true, who: 'ann' })
    await eventually('cut', () => door.newest.over)
    expect(log.matching(/forward disconnected.*ann took over/)).toHaveLength(1)
    clock.advance(1_000)
    await eventually('in vain', () => log.matching(/the port is taken/).length === 1)
    person.console.detach()
    clock.advance(2_000)
    await eventually('joined', () => consolesOf(setup) === 1)
  })

  test('what was on its way when the server stops arrives, also what the kernel had no room for', async () => {
    const { vm, door, server } = await dialled({ historyBytes: 32 << 20 })
    const wire = door.newest
    wire.socket.pause()
    const chunk = Buffer.alloc(65_536, 'z')
    for (let i = 0; i < 200; i++) {
      vm.socket.push(Buffer.from(chunk))
      if (i % 20 === 0) await turn()
    }
    const { history, consoles } = portOf(server, ID)
    await eventually('all said', () => history.next === 200 * 65_536)
    const given = consoles[0]?.offset ?? 0
    expect(given).toBeLessThan(history.next)
    wire.socket.on('end', () => wire.socket.end())
    const stopped = server.stop()
    await quiet()
    wire.socket.resume()
    await stopped
    await eventually('the end', () => wire.over)
    expect(wire.bytes).toHaveLength(given)
  })

  test('removing the port ends it for good', async () => {
    const { vm, server, door, clock } = await dialled()
    vm.reset()
    await turn()
    expect(server.forget(portOf(server, ID))).toBe(true)
    await eventually('gone', () => door.newest.over)
    for (const ms of [1_000, 200_000]) {
      clock.advance(ms)
      await quiet()
    }
    expect(door.wires).toHaveLength(1)
  })
})

describe('a program that connects', () => {
  test('each port has a socket of its own, for its owner alone, and verbatim both ways', async () => {
    const setup = await listened()
    const { dir, path, vm, server } = setup
    const other = await bootVm(server, { uuid: UUID2, name: 'vm2' })
    const [one, two] = [await program(path), await program(`${dir}/${ID2}.sock`)]
    expect(statSync(path).mode & 0o777).toBe(0o600)
    await eventually('both', () => consolesOf(setup) === 1 && consolesOf(setup, ID2) === 1)
    vm.print(ALL_BYTES)
    one.send(ALL_BYTES)
    other.print('2')
    two.send('to 2')
    await eventually('all', () => one.bytes.length === 256 && vm.input.length === 256 && two.text === '2')
    expect(new Uint8Array(one.bytes)).toEqual(ALL_BYTES)
    expect(bytesOf(vm.input)).toEqual(ALL_BYTES)
    await eventually('that too', () => other.input === 'to 2')
  })

  test('gets what comes from then on', async () => {
    const { path, vm, ...setup } = await listened()
    vm.print('before')
    const one = await program(path)
    await eventually('in', () => consolesOf(setup) === 1)
    vm.print('after')
    await eventually('heard', () => one.text === 'after')
  })

  test('a second one is turned away while the first is there, and let in afterwards', async () => {
    const { path, vm, log, server, ...setup } = await listened()
    const one = await program(path)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    for (let i = 0; i < 3; i++) {
      const two = await program(path)
      await eventually('turned away', () => two.over)
    }
    expect(log.matching(/turned away.*connected already/)).toHaveLength(1)
    expect(server.counters.splicesRefused).toBe(3)
    vm.print('x')
    await eventually('heard', () => one.text === 'x')
    one.socket.destroy()
    await eventually('noticed', () => portOf(server, ID).consoles.length === 0)
    const three = await program(path)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    vm.print('y')
    await eventually('heard', () => three.text === 'y')
    expect(setup.events.filter(({ type }) => type === 'console-attached')).toHaveLength(2)
  })

  test('one that died while the VM read nothing makes way for the next, before the VM reads', async () => {
    const { path, vm, server } = await listened({ inputBytes: 65_536 })
    const one = await program(path)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    vm.socket.stalled = true
    one.socket.write(Buffer.alloc(8 << 20, 'a'))
    let before = -1
    for (let still = 0; still < 20; ) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      const taken = portOf(server, ID).bytesToVm
      still = taken === before ? still + 1 : 0
      before = taken
    }
    one.socket.destroy()
    await eventually('gone', () => one.closed)
    const two = await program(path)
    await eventually('in', () => server.counters.splicesAccepted === 2)
    vm.print('x')
    await eventually('heard', () => two.text === 'x')
  })

  test('one that has said its last word still hears the answer, and makes way for the next', async () => {
    const { path, vm, ...setup } = await listened()
    const one = await program(path)
    one.socket.end('question')
    await eventually('asked', () => vm.input === 'question')
    vm.print('answer')
    await eventually('answered', () => one.text === 'answer')
    expect([one.over, consolesOf(setup)]).toEqual([false, 1])
    const two = await program(path)
    await eventually('made way', () => one.over)
    vm.print('for two')
    await eventually('heard', () => two.text === 'for two')
    expect([one.text, consolesOf(setup)]).toEqual(['answer', 1])
  })

  test('stays while the VM is away; later ones are turned away once it has been for long', async () => {
    const { path, vm, server, clock, ...setup } = await listened({ forwardLingerMs: 5_000 })
    const one = await program(path)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    vm.reset()
    await eventually('away', () => portOf(server, ID).state === 'offline')
    one.send('held')
    await quiet()
    const back = await bootVm(server)
    await eventually('delivered', () => back.input === 'held')
    back.reset()
    await eventually('away', () => portOf(server, ID).state === 'offline')
    await quiet()
    clock.advance(5_000)
    await eventually('let go', () => one.over)
    const two = await program(path)
    await eventually('turned away', () => two.over)
    expect(setup.log.matching(/turned away.*the VM is offline/)).toHaveLength(1)
    expect(existsSync(path)).toBe(true)
    const again = await bootVm(server)
    await quiet()
    const three = await program(path)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    three.send('stale? no')
    await eventually('delivered', () => again.input === 'stale? no')
  })

  test('a VM that is renamed has its socket renamed; a hostile name stays in the directory', async () => {
    const dir = temporaryDir()
    const { server } = forwarding([`*=unix://${dir}/{name}`])
    const vm = await bootVm(server, { name: 'vm1' })
    const one = await program(`${dir}/vm1`)
    vm.say(CODE.VM_NAME, '../vm2')
    await eventually('moved', () => one.over && !existsSync(`${dir}/vm1`) && existsSync(`${dir}/%2E.%2Fvm2`))
    expect(existsSync(join(dir, '../vm2'))).toBe(false)
    // The name is free again.
    await bootVm(server, { uuid: UUID2, name: 'vm1' })
    await eventually('there', () => existsSync(`${dir}/vm1`))
  })

  test('removing the port removes the socket', async () => {
    const { path, vm, server } = await listened()
    const one = await program(path)
    vm.reset()
    await eventually('away', () => portOf(server, ID).state === 'offline')
    expect(server.forget(portOf(server, ID))).toBe(true)
    await eventually('gone', () => one.over && !existsSync(path))
  })

  test('two VMs of one name: the second is found by its UUID, and it is logged', async () => {
    const dir = temporaryDir()
    const { server, log } = forwarding([`*=unix://${dir}/{name}`])
    await bootVm(server, { name: 'same' })
    await bootVm(server, { uuid: UUID2, name: 'same' })
    await eventually('both', () => existsSync(`${dir}/same`) && existsSync(`${dir}/${ID2}`))
    expect(log.matching(/this one is used instead/)).toHaveLength(1)
  })

  test('two ports at one place: one of them has it, the other is logged', async () => {
    const dir = temporaryDir()
    const { server, log } = forwarding([`vm1=unix://${dir}/x`])
    await bootVm(server, { uri: 'vSPC.py?port=com1' })
    await bootVm(server, { uri: 'vSPC.py?port=com2' })
    await eventually('told', () => log.matching(/another port has the place/).length === 1)
    expect(existsSync(`${dir}/x`)).toBe(true)
  })

  test('a directory that is not there is said once, and looked for again', async () => {
    const dir = temporaryDir()
    const { server, clock, log } = forwarding([`*=unix://${dir}/sub/{uuid}`])
    await bootVm(server)
    await eventually('said', () => log.matching(/listening failed.*sub/).length === 1)
    await quiet()
    const waiting = clock.pending
    clock.advance(500)
    await eventually('tried again', () => clock.pending === waiting)
    mkdirSync(`${dir}/sub`)
    await eventually('there', () => {
      clock.advance(1_000)
      return existsSync(`${dir}/sub/${ID}`)
    })
    expect(log.matching(/listening failed/)).toHaveLength(1)
  })

  test('TCP on port 0: the port is logged', async () => {
    const { server, log } = forwarding(['*=listen:tcp://127.0.0.1:0'])
    const vm = await bootVm(server)
    await eventually('said', () => log.matching(/listening for a program/).length === 1)
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(log.matching(/listening for a program/)[0] ?? '')?.[1])
    const wire = new Wire(connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    wire.send('x')
    await eventually('heard', () => vm.input === 'x')
  })

  test('ports known from before have theirs from the start, and let programs in while hosts come back', async () => {
    const dir = temporaryDir()
    const data = temporaryDir()
    const problems = { onProblem: () => {} }
    const first = testServer()
    const store = await openHistoryStore({ dir: data, limits: first.server.limits, ...problems })
    const before = testServer({}, { histories: store })
    const vm = await bootVm(before.server)
    vm.print('x')
    vm.reset()
    await before.server.stop()
    await store.close(1_000)
    const again = await openHistoryStore({ dir: data, limits: first.server.limits, ...problems })
    const setup = forwarding([`*=unix://${dir}/{uuid}`], { forwardLingerMs: 5_000 }, { histories: again })
    await setup.server.start()
    expect(existsSync(`${dir}/${ID}`)).toBe(true)
    const one = await program(`${dir}/${ID}`)
    one.send('early')
    await eventually('in', () => portOf(setup.server, ID).consoles.length === 1)
    const back = await bootVm(setup.server)
    await eventually('delivered', () => back.input === 'early')
    back.reset()
    const stopped = setup.server.stop()
    await eventually('gone', () => one.over && !existsSync(`${dir}/${ID}`))
    one.socket.end()
    await stopped
    await again.close(1_000)
  })

  test('a server without history feeds a program that keeps up', async () => {
    const dir = temporaryDir()
    const setup = testServer({ historyBytes: 0 })
    const { server } = forwarding(
      [`*=unix://${dir}/{uuid}`],
      {},
      { histories: new MemoryHistoryStore(setup.server.limits) },
    )
    const vm = await bootVm(server)
    const one = await program(`${dir}/${ID}`)
    await eventually('in', () => portOf(server, ID).consoles.length === 1)
    for (let i = 0; i < 64; i++) {
      vm.print('0123456789abcdef'.repeat(64))
      await turn()
    }
    await eventually('all', () => one.bytes.length === 65_536)
  })

  test('the stopped server leaves no socket behind, and another may have its place', async () => {
    const { path, server } = await listened()
    const one = await program(path)
    const stopped = server.stop()
    one.socket.on('end', () => one.socket.end())
    await stopped
    expect(existsSync(path)).toBe(false)
    const next = createServer()
    await new Promise<void>((resolve) => next.listen(path, resolve))
    await new Promise((resolve) => next.close(resolve))
  })
})
