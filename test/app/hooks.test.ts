/** Hooks of a whole server: from what a VM prints to who is told. */
import { expect, test } from 'vitest'
import { createLogger, loadConfig, testHook } from '../../src/app/index.ts'
import { systemClock } from '../../src/base/index.ts'
import { Receiver } from '../hooks/support.ts'
import { eventually, LogLines, RAW_VM, RawVm, startApp, TestConsole } from './support.ts'

const PANIC = '[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b'
const typesAt = ({ got }: Receiver) => got.map(({ body }) => (JSON.parse(body) as { type: string }).type)

test('a VM that panics is one webhook, though it says so thrice; its console sees every byte', async () => {
  const receiver = await Receiver.start()
  const app = await startApp({ alerts: {}, hooks: [{ name: 'pager', url: receiver.url() }] })
  const vm = await RawVm.connect(app)
  const console = await TestConsole.open(app, 'mode=write')
  const text = `${PANIC}\r\n`.repeat(3)
  await vm.print(app, text)
  await eventually(() => receiver.got.length === 1)
  await console.hasBytes(text.length)
  const event = JSON.parse(receiver.got[0]?.body ?? '')
  expect(event).toMatchObject({
    type: 'vspc.alert',
    subject: 'name:vm1',
    data: { type: 'alert', port: { id: 'name:vm1' }, alert: { rule: 'kernel-panic', line: PANIC } },
  })
  await eventually(async () => {
    const metrics = await (await fetch(`${app.url}/metrics`)).text()
    return (
      metrics.includes('vspc_hook_events_total{hook="pager",result="delivered"} 1') &&
      metrics.includes('vspc_alerts_suppressed_total 2')
    )
  })
  expect(receiver.got).toHaveLength(1)
})

test('a receiver that hangs holds up neither VMs nor consoles nor, for long, the end', async () => {
  const receiver = await Receiver.start()
  receiver.answer = () => {}
  const hooks = [{ name: 'all', url: receiver.url(), events: ['*'] }]
  const app = await startApp({ hooks }, { drainMs: 200 })
  const vm = await RawVm.connect(app)
  const console = await TestConsole.open(app, 'mode=write')
  await eventually(() => receiver.got.length === 1)
  await vm.print(app, 'still here\r\n')
  await console.hears('still here')
  const begin = performance.now()
  await app.stop()
  expect(performance.now() - begin).toBeLessThan(5_000)
  expect(app.logged.find('not delivered before the end')).toMatchObject({ hook: 'all' })
})

test('what happens while the server stops is told before it ends', async () => {
  const receiver = await Receiver.start()
  const app = await startApp({ hooks: [{ name: 'all', url: receiver.url(), events: ['port-*', 'console-detached'] }] })
  await RawVm.connect(app)
  await TestConsole.open(app)
  await app.stop()
  expect(typesAt(receiver)).toEqual([
    'vspc.port-added',
    'vspc.port-online',
    'vspc.console-detached',
    'vspc.port-offline',
  ])
})

test('hooks are changed without a restart, and without any no events are made', async () => {
  const receiver = await Receiver.start()
  const same = { history: 'memory' as const, dataDir: '/nowhere', limits: { drainMs: 1_000 } }
  const app = await startApp(same)
  await RawVm.connect(app)
  const reload = (hooks?: object[]): readonly string[] => {
    const flags = { ...same, listen: [RAW_VM], http: '127.0.0.1:0', ...(hooks === undefined ? {} : { hooks }) }
    return app.reload(loadConfig({ env: {}, flags })).needRestart
  }
  expect(reload([{ name: 'new', url: receiver.url(), events: ['console-attached'] }])).toEqual([])
  await TestConsole.open(app)
  await eventually(() => receiver.got.length === 1)
  expect(reload()).toEqual([])
  await TestConsole.open(app)
  await app.stop()
  expect(receiver.got).toHaveLength(1)
})

test('a hook can be tried without a server', async () => {
  const receiver = await Receiver.start()
  const hooks = [
    { name: 'pager', url: receiver.url() },
    { name: 'run', exec: ['/bin/cat'] },
  ]
  const config = loadConfig({ env: { HOME: '/tmp' }, flags: { hooks } })
  const tools = { clock: systemClock, log: createLogger('silent', new LogLines()), version: '0' }
  expect(await testHook(config, 'pager', tools)).toEqual({ kind: 'delivered', detail: 'HTTP status 204' })
  expect(JSON.parse(receiver.got[0]?.body ?? '')).toMatchObject({ data: { alert: { rule: 'hook-test' } } })
  expect(await testHook(config, 'run', tools)).toMatchObject({
    kind: 'delivered',
    detail: expect.stringContaining('hook-test'),
  })
  expect(() => testHook(config, 'pagr', tools)).toThrow(/no hook "pagr"; there are pager, run/)
})

test.each([
  [{ name: 'x' }, /hooks\[0\] has neither url nor exec/],
  [{ name: 'x', url: 'http://a/', exec: ['/b'] }, /hooks\[0\] has both url and exec/],
  [{ url: 'http://a/' }, /hooks\[0\] has no name/],
  [{ name: 'X Y', url: 'http://a/' }, /hooks\[0\]\.name "X Y" is no name/],
  [{ name: 'x', url: 'ftp://a/' }, /hooks\[0\]\.url .*neither http/],
  [{ name: 'x', url: 'a b' }, /hooks\[0\]\.url .*no URL/],
  [{ name: 'x', url: 'https://u:geheim@a/' }, /hooks\[0\]\.url holds a user or password/],
  [{ name: 'x', url: 'http://a/', pin: `sha256:${'a'.repeat(64)}` }, /hooks\[0\]\.url .*caFile and pin say nothing/],
  [{ name: 'x', url: 'https://a/', pin: 'sha256:1' }, /hooks\[0\]\.pin .*no fingerprint/],
  [
    { name: 'x', url: 'http://a/', events: ['alrt'] },
    /hooks\[0\]\.events\[0\] "alrt" fits no event.*did you mean alert\?/,
  ],
  [{ name: 'x', url: 'http://a/', events: [] }, /hooks\[0\]\.events is empty/],
  [{ name: 'x', url: 'http://a/', ports: ['zone:b'] }, /hooks\[0\]\.ports\[0\] .*selects no ports/],
  [
    { name: 'x', url: 'http://a/', headerFiles: { 'webhook-id': '/f' } },
    /headerFiles\.webhook-id is one that vspc sets/,
  ],
  [{ name: 'x', url: 'http://a/', headerFiles: { 'a b': '/f' } }, /headerFiles\.a b is no name of a header/],
  [{ name: 'x', exec: ['notify'] }, /hooks\[0\]\.exec .*absolute path/],
  [{ name: 'x', exec: ['/b'], secretFile: '/f' }, /hooks\[0\]\.secretFile is for hooks with a url/],
  [{ name: 'x', exec: ['/b'], timeout: 1 }, /did you mean timeoutMs\?/],
])('a hook with a mistake is refused, and says which: %j', (hook, message) => {
  const load = (): unknown => loadConfig({ env: { HOME: '/tmp' }, flags: { hooks: [hook as never] } })
  expect(load).toThrow(message)
  // A password is not told.
  expect(load).not.toThrow(/geheim/)
})

test('two hooks of one name are a mistake', () => {
  const one = { name: 'x', url: 'http://a/' }
  expect(() => loadConfig({ env: { HOME: '/tmp' }, flags: { hooks: [one, one] } })).toThrow(
    /hooks\[1\]\.name "x" is there already/,
  )
})
