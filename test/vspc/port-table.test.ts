import { describe, expect, test } from 'vitest'
import type { Server } from '../../src/vspc/index.ts'
import { portOf, TestConsole, testServer } from './support.ts'
import { bootVm, CODE, ID, ID2, migrateTo, turn, UUID, UUID2, VmPeer } from './vm-peer.ts'

const A = '0a000000-0000-0000-0000-000000000001'
const B = '0b000000-0000-0000-0000-000000000002'

/** One port per `name uuid label`; a dash for no label. */
async function serverWith(...vms: string[]): Promise<Server> {
  const { server } = testServer()
  for (const vm of vms) {
    const [name = '', uuid = '', label = '-'] = vm.split(' ')
    await bootVm(server, { name, uuid, uri: label === '-' ? 'vSPC.py' : `vSPC.py?port=${label}` })
  }
  return server
}

const codeOf = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return (error as { code?: unknown }).code
  }
  return null
}

describe('resolve: what people type', () => {
  test.each([
    [A],
    [A.toUpperCase()],
    [A.replaceAll('-', '')],
    ['0a 00 00 00 00 00 00 00-00 00 00 00 00 00 00 01'],
    [`{${A}}`],
    ['web'],
    ['WEB'],
    ['we'],
    ['0a00'],
    ['0a000000-00'],
    ['0A000000'],
  ])('%s is the one port of that VM', async (text) => {
    const server = await serverWith(`web ${A}`, `database ${B}`)
    expect(server.table.resolve(text).id).toBe(A)
  })

  test.each([
    ['web/com1', `${A}:com1`],
    ['web/com2', `${A}:com2`],
    [`${A}:com2`, `${A}:com2`],
    [`${A.toUpperCase()}:com2`, `${A}:com2`],
    [`${A}/com2`, `${A}:com2`],
    [`${A.replaceAll('-', '')}/com2`, `${A}:com2`],
    ['web:com1', `${A}:com1`],
  ])('%s is %s', async (text, id) => {
    const server = await serverWith(`web ${A} com1`, `web ${A} com2`, `database ${B} com1`)
    expect(server.table.resolve(text).id).toBe(id)
  })

  test.each(['web', 'WEB', 'w', A, A.replaceAll('-', ''), '0a00', '0a000000-0000'])(
    'the VM alone (%s) means its port without a label, if it has one',
    async (text) => {
      const server = await serverWith(`web ${A} com1`, `web ${A} -`)
      expect(server.table.resolve(text).id).toBe(A)
    },
  )

  test.each(['web', 'Web', 'we', A, '0a00'])(
    '%s is ambiguous while all ports have labels, and says which',
    async (text) => {
      const server = await serverWith(`web ${A} com1`, `web ${A} com2`)
      expect(codeOf(() => server.table.resolve(text))).toBe('VSPC_PORT_AMBIGUOUS')
      expect(() => server.table.resolve(text)).toThrow(/web\/com1 .*web\/com2/)
    },
  )

  test('two VMs of one name are ambiguous by name, not by UUID [C26]', async () => {
    const server = await serverWith(`web ${A}`, `web ${B}`)
    expect(server.table.size).toBe(2)
    expect(codeOf(() => server.table.resolve('web'))).toBe('VSPC_PORT_AMBIGUOUS')
    expect(server.table.resolve(B).id).toBe(B)
  })

  test('a name that is the beginning of another means the VM of that name', async () => {
    const server = await serverWith(`web ${A}`, `web2 ${B}`)
    expect(server.table.resolve('web').id).toBe(A)
    expect(codeOf(() => server.table.resolve('we'))).toBe('VSPC_PORT_AMBIGUOUS')
  })

  test('case decides between names that differ in nothing else', async () => {
    const server = await serverWith(`web ${A}`, `Web ${B}`)
    expect(server.table.resolve('web').id).toBe(A)
    expect(server.table.resolve('Web').id).toBe(B)
    expect(codeOf(() => server.table.resolve('WEB'))).toBe('VSPC_PORT_AMBIGUOUS')
  })

  test('a name may contain what separates names from labels', async () => {
    const server = await serverWith(`a/b ${A}`, `c:d ${B} com1`)
    expect(server.table.resolve('a/b').id).toBe(A)
    expect(server.table.resolve('c:d').id).toBe(`${B}:com1`)
    expect(server.table.resolve('c:d/com1').id).toBe(`${B}:com1`)
  })

  test('many candidates: the first five and how many more', async () => {
    const server = await serverWith(...Array.from({ length: 8 }, (_, i) => `vm-${i} ${A.slice(0, -1)}${i}`))
    expect(() => server.table.resolve('vm')).toThrow(/matches 8 ports: .*vm-4.*, and 3 more/)
  })

  test.each(['', ' ', 'nobody', 'web/com9', '0f00', '/', ':', 'web/', `${B}`, '.*', '%'])(
    '%j is no port, and says what to do',
    async (text) => {
      const server = await serverWith(`web ${A} com1`)
      expect(codeOf(() => server.table.resolve(text))).toBe('VSPC_PORT_NOT_FOUND')
      expect(() => server.table.resolve(text)).toThrow('vspc ports')
    },
  )

  test('with no port at all it says so', () => {
    const { server } = testServer()
    expect(() => server.table.resolve('vm1')).toThrow('no VM has connected yet')
  })

  test('a BIOS UUID finds the VM that is known by its VC UUID', async () => {
    const { server } = testServer()
    const vm = await bootVm(server)
    vm.say(CODE.VM_BIOS_UUID, B)
    expect(server.table.resolve(B).id).toBe(ID)
  })
})

