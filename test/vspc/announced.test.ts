import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseEndpoint, parseTrustedSources, type TcpEndpoint } from '../../src/transport/index.ts'
import type { PortInfo, Server } from '../../src/vspc/index.ts'
import { dialWire, eventually, Wire } from './loopback.ts'
import { portOf, TestConsole, type TestServer, testServer } from './support.ts'
import { bytesOf, CODE, frame, HELLO, ID, UUID } from './vm-peer.ts'

const TRUSTED = parseTrustedSources(['127.0.0.0/8', 'unix'])

async function started(query: string, trusted = TRUSTED): Promise<TestServer> {
  const listen = [parseEndpoint(`tcp://127.0.0.1:0?proxy=v2${query}`, 'listen', 'vm')]
  const setup = testServer({}, { listen, trusted })
  await setup.server.start()
  onTestFinished(async () => {
    const stopped = setup.server.stop()
    setup.clock.advance(10_000)
    await stopped
  })
  return setup
}

interface Said {
  /** An IPv4 address; the port is 51234. */
  readonly from?: string
  readonly origin?: string
  readonly id?: string
  readonly label?: string
}

/** A PROXY header, written from the standard and not with our encoder. */
function header({ from, origin, id, label }: Said): Buffer {
  const tlv = (type: number, text: string | undefined): number[] =>
    text === undefined ? [] : [type, 0, Buffer.byteLength(text), ...Buffer.from(text)]
  const addresses = from === undefined ? [] : [...from.split('.').map(Number), 192, 0, 2, 1, 0xc8, 0x22, 0x34, 0x3a]
  const body = [...addresses, ...tlv(0x05, id), ...tlv(0xe0, label), ...tlv(0xe1, origin)]
  const family = from === undefined ? 0x00 : 0x11
  return Buffer.from([...Buffer.from('\r\n\r\n\0\r\nQUIT\n'), 0x21, family, 0, body.length, ...body])
}

/** A relay that connects, and announces. */
async function relayed(server: Server, said: Said): Promise<Wire> {
  const wire = await dialWire((server.listening[0] as TcpEndpoint).tcpPort)
  wire.send(header(said))
  return wire
}

async function online(server: Server, id: string): Promise<PortInfo> {
  await eventually(
    `${id} is online, not only ${[...server.table].map((port) => port.id)}`,
    () => server.table.get(id)?.state === 'online',
  )
  return portOf(server, id).info()
}

