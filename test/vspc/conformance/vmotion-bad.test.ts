import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { ManualClock } from '../../../src/base/index.ts'
import type { SimConnection } from '../../../src/sim/index.ts'
import {
  Bench,
  begin,
  bytes,
  type Granted,
  hex,
  inputBehind,
  inputOf,
  saidTo,
  sequenceOf,
  settled,
  subPayload,
  type TestConsole,
  vmFacts,
} from './support.ts'

const VM_ONE = vmFacts(1)

/** What the port does when nothing is wrong: output, input, and a vMotion. */
async function healthy(bench: Bench, vm: SimConnection, user: TestConsole): Promise<void> {
  vm.data('healthy?')
  await user.expectText('healthy?')
  user.type('healthy!')
  await vm.expectData('healthy!')
  const moved = await bench.migrate(vm)
  user.type('moved!')
  await moved.expectData('moved!')
  expect(bench.port().state).toBe('online')
  expect(bench.server.cookies.size).toBe(0)
}

async function peerIsRefused(bench: Bench, cookie: Uint8Array, n = 1): Promise<SimConnection> {
  const late = await bench.destination(cookie, n)
  await settled(late)
  expect(saidTo(late)).not.toContain('VMOTION-PEER-OK')
  return late
}

// C41

test('C41: ABORT after GOAHEAD: held input goes to the source at once, and the cookie is dead', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie } = await begin(source)
  user.type('typed while frozen')
  source.abortVmotion()
  await source.expectData('typed while frozen')
  await peerIsRefused(bench, cookie)
  await healthy(bench, source, user)
})

test('C41: ABORT after PEER-OK: the destination is closed, what it said is void, the source goes on', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  source.data('before|')
  const { cookie, sequence } = await begin(source)
  const destination = await bench.peered(cookie)
  destination.data('never happened|')
  await settled(destination)
  user.type('typed while frozen')
  source.abortVmotion()
  await source.expectData('typed while frozen')
  destination.complete(sequence)
  destination.data('nor this|')
  expect((await destination.closed).how).toBe('proxy-fin')
  source.data('after|')
  await user.expectText('after|')
  expect(user.text).toBe('before|after|')
  await peerIsRefused(bench, cookie)
  await healthy(bench, source, user)
})

test('C41: bytes behind ABORT are tolerated', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  const { sequence } = await begin(source)
  user.type('held')
  source.abortVmotion(sequence)
  await source.expectData('held')
})

test('C41: ABORT while BEGIN still waits for the VM to read: no GOAHEAD follows, no input is lost', async () => {
  const bench = await Bench.start({ listen: 'unix', clock: new ManualClock() })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  user.typeUntilPaused()
  vm.begin(sequenceOf())
  vm.abortVmotion()
  vm.data('mark')
  await user.expectText('mark')
  vm.resumeReading()
  await user.untilPaused(false)
  user.type('END')
  await vm.expectData('END')
  await settled(vm)
  expect(saidTo(vm).filter((name) => name.startsWith('VMOTION'))).toEqual([])
})

// C42

interface Scene {
  readonly source: SimConnection
  readonly destination: SimConnection
  readonly stranger: SimConnection
  readonly newcomer: SimConnection
  readonly granted: Granted
}

type Side = Exclude<keyof Scene, 'granted'>

const WITHOUT_EFFECT: [name: string, side: Side, act: (vm: SimConnection, granted: Granted) => void][] = [
  ['ABORT on the destination', 'destination', (vm) => vm.abortVmotion()],
  ['ABORT on another VM', 'stranger', (vm) => vm.abortVmotion()],
  ['ABORT on a connection that never introduced itself', 'newcomer', (vm) => vm.abortVmotion()],
  ['COMPLETE on the source', 'source', (vm, { sequence }) => vm.complete(sequence)],
  ['COMPLETE on another VM', 'stranger', (vm, { sequence }) => vm.complete(sequence)],
  ['COMPLETE on a connection that never introduced itself', 'newcomer', (vm, { sequence }) => vm.complete(sequence)],
  ['COMPLETE with another sequence', 'destination', (vm, { sequence }) => vm.complete(sequence.map((b) => b ^ 1))],
  ['COMPLETE with half of the sequence', 'destination', (vm, { sequence }) => vm.complete(sequence.subarray(0, 2))],
  ['COMPLETE with sequence and secret', 'destination', (vm, { cookie }) => vm.complete(cookie)],
  ['COMPLETE without sequence', 'destination', (vm) => vm.complete(new Uint8Array(0))],
]

