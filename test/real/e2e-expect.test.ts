import { expect, test, vi } from 'vitest'
import { connect } from '../../src/client/index.ts'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers, GUEST_PEERS } from '../support/peers.ts'
import { boot, Events, serve, temporary } from './support.ts'

// A real kernel and shell at the other end: what a CI job does with a VM.
describeWithPeers(GUEST_PEERS, 'automation against a real guest', () => {
  test('wait for its prompt, run a command, get its exit code; send; a kernel panic is a failure with the last lines', async () => {
    const server = await serve('--listen', 'tcp://127.0.0.1:0?protocol=raw&name=vm1')
    const vspc = async (...args: string[]) => {
      const { code, stdout, stderr } = await runVspc(args, { env: server.env })
      return { code, stdout: stdout.toString(), stderr }
    }
    // Begun before there is a VM at all.
    const prompt = vspc('expect', 'vm1', '--wait-port=15s', '--from', 'start', '--wait', '^vm# $', '--timeout', '15s')
    await boot({ serial: [`tcp:127.0.0.1:${server.tcpPort()}`] })
    expect(await prompt).toMatchObject({ code: 0, stdout: 'vm# \n' })

    const ask = ['--send', 'ls /nowhere; echo rc=$?', '--wait', '^rc=(\\d+)', '-o', 'groups', '--timeout', '15s']
    expect(await vspc('expect', 'vm1', ...ask)).toEqual({ code: 0, stdout: '1\n', stderr: '' })

    const sent = await vspc('send', 'vm1', '--json', 'echo by-$((6 * 7))-hand')
    const { offset } = JSON.parse(sent.stdout) as { offset: number }
    const found = ['--from', String(offset), '--wait', 'by-42-hand', '--timeout', '15s']
    expect(await vspc('expect', 'vm1', ...found)).toMatchObject({ code: 0, stdout: 'by-42-hand\n' })

    const never = await vspc('expect', 'vm1', '--send', 'echo here I am', '--wait', 'login:', '--timeout', '500ms')
    expect([never.code, never.stderr]).toEqual([
      124,
      expect.stringMatching(/\nhere I am\nvm#\nvspc: no match for "login:"/),
    ])

    const panic = ['--send', 'echo c > /proc/sysrq-trigger', '--wait', 'never', '--fail-on', 'Kernel panic.*']
    const crash = await vspc('expect', 'vm1', ...panic, '--timeout', '15s', '--json')
    expect(crash.code).toBe(1)
    expect(JSON.parse(crash.stdout)).toMatchObject({
      code: 'VSPC_EXPECT_FAILED',
      failed: { text: expect.stringMatching(/^Kernel panic - not syncing: sysrq triggered crash/) },
    })
    expect(crash.stderr).toContain('Kernel panic - not syncing')
  })

  test('the library types a script line by line, over a restart of the server', async () => {
    const guest = await boot({ serial: ['tcp:127.0.0.1:0,server=on,wait=off'] })
    const uri = `tcp://127.0.0.1:${await guest.tcpPort(0)}?protocol=raw&name=vm1`
    let server = await serve('--listen', 'tcp://127.0.0.1:0', '--dial', uri, '--data-dir', temporary())
    const events = await Events.of(server)
    await events.until('vm1', ({ state }) => state === 'online')

    const client = connect({ server: server.url })
    const notices: string[] = []
    const console = await client.console('vm1', { mode: 'write', onNotice: ({ type }) => notices.push(type) })
    try {
      await console.send('\r')
      await console.expect('vm# ')
      const run = async (command: string) => {
        await console.send(`${command}; echo rc=$?\r`)
        const { groups } = await console.expect(/^rc=(\d+)/m, { timeoutMs: 15_000 })
        await console.expect('vm# ')
        return Number(groups[0])
      }
      expect(await run('true')).toBe(0)
      expect(await run('exit_with() { return $1; }; exit_with 42')).toBe(42)
      // The guest waits meanwhile: QEMU drops what is printed while nobody is connected.
      await console.send('echo re""ady; read go; counter 200 0; echo d""one\r')
      await console.expect(/^ready/m)
      const all = console.expect(/\r\n[\s\S]*^done/m, { timeoutMs: 30_000 })
      server = await server.restart()
      await vi.waitUntil(() => notices.includes('attached-again') && console.state === 'online', { timeout: 20_000 })
      await console.send('\r')
      const numbers = Array.from({ length: 200 }, (_, n) => String(n + 1))
      expect((await all).text.split('\r\n')).toEqual(['', '', ...numbers, 'done'])
    } finally {
      await console.close()
    }
  })
})
