import { describe, expect, test } from 'vitest'
import type { Port } from '../../src/vspc/index.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, bytesOf, CODE, frame, HELLO, ID, migrateTo, turn, UUID, UUID2, VmPeer } from './vm-peer.ts'

interface Stage extends TestServer {
  vm: VmPeer
  port: Port
  console: TestConsole
}

async function stage(...args: Parameters<typeof testServer>): Promise<Stage> {
  const setup = testServer(...args)
  const vm = await bootVm(setup.server)
  const port = portOf(setup.server, ID)
  return { ...setup, vm, port, console: new TestConsole(port) }
}

const S = [1, 0xff, 0xf0]

/** A, stunned and cleared to go, and B, which has presented the cookie. */
async function peered(setup: Stage): Promise<VmPeer> {
  setup.vm.say(CODE.BEGIN, S)
  return migrateTo(setup.server, setup.vm.cookie)
}

describe('input', () => {
  test('every byte value reaches the VM as it was typed [C3]', async () => {
    const { vm, console } = await stage()
    console.console.write(Uint8Array.from({ length: 512 }, (_, i) => i & 0xff))
    expect(vm.input).toBe(String.fromCharCode(...Array.from({ length: 512 }, (_, i) => i & 0xff)))
  })

  test('a VM that does not read fills the queue, pauses the console, and loses nothing [C49]', async () => {
    const { vm, console, port } = await stage({ inputBytes: 4096, vmSocketBytes: 1024 })
    vm.socket.stalled = true
    let typed = ''
    for (let i = 0; i < 100 && !console.inputPaused; i++) {
      const text = `${i}`.padStart(1000, '.')
      console.type(text)
      typed += text
    }
    expect(console.inputPaused).toBe(true)
    // A console that goes on typing although it was paused is not punished by losing what it sends.
    console.type('more')
    typed += 'more'
    // The socket's own mark and the queue's cap, and one chunk past each.
    expect(typed.length).toBeLessThan(16_384 + 4096 + 3000)
    const newcomer = new TestConsole(port)
    expect(newcomer.inputPaused).toBe(true)
    for (let i = 0; i < 10; i++) {
      vm.socket.stalled = false
      await turn()
    }
    expect(vm.input).toBe(typed)
    expect([console.inputPaused, newcomer.inputPaused]).toEqual([false, false])
    console.type('!')
    expect(vm.input).toBe(`${typed}!`)
  })

  test('the console goes on at half full, not at the first free byte', async () => {
    const { console, port, server, vm } = await stage({ inputBytes: 4000 })
    vm.reset()
    await turn()
    for (let i = 0; i < 4; i++) console.type('x'.repeat(1000))
    expect(console.inputPaused).toBe(true)
    const next = await bootVm(server)
    expect(next.input).toHaveLength(4000)
    expect(console.inputPaused).toBe(false)
    expect(port.bytesToVm).toBe(4000)
  })

  test('keystrokes are capped in pieces as well as in bytes', async () => {
    const { vm, console } = await stage({ inputPieces: 16, inputBytes: 1 << 20 })
    vm.say(CODE.BEGIN, S)
    for (let i = 0; i < 40; i++) console.console.write(new Uint8Array(2000))
    expect(console.inputPaused).toBe(true)
    vm.say(CODE.ABORT)
    await turn()
    expect(console.inputPaused).toBe(false)
    expect(vm.input).toHaveLength(80_000)
  })

  test('a paste of 10 MB into a VM that reads arrives whole, and is never all in the socket at once', async () => {
    const { vm, console } = await stage()
    const paste = Buffer.alloc(10 << 20, 'paste')
    let most = 0
    vm.onHeard = () => {
      most = Math.max(most, vm.socket.writableLength)
    }
    console.console.write(paste)
    for (let i = 0; i < 1000 && vm.heard.length < 165; i++) await turn()
    expect(Buffer.compare(Buffer.from(vm.input, 'latin1'), paste)).toBe(0)
    expect(most).toBeLessThanOrEqual(65_536 + 16_384)
  })

  test('typed while the VM is off: it is there when the VM comes back, in order', async () => {
    const { vm, console, server } = await stage()
    vm.end()
    await turn()
    console.type('wait')
    console.type(' for me')
    const next = await bootVm(server)
    console.type('!')
    expect(next.input).toBe('wait for me!')
  })

  test('FLOWCONTROL-SUSPEND of the VM holds its input back, RESUME lets it go, and a vMotion ends it', async () => {
    const { vm, console, server } = await stage()
    vm.send([0xff, 0xfb, 44, 0xff, 0xfa, 44, 8, 0xff, 0xf0])
    console.type('held')
    expect(vm.input).toBe('')
    vm.send([0xff, 0xfa, 44, 9, 0xff, 0xf0])
    expect(vm.input).toBe('held')
    vm.send([0xff, 0xfa, 44, 8, 0xff, 0xf0])
    console.type(' again')
    vm.say(CODE.BEGIN, S)
    expect(vm.said(CODE.GOAHEAD)).toHaveLength(1)
    const next = await migrateTo(server, vm.cookie)
    next.say(CODE.COMPLETE, S)
    expect([vm.input, next.input]).toEqual(['held', ' again'])
  })

  test('a break goes to the VM, and to nobody while it moves', async () => {
    const { vm, console } = await stage()
    console.console.request({ type: 'break' })
    expect(console.told('error')).toEqual([])
    vm.say(CODE.BEGIN, S)
    console.console.request({ type: 'break' })
    expect(console.told('error')[0]?.code).toBe('VSPC_BREAK_UNSUPPORTED')
  })
})

