import { describe, expect, test } from 'vitest'
import { eventually, RawVm, startApp } from '../app/support.ts'
import { RestartableApp } from '../client/support.ts'
import { type RunOptions, runVspc } from '../support/cli.ts'

/** A guest that prints `answers[line]` when it has got `line` and Enter. */
async function guest(answers: { readonly [line: string]: string } = {}) {
  const app = await startApp()
  const vm = await RawVm.connect(app)
  let seen = 0
  vm.on('change', () => {
    for (;;) {
      const end = vm.received.indexOf('\r', seen)
      if (end < 0) return
      const line = vm.received.toString('latin1', seen, end)
      seen = end + 1
      const answer = answers[line]
      if (answer !== undefined) vm.socket.write(Buffer.from(answer, 'latin1'))
    }
  })
  const run = async (args: string[], options: RunOptions = {}) => {
    const { code, stdout, stderr } = await runVspc(['expect', ...args], {
      env: { VSPC_SERVER: app.url },
      ...options,
    })
    return { code, stdout: stdout.toString('latin1'), stderr }
  }
  /** Resolves when a console is attached. */
  const attached = () => eventually(() => app.server.table.resolve('vm1').info().consoles > 0)
  return { app, vm, run, attached }
}

const SHELL = {
  '': '\r\nlogin: ',
  root: 'root\r\nPassword: ',
  secret: '\r\nwelcome\r\n\x1b[32m#\x1b[0m ',
  'make; echo rc=$?': 'make; echo rc=$?\r\nbuilding\r\nrc=2\r\n# ',
}

describe('a conversation', () => {
  test('steps in the order given, in one command', async () => {
    const { run, vm } = await guest(SHELL)
    const steps = ['--send', '', '--wait', 'login: $', '--send', 'root', '--wait', 'assword:', '--send', 'secret']
    const result = await run(['vm1', ...steps, '--wait', '^# $', '--timeout', '15s'])
    expect(result).toEqual({ code: 0, stdout: 'login: \nassword:\n# \n', stderr: '' })
    expect(vm.received.toString()).toBe('\rroot\rsecret\r')
  })

  test('groups alone, for a script; JSON with offsets', async () => {
    const { run } = await guest(SHELL)
    const step = ['--send', 'make; echo rc=$?', '--wait', '^rc=(?<code>\\d+)']
    expect(await run(['vm1', ...step, '-o', 'groups'])).toEqual({ code: 0, stdout: '2\n', stderr: '' })
    const { stdout } = await run(['vm1', ...step, '--json'])
    expect(JSON.parse(stdout)).toEqual({
      matched: true,
      port: 'name:vm1',
      matches: [
        {
          pattern: '^rc=(?<code>\\d+)',
          text: 'rc=2',
          groups: ['2'],
          named: { code: '2' },
          startOffset: 36 + 28,
          endOffset: 36 + 32,
        },
      ],
    })
    expect((await run(['vm1', ...step, '-o', 'none'])).stdout).toBe('')
    expect((await run(['vm1', ...step, '-o', 'all'])).stdout).toContain('building\r\nrc=2\r\n')
  })

  test('8-bit output, colours kept, plain text, either case', async () => {
    const { run } = await guest({ x: '\xff\xfe\x1b[1mOK (1+1)\r\n' })
    const output = await run(['vm1', '--send', 'x', '--encoding', 'latin1', '--wait', '\\xff\\xfe', '--keep-ansi'])
    expect(output.stdout).toBe('\xff\xfe\n')
    const plain = await run(['vm1', '--send', 'x', '-iF', '--wait', 'ok (1+1)'])
    expect(plain).toEqual({ code: 0, stdout: 'OK (1+1)\n', stderr: '' })
  })
})

describe('what came before', () => {
  test('does not count, unless --from says so', async () => {
    const { run, app, vm } = await guest()
    await vm.print(app, 'old: yes\r\n')
    expect((await run(['vm1', '--wait', 'yes', '--timeout', '100ms'])).code).toBe(124)
    expect((await run(['vm1', '--wait', 'yes', '--timeout', '5s', '--from', 'start'])).code).toBe(0)
    expect((await run(['vm1', '--wait', 'yes', '--timeout', '5s', '--from', '-5'])).code).toBe(0)
    expect((await run(['vm1', '--wait', 'old', '--timeout', '100ms', '--from', '4'])).code).toBe(124)
  })
})

