/**
 * What OpenStack Nova's vmwareapi driver does, done here in its stead: it gives VMs a serial port with the two URIs of
 * nova.conf, and reads console logs. Written from what the driver does, without our history code.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  cpSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { canonicalUuid, parseSimTarget, SimVm, simUuid } from '../../src/sim/index.ts'
import { TestCertificates } from '../support/certificates.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { eventually } from './support.ts'

// Whole servers, on two cores that others use, too.
vi.setConfig({ testTimeout: 60_000 })

const root = join(import.meta.dirname, '../..')
const CONFIG = join(root, 'packaging/openstack/vspc.yaml')
const page = readFileSync(join(root, 'docs/openstack.md'), 'utf8')

const HOST = 'vspc.example.com:13370'

/** Settings of nova.conf, by name. */
const settings = (text: string) =>
  new Map([...text.matchAll(/^(serial_\w+) = (\S+)$/gm)].map(([, name = '', value = '']) => [name, value]))

describeWithPeers(['openssl'], 'Nova', () => {
  let folder = ''
  let certificates: TestCertificates
  /** As `vspc uri` prints it, for the certificate that the server has. */
  let nova = new Map<string, string>()
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vspc-openstack-'))
    certificates = await TestCertificates.create()
    const { cert, key } = await certificates.selfSigned('vspc')
    cpSync(cert, join(folder, 'crt.pem'))
    cpSync(key, join(folder, 'key.pem'))
    cpSync(CONFIG, join(folder, 'vspc.yaml'))
    const [, line = ''] = /^vspc (uri .*--nova)/m.exec(page) ?? []
    const words = line.replace('/etc/vspc', folder).split(' ')
    // Of files vspc uri knows nothing.
    const serialLogDir = settings(page).get('serial_log_dir') ?? ''
    nova = settings(`${(await runVspc(words)).stdout}serial_log_dir = ${serialLogDir}\n`)
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    await certificates.remove()
  })

  /** A server of the shipped configuration, with other addresses and another place for data, and nothing else changed. */
  async function startShipped(more = '') {
    const dataDir = mkdtempSync(join(folder, 'data-'))
    const logDir = join(dataDir, 'nova')
    const moved = join(folder, 'moved.yaml')
    writeFileSync(
      moved,
      readFileSync(CONFIG, 'utf8')
        .replace('tcp://0.0.0.0:13370', 'tcp://127.0.0.1:0')
        .replace('127.0.0.1:13371', '127.0.0.1:0')
        .replace('/var/lib/vspc', dataDir)
        .replace(nova.get('serial_log_dir') ?? '', logDir)
        .concat(more),
    )
    const child = spawn(process.execPath, [VSPC_BIN, 'serve', '--json', '--config', moved], {
      env: { PATH: process.env['PATH'] ?? '', HOME: folder },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const logged: string[] = []
    createInterface({ input: child.stderr }).on('line', (line) => logged.push(line))
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
    const { listening, http } = JSON.parse(line) as { listening: string[]; http: string }
    return { tcpPort: /:(\d+)/.exec(listening[0]?.slice(6) ?? '')?.[1] ?? '', url: http, logged, logDir }
  }
  type Shipped = Awaited<ReturnType<typeof startShipped>>

  /** An instance as Nova makes it: `instanceUuid` is its UUID, the two URIs are those of nova.conf. */
  function instance(app: Shipped, index: number, given: { serviceURI?: string; thumbprint?: string } = {}): SimVm {
    const [proxyUri = '', pin = ''] = (nova.get('serial_port_proxy_uri') ?? '').split('#thumbprint=')
    const vm = new SimVm({
      name: `instance-${index}`,
      // The host's part: TLS, with a certificate of that SHA-1 fingerprint and no other.
      target: parseSimTarget(`${proxyUri.replace(HOST, `127.0.0.1:${app.tcpPort}`)}?pin=${given.thumbprint ?? pin}`),
      redialMs: 0,
      identity: { name: `instance-${index}`, vcUuid: simUuid('vc', 2, index) },
      ports: [{ serviceURI: given.serviceURI ?? nova.get('serial_port_service_uri') ?? '' }],
    })
    onTestFinished(() => vm.close())
    return vm
  }

  test('the shipped configuration is in order, word for word', async () => {
    const { code, stderr } = await runVspc(['config', 'check', join(folder, 'vspc.yaml')])
    expect([code, stderr]).toEqual([0, ''])
  })

  test('the page shows the settings as vspc uri prints them, and those that are about logs', () => {
    const shown = settings(page)
    expect([...shown.keys()]).toEqual([...nova.keys(), 'serial_log_uri'])
    expect(parse(readFileSync(CONFIG, 'utf8')).logFiles).toEqual({ dir: nova.get('serial_log_dir'), layout: 'nova' })
    expect(shown.get('serial_port_service_uri')).toBe(nova.get('serial_port_service_uri'))
    const form = /^telnets:\/\/vspc\.example\.com:13370#thumbprint=(?:[0-9A-F]{2}:){19}[0-9A-F]{2}$/
    for (const each of [shown, nova]) expect(each.get('serial_port_proxy_uri')).toMatch(form)
  })

  test('an instance over TLS with a pinned certificate: its output is at /console_log/ under its UUID', async () => {
    const app = await startShipped()
    const vm = instance(app, 1)
    await vm.powerOn()
    vm.print('cloud-init: done\r\nlogin: ')
    const uuid = canonicalUuid(simUuid('vc', 2, 1))
    // As the forks' driver asks: the UUID with dashes, no header of its own, the body as it is.
    const read = async () => (await fetch(`${app.url}/console_log/${uuid}`)).text()
    await eventually(async () => (await read()) === 'cloud-init: done\r\nlogin: ')
    expect((await fetch(`${app.url}/console_log/${uuid.replaceAll('-', '')}`)).status).toBe(200)
    expect((await fetch(`${app.url}/console_log/${canonicalUuid(simUuid('vc', 2, 99))}`)).status).toBe(404)
    const [port] = (await (await fetch(`${app.url}/api/v1/ports`)).json()) as {
      id: string
      transport: string
      serviceURI: string
    }[]
    expect(port).toMatchObject({ id: uuid, transport: 'tls', serviceURI: nova.get('serial_port_service_uri') })
  })

  /** As the driver does it: null where it says that the console log is missing. */
  function getConsoleOutput(logDir: string, instanceUuid: string): string | null {
    const path = join(logDir, instanceUuid.replaceAll('-', ''))
    if (!existsSync(path)) return null
    const fd = openSync(path, 'r')
    try {
      const { size } = fstatSync(fd)
      const last = Buffer.alloc(Math.min(size, 100 * 1024))
      readSync(fd, last, 0, last.length, size - last.length)
      return last.toString('latin1')
    } finally {
      closeSync(fd)
    }
  }

  test('its log is where Nova looks: the last 100 KiB, with what came just now, also of an instance that prints much', async () => {
    const app = await startShipped()
    const vm = instance(app, 5)
    const uuid = canonicalUuid(simUuid('vc', 2, 5))
    expect(getConsoleOutput(app.logDir, uuid)).toBe(null)
    await vm.powerOn()
    vm.print('first\r\n')
    await eventually(() => getConsoleOutput(app.logDir, uuid) === 'first\r\n')
    // More than the file keeps, so that it has begun anew on the way.
    const line = (n: number) => `line ${String(n).padStart(6, '0')} ${'x'.repeat(1_010)}\r\n`
    for (let n = 0; n < 2_400; n += 600) {
      vm.print(Array.from({ length: 600 }, (_, i) => line(n + i)).join(''))
      await eventually(
        async () =>
          (await (await fetch(`${app.url}/console_log/${uuid}`, { method: 'HEAD' })).headers.get('x-vspc-next')) ===
          String(7 + (n + 600) * line(0).length),
      )
    }
    vm.print('last')
    await eventually(() => getConsoleOutput(app.logDir, uuid)?.endsWith('last') === true)
    const expected = `first\r\n${Array.from({ length: 2_400 }, (_, n) => line(n)).join('')}last`.slice(-100 * 1024)
    expect(getConsoleOutput(app.logDir, uuid)).toBe(expected)
    // Nova's user asks whether it is there, and must be able to pass.
    expect(statSync(app.logDir).mode & 0o001).toBe(0o001)
  })

  test('an instance with another serviceURI is refused, and the log says which one it was', async () => {
    const app = await startShipped()
    const vm = instance(app, 2, { serviceURI: 'vSPC.py' })
    await expect(vm.powerOn()).rejects.toThrow()
    await eventually(() => app.logged.some((line) => line.includes('WONT-PROXY') && line.includes('vSPC.py')))
    expect((await fetch(`${app.url}/console_log/${canonicalUuid(simUuid('vc', 2, 2))}`)).status).toBe(404)
  })

  test('with the access rules of the page, the proxy in front reads in the name of Nova, and nobody else does', async () => {
    const [, rules = ''] = /```yaml\n(access:[\s\S]*?)```/.exec(page) ?? []
    const app = await startShipped(rules)
    const vm = instance(app, 4)
    await vm.powerOn()
    vm.print('for Nova\r\n')
    const url = `${app.url}/console_log/${canonicalUuid(simUuid('vc', 2, 4))}`
    const read = (headers: Record<string, string>) => fetch(url, { headers })
    await eventually(async () => (await (await read({ 'x-forwarded-user': 'nova' })).text()) === 'for Nova\r\n')
    expect((await read({})).status).toBe(401)
    expect((await read({ 'x-forwarded-user': 'eve' })).status).toBe(404)
  })

  test('a host that finds another certificate than the pinned one does not talk', async () => {
    const app = await startShipped()
    const right = (nova.get('serial_port_proxy_uri') ?? '').split('=')[1] ?? ''
    const vm = instance(app, 3, { thumbprint: right.replace(/^../, right.startsWith('00') ? '11' : '00') })
    await expect(vm.powerOn()).rejects.toThrow()
    expect(await (await fetch(`${app.url}/api/v1/ports`)).json()).toEqual([])
  })
})
