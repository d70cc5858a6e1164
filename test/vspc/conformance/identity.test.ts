import { expect, test } from 'vitest'
import { ManualClock } from '../../../src/base/index.ts'
import type { IdentityAnswer, SimConnection, SimIdentity } from '../../../src/sim/index.ts'
import { Bench, begin, bytes, identityOf, inputOf, latin1, settled, vmFacts } from './support.ts'

const VM_ONE = vmFacts(1)
const CAPTURED = '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00'
const CANONICAL = '01234567-89ab-cdef-fedc-ba9800000000'

// C23

test('C23: the UUID of the capture becomes 01234567-89ab-cdef-fedc-ba9800000000', async () => {
  const bench = await Bench.start()
  await bench.connect({ identity: { vcUuid: CAPTURED, name: 'vm-00000' } })
  await bench.event('port-online', CANONICAL)
  expect(bench.port(CANONICAL).info().vm).toMatchObject({ uuid: CANONICAL, name: 'vm-00000' })
})

test('C23: upper case, lower case, spaces, dashes, none of them: one key, one port', async () => {
  const bench = await Bench.start()
  const spellings = [
    CAPTURED,
    CAPTURED.toUpperCase(),
    CAPTURED.replaceAll(' ', ''),
    CAPTURED.replaceAll(/[ -]/g, ''),
    CANONICAL,
    CANONICAL.toUpperCase(),
    `{${CANONICAL}}`,
    `${CAPTURED}\0`,
    ` ${CAPTURED} `,
  ]
  for (const vcUuid of spellings) {
    const vm = await bench.connect({ identity: { vcUuid, name: 'vm' } })
    await bench.event('port-online', CANONICAL)
    await settled(vm)
    expect(bench.portIds, JSON.stringify(vcUuid)).toEqual([CANONICAL])
  }
  for (const typed of [...spellings.slice(0, 6), '01234567']) {
    expect(bench.server.table.resolve(typed).id, typed).toBe(CANONICAL)
  }
})

test('C23: bytes are not swapped: the same digits in another order are another VM', async () => {
  const bench = await Bench.start()
  await bench.connect({ identity: { vcUuid: '67 45 23 01 ab 89 ef cd-fe dc ba 98 00 00 00 00', name: 'swapped' } })
  await bench.event('port-online', '67452301-ab89-efcd-fedc-ba9800000000')
  await bench.connect({ identity: { vcUuid: CAPTURED, name: 'straight' } })
  await bench.event('port-online', CANONICAL)
  expect(bench.portIds).toHaveLength(2)
})

// C24

const BIOS = '42 3a 00 01 02 03 04 05-06 07 08 09 0a 0b 0c 0d'
const BIOS_KEY = '423a0001-0203-0405-0607-08090a0b0c0d'
const UNKNOWN: IdentityAnswer = { value: null, how: 'unknown' }
const SILENT: IdentityAnswer = { value: null, how: 'silent' }

async function reachable(bench: Bench, vm: SimConnection, id: string): Promise<void> {
  const user = bench.console(id)
  vm.data('out')
  await user.expectText('out')
  user.type('in')
  await vm.expectData('in')
}