describe('failures', () => {
  test('--fail-on: 1, with the last lines seen and what matched', async () => {
    const { run, app, vm, attached } = await guest()
    const running = run(['vm1', '--wait', 'login:', '--fail-on', 'Kernel panic.*', '--json'])
    await attached()
    await vm.print(app, 'a\r\n\x1b[31mKernel panic\x1b[0m - not syncing\r\nrebooting\r\n')
    const { code, stdout, stderr } = await running
    expect(code).toBe(1)
    expect(stderr).toBe(
      'a\nKernel panic - not syncing\nrebooting\nvspc: --fail-on matched "Kernel panic - not syncing"\n',
    )
    expect(JSON.parse(stdout)).toMatchObject({
      matched: false,
      code: 'VSPC_EXPECT_FAILED',
      failed: { text: 'Kernel panic - not syncing' },
      seen: ['a', 'Kernel panic - not syncing', 'rebooting'],
    })
  })

  test('time is up: 124, for all steps together; what matched before is in the JSON', async () => {
    const { run } = await guest({ x: 'one\r\n' })
    const { code, stdout, stderr } = await run([
      ...['vm1', '--send', 'x', '--wait', 'one', '--wait', 'two', '--timeout', '300ms', '--json'],
    ])
    expect(code).toBe(124)
    expect(stderr).toBe('vspc: no match for "two" within 0.3 s\n')
    expect(JSON.parse(stdout)).toMatchObject({ matched: false, failed: null, matches: [{ text: 'one' }] })
  })

  test('offline: 7 when it would have to type, or as told; else it waits', async () => {
    const { run, app, vm } = await guest()
    vm.socket.destroy()
    await eventually(() => app.server.table.resolve('vm1').info().state === 'offline')
    const typing = await run(['vm1', '--send', 'x', '--wait', 'y'])
    expect([typing.code, typing.stderr]).toEqual([7, expect.stringContaining('no input was sent')])
    expect((await run(['vm1', '--wait', 'y', '--fail-offline'])).code).toBe(7)
    const late = await run(['vm1', '--wait', 'y', '--timeout', '100ms'])
    expect([late.code, late.stderr]).toEqual([124, 'vspc: no match for "y" within 0.1 s; vm1 is offline\n'])
  })

  test.each([
    [['vm1'], 2, '--wait is missing'],
    [['vm1', '--wait', '('], 2, '--wait: Invalid regular expression'],
    [['vm1', '--wait', 'x', '--fail-on', '[z-a]'], 2, '--fail-on: Invalid regular expression'],
    [['vm1', '--wait', 'x', '--send', '\\q'], 2, '--send: "\\q" is no escape'],
    [['vm1', '--wait', 'x', '--timeout', 'soon'], 2, '--timeout: "soon" is not a duration'],
    [['vm1', '--wait', 'x', '--from', 'yesterday'], 2, '--from: "yesterday" is no offset'],
    [['vm2', '--wait', 'x'], 3, 'no port matches "vm2"'],
  ])('%j ends with %d', async (args, exitCode, message) => {
    const { run } = await guest()
    const { code, stdout, stderr } = await run(args)
    expect(stderr).toContain(message)
    expect([code, stdout]).toEqual([exitCode, ''])
  })

  test('no server: 6', async () => {
    const { run } = await guest()
    const { code } = await run(['vm1', '--wait', 'x'], { env: { VSPC_SERVER: 'http://127.0.0.1:1' } })
    expect(code).toBe(6)
  })
})

test('the server restarts while it waits: the match spans it', async () => {
  const server = await RestartableApp.start()
  const vm = await RawVm.connect(server.app)
  const env = { VSPC_SERVER: server.app.url }
  const running = runVspc(['expect', 'vm1', '--wait', 'BEGIN[^]*END', '--timeout', '15s', '-o', 'all'], { env })
  await eventually(() => server.app.server.table.resolve('vm1').info().consoles > 0)
  await vm.print(server.app, 'BEGIN\r\n')
  await server.stop()
  const app = await server.again()
  const vmAgain = await RawVm.connect(app)
  await vmAgain.print(app, 'while away\r\n')
  await eventually(() => app.server.table.resolve('vm1').info().consoles > 0)
  await vmAgain.print(app, 'END\r\n')
  const { code, stdout, stderr } = await running
  expect(stdout.toString()).toBe('BEGIN\r\nwhile away\r\nEND\r\n')
  expect(stderr).toMatch(/^vspc: .*; reconnecting\n$/)
  expect(code).toBe(0)
})
