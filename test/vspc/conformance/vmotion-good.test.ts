import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { ManualClock } from '../../../src/base/index.ts'
import { encodeVmware, type SimConnection } from '../../../src/sim/index.ts'
import {
  Bench,
  begin,
  bytes,
  hex,
  inputBehind,
  inputOf,
  SOURCE_ENDS,
  saidTo,
  sequenceOf,
  settled,
  subPayload,
  turn,
  vmFacts,
} from './support.ts'

const VM_ONE = vmFacts(1)

/** A source of randomness that fails while told to. */
function failingRandom(): { random: (length: number) => Uint8Array; fails: boolean } {
  const source = {
    fails: false,
    random: (length: number): Uint8Array => {
      if (source.fails) throw new Error('no entropy today')
      return randomBytes(length)
    },
  }
  return source
}

// C29

test('C29: BEGIN gets exactly one GOAHEAD, on its own connection, sequence first and a secret behind it', async () => {
  const bench = await Bench.start()
  const source = await bench.attach(1)
  const other = await bench.attach(2)
  const sequence = bytes('44da87f1')
  const { secret } = await begin(source, sequence)
  await settled(source)
  await settled(other)
  expect(source.recorded.count('VMOTION-GOAHEAD')).toBe(1)
  expect(source.recorded.count('VMOTION-NOTNOW')).toBe(0)
  expect(saidTo(other).filter((name) => name.startsWith('VMOTION'))).toEqual([])
  expect(secret.length).toBeGreaterThanOrEqual(4)
})

test('C29: the answer comes within 50 ms, console busy or not', async () => {
  const bench = await Bench.start()
  let vm = await bench.attach()
  const user = bench.console()
  const times: number[] = []
  for (let i = 0; i < 20; i++) {
    if (i % 2 === 1) user.type('x'.repeat(10_000))
    const started = performance.now()
    const { cookie, sequence } = await begin(vm)
    times.push(performance.now() - started)
    const destination = await bench.peered(cookie)
    vm.fin()
    destination.complete(sequence)
    vm = destination
    await bench.event('vmotion-complete')
  }
  times.sort((a, b) => a - b)
  expect(times[10]).toBeLessThan(50)
  expect(times.at(-1)).toBeLessThan(1_000)
})

test('C29: NOTNOW without WILL-PROXY: before DO-PROXY, and after WONT-PROXY', async () => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.introduced()
  vm.begin(bytes('01020304'))
  expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe('01020304')
  vm.doProxy('S', 'another')
  await vm.expect('WONT-PROXY')
  vm.begin(bytes('05060708'))
  expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe('05060708')
  expect(vm.recorded.count('VMOTION-GOAHEAD')).toBe(0)
})

test('C29: a VM that does not read gets NOTNOW after goaheadMs, ahead of what waits for it, and loses nothing', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, listen: 'unix' })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  const typed = user.typeUntilPaused((n) => `${String(n).padStart(8, '0')}${'.'.repeat(8_183)}\n`)
  const sequence = sequenceOf()
  vm.begin(sequence)
  vm.data('mark')
  await user.expectText('mark')
  // Nothing was granted that could not have been read.
  expect(bench.goaheads).toEqual([])
  clock.advance(1_999)
  expect(bench.goaheads).toEqual([])
  clock.advance(1)
  expect(bench.goaheads).toEqual([2_000])
  vm.resumeReading()
  expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe(hex(sequence))
  const before = inputOf(vm).length
  user.type('END')
  await vm.expectData('END')
  expect(inputOf(vm).length).toBeGreaterThan(before)
  const numbers = [...inputOf(vm).matchAll(/(\d{8})\./g)].map((match) => Number(match[1]))
  expect(numbers).toEqual(Array.from({ length: typed }, (_, i) => i))
  expect(vm.recorded.count('VMOTION-GOAHEAD')).toBe(0)
})

test('C29: a VM that reads late, but in time, gets GOAHEAD behind everything that was on its way', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock, listen: 'unix' })
  const vm = await bench.attach()
  const user = bench.console()
  vm.pauseReading()
  const typed = user.typeUntilPaused((n) => `${String(n).padStart(8, '0')}${'.'.repeat(8_183)}\n`)
  const sequence = sequenceOf()
  vm.begin(sequence)
  vm.data('mark')
  await user.expectText('mark')
  clock.advance(1_500)
  vm.resumeReading()
  const cookie = await subPayload(vm, 'VMOTION-GOAHEAD')
  await settled(vm)
  const atSource = inputOf(vm)
  const destination = await bench.peered(cookie)
  vm.fin()
  destination.complete(sequence)
  await user.untilPaused(false)
  user.type('END')
  await destination.expectData('END')
  const numbers = [...(atSource + inputOf(destination)).matchAll(/(\d{8})\./g)].map((match) => Number(match[1]))
  expect(numbers).toEqual(Array.from({ length: typed }, (_, i) => i))
  expect(inputOf(vm)).toBe(atSource)
  expect(inputBehind(vm, 'VMOTION-GOAHEAD')).toBe(0)
})