describe('BEGIN and a socket that is slow', () => {
  test('input that the socket has goes first, then GOAHEAD, then nothing [C30, C34]', async () => {
    const { vm, console } = await stage()
    console.type('before')
    vm.say(CODE.BEGIN, S)
    console.type('after')
    const order = vm.heard.slice(-2).map((heard) => ('code' in heard ? heard.code : 'data'))
    expect(order).toEqual(['data', CODE.GOAHEAD])
    expect(vm.input).toBe('before')
  })

  test('while the socket drains there is no answer yet; as soon as it has, GOAHEAD, without any other event', async () => {
    const { vm, console, clock } = await stage()
    vm.socket.stalled = true
    console.type('x'.repeat(20_000))
    vm.say(CODE.BEGIN, S)
    clock.advance(1_900)
    console.type('held')
    vm.socket.stalled = false
    await turn()
    expect(vm.said(CODE.GOAHEAD)).toHaveLength(1)
    expect(vm.input).toBe('x'.repeat(20_000))
  })

  test('a socket that does not drain in 2 s: NOTNOW, and what was typed goes behind it [C29, C33]', async () => {
    const { vm, console, clock, events, port } = await stage()
    vm.socket.stalled = true
    console.type('x'.repeat(20_000))
    vm.say(CODE.BEGIN, S)
    console.type('held')
    clock.advance(2_000)
    expect(port.state).toBe('online')
    expect(events.at(-1)).toMatchObject({ type: 'vmotion-refused' })
    vm.socket.stalled = false
    await turn()
    const order = vm.heard.slice(-3).map((heard) => ('code' in heard ? heard.code : 'data'))
    expect(order).toEqual(['data', CODE.NOTNOW, 'data'])
    expect(vm.said(CODE.NOTNOW)).toEqual(['01fff0'])
    expect(vm.input).toBe(`${'x'.repeat(20_000)}held`)
    expect(vm.said(CODE.GOAHEAD)).toEqual([])
    // And it can migrate again.
    vm.say(CODE.BEGIN, [2])
    expect(vm.said(CODE.GOAHEAD)).toHaveLength(1)
  })

  test('ABORT before it has drained: no answer, and input flows', async () => {
    const { vm, console, clock } = await stage()
    vm.socket.stalled = true
    console.type('x'.repeat(20_000))
    vm.say(CODE.BEGIN, S)
    vm.say(CODE.ABORT)
    console.type('y')
    clock.advance(3_000)
    vm.socket.stalled = false
    await turn()
    await turn()
    expect(vm.said(CODE.GOAHEAD)).toEqual([])
    expect(vm.said(CODE.NOTNOW)).toEqual([])
    expect(vm.input).toHaveLength(20_001)
  })

  test('a newer connection takes the port while it drains: the old one is still told NOTNOW [C29]', async () => {
    const { vm, console, server } = await stage()
    vm.socket.stalled = true
    console.type('x'.repeat(20_000))
    vm.say(CODE.BEGIN, S)
    console.type('held')
    const next = await bootVm(server)
    expect(next.input).toBe('held')
    vm.socket.stalled = false
    await turn()
    expect(vm.said(CODE.NOTNOW)).toEqual(['01fff0'])
  })

  test('one stuck VM delays no answer to another [C53]', async () => {
    const { vm, console, server } = await stage()
    vm.socket.stalled = true
    console.type('x'.repeat(100_000))
    const other = await bootVm(server, { uuid: UUID.replace(/1$/, '7'), name: 'vm7' })
    other.say(CODE.BEGIN, S)
    expect(other.said(CODE.GOAHEAD)).toHaveLength(1)
  })
})

