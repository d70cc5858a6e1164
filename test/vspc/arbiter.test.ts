import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { limitsWith, VspcError } from '../../src/base/index.ts'
import type { ConsoleAction, ConsoleMessage, ConsoleMode, ConsolePermit, Port } from '../../src/vspc/index.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bootVm, ID, turn, type VmPeer } from './vm-peer.ts'

interface Stage extends TestServer {
  vm: VmPeer
  port: Port
}

async function stage(...args: Parameters<typeof testServer>): Promise<Stage> {
  const setup = testServer(...args)
  const vm = await bootVm(setup.server)
  return { ...setup, vm, port: portOf(setup.server, ID) }
}

/** Messages since the last look, without what is the same in all of them. */
function news(console: TestConsole): object[] {
  return console.messages.splice(0).map((message) => {
    switch (message.type) {
      case 'writer':
        return { writer: message.mode, reason: message.reason, by: message.by?.who ?? null }
      case 'queued':
        return { queued: message.position, holders: message.holders.map(({ who }) => who) }
      case 'asked':
        return { asked: message.by.who, mode: message.mode }
      case 'said':
        return { said: message.text, from: message.from?.who ?? null }
      case 'error':
        return { error: message.code }
      default:
        return { type: message.type }
    }
  })
}

const SINGLE = { writers: 'single' } as const

async function three(limits: Parameters<typeof testServer>[0] = {}) {
  const set = await stage(limits, SINGLE)
  const alice = new TestConsole(set.port, { who: 'alice' })
  const bob = new TestConsole(set.port, { who: 'bob', mode: 'read' })
  const carol = new TestConsole(set.port, { who: 'carol', mode: 'read' })
  for (const one of [alice, bob, carol]) one.messages.length = 0
  return { ...set, alice, bob, carol }
}

const modes = (...consoles: TestConsole[]) => consoles.map(({ console }) => console.mode)
const wait = (console: TestConsole, mode: ConsoleMode = 'write') =>
  console.console.request({ type: 'mode', mode, wait: true })

