import { describe, expect, onTestFinished, test } from 'vitest'
import { RawVm, startApp, TestConsole } from '../app/support.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { Pty } from '../support/pty.ts'

// The built program against whole servers: who is attached, and what they do with each other.

async function single() {
  const app = await startApp({ writers: 'single' })
  const vm = await RawVm.connect(app)
  const env = { VSPC_SERVER: app.url }
  return { app, vm, env, run: (...args: string[]) => runVspc(args, { env }) }
}

describe('vspc who, say, kick', () => {
  test('who is attached: a table, and JSON', async () => {
    const { app, run } = await single()
    expect(await run('who')).toMatchObject({ code: 0, stdout: Buffer.from(''), stderr: 'vspc: nobody is attached\n' })
    const alice = await TestConsole.open(app, 'mode=write')
    const { console: id } = await alice.message('attached')
    await TestConsole.open(app, 'mode=write&wait=1')
    const table = await run('who')
    const [head, first, second] = table.stdout.toString().split('\n')
    expect(head).toMatch(/^PORT +ID +WHO +VIA +MODE +QUEUE +LAST INPUT +ATTACHED$/)
    expect(first).toMatch(new RegExp(`^vm1 +${id} +127\\.0\\.0\\.1:\\d+ +websocket +write +- +- `))
    expect(second).toMatch(/ websocket +read +1 +- /)
    const { stdout } = await run('who', 'vm1', '--json')
    expect(JSON.parse(stdout.toString())).toMatchObject([
      { port: 'name:vm1', vm: 'vm1', id, mode: 'write', waiting: null },
      { mode: 'read', waiting: 1 },
    ])
    expect(await run('who', 'vm9')).toMatchObject({ code: 3 })
  })

  test('say reaches the consoles of one port or of all; kick ends one, and says what went wrong', async () => {
    const { app, run } = await single()
    expect(await run('say', 'vm1', 'hello')).toMatchObject({ code: 0, stderr: 'vspc: nobody is attached\n' })
    const alice = await TestConsole.open(app, 'mode=write')
    const { console: id } = await alice.message('attached')
    expect(await run('say', 'vm1', 'reboot', 'soon')).toMatchObject({ code: 0, stderr: 'vspc: told 1 console\n' })
    expect((await alice.message('said')).text).toBe('127.0.0.1: reboot soon')
    expect((await run('say', '--all', '--json', 'x')).stdout.toString()).toBe('{"consoles":1}\n')
    expect(await run('say', 'vm1')).toMatchObject({ code: 2, stderr: expect.stringContaining('what to say') })
    expect(await run('kick', 'vm1', 'alice')).toMatchObject({ code: 2, stderr: expect.stringContaining('vspc who') })
    expect(await run('kick', 'vm1', `${id}`, '--reason', 'lunch & more')).toMatchObject({ code: 0 })
    expect(await alice.closed()).toEqual({ code: 4411, reason: 'kicked by 127.0.0.1: lunch & more' })
    expect(await run('kick', 'vm1', `${id}`)).toMatchObject({ code: 3, stderr: `vspc: vm1 has no console ${id}\n` })
  })

  test('send and attach in a pipe wait for their turn, and end with 124 where it does not come', async () => {
    const { app, vm, env, run } = await single()
    const alice = await TestConsole.open(app, 'mode=write')
    expect(await run('send', 'vm1', 'x')).toMatchObject({ code: 5 })
    expect(await run('send', '--queue=200ms', 'vm1', 'x')).toMatchObject({
      code: 124,
      stderr: expect.stringContaining('still held by 127.0.0.1:'),
    })
    expect(await runVspc(['attach', '--queue=200ms', 'vm1'], { env, input: 'x\n' })).toMatchObject({ code: 124 })
    const sent = run('send', '--queue', 'vm1', 'sent')
    const attached = runVspc(['attach', '--queue', '--linger=10ms', 'vm1'], { env, input: 'piped\n' })
    await alice.message('asked')
    alice.messages.length = 0
    await alice.message('asked')
    expect(vm.received.toString()).toBe('')
    alice.request({ type: 'yield' })
    expect([(await sent).code, (await attached).code]).toEqual([0, 0])
    expect(['sent\rpiped\r', 'piped\rsent\r']).toContain(vm.received.toString())
  })
})

describeWithPeers(['python3'], 'two people in real terminals', () => {
  async function person(env: Record<string, string>, ...args: string[]): Promise<Pty> {
    const pty = await Pty.start([process.execPath, VSPC_BIN, 'attach', ...args, 'vm1'], { env, columns: 200 })
    onTestFinished(() => pty.stop())
    await pty.expect(/\[vspc\] attached to vm1 [^\r]*\r\n/)
    return pty
  }

  const ESCAPE = '\x1d'

  test('ask, hand over, force, words, kick: each sees what the other does, and the VM hears one at a time', async () => {
    const { app, vm, env } = await single()
    const alice = await person(env)
    const bob = await person(env, '--queue')
    await bob.expect(/held by 127\.0\.0\.1:\d+: you are next; \^\] c ends waiting/)
    await alice.expect(/\(console \d+\) asks for the keyboard; \^\] y hands over/)
    bob.write('too early')
    await bob.expect('reading only, keys are not sent')
    alice.write('alice')
    await vm.hears('alice')

    alice.write(`${ESCAPE}y`)
    await alice.expect('you read only now')
    await bob.expect(/you can write now \(next in the queue: 127\.0\.0\.1:\d+ handed over to/)
    bob.write(' bob')
    await vm.hears('alice bob')

    alice.write(`${ESCAPE}a`)
    await alice.expect(/is held by 127\.0\.0\.1:\d+ \(mode "write"\).*\^\] q waits for it; \^\] f takes it over/)
    alice.write(`${ESCAPE}f`)
    await alice.expect('you can write now')
    await bob.expect(/you read only now \(127\.0\.0\.1:\d+ took over\)/)
    alice.write(' again')
    await vm.hears('alice bob again')

    bob.write(`${ESCAPE}bgoing for lunch\r`)
    await alice.expect(/127\.0\.0\.1:\d+ to all: going for lunch/)
    await bob.expect('you to all: going for lunch')

    alice.write(`${ESCAPE}w`)
    await alice.expect('2 attached to vm1')
    const victim = app.server.table.resolve('vm1').consoles[1]?.id
    alice.write(`${ESCAPE}k${victim}\r`)
    await bob.expect(/kicked by 127\.0\.0\.1:\d+/)
    const { code, settings } = await bob.exited()
    expect(code).toBe(4)
    expect(settings).toEqual(bob.settingsBefore)
    await alice.expect(/was kicked by/)
    alice.write(`${ESCAPE}.`)
    expect((await alice.exited()).code).toBe(0)
    expect(vm.received.toString()).toBe('alice bob again')
  })
})
