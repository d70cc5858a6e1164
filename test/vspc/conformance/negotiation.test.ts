import { expect, test } from 'vitest'
import { ManualClock } from '../../../src/base/index.ts'
import { encodeSub, encodeVerb, OPENINGS, type SimConnection } from '../../../src/sim/index.ts'
import type { VerbRule } from './stubborn-peer.ts'
import { Bench, bytes, inputOf, saidTo, settled, subPayload, vmFacts } from './support.ts'

const WILL = 251
const WONT = 252
const DO = 253
const DONT = 254
const VMWARE = 232
const COM_PORT = 44

/** Every negotiation verb the server sent on this connection. */
function verbsTo(vm: SimConnection): string[] {
  return saidTo(vm).filter((name) => /^(WILL|WONT|DO|DONT) /.test(name))
}

// C7

test('C7: WILL AUTHENTICATION as the only thing a VM says is answered DONT, once, before anything else has to come', async () => {
  const bench = await Bench.start()
  const vm = await bench.silent()
  vm.willAuth()
  await vm.expect('DONT AUTHENTICATION')
  expect(vm.recorded.count('DONT AUTHENTICATION')).toBe(1)
  expect(vm.recorded.count('SB AUTHENTICATION')).toBe(0)
})

test('C7: the offers go out at accept, without waiting for the VM to speak', async () => {
  const bench = await Bench.start()
  const vm = await bench.silent()
  for (const offer of ['WILL BINARY', 'WILL SGA', 'DO BINARY', 'DO SGA', 'DO VMWARE-TELNET-EXT']) await vm.expect(offer)
  expect(vm.recorded.sent.length).toBe(0)
})

// C8

test('C8: after negotiation BINARY and SGA are on both ways, and 232 on the side of the VM', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  expect(vm.settled).toBe(true)
  expect(vm.vmwareOn).toBe(true)
  expect(verbsTo(vm).sort()).toEqual(
    [
      ...['DO BINARY', 'DO COM-PORT', 'DO SGA', 'DO VMWARE-TELNET-EXT', 'DONT AUTHENTICATION'],
      ...['WILL BINARY', 'WILL ECHO', 'WILL SGA'],
    ].sort(),
  )
})

// C9

test.each(OPENINGS)('C9: a %s VM reaches DO-PROXY and gets WILL-PROXY', async (opening) => {
  const bench = await Bench.start()
  const vm = await bench.attach(1, 'vSPC.py', { opening })
  await vm.expect('WILL-PROXY')
  expect(vm.settled).toBe(true)
  const user = bench.console()
  user.type('in')
  await vm.expectData('in')
})

test('C9: a VM that offers 232 without ever answering our offers of BINARY and SGA is served', async () => {
  const bench = await Bench.start()
  const vm = await bench.silent()
  vm.will(VMWARE)
  await vm.expect('KNOWN-SUBOPTIONS-2')
  vm.doProxy('S', 'vSPC.py')
  vm.vcUuid(vmFacts(1).esxUuid)
  await bench.event('port-online', vmFacts(1).id)
})

test('C9: crossing offers cancel out: a VM that proposes everything at once draws no second round', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach(1, 'vSPC.py', { opening: 'proactive' })
  const counted = verbsTo(vm)
  expect(new Set(counted).size).toBe(counted.length)
})

// C10

const AGREES: Record<number, number> = { [WILL]: DO, [DO]: WILL, [WONT]: DONT, [DONT]: WONT }
const REFUSES: Record<number, number> = { [WILL]: DONT, [DO]: WONT, [WONT]: DONT, [DONT]: WONT }
const INSISTS: Record<number, number> = { [WILL]: DO, [DO]: WILL, [WONT]: DO, [DONT]: WILL }
const by = (table: Record<number, number>): VerbRule => {
  return (verb) => [table[verb] as number]
}

/** Verbs a peer may draw by answering ours: seven offers and requests, and one answer to each question of its own. */
const FEW = 40
/** And one that keeps asking for what it cannot have: each time a refusal, until it has had this many answers. */
const MOST = 128