describe('the queue', () => {
  test('who waits is told its place and who is in the way, who is in the way that it is asked; nobody else anything', async () => {
    const { alice, bob, carol } = await three()
    wait(bob)
    expect(news(bob)).toEqual([{ queued: 1, holders: ['alice'] }])
    expect(news(alice)).toEqual([{ asked: 'bob', mode: 'write' }])
    expect(news(carol)).toEqual([])
    wait(carol)
    expect(news(carol)).toEqual([{ queued: 2, holders: ['alice'] }])
    expect(news(alice)).toEqual([{ asked: 'carol', mode: 'write' }])
    expect(news(bob)).toEqual([])
    expect(alice.console.port.consoles.map(({ info }) => info.waiting)).toEqual([null, 1, 2])
  })

  test('when the writer leaves the first has its turn, and the second is told both that it is first and who holds now', async () => {
    const { vm, alice, bob, carol } = await three()
    wait(bob)
    wait(carol)
    for (const one of [alice, bob, carol]) one.messages.length = 0
    alice.console.detach()
    expect(modes(bob, carol)).toEqual(['write', 'read'])
    expect(news(bob)).toEqual([
      { queued: 0, holders: [] },
      { writer: 'write', reason: 'next in the queue: alice left', by: 'alice' },
      { asked: 'carol', mode: 'write' },
    ])
    expect(news(carol)).toEqual([
      { writer: 'read', reason: 'alice left', by: 'alice' },
      { queued: 1, holders: ['bob'] },
    ])
    bob.type('mine')
    carol.type('not yet')
    expect(vm.input).toBe('mine')
  })

  test('who only reads is never made to write, whoever leaves or yields', async () => {
    const { port, alice, bob, carol } = await three()
    alice.console.request({ type: 'yield' })
    expect(modes(alice, bob, carol)).toEqual(['read', 'read', 'read'])
    alice.console.request({ type: 'mode', mode: 'write' })
    alice.console.request({ type: 'yield', to: bob.console.id })
    expect(alice.told('error').at(-1)).toMatchObject({
      code: 'VSPC_CONSOLE_NOT_WAITING',
      message: expect.stringContaining('bob has not asked'),
    })
    wait(bob)
    bob.console.request({ type: 'cancel' })
    wait(carol)
    carol.console.request({ type: 'mode', mode: 'read' })
    alice.console.detach()
    expect(modes(bob, carol)).toEqual(['read', 'read'])
    expect(port.consoles.map(({ info }) => info.waiting)).toEqual([null, null])
  })

  test('the keyboard is handed over at once, past those who waited longer; both sides and the queue are told', async () => {
    const { alice, bob, carol, events } = await three()
    wait(bob)
    wait(carol)
    for (const one of [alice, bob, carol]) one.messages.length = 0
    events.length = 0
    alice.console.request({ type: 'yield', to: carol.console.id })
    expect(modes(alice, bob, carol)).toEqual(['read', 'read', 'write'])
    const reason = 'alice handed over to carol'
    expect(news(alice)).toEqual([{ writer: 'read', reason, by: 'alice' }])
    expect(news(carol)).toEqual([
      { queued: 0, holders: [] },
      { writer: 'write', reason, by: 'alice' },
      { asked: 'bob', mode: 'write' },
    ])
    expect(news(bob)).toEqual([{ writer: 'read', reason, by: 'alice' }])
    expect(events).toMatchObject([
      { type: 'console-mode', console: { who: 'alice', mode: 'read' }, by: 'alice', reason },
      { type: 'console-mode', console: { who: 'carol', mode: 'write' }, by: 'alice', reason },
    ])
  })

  test('a queue that is full takes nobody more, and says so', async () => {
    const { bob, carol } = await three({ maxConsoleQueue: 1 })
    wait(bob)
    wait(carol)
    expect(carol.told('error')).toMatchObject([
      { code: 'VSPC_CONSOLE_TOO_MANY', message: expect.stringContaining('"maxConsoleQueue"') },
    ])
    // Who stands there already asks for nothing new.
    wait(bob, 'exclusive')
    expect(bob.told('error')).toEqual([])
  })

  test('attaching with "wait" reads until it is its turn', async () => {
    const { port, alice } = await three()
    const dave = new TestConsole(port, { who: 'dave', wait: true })
    expect(dave.messages.map(({ type }) => type)).toEqual(['attached', 'writer', 'queued'])
    expect(dave.messages[0]).toMatchObject({ mode: 'read' })
    expect(news(alice)).toEqual([{ asked: 'dave', mode: 'write' }])
    alice.console.detach()
    expect(dave.console.mode).toBe('write')
    const free = new TestConsole(port, { who: 'eve', wait: true, mode: 'read' })
    expect(free.told('queued')).toEqual([])
  })

  test('asking again, cancelling what is not waiting and asking for what one has is answered, and changes nothing', async () => {
    const { alice, bob, carol } = await three()
    wait(bob)
    bob.messages.length = 0
    wait(bob)
    expect(news(bob)).toEqual([{ queued: 1, holders: ['alice'] }])
    carol.console.request({ type: 'cancel' })
    expect(news(carol)).toEqual([{ queued: 0, holders: [] }])
    alice.messages.length = 0
    alice.console.request({ type: 'mode', mode: 'write' })
    expect(news(alice)).toEqual([{ writer: 'write', reason: 'alice is now "write"', by: 'alice' }])
    expect(news(bob)).toEqual([])
  })

  test('under "shared" only what is exclusive makes anybody wait', async () => {
    const { port } = await stage()
    const alice = new TestConsole(port, { who: 'alice' })
    const bob = new TestConsole(port, { who: 'bob', mode: 'read' })
    wait(bob)
    expect(bob.console.mode).toBe('write')
    wait(bob, 'exclusive')
    expect(bob.console.mode).toBe('write')
    expect(bob.told('queued').at(-1)).toMatchObject({ position: 1, holders: [{ who: 'alice' }] })
    alice.console.request({ type: 'mode', mode: 'read' })
    expect(bob.console.mode).toBe('exclusive')
  })

  test('a policy that is relaxed while the server runs lets in who waits', async () => {
    const { server, bob } = await three()
    wait(bob)
    bob.messages.length = 0
    server.reconfigure({ serviceUris: [], writers: 'shared', limits: server.limits })
    expect(bob.console.mode).toBe('write')
    expect(news(bob)).toEqual([
      { queued: 0, holders: [] },
      { writer: 'write', reason: expect.stringContaining('settings have changed'), by: null },
    ])
  })
})

