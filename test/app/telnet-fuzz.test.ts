import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AO, AYT, DM, DO, DONT, GA, IAC, NOP, SB, SE, WILL, WONT } from '../../src/telnet/index.ts'
import { startGuarded, TokenFile } from './access/support.ts'
import { type AppUnderTest, eventually, RAW_VM, RawVm } from './support.ts'
import { atMenu, BareClient, freeRange, startTelnet, telnetPortOf } from './telnet-support.ts'

const VM_2 = 'tcp://127.0.0.1:0?protocol=raw&name=vm2'

/** What a VM gets of it, and how it is on the wire. No CR: what becomes of it depends on BINARY, and is tested elsewhere. */
interface Piece {
  readonly keys: readonly number[]
  readonly wire: readonly number[]
}

const byte = fc.integer({ min: 0, max: 255 })
const keys = fc.array(
  byte.filter((one) => one !== 0x0d),
  { maxLength: 20 },
)
const piece: fc.Arbitrary<Piece> = fc.oneof(
  {
    weight: 3,
    arbitrary: keys.map((all) => ({ keys: all, wire: all.flatMap((one) => (one === IAC ? [one, one] : [one])) })),
  },
  fc.constantFrom(NOP, AO, GA, DM, AYT, SE, 235).map((code) => ({ keys: [], wire: [IAC, code] })),
  fc.tuple(fc.constantFrom(WILL, WONT, DO, DONT), byte).map((said) => ({ keys: [], wire: [IAC, ...said] })),
  fc
    .array(
      byte.filter((one) => one !== IAC),
      { maxLength: 30 },
    )
    .map((payload) => ({ keys: [], wire: [IAC, SB, ...payload, IAC, SE] })),
)

/** Sends `bytes` cut at `cuts`. */
async function send(client: BareClient, bytes: Uint8Array, cuts: readonly number[]): Promise<void> {
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const end of [...ends, bytes.length]) {
    await new Promise((resolve) => client.socket.write(bytes.subarray(from, end), resolve))
    from = end
  }
}

async function attached(app: AppUnderTest, port: string): Promise<BareClient> {
  const client = await BareClient.to(await telnetPortOf(app, port))
  await client.next('"quit"\r\n')
  return client
}

test('whatever is negotiated in between, cut anywhere: the VM gets the keys, all of them, and nothing else', async () => {
  const app = await startTelnet()
  const vm = await RawVm.connect(app)
  let marks = 0
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 30 }), fc.array(fc.nat(), { maxLength: 8 }), async (pieces, cuts) => {
      const client = await attached(app, 'vm1')
      vm.received = Buffer.alloc(0)
      const end = `<end ${marks++}>`
      const wire = Buffer.concat([...pieces.map((one) => Buffer.from(one.wire)), Buffer.from(end)])
      await send(client, wire, cuts)
      await vm.hears(end)
      const expected = Buffer.concat([...pieces.map((one) => Buffer.from(one.keys)), Buffer.from(end)])
      expect(vm.received.toString('hex')).toBe(expected.toString('hex'))
      client.socket.destroy()
    }),
    { numRuns: 60 },
  )
}, 60_000)

/** Random keys with those in between that mean something to the menu, a login or a console. */
const noise = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\r',
        '\r\n',
        '\x05c',
        '\x05',
        '\x05cm',
        '\x05ck',
        '\x05cb',
        '\x05cw',
        '\x05cX',
        '\x05cY',
        '\x03',
        '\x1b[A',
      ),
      fc.constantFrom(
        'vm',
        'vm1\r',
        's vm1\r',
        'w\r',
        '1\r',
        '2\r',
        'x 2\r',
        'q',
        '?\r',
        '\xff\xf4',
        '\xff\xfa',
        '\xff',
      ),
      fc.array(byte, { maxLength: 40 }).map((all) => Buffer.from(all).toString('latin1')),
    ),
    { maxLength: 40 },
  )
  .map((parts) => Buffer.from(parts.join(''), 'latin1'))

