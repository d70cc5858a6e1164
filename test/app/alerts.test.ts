/** Alerts of a whole server, from the VM's socket to whoever reads. */
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/app/index.ts'
import { EventReader } from './event-reader.ts'
import { eventually, RAW_VM, RawVm, startApp, TestConsole } from './support.ts'

const PANIC = '[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b'
const TWO_VMS = [RAW_VM, 'tcp://127.0.0.1:0?protocol=raw&name=db1']

async function alertsOf(url: string, query = ''): Promise<Record<string, unknown>[]> {
  const answer = await fetch(`${url}/api/v1/alerts${query}`)
  expect(answer.status).toBe(200)
  return (await answer.json()) as Record<string, unknown>[]
}

test('without the section nothing is looked at, and the API says so', async () => {
  const app = await startApp()
  const answer = await fetch(`${app.url}/api/v1/alerts`)
  expect(answer.headers.get('x-vspc-alert-rules')).toBe('0')
  expect(await answer.json()).toEqual([])
  expect(app.server.watch).toBeNull()
})

test('a panic on a console is one event, one entry of the list, one count and one log line without what the VM printed', async () => {
  const app = await startApp({ alerts: {} })
  const events = await EventReader.open(app)
  const vm = await RawVm.connect(app)
  const console = await TestConsole.open(app, 'mode=write')
  await vm.print(app, 'Booting\r\n')
  // The kernel repeats itself at the end of a panic; a second VM's would be another alert.
  await vm.print(
    app,
    `${PANIC}\r\nCPU: 0 PID: 1\r\n---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r\n${PANIC}\r\n`,
  )
  await events.has('alert')
  const alert = { id: 1, rule: 'kernel-panic', severity: 'critical', line: PANIC, offset: 9, suppressed: 0 }
  const [event] = events.events.filter((one) => one.event === 'alert')
  expect(event?.data).toEqual({
    type: 'alert',
    at: expect.stringMatching(/Z$/),
    port: expect.objectContaining({ id: 'name:vm1' }),
    alert,
  })
  expect(await alertsOf(app.url)).toEqual([
    { ...alert, at: event?.data['at'], port: 'name:vm1', vm: { name: 'vm1', uuid: null }, host: '127.0.0.1' },
  ])
  const metrics = async (): Promise<string> => (await fetch(`${app.url}/metrics`)).text()
  await eventually(async () => (await metrics()).includes('vspc_alerts_suppressed_total 1'))
  const text = await metrics()
  expect(text).toContain('vspc_alerts_total{rule="kernel-panic"} 1')
  expect(text).toContain('vspc_alerts_total{rule="oom-kill"} 0')
  expect(text).toContain('vspc_alerts_skipped_bytes_total 0')
  expect(text).not.toContain('name:vm1')
  expect(app.logged.lines.filter(({ msg }) => msg === 'alert')).toHaveLength(1)
  expect(JSON.stringify(app.logged.lines)).not.toContain('Attempted')
  // The console has seen every byte, as if nobody had looked.
  await console.hears('---[ end Kernel panic')
})

test('a rule is for the ports that it names, and the built-in ones can be changed and switched off', async () => {
  const app = await startApp({
    listen: TWO_VMS,
    alerts: {
      rules: [
        { name: 'login-failure', pattern: 'FAILED LOGIN', ports: ['db*'], severity: 'info', everyMs: 0 },
        { name: 'kernel-panic', severity: 'warning' },
        { name: 'oom-kill', enabled: false },
      ],
    },
  })
  const [web, db] = [await RawVm.connect(app, 0), await RawVm.connect(app, 1)]
  const text = `FAILED LOGIN\r\n[ 1.0] Out of memory: Killed process 1 (a)\r\n`
  await web.print(app, text, 'vm1')
  await db.print(app, `${text}FAILED LOGIN again\r\n${PANIC}\r\n`, 'db1')
  await eventually(async () => (await alertsOf(app.url)).length === 3)
  const told = (await alertsOf(app.url)).map(({ rule, severity, port }) => [rule, severity, port])
  expect(told).toEqual([
    ['login-failure', 'info', 'name:db1'],
    ['login-failure', 'info', 'name:db1'],
    ['kernel-panic', 'warning', 'name:db1'],
  ])
  expect(await alertsOf(app.url, '?severity=warning')).toHaveLength(1)
  expect(await alertsOf(app.url, '?rule=login-failure&after=1')).toHaveLength(1)
  expect(await alertsOf(app.url, '?port=vm1')).toEqual([])
  expect(await alertsOf(app.url, '?port=db1')).toHaveLength(3)
  expect((await fetch(`${app.url}/api/v1/alerts?severity=bad`)).status).toBe(400)
})