test.each<[string, SimIdentity, string]>([
  ['empty', { vcUuid: '', biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['too short', { vcUuid: '01 23', biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['too long', { vcUuid: `${CAPTURED} 00`, biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['no hex', { vcUuid: 'zz'.repeat(16), biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['binary', { vcUuid: bytes('ff'.repeat(32)), biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['unknown to the VM', { vcUuid: UNKNOWN, biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
  ['unknown, BIOS UUID empty', { vcUuid: UNKNOWN, biosUuid: '', name: 'vm' }, 'name:vm'],
  ['unknown, BIOS UUID too', { vcUuid: UNKNOWN, biosUuid: UNKNOWN, name: 'vm' }, 'name:vm'],
  ['unknown, all else too', { vcUuid: UNKNOWN, biosUuid: UNKNOWN, name: UNKNOWN }, 'addr:127.0.0.1'],
  ['unknown, all else empty', { vcUuid: '', biosUuid: '', name: '' }, 'addr:127.0.0.1'],
  ['unknown, name only control characters', { vcUuid: '', biosUuid: '', name: '\x1b\r\n' }, 'addr:127.0.0.1'],
])('C24: VC UUID %s: the port is named by what there is, at once, and can be reached', async (_, identity, id) => {
  // The clock stands still: nothing here waits for a timer.
  const bench = await Bench.start({ clock: new ManualClock() })
  const vm = await bench.connect({ identity })
  await bench.event('port-online', id)
  await reachable(bench, vm, id)
})

test.each<[string, SimIdentity, string]>([
  ['at all', { vcUuid: SILENT, biosUuid: SILENT, name: SILENT }, 'addr:127.0.0.1'],
  ['for the UUIDs', { vcUuid: SILENT, biosUuid: SILENT, name: 'vm' }, 'name:vm'],
  ['for the VC UUID', { vcUuid: SILENT, biosUuid: BIOS, name: 'vm' }, BIOS_KEY],
])('C24: a VM that does not answer %s is attached after identityMs', async (_, identity, id) => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const vm = await bench.connect({ identity })
  await vm.expect('WILL-PROXY')
  await settled(vm)
  clock.advance(2_999)
  expect(bench.portIds).toEqual([])
  clock.advance(1)
  expect(bench.portIds).toEqual([id])
  await reachable(bench, vm, id)
})

test('C24: the UUID that comes late renames the port; its users stay', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const vm = await bench.connect({ identity: { vcUuid: SILENT, biosUuid: UNKNOWN, name: 'vm' } })
  await vm.expect('WILL-PROXY')
  await settled(vm)
  clock.advance(3_000)
  const user = bench.console('name:vm')
  vm.data('before|')
  await user.expectText('before|')
  vm.vcUuid(VM_ONE.esxUuid)
  const rekeyed = await bench.event('port-rekeyed', VM_ONE.id)
  expect(rekeyed.previousId).toBe('name:vm')
  expect(bench.portIds).toEqual([VM_ONE.id])
  vm.data('after')
  await user.expectText('after')
  expect(user.text).toBe('before|after')
  expect(user.of('renamed').at(-1)).toMatchObject({ port: VM_ONE.id })
  const destination = await bench.migrate(vm)
  user.type('in')
  await destination.expectData('in')
})

test('C24: a known VM whose UUID comes late returns to the port that its users are attached to', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const first = await bench.attach()
  const user = bench.console()
  first.data('before|')
  await user.expectText('before|')
  first.fin()
  await bench.event('port-offline', VM_ONE.id)
  const vm = await bench.connect({ identity: { vcUuid: SILENT, biosUuid: UNKNOWN, name: 'vm' } })
  await vm.expect('WILL-PROXY')
  await settled(vm)
  clock.advance(3_000)
  await bench.event('port-online', 'name:vm')
  vm.vcUuid(VM_ONE.esxUuid)
  await bench.event('port-online', VM_ONE.id)
  vm.data('after')
  await user.expectText('after')
  expect(user.text).toBe('before|after')
  expect(bench.port('name:vm').state).toBe('offline')
  user.type('in')
  await vm.expectData('in')
})

test('C24: not having learnt who the VM is is no reason to refuse a vMotion', async () => {
  const bench = await Bench.start({ clock: new ManualClock() })
  const vm = await bench.connect({ identity: { vcUuid: SILENT, biosUuid: SILENT, name: SILENT } })
  await vm.expect('WILL-PROXY')
  const { cookie, sequence } = await begin(vm)
  const destination = await bench.peered(cookie)
  vm.fin()
  destination.complete(sequence)
  await bench.event('vmotion-complete')
  // The destination had a UUID to tell.
  expect(bench.portIds).toEqual([VM_ONE.id])
  await reachable(bench, destination, VM_ONE.id)
})

// C25

/** C0, DEL, C1, and what turns or breaks lines. */
const DANGEROUS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/

test.each<[string, Uint8Array | string, string]>([
  ['an escape sequence', 'vm\x1b]0;owned\x07\x1b[2J', 'vm]0;owned[2J'],
  ['line ends', 'vm\r\nERROR all is lost\n', 'vmERROR all is lost'],
  ['C1 controls as UTF-8', 'vm\u009b31m\u0085', 'vm31m'],
  ['bare C1 bytes, not UTF-8', latin1('vm\x9b31m'), 'vm\ufffd31m'],
  ['bytes that are not UTF-8', latin1('vm\xe9\xff'), 'vm\ufffd\ufffd'],
  ['a cut character', bytes('766d e282'), 'vm\ufffd'],
  ['NUL', 'vm\0\0', 'vm'],
  ['a right-to-left override', 'vm\u202egnp.exe', 'vmgnp.exe'],
  ['a line separator', 'vm\u2028two', 'vmtwo'],
  ['path climbing', '../../etc/passwd', '../../etc/passwd'],
  ['UTF-8 beyond the BMP', 'vm-\u{1f5a5}-ü', 'vm-\u{1f5a5}-ü'],
])('C25: a name with %s is shown without what a terminal or a log would obey', async (_, raw, shown) => {
  const bench = await Bench.start()
  const vm = await bench.connect({ identity: { vcUuid: VM_ONE.esxUuid, name: raw } })
  await bench.event('port-online')
  const user = bench.console()
  await settled(vm)
  expect(bench.port().info().vm.name).toBe(shown)
  vm.vmName(typeof raw === 'string' ? `again ${raw}` : raw)
  await settled(vm)
  const outward = JSON.stringify([bench.events, user.messages, bench.log.lines, bench.port().info()])
  expect(JSON.parse(outward)).toBeTruthy()
  // Escaped by JSON.stringify they would be invisible: look at the strings themselves.
  const strings: string[] = []
  JSON.parse(outward, (_key, value) => {
    if (typeof value === 'string') strings.push(value)
    return value
  })
  expect(strings.filter((text) => DANGEROUS.test(text))).toEqual([])
})

test('C25: a name that is the only identity is cleaned before it becomes part of an id', async () => {
  const bench = await Bench.start()
  await bench.connect({ identity: { vcUuid: UNKNOWN, biosUuid: UNKNOWN, name: 'a\x1b[1m\nb' } })
  await bench.event('port-online')
  expect(bench.portIds).toEqual(['name:a[1mb'])
})

test.each(['..', '.', '../x', 'a/b', 'a\\b', 'a b', '\x1b[2J', 'x'.repeat(65), 'a\0b', 'ü', ''])(
  'C25: a label %j comes out as nothing that could climb a path or disturb a terminal',
  async (label) => {
    const bench = await Bench.start()
    const serviceURI = `vSPC.py?port=${encodeURIComponent(label)}`
    const vm = await bench.connect({ announcement: { kind: 'do-proxy', direction: 'S', serviceURI } })
    await bench.event('port-online')
    await settled(vm)
    expect(bench.portIds).toEqual(
      label === '..' || label === '.' ? [expect.stringMatching(new RegExp(`^${VM_ONE.id}`))] : [VM_ONE.id],
    )
  },
)

// C26

test('C26: two VMs of one name are two ports', async () => {
  const bench = await Bench.start()
  const first = await bench.connect({ identity: { ...identityOf(1), name: 'twin' } })
  await bench.event('port-online', vmFacts(1).id)
  const second = await bench.connect({ identity: { ...identityOf(2), name: 'twin' } })
  await bench.event('port-online', vmFacts(2).id)
  await settled(first)
  await settled(second)
  const users = [bench.console(vmFacts(1).id), bench.console(vmFacts(2).id)]
  users[0]?.type('for the first')
  users[1]?.type('for the second')
  await first.expectData('for the first')
  await second.expectData('for the second')
  expect([inputOf(first), inputOf(second)]).toEqual(['for the first', 'for the second'])
  expect(() => bench.server.table.resolve('twin')).toThrow(/matches 2 ports/)
})

test('C26: a rename keeps the port and its users, who are told', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const user = bench.console()
  vm.data('before|')
  vm.vmName('new name')
  await bench.event('port-renamed', VM_ONE.id)
  vm.data('after')
  await user.expectText('after')
  expect(user.text).toBe('before|after')
  expect(user.of('renamed').at(-1)).toMatchObject({ name: 'new name', port: VM_ONE.id })
  expect(bench.portIds).toEqual([VM_ONE.id])
  expect(bench.server.table.resolve('new name').id).toBe(VM_ONE.id)
  user.type('in')
  await vm.expectData('in')
})

test('C26: the same name again is no rename', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const renames = bench.count('port-renamed')
  for (let i = 0; i < 10; i++) vm.vmName(VM_ONE.name)
  await settled(vm)
  expect(bench.count('port-renamed')).toBe(renames)
})

test('C26: a VM renamed while it was away comes back to its port', async () => {
  const bench = await Bench.start()
  const before = await bench.attach()
  const user = bench.console()
  before.fin()
  await bench.event('port-offline')
  const after = await bench.attach(1, 'vSPC.py', { identity: { ...identityOf(1), name: 'renamed' } })
  after.data('back')
  await user.expectText('back')
  expect(bench.port().name).toBe('renamed')
})

// C27

test('C27: ?port=a and ?port=b of one VM are two ports, each with its own line', async () => {
  const bench = await Bench.start({ serviceUris: ['vSPC.py'] })
  const a = await bench.attach(1, 'vSPC.py?port=a')
  const b = await bench.attach(1, 'telnet://vSPC.py:13370/?x=1&port=b')
  expect(bench.portIds).toEqual([`${VM_ONE.id}:a`, `${VM_ONE.id}:b`])
  const userA = bench.console(`${VM_ONE.id}:a`)
  const userB = bench.console(`${VM_ONE.id}:b`)
  a.data('from a')
  b.data('from b')
  await userA.expectText('from a')
  await userB.expectText('from b')
  userA.type('to a')
  userB.type('to b')
  await a.expectData('to a')
  await b.expectData('to b')
  expect([userA.text, userB.text, inputOf(a), inputOf(b)]).toEqual(['from a', 'from b', 'to a', 'to b'])
})

test('C27: vMotion keeps each label, although a destination never sends DO-PROXY', async () => {
  const bench = await Bench.start()
  let a = await bench.attach(1, 'vSPC.py?port=a')
  let b = await bench.attach(1, 'vSPC.py?port=b')
  const userA = bench.console(`${VM_ONE.id}:a`)
  const userB = bench.console(`${VM_ONE.id}:b`)
  for (let i = 0; i < 2; i++) {
    b = await bench.migrate(b)
    a = await bench.migrate(a)
  }
  userA.type('to a')
  userB.type('to b')
  await a.expectData('to a')
  await b.expectData('to b')
  expect(bench.portIds).toEqual([`${VM_ONE.id}:a`, `${VM_ONE.id}:b`])
  expect(bench.port(`${VM_ONE.id}:b`).info()).toMatchObject({
    label: 'b',
    vmotions: 2,
    serviceURI: 'vSPC.py?port=b',
    direction: 'server',
  })
})

test('C27: of several port arguments the first counts, percent-encoded or not; no label is a port of its own', async () => {
  const bench = await Bench.start()
  const uris = ['vSPC.py', 'vSPC.py?port=a&port=b', 'vSPC.py?port=%63om1', 'vSPC.py/tail']
  for (const serviceURI of uris) {
    const vm = await bench.connect({ announcement: { kind: 'do-proxy', direction: 'S', serviceURI } })
    await bench.event('port-online')
    await settled(vm)
  }
  expect(bench.portIds).toEqual([VM_ONE.id, ...['a', 'com1', 'tail'].map((label) => `${VM_ONE.id}:${label}`)])
})

// C28

test('C28: a reconnect takes over from a half-open connection at once; users stay, the old one is closed later', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const old = await bench.attach()
  const user = bench.console()
  // Half-open as the server sees it: no FIN, no reading, no answer.
  old.pauseReading()
  old.data('from the old one|')
  await user.expectText('from the old one|')
  user.type('lost on its way? ')
  const fresh = await bench.attach()
  // The clock has not moved: it took no timer.
  fresh.data('from the new one|')
  await user.expectText('from the new one|')
  user.type('to the new one')
  await fresh.expectData('to the new one')
  expect(user.text).toBe('from the old one|from the new one|')
  expect(user.closed).toBeNull()
  expect(bench.port().info()).toMatchObject({ state: 'online', consoles: 1 })
  expect(old.isOpen).toBe(true)
  clock.advance(1_000)
  old.resumeReading()
  expect((await old.closed).how).toBe('proxy-fin')
  expect(inputOf(old)).toBe('lost on its way? ')
  await settled(fresh)
  expect(bench.port().state).toBe('online')
})

test('C28: the takeover is done within a second of real time', async () => {
  const bench = await Bench.start()
  const old = await bench.attach()
  old.pauseReading()
  const user = bench.console()
  const started = performance.now()
  const fresh = await bench.attach()
  user.type('hello')
  await fresh.expectData('hello')
  expect(performance.now() - started).toBeLessThan(1_000)
})

test.each(['fin', 'reset'] as const)(
  'C28: the late end (%s) of a connection that was taken over from leaves the port online',
  async (how) => {
    const bench = await Bench.start()
    const old = await bench.attach()
    const user = bench.console()
    const fresh = await bench.attach()
    old[how]()
    await old.closed
    await settled(fresh)
    user.type('still here')
    await fresh.expectData('still here')
    expect(bench.count('port-offline')).toBe(0)
  },
)

test('C28: what the old connection had sent and nobody had read is delivered', async () => {
  const bench = await Bench.start()
  const old = await bench.attach()
  const user = bench.console()
  const fresh = await bench.introduced()
  old.data('last words|')
  fresh.doProxy('S', 'vSPC.py')
  fresh.vcUuid(VM_ONE.esxUuid)
  fresh.data('first words')
  await user.expectText('first words')
  await settled(old)
  expect(user.text.split('|').sort()).toEqual(['first words', 'last words'])
})

test('C28: input accepted while the old connection took none goes to the new one, once', async () => {
  const bench = await Bench.start({ listen: 'unix', limits: { vmSocketBytes: 4096 } })
  const old = await bench.attach()
  const user = bench.console()
  old.pauseReading()
  const line = 'x'.repeat(4095)
  const typed = user.typeUntilPaused((n) => `${String(n).padStart(6, '0')}${line}`)
  const fresh = await bench.attach()
  old.resumeReading()
  await user.untilPaused(false)
  user.type('END')
  await fresh.expectData('END')
  await settled(old)
  const numbers = (text: string): number[] => [...text.matchAll(/(\d{6})x/g)].map((match) => Number(match[1]))
  const seen = [...numbers(inputOf(old)), ...numbers(inputOf(fresh))]
  expect(seen).toEqual(Array.from({ length: typed }, (_, i) => i))
})

test('C28: a reconnect in the middle of a vMotion gets the port and what was typed; both old ends are closed', async () => {
  for (const peered of [false, true]) {
    const clock = new ManualClock()
    const bench = await Bench.start({ clock })
    const source = await bench.attach()
    const user = bench.console()
    const { cookie } = await begin(source)
    const destination = peered ? await bench.peered(cookie) : null
    user.type('held ')
    const fresh = await bench.attach()
    user.type('live')
    await fresh.expectData('held live')
    await settled(fresh)
    expect(bench.server.cookies.size).toBe(0)
    if (destination) expect((await destination.closed).how).toBe('proxy-fin')
    clock.advance(1_000)
    expect((await source.closed).how).toBe('proxy-fin')
    expect(inputOf(source)).toBe('')
    if (destination) expect(inputOf(destination)).toBe('')
    await bench.migrate(fresh)
  }
})

test('C28: two connections that both keep sending are two ports with one serviceURI: both can be reached, said once', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  // Time 0 is when nothing was ever superseded.
  clock.advance(1)
  const first = await bench.attach()
  const user = bench.console()
  const second = await bench.attach()
  clock.advance(700)
  first.data('I am another port')
  await bench.event('port-online', `${VM_ONE.id}:#2`)
  const parked = bench.console(`${VM_ONE.id}:#2`, { from: 0 })
  await parked.expectText('I am another port')
  clock.advance(60_000)
  second.data('second')
  await user.expectText('second')
  parked.type('to the first')
  await first.expectData('to the first')
  user.type('to the second')
  await second.expectData('to the second')
  expect(user.text).toBe('second')
  expect(bench.log.lines.filter((line) => /share a serviceURI/.test(line.message))).toHaveLength(1)
})