describe('a raw stream', () => {
  test.each([
    ['420F4E3430BAD9BED4A30B6C3C2BD6A1'],
    ['42 0f 4e 34 30 ba d9 be-d4 a3 0b 6c 3c 2b d6 a1'],
    ['420f4e34-30ba-d9be-d4a3-0b6c3c2bd6a1'],
  ])('is the port of the VM whose UUID is announced, written %s', async (id) => {
    const { server } = await started('&protocol=raw')
    const wire = await relayed(server, { from: '10.0.0.7', id })
    wire.send('login: ')
    const port = await online(server, '420f4e34-30ba-d9be-d4a3-0b6c3c2bd6a1')
    expect(port).toMatchObject({
      vm: { name: '', uuid: '420f4e34-30ba-d9be-d4a3-0b6c3c2bd6a1' },
      label: null,
      host: '10.0.0.7',
      transport: 'tcp',
    })
    const console = new TestConsole(portOf(server, port.id), { from: 0 })
    await eventually('the output', () => console.text === 'login: ')
    console.type('root\n')
    await eventually('the input', () => wire.text === 'root\n')
  })

  test('is the port of the VM whose name is announced, and of its label', async () => {
    const { server } = await started('&protocol=raw')
    await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    await relayed(server, { from: '10.0.0.7', id: 'vm7', label: 'com2' })
    expect(await online(server, 'name:vm7')).toMatchObject({ vm: { name: 'vm7', uuid: null }, label: null })
    expect(await online(server, 'name:vm7:com2')).toMatchObject({ vm: { name: 'vm7' }, label: 'com2' })
  })

  test('that is announced has no use for what the listener says of others', async () => {
    const { server } = await started('&protocol=raw&name=standard&label=com9')
    await relayed(server, { from: '10.0.0.7', id: 'vm7', label: 'com2' })
    await relayed(server, { from: '10.0.0.7', id: UUID })
    await relayed(server, { from: '10.0.0.7', label: 'com3' })
    await relayed(server, { from: '10.0.0.7' })
    await online(server, 'name:vm7:com2')
    expect((await online(server, `${ID}:com9`)).vm.name).toBe('')
    await online(server, 'name:standard:com3')
    await online(server, 'name:standard:com9')
    expect(server.table.size).toBe(4)
  })

  test('of whom nothing is said is that of where it comes from; CIDs of two hosts are two', async () => {
    const { server } = await started('&protocol=raw')
    await relayed(server, { from: '10.0.0.7' })
    await relayed(server, { origin: 'vsock:5:1111' })
    await relayed(server, { origin: 'vsock:5:1111@10.0.0.8' })
    await online(server, 'addr:10.0.0.7')
    expect(await online(server, 'addr:vsock:5@127.0.0.1')).toMatchObject({
      host: 'vsock:5@127.0.0.1',
      transport: 'tcp',
    })
    await online(server, 'addr:vsock:5@10.0.0.8')
  })

  test('that comes again, by whatever relay, has the same port with its history', async () => {
    const { server, events } = await started('&protocol=raw')
    const first = await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    first.send('one ')
    await eventually('the output', () => server.table.get('name:vm7')?.history.next === 4)
    first.socket.destroy()
    await eventually('offline', () => server.table.get('name:vm7')?.state === 'offline')
    const second = await relayed(server, { from: '10.0.0.8', id: 'vm7' })
    second.send('two')
    expect((await online(server, 'name:vm7')).host).toBe('10.0.0.8')
    const console = new TestConsole(portOf(server, 'name:vm7'), { from: 0 })
    await eventually('all the output', () => console.text === 'one two')
    expect(server.table.size).toBe(1)
    expect(events.filter(({ type }) => type === 'port-added')).toHaveLength(1)
  })

  test('that says nothing does not take the port from one that is connected; another VM does not wait for it', async () => {
    const { server, clock } = await started('&protocol=raw')
    const first = await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    await online(server, 'name:vm7')
    await relayed(server, { from: '10.0.0.8', id: 'vm7' })
    await relayed(server, { from: '10.0.0.8', id: 'vm8' })
    await online(server, 'name:vm8')
    await eventually('all connections are known', () => server.connections === 3)
    expect(portOf(server, 'name:vm7').info().host).toBe('10.0.0.7')
    expect(first.over).toBe(false)
    clock.advance(server.limits.newcomerMs)
    expect(portOf(server, 'name:vm7').info().host).toBe('10.0.0.8')
  })

  test('over Telnet is announced too', async () => {
    const { server } = await started('&protocol=telnet')
    const wire = await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    await online(server, 'name:vm7')
    await eventually('the offers', () => wire.bytes[0] === 0xff)
  })

  test('keeps no announcement once its port is known', async () => {
    const { server } = await started('&protocol=raw')
    await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    await online(server, 'name:vm7')
    expect(portOf(server, 'name:vm7').lastSession?.announced).toBe(null)
  })

  test('by a Unix socket keeps where it comes from, and how it reaches us', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vspc-announced-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const path = join(directory, 'vm.sock')
    const listen = [parseEndpoint(`unix://${path}?proxy=v2&protocol=raw`, 'listen', 'vm')]
    const { server, clock } = testServer({}, { listen, trusted: TRUSTED })
    await server.start()
    onTestFinished(async () => {
      const stopped = server.stop()
      clock.advance(10_000)
      await stopped
    })
    const wire = new Wire(connect({ path }))
    wire.send(header({ from: '10.0.0.7', id: 'vm7' }))
    expect(await online(server, 'name:vm7')).toMatchObject({ host: '10.0.0.7', transport: 'unix' })
  })
})

describe("a VM's host that speaks option 232, behind a relay", () => {
  test('is shown with its own address, and the VM with its own word', async () => {
    const { server } = await started('')
    const wire = await relayed(server, { from: '10.0.0.7', id: 'something else', label: 'com9' })
    wire.send([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')), ...frame(CODE.VM_VC_UUID, bytesOf(UUID))])
    const port = await online(server, ID)
    expect(port).toMatchObject({ host: '10.0.0.7', transport: 'tcp', label: null, protocol: 'vmware' })
    expect(server.table.size).toBe(1)
  })
})

describe('who is not trusted', () => {
  test('gets nothing, and the log says what to do', async () => {
    const { server, log } = await started('&protocol=raw', parseTrustedSources(['10.0.0.0/8']))
    const wire = await relayed(server, { from: '10.0.0.7', id: 'vm7' })
    await eventually('it is closed', () => wire.over)
    expect([server.connections, server.table.size]).toEqual([0, 0])
    expect(server.counters.listenerProblems).toBe(1)
    expect(log.matching(/^warn listener: proxy .*VSPC_PROXY_UNTRUSTED/)).toHaveLength(1)
    expect(log.matching(/add \\"127.0.0.1\\" to trustedProxies/)).toHaveLength(1)
  })

  test('may be so from now on, without a new start', async () => {
    const { server } = await started('&protocol=raw', parseTrustedSources([]))
    const refused = await relayed(server, { id: 'vm7' })
    await eventually('it is closed', () => refused.over)
    const { serviceUris, writers, limits } = server
    server.reconfigure({ serviceUris, writers, limits, trusted: TRUSTED })
    await relayed(server, { id: 'vm7' })
    await online(server, 'name:vm7')
  })

  test('nor is who sends no header', async () => {
    const { server, log } = await started('&protocol=raw&name=vm1')
    const wire = await dialWire((server.listening[0] as TcpEndpoint).tcpPort)
    wire.send('hello')
    await eventually('it is closed', () => wire.over)
    expect(server.table.size).toBe(0)
    expect(log.matching(/VSPC_PROXY_HEADER/)).toHaveLength(1)
  })
})
