import { once } from 'node:events'
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { SimConnection } from '../../../src/sim/index.ts'
import { Bench, begin, bytes, inputOf, latin1, saidTo, sequenceOf, settled, subPayload, vmFacts } from './support.ts'

/** What every concentrator has to list. */
const AT_LEAST = [0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 82, 83]
const VM_ONE = vmFacts(1)

/** Everything option 232 can carry to us, apart from what opens a connection. */
const CODES_TAKEN = [0, 2, 40, 44, 46, 48, 70, 80, 82, 84, 86]
const PROXY_ONLY = [1, 41, 43, 45, 71, 73, 81, 83, 85, 87]

async function knownTo(vm: SimConnection): Promise<number[]> {
  return [...(await subPayload(vm, 'KNOWN-SUBOPTIONS-2'))]
}

// C15

test('C15: KNOWN-SUBOPTIONS-2 comes as soon as 232 is on, before KNOWN-SUBOPTIONS-1, with every mandatory code', async () => {
  const bench = await Bench.start()
  const vm = await bench.connect({ auto: { announce: false } })
  const known = await knownTo(vm)
  expect(known).toEqual(expect.arrayContaining(AT_LEAST))
  expect(new Set(known).size).toBe(known.length)
})

test('C15: KNOWN-SUBOPTIONS-1 again and again restarts nothing; every KNOWN-SUBOPTIONS-2 is the same', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const first = await knownTo(vm)
  const before = saidTo(vm).length
  const user = bench.console()
  vm.known()
  vm.known([])
  vm.known([70])
  vm.known(Array.from({ length: 256 }, (_, i) => i))
  await settled(vm)
  for (const item of vm.recorded.items) {
    if (item.kind === 'sub' && item.name === 'KNOWN-SUBOPTIONS-2') expect([...item.payload]).toEqual(first)
  }
  const others = saidTo(vm)
    .slice(before)
    .filter((name) => name !== 'KNOWN-SUBOPTIONS-2')
  expect(others).toEqual([])
  user.type('in')
  await vm.expectData('in')
})

test('C15: the list is the same for every VM, for a destination, and after 232 was off and on again', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const first = await knownTo(source)
  source.verb(252, 232)
  await source.expect('DONT VMWARE-TELNET-EXT')
  source.will(232)
  expect(await knownTo(source)).toEqual(first)
  const { cookie } = await begin(source)
  expect(await knownTo(await bench.destination(cookie))).toEqual(first)
  expect(await knownTo(await bench.attach(2))).toEqual(first)
})

test('C15: a VM that never sends KNOWN-SUBOPTIONS-1 is served, and can migrate', async () => {
  const bench = await Bench.start()
  const source = await bench.introduced()
  source.doProxy('S', 'vSPC.py')
  source.vcUuid(VM_ONE.esxUuid)
  await bench.event('port-online', VM_ONE.id)
  const { cookie, sequence } = await begin(source)
  const destination = await bench.introduced()
  destination.suboption(44, cookie)
  await destination.expect('VMOTION-PEER-OK')
  destination.complete(sequence)
  await bench.event('vmotion-complete', VM_ONE.id)
})

// C16

test('C16: every code that is unassigned or only a proxy may send gets UNKNOWN-SUBOPTION-RCVD-2 with that code', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach(1, 'vSPC.py', { record: true })
  const user = bench.console()
  const unknown = Array.from({ length: 256 }, (_, code) => code).filter(
    (code) => !CODES_TAKEN.includes(code) && code !== 3,
  )
  const before = vm.recorded.items.length
  for (const code of unknown) vm.suboption(code, code % 2 === 0 ? '' : Uint8Array.of(1, 0xff, 3))
  vm.data('after')
  await user.expectText('after')
  user.type('in')
  await vm.expectData('in')
  const answers = vm.recorded.items.slice(before).filter((item) => item.kind !== 'data')
  expect(answers.map((item) => item.name)).toEqual(unknown.map(() => 'UNKNOWN-SUBOPTION-RCVD-2'))
  expect(answers.map((item) => (item.kind === 'sub' ? [...item.payload] : []))).toEqual(unknown.map((code) => [code]))
  expect(unknown).toEqual(expect.arrayContaining([...PROXY_ONLY, 42, 47, 72, 255]))
})