async function openVmotion(bench: Bench): Promise<Scene> {
  const source = await bench.attach()
  const stranger = await bench.attach(2)
  const newcomer = await bench.introduced()
  const granted = await begin(source)
  return { source, stranger, newcomer, granted, destination: await bench.peered(granted.cookie) }
}

/** The vMotion of the scene is as it was: open, input held, nobody closed; and it can be completed. */
async function stillOpen(bench: Bench, scene: Scene, user: TestConsole): Promise<void> {
  const { source, destination, stranger, granted } = scene
  for (const vm of [source, destination, stranger]) {
    await settled(vm)
    expect(inputOf(vm)).toBe('')
    expect(vm.canSend).toBe(true)
  }
  expect(bench.port().state).toBe('migrating')
  source.fin()
  destination.complete(granted.sequence)
  await destination.expectData('held')
  await healthy(bench, destination, user)
  expect(bench.port(vmFacts(2).id).state).toBe('online')
}

test.each(WITHOUT_EFFECT)('C42: %s has no effect: the open vMotion still completes', async (_, side, act) => {
  const bench = await Bench.start()
  const scene = await openVmotion(bench)
  const user = bench.console()
  user.type('held')
  act(scene[side], scene.granted)
  await settled(scene[side])
  await stillOpen(bench, scene, user)
})

test('C42: all of these a hundred times over have no effect either', async () => {
  const bench = await Bench.start()
  const scene = await openVmotion(bench)
  const user = bench.console()
  user.type('held')
  for (let i = 0; i < 100; i++) for (const [, side, act] of WITHOUT_EFFECT) act(scene[side], scene.granted)
  await settled(scene.newcomer)
  await stillOpen(bench, scene, user)
})

test('C42: ABORT, COMPLETE and PEER without any BEGIN: nothing happens to a running port', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const user = bench.console()
  for (let i = 0; i < 10; i++) {
    vm.abortVmotion()
    vm.complete(bytes('01020304'))
    vm.suboption(44, bytes('0102030405060708'))
  }
  await settled(vm)
  expect(saidTo(vm).filter((name) => name.startsWith('VMOTION'))).toEqual([])
  await healthy(bench, vm, user)
})

test('C42: COMPLETE between GOAHEAD and PEER, on either side, has no effect', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const destination = await bench.introduced()
  destination.complete(sequence)
  source.complete(sequence)
  await settled(source)
  await settled(destination)
  user.type('held')
  await settled(source)
  expect(inputOf(source)).toBe('')
  destination.suboption(44, cookie)
  await destination.expect('VMOTION-PEER-OK')
  destination.complete(sequence)
  await destination.expectData('held')
})

test('C42: repeated COMPLETE, and whatever the old source says after it, change nothing any more', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const destination = await bench.peered(cookie)
  for (let i = 0; i < 5; i++) destination.complete(sequence)
  await settled(destination)
  source.abortVmotion()
  source.complete(sequence)
  source.begin(sequenceOf())
  source.doProxy('S', 'vSPC.py')
  source.suboption(44, cookie)
  await source.expect('VMOTION-NOTNOW')
  await settled(source)
  expect(saidTo(source)).not.toContain('VMOTION-PEER-OK')
  user.type('in')
  await destination.expectData('in')
  expect(inputOf(source)).toBe('')
  expect(bench.port().vmotions).toBe(1)
  await healthy(bench, destination, user)
})

