/**
 * Connections that follow on one another while the stream of the one before is without connection: the appliance has
 * moved, and what a VM printed at the relay it left arrives after its next connection.
 */
import { describe, expect, test } from 'vitest'
import { LIMITS, type ManualClock } from '../../src/base/index.ts'
import type { LinkInfo } from '../../src/transport/index.ts'
import type { Server } from '../../src/vspc/index.ts'
import { portOf, TestConsole, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, frame, HELLO, ID, ID2, turn, UUID, UUID2, VmPeer } from './vm-peer.ts'

const TAIL_MS = LIMITS.takeoverTailMs.default
const GRACE_MS = LIMITS.takeoverGraceMs.default

/** A double of a resumable stream's connection. */
class TestLink implements LinkInfo {
  readonly #clock: ManualClock
  #since: number | null

  constructor(clock: ManualClock) {
    this.#clock = clock
    this.#since = clock.now()
  }

  get connectedMs(): number | null {
    return this.#since === null ? null : this.#clock.now() - this.#since
  }

  lose(): void {
    this.#since = null
  }

  join(): void {
    this.#since = this.#clock.now()
  }
}

/** A VM's connection by way of a relay that resumes its streams. */
class RelayedVm {
  readonly link: TestLink
  readonly vm: VmPeer

  private constructor(server: Server, clock: ManualClock, address: string) {
    this.link = new TestLink(clock)
    this.vm = new VmPeer(server, {}, address, undefined, this.link)
  }

  /** Told WILL-PROXY, and not yet asked back. */
  static async unnamed(server: Server, clock: ManualClock, address = '10.0.0.1'): Promise<RelayedVm> {
    const relayed = new RelayedVm(server, clock, address)
    await turn()
    relayed.vm.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py'))])
    await turn()
    return relayed
  }

  static async named(server: Server, clock: ManualClock, uuid = UUID): Promise<RelayedVm> {
    const relayed = await RelayedVm.unnamed(server, clock)
    await relayed.tell(uuid)
    return relayed
  }

  async tell(uuid: string): Promise<void> {
    this.vm.say(CODE.VM_VC_UUID, uuid)
    this.vm.say(CODE.VM_NAME, 'vm')
    await turn()
  }

  async print(text: string): Promise<void> {
    this.vm.print(text)
    await turn()
  }

  /** Back with what was on its way. */
  async resume(text: string, end = true): Promise<void> {
    this.link.join()
    this.vm.print(text)
    if (end) this.vm.end()
    await turn()
  }
}

async function started() {
  const { server, clock, events, log } = testServer()
  const first = await RelayedVm.named(server, clock)
  await first.print('first;')
  const port = portOf(server, ID)
  const console = new TestConsole(port, { from: 0 })
  return { server, clock, events, log, first, port, console }
}

describe('the last output of a stream that is away', () => {
  test('comes before that of the connection that took over from it', async () => {
    const { server, clock, first, port, console } = await started()
    first.link.lose()
    const next = await RelayedVm.named(server, clock)
    await next.print('next;')
    expect([console.text, port.state, port.handover.source]).toEqual(['first;', 'online', next.vm.session])
    console.type('typed')
    await turn()
    expect(next.vm.input).toBe('typed')
    clock.advance(3 * GRACE_MS)
    await first.resume('late;')
    expect(console.text).toBe('first;late;next;')
    await next.print('after;')
    expect(console.text).toBe('first;late;next;after;')
    expect([server.table.size, server.counters.takeovers]).toEqual([1, 1])
  })

  test('of two in a row, each has its turn', async () => {
    const { server, clock, first, console } = await started()
    first.link.lose()
    const second = await RelayedVm.named(server, clock)
    await second.print('second;')
    second.link.lose()
    const third = await RelayedVm.named(server, clock)
    await third.print('third;')
    await second.resume('second late;')
    expect(console.text).toBe('first;')
    await first.resume('first late;')
    expect(console.text).toBe('first;first late;second;second late;third;')
  })

  test('is not waited for longer than takeoverTailMs; what comes later is not lost', async () => {
    const { server, clock, first, console } = await started()
    first.link.lose()
    const next = await RelayedVm.named(server, clock)
    await next.print('next;')
    clock.advance(TAIL_MS - 1)
    expect(console.text).toBe('first;')
    clock.advance(1)
    expect(console.text).toBe('first;next;')
    await first.resume('late;')
    expect([console.text, server.table.size]).toEqual(['first;next;late;', 1])
  })

  test('once it is back it has takeoverGraceMs to end: a host that is dead does not hold up the next one', async () => {
    const { server, clock, first, console } = await started()
    const next = await RelayedVm.named(server, clock)
    await next.print('next;')
    clock.advance(GRACE_MS - 1)
    expect(console.text).toBe('first;')
    clock.advance(1)
    expect(console.text).toBe('first;next;')
    await turn()
    expect(first.vm.ended).toBe(true)
  })

  test('a flood that has to wait is not taken from the socket, and is complete afterwards', async () => {
    const { server, clock, first, console } = await started()
    first.link.lose()
    const next = await RelayedVm.named(server, clock)
    const piece = 'x'.repeat(32_768)
    for (let at = 0; at < 16; at++) await next.print(piece)
    expect(next.vm.socket.isPaused()).toBe(true)
    expect(next.vm.socket.readableLength).toBeGreaterThan(4 * piece.length)
    await first.resume('late;')
    for (let at = 0; at < 20; at++) await turn()
    expect(console.text.length).toBe('first;late;'.length + 16 * piece.length)
    expect(console.text.startsWith('first;late;xxx')).toBe(true)
  })

  test('a vMotion does not wait for it', async () => {
    const { server, clock, first, console } = await started()
    first.link.lose()
    const next = await RelayedVm.named(server, clock)
    await next.print('next;')
    next.vm.say(CODE.BEGIN, [1, 2, 3, 4])
    await turn()
    expect(next.vm.said(CODE.GOAHEAD)).toHaveLength(1)
    expect(console.text).toBe('first;next;')
  })

  test('of a plain connection is not waited for', async () => {
    const { server } = testServer()
    const plain = async (text: string): Promise<void> => {
      const vm = await bootVm(server)
      vm.print(text)
      await turn()
    }
    await plain('first;')
    await plain('next;')
    expect(new TestConsole(portOf(server, ID), { from: 0 }).text).toBe('first;next;')
  })
})