test.each<[string, number, VerbRule]>([
  ['agrees to everything, answers included', FEW, by(AGREES)],
  ['agrees twice to everything', FEW, (verb) => [AGREES[verb] as number, AGREES[verb] as number]],
  ['mirrors every verb, and offers 232', FEW, (verb, option) => (option === VMWARE ? [WILL] : [verb])],
  ['insists: DO to each WONT and WILL to each DONT', MOST, by(INSISTS)],
  ['insists, and always offers 232', MOST, (verb, option) => [option === VMWARE ? WILL : (INSISTS[verb] as number)]],
  ['answers each verb with two questions of its own as well', MOST, (verb) => [AGREES[verb] as number, WILL, DO]],
])(
  'C10: a peer that %s hears a fixed number of verbs, then none, and its suboptions are still answered',
  async (_, most, rule) => {
    const bench = await Bench.start({ limits: { maxNegotiationReplies: MOST } })
    const peer = bench.stubborn(rule)
    peer.send(encodeVerb(WILL, VMWARE))
    peer.send(encodeVerb(WILL, 37))
    await peer.fence()
    // A round trip for each verb it may draw: whatever goes on after that goes on for ever.
    for (let i = 0; i < most; i++) await peer.fence()
    const settledAt = peer.heard.length
    for (let i = 0; i < 20; i++) await peer.fence()
    expect(peer.heard.length).toBe(settledAt)
    expect(settledAt).toBeLessThanOrEqual(most)
  },
)

test.each<[string, VerbRule]>([
  ['refuses everything, refusals included', by(REFUSES)],
  ['refuses 232 and insists on the rest', (verb, option) => [(option === VMWARE ? REFUSES : INSISTS)[verb] as number]],
  ['mirrors every verb', (verb) => [verb]],
])('C10: a peer that %s hears a fixed number of verbs, is told what this is, and closed', async (_, rule) => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const peer = bench.stubborn(rule)
  await peer.ended
  expect(peer.text).toMatch(/serial port concentrator/)
  expect(peer.heard.length).toBeLessThan(FEW)
})

test.each([
  ['WILL 37', encodeVerb(WILL, 37)],
  ['WILL of an unknown option', encodeVerb(WILL, 99)],
  ['DO of an unknown option', encodeVerb(DO, 99)],
  ['DO 232', encodeVerb(DO, VMWARE)],
  ['WILL, WONT 0', bytes('fffb00 fffc00')],
  ['DO, DONT 3', bytes('fffd03 fffe03')],
  ['WILL, WONT 44', bytes('fffb2c fffc2c')],
])('C10: %s repeated 20,000 times draws at most maxNegotiationReplies verbs, and the VM goes on', async (_, wire) => {
  const bench = await Bench.start({ limits: { maxNegotiationReplies: 64 } })
  const vm = await bench.attach()
  const user = bench.console()
  vm.sendRaw(Buffer.concat(Array.from({ length: 20_000 }, () => wire)))
  vm.data('after')
  await user.expectText('after')
  await settled(vm)
  expect(verbsTo(vm).length).toBeLessThanOrEqual(64)
  user.type('in')
  await vm.expectData('in')
  await bench.migrate(vm)
})

// C11

test.each([
  ['WONT BINARY', WONT, 0, 'DONT BINARY'],
  ['WONT SGA', WONT, 3, 'DONT SGA'],
  ['DONT BINARY', DONT, 0, 'WONT BINARY'],
  ['DONT SGA', DONT, 3, 'WONT SGA'],
  ['DONT ECHO', DONT, 1, 'WONT ECHO'],
  ['WONT COM-PORT', WONT, COM_PORT, 'DONT COM-PORT'],
])('C11: %s for an option that is on is acknowledged once; repeated, not at all', async (_, verb, option, answer) => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  await vm.expect('DO COM-PORT')
  const before = verbsTo(vm).length
  vm.verb(verb, option)
  await vm.expect(answer)
  for (let i = 0; i < 50; i++) vm.verb(verb, option)
  await settled(vm)
  expect(verbsTo(vm).slice(before)).toEqual([answer])
})