// C43

const FORGERIES: [name: string, forge: (good: Granted, other: Granted) => Uint8Array][] = [
  ['of random bytes', ({ cookie }) => randomBytes(cookie.length)],
  [
    'with one bit of the secret changed',
    ({ cookie }) => cookie.map((byte, i) => (i === cookie.length - 1 ? byte ^ 1 : byte)),
  ],
  ['with one bit of the sequence changed', ({ cookie }) => cookie.map((byte, i) => (i === 0 ? byte ^ 1 : byte))],
  ['truncated', ({ cookie }) => cookie.slice(0, -1)],
  ['without its beginning', ({ cookie }) => cookie.slice(1)],
  ['extended', ({ cookie }) => Uint8Array.of(...cookie, 0)],
  ['extended in front', ({ cookie }) => Uint8Array.of(0, ...cookie)],
  ['of the sequence alone', ({ sequence }) => sequence],
  ['of the secret alone', ({ secret }) => secret],
  ['with the secret in front', ({ sequence, secret }) => Uint8Array.of(...secret, ...sequence)],
  ['with the secret of another port', ({ sequence }, other) => Uint8Array.of(...sequence, ...other.secret)],
  ['repeated', ({ cookie }) => Uint8Array.of(...cookie, ...cookie)],
  ['of zeros', ({ cookie }) => new Uint8Array(cookie.length)],
  ['of 256 bytes', ({ cookie }) => Uint8Array.of(...cookie, ...new Uint8Array(256 - cookie.length))],
]

test.each(FORGERIES)(
  'C43: a cookie %s gets no PEER-OK, no input and no output; the open vMotion still completes',
  async (_, forge) => {
    const clock = new ManualClock()
    const bench = await Bench.start({ clock })
    const source = await bench.attach(1)
    const other = await bench.attach(2)
    const user = bench.console()
    const good = await begin(source, bytes('01020304'))
    const second = await begin(other, bytes('05060708'))
    // The thief names the right VM: that must not help.
    const thief = await bench.destination(forge(good, second))
    user.type('secret input')
    thief.complete(good.sequence)
    thief.data('stolen')
    await settled(thief)
    expect(saidTo(thief).filter((name) => name.startsWith('VMOTION'))).toEqual([])
    expect([inputOf(thief), user.text]).toEqual(['', ''])
    const destination = await bench.peered(good.cookie)
    source.fin()
    destination.complete(good.sequence)
    await destination.expectData('secret input')
    // No answer exists in the protocol: silence, then, much later, the end.
    await settled(thief)
    clock.advance(10_000)
    expect((await thief.closed).how).toBe('proxy-fin')
    expect(inputOf(thief)).toBe('')
    expect(JSON.stringify(bench.log.lines)).not.toContain(hex(good.secret))
  },
)

test('C43: a cookie replayed after its vMotion, and one superseded by a newer BEGIN, move nothing', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const superseded = await begin(source)
  const used = await begin(source)
  await peerIsRefused(bench, superseded.cookie)
  const destination = await bench.peered(used.cookie)
  source.fin()
  destination.complete(used.sequence)
  await settled(destination)
  const replays = [await peerIsRefused(bench, used.cookie), await peerIsRefused(bench, superseded.cookie)]
  for (const replay of replays) {
    replay.complete(used.sequence)
    replay.data('me!')
    await settled(replay)
  }
  await healthy(bench, destination, user)
  for (const replay of replays) expect(inputOf(replay)).toBe('')
})

test('C43: the right cookie from a connection that runs another port, or the port itself, is not accepted', async () => {
  const bench = await Bench.start()
  const source = await bench.attach(1)
  const other = await bench.attach(2)
  const users = [bench.console(vmFacts(1).id), bench.console(vmFacts(2).id)]
  const { cookie, sequence } = await begin(source)
  for (const vm of [source, other]) {
    vm.suboption(44, cookie)
    vm.complete(sequence)
    await settled(vm)
    expect(saidTo(vm)).not.toContain('VMOTION-PEER-OK')
  }
  source.abortVmotion()
  users[0]?.type('to the first')
  users[1]?.type('to the second')
  await source.expectData('to the first')
  await other.expectData('to the second')
})