describe('idle take-over', () => {
  const IDLE = { writerIdleMs: 60_000 }

  test('a holder that types nothing while somebody waits gives way; both are told why, and the queue moves on', async () => {
    const { clock, alice, bob, carol, events } = await three(IDLE)
    clock.advance(1_000_000)
    wait(bob)
    expect(bob.told('queued')).toMatchObject([{ idleTakeoverMs: 60_000 }])
    expect(alice.told('asked')).toMatchObject([{ idleTakeoverMs: 60_000 }])
    clock.advance(59_999)
    expect(modes(alice, bob)).toEqual(['write', 'read'])
    for (const one of [alice, bob, carol]) one.messages.length = 0
    events.length = 0
    clock.advance(1)
    expect(modes(alice, bob)).toEqual(['read', 'write'])
    const reason = 'alice typed nothing for 60 s while bob waited'
    expect(news(alice)).toEqual([{ writer: 'read', reason, by: 'bob' }])
    expect(news(bob).at(-1)).toMatchObject({ writer: 'write', reason: expect.stringContaining(reason) })
    expect(events).toMatchObject([
      { type: 'console-mode', console: { who: 'alice', mode: 'read' }, by: 'bob' },
      { type: 'console-mode', console: { who: 'bob', mode: 'write' }, by: 'bob' },
    ])
    expect(clock.pending).toBe(0)
  })

  test('who types keeps the keyboard, and a key sets the time back to the whole', async () => {
    const { clock, alice, bob } = await three(IDLE)
    wait(bob)
    for (let i = 0; i < 10; i++) {
      clock.advance(50_000)
      alice.type('x')
    }
    expect(modes(alice, bob)).toEqual(['write', 'read'])
    clock.advance(59_999)
    expect(alice.console.mode).toBe('write')
    clock.advance(1)
    expect(modes(alice, bob)).toEqual(['read', 'write'])
  })

  test('a timer runs only while somebody waits, and one at most', async () => {
    const { clock, server, alice, bob, carol } = await three(IDLE)
    const before = clock.pending
    alice.type('x')
    expect(clock.pending).toBe(before)
    wait(bob)
    wait(carol)
    expect(clock.pending).toBe(before + 1)
    carol.console.request({ type: 'cancel' })
    bob.console.detach()
    expect(clock.pending).toBe(before)
    wait(carol)
    server.reconfigure({ serviceUris: [], writers: 'single', limits: { ...server.limits, writerIdleMs: 0 } })
    expect(clock.pending).toBe(before)
    server.reconfigure({ serviceUris: [], writers: 'single', limits: { ...server.limits, writerIdleMs: 10 } })
    expect(clock.pending).toBe(before + 1)
    clock.advance(10)
    expect(carol.console.mode).toBe('write')
    expect(clock.pending).toBe(before)
  })

  test('a program at the other end of the line is never idle', async () => {
    const { clock, port, alice, bob } = await three(IDLE)
    alice.console.detach()
    new TestConsole(port, { who: 'program', via: 'forward' })
    wait(bob)
    expect(bob.told('queued').at(-1)).toMatchObject({ idleTakeoverMs: null })
    clock.advance(1_000_000)
    expect(bob.console.mode).toBe('read')
  })
})