// C30

test.each(['COMPLETE', 'ABORT', 'NOTNOW'])(
  'C30: input typed before, during and after a vMotion that ends in %s arrives exactly once, in order',
  async (how) => {
    const source = failingRandom()
    const bench = await Bench.start({ random: source.random, internalErrors: how === 'NOTNOW' ? 1 : 0 })
    const a = await bench.attach()
    const user = bench.console()
    let n = 0
    const typed: string[] = []
    const type = (): void => {
      const word = `<${n++}>`
      typed.push(word)
      user.type(word)
    }
    type()
    source.fails = how === 'NOTNOW'
    const sequence = sequenceOf()
    a.begin(sequence)
    type()
    if (how === 'NOTNOW') {
      type()
      await a.expect('VMOTION-NOTNOW')
      type()
      await a.expectData(typed.at(-1) ?? '')
      expect(inputOf(a)).toBe(typed.join(''))
      return
    }
    const cookie = await subPayload(a, 'VMOTION-GOAHEAD')
    const beforeGoahead = inputOf(a)
    type()
    const b = await bench.destination(cookie)
    type()
    await b.expect('VMOTION-PEER-OK')
    type()
    if (how === 'ABORT') a.abortVmotion()
    else {
      a.fin()
      type()
      b.complete(sequence)
    }
    type()
    const winner = how === 'ABORT' ? a : b
    await settled(winner)
    type()
    await winner.expectData(typed.at(-1) ?? '')
    expect(inputOf(a) + inputOf(b)).toBe(typed.join(''))
    if (how === 'COMPLETE') expect(inputOf(a)).toBe(beforeGoahead)
    else expect(inputOf(b)).toBe('')
  },
)

test('C30: input accepted before BEGIN is read by the source before GOAHEAD', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  for (let i = 0; i < 500; i++) user.type(`${i},`)
  await begin(source)
  expect(inputOf(source)).toBe(Array.from({ length: 500 }, (_, i) => `${i},`).join(''))
  expect(inputBehind(source, 'VMOTION-GOAHEAD')).toBe(0)
})

test('C30: single keystrokes held during a vMotion keep their order and number', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const keys = randomBytes(5_000)
  for (const key of keys) user.type(Uint8Array.of(key))
  const destination = await bench.peered(cookie)
  destination.complete(sequence)
  await destination.expectData(keys)
  expect(destination.recorded.received.length).toBe(keys.length)
})

// C31

test('C31: secrets are fresh for each BEGIN, at least 4 bytes, without 0x00 and 0xFF, and from the given source alone', async () => {
  const drawn = new Set<string>()
  const random = (length: number): Uint8Array => {
    const given = randomBytes(length)
    drawn.add(hex(given))
    return given
  }
  const bench = await Bench.start({ random })
  const source = await bench.attach()
  const secrets = new Set<string>()
  for (let i = 0; i < 200; i++) {
    const { secret } = await begin(
      source,
      bytes('76 19 ff e9').map((byte, at) => (at === 0 ? i : byte)),
    )
    expect(secret.length).toBeGreaterThanOrEqual(4)
    expect([...secret].filter((byte) => byte === 0x00 || byte === 0xff)).toEqual([])
    secrets.add(hex(secret))
  }
  expect(secrets.size).toBe(200)
  const pool = [...drawn].map((given) =>
    given.replaceAll(/../g, (byte) => (byte === '00' || byte === 'ff' ? '' : byte)),
  )
  for (const secret of secrets) expect(pool.some((given) => given.includes(secret))).toBe(true)
})

test('C31: a secret tells nothing about the next, not even with the same sequence after an ABORT', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const sequence = sequenceOf()
  const seen = new Set<string>()
  for (let i = 0; i < 20; i++) {
    seen.add(hex((await begin(source, sequence)).secret))
    source.abortVmotion()
  }
  expect(seen.size).toBe(20)
})