test('C43: the right cookie from a VM whose known UUID is another is not accepted', async () => {
  const bench = await Bench.start()
  const source = await bench.attach(1)
  const { cookie } = await begin(source)
  const wrong = await bench.introduced()
  wrong.vcUuid(vmFacts(2).esxUuid)
  wrong.suboption(44, cookie)
  await settled(wrong)
  expect(saidTo(wrong)).not.toContain('VMOTION-PEER-OK')
  const right = await bench.introduced()
  right.vcUuid(vmFacts(1).esxUuid)
  right.suboption(44, cookie)
  await right.expect('VMOTION-PEER-OK')
})

test('C43: two open vMotions of one VM with one sequence: each cookie opens its own port and no other', async () => {
  const bench = await Bench.start()
  const a = await bench.attach(1, 'vSPC.py?port=a')
  const b = await bench.attach(1, 'vSPC.py?port=b')
  const userA = bench.console(`${VM_ONE.id}:a`)
  const userB = bench.console(`${VM_ONE.id}:b`)
  const sequence = sequenceOf()
  const grantedA = await begin(a, sequence)
  await begin(b, sequence)
  const destination = await bench.peered(grantedA.cookie)
  destination.complete(sequence)
  userA.type('moved')
  userB.type('held')
  await destination.expectData('moved')
  await settled(b)
  expect(inputOf(b)).toBe('')
  b.abortVmotion()
  await b.expectData('held')
})

// C44

test('C44: BEGIN again with the same sequence gets the same GOAHEAD again', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const sequence = sequenceOf()
  const first = await begin(source, sequence)
  const second = await begin(source, sequence)
  expect(hex(second.cookie)).toBe(hex(first.cookie))
  const destination = await bench.peered(first.cookie)
  const third = await begin(source, sequence)
  expect(hex(third.cookie)).toBe(hex(first.cookie))
  user.type('held')
  source.fin()
  destination.complete(sequence)
  await destination.expectData('held')
})

test('C44: BEGIN with a new sequence gets a new GOAHEAD, unlinks the destination; only the newest cookie is valid', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const first = await begin(source)
  const early = await bench.peered(first.cookie)
  const second = await begin(source)
  expect((await early.closed).how).toBe('proxy-fin')
  const third = await begin(source)
  for (const dead of [first, second]) await peerIsRefused(bench, dead.cookie)
  user.type('held')
  const destination = await bench.peered(third.cookie)
  destination.complete(first.sequence)
  await settled(destination)
  expect(inputOf(destination)).toBe('')
  destination.complete(third.sequence)
  await destination.expectData('held')
  expect(bench.server.cookies.size).toBe(0)
})

test('C44: thirty BEGINs, answered or given up in every way, and the next one is granted', async () => {
  const bench = await Bench.start()
  let vm = await bench.attach()
  const user = bench.console()
  for (let i = 0; i < 10; i++) {
    await begin(vm)
    const given = await begin(vm)
    if (i % 2 === 0) vm.abortVmotion()
    else (await bench.peered(given.cookie)).reset()
    await begin(vm)
    if (i % 3 === 0) vm = await bench.attach()
  }
  vm.abortVmotion()
  await healthy(bench, vm, user)
})