describe('kick and say', () => {
  test('who is kicked is told by whom and why, and closed; the others are told, the queue moves on', async () => {
    const { alice, bob, carol, events } = await three()
    wait(carol)
    for (const one of [alice, bob, carol]) one.messages.length = 0
    events.length = 0
    bob.console.request({ type: 'kick', console: alice.console.id, reason: ' lunch\x1b[2J\n' })
    expect(alice.messages).toEqual([
      { type: 'detached', reason: 'kicked by bob: lunch[2J', code: 'VSPC_CONSOLE_KICKED' },
    ])
    expect(alice.closedFor).toBe('kicked by bob: lunch[2J')
    expect(news(bob)).toEqual([{ writer: 'read', reason: 'alice was kicked by bob: lunch[2J', by: 'bob' }])
    expect(carol.console.mode).toBe('write')
    expect(events.map(({ type }) => type)).toEqual(['console-kicked', 'console-detached', 'console-mode'])
    expect(events[0]).toMatchObject({ console: { who: 'alice', mode: 'write' }, by: 'bob', reason: 'lunch[2J' })
  })

  test('that a reader was kicked, the others hear too', async () => {
    const { alice, bob, carol } = await three()
    alice.console.request({ type: 'kick', console: carol.console.id })
    expect(news(carol)).toEqual([{ type: 'detached' }])
    for (const one of [alice, bob]) expect(news(one)).toEqual([{ said: 'carol was kicked by alice', from: null }])
    alice.console.request({ type: 'kick', console: carol.console.id })
    expect(news(alice)).toEqual([{ error: 'VSPC_CONSOLE_NOT_FOUND' }])
  })

  test('what is said reaches all consoles of the port, cleaned and cut; nothing to say is an error', async () => {
    const { alice, bob, carol, vm, events } = await three()
    events.length = 0
    bob.console.request({ type: 'say', text: `reboot\nin 5 min\x1b]0;x\x07${'!'.repeat(600)}` })
    for (const one of [alice, bob, carol]) {
      const [said] = one.told('said')
      expect(said).toMatchObject({ from: { who: 'bob' }, text: expect.stringMatching(/^reboot in 5 min\]0;x!+$/) })
      expect(said?.text).toHaveLength(500)
    }
    expect(vm.input).toBe('')
    expect(events).toMatchObject([{ type: 'console-said', by: 'bob', text: expect.stringMatching(/^reboot/) }])
    bob.console.request({ type: 'say', text: ' \x07 ' })
    expect(bob.told('error')).toMatchObject([{ code: 'VSPC_REQUEST_INVALID' }])
  })
})

