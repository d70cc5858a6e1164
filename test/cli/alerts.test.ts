/** `vspc alerts` and `vspc hooks` as they are run, against a whole server. */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { eventually, RawVm, startApp } from '../app/support.ts'
import { Receiver } from '../hooks/support.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'

const OOM = '[    3.4] Out of memory: Killed process 12 (x)'
const PANIC = '[    5.6] Kernel panic - not syncing: Fatal exception'

test('alerts are listed as a table or JSON, chosen by port, rule and severity', async () => {
  const app = await startApp({ alerts: {} })
  const env = { VSPC_SERVER: app.url }
  const vm = await RawVm.connect(app)
  const none = await runVspc(['alerts'], { env })
  expect([none.code, none.stdout.toString(), none.stderr]).toEqual([0, '', 'vspc: no alerts\n'])
  await vm.print(app, `${OOM}\r\n${PANIC}\u202e\r\n`)
  await eventually(async () => ((await (await fetch(`${app.url}/api/v1/alerts`)).json()) as unknown[]).length === 2)
  const table = (await runVspc(['alerts'], { env })).stdout.toString().split('\n')
  expect(table[0]).toMatch(/^TIME +SEVERITY +RULE +VM +OFFSET +LINE$/)
  expect(table[1]).toMatch(/Z {2}error +oom-kill +vm1 +0 {2}\[ {4}3\.4\] Out of memory/)
  const chosen = await runVspc(['alerts', 'vm1', '--severity', 'critical', '--json'], { env })
  expect(JSON.parse(chosen.stdout.toString())).toEqual([expect.objectContaining({ rule: 'kernel-panic', line: PANIC })])
  const prefix = await runVspc(['alerts', 'vm', '--rule', 'oom-kill', '--json'], { env })
  expect(JSON.parse(prefix.stdout.toString())).toHaveLength(1)
})

test('alerts of a port that is not there, or not one alone, are no empty list: a slip of the pen would look like health', async () => {
  const app = await startApp({
    alerts: {},
    listen: ['tcp://127.0.0.1:0?protocol=raw&name=web1', 'tcp://127.0.0.1:0?protocol=raw&name=web2'],
  })
  const env = { VSPC_SERVER: app.url }
  for (let at = 0; at < 2; at += 1) await RawVm.connect(app, at)
  const wrong = await runVspc(['alerts', 'wbe1', '--json'], { env })
  expect([wrong.code, wrong.stdout.toString(), wrong.stderr]).toEqual([
    3,
    '',
    expect.stringContaining('no port matches "wbe1"'),
  ])
  const several = await runVspc(['alerts', 'web'], { env })
  expect([several.code, several.stderr]).toEqual([3, expect.stringContaining('matches 2 ports')])
  expect((await runVspc(['alerts', 'web1', '--json'], { env })).stdout.toString()).toBe('[]\n')
})

test('where no rules are in force the answer says what to do', async () => {
  const app = await startApp()
  const { code, stderr } = await runVspc(['alerts'], { env: { VSPC_SERVER: app.url } })
  expect(code).toBe(0)
  expect(stderr).toMatch(/no alert rules are in force: .*alerts: \{\}/)
})

test('with -f those to come are printed as they come, each once', async () => {
  const app = await startApp({ alerts: {} })
  const vm = await RawVm.connect(app)
  await vm.print(app, `${OOM}\r\n`)
  await eventually(async () => ((await (await fetch(`${app.url}/api/v1/alerts`)).json()) as unknown[]).length === 1)
  const env = { PATH: process.env['PATH'] ?? '', HOME: temporaryHome(), VSPC_SERVER: app.url }
  const child = spawn(process.execPath, [VSPC_BIN, 'alerts', '-f', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
  })
  await eventually(() => out.endsWith('\n'))
  await vm.print(app, `${PANIC}\r\n`)
  await eventually(() => out.split('\n').length === 3)
  const rules = out
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { rule: string }).rule)
  expect(rules).toEqual(['oom-kill', 'kernel-panic'])
})

test('a hook is tried from the configuration; what went wrong is said, with exit code 1', async () => {
  const receiver = await Receiver.start()
  const file = join(temporaryHome(), 'vspc.yaml')
  writeFileSync(file, `hooks:\n  - name: pager\n    url: ${receiver.url()}\n  - name: bad\n    exec: [/bin/false]\n`)
  const good = await runVspc(['hooks', 'test', 'pager', '--config', file])
  expect([good.code, good.stdout.toString(), good.stderr]).toEqual([0, 'pager: delivered: HTTP status 204\n', ''])
  expect(receiver.got).toHaveLength(1)
  const bad = await runVspc(['hooks', 'test', 'bad'], { env: { VSPC_CONFIG: file } })
  expect([bad.code, bad.stderr]).toEqual([1, 'vspc: hook "bad": not delivered: exit code 1\n'])
  const unknown = await runVspc(['hooks', 'test', 'pagr', '--config', file])
  expect([unknown.code, unknown.stderr]).toEqual([2, 'vspc: there is no hook "pagr"; there are pager, bad\n'])
})