test('C44: BEGIN again while the VM does not read: the newest is answered, and its cookie is the valid one', async () => {
  const bench = await Bench.start({ listen: 'unix', clock: new ManualClock() })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  user.typeUntilPaused()
  const sequences = [sequenceOf(), sequenceOf()] as const
  vm.begin(sequences[0])
  vm.begin(sequences[0])
  vm.begin(sequences[1])
  vm.data('mark')
  await user.expectText('mark')
  vm.resumeReading()
  let cookie = await subPayload(vm, 'VMOTION-GOAHEAD')
  if (hex(cookie.subarray(0, 4)) !== hex(sequences[1])) cookie = await subPayload(vm, 'VMOTION-GOAHEAD')
  expect(hex(cookie.subarray(0, 4))).toBe(hex(sequences[1]))
  await settled(vm)
  expect(inputBehind(vm, 'VMOTION-GOAHEAD')).toBe(0)
  const destination = await bench.peered(cookie)
  destination.complete(sequences[1])
  await user.untilPaused(false)
  user.type('END')
  await destination.expectData('END')
})

// C45

test.each(['fin', 'reset'] as const)(
  'C45: the destination drops (%s) before COMPLETE: the source goes on after ABORT',
  async (how) => {
    const bench = await Bench.start({ clock: new ManualClock() })
    const source = await bench.attach()
    const user = bench.console()
    const { cookie } = await begin(source)
    const destination = await bench.peered(cookie)
    destination.data('never happened')
    user.type('held')
    await settled(destination)
    destination[how]()
    await destination.closed
    await settled(source)
    expect(inputOf(source)).toBe('')
    source.abortVmotion()
    await source.expectData('held')
    source.data('goes on')
    await user.expectText('goes on')
    expect(user.text).toBe('goes on')
    await healthy(bench, source, user)
  },
)

test.each(['fin', 'reset'] as const)(
  'C45: the destination drops (%s): a new one may show the same cookie, source there or not',
  async (how) => {
    for (const sourceGone of [false, true]) {
      const bench = await Bench.start({ clock: new ManualClock() })
      const source = await bench.attach()
      const user = bench.console()
      const { cookie, sequence } = await begin(source)
      if (sourceGone) {
        source.fin()
        await source.closed
      }
      const first = await bench.peered(cookie)
      user.type('held')
      await bench.end(first, how)
      const second = await bench.peered(cookie)
      second.complete(sequence)
      await second.expectData('held')
      await settled(second)
      second.data('here')
      if (!sourceGone) source.fin()
      await user.expectText('here')
      expect(bench.port().vmotions).toBe(1)
    }
  },
)

test('C45: a second destination with the same cookie while the first is up: the newest wins, the first is closed', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const first = await bench.peered(cookie)
  first.data('never happened|')
  await settled(first)
  const second = await bench.peered(cookie)
  first.complete(sequence)
  expect((await first.closed).how).toBe('proxy-fin')
  expect(bench.port().state).toBe('migrating')
  user.type('held')
  source.fin()
  second.complete(sequence)
  await second.expectData('held')
  second.data('here')
  await user.expectText('here')
  expect(user.text).toBe('here')
})

// C46

test.each(['fin', 'reset'] as const)(
  'C46: source lost (%s), no destination: listed as migrating until T_orphan, then offline; the next connection gets all',
  async (how) => {
    const clock = new ManualClock()
    const bench = await Bench.start({ clock })
    const source = await bench.attach()
    const user = bench.console()
    source.data('before|')
    const { cookie } = await begin(source)
    user.type('held ')
    await bench.end(source, how)
    clock.advance(119_999)
    expect(bench.port().state).toBe('migrating')
    clock.advance(1)
    expect(bench.port().state).toBe('offline')
    expect(bench.portIds).toEqual([VM_ONE.id])
    expect(user.closed).toBeNull()
    expect(bench.count('vmotion-timeout')).toBe(1)
    await peerIsRefused(bench, cookie)
    user.type('typed offline')
    const back = await bench.attach()
    await back.expectData('held typed offline')
    back.data('after')
    await user.expectText('after')
    expect(user.text).toBe('before|after')
    await healthy(bench, back, user)
  },
)