test('C16: code 255 is escaped in the answer', async () => {
  const bench = await Bench.start()
  const vm = await bench.introduced()
  vm.suboption(255)
  await vm.expect('UNKNOWN-SUBOPTION-RCVD-2')
  expect(bench.wire(vm).sentHex).toMatch(/fffae803fffffff0$/)
})

test('C16: UNKNOWN-SUBOPTION-RCVD-1 and -2 are never answered, whatever is in them', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const before = saidTo(vm).length
  for (const code of [2, 3]) {
    for (const payload of ['', '00', '02', '03', '28', '51', 'ff', '010203', '00'.repeat(300)])
      vm.suboption(code, bytes(payload))
  }
  await settled(vm)
  expect(saidTo(vm).slice(before)).toEqual([])
})

// C17

test.each([
  ['S', 'server'],
  ['C', 'client'],
])('C17: DO-PROXY %s with a matching serviceURI gets WILL-PROXY', async (letter, direction) => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.introduced()
  vm.doProxy(letter, 'vSPC.py')
  await vm.expect('WILL-PROXY')
  vm.vcUuid(VM_ONE.esxUuid)
  await bench.event('port-online', VM_ONE.id)
  expect(bench.port().info()).toMatchObject({ direction, serviceURI: 'vSPC.py', state: 'online' })
})

test('C17: another serviceURI gets WONT-PROXY, a log line with direction and URI, and no port', async () => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.connect({ announcement: { kind: 'do-proxy', direction: 'C', serviceURI: 'tcp://db:5432' } })
  await vm.expect('WONT-PROXY')
  const line = await bench.logged(/WONT-PROXY/)
  expect(line.fields).toMatchObject({ direction: 'client', serviceURI: 'tcp://db:5432', accepted: ['vSPC.py'] })
  vm.vcUuid(VM_ONE.esxUuid)
  vm.data('nobody reads this')
  await settled(vm)
  expect(bench.portIds).toEqual([])
  expect(saidTo(vm)).not.toContain('WILL-PROXY')
})

test('C17: after WONT-PROXY a corrected DO-PROXY on the same connection is served', async () => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.introduced()
  vm.doProxy('S', 'wrong')
  await vm.expect('WONT-PROXY')
  vm.doProxy('S', 'vSPC.py')
  await vm.expect('WILL-PROXY')
  vm.vcUuid(VM_ONE.esxUuid)
  await bench.event('port-online', VM_ONE.id)
})

test('C17: DO-PROXY again: the same gets the same answer, another serviceURI WONT-PROXY, and the port runs on', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach(1, 'vSPC.py?port=a')
  const before = saidTo(vm).length
  vm.doProxy('S', 'vSPC.py?port=a')
  vm.doProxy('S', 'vSPC.py?port=b')
  vm.doProxy('C', 'vSPC.py?port=a')
  vm.doProxy('S', 'vSPC.py?port=a')
  await settled(vm)
  const answers = saidTo(vm)
    .slice(before)
    .filter((name) => name.endsWith('-PROXY'))
  expect(answers).toEqual(['WILL-PROXY', 'WONT-PROXY', 'WONT-PROXY', 'WILL-PROXY'])
  expect(bench.portIds).toEqual([`${VM_ONE.id}:a`])
  const user = bench.console(`${VM_ONE.id}:a`)
  user.type('in')
  await vm.expectData('in')
})

// C18

test.each([
  'vSPC.py',
  'vSPC.py?port=com1',
  'vSPC.py/com1',
  'telnet://vSPC.py',
  'telnet://vSPC.py/',
  'telnet://vSPC.py:13370',
  'telnet://vSPC.py:13370/',
  'telnet://vSPC.py:13370/?port=com1',
  'telnets://vSPC.py:13370?port=com1&x=y',
])('C18: "%s" matches the configured name vSPC.py', async (uri) => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.introduced()
  vm.doProxy('S', uri)
  await vm.expect('WILL-PROXY')
})