test.each(['COMPLETE', 'ABORT', 'a newer BEGIN', 'a reconnect of the VM'])(
  'C31: a cookie is useless after %s',
  async (end) => {
    const bench = await Bench.start()
    const source = await bench.attach()
    const user = bench.console()
    const { cookie, sequence } = await begin(source)
    let runs: SimConnection = source
    if (end === 'COMPLETE') {
      runs = await bench.peered(cookie)
      source.fin()
      runs.complete(sequence)
    } else if (end === 'ABORT') source.abortVmotion()
    else if (end === 'a newer BEGIN') {
      await begin(source)
      source.abortVmotion()
    } else runs = await bench.attach()
    await settled(runs)
    const late = await bench.destination(cookie)
    await settled(late)
    late.complete(sequence)
    await settled(late)
    expect(saidTo(late)).not.toContain('VMOTION-PEER-OK')
    user.type('in')
    await runs.expectData('in')
    expect(inputOf(late)).toBe('')
    expect(bench.server.cookies.size).toBe(0)
  },
)

// C32, C33

test('C32: PEER with the right cookie gets PEER-OK with the sequence alone', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const { cookie } = await begin(source, bytes('44da87f1'))
  const destination = await bench.destination(cookie)
  expect(hex(await subPayload(destination, 'VMOTION-PEER-OK'))).toBe('44da87f1')
  await settled(destination)
  expect(destination.recorded.count('VMOTION-PEER-OK')).toBe(1)
  expect(bench.wire(destination).sentHex).toContain('fffae82d44da87f1fff0')
})

test('C33: NOTNOW carries the sequence alone; traffic flows as before without ABORT; the next BEGIN succeeds', async () => {
  const source = failingRandom()
  const bench = await Bench.start({ random: source.random, internalErrors: 3 })
  const vm = await bench.attach()
  const user = bench.console()
  for (let i = 0; i < 3; i++) {
    source.fails = true
    vm.begin(bytes('cd526755'))
    expect(hex(await subPayload(vm, 'VMOTION-NOTNOW'))).toBe('cd526755')
    source.fails = false
    vm.data(`out ${i}`)
    await user.expectText(`out ${i}`)
    user.type(`in ${i}`)
    await vm.expectData(`in ${i}`)
  }
  expect(bench.wire(vm).sentHex).toContain('fffae82bcd526755fff0')
  expect(bench.port().state).toBe('online')
  const moved = await bench.migrate(vm)
  user.type('moved')
  await moved.expectData('moved')
})

// C34

test.each(['COMPLETE', 'ABORT'])(
  'C34: no user input reaches source or destination between GOAHEAD and %s',
  async (end) => {
    const bench = await Bench.start()
    const source = await bench.attach()
    const users = [bench.console(), bench.console()]
    users[0]?.type('before')
    const { cookie, sequence } = await begin(source)
    users[0]?.type('one ')
    users[1]?.type('two ')
    await settled(source)
    const destination = await bench.introduced()
    users[0]?.type('three ')
    destination.suboption(44, cookie)
    await destination.expect('VMOTION-PEER-OK')
    users[1]?.type('four ')
    // What could make an eager server let go: data, identity, COM-PORT, KNOWN on either side.
    for (const vm of [source, destination]) {
      vm.data('.')
      vm.vcUuid(VM_ONE.esxUuid)
      vm.vmName(VM_ONE.name)
      vm.known()
      vm.will(44)
      users[0]?.type('five ')
      await settled(vm)
    }
    expect([inputOf(source), inputOf(destination)]).toEqual(['before', ''])
    if (end === 'COMPLETE') destination.complete(sequence)
    else source.abortVmotion()
    const winner = end === 'COMPLETE' ? destination : source
    await winner.expectData('one two three four five five ')
  },
)

test('C34: nothing reaches the source after its FIN either, while COMPLETE is still out', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const destination = await bench.peered(cookie)
  source.fin()
  await source.closed
  user.type('held')
  await settled(destination)
  expect(inputOf(destination)).toBe('')
  destination.complete(sequence)
  await destination.expectData('held')
})

// C35

test('C35: COMPLETE alone releases held input: no keystroke, no timer, no FIN of the source is waited for', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  user.type('typed while frozen')
  const destination = await bench.peered(cookie)
  destination.complete(sequence)
  await destination.expectData('typed while frozen')
  expect(source.canSend).toBe(true)
})

// C36