test.each([
  ['destination first', true],
  ['source first', false],
])(
  'C46: destination and source lost, %s: offline after T_orphan, not running on a dead connection',
  async (_, first) => {
    const clock = new ManualClock()
    const bench = await Bench.start({ clock })
    const source = await bench.attach()
    const user = bench.console()
    const { cookie } = await begin(source)
    const destination = await bench.peered(cookie)
    user.type('held')
    for (const lost of first ? [destination, source] : [source, destination]) await bench.end(lost, 'reset')
    clock.advance(120_000)
    expect(bench.port().info()).toMatchObject({ state: 'offline', vmotions: 0, consoles: 1 })
    const back = await bench.attach()
    await back.expectData('held')
    await healthy(bench, back, user)
  },
)

test('C46: the VM reconnects on its own before T_orphan: it gets the port and what was held, the cookie dies', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie } = await begin(source)
  user.type('held')
  await bench.end(source, 'reset')
  const back = await bench.attach()
  await back.expectData('held')
  await peerIsRefused(bench, cookie)
  await healthy(bench, back, user)
})

test('C46: source lost, destination proved and silent: after T_orphan it is the VM', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie } = await begin(source)
  const destination = await bench.peered(cookie)
  user.type('held')
  await bench.end(source, 'reset')
  await settled(destination)
  expect(inputOf(destination)).toBe('')
  clock.advance(120_000)
  await destination.expectData('held')
  await healthy(bench, destination, user)
})

test('C46: source lost, destination proved and speaking: it is the VM at once, nothing it said is lost', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie } = await begin(source)
  const destination = await bench.peered(cookie)
  destination.data('one|')
  await settled(destination)
  expect(user.text).toBe('')
  user.type('held')
  await bench.end(source, 'reset')
  destination.data('two')
  await user.expectText('two')
  expect(user.text).toBe('one|two')
  await destination.expectData('held')
  await healthy(bench, destination, user)
})

test('C46: source there, no destination and no ABORT: after T_orphan input flows to it again', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const source = await bench.attach()
  const user = bench.console()
  await begin(source)
  user.type('held')
  clock.advance(120_000)
  await source.expectData('held')
  await healthy(bench, source, user)
})

// C47

test('C47: a VM that resumes in place without ABORT is known by its data; input flows, its cookie stays good', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  user.type('held ')
  clock.advance(900)
  source.data('tail of what was printed before the stun|')
  await user.expectText('stun|')
  await settled(source)
  expect(inputOf(source)).toBe('')
  clock.advance(200)
  source.data('$ ')
  await source.expectData('held ')
  user.type('live ')
  await source.expectData('live ')
  expect(bench.port().state).toBe('online')
  // It was wrong to think so? Then the destination may still come.
  const destination = await bench.peered(cookie)
  user.type('moved')
  await settled(source)
  source.fin()
  destination.complete(sequence)
  await destination.expectData('moved')
  expect(inputOf(source)).toBe('held live ')
})

test('C47: after resuming in place the VM can migrate again, with the same sequence or another', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const source = await bench.attach()
  const user = bench.console()
  const sequence = sequenceOf()
  await begin(source, sequence)
  for (let i = 0; i < 3; i++) {
    clock.advance(1_100)
    source.data('$')
    user.type(`${i}`)
    await source.expectData(`${i}`)
    await begin(source, i === 1 ? sequenceOf() : sequence)
    user.type('h')
    await settled(source)
    expect(inputOf(source).endsWith(`${i}`)).toBe(true)
  }
  source.abortVmotion()
  await source.expectData('h')
  await healthy(bench, source, user)
})

// C48

test('C48: late data on the source after COMPLETE are delivered, and kill nothing', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const source = await bench.attach()
  const user = bench.console()
  const destination = await bench.migrate(source, { sourceEnd: 'never' })
  source.data('tail|')
  await user.expectText('tail|')
  destination.data('head|')
  await settled(destination)
  source.data('longer tail|')
  await user.expectText('longer tail|')
  clock.advance(50)
  await user.expectText('head|')
  source.data('very late|')
  await user.expectText('very late|')
  expect(user.text).toBe('tail|longer tail|head|very late|')
  user.type('in')
  await destination.expectData('in')
  expect(inputOf(source)).toBe('')
  clock.advance(10_000)
  await source.closed
  await healthy(bench, destination, user)
})