test.each([
  'vSPC.pyx',
  'vspc.py',
  'xvSPC.py',
  '?port=vSPC.py',
  'telnet://other/vSPC.py',
  'vSPC.py:13370',
  ' vSPC.py',
  'vSPC.py#',
])('C18: "%s" does not match the configured name vSPC.py', async (uri) => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const vm = await bench.introduced()
  vm.doProxy('S', uri)
  await vm.expect('WONT-PROXY')
})

test.each([
  ['empty', ''],
  ['only a question mark', '?'],
  ['only a scheme', 'telnet://'],
  ['only NUL', '\0'],
  ['Latin-1, not UTF-8', latin1('vSPC\xe9\xff.py')],
  ['cut in the middle of a character', bytes('76 e2 82')],
  ['an overlong encoding', bytes('c0 80 c1 bf')],
  ['bad percent encoding', 'vSPC.py?port=%zz%'],
  ['percent-encoded UTF-8 that is none', 'vSPC.py?port=%ff%fe'],
  ['4000 characters', 'x'.repeat(4000)],
  ['control characters', 'vSPC\x1b[2J\r\n.py'],
])('C18: a serviceURI that is %s crashes nothing: refused by name, served where any is served', async (_, uri) => {
  const strict = await Bench.start({ serviceUris: ['vSPC.py'] })
  const refused = await strict.introduced()
  refused.doProxy('S', uri)
  const answer = typeof uri === 'string' && uri.startsWith('vSPC.py?') ? 'WILL-PROXY' : 'WONT-PROXY'
  await refused.expect(answer)
  await settled(refused)
  const any = await Bench.start()
  const served = await any.introduced()
  served.doProxy('S', uri)
  await served.expect('WILL-PROXY')
  served.vcUuid(VM_ONE.esxUuid)
  // Whatever the URI, nothing of it may end in a port id but a clean label.
  await any.event('port-online', VM_ONE.id)
  expect(any.portIds).toEqual([VM_ONE.id])
})

test('C18: a name that is not UTF-8 is compared byte by byte', async () => {
  const bench = await Bench.start({ serviceUris: ['vSPC\xe9'] })
  const raw = await bench.introduced()
  raw.doProxy('S', latin1('vSPC\xe9'))
  await raw.expect('WILL-PROXY')
  const other = await bench.introduced()
  other.doProxy('S', latin1('vSPC\xe8'))
  await other.expect('WONT-PROXY')
})

// C19

/** Somebody a VM may want dialled. */
class Service {
  readonly #server: Server
  readonly #sockets: Socket[] = []
  readonly #waiting: ((socket: Socket) => void)[] = []
  #given = 0

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      this.#sockets.push(socket)
      this.#give()
    })
  }

  static async start(): Promise<Service> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Service(server)
  }

  get address(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return `127.0.0.1:${address.port}`
  }

  /** The next connection, in the order in which they came. */
  next(): Promise<Socket> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#give()
    })
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #give(): void {
    const socket = this.#sockets[this.#given]
    const resolve = socket === undefined ? undefined : this.#waiting.shift()
    if (socket === undefined || resolve === undefined) return
    this.#given++
    resolve(socket)
  }
}

test.each([
  ['no allow-list', []],
  ['an allow-list that names others', ['tcp://10.0.0.1:*', 'unix:///run/x']],
])("C19: direction 'C' dials nothing with %s; the port is served to consoles", async (_, allowDial) => {
  const service = await Service.start()
  const bench = await Bench.start({ allowDial })
  bench.closing(service)
  const [host = '', port = ''] = service.address.split(':')
  for (const uri of [service.address, `tcp://${service.address}`, `telnet://${service.address}`]) {
    const announcement = { kind: 'do-proxy', direction: 'C', serviceURI: uri } as const
    const vm = await bench.attach(1, uri, { announcement })
    const user = bench.console()
    user.type('in')
    await vm.expectData('in')
  }
  // Connections are accepted in the order they were made: ours is the first, so there was none before.
  const probe = netConnect(Number(port), host)
  bench.closing({ close: () => probe.destroy() })
  probe.write('probe')
  const first = await service.next()
  expect(String((await once(first, 'data'))[0])).toBe('probe')
})