test('rules can be changed, and switched off, without a restart; a console stays', async () => {
  const same = { history: 'memory' as const, dataDir: '/nowhere', limits: { drainMs: 1_000 } }
  const app = await startApp({ ...same, alerts: {} })
  const vm = await RawVm.connect(app)
  const console = await TestConsole.open(app, 'mode=write')
  const reload = (alerts?: object): readonly string[] => {
    const flags = { ...same, listen: [RAW_VM], http: '127.0.0.1:0', ...(alerts === undefined ? {} : { alerts }) }
    return app.reload(loadConfig({ env: {}, flags })).needRestart
  }
  expect(reload({ builtIn: false, rules: [{ name: 'mine', pattern: 'needle', everyMs: 0 }] })).toEqual([])
  await vm.print(app, `${PANIC}\r\nneedle\r\n`)
  await eventually(async () => (await alertsOf(app.url)).length === 1)
  expect((await alertsOf(app.url))[0]).toMatchObject({ rule: 'mine', severity: 'warning' })
  expect(reload()).toEqual([])
  expect(app.server.watch).toBeNull()
  await vm.print(app, 'needle\r\n')
  await console.hears('needle\r\nneedle\r\n')
  expect(await alertsOf(app.url)).toHaveLength(1)
})

test('alerts beyond what people can bear are only counted', async () => {
  const app = await startApp({ alerts: { builtIn: false, rules: [{ name: 'mine', pattern: 'x', everyMs: 0 }] } })
  const vm = await RawVm.connect(app)
  await vm.print(app, 'x\r\n'.repeat(5_000))
  await eventually(async () => {
    const text = await (await fetch(`${app.url}/metrics`)).text()
    return text.includes('vspc_alerts_total{rule="mine"} 600\n') && text.includes('vspc_alerts_suppressed_total 4400')
  })
  expect(app.logged.find('too many alerts')).toMatchObject({ perMinute: 600 })
})

test.each([
  [{ rules: [{ name: 'x', pattern: '(' }] }, /alerts\.rules\[0\]\.pattern "\(": .*missing closing \)/],
  [{ rules: [{ name: 'x', pattern: '(?=a)' }] }, /alerts\.rules\[0\]\.pattern.*RE2 syntax/],
  [{ rules: [{ pattern: 'a' }] }, /alerts\.rules\[0\] has no name/],
  [{ rules: [{ name: 'A b', pattern: 'a' }] }, /"A b" is no name of a rule/],
  [{ rules: [{ name: 'kernel-panc' }] }, /no pattern.*did you mean kernel-panic\?/],
  [
    {
      rules: [
        { name: 'x', pattern: 'a' },
        { name: 'x', pattern: 'b' },
      ],
    },
    /rules\[1\]\.name "x" is there already/,
  ],
  [{ rules: [{ name: 'x', pattern: 'a', ports: ['uuid:zz'] }] }, /rules\[0\]\.ports\.0.*UUID/],
  [{ rules: [{ name: 'x', pattern: 'a', severity: 'errror' }] }, /did you mean error\?/],
  [{ builtin: true }, /did you mean builtIn\?/],
])('a section with a mistake is refused, and says which: %j', (alerts, message) => {
  expect(() => loadConfig({ env: { HOME: '/tmp' }, flags: { alerts: alerts as never } })).toThrow(message)
})