test('noise at login, menu and console: nobody crashes, and not a byte of a port that is not theirs is seen or typed', async () => {
  const tokens = new TokenFile({
    one: { roles: ['supervisor'], ports: ['vm1'] },
    two: { roles: ['operator'], ports: ['vm2'] },
  })
  const app = await startGuarded(
    tokens,
    {},
    {
      listen: [RAW_VM, VM_2],
      telnet: { ports: await freeRange(), menu: '127.0.0.1:0' },
    },
  )
  const [vm1, vm2] = [await RawVm.connect(app, 0), await RawVm.connect(app, 1)]
  const owner = await BareClient.to(await telnetPortOf(app, 'vm2'))
  await owner.next('token: ')
  owner.write(`${tokens.of('two')}\r\0`)
  await owner.next('"quit"\r\n')
  let round = 0
  await fc.assert(
    fc.asyncProperty(noise, fc.array(fc.nat(), { maxLength: 6 }), fc.boolean(), async (bytes, cuts, knows) => {
      const client = await atMenu(app)
      if (knows) client.write(`${tokens.of('one')}\r\0`)
      await send(client, bytes, cuts)
      const marker = `<vm2 ${round++}>`
      await vm2.print(app, marker, 'vm2')
      await owner.hears(marker)
      owner.write('k')
      await eventually(() => vm2.received.length >= round)
      client.socket.end()
      await client.ended()
      expect(client.text).not.toContain('<vm2')
      if (!knows) expect(client.text).not.toContain('vm1')
    }),
    { numRuns: 60 },
  )
  // Only its owner typed.
  expect(vm2.received.toString()).toBe('k'.repeat(round))
  expect(app.server.counters.internalErrors).toBe(0)
  expect(vm1.closed).toBe(false)
  await eventually(() => app.server.table.resolve('vm1').consoles.length === 0)
}, 60_000)

test('floods of commands that nobody reads: bounded, and another person works on', async () => {
  const app = await startTelnet({ telnet: { portEscape: '^Ec' } }, { maxConsolesPerPort: 50 })
  const vm = await RawVm.connect(app)
  const others = await Promise.all(Array.from({ length: 30 }, async () => BareClient.to(await telnetPortOf(app))))
  const flood = await BareClient.to(await telnetPortOf(app))
  await flood.hears('^Ec . leaves')
  flood.socket.pause()
  const kinds = ['\x05cw', '\x05cbwords\r', '\x05cs\x05ca', '\x05cx', '\x05c?', '\x05cq', '\x05ck1\r', '\xff\xf6']
  for (const one of kinds) for (let i = 0; i < 20; i++) flood.write(one.repeat(5_000))
  const person = others[0] as BareClient
  person.write('work')
  await vm.hears('work')
  await vm.print(app, 'output')
  await person.hears('output')
  for (const other of others) expect(other.length).toBeLessThan(200_000)
  flood.socket.resume()
  await flood.hears('too many commands at once')
  expect(flood.length).toBeLessThan(1_000_000)
}, 60_000)

test('connections that are opened and left in every half-way state leave nothing behind', async () => {
  const app = await startTelnet()
  await RawVm.connect(app)
  const tcpPort = await telnetPortOf(app)
  for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
    for (const said of ['', '\xff', '\xff\xfb', '\xff\xfa\x18', '\x05', 'vm1', 'vm1\r\x05c', 'vm1\r\x05ck']) {
      for (const client of [await BareClient.to(tcpPort), await atMenu(app)]) {
        client.write(said)
        await client.hears('vm1')
        client.socket[how]()
      }
    }
  }
  await eventually(() => app.server.table.resolve('vm1').consoles.length === 0)
  await eventually(async () => /^vspc_telnet_connections 0$/m.test(await (await fetch(`${app.url}/metrics`)).text()))
  expect(app.server.counters.internalErrors).toBe(0)
})