describe('permits', () => {
  /** Allows what is listed, and keeps a record. */
  class TestPermit implements ConsolePermit {
    readonly asked: string[] = []
    allowed: readonly ConsoleAction[]

    constructor(...allowed: ConsoleAction[]) {
      this.allowed = allowed
    }

    check(action: ConsoleAction, detail?: string): void {
      this.asked.push(detail === undefined ? action : `${action} ${detail}`)
      if (!this.allowed.includes(action)) throw new VspcError('VSPC_ACCESS_DENIED', `no right to "${action}"`)
    }

    may(action: ConsoleAction): boolean {
      return this.allowed.includes(action)
    }
  }

  test('attaching is refused without leaving anything behind', async () => {
    const { port, server, clock } = await stage()
    const before = clock.pending
    const permit = new TestPermit('read')
    expect(() => new TestConsole(port, { permit })).toThrow(expect.objectContaining({ code: 'VSPC_ACCESS_DENIED' }))
    expect(permit.asked).toEqual(['read', 'write'])
    expect([port.consoles.length, port.consoleGroup, clock.pending]).toEqual([0, null, before])
    expect(server.counters.consolesAttached).toBe(0)
    const reader = new TestConsole(port, { permit, mode: 'read' })
    expect(reader.told('attached')[0]?.may).toEqual(['read'])
  })

  test('each request asks for its own right, with its target; a refusal changes nothing', async () => {
    const { port, vm } = await stage({}, SINGLE)
    const alice = new TestConsole(port, { who: 'alice' })
    const permit = new TestPermit('read')
    const spy = new TestConsole(port, { who: 'spy', mode: 'read', permit })
    const { console } = spy
    console.request({ type: 'mode', mode: 'write' })
    console.request({ type: 'kick', console: alice.console.id })
    console.request({ type: 'say', text: 'hello' })
    expect(spy.told('error').map(({ code }) => code)).toEqual(Array(3).fill('VSPC_ACCESS_DENIED'))
    permit.allowed = ['read', 'write']
    console.request({ type: 'mode', mode: 'write', wait: true })
    console.request({ type: 'mode', mode: 'write', force: true })
    expect(spy.told('error')).toHaveLength(5)
    const [me, her] = [`console ${console.id}`, `console ${alice.console.id} (alice)`]
    expect(permit.asked).toEqual([
      'read',
      `write ${me}`,
      `kick ${her}`,
      'say',
      `write ${me}`,
      `request ${her}`,
      `write ${me}`,
      `force ${her}`,
    ])
    expect(modes(alice, spy)).toEqual(['write', 'read'])
    // Nobody in the way: force is not needed, and not asked for.
    alice.console.detach()
    console.request({ type: 'mode', mode: 'write', force: true })
    expect(console.mode).toBe('write')
    console.request({ type: 'break' })
    expect(permit.asked.at(-1)).toBe('break')
    expect(vm.input).toBe('')
  })

  test('who may not know the others hears of itself, so that whoever waits for the answer goes on', async () => {
    const { port } = await stage()
    new TestConsole(port, { who: 'alice' })
    const spy = new TestConsole(port, { who: 'spy', mode: 'read', permit: new TestPermit('read') })
    spy.console.request({ type: 'who' })
    expect(spy.told('consoles').map(({ consoles }) => consoles.map(({ who }) => who))).toEqual([['spy']])
  })

  test('a right that ends makes a reader of a writer, and takes it out of the queue; its input goes nowhere', async () => {
    const { vm, alice, bob, carol } = await three()
    wait(bob)
    wait(carol)
    bob.console.demote('the token was removed')
    expect(bob.told('queued').at(-1)).toMatchObject({ position: 0, reason: 'the token was removed' })
    alice.messages.length = 0
    alice.console.demote('the token was removed')
    expect(news(alice)).toEqual([{ writer: 'read', reason: 'the token was removed', by: null }])
    alice.type('rm -rf /')
    carol.type('ok')
    expect(vm.input).toBe('ok')
    expect(modes(bob, carol)).toEqual(['read', 'write'])
  })
})

test('when the server stops nobody hears that it is its turn, and no timer stays', async () => {
  const { server, clock, alice, bob } = await three({ writerIdleMs: 1_000 })
  wait(bob)
  bob.messages.length = 0
  const stopped = server.stop()
  await turn()
  expect(news(bob)).toEqual([{ type: 'detached' }])
  expect(alice.console.detached && bob.console.detached).toBe(true)
  clock.advance(10_000)
  await stopped
  expect(clock.pending).toBe(0)
})

test('who leaves, or asks, while it is being told, changes nothing about what the others are told, nor about its order', async () => {
  const { port } = await stage({}, SINGLE)
  const alice = new TestConsole(port, { who: 'alice' })
  const bob = new TestConsole(port, { who: 'bob', mode: 'read' })
  const carol = new TestConsole(port, { who: 'carol', mode: 'read' })
  wait(bob)
  wait(carol)
  // Bob goes in the moment in which it is his turn.
  const { notify } = bob
  bob.notify = (message: ConsoleMessage) => {
    notify.call(bob, message)
    if (message.type === 'writer') bob.console.detach()
  }
  for (const one of [alice, carol]) one.messages.length = 0
  alice.console.request({ type: 'yield' })
  expect(carol.console.mode).toBe('write')
  expect(news(carol)).toEqual([
    { writer: 'read', reason: 'alice handed over to bob', by: 'alice' },
    { queued: 1, holders: ['bob'] },
    { queued: 0, holders: [] },
    { writer: 'write', reason: 'next in the queue: bob left', by: 'bob' },
  ])
  expect(alice.told('writer').map(({ reason, writers }) => [reason, ...writers.map(({ who }) => who)])).toEqual([
    ['alice handed over to bob', 'bob'],
    ['bob left', 'carol'],
  ])
})