test('C48: what the source has in flight comes before what the destination says, however fast that is', async () => {
  const bench = await Bench.start({ limits: { sourceTailMs: 5_000 } })
  let vm = await bench.attach()
  const user = bench.console()
  const tail = 'T'.repeat(300_000)
  let expected = ''
  for (let i = 0; i < 5; i++) {
    const { cookie, sequence } = await begin(vm)
    const destination = await bench.peered(cookie)
    destination.complete(sequence)
    destination.data(`head${i}`)
    await settled(destination)
    vm.data(tail)
    vm.fin()
    await user.expectText(`head${i}`)
    expected += `${tail}head${i}`
    vm = destination
  }
  expect(user.text === expected).toBe(true)
})

test('C48: data of the source between BEGIN and COMPLETE are delivered at once, neither withheld nor reordered', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  source.data('1|')
  const { cookie, sequence } = await begin(source)
  source.data('2|')
  await user.expectText('2|')
  const destination = await bench.peered(cookie)
  source.data('3|')
  await user.expectText('3|')
  destination.data('5|')
  source.data('4|')
  source.fin()
  await source.closed
  destination.complete(sequence)
  await user.expectText('5|')
  expect(user.text).toBe('1|2|3|4|5|')
})

// C49

test('C49: held input is bounded: past the bound every writer is paused, nothing is dropped, order is kept', async () => {
  const limits = { inputBytes: 65_536 }
  const bench = await Bench.start({ limits })
  const source = await bench.attach()
  const users = [bench.console(), bench.console()]
  const { cookie, sequence } = await begin(source)
  let typed = ''
  const line = (): string => {
    const next = `${String(typed.length).padStart(9, '0')}${'.'.repeat(90)}\n`
    typed += next
    return next
  }
  users[0]?.type(line())
  users[1]?.typeUntilPaused(line)
  expect(users[0]?.inputPaused).toBe(true)
  expect(users[1]?.inputPaused).toBe(true)
  expect(typed.length).toBeLessThanOrEqual(limits.inputBytes + 100)
  // Who attaches now may not add to it either; what was on its way when the pause came still counts.
  const late = bench.console()
  expect(late.inputPaused).toBe(true)
  late.type(line())
  const destination = await bench.peered(cookie)
  destination.complete(sequence)
  for (const user of [...users, late]) await user.untilPaused(false)
  const last = line()
  late.type(last)
  await destination.expectData(last)
  expect(inputOf(destination) === typed).toBe(true)
  expect(inputOf(source)).toBe('')
})

test('C49: pieces of input are bounded by number as well', async () => {
  const bench = await Bench.start({ limits: { inputPieces: 64, inputBytes: 1 << 20 } })
  const source = await bench.attach()
  const user = bench.console()
  await begin(source)
  // Pieces of 1 KiB are not packed together.
  const typed = user.typeUntilPaused(() => 'x'.repeat(1_024))
  expect(typed).toBeLessThanOrEqual(65)
  source.abortVmotion()
  await user.untilPaused(false)
  await source.expectData('x'.repeat(typed * 1_024))
})

test('C49: input for a VM that does not read is bounded in the same way, and arrives whole when it reads', async () => {
  const bench = await Bench.start({ listen: 'unix', limits: { inputBytes: 65_536 } })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  let typed = ''
  user.typeUntilPaused(() => {
    const next = `${String(typed.length).padStart(9, '0')}${'.'.repeat(9_990)}\n`
    typed += next
    return next
  })
  // Two socket buffers of the kernel, vmSocketBytes, inputBytes.
  expect(typed.length).toBeLessThan(2_000_000)
  vm.resumeReading()
  await user.untilPaused(false)
  user.type('END')
  await vm.expectData('END')
  expect(inputOf(vm) === `${typed}END`).toBe(true)
})