test("C19: direction 'C' with an allow-listed serviceURI is dialled and joined to the VM, through a vMotion too", async () => {
  const service = await Service.start()
  const bench = await Bench.start({ allowDial: ['tcp://127.0.0.1:*'] })
  bench.closing(service)
  const announcement = { kind: 'do-proxy', direction: 'C', serviceURI: `tcp://${service.address}` } as const
  const vm = await bench.attach(1, announcement.serviceURI, { announcement })
  const socket = await service.next()
  vm.data('from the guest \xff')
  const [heard] = (await once(socket, 'data')) as [Buffer]
  expect(heard.toString('utf8')).toBe('from the guest \xff')
  socket.write(latin1('to the guest \xff'))
  await vm.expectData(latin1('to the guest \xff'))
  const destination = await bench.migrate(vm)
  socket.write('after the move')
  await destination.expectData('after the move')
})

test("C19: direction 'S' is never dialled, not even with everything allowed", async () => {
  const service = await Service.start()
  const bench = await Bench.start({ allowDial: ['tcp://*:*'] })
  bench.closing(service)
  const [host = '', port = ''] = service.address.split(':')
  await bench.attach(1, `tcp://${service.address}`)
  const probe = netConnect(Number(port), host)
  bench.closing({ close: () => probe.destroy() })
  probe.write('probe')
  expect(String((await once(await service.next(), 'data'))[0])).toBe('probe')
})

// C20

const BROKEN: [name: string, code: number, payloads: string[]][] = [
  ['KNOWN-SUBOPTIONS-1', 0, ['', '00'.repeat(4000)]],
  ['UNKNOWN-SUBOPTION-RCVD-1', 2, ['', '5153']],
  ['VMOTION-BEGIN', 40, ['']],
  ['VMOTION-PEER', 44, ['', '00', 'ff', '00'.repeat(4000)]],
  ['VMOTION-COMPLETE', 46, ['', '00', '00'.repeat(4000)]],
  ['VMOTION-ABORT', 48, ['', '00', '01020304']],
  ['DO-PROXY', 70, ['', '00', '73', '58766d', 'ff']],
  ['VM-VC-UUID', 80, ['', '00', 'ff', '7a7a', '30'.repeat(31), '30'.repeat(33), '00'.repeat(4000)]],
  ['VM-NAME', 82, ['', '00', 'ff', 'c3', 'f0'.repeat(4000)]],
  ['VM-BIOS-UUID', 84, ['', '00', '7a7a', '00'.repeat(4000)]],
  ['VM-LOCATION-UUID', 86, ['', '00', '7a7a', '00'.repeat(4000)]],
]

test.each(BROKEN)(
  'C20: %s with broken payloads, before and after the port is known, leaves the connection usable',
  async (name, code, payloads) => {
    const bench = await Bench.start()
    const vm = await bench.introduced()
    // Not broken, but a wrong cookie on a fresh connection, is a PEER with anything in it: see C43.
    const before = name === 'VMOTION-PEER' ? [''] : payloads
    for (const payload of before) vm.suboption(code, bytes(payload))
    await settled(vm)
    vm.doProxy('S', 'vSPC.py')
    vm.vcUuid(VM_ONE.esxUuid)
    vm.vmName('whole')
    await bench.event('port-online', VM_ONE.id)
    const user = bench.console()
    for (const payload of payloads) vm.suboption(code, bytes(payload))
    vm.data('still here')
    await user.expectText('still here')
    user.type('in')
    await vm.expectData('in')
    await settled(vm)
    expect(saidTo(vm)).not.toContain('VMOTION-GOAHEAD')
    expect(bench.port().vcUuid).toBe(VM_ONE.id)
    expect(bench.portIds).toEqual([VM_ONE.id])
    const destination = await bench.migrate(vm)
    user.type(name)
    await destination.expectData(name)
  },
)

