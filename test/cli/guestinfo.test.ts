/** `vspc guestinfo` inside a guest: the built program, with the double of VMware's tool on its PATH. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, expect, onTestFinished, test } from 'vitest'
import { FakeVm } from '../guestinfo/support.ts'
import { type RunOptions, runVspc, VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'

async function guestinfo(vm: FakeVm, args: readonly string[], options: RunOptions = {}) {
  const run = await runVspc(['guestinfo', ...args], { ...options, env: { ...vm.env, ...options.env } })
  return [run.code, run.stdout.toString(), run.stderr]
}

describe('get', () => {
  test('one value alone, several with their keys, all as JSON', async () => {
    const vm = new FakeVm({ 'guestinfo.a': 'one\ntwo', 'guestinfo.b': 'vspc-base64:IGI=', 'guestinfo.c': '<nil>' })
    expect(await guestinfo(vm, ['get', 'guestinfo.a'])).toEqual([0, 'one\ntwo\n', ''])
    expect(await guestinfo(vm, ['get', 'guestinfo.b', 'guestinfo.c'])).toEqual([
      0,
      'guestinfo.b= b\nguestinfo.c=\n',
      '',
    ])
    expect(await guestinfo(vm, ['get', '--raw', 'guestinfo.c'])).toEqual([0, '<nil>\n', ''])
    const [code, json] = await guestinfo(vm, ['get', '--json', 'guestinfo.a', 'guestinfo.x'])
    expect([code, JSON.parse(String(json))]).toEqual([3, { 'guestinfo.a': 'one\ntwo', 'guestinfo.x': null }])
  })

  test('a key without value ends with 3, after the others', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1' })
    expect(await guestinfo(vm, ['get', 'guestinfo.x', 'guestinfo.a'])).toEqual([
      3,
      'guestinfo.a=1\n',
      'vspc: guestinfo.x: no value\n',
    ])
  })

  test('--wait waits for the host to set it, and gives up in time', async () => {
    const vm = new FakeVm()
    const run = guestinfo(vm, ['get', '--wait', 'guestinfo.a'])
    await expect.poll(() => vm.calls.length, { timeout: 10_000 }).toBeGreaterThan(0)
    vm.hostSet('guestinfo.a', 'here')
    expect(await run).toEqual([0, 'here\n', ''])
    expect(await guestinfo(vm, ['get', '--wait=300ms', 'guestinfo.x'])).toEqual([
      124,
      '',
      'vspc: guestinfo.x: no value yet; gave up after 0.3 s\n',
    ])
  })
})

describe('set', () => {
  test('keys and values, an empty one, and from standard input; JSON says what became of them', async () => {
    const vm = new FakeVm({ 'guestinfo.a': '1', 'guestinfo.b': '1' })
    const args = ['set', '--json', '--stdin', 'guestinfo.c', 'guestinfo.a=x=y $(id)', 'guestinfo.b=1', 'guestinfo.d=']
    const [code, json, stderr] = await guestinfo(vm, args, { input: 'from\nstdin\n' })
    expect([code, stderr, JSON.parse(String(json))]).toEqual([
      0,
      '',
      { 'guestinfo.a': 'changed', 'guestinfo.b': 'unchanged', 'guestinfo.c': 'created', 'guestinfo.d': 'created' },
    ])
    expect(vm.values).toEqual({
      'guestinfo.a': 'x=y $(id)',
      'guestinfo.b': '1',
      'guestinfo.c': 'from\nstdin',
      'guestinfo.d': '<nil>',
    })
  })

  test('nothing is set when one of the keys cannot be', async () => {
    const vm = new FakeVm()
    expect(await guestinfo(vm, ['set', 'guestinfo.a=1', 'guestinfo.b/c=1'])).toEqual([
      4,
      '',
      'vspc: the key "guestinfo.b/c" has a slash: guests may read it, only the vSphere API may change it\n',
    ])
    expect(vm.calls).toEqual([])
  })

  test.each([
    [['set'], 2, 'nothing to set'],
    [['set', 'web1', 'guestinfo.a=1'], 2, '"web1" is not KEY=VALUE'],
    [['set', 'guestinfo.a=1', 'guestinfo.a=2'], 2, 'given twice'],
    [['set', 'a=1'], 2, 'did you mean guestinfo.a?'],
    [['set', `guestinfo.a=${'x'.repeat(65_536)}`], 2, 'one message to the host has room for'],
    [['get', '--vsphere', 'https://vc/sdk', 'guestinfo.a'], 2, 'the first argument is the VM, not a key'],
    [['get', '--tool', '/x', '--vsphere', 'https://vc/sdk', 'web1'], 2, '--tool works inside a VM, --vsphere outside'],
    [['get'], 2, 'which key? Give one or more'],
    [['get', 'web1', 'guestinfo.a'], 2, 'for a VM seen from outside give --vsphere or VSPC_VSPHERE_URL'],
    [['set', '--prepare', 'guestinfo.a'], 2, '--prepare is for the outside'],
    [['watch', '--until-exit=main'], 2, '--until-exit is for the outside'],
    [['get', '--tool', '/none/vmware-rpctool', 'guestinfo.a'], 6, 'cannot be run: ENOENT'],
  ])('%j ends with %d', async (args, code, message) => {
    const vm = new FakeVm()
    const [ended, stdout, stderr] = await guestinfo(vm, args)
    expect([ended, stdout]).toEqual([code, ''])
    expect(stderr).toContain(message)
    expect(vm.calls).toEqual([])
  })

  test('no host beneath ends with 6, what the host forbids with 4', async () => {
    const [outside] = await guestinfo(new FakeVm({}, { notInVm: 'message' }), ['get', 'guestinfo.a'])
    const [denied] = await guestinfo(new FakeVm({}, { setDisabled: true }), ['set', 'guestinfo.a=1'])
    expect([outside, denied]).toEqual([6, 4])
  })
})

test('watch --timeout ends with 124', async () => {
  const vm = new FakeVm({ 'guestinfo.a': '1' })
  expect(await guestinfo(vm, ['watch', '--timeout=2s', 'guestinfo.a'])).toEqual([124, 'guestinfo.a=1\n', ''])
})

test('watch prints what is there and each change, until it is interrupted', async () => {
  const vm = new FakeVm({ 'guestinfo.a': '1' })
  const child = spawn(process.execPath, [VSPC_BIN, 'guestinfo', 'watch', 'guestinfo.a', 'guestinfo.b'], {
    env: { HOME: temporaryHome(), ...vm.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => (await lines.next()).value
  expect([await line(), await line()]).toEqual(['guestinfo.a=1', 'guestinfo.b has no value'])
  vm.hostSet('guestinfo.b', 'two\n\u001b[31mlines')
  expect(await line()).toBe('guestinfo.b=two [31mlines')
  const exit = once(child, 'exit')
  child.kill('SIGINT')
  expect(await exit).toEqual([130, null])
})
