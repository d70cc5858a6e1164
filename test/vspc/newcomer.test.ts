import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../src/base/index.ts'
import { portOf, TestConsole, testServer } from './support.ts'
import { turn, VmPeer } from './vm-peer.ts'

const GRACE_MS = LIMITS.newcomerMs.default

/** A named line of its own protocol, with a VM on it that has said `first`. */
async function line(protocol: 'raw' | 'telnet') {
  const { server, clock, events } = testServer()
  const connect = () => new VmPeer(server, { protocol, name: 'vm1' })
  const vm = connect()
  vm.print('first;')
  await turn()
  const port = portOf(server, 'name:vm1')
  const console = new TestConsole(port, { from: 0 })
  return { server, clock, events, connect, vm, port, console }
}

describe.each(['raw', 'telnet'] as const)('a second connection on a %s line', (protocol) => {
  test('that connects and goes, as a port scan does, cuts nobody off', async () => {
    const { clock, events, connect, vm, port, console } = await line(protocol)
    const before = events.length
    const scan = connect()
    await turn()
    scan.end()
    await turn()
    clock.advance(60_000)
    await turn()
    expect(port.state).toBe('online')
    expect(events.slice(before)).toEqual([])
    expect(scan.ended).toBe(true)
    vm.print('second;')
    await turn()
    expect(console.text).toBe('first;second;')
    console.type('typed')
    await turn()
    expect(vm.input).toBe('typed')
  })

  test('takes over with the first thing it says, and none of that is lost', async () => {
    const { server, connect, vm, console } = await line(protocol)
    const next = connect()
    await turn()
    next.print('second;')
    await turn()
    expect(console.text).toBe('first;second;')
    console.type('typed')
    await turn()
    expect([next.input, vm.input]).toEqual(['typed', ''])
    expect(server.counters.takeovers).toBe(1)
  })

  test('that is silent but stays takes over: the old one may be dead, and nobody knows', async () => {
    const { clock, connect, vm, console } = await line(protocol)
    const next = connect()
    await turn()
    clock.advance(GRACE_MS)
    console.type('typed')
    await turn()
    expect([next.input, vm.input]).toEqual(['typed', ''])
  })
})

test('while nobody is on the line, a silent connection is its VM at once', async () => {
  const { connect, vm, port } = await line('raw')
  vm.end()
  await turn()
  expect(port.state).toBe('offline')
  connect()
  await turn()
  expect(port.state).toBe('online')
})