for (const how of ['fin', 'reset'] as const) {
  test.each(SOURCE_ENDS)(
    `C36: source ends (${how}) %s: the same end state, port listed and users attached`,
    async (sourceEnd) => {
      const clock = new ManualClock()
      const bench = await Bench.start({ clock })
      const source = await bench.attach()
      const user = bench.console()
      source.data('before|')
      await user.expectText('before|')
      const migrating = bench.migrate(source, { sourceEnd, how })
      await bench.event('vmotion-begin')
      user.type('held ')
      const destination = await migrating
      expect(bench.portIds).toEqual([VM_ONE.id])
      if (sourceEnd === 'never') {
        clock.advance(50)
        expect(source.canSend).toBe(true)
      }
      destination.data('after')
      // The server may have heard nothing of an end without FIN, and wait a moment for it.
      await settled(destination)
      clock.advance(50)
      await user.expectText('after')
      user.type('live')
      await destination.expectData('held live')
      expect(user.text).toBe('before|after')
      expect(user.closed).toBeNull()
      expect(inputOf(source)).toBe('')
      expect(bench.port().info()).toMatchObject({ id: VM_ONE.id, state: 'online', consoles: 1, vmotions: 1 })
      expect(bench.count('port-offline')).toBe(0)
      clock.advance(10_000)
      await source.closed
      await settled(destination)
      expect(bench.server.connections).toBe(1)
    },
  )
}

test('C36: FIN and COMPLETE at the same moment, fifty times: either may be read first, nothing else differs', async () => {
  const bench = await Bench.start()
  let vm = await bench.attach()
  const user = bench.console()
  let expected = ''
  for (let i = 0; i < 50; i++) {
    const { cookie, sequence } = await begin(vm)
    const destination = await bench.peered(cookie)
    user.type(`k${i} `)
    vm.data(`tail${i} `)
    if (i % 2 === 0) {
      vm.fin()
      destination.complete(sequence)
    } else {
      destination.complete(sequence)
      vm.fin()
    }
    destination.data(`head${i} `)
    await user.expectText(`head${i} `)
    await destination.expectData(`k${i} `)
    expected += `tail${i} head${i} `
    expect(inputOf(destination)).toBe(`k${i} `)
    vm = destination
  }
  expect(user.text).toBe(expected)
  expect(bench.port().vmotions).toBe(50)
  expect(bench.count('port-offline')).toBe(0)
})

// C37

test('C37: five vMotions back and forth under load: one stream without gap or double, both ways', async () => {
  const bench = await Bench.start()
  const hosts = ['127.0.0.2', '127.0.0.3']
  const connections = [await bench.attach(1, 'vSPC.py', { localAddress: '127.0.0.2' })]
  const user = bench.console()
  const watcher = bench.console(VM_ONE.id, { mode: 'read' })
  // The guest: prints numbered lines wherever it runs, nothing while it is frozen.
  let runs: SimConnection | null = connections[0] as SimConnection
  let printed = 0
  let typed = 0
  let moving = true
  const load = async (): Promise<void> => {
    while (moving) {
      for (let i = 0; i < 5 && runs !== null; i++) runs.data(`out-${printed++}\n`)
      for (let i = 0; i < 5; i++) user.type(`in-${typed++}\n`)
      await turn()
    }
  }
  const loading = load()
  for (let move = 1; move <= 5; move++) {
    const source = connections.at(-1) as SimConnection
    for (let i = 0; i < 20; i++) await turn()
    runs = null
    const { cookie, sequence } = await begin(source)
    const localAddress = hosts[move % 2] as string
    const destination = await bench.peered(cookie, 1, { localAddress })
    if (move % 2 === 1) source.fin()
    destination.complete(sequence)
    if (move % 2 === 0) source.fin()
    connections.push(destination)
    runs = destination
    await bench.event('vmotion-complete')
    expect(bench.port().info().host).toBe(localAddress)
  }
  for (let i = 0; i < 20; i++) await turn()
  moving = false
  await loading
  const last = connections.at(-1) as SimConnection
  last.data('out-end')
  user.type('in-end')
  await last.expectData('in-end')
  await user.expectText('out-end')
  await watcher.expectText('out-end')
  const counted = (text: string, word: string): number[] =>
    [...text.matchAll(new RegExp(`${word}-(\\d+)\n`, 'g'))].map((match) => Number(match[1]))
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
  expect(counted(user.text, 'out')).toEqual(upTo(printed))
  expect(watcher.text).toBe(user.text)
  expect(counted(connections.map(inputOf).join(''), 'in')).toEqual(upTo(typed))
  expect(connections.map(inputOf).join('')).toHaveLength(upTo(typed).join('').length + typed * 4 + 6)
  // Every connection of the six had its share: the load really ran while they moved.
  expect(connections.filter((vm) => inputOf(vm) === '')).toEqual([])
  expect(bench.port().vmotions).toBe(5)
})