describe('identity over time', () => {
  test('a reconnect with the same id takes over: same port, same console, one stream [C28]', async () => {
    const { server, events } = testServer()
    const first = await bootVm(server, { address: '10.0.0.1' })
    const console = new TestConsole(portOf(server, ID))
    first.print('one ')
    const second = await bootVm(server, { address: '10.0.0.2' })
    second.print('two')
    console.type('x')
    expect([console.text, first.input, second.input]).toEqual(['one two', '', 'x'])
    expect(server.table.size).toBe(1)
    expect(server.counters.takeovers).toBe(1)
    expect(portOf(server, ID).info()).toMatchObject({ state: 'online', host: '10.0.0.2', consoles: 1 })
    expect(events.filter(({ type }) => type === 'port-added')).toHaveLength(1)
  })

  test('the superseded connection is closed within a second, after what it had sent [C28]', async () => {
    const { server, clock } = testServer()
    const first = await bootVm(server)
    const second = await bootVm(server)
    const console = new TestConsole(portOf(server, ID))
    first.print('late')
    expect(console.text).toBe('late')
    clock.advance(999)
    expect(first.ended).toBe(false)
    clock.advance(1)
    await turn()
    expect(first.ended).toBe(true)
    expect(second.ended).toBe(false)
    // Half-open: it never answers our FIN.
    clock.advance(5_000)
    expect(first.socket.destroyed).toBe(true)
  })

  test('two connections that keep sending under one id are two ports; the older gets "#2" and loses no byte', async () => {
    const { server, clock, log } = testServer()
    const first = await bootVm(server)
    const second = await bootVm(server)
    clock.advance(600)
    first.print('from the first')
    second.print('from the second')
    const parked = portOf(server, `${ID}:#2`)
    expect(parked.state).toBe('online')
    expect(Buffer.from(parked.history.read(0, 100) ?? []).toString()).toBe('from the first')
    expect(Buffer.from(portOf(server, ID).history.read(0, 100) ?? []).toString()).toBe('from the second')
    new TestConsole(parked).type('a')
    new TestConsole(portOf(server, ID)).type('b')
    expect([first.input, second.input]).toEqual(['a', 'b'])
    clock.advance(20_000)
    await turn()
    expect([first.ended, second.ended]).toEqual([false, false])
    expect(log.matching(/two serial ports share a serviceURI/)).toHaveLength(1)
  })

  test('a parked port keeps name and UUID, migrates on its own, and is announced as added before anything else', async () => {
    const { server, clock, events } = testServer()
    const first = await bootVm(server)
    await bootVm(server)
    clock.advance(600)
    const before = events.length
    first.print('x')
    const types = events.slice(before).map(({ type }) => type)
    expect(types).toEqual(['port-added', 'port-online'])
    const parked = portOf(server, `${ID}:#2`)
    expect(parked.info().vm).toMatchObject({ name: 'vm1', uuid: ID })
    first.say(CODE.BEGIN, [7])
    const destination = await migrateTo(server, first.cookie)
    destination.say(CODE.COMPLETE, [7])
    destination.print('y')
    // What the old source still sends long after is its port's output, not the sign of yet another port.
    clock.advance(5_000)
    first.print('z')
    expect(Buffer.from(parked.history.read(0, 9) ?? []).toString()).toBe('xyz')
    expect(portOf(server, ID).vmotions).toBe(0)
    expect(server.table.countOf(ID)).toBe(2)
  })

  test('parking again and again: each live connection has an id, gone ones are used again', async () => {
    const { server, clock } = testServer()
    const vms: VmPeer[] = []
    for (let i = 0; i < 4; i++) {
      vms.push(await bootVm(server))
      clock.advance(600)
      vms.at(-2)?.print(`${i}`)
    }
    const ids = [...server.table].map(({ id }) => id).sort()
    expect(ids).toEqual([ID, `${ID}:#2`, `${ID}:#3`, `${ID}:#4`])
    vms[0]?.reset()
    await turn()
    await bootVm(server)
    clock.advance(600)
    vms[3]?.print('again')
    expect([...server.table].map(({ id }) => id).sort()).toEqual(ids)
    expect(portOf(server, `${ID}:#2`).handover.source).toBe(vms[3]?.session)
    expect(server.table.countOf(ID)).toBe(4)
  })

  test('a connection told FIN long ago gets no port of its own, and what it still sends is kept', async () => {
    const { server, clock } = testServer()
    const first = await bootVm(server)
    await bootVm(server)
    clock.advance(1_100)
    first.print('late')
    expect(server.table.size).toBe(1)
    expect(Buffer.from(portOf(server, ID).history.read(0, 9) ?? []).toString()).toBe('late')
  })

  test('a rename keeps port, id and console, and tells both [C26]', async () => {
    const { server, events } = testServer()
    const vm = await bootVm(server)
    const port = portOf(server, ID)
    const console = new TestConsole(port)
    vm.say(CODE.VM_NAME, 'vm1')
    expect(console.told('renamed')).toEqual([])
    vm.say(CODE.VM_NAME, 'web')
    expect(console.told('renamed')).toEqual([{ type: 'renamed', name: 'web', port: ID }])
    expect(events.at(-1)).toMatchObject({ type: 'port-renamed', port: { id: ID, vm: { name: 'web' } } })
    expect(server.table.resolve('web')).toBe(port)
    expect(codeOf(() => server.table.resolve('vm1'))).toBe('VSPC_PORT_NOT_FOUND')
  })

  test('a hostile name is cleaned before anybody sees it [C25]', async () => {
    const { server } = testServer()
    await bootVm(server, { name: '\x1b[31mroot\x07\r\nevil' })
    expect(portOf(server, ID).name).toBe('[31mrootevil')
  })

  test('a VM that does not tell its UUID in time is named by what it has, and by its UUID once that comes [C24]', async () => {
    const { server, clock, events } = testServer()
    const vm = await bootVm(server, { uuid: null })
    expect(server.table.size).toBe(0)
    clock.advance(3_000)
    const port = portOf(server, 'name:vm1')
    const console = new TestConsole(port)
    vm.say(CODE.VM_VC_UUID, UUID)
    expect(server.table.get('name:vm1')).toBeUndefined()
    expect(portOf(server, ID)).toBe(port)
    expect(events.at(-1)).toMatchObject({ type: 'port-rekeyed', previousId: 'name:vm1', port: { id: ID } })
    expect(console.told('renamed')).toEqual([{ type: 'renamed', name: 'vm1', port: ID }])
    expect([server.table.countOf('name:vm1'), server.table.countOf(ID)]).toEqual([0, 1])
  })

  test('a label survives the late UUID, and a vMotion after it [C27]', async () => {
    const { server, clock } = testServer()
    const vm = await bootVm(server, { uuid: null, uri: 'vSPC.py?port=com2' })
    clock.advance(3_000)
    vm.say(CODE.VM_VC_UUID, UUID)
    const port = portOf(server, `${ID}:com2`)
    vm.say(CODE.BEGIN, [1])
    const destination = await migrateTo(server, vm.cookie)
    destination.say(CODE.COMPLETE, [1])
    expect(port.handover.source).toBe(destination.session)
    expect(port.info()).toMatchObject({ id: `${ID}:com2`, label: 'com2', direction: 'server' })
  })

  test('without name and UUID the address has to do; a BIOS UUID is better [C24]', async () => {
    const { server, clock } = testServer()
    const nameless = await bootVm(server, { uuid: null, name: null, address: '10.0.0.9' })
    const bios = await bootVm(server, { uuid: null, name: null, address: '10.0.0.8' })
    bios.say(CODE.VM_BIOS_UUID, UUID2)
    clock.advance(3_000)
    expect([...server.table].map(({ id }) => id).sort()).toEqual([ID2, 'addr:10.0.0.9'].sort())
    expect([nameless.said(CODE.WILL_PROXY), bios.said(CODE.WILL_PROXY)]).toEqual([[''], ['']])
  })

  test('a late UUID that names another port takes nothing over', async () => {
    const { server, clock, log } = testServer()
    const known = await bootVm(server)
    const late = await bootVm(server, { uuid: null, name: 'vm2' })
    clock.advance(3_000)
    late.say(CODE.VM_VC_UUID, UUID)
    expect(portOf(server, ID).handover.source).toBe(known.session)
    expect(portOf(server, 'name:vm2').handover.source).toBe(late.session)
    expect(log.matching(/names another port/)).toHaveLength(1)
  })

  test('a late UUID that names an offline port brings the VM back to those who wait there', async () => {
    const { server, clock } = testServer()
    const first = await bootVm(server)
    first.print('one ')
    const console = new TestConsole(portOf(server, ID), { from: 0 })
    first.reset()
    await turn()
    console.type('typed')
    const late = await bootVm(server, { uuid: null, name: 'vm1' })
    clock.advance(3_000)
    late.print('lost to haste')
    late.say(CODE.VM_VC_UUID, UUID)
    late.print('two')
    expect([console.text, late.input]).toEqual(['one two', 'typed'])
    expect(portOf(server, ID)).toMatchObject({ state: 'online', vcUuid: ID })
    expect(portOf(server, 'name:vm1').state).toBe('offline')
    expect(late.session.port?.id).toBe(ID)
    // And it can move from there.
    late.say(CODE.BEGIN, [1])
    const next = await migrateTo(server, late.cookie)
    next.say(CODE.COMPLETE, [1])
    expect(portOf(server, ID).handover.source).toBe(next.session)
  })

  test('a late UUID in the middle of a vMotion moves nothing', async () => {
    const { server, clock } = testServer()
    const first = await bootVm(server)
    first.reset()
    await turn()
    const late = await bootVm(server, { uuid: null, name: 'vm1' })
    clock.advance(3_000)
    late.say(CODE.BEGIN, [1])
    late.say(CODE.VM_VC_UUID, UUID)
    // Typed at a stunned VM that is about to leave it would be lost.
    new TestConsole(portOf(server, ID)).type('typed')
    expect(late.input).toBe('')
    const next = await migrateTo(server, late.cookie)
    expect(next.said(CODE.PEER_OK)).toHaveLength(1)
    next.say(CODE.COMPLETE, [1])
    const owners = [...server.table].filter(({ handover }) => handover.source === next.session)
    expect(owners).toHaveLength(1)
    expect([...server.table].filter(({ state }) => state === 'migrating')).toEqual([])
    expect(server.cookies.size).toBe(0)
  })

  test('a parked twin of a port whose late UUID names another is counted once, under the key it has', async () => {
    const { server, clock, events } = testServer()
    await bootVm(server)
    const first = await bootVm(server, { uuid: null, name: 'vm2' })
    clock.advance(3_000)
    first.say(CODE.VM_VC_UUID, UUID)
    await bootVm(server, { uuid: null, name: 'vm2' })
    clock.advance(3_000)
    clock.advance(600)
    const before = events.length
    first.print('still here')
    expect([...server.table].map(({ id }) => id).sort()).toEqual([ID, 'name:vm2', 'name:vm2:#2'].sort())
    expect([server.table.countOf(ID), server.table.countOf('name:vm2')]).toEqual([1, 2])
    expect(events.slice(before).map(({ type }) => type)).toEqual(['port-added', 'port-online'])
  })

  test('a UUID that changes on an attached port changes nothing', async () => {
    const { server, log } = testServer()
    const vm = await bootVm(server)
    vm.say(CODE.VM_VC_UUID, UUID2)
    expect([...server.table].map(({ id }) => id)).toEqual([ID])
    expect(log.matching(/VM-VC-UUID changed/)).toHaveLength(1)
  })
})