test('C20: an empty DO-PROXY and one with another letter get WONT-PROXY, and a good one is served afterwards', async () => {
  const bench = await Bench.start()
  const vm = await bench.introduced()
  for (const payload of ['', 'XvSPC.py', 'svSPC.py', '\0', '\xff']) {
    vm.suboption(70, latin1(payload))
    await vm.expect('WONT-PROXY')
  }
  vm.doProxy('S', 'vSPC.py')
  await vm.expect('WILL-PROXY')
})

test('C20: BEGIN with a sequence beyond maxSequenceBytes is answered NOTNOW, with all of it', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const sequence = new Uint8Array(257).fill(0xff)
  vm.begin(sequence)
  expect([...(await subPayload(vm, 'VMOTION-NOTNOW'))]).toEqual([...sequence])
  vm.begin(sequence.subarray(1))
  await vm.expect('VMOTION-GOAHEAD')
})

// C21

test('C21: serial data before option 232, before DO-PROXY and before identity are delivered later, in order', async () => {
  const bench = await Bench.start()
  const vm = await bench.silent()
  vm.data('1 before anything|')
  vm.willAuth()
  vm.data('2 before 232|')
  vm.will(232)
  await vm.expect('KNOWN-SUBOPTIONS-2')
  vm.data('3 before DO-PROXY|')
  vm.known()
  vm.doProxy('S', 'vSPC.py')
  vm.data('4 before WILL-PROXY \xff|')
  await vm.expect('WILL-PROXY')
  vm.data('5 before identity|')
  await vm.expect('GET-VM-VC-UUID')
  vm.data('6|')
  await settled(vm)
  expect(bench.portIds).toEqual([])
  vm.vcUuid(VM_ONE.esxUuid)
  vm.data('7 live')
  await bench.event('port-online', VM_ONE.id)
  const user = bench.console(VM_ONE.id, { from: 0 })
  await user.expectText('7 live')
  const expected =
    '1 before anything|2 before 232|3 before DO-PROXY|4 before WILL-PROXY \xc3\xbf|5 before identity|6|7 live'
  expect(user.text).toBe(expected)
})

test('C21: early data reach consoles that already wait on the port, behind what the last connection sent', async () => {
  const bench = await Bench.start()
  const first = await bench.attach()
  const user = bench.console()
  first.data('old|')
  first.fin()
  await bench.event('port-offline')
  const second = await bench.introduced()
  second.data('early|')
  second.doProxy('S', 'vSPC.py')
  second.data('later|')
  second.vcUuid(VM_ONE.esxUuid)
  second.data('live')
  await user.expectText('live')
  expect(user.text).toBe('old|early|later|live')
})

test('C21: data of a destination before PEER wait for COMPLETE, and are void after ABORT', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const first = await begin(source)
  const early = await bench.introduced()
  early.data('before PEER|')
  early.suboption(44, first.cookie)
  await early.expect('VMOTION-PEER-OK')
  await settled(early)
  expect(user.text).toBe('')
  source.abortVmotion()
  source.data('stayed|')
  await user.expectText('stayed|')

  const second = await begin(source)
  const destination = await bench.introduced()
  destination.data('before PEER again|')
  destination.suboption(44, second.cookie)
  await destination.expect('VMOTION-PEER-OK')
  source.fin()
  await source.closed
  destination.complete(second.sequence)
  destination.data('live')
  await user.expectText('live')
  expect(user.text).toBe('stayed|before PEER again|live')
})

