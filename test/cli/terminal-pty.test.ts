import { afterEach, expect, test } from 'vitest'
import { VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'
import { FakePort, FakeServer } from './fake-server.ts'

// The other client commands on a real pseudo terminal, against the double.
describeWithPeers(['python3'], 'ports and log in a real terminal', () => {
  const cleanups: (() => unknown)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function open(args: string[], ports: FakePort[], columns = 80) {
    const server = await FakeServer.start(...ports)
    cleanups.push(() => server.stop())
    const pty = await Pty.start([process.execPath, VSPC_BIN, ...args], { columns, env: { VSPC_SERVER: server.url } })
    cleanups.push(() => pty.stop())
    return { server, pty }
  }

  test('the table fits the window', async () => {
    const ports = [new FakePort('a-virtual-machine-with-quite-a-long-name'), new FakePort('b\x1b]0;title\x07')]
    for (const columns of [80, 100, 200]) {
      const { pty } = await open(['ports'], ports, columns)
      const { code } = await pty.exited()
      expect(code).toBe(0)
      const lines = pty.text.trimEnd().split('\r\n')
      expect(lines).toHaveLength(3)
      for (const line of lines) expect(Buffer.from(line, 'latin1').toString().length).toBeLessThanOrEqual(columns)
      expect(pty.text).not.toContain('\x1b')
    }
  })

  test('--watch shows the changes until Ctrl-C, which ends it with 130', async () => {
    const port = new FakePort('web1')
    const { pty } = await open(['ports', '--watch=100ms'], [port])
    await pty.expect('online')
    port.info.state = 'migrating'
    await pty.expect('migrating')
    pty.write('\x03')
    expect((await pty.exited()).code).toBe(130)
  })

  test('a log cannot make the terminal type into the shell, or leave it in colour', async () => {
    const port = new FakePort('web1')
    port.held = Buffer.from('a\x1b[c\x1b[6n\x05\x1b]52;c;bHM=\x07b\x1b[31mred')
    const { pty } = await open(['log', 'web1'], [port])
    expect((await pty.exited()).code).toBe(0)
    expect(pty.text).toBe('ab\x1b[31mred\x1b[0m')
  })

  test('a followed log ends with Ctrl-C, with its colours off', async () => {
    const port = new FakePort('web1')
    const { server, pty } = await open(['log', '-f', 'web1'], [port])
    await server.until(() => port.consoles.length === 1)
    port.output('\x1b[32mgreen')
    await pty.expect('green')
    pty.write('\x03')
    await pty.expect('\x1b[0m')
    const { code, settings } = await pty.exited()
    expect([code, settings]).toEqual([130, pty.settingsBefore])
  })
})