test('C11: WONT and DONT for options that are off, known or not, are not answered', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach(1, 'vSPC.py', { auto: { comPort: false } })
  const before = verbsTo(vm).length
  for (const option of [1, 37, 44, 5, 24, 99, 255]) vm.verb(WONT, option)
  for (const option of [37, 44, 232, 5, 24, 99, 255]) vm.verb(DONT, option)
  await settled(vm)
  expect(verbsTo(vm).slice(before)).toEqual([])
})

test('C11: an option turned off and on again is answered each time, and works', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const before = verbsTo(vm).length
  vm.sendRaw(bytes('fffc00 fffb00 fffe03 fffd03'))
  await settled(vm)
  expect(verbsTo(vm).slice(before)).toEqual(['DONT BINARY', 'DO BINARY', 'WONT SGA', 'WILL SGA'])
})

test('C11: WONT 232 on a live connection: acknowledged once, plain data go on, no suboption is sent any more', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const user = bench.console()
  vm.verb(WONT, VMWARE)
  await vm.expect('DONT VMWARE-TELNET-EXT')
  const items = vm.recorded.items.length
  vm.begin(bytes('01020304'))
  vm.suboption(99)
  vm.data('plain')
  await user.expectText('plain')
  user.type('in')
  await vm.expectData('in')
  expect(vm.recorded.items.slice(items).map((item) => item.name)).toEqual(['data'])
  expect(bench.port().state).toBe('online')
})

// C12

test('C12: unknown options get DONT or WONT, each once per request, 255 included', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const before = verbsTo(vm).length
  const options = [2, 4, 5, 6, 23, 24, 31, 32, 33, 34, 35, 36, 38, 39, 45, 200, 231, 233, 250, 254, 255]
  for (const option of options) {
    vm.verb(WILL, option)
    vm.verb(DO, option)
  }
  await settled(vm)
  const wanted = options.flatMap((option) => [`DONT option ${option}`, `WONT option ${option}`])
  expect(verbsTo(vm).slice(before)).toEqual(wanted)
})

test('C12: DO 232 gets WONT, DO 37 and DO 44 too; WILL 232 is never sent', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const before = verbsTo(vm).length
  for (const option of [VMWARE, 37, COM_PORT]) vm.verb(DO, option)
  await settled(vm)
  expect(verbsTo(vm).slice(before)).toEqual(['WONT VMWARE-TELNET-EXT', 'WONT AUTHENTICATION', 'WONT COM-PORT'])
  expect(bench.wire(vm).sentHex).not.toContain('fffbe8')
  // The refusal of one half leaves the other one alone.
  const user = bench.console()
  user.type('in')
  await vm.expectData('in')
})

// C13

/** RFC 2217: what a client sets, and how the access server has to confirm it. */
const SETTINGS: [name: string, command: number, value: number[], answer: number[]][] = [
  ['SET-BAUDRATE 9600', 1, [0, 0, 0x25, 0x80], [0, 0, 0x25, 0x80]],
  ['SET-DATASIZE 7', 2, [7], [7]],
  ['SET-PARITY even', 3, [3], [3]],
  ['SET-STOPSIZE 2', 4, [2], [2]],
  ['SET-CONTROL DTR on', 5, [8], [8]],
  ['SET-LINESTATE-MASK', 10, [16], [16]],
  ['SET-MODEMSTATE-MASK', 11, [255], [255]],
  ['PURGE-DATA', 12, [3], [3]],
]

test('C13: WILL 44 gets DO, and every SET is acknowledged with code + 100 and the value in force', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  await vm.expect('DO COM-PORT')
  for (const [name, command, value, answer] of SETTINGS) {
    vm.subnegotiation(COM_PORT, Uint8Array.of(command, ...value))
    expect([...(await subPayload(vm, `SB COM-PORT ${command + 100}`))], name).toEqual(answer)
  }
  expect(bench.port().info().line).toEqual({ baud: 9600, dataSize: 7, parity: 'even', stopSize: '2' })
})