describe('after COMPLETE', () => {
  test('held input goes to the destination in the same turn, before anything typed later [C35]', async () => {
    const setup = await stage()
    const b = await peered(setup)
    setup.console.type('held')
    b.say(CODE.COMPLETE, S)
    expect(b.input).toBe('held')
    setup.console.type(' live')
    expect([setup.vm.input, b.input]).toEqual(['', 'held live'])
  })

  test("the source's last bytes come before the destination's first, if they come within 50 ms [C37, C48]", async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    b.print('from B ')
    setup.vm.print('from A ')
    expect(setup.console.text).toBe('from A ')
    setup.clock.advance(49)
    setup.vm.print('still A ')
    expect(setup.console.text).toBe('from A still A ')
    setup.clock.advance(1)
    expect(setup.console.text).toBe('from A still A from B ')
    b.print('B again ')
    setup.vm.print('late A')
    expect(setup.console.text).toBe('from A still A from B B again late A')
  })

  test('the FIN of the source ends the wait at once [C36]', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    b.print('B')
    setup.vm.print('A')
    setup.vm.end()
    await turn()
    expect(setup.console.text).toBe('AB')
  })

  test('a wait that ended early does not cut the next one short', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    setup.vm.end()
    await turn()
    setup.clock.advance(20)
    b.say(CODE.BEGIN, [2])
    const c = await migrateTo(setup.server, b.cookie)
    c.say(CODE.COMPLETE, [2])
    c.print('C')
    setup.clock.advance(49)
    b.print('B')
    setup.clock.advance(1)
    expect(setup.console.text).toBe('BC')
  })

  test('a source that was gone before COMPLETE is not waited for [C36]', async () => {
    const setup = await stage()
    const b = await peered(setup)
    setup.vm.print('A')
    setup.vm.end()
    await turn()
    b.say(CODE.COMPLETE, S)
    b.print('B')
    expect(setup.console.text).toBe('AB')
  })

  test('the next BEGIN, a new connection and a flood end the wait, and nothing is lost by it', async () => {
    for (const cause of ['begin', 'attach', 'flood'] as const) {
      const setup = await stage({ destinationOutputBytes: 1024 })
      const b = await peered(setup)
      b.say(CODE.COMPLETE, S)
      b.print('B')
      expect(setup.console.text).toBe('')
      if (cause === 'begin') b.say(CODE.BEGIN, [9])
      else if (cause === 'attach') await bootVm(setup.server)
      else b.print('x'.repeat(2000))
      expect(setup.console.text.slice(0, 1), cause).toBe('B')
      expect(setup.console.text).toHaveLength(cause === 'flood' ? 2001 : 1)
    }
  })

  test('without a wait configured the order is that of arrival', async () => {
    const setup = await stage({ sourceTailMs: 0 })
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    b.print('B')
    setup.vm.print('A')
    expect(setup.console.text).toBe('BA')
  })

  test('the old source is closed when it says FIN, or after 10 s [C36]', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    setup.clock.advance(9_999)
    await turn()
    expect(setup.vm.ended).toBe(false)
    setup.clock.advance(1)
    await turn()
    expect([setup.vm.ended, b.ended]).toEqual([true, false])
  })

  test('an old source that says ABORT while the destination is gone has the port again; later it has not', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    b.reset()
    await turn()
    expect(setup.port.state).toBe('offline')
    setup.console.type('anyone?')
    setup.vm.say(CODE.ABORT)
    expect(setup.port.state).toBe('online')
    expect(setup.vm.input).toBe('anyone?')
    setup.clock.advance(20_000)
    await turn()
    expect(setup.vm.ended).toBe(false)
    // It can migrate, and be superseded, like any other.
    const c = await peered(setup)
    c.say(CODE.COMPLETE, S)
    setup.vm.print('A')
    expect(setup.console.text).toBe('A')
    expect(setup.server.table.size).toBe(1)
  })

  test('an old source that was told FIN cannot have the port back: it could not be sent anything', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.say(CODE.COMPLETE, S)
    setup.clock.advance(10_000)
    b.reset()
    await turn()
    setup.vm.say(CODE.ABORT)
    expect(setup.port.state).toBe('offline')
  })

  test('ABORT on a connection that a newer one superseded brings nothing back [C42]', async () => {
    const { vm, server, port } = await stage()
    const next = await bootVm(server)
    next.reset()
    await turn()
    vm.say(CODE.ABORT)
    expect(port.state).toBe('offline')
  })
})

