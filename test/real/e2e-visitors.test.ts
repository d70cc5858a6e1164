import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { parseSimTarget, Random, SimVm } from '../../src/sim/index.ts'
import { describeWithPeers, peerPath } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { Events, everyByte, Output, own, type ServeProcess, scanPort, serve, temporary, WsClient } from './support.ts'

const TCP = ['--listen', 'tcp://127.0.0.1:0']

describeWithPeers(['telnet', 'python3'], 'a person with telnet on the port where VMs connect', () => {
  test('is told and sent away, and makes no port', async () => {
    const server = await serve(...TCP)
    const pty = own(await Pty.start([peerPath('telnet'), '127.0.0.1', String(server.tcpPort())]))
    await pty.expect('virtual machines connect here, people do not.\r\n')
    await pty.expect('vspc attach NAME\r\n')
    await pty.expect('Connection closed by foreign host.')
    await pty.exited()
    expect(await server.ports()).toEqual([])
  })
})

describe('strangers on the port where VMs connect', () => {
  /** Impatient, so that those who say nothing useful are not waited for. */
  function impatient(): string[] {
    const file = join(temporary(), 'vspc.yaml')
    writeFileSync(file, 'limits: { negotiationMs: 300, closeMs: 300 }\n')
    return [...TCP, '--config', file]
  }

  /** Says `bytes`, never closes; resolves with what it was told until it was closed. */
  async function visit(server: ServeProcess, bytes: Uint8Array | string): Promise<string> {
    const socket = connect(server.tcpPort(), '127.0.0.1')
    const heard = new Output('a stranger')
    socket.on('data', (chunk) => heard.push(chunk)).on('error', () => {})
    const closed = once(socket, 'close')
    socket.write(bytes)
    await closed
    return heard.text
  }

  /** A VM comes, is heard, and goes. */
  async function vmWorks(server: ServeProcess): Promise<void> {
    const events = await Events.of(server)
    const vm = new SimVm({ name: 'late', target: parseSimTarget(server.listening[0] ?? '') })
    try {
      await vm.powerOn()
      await events.until('late', ({ state }) => state === 'online')
      vm.print('hello\r\n')
      const console = await WsClient.attach(server, 'late')
      await console.output.until('hello\r\n')
      console.enter('back')
      await vm.expectInput('back\r')
    } finally {
      await vm.close()
    }
  }

  test.each([
    ['an HTTP client', 'GET / HTTP/1.1\r\nHost: vspc\r\n\r\n'],
    ['every byte there is', everyByte],
    ['a Telnet client that asks for everything', Buffer.from([...everyByte].flatMap((option) => [255, 253, option]))],
    ['noise', new Random(1).bytes(100_000)],
    ['a subnegotiation without end', Buffer.concat([Buffer.from([255, 250, 232]), Buffer.alloc(100_000, 1)])],
  ])('%s is told where it is, and closed', async (_name, bytes) => {
    const server = await serve(...impatient())
    expect(await visit(server, bytes)).toContain('virtual machines connect here')
    expect(await server.ports()).toEqual([])
    await vmWorks(server)
  })

  test('a TLS client on a listener without TLS fails, and hurts nobody', async () => {
    const server = await serve(...impatient())
    const socket = connectTls({ host: '127.0.0.1', port: server.tcpPort(), rejectUnauthorized: false })
    const [error] = (await once(socket, 'error')) as [Error]
    expect(error).toBeInstanceOf(Error)
    socket.destroy()
    expect(await server.ports()).toEqual([])
    await vmWorks(server)
  })

  test('a hundred port scans leave nothing behind', async () => {
    const server = await serve(...impatient())
    await scanPort(server.tcpPort(), 100)
    expect(await server.ports()).toEqual([])
    await vmWorks(server)
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    expect(metrics).toMatch(/^vspc_vm_connections(\{[^}]*\})? [01]$/m)
  })
})