test('C49: back-pressure reaches the socket of the user: 4 MiB sent during a vMotion arrive whole after it', async () => {
  const service = createServer()
  service.listen(0, '127.0.0.1')
  await once(service, 'listening')
  const address = service.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const bench = await Bench.start({ allowDial: ['tcp://127.0.0.1:*'] })
  bench.closing({ close: () => void service.close() })
  const serviceURI = `tcp://127.0.0.1:${port}`
  const announcement = { kind: 'do-proxy', direction: 'C', serviceURI } as const
  const connected = once(service, 'connection')
  const source = await bench.attach(1, serviceURI, { announcement })
  const [socket] = (await connected) as [Socket]
  bench.closing({ close: () => void socket.destroy() })
  const { cookie, sequence } = await begin(source)
  const blob = randomBytes(4 << 20)
  socket.write(blob)
  const destination = await bench.peered(cookie)
  await settled(source)
  expect(bench.port().info().bytesToVm).toBe(0)
  destination.complete(sequence)
  await destination.expectData(blob)
  expect(Buffer.from(destination.recorded.received.bytes).equals(blob)).toBe(true)
  expect(inputOf(source)).toBe('')
})

// C50

test.each<[string, (length: number) => Uint8Array]>([
  [
    'throws',
    () => {
      throw new Error('no entropy today')
    },
  ],
  ['yields only 0xFF', (length) => new Uint8Array(length).fill(0xff)],
  ['yields nothing', () => new Uint8Array(0)],
])(
  'C50: a random source that %s: BEGIN is answered NOTNOW, the VM goes on, and migrates when it is repaired',
  async (_, broken) => {
    let random: (length: number) => Uint8Array = randomBytes
    const bench = await Bench.start({ random: (length) => random(length), internalErrors: 2 })
    const vm = await bench.attach()
    const user = bench.console()
    random = broken
    for (const sequence of [bytes('01020304'), bytes('ff')]) {
      const started = performance.now()
      vm.begin(sequence)
      expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe(hex(sequence))
      expect(performance.now() - started).toBeLessThan(1_000)
      user.type('in')
      await vm.expectData('in')
    }
    await settled(vm)
    expect(saidTo(vm)).not.toContain('VMOTION-GOAHEAD')
    expect(bench.log.lines.filter((line) => line.level === 'error')).toHaveLength(2)
    random = randomBytes
    await healthy(bench, vm, user)
  },
)

test('C50: the failure comes while BEGIN waits for the VM to read: still NOTNOW', async () => {
  let random: (length: number) => Uint8Array = randomBytes
  const bench = await Bench.start({
    listen: 'unix',
    clock: new ManualClock(),
    random: (length) => random(length),
    internalErrors: 1,
  })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  user.typeUntilPaused()
  const sequence = sequenceOf()
  vm.begin(sequence)
  vm.data('mark')
  await user.expectText('mark')
  random = () => {
    throw new Error('no entropy today')
  }
  vm.resumeReading()
  expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe(hex(sequence))
  await user.untilPaused(false)
  user.type('END')
  await vm.expectData('END')
})

test('C50: a BEGIN that fails because its second part does leaves no cookie and no held input behind', async () => {
  let random: (length: number) => Uint8Array = randomBytes
  const bench = await Bench.start({ random: (length) => random(length), internalErrors: 1 })
  const source = await bench.attach()
  const user = bench.console()
  const first = await begin(source)
  user.type('held')
  random = () => {
    throw new Error('no entropy today')
  }
  source.begin(sequenceOf())
  await source.expect('VMOTION-NOTNOW')
  await source.expectData('held')
  expect(bench.server.cookies.size).toBe(0)
  await peerIsRefused(bench, first.cookie)
  random = randomBytes
  await healthy(bench, source, user)
})
