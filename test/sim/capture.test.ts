import { afterEach, describe, expect, it } from 'vitest'
import { SimConnection, type WriteSplit } from '../../src/sim/index.ts'
import { ASK_IDENTITY, DONT_COM_PORT, hex, KNOWN_2, OFFERS, ProxyDouble, WILL_PROXY } from './proxy-double.ts'

// VM side of streams 0 and 1 of VMware's (synthetic) capture, frame by frame; see protocol.md sections 5 and 7.1.
const AUTH = 'FF FB 25'
const OPTIONS = 'FF FD 00  FF FD 03 FF FD 01 FF FB 00  FF FB 03  FF FB E8'
const KNOWN_1 = 'FF FA E8 00 00 01 02 03 28 29 2B 2C 2D 2E 30 46 47 49 50 51 54 55 56 57 52 53 FF F0'
const DO_PROXY = 'FF FA E8 46 53 76 53 50 43 2E 70 79 FF F0'
const UUID = `FF FA E8 50 ${Buffer.from('01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00').toString('hex')} FF F0`
const NAME = `FF FA E8 52 ${Buffer.from('vm-00000').toString('hex')} FF F0`
const COM_PORT = 'FF FB 2C'
const SEQUENCE = hex('44 DA 87 F1')
const SECRET = hex('3C E6 4D AB')

const splits: (WriteSplit | undefined)[] = [undefined, 'bytes', 'glue', { at: 1 }, { every: 7 }]

let proxy: ProxyDouble
const vms: SimConnection[] = []

afterEach(async () => {
  for (const vm of vms.splice(0)) vm.abort()
  await proxy.close()
})

function sees(length: number) {
  return (connection: { raw: Buffer }) => connection.raw.length >= length
}

describe('the VM of the capture', () => {
  it.each(splits)('stream 0, byte for byte, up to BEGIN and FIN (writes cut: %j)', async (split) => {
    proxy = await ProxyDouble.listen({}, true)
    const vm = new SimConnection({ target: proxy.target, split })
    vms.push(vm)
    const wire = await proxy.connection(0)
    const wanted = hex(AUTH + OPTIONS + KNOWN_1 + DO_PROXY + UUID + NAME + COM_PORT)

    await wire.until(sees(3))
    expect(wire.raw).toEqual(hex(AUTH))
    wire.send(OFFERS)
    await wire.until(sees(hex(AUTH + OPTIONS).length))
    wire.send(KNOWN_2)
    wire.send(ASK_IDENTITY)
    await wire.until(sees(hex(AUTH + OPTIONS + KNOWN_1 + DO_PROXY + UUID + NAME).length))
    wire.send(WILL_PROXY)
    await wire.until(sees(wanted.length))
    expect(wire.raw).toEqual(wanted)
    wire.send(DONT_COM_PORT)

    vm.data('console \xff output')
    vm.begin(SEQUENCE)
    const goahead = vm.expect('VMOTION-GOAHEAD')
    await wire.until((c) => c.tokens.includes('FFFAE82844DA87F1FFF0'))
    wire.send(hex('FF FA E8 29 44 DA 87 F1 3C E6 4D AB FF F0'))
    expect(await goahead).toMatchObject({ payload: new Uint8Array([...SEQUENCE, ...SECRET]) })
    vm.fin()
    await wire.until((c) => c.ended)
    expect(wire.raw.subarray(wanted.length)).toEqual(
      Buffer.concat([Buffer.from('console \xc3\xbf output', 'latin1'), hex('FF FA E8 28 44 DA 87 F1 FF F0')]),
    )
  })

  it.each(splits)('stream 1, the destination: PEER in the place of DO-PROXY (writes cut: %j)', async (split) => {
    proxy = await ProxyDouble.listen({}, true)
    const payload = Buffer.concat([SEQUENCE, SECRET])
    const vm = new SimConnection({ target: proxy.target, split, announcement: { kind: 'peer', payload } })
    vms.push(vm)
    const wire = await proxy.connection(0)
    const peer = 'FF FA E8 2C 44 DA 87 F1 3C E6 4D AB FF F0'
    const opened = hex(AUTH + OPTIONS + KNOWN_1 + peer + COM_PORT)
    const complete = 'FF FA E8 2E 44 DA 87 F1 FF F0'

    await wire.until(sees(3))
    wire.send(Buffer.concat([OFFERS, KNOWN_2]))
    await wire.until(sees(opened.length))
    expect(wire.raw).toEqual(opened)
    wire.send(Buffer.concat([ASK_IDENTITY, hex('FF FA E8 2D 44 DA 87 F1 FF F0'), DONT_COM_PORT]))
    await vm.expect('VMOTION-PEER-OK')
    vm.complete(SEQUENCE)
    const all = hex(AUTH + OPTIONS + KNOWN_1 + peer + COM_PORT + UUID + NAME + complete)
    await wire.until(sees(all.length))
    expect(wire.raw).toEqual(all)
  })

  it('C2: sequence 76 19 FF E9 is doubled on the way out and halved on the way in', async () => {
    proxy = await ProxyDouble.listen({}, true)
    const vm = new SimConnection({ target: proxy.target, auto: false })
    vms.push(vm)
    const wire = await proxy.connection(0)
    await vm.opened
    vm.begin(hex('76 19 FF E9'))
    vm.peer(hex('76 19 FF E9'), hex('55 FF FF 8C'))
    vm.complete(hex('76 19 FF E9'))
    const wanted = hex(
      'FF FA E8 28 76 19 FF FF E9 FF F0  FF FA E8 2C 76 19 FF FF E9 55 FF FF FF FF 8C FF F0  FF FA E8 2E 76 19 FF FF E9 FF F0',
    )
    await wire.until(sees(wanted.length))
    expect(wire.raw).toEqual(wanted)
    wire.send(hex('FF FA E8 29 76 19 FF FF E9 55 21 99 8C FF F0'))
    expect(await vm.expect('VMOTION-GOAHEAD')).toMatchObject({
      payload: Uint8Array.of(0x76, 0x19, 0xff, 0xe9, 0x55, 0x21, 0x99, 0x8c),
    })
  })
})