describe('a connection that was lost before it said which VM it is', () => {
  test('is waited for by the later ones of its host, and takes nothing from them', async () => {
    const { server, clock, first, port, console } = await started()
    const second = await RelayedVm.unnamed(server, clock)
    await second.print('second;')
    second.link.lose()
    first.vm.end()
    await turn()
    const third = await RelayedVm.named(server, clock)
    await third.print('third;')
    expect(console.text).toBe('first;')
    second.link.join()
    await second.tell(UUID)
    await second.resume('second late;')
    expect(console.text).toBe('first;second;second late;third;')
    expect(port.handover.source).toBe(third.vm.session)
    clock.advance(2 * TAIL_MS)
    await turn()
    expect([port.state, third.vm.ended, server.unnamed.size]).toEqual(['online', false, 0])
  })

  test('of another VM, or another host, holds up nobody any longer', async () => {
    const { server, clock, first, console } = await started()
    const foreign = await RelayedVm.unnamed(server, clock, '10.0.0.2')
    const other = await RelayedVm.unnamed(server, clock)
    foreign.link.lose()
    other.link.lose()
    first.vm.end()
    await turn()
    const next = await RelayedVm.named(server, clock)
    await next.print('next;')
    expect(console.text).toBe('first;')
    other.link.join()
    await other.tell(UUID2)
    clock.advance(100)
    expect(console.text).toBe('first;next;')
    await other.print('of another')
    expect([portOf(server, ID2).state, console.text]).toEqual(['online', 'first;next;'])
  })

  test('it has its time to answer when it is back: VMs of one host are not mixed up under its address', async () => {
    const { server, clock, log } = testServer()
    const [one, two] = [await RelayedVm.unnamed(server, clock), await RelayedVm.unnamed(server, clock)]
    one.link.lose()
    two.link.lose()
    clock.advance(4 * LIMITS.identityMs.default)
    expect(server.table.size).toBe(0)
    one.link.join()
    two.link.join()
    clock.advance(LIMITS.identityMs.default - 1)
    await one.tell(UUID)
    await two.tell(UUID2)
    await one.print('one')
    await two.print('two')
    const texts = [ID, ID2].map((id) => new TestConsole(portOf(server, id), { from: 0 }).text)
    expect([texts, server.table.size, log.matching(/without VC UUID/)]).toEqual([['one', 'two'], 2, []])
  })
})

test('VMs behind one address that are slow to say who they are end up each with its own output', async () => {
  const { server, clock } = testServer()
  const slow = async (): Promise<VmPeer> => {
    const vm = new VmPeer(server, {}, '10.0.0.1')
    await turn()
    vm.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py'))])
    await turn()
    return vm
  }
  const [one, two] = [await slow(), await slow()]
  // Both go by the address, and the second has taken over.
  clock.advance(LIMITS.identityMs.default)
  expect(portOf(server, 'addr:10.0.0.1').handover.source).toBe(two.session)
  one.say(CODE.VM_VC_UUID, UUID)
  await turn()
  two.say(CODE.VM_VC_UUID, UUID2)
  await turn()
  one.print('one')
  two.print('two')
  await turn()
  const texts = [ID, ID2].map((id) => new TestConsole(portOf(server, id), { from: 0 }).text)
  expect([texts, [...server.table].map(({ id }) => id).sort()]).toEqual([
    ['one', 'two'],
    [ID, ID2],
  ])
})