test('C13: value 0 asks and changes nothing; a baud rate with 0xFF in it is doubled both ways', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  await vm.expect('DO COM-PORT')
  vm.sendRaw(encodeSub(COM_PORT, Uint8Array.of(1, 0, 0xff, 0xff, 0)))
  expect([...(await subPayload(vm, 'SB COM-PORT 101'))]).toEqual([0, 0xff, 0xff, 0])
  vm.subnegotiation(COM_PORT, Uint8Array.of(1, 0, 0, 0, 0))
  expect([...(await subPayload(vm, 'SB COM-PORT 101'))]).toEqual([0, 0xff, 0xff, 0])
  expect(bench.wire(vm).sentHex).toContain('fffa2c6500ffffffff00fff0')
})

test('C13: WILL 44 may come right behind PEER, before PEER-OK; settings on the destination are acknowledged', async () => {
  const bench = await Bench.start()
  const source = await bench.attach()
  const line = { baud: 19_200, dataSize: 8, parity: 1, stopSize: 1 }
  source.begin(bytes('0a0b0c0d'))
  const cookie = await subPayload(source, 'VMOTION-GOAHEAD')
  const destination = await bench.peered(cookie, 1, { line })
  await destination.expect('DO COM-PORT')
  await destination.expect('SB COM-PORT 104')
  destination.complete(bytes('0a0b0c0d'))
  await settled(destination)
  expect(bench.port().info()).toMatchObject({ vmotions: 1, line: { baud: 19_200 } })
})

test('C13: COM-PORT commands without value, unknown or cut short leave the connection as it was', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  await vm.expect('DO COM-PORT')
  const user = bench.console()
  for (const payload of [
    '',
    '01',
    '0100',
    '010000',
    '02',
    '03',
    '04',
    '05',
    '0a',
    '0b',
    '0c',
    '0d',
    '63',
    'ff',
    '02ff',
  ]) {
    vm.subnegotiation(COM_PORT, bytes(payload))
  }
  vm.data('after')
  await user.expectText('after')
  await settled(vm)
  await bench.migrate(vm)
})

test('C13: what is held back by FLOWCONTROL-SUSPEND follows RESUME, and a vMotion meanwhile loses none of it', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  await vm.expect('DO COM-PORT')
  const user = bench.console()
  user.type('one ')
  await vm.expectData('one ')
  vm.subnegotiation(COM_PORT, Uint8Array.of(8))
  await settled(vm)
  user.type('two ')
  await settled(vm)
  expect(inputOf(vm)).toBe('one ')
  vm.subnegotiation(COM_PORT, Uint8Array.of(9))
  await vm.expectData('two ')
  vm.subnegotiation(COM_PORT, Uint8Array.of(8))
  await settled(vm)
  user.type('three')
  const destination = await bench.migrate(vm)
  await destination.expectData('three')
  expect(inputOf(vm)).toBe('one two ')
})

// C14

test('C14: VM output is never echoed back, although ECHO was offered and accepted', async () => {
  const bench = await Bench.start()
  const vm = await bench.attach()
  const user = bench.console()
  vm.data('printed by the guest')
  await user.expectText('printed by the guest')
  await settled(vm)
  expect(vm.recorded.received.length).toBe(0)
})

test("C14: a person's telnet client on the VM port is told so and closed, and creates no port", async () => {
  const bench = await Bench.start()
  // What a Linux telnet client answers: SGA and BINARY yes, the rest no.
  const client = bench.stubborn((verb, option) => {
    const yes = option === 3 || option === 0 || (option === 1 && verb === WILL)
    return [(yes ? AGREES : REFUSES)[verb] as number]
  })
  await client.ended
  expect(client.text).toMatch(/people do not[\s\S]*vspc attach/)
  expect(client.text).toMatch(/\r\n$/)
  expect(bench.portIds).toEqual([])
  expect(bench.server.counters.notVmwarePeers).toBe(1)
})

test('C14: a client that never negotiates (netcat) is told so and closed after negotiationMs, and creates no port', async () => {
  const clock = new ManualClock()
  const bench = await Bench.start({ clock })
  const client = bench.stubborn(() => [])
  client.send(Buffer.from('hello?\r\n'))
  const vm = await bench.attach()
  clock.advance(10_000)
  await client.ended
  expect(client.text).toMatch(/virtual machines connect here/)
  expect(bench.portIds).toEqual([vmFacts(1).id])
  // The VM agreed in time: no timer of the negotiation may be left for it.
  await settled(vm)
})
