import { describe, expect, test } from 'vitest'
import { portOf, TestConsole, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, frame, HELLO, ID, turn, UUID, VmPeer } from './vm-peer.ts'

const INTRODUCTION = [...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')), ...frame(CODE.VM_VC_UUID, bytesOf(UUID))]

async function connect(...args: Parameters<typeof testServer>) {
  const setup = testServer(...args)
  const vm = new VmPeer(setup.server)
  await turn()
  return { ...setup, vm }
}

describe('serial data before the port is known', () => {
  test('before 232, before DO-PROXY and before the UUID: all of it is delivered, in order, before what follows [C21]', async () => {
    const { vm, server } = await connect()
    vm.print('one ')
    vm.send(HELLO)
    vm.print('two ')
    vm.say(CODE.DO_PROXY, 'SvSPC.py')
    vm.print('three ')
    expect(server.table.size).toBe(0)
    vm.say(CODE.VM_VC_UUID, UUID)
    vm.print('four')
    expect(new TestConsole(portOf(server, ID), { from: 0 }).text).toBe('one two three four')
  })

  test('is kept up to the cap; the rest is counted and logged, not silently gone [C21]', async () => {
    const { vm, server, log } = await connect({ preAttachBytes: 1000 })
    vm.send(HELLO)
    for (let i = 0; i < 5; i++) vm.print('x'.repeat(400))
    vm.send(INTRODUCTION)
    vm.print('live')
    // One chunk past the cap is taken whole.
    expect(portOf(server, ID).history.next).toBe(1200 + 4)
    expect(server.counters.preAttachBytesDropped).toBe(800)
    expect(log.matching(/preAttachBytes/)).toHaveLength(1)
  })

  test('none is kept with a cap of 0', async () => {
    const { vm, server } = await connect({ preAttachBytes: 0 })
    vm.send(HELLO)
    vm.print('x')
    vm.send(INTRODUCTION)
    expect(portOf(server, ID).history.next).toBe(0)
  })

  test('of a connection that was refused is not kept', async () => {
    const { vm, server } = await connect({}, { serviceUris: ['mine'] })
    vm.send(HELLO)
    vm.print('x')
    vm.say(CODE.DO_PROXY, 'Syours')
    vm.print('y')
    vm.say(CODE.DO_PROXY, 'Smine')
    vm.say(CODE.VM_VC_UUID, UUID)
    vm.print('z')
    expect(new TestConsole(portOf(server, ID), { from: 0 }).text).toBe('z')
  })
})

describe('peers that are no VM', () => {
  test('one that says nothing is told what this is after 10 s, and closed [C14, C52]', async () => {
    const { vm, clock, server } = await connect()
    clock.advance(9_999)
    expect(vm.input).toBe('')
    clock.advance(1)
    await turn()
    expect(vm.input).toContain('virtual machines connect here')
    expect(vm.ended).toBe(true)
    expect([server.table.size, server.counters.negotiationTimeouts]).toEqual([0, 1])
  })

  test('one that refuses 232 is told so at once, and creates no port [C14]', async () => {
    const { vm, server } = await connect()
    vm.send([0xff, 0xfc, 232])
    vm.print('root\r\n')
    await turn()
    expect(vm.input).toContain('vspc attach')
    expect([vm.ended, server.table.size, server.counters.notVmwarePeers]).toEqual([true, 0, 1])
  })

  test('one that never closes its side is reset 5 s after our FIN', async () => {
    const { vm, clock, server } = await connect()
    clock.advance(10_000)
    await turn()
    clock.advance(4_999)
    expect(vm.socket.destroyed).toBe(false)
    clock.advance(1)
    await turn()
    expect(vm.socket.destroyed).toBe(true)
    expect(server.counters.connectionsClosed).toBe(1)
    expect(clock.pending).toBe(0)
  })

  test('one that agrees on 232 and then says nothing is closed after 10 s more', async () => {
    const { vm, clock } = await connect()
    clock.advance(9_000)
    vm.send(HELLO)
    clock.advance(9_999)
    await turn()
    expect(vm.ended).toBe(false)
    clock.advance(1)
    await turn()
    expect([vm.ended, vm.input]).toEqual([true, ''])
  })

  test('turning 232 off and on again wins no more time', async () => {
    const { vm, clock } = await connect()
    vm.send(HELLO)
    for (let i = 0; i < 12; i++) {
      clock.advance(1_000)
      vm.send([0xff, 0xfc, 232, 0xff, 0xfb, 232])
    }
    await turn()
    expect(vm.ended).toBe(true)
  })

  test('a PEER with no cookie of ours gets silence, then the door after 10 s [C43]', async () => {
    const { vm, clock, server } = await connect()
    vm.send([...HELLO, ...frame(CODE.PEER, [1, 2, 3])])
    const heard = vm.heard.length
    clock.advance(9_999)
    await turn()
    expect([vm.heard.length, vm.ended]).toEqual([heard, false])
    clock.advance(1)
    await turn()
    expect([vm.ended, server.counters.unknownPeers]).toEqual([true, 1])
  })

  test('a service that is not ours: WONT-PROXY, and the connection stays 30 s, so that nothing storms [C17, C54]', async () => {
    const { vm, clock, log } = await connect({}, { serviceUris: ['mine'] })
    vm.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('Cyours?x=1'))])
    expect(vm.said(CODE.WONT_PROXY)).toEqual([''])
    expect(log.matching(/WONT-PROXY.*"direction":"client".*"serviceURI":"yours\?x=1"/)).toHaveLength(1)
    clock.advance(29_999)
    await turn()
    expect(vm.ended).toBe(false)
    clock.advance(1)
    await turn()
    expect(vm.ended).toBe(true)
  })
})

