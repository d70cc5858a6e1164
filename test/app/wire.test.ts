import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { createLogger, loadConfig, type Settings, start } from '../../src/app/index.ts'
import { planReload } from '../../src/app/reload.ts'
import { VspcError } from '../../src/base/index.ts'
import { eventually, LogLines, RAW_VM, RawVm, startApp, TestConsole } from './support.ts'

const quiet = { log: createLogger('silent', new LogLines()) }

function configOf(settings: Settings = {}) {
  return loadConfig({ env: {}, flags: { listen: [RAW_VM], http: '127.0.0.1:0', history: 'memory', ...settings } })
}

async function occupied(): Promise<number> {
  const blocker = createServer()
  onTestFinished(() => void blocker.close())
  blocker.listen(0, '127.0.0.1')
  await once(blocker, 'listening')
  return (blocker.address() as AddressInfo).port
}

describe('start', () => {
  test('with port 0 tells the real ports', async () => {
    const app = await startApp()
    expect(app.http).toMatchObject({ host: '127.0.0.1', tcpPort: expect.any(Number) })
    expect(app.url).toBe(`http://127.0.0.1:${app.http?.tcpPort}`)
    expect(app.listening).toEqual([expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*\?protocol=raw&name=vm1$/)])
  })

  test('with HTTP off there is none', async () => {
    const app = await startApp({ http: 'off' })
    expect(app.http).toBeNull()
    await RawVm.connect(app)
  })

  test('over IPv6 loopback, or by the name localhost', async () => {
    const app = await startApp({ http: 'localhost:0' })
    expect((await fetch(`${app.url}/livez`)).status).toBe(200)
  })

  test('on an HTTP address in use fails, names the flag, and closes the VM listeners', async () => {
    const tcpPort = await occupied()
    const probe = await occupied()
    const listen = `tcp://127.0.0.1:0?protocol=raw&name=vm1`
    const failed = start(configOf({ listen: [listen], http: `127.0.0.1:${tcpPort}` }), quiet)
    await expect(failed).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringMatching(new RegExp(`--http 127\\.0\\.0\\.1:${tcpPort}: .*--http off`)),
    })
    expect(probe).not.toBe(tcpPort)
  })

  test('on a VM address in use fails before HTTP is there', async () => {
    const tcpPort = await occupied()
    await expect(start(configOf({ listen: [`tcp://127.0.0.1:${tcpPort}`] }), quiet)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
    })
  })

  test('never serves HTTP to other machines, whoever made the configuration', async () => {
    const config = { ...configOf(), http: { host: '0.0.0.0', tcpPort: 0 } }
    await expect(start(config, quiet)).rejects.toMatchObject({ code: 'VSPC_HTTP_UNSAFE_BIND' })
  })

  test('with --capture records what VMs say', async () => {
    const capture = mkdtempSync(join(tmpdir(), 'vspc-capture-'))
    onTestFinished(() => rmSync(capture, { recursive: true }))
    const app = await startApp({ capture })
    const vm = await RawVm.connect(app)
    await vm.print(app, 'to be kept')
    await app.stop()
    const text = readdirSync(capture)
      .map((file) => readFileSync(join(capture, file), 'utf8'))
      .join('')
    expect(text).toContain('"vspc-capture"')
    expect(text.replaceAll(' ', '')).toContain(Buffer.from('to be kept').toString('hex'))
  })
})

describe('stop', () => {
  test('closes everything: listeners, VMs, consoles, HTTP; a second call waits for the same', async () => {
    const app = await startApp()
    const vm = await RawVm.connect(app)
    const console = await TestConsole.open(app)
    const idle = await fetch(`${app.url}/livez`)
    await idle.text()
    await Promise.all([app.stop(), app.stop()])
    await console.closed()
    await eventually(() => vm.closed)
    await expect(fetch(`${app.url}/livez`)).rejects.toThrow()
    expect(app.server.listening).toEqual([])
    expect(app.logged.find('stopped')).toBeDefined()
  })

  test('does not wait for ever for a download nobody reads', async () => {
    const app = await startApp({}, { historyBytes: 32 << 20, drainMs: 100 })
    const vm = await RawVm.connect(app)
    await vm.print(app, Buffer.alloc(24 << 20))
    vm.socket.end()
    const answer = await fetch(`${app.url}/api/v1/ports/vm1/log`)
    await app.stop()
    await expect(answer.arrayBuffer()).rejects.toThrow()
  })
})