// C38

const PERMUTED = ['known', 'peer', 'com-port', 'uuid', 'name'] as const

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]]
  return items.flatMap((item, at) =>
    permutations([...items.slice(0, at), ...items.slice(at + 1)]).map((rest) => [item, ...rest]),
  )
}

test('C38: KNOWN, PEER, WILL COM-PORT and identity in every order, in one segment, all lead to PEER-OK', async () => {
  const bench = await Bench.start()
  let vm = await bench.attach()
  const user = bench.console()
  for (const order of permutations(PERMUTED)) {
    const { cookie, sequence } = await begin(vm)
    const wire = {
      known: encodeVmware(0, bytes('00 01 02 03 28 29 2b 2c 2d 2e 30')),
      peer: encodeVmware(44, cookie),
      'com-port': bytes('fffb2c'),
      uuid: encodeVmware(80, Buffer.from(VM_ONE.esxUuid)),
      name: encodeVmware(82, Buffer.from(VM_ONE.name)),
    }
    const destination = await bench.introduced()
    destination.sendRaw(Buffer.concat(order.map((part) => wire[part])))
    await destination.expect('VMOTION-PEER-OK')
    await destination.expect('DO COM-PORT')
    vm.fin()
    destination.complete(sequence)
    const word = order.join()
    user.type(word)
    await destination.expectData(word)
    vm = destination
  }
  expect(bench.port().info()).toMatchObject({ vmotions: 120, vm: { name: VM_ONE.name } })
  expect(bench.portIds).toEqual([VM_ONE.id])
})

test('C38: identity, COM-PORT offer, COMPLETE and data in every order behind PEER-OK', async () => {
  const bench = await Bench.start()
  let vm = await bench.attach()
  const user = bench.console()
  for (const order of permutations(['uuid', 'com-port', 'name', 'complete'] as const)) {
    const { cookie, sequence } = await begin(vm)
    const destination = await bench.introduced()
    destination.suboption(44, cookie)
    await destination.expect('VMOTION-PEER-OK')
    const wire = {
      'com-port': bytes('fffb2c'),
      uuid: encodeVmware(80, Buffer.from(VM_ONE.esxUuid)),
      name: encodeVmware(82, Buffer.from(VM_ONE.name)),
      complete: encodeVmware(46, sequence),
    }
    vm.fin()
    destination.sendRaw(Buffer.concat([...order.map((part) => wire[part]), Buffer.from(`${order.join()}\n`)]))
    await user.expectText(`${order.join()}\n`)
    user.type('key')
    await destination.expectData('key')
    vm = destination
  }
  expect(bench.port().vmotions).toBe(24)
})

test('C38: COMPLETE and the next BEGIN in one segment: held input first, then the new GOAHEAD', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const first = await begin(source)
  user.type('held')
  const destination = await bench.peered(first.cookie)
  const next = sequenceOf()
  source.fin()
  destination.sendRaw(
    Buffer.concat([encodeVmware(46, first.sequence), Buffer.from('ran for a moment'), encodeVmware(40, next)]),
  )
  const cookie = await subPayload(destination, 'VMOTION-GOAHEAD')
  expect(inputOf(destination)).toBe('held')
  expect(inputBehind(destination, 'VMOTION-GOAHEAD')).toBe(0)
  const third = await bench.peered(cookie)
  destination.fin()
  third.complete(next)
  third.data('|and here')
  user.type('in')
  await third.expectData('in')
  await user.expectText('ran for a moment|and here')
  expect(bench.port().vmotions).toBe(2)
})

// C39

test('C39: a vMotion with nobody attached; who attaches later reads what was said before and during it', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  source.data('before|')
  const destination = await bench.migrate(source)
  destination.data('after')
  await settled(destination)
  const user = bench.console(VM_ONE.id, { from: 0 })
  await user.expectText('after')
  expect(user.text).toBe('before|after')
  user.type('in')
  await destination.expectData('in')
})

