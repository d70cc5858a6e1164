import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parseInputText, withEnter } from '../../src/cli/input-text.ts'
import { eventually, RawVm, sharedApp, startApp } from '../app/support.ts'
import { runVspc } from '../support/cli.ts'

const folder = mkdtempSync(join(tmpdir(), 'vspc-send-'))
afterAll(() => rmSync(folder, { recursive: true }))

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')

describe('the text', () => {
  test.each([
    ['plain', 'plain'],
    ['a\\rb\\n\\t\\e[A', 'a\rb\n\t\x1b[A'],
    ['\\x00\\x7f\\xff\\xFFF', '\0\x7f\xff\xffF'],
    ['C:\\\\dir\\\\', 'C:\\dir\\'],
    ['\\0\\b\\a', '\0\b\x07'],
    ['ä', '\xc3\xa4'],
    ['', ''],
  ])('%j', (text, bytes) => {
    expect(latin1(parseInputText(text, 'TEXT'))).toBe(bytes)
  })

  test.each(['\\q', '\\x1', '\\xZZ', 'at the end\\', '\\u0041', '\\\n'])('%j is refused, and quoted', (text) => {
    expect(() => parseInputText(text, '--send')).toThrow(/^--send: "\\[^"]*" is no escape/)
  })

  test('Enter goes behind it once, unless told otherwise', () => {
    const ends = (text: string, enter: boolean | null) => latin1(withEnter(Buffer.from(text), enter))
    expect(['a', '', 'a\r', 'a\n'].map((text) => ends(text, null))).toEqual(['a\r', '\r', 'a\r', 'a\n'])
    expect(['a', 'a\r'].map((text) => ends(text, true))).toEqual(['a\r', 'a\r\r'])
    expect(['a', 'a\r'].map((text) => ends(text, false))).toEqual(['a', 'a\r'])
  })
})

describe('vspc send', () => {
  let vm: RawVm
  const app = sharedApp(async (one) => {
    vm = await RawVm.connect(one)
  })
  const send = (args: string[], input?: string | Uint8Array) =>
    runVspc(['send', ...args], { env: { VSPC_SERVER: app().url }, ...(input === undefined ? {} : { input }) })

  /** What the VM gets while `run` runs. */
  async function typed(length: number, run: () => ReturnType<typeof send>) {
    vm.received = Buffer.alloc(0)
    const { code, stdout, stderr } = await run()
    await eventually(() => vm.received.length >= length)
    return { code, stdout: stdout.toString(), stderr, input: latin1(vm.received) }
  }

  test('a line and Enter; nothing is printed', async () => {
    expect(await typed(11, () => send(['vm1', 'echo', 'hello']))).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
      input: 'echo hello\r',
    })
  })

  test('keys, without Enter; JSON says where the output was', async () => {
    await vm.print(app(), 'so far')
    const { stdout, input } = await typed(2, () => send(['--json', '--no-enter', 'vm1', '\\x03\\e']))
    expect(input).toBe('\x03\x1b')
    expect(JSON.parse(stdout)).toEqual({ port: 'name:vm1', bytes: 2, offset: 6 })
  })

  test('a file and a pipe: line ends become Enter, or not; all 256 bytes; large ones whole', async () => {
    const file = join(folder, 'script')
    writeFileSync(file, 'one\r\ntwo\n')
    expect((await typed(8, () => send(['vm1', '--file', file]))).input).toBe('one\rtwo\r')
    expect((await typed(9, () => send(['vm1', '--raw-input', '--file', file]))).input).toBe('one\r\ntwo\n')
    const all = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => i & 255))
    const { input, code } = await typed(all.length, () => send(['vm1', '--raw-input'], all))
    expect(code).toBe(0)
    expect(Buffer.from(input, 'latin1').equals(all)).toBe(true)
    expect((await typed(2, () => send(['vm1', '--enter', '--file', '-'], 'x'))).input).toBe('x\r')
  })

  test('pauses for slow UARTs', async () => {
    const began = performance.now()
    await typed(6, () => send(['vm1', '--char-delay', '20ms', '--line-delay=200ms', 'a\\rbcd']))
    expect(performance.now() - began).toBeGreaterThan(2 * 190 + 4 * 15)
  })

  test.each([
    [['vm1', '\\q'], 2, 'TEXT: "\\q" is no escape'],
    [['vm1', 'x', '--file', 'y'], 2, 'TEXT and --file contradict'],
    [['vm1', '--file', '/nowhere/at/all'], 2, '--file: cannot read /nowhere/at/all: there is no such file'],
    [['vm1', '--char-delay', '5', 'x'], 2, 'a unit is missing'],
    [['vm2', 'x'], 3, 'no port matches "vm2"'],
    [['vm1', '--break'], 1, ''],
    [['vm2', '--wait-port=50ms', 'x'], 124, 'gave up after 0.05 s'],
  ])('%j ends with %d and says why', async (args, exitCode, message) => {
    const { code, stderr } = await send(args)
    expect(stderr).toMatch(/^vspc: /)
    expect(stderr).toContain(message)
    expect(code).toBe(exitCode)
  })

  test('held by someone else: 5', async () => {
    const { connect } = await import('../../src/client/index.ts')
    const holder = await connect({ server: app().url }).console('vm1', { mode: 'exclusive' })
    expect((await send(['vm1', 'x'])).code).toBe(5)
    expect((await typed(2, () => send(['vm1', '-f', 'y']))).input).toBe('y\r')
    await holder.close()
  })
})

test('to a VM that is offline nothing is sent: 7; --wait-port waits for it', async () => {
  const app = await startApp()
  const first = await RawVm.connect(app)
  first.socket.destroy()
  await eventually(() => app.server.table.resolve('vm1').info().state === 'offline')
  const env = { VSPC_SERVER: app.url }
  const { code, stderr } = await runVspc(['send', 'vm1', 'rm -rf x'], { env })
  expect([code, stderr]).toEqual([7, 'vspc: vm1 is offline, no input was sent: --wait-port waits for it\n'])
  const waiting = runVspc(['send', '--wait-port', 'vm1', 'hello'], { env })
  const second = await RawVm.connect(app)
  expect((await waiting).code).toBe(0)
  await second.hears('hello\r')
  expect(second.received.toString()).toBe('hello\r')
})