describe('a vMotion that does not end as it should', () => {
  test('the VM resumes in place without ABORT: its data after a second bring input back, and COMPLETE still counts [C47]', async () => {
    const setup = await stage()
    setup.vm.say(CODE.BEGIN, S)
    setup.console.type('typed')
    setup.clock.advance(1_000)
    setup.vm.print('in flight')
    expect(setup.vm.input).toBe('')
    setup.clock.advance(1)
    setup.vm.print(' I am back')
    expect(setup.vm.input).toBe('typed')
    expect(setup.port.state).toBe('online')
    const b = await migrateTo(setup.server, setup.vm.cookie)
    expect(b.said(CODE.PEER_OK)).toEqual(['01fff0'])
    b.say(CODE.COMPLETE, S)
    expect(setup.port.handover.source).toBe(b.session)
  })

  test('T_orphan with the source still there: it gets its input back, the destination is closed', async () => {
    const setup = await stage()
    const b = await peered(setup)
    setup.console.type('typed')
    b.print('void')
    setup.clock.advance(120_000)
    await turn()
    expect([setup.vm.input, b.input, b.ended]).toEqual(['typed', '', true])
    expect([setup.console.text, setup.port.state]).toEqual(['', 'online'])
    expect(setup.events.at(-1)).toMatchObject({ type: 'vmotion-timeout' })
  })

  test('T_orphan with nobody there: offline, listed, its input kept for the next connection [C46]', async () => {
    const setup = await stage()
    setup.vm.say(CODE.BEGIN, S)
    setup.vm.end()
    await turn()
    setup.console.type('typed')
    expect(setup.port.state).toBe('migrating')
    setup.clock.advance(120_000)
    expect(setup.port.state).toBe('offline')
    expect(setup.server.cookies.size).toBe(0)
    const next = await bootVm(setup.server)
    expect(next.input).toBe('typed')
    next.say(CODE.BEGIN, [2])
    expect(next.said(CODE.GOAHEAD)).toHaveLength(1)
  })

  test('the source is gone and COMPLETE never comes: data on the destination, or T_orphan, decide for it', async () => {
    for (const sign of ['data', 'time'] as const) {
      const setup = await stage()
      const b = await peered(setup)
      setup.console.type('typed')
      setup.vm.end()
      await turn()
      if (sign === 'data') b.print('B')
      else setup.clock.advance(120_000)
      expect([sign, b.input, setup.port.state, setup.port.vmotions]).toEqual([sign, 'typed', 'online', 1])
      expect(setup.console.text).toBe(sign === 'data' ? 'B' : '')
    }
  })

  test('output of a destination is bounded before COMPLETE: past it, it evidently runs there', async () => {
    const setup = await stage({ destinationOutputBytes: 2048 })
    const b = await peered(setup)
    b.print('x'.repeat(2000))
    expect(setup.port.state).toBe('migrating')
    b.print('y'.repeat(100))
    expect(setup.port.handover.source).toBe(b.session)
    setup.clock.advance(50)
    expect(setup.console.text).toBe(`${'x'.repeat(2000)}${'y'.repeat(100)}`)
  })

  test('output of a destination that fails is not shown, that of its successor is', async () => {
    const setup = await stage()
    const b = await peered(setup)
    b.print('void')
    b.reset()
    await turn()
    const c = await migrateTo(setup.server, setup.vm.cookie)
    c.print('held ')
    c.say(CODE.COMPLETE, S)
    c.print('live')
    setup.clock.advance(50)
    expect(setup.console.text).toBe('held live')
  })

  test('a secret that cannot be drawn: NOTNOW, an error in the log, a port that runs on [C50]', async () => {
    const setup = await stage({}, { random: (length) => new Uint8Array(length).fill(0xff) })
    setup.vm.say(CODE.BEGIN, S)
    setup.console.type('x')
    expect(setup.vm.said(CODE.NOTNOW)).toEqual(['01fff0'])
    expect(setup.vm.input).toBe('x')
    expect(setup.log.matching(/^error .*no vMotion secret/)).toHaveLength(1)
    expect(setup.server.counters.internalErrors).toBe(1)
  })

  test('a sequence longer than the limit is refused with itself, and logged without it', async () => {
    const setup = await stage({ maxSequenceBytes: 8 })
    setup.vm.say(CODE.BEGIN, new Uint8Array(9).fill(7))
    expect(setup.vm.said(CODE.NOTNOW)).toEqual(['07'.repeat(9)])
    setup.vm.say(CODE.BEGIN, new Uint8Array(8).fill(7))
    expect(setup.vm.said(CODE.GOAHEAD)[0]).toMatch(/^(07){8}/)
  })

  test('a destination that says it is another VM gets no PEER-OK, whatever it knows [C43]', async () => {
    const setup = await stage()
    setup.vm.say(CODE.BEGIN, S)
    const thief = new VmPeer(setup.server)
    await turn()
    thief.send([...HELLO, ...frame(CODE.VM_VC_UUID, bytesOf(UUID2)), ...frame(CODE.PEER, setup.vm.cookie)])
    expect(thief.said(CODE.PEER_OK)).toEqual([])
    const b = await migrateTo(setup.server, setup.vm.cookie)
    b.say(CODE.VM_VC_UUID, UUID)
    expect(b.said(CODE.PEER_OK)).toEqual(['01fff0'])
  })

  test('a vMotion may begin before the VM has said who it is: the port gets the best name there is [C22, C29]', async () => {
    const { server } = testServer()
    const vm = await bootVm(server, { uuid: null, name: 'hasty' })
    vm.say(CODE.BEGIN, S)
    expect(vm.said(CODE.GOAHEAD)).toHaveLength(1)
    const next = await migrateTo(server, vm.cookie)
    next.say(CODE.COMPLETE, S)
    expect(portOf(server, 'name:hasty').handover.source).toBe(next.session)
  })

  test('BEGIN before WILL-PROXY, or while the server stops: NOTNOW with the sequence alone [C33]', async () => {
    const { server } = testServer()
    const stranger = new VmPeer(server)
    await turn()
    stranger.send([...HELLO, ...frame(CODE.BEGIN, S)])
    expect(stranger.said(CODE.NOTNOW)).toEqual(['01fff0'])
    const vm = await bootVm(server)
    await server.stop()
    vm.say(CODE.BEGIN, S)
    expect([vm.said(CODE.NOTNOW), vm.said(CODE.GOAHEAD)]).toEqual([['01fff0'], []])
  })

  test('secrets never reach the log', async () => {
    const setup = await stage()
    const b = await peered(setup)
    const secret = setup.vm.cookie.subarray(S.length)
    b.say(CODE.PEER, [...setup.vm.cookie, 1])
    b.say(CODE.COMPLETE, S)
    const spelt = [Buffer.from(secret).toString('hex'), [...secret].join(), JSON.stringify(Buffer.from(secret))]
    for (const line of setup.log.lines) for (const text of spelt) expect(line).not.toContain(text)
  })
})

describe('what listeners may do', () => {
  test.each(['subscriber', 'console'] as const)(
    'a %s that throws costs no VM its connection, no BEGIN its one answer, and no timer [C50]',
    async (who) => {
      const setup = await stage()
      const fail = (): never => {
        throw new Error('a bug of somebody else')
      }
      if (who === 'subscriber') setup.server.subscribe(fail)
      else Object.assign(setup.console, { notify: fail, output: fail, setInputPaused: fail })
      setup.vm.print('x')
      setup.vm.say(CODE.BEGIN, S)
      expect(setup.vm.said(CODE.GOAHEAD)).toHaveLength(1)
      expect(setup.vm.said(CODE.NOTNOW)).toEqual([])
      setup.clock.advance(120_000)
      await turn()
      expect(setup.port.state).toBe('online')
      expect(setup.vm.ended).toBe(false)
    },
  )
})