test('C39: several users, readers and writers, one who attaches and one who leaves in the middle', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const reader = bench.console(VM_ONE.id, { mode: 'read' })
  const writers = [bench.console(), bench.console()]
  const leaver = bench.console()
  source.data('before|')
  const { cookie, sequence } = await begin(source)
  leaver.type('L')
  leaver.console.detach()
  writers[0]?.type('A')
  const destination = await bench.peered(cookie)
  const late = bench.console(VM_ONE.id, { from: 0 })
  late.type('B')
  writers[1]?.type('C')
  source.fin()
  destination.complete(sequence)
  destination.data('after')
  await destination.expectData('LABC')
  for (const user of [reader, ...writers, late]) {
    await user.expectText('after')
    expect(user.text).toBe('before|after')
    expect(user.closed).toBeNull()
  }
  expect(bench.port().info().consoles).toBe(4)
})

// C40

test('C40: two ports of one VM migrate at once with the same sequence, interleaved, without mixing', async () => {
  const bench = await Bench.start()
  const labels = ['a', 'b'] as const
  const ids = labels.map((label) => `${VM_ONE.id}:${label}`)
  const sources = [await bench.attach(1, 'vSPC.py?port=a'), await bench.attach(1, 'vSPC.py?port=b')]
  const users = ids.map((id) => bench.console(id))
  const sequence = bytes('76 19 ff e9')
  for (const source of sources) source.begin(sequence)
  const cookies = await Promise.all(sources.map((source) => subPayload(source, 'VMOTION-GOAHEAD')))
  expect(hex(cookies[0] as Uint8Array)).not.toBe(hex(cookies[1] as Uint8Array))
  for (const [i, user] of users.entries()) user.type(`held for ${labels[i]}`)
  // The destinations come in the other order.
  const second = await bench.peered(cookies[1] as Uint8Array)
  const first = await bench.peered(cookies[0] as Uint8Array)
  for (const source of sources) source.fin()
  first.complete(sequence)
  second.complete(sequence)
  first.data('from a')
  second.data('from b')
  await first.expectData('held for a')
  await second.expectData('held for b')
  await users[0]?.expectText('from a')
  await users[1]?.expectText('from b')
  expect([inputOf(first), inputOf(second)]).toEqual(['held for a', 'held for b'])
  expect(users.map((user) => user.text)).toEqual(['from a', 'from b'])
  expect(bench.portIds).toEqual(ids)
})

test('C40: one port aborts while the other port of the same VM completes', async () => {
  const bench = await Bench.start()
  const a = await bench.attach(1, 'vSPC.py?port=a')
  const b = await bench.attach(1, 'vSPC.py?port=b')
  const userA = bench.console(`${VM_ONE.id}:a`)
  const userB = bench.console(`${VM_ONE.id}:b`)
  const sequence = sequenceOf()
  const first = await begin(a, sequence)
  const second = await begin(b, sequence)
  const destination = await bench.peered(first.cookie)
  b.abortVmotion()
  a.fin()
  destination.complete(sequence)
  userA.type('moved')
  userB.type('stayed')
  await destination.expectData('moved')
  await b.expectData('stayed')
  await settled(b)
  const late = await bench.destination(second.cookie)
  await settled(late)
  expect(saidTo(late)).not.toContain('VMOTION-PEER-OK')
})

test('C40: fifty VMs migrate at once, all with the same sequence, within a second, each to its own', async () => {
  const bench = await Bench.start()
  const numbers = Array.from({ length: 50 }, (_, i) => i + 1)
  const sources = await Promise.all(numbers.map((n) => bench.attach(n)))
  const users = numbers.map((n) => bench.console(vmFacts(n).id))
  const sequence = bytes('76 19 ff e9')
  const started = performance.now()
  const moved = await Promise.all(
    sources.map((source, i) => bench.migrate(source, { n: numbers[i] as number, sequence })),
  )
  expect(performance.now() - started).toBeLessThan(1_000)
  for (const [i, user] of users.entries()) user.type(`for ${numbers[i]};`)
  await Promise.all(moved.map((vm, i) => vm.expectData(`for ${numbers[i]};`)))
  for (const [i, vm] of moved.entries()) {
    vm.data(`from ${numbers[i]};`)
    expect(inputOf(vm)).toBe(`for ${numbers[i]};`)
  }
  await Promise.all(users.map((user, i) => user.expectText(`from ${numbers[i]};`)))
  for (const [i, user] of users.entries()) expect(user.text).toBe(`from ${numbers[i]};`)
  expect(bench.server.table.size).toBe(50)
  expect(bench.server.cookies.size).toBe(0)
  expect(bench.server.counters.vmotionsCompleted).toBe(50)
})