describe('reload', () => {
  test('changes what can change, at once, and drops nobody', async () => {
    const app = await startApp({ history: 'memory', dataDir: '/nowhere', logLevel: 'info' })
    await RawVm.connect(app)
    const console = await TestConsole.open(app, 'mode=write')
    const now = configOf({ dataDir: '/nowhere', logLevel: 'info' })
    // As the server under test was started with other limits than the file says.
    const next = { ...now, limits: { ...app.server.limits, maxConsolesPerPort: 2, maxConsoleMessageBytes: 1_024 } }
    const plan = app.reload({ ...next, writers: 'single', logLevel: 'error', serviceUris: ['mine'] })
    expect(plan.needRestart).toEqual([])
    expect([...plan.changed].sort()).toEqual([
      'limits.maxConsoleMessageBytes',
      'limits.maxConsolesPerPort',
      'logLevel',
      'serviceUris',
      'writers',
    ])
    expect(app.server.serviceUris).toEqual(['mine'])
    expect(await (await TestConsole.open(app, 'mode=write')).closed()).toMatchObject({ code: 4409 })
    const second = await TestConsole.open(app)
    expect(await (await TestConsole.open(app)).closed()).toMatchObject({ code: 4429 })
    second.socket.send(Buffer.alloc(1_025))
    expect(await second.closed()).toMatchObject({ code: 1009 })
    app.log.info({}, 'not any more')
    expect(app.logged.find('not any more')).toBeUndefined()
    expect(app.logged.find('configuration reloaded')).toBeDefined()
    expect(console.end).toBeNull()
  })

  test('changes nothing when anything needs a restart, and says what', async () => {
    const app = await startApp({ history: 'memory', dataDir: '/nowhere' })
    const limits = { ...app.server.limits, keepAliveMs: 1_234 }
    const plan = app.reload({
      ...configOf({ dataDir: '/nowhere', dial: ['tcp://127.0.0.1:9'] }),
      limits,
      writers: 'single',
    })
    expect([...plan.needRestart].sort()).toEqual(['dial', 'limits.keepAliveMs'])
    expect(app.server.writers).toBe('shared')
    expect(app.server.limits.keepAliveMs).not.toBe(1_234)
    expect(app.logged.find('not reloaded')).toMatchObject({
      level: 'error',
      needRestart: ['dial', 'limits.keepAliveMs'],
    })
  })

  test.each([
    [{ listen: ['tcp://127.0.0.1:9'] }, ['listen']],
    [{ http: 'off' }, ['http']],
    [{ capture: '/tmp/x' }, ['capture']],
    [{ captureRedact: true }, ['captureRedact']],
    [{ dataDir: '/tmp/x' }, ['dataDir']],
    [{ history: 'off' }, ['history']],
    [{ allowDial: ['tcp://10.0.0.1:1'] }, ['allowDial']],
    [{ forward: ['*=tcp://10.0.0.1:1'] }, ['forward']],
    [{ trustedProxies: ['10.0.0.0/8'] }, []],
    [{ limits: { captureFiles: 3 } }, ['limits.captureFiles']],
    [{ limits: { pingMs: 5_000 } }, []],
    [{}, []],
  ])('%j needs a restart for %j', (settings, needRestart) => {
    expect(planReload(configOf(), configOf(settings as Settings)).needRestart).toEqual(needRestart)
  })
})

test('start rejects with coded errors only', async () => {
  const failed = await start({ ...configOf(), capture: '/dev/null/no' }, quiet).catch((error: unknown) => error)
  expect(failed).toBeInstanceOf(VspcError)
  expect(failed).toMatchObject({ code: 'VSPC_CAPTURE_WRITE' })
})