test('C21: what a nameless VM may say in advance is bounded, and its session survives the bound', async () => {
  const bench = await Bench.start({ limits: { preAttachBytes: 1000 } })
  const vm = await bench.introduced()
  const tap = bench.wire(vm)
  for (let i = 0; i < 100; i++) {
    const before = tap.bytesRead
    vm.data('x'.repeat(100))
    await tap.untilRead(before + 100)
  }
  vm.doProxy('S', 'vSPC.py')
  vm.vcUuid(VM_ONE.esxUuid)
  vm.data('live')
  await bench.event('port-online', VM_ONE.id)
  const user = bench.console(VM_ONE.id, { from: 0 })
  await user.expectText('live')
  expect(user.text).toBe(`${'x'.repeat(1_000)}live`)
  expect(bench.server.counters.preAttachBytesDropped).toBe(9_000)
})

// C22

type Move = (vm: SimConnection) => void
const SAY_UUID: Move = (vm) => vm.vcUuid(VM_ONE.esxUuid)
const SAY_NAME: Move = (vm) => vm.vmName(VM_ONE.name)
const SAY_DO_PROXY: Move = (vm) => vm.doProxy('S', 'vSPC.py')
const SAY_KNOWN: Move = (vm) => vm.known()

test.each<[string, Move[]]>([
  ['UUID, name, KNOWN, DO-PROXY', [SAY_UUID, SAY_NAME, SAY_KNOWN, SAY_DO_PROXY]],
  ['name, UUID, DO-PROXY', [SAY_NAME, SAY_UUID, SAY_DO_PROXY]],
  ['KNOWN, UUID, DO-PROXY, name', [SAY_KNOWN, SAY_UUID, SAY_DO_PROXY, SAY_NAME]],
  ['name, DO-PROXY, UUID', [SAY_NAME, SAY_DO_PROXY, SAY_UUID]],
  ['DO-PROXY, name, UUID', [SAY_DO_PROXY, SAY_NAME, SAY_UUID]],
  ['DO-PROXY, UUID, name, KNOWN', [SAY_DO_PROXY, SAY_UUID, SAY_NAME, SAY_KNOWN]],
  ['everything twice', [SAY_UUID, SAY_UUID, SAY_NAME, SAY_NAME, SAY_DO_PROXY, SAY_DO_PROXY, SAY_UUID, SAY_NAME]],
])('C22: %s: the same port, the same name', async (_, moves) => {
  const bench = await Bench.start()
  const vm = await bench.introduced()
  for (const move of moves) move(vm)
  await settled(vm)
  expect(bench.portIds).toEqual([VM_ONE.id])
  expect(bench.port().info()).toMatchObject({ state: 'online', vm: { name: VM_ONE.name, uuid: VM_ONE.id } })
  const user = bench.console()
  user.type('in')
  await vm.expectData('in')
})

test.each([
  ['before PEER', 0],
  ['between PEER and COMPLETE', 1],
  ['after COMPLETE', 2],
  ['never', 3],
])('C22: identity on a destination %s makes no difference', async (_, when) => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source, sequenceOf())
  const destination = await bench.introduced()
  const introduce = (place: number): void => {
    if (place !== when) return
    SAY_NAME(destination)
    SAY_UUID(destination)
  }
  introduce(0)
  destination.suboption(44, cookie)
  await destination.expect('VMOTION-PEER-OK')
  introduce(1)
  destination.complete(sequence)
  introduce(2)
  destination.data('here')
  user.type('in')
  await destination.expectData('in')
  await user.expectText('here')
  await settled(destination)
  expect(inputOf(source)).toBe('')
  expect(bench.port().info()).toMatchObject({ vmotions: 1, vm: { name: VM_ONE.name } })
  expect(bench.portIds).toEqual([VM_ONE.id])
})

test('C22: a UUID that changes on an attached port is logged, the first one stays', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  vm.vcUuid(vmFacts(2).esxUuid)
  await bench.logged(/UUID changed/)
  await settled(vm)
  expect(bench.portIds).toEqual([VM_ONE.id])
  const user = bench.console()
  user.type('in')
  await vm.expectData('in')
})