describe('what a connection may cost', () => {
  test('a host that asks and asks and takes no answer is disconnected, not stored', async () => {
    const { vm, server } = await connect()
    vm.send(HELLO)
    vm.socket.stalled = true
    const asked = frame(200)
    const flood = Array.from({ length: 5_000 }, () => asked).flat()
    let most = 0
    for (let i = 0; i < 200 && !vm.socket.destroyed; i++) {
      vm.send(flood)
      most = Math.max(most, vm.socket.writableLength)
    }
    expect(vm.socket.destroyed).toBe(true)
    expect(most).toBeLessThan(2 << 20)
    await turn()
    expect(server.counters.connectionsClosed).toBe(1)
  })

  test('a VM that merely reads slowly keeps its connection, whatever is typed', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    const console = new TestConsole(portOf(server, ID))
    vm.socket.stalled = true
    for (let i = 0; i < 100; i++) console.console.write(new Uint8Array(65_536).fill(0xff))
    await turn()
    expect(vm.socket.destroyed).toBe(false)
  })

  test('a bug of ours on one connection ends that one, is counted, and touches no other', async () => {
    const { server, log } = testServer()
    const vm = await bootVm(server)
    const other = await bootVm(server, { uuid: UUID.replace(/1$/, '9') })
    const port = portOf(server, ID)
    port.output = () => {
      throw new Error('a bug')
    }
    vm.print('x')
    await turn()
    expect(vm.socket.destroyed).toBe(true)
    expect(server.counters.internalErrors).toBe(1)
    expect(log.matching(/^error internal error; connection dropped/)).toHaveLength(1)
    other.print('y')
    expect(portOf(server, other.session.port?.id ?? '').history.next).toBe(1)
  })

  test('a connection that comes and goes leaves no timer', async () => {
    const { server, clock } = testServer()
    const vm = await bootVm(server)
    expect(clock.pending).toBe(0)
    vm.reset()
    await turn()
    expect(clock.pending).toBe(0)
  })
})

describe('closing', () => {
  test('FIN of the VM: the port is offline at once, and our FIN follows what was still to be sent', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    const console = new TestConsole(portOf(server, ID))
    vm.socket.stalled = true
    console.type('last words')
    vm.end()
    await turn()
    expect(portOf(server, ID).state).toBe('offline')
    expect(vm.ended).toBe(false)
    vm.socket.stalled = false
    await turn()
    expect([vm.input, vm.ended]).toEqual(['last words', true])
  })

  test('a VM that says FIN and takes nothing more is reset after 5 s', async () => {
    const { server, clock } = testServer()
    const vm = await bootVm(server)
    new TestConsole(portOf(server, ID)).type('x')
    vm.socket.stalled = true
    new TestConsole(portOf(server, ID)).type('y')
    vm.end()
    await turn()
    clock.advance(5_000)
    expect(vm.socket.destroyed).toBe(true)
  })

  test('a reset with an error is no crash and takes the port offline', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    vm.socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
    await turn()
    expect(portOf(server, ID).state).toBe('offline')
  })
})

describe('tap', () => {
  test('gets every byte of both directions, as on the wire, and the end', async () => {
    const log: string[] = []
    const tap = {
      open: () => ({
        fromVm: (bytes: Uint8Array) => log.push(`> ${Buffer.from(bytes).toString('hex')}`),
        toVm: (bytes: Uint8Array) => log.push(`< ${Buffer.from(bytes).toString('hex')}`),
        close: () => log.push('closed'),
      }),
    }
    const { server } = testServer({}, { tap })
    const vm = await bootVm(server)
    log.length = 0
    vm.print([0xff, 1])
    new TestConsole(portOf(server, ID)).console.write(Uint8Array.of(2, 0xff))
    vm.reset()
    await turn()
    expect(log).toEqual(['> ffff01', '< 02ffff', 'closed'])
  })
})