describe('caps', () => {
  test('maxPortsPerVm: one label too many stays unattached, is told nothing wrong, and is closed later', async () => {
    const { server, clock, log } = testServer({ maxPortsPerVm: 2 })
    await bootVm(server, { uri: 'x?port=a' })
    await bootVm(server, { uri: 'x?port=b' })
    const third = await bootVm(server, { uri: 'x?port=c' })
    third.print('noise')
    expect(server.table.size).toBe(2)
    expect(log.matching(/maxPortsPerVm/)).toHaveLength(1)
    clock.advance(29_999)
    expect(third.ended).toBe(false)
    clock.advance(1)
    await turn()
    expect(third.ended).toBe(true)
    // Others are not concerned, nor is a known label.
    expect((await bootVm(server, { uri: 'x?port=b' })).session.role).toBe('source')
    expect((await bootVm(server, { uuid: UUID2, uri: 'x?port=a' })).session.role).toBe('source')
  })

  test('a forgotten port makes room for another of its VM', async () => {
    const { server } = testServer({ maxPortsPerVm: 2 })
    await bootVm(server, { uri: 'x?port=a' })
    const second = await bootVm(server, { uri: 'x?port=b' })
    second.reset()
    await turn()
    server.forget(portOf(server, `${ID}:b`))
    expect(server.table.countOf(ID)).toBe(1)
    expect((await bootVm(server, { uri: 'x?port=c' })).session.role).toBe('source')
    expect((await bootVm(server, { uri: 'x?port=d' })).session.role).toBe('refused')
  })

  test('maxPorts: known ports come back, new ones do not', async () => {
    const { server } = testServer({ maxPorts: 1 })
    await bootVm(server)
    expect((await bootVm(server, { uuid: UUID2 })).session.role).toBe('refused')
    expect((await bootVm(server)).session.role).toBe('source')
    expect(server.table.size).toBe(1)
  })

  test('a raw line has the name it was configured with, or the address of its peer', async () => {
    const { server } = testServer()
    const named = new VmPeer(server, { protocol: 'raw', name: 'vm9', label: 'com1' })
    const nameless = new VmPeer(server, { protocol: 'raw' }, '10.0.0.7')
    await turn()
    named.print('hello')
    expect(server.table.resolve('vm9/com1').id).toBe('name:vm9:com1')
    expect(portOf(server, 'addr:10.0.0.7').handover.source).toBe(nameless.session)
    expect(portOf(server, 'name:vm9:com1').info()).toMatchObject({ protocol: 'raw', bytesFromVm: 5, direction: null })
  })
})