test('consoles that come, wait, are served and go leave no timer and no memory of the port behind', async () => {
  const { port, clock } = await stage({ writerIdleMs: 1_000 }, SINGLE)
  const before = clock.pending
  for (let i = 0; i < 50; i++) {
    const all = Array.from({ length: 5 }, () => new TestConsole(port, { wait: true }))
    clock.advance(1_500)
    for (const { console } of all) console.detach()
  }
  expect([port.consoleGroup, clock.pending]).toEqual([null, before])
})

test('random lives: what each console was told is what is true, and only writers reach the VM', async () => {
  const step = fc.record({
    who: fc.nat({ max: 3 }),
    does: fc.constantFrom(
      'mode',
      'mode',
      'mode',
      'cancel',
      'yield',
      'kick',
      'detach',
      'demote',
      'type',
      'time',
      'policy',
    ),
    mode: fc.constantFrom<ConsoleMode>('read', 'write', 'exclusive'),
    force: fc.boolean(),
    wait: fc.boolean(),
    other: fc.nat({ max: 3 }),
    ms: fc.constantFrom(100, 400, 1_000),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('shared', 'single' as const),
      fc.array(step, { maxLength: 40 }),
      async (writers, steps) => {
        const { port, server, vm, clock } = await stage({ writerIdleMs: 1_000, maxConsoleQueue: 2 }, { writers })
        const idlePending = clock.pending
        const seats: (TestConsole | null)[] = [null, null, null, null]
        let typed = ''
        for (const { who, does, mode, force, wait: waits, other, ms } of steps) {
          const seat = seats[who] ?? null
          if (seat === null) {
            try {
              seats[who] = new TestConsole(port, { who: `${who}`, mode, force, wait: waits })
            } catch (error) {
              if (!(error instanceof VspcError)) throw error
            }
          } else if (does === 'mode') seat.console.request({ type: 'mode', mode, force, wait: waits })
          else if (does === 'cancel') seat.console.request({ type: 'cancel' })
          else if (does === 'yield') {
            const to = seats[other]?.console.id
            seat.console.request(to === undefined ? { type: 'yield' } : { type: 'yield', to })
          } else if (does === 'kick') {
            seat.console.request({ type: 'kick', console: seats[other]?.console.id ?? 0 })
          } else if (does === 'detach') seat.console.detach()
          else if (does === 'demote') seat.console.demote('so')
          else if (does === 'type') {
            if (seat.console.mode !== 'read') typed += who
            seat.type(`${who}`)
          } else if (does === 'time') clock.advance(ms)
          else {
            const policy = server.writers === 'single' ? 'shared' : 'single'
            server.reconfigure({ serviceUris: [], writers: policy, limits: limitsWith({ ...server.limits }) })
          }
          for (let at = 0; at < seats.length; at++) if (seats[at]?.console.detached) seats[at] = null
          const there = seats.filter((one) => one !== null)
          expect(port.consoles.map(({ id }) => id).sort()).toEqual(there.map(({ console }) => console.id).sort())
          let waiting = 0
          const writing = there.filter(({ console }) => console.mode !== 'read').map(({ console }) => console.id)
          for (const one of there) {
            const { console } = one
            const told = [...one.told('attached'), ...one.told('writer')].at(-1)
            expect(told?.mode).toBe(console.mode)
            const place = one.told('queued').at(-1)?.position ?? 0
            expect(console.info.waiting).toBe(place === 0 ? null : place)
            if (place > 0) waiting++
            // Who writes is known to everybody who was ever told.
            const writersTold = one
              .told('writer')
              .at(-1)
              ?.writers.map(({ id }) => id)
            if (writersTold !== undefined) expect([...writersTold].sort()).toEqual([...writing].sort())
          }
          expect(clock.pending - idlePending).toBe(waiting > 0 ? 1 : 0)
          expect(vm.input).toBe(typed)
        }
      },
    ),
    { numRuns: 150 },
  )
})
