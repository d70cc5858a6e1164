/** `vspc serve` that follows its own appliance, against the real simulator. */
import { once } from 'node:events'
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import {
  connect,
  editSerialPort,
  type ManagedRef,
  reconfigureVm,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { Way } from '../appliance/support.ts'
import { startRelay, temporaryFolder } from '../relay/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, allVms, clusterHosts, portsOfAll, refsOf, relocate } from '../support/vcsim-fleet.ts'
import { EventReader } from './event-reader.ts'
import { type AppUnderTest, eventually, startApp } from './support.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const OLD = 'telnet://old.example:13370'

interface ApiDocument {
  components: {
    schemas: Record<
      string,
      { required?: string[]; oneOf?: { required: string[]; properties: { type: { const: string } } }[] }
    >
  }
}

interface Info {
  tracking: boolean
  host: { name: string } | null
  settled: boolean
  reachable: boolean
  trouble: { message: string; since: string } | null
  vms: { name: string; state: string; reason: string }[]
  [name: string]: unknown
}

describeWithPeers(['vcsim', 'openssl'], 'a server that follows its appliance', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let own: ManagedRef
  let passwordFile = ''
  let vsphere: NonNullable<Settings['vsphere']>
  const track = { appliance: APPLIANCE, vms: ['*'], proxyUri: 'telnet://{host}:13370' }

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 3, cert: certificate.cert, key: certificate.key })
    passwordFile = join(certificates.directory, 'password')
    writeFileSync(passwordFile, `${VCSIM_PASSWORD}\n`)
    chmodSync(passwordFile, 0o600)
    vsphere = { url: sim.url, user: VCSIM_USER, passwordFile, pin: `sha256:${certificate.sha256}` }
    session = await logIn(sim)
    own = (await refsOf(session, [APPLIANCE]))[0]!
    const vms = (await allVms(session)).map(({ ref }) => ref)
    await addPorts(session, vms, () => ({ serviceURI: 'vspc', direction: 'client', proxyURI: OLD }))
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  function logIn({ url }: Vcsim): Promise<VsphereSession> {
    return connect({ url, user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256 })
  }

  async function moveTo(at: number): Promise<string> {
    const host = (await clusterHosts(session))[at]!
    await relocate(session, own, host.ref)
    return host.name
  }

  /** What all ports but the appliance's own name. */
  async function proxies(from = session): Promise<Set<string | null>> {
    const all = [...(await portsOfAll(from))].filter(([name]) => name !== APPLIANCE)
    return new Set(
      all.flatMap(([, ports]) => ports.map((port) => (port.backing.kind === 'uri' ? port.backing.proxyURI : ''))),
    )
  }

  test('the API, events, metrics and the log say where it is; a move re-points every VM', async () => {
    const first = await moveTo(0)
    const app = await startApp({ vsphere, track })
    await settledOn(app, first)
    expect(await proxies()).toEqual(new Set([`telnet://${first}:13370`]))
    const before = await appliance(app)
    expect(before).toMatchObject({
      tracking: true,
      vm: { name: APPLIANCE, uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      host: { name: first, managementIps: ['127.0.0.1'] },
      since: expect.stringMatching(/Z$/),
      moves: 0,
      reachable: true,
      trouble: null,
      proxyURI: `telnet://${first}:13370`,
      counts: { vms: 5, right: 5, queued: 0, working: 0, waiting: 0, stuck: 0, cannot: 0 },
      nextHopsOpen: 0,
      vms: [],
    })

    expect(await metric(app, `vspc_appliance_host_info{host="${first}"}`)).toBe('1')
    const { components } = (await (await fetch(`${app.url}/openapi.json`)).json()) as ApiDocument
    expect(Object.keys(before).sort()).toEqual([...(components.schemas['Appliance']?.required ?? [])].sort())

    const reader = await EventReader.open(app)
    const second = await moveTo(1)
    await settledOn(app, second)
    await reader.has('repoint-settled')
    for (const { event, data } of reader.events.slice(1)) {
      const described = components.schemas['ServerEvent']?.oneOf?.find((one) => one.properties.type.const === event)
      expect([event, Object.keys(data).sort()]).toEqual([event, [...(described?.required ?? [])].sort()])
    }
    const [, ...events] = reader.events
    expect(events[0]).toMatchObject({
      event: 'appliance-moved',
      data: {
        from: { name: first },
        to: { name: second, managementIps: ['127.0.0.1'] },
        at: expect.stringMatching(/Z$/),
      },
    })
    expect(events.slice(1, 6).map(({ event }) => event)).toEqual(Array(5).fill('vm-repointed'))
    expect(events[1]?.data).toMatchObject({
      vm: { name: expect.stringMatching(/^DC0_/), uuid: expect.any(String) },
      ports: [{ from: `telnet://${first}:13370`, to: `telnet://${second}:13370`, why: 'points elsewhere' }],
    })
    expect(events.at(-1)?.data).toMatchObject({ host: second, changed: 5, counts: { right: 5 } })
    expect(await proxies()).toEqual(new Set([`telnet://${second}:13370`]))
    const after = await appliance(app)
    expect(after).toMatchObject({ moves: 1, host: { name: second } })
    expect(Date.parse(String(after['since']))).toBeGreaterThan(Date.parse(String(before['since'])))

    const metrics = await (await fetch(`${app.url}/metrics`)).text()
    expect(metrics.match(/^vspc_appliance_host_info.*$/gm)).toEqual([`vspc_appliance_host_info{host="${second}"} 1`])
    for (const line of [
      `vspc_appliance_host_since_timestamp_seconds ${Date.parse(String(after['since'])) / 1_000}`,
      'vspc_appliance_moves_total 1',
      'vspc_appliance_trouble 0',
      'vspc_vcenter_reachable 1',
      'vspc_repoint_vms{state="right"} 5',
      'vspc_repoint_vms{state="stuck"} 0',
      'vspc_repoint_changes_total 10',
      'vspc_repoint_failures_total 0',
      'vspc_next_hops_open 0',
    ]) {
      expect(metrics.split('\n')).toContain(line)
    }
    await eventually(() => app.logged.lines.filter(({ msg }) => msg === 're-pointing has settled').length === 2)
    expect(app.logged.find('the appliance has moved')).toMatchObject({ level: 'info', from: first, host: second })
    expect(app.logged.lines.filter(({ level }) => level === 'error')).toEqual([])
    expect(JSON.stringify(app.logged.lines)).not.toContain(VCSIM_PASSWORD.slice(0, 6))
  })

  test('the plan is that of "vspc track --plan --json", and changes nothing; a check looks at once', async () => {
    const host = await moveTo(2)
    const app = await startApp({ vsphere, track: { ...track, vms: ['DC0_H0*'] } })
    await settledOn(app, host)
    await pointBack('DC0_H0_VM1')
    const answer = await fetch(`${app.url}/api/v1/appliance/plan`)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8'])
    const uri = `telnet://${host}:13370`
    expect(await answer.json()).toMatchObject({
      at: expect.stringMatching(/Z$/),
      host,
      proxyURI: uri,
      nextHops: [],
      steps: [
        { vm: 'DC0_H0_VM0', do: 'keep', from: uri, to: null, why: 'is right already' },
        { vm: 'DC0_H0_VM1', do: 'change', from: OLD, to: uri, why: 'points elsewhere' },
        { vm: 'DC0_H0_VM2', do: 'keep' },
      ],
    })
    expect([...(await proxies())]).toContain(OLD)
    const url = `${app.url}/api/v1/appliance/check`
    const stranger = await fetch(url, { method: 'POST', headers: { origin: 'https://evil.example' } })
    expect(stranger.status).toBe(403)
    const reader = await EventReader.open(app)
    const asked = await fetch(url, { method: 'POST' })
    expect([asked.status, await asked.text()]).toEqual([202, ''])
    expect((await reader.has('vm-repointed')).data).toMatchObject({ vm: { name: 'DC0_H0_VM1' } })
    await eventually(async () => !(await proxies()).has(OLD))
  })

  async function pointBack(name: string): Promise<void> {
    const [ref] = await refsOf(session, [name])
    const port = (await portsOfAll(session)).get(name)![0]!
    const edit = editSerialPort(port, { backing: { serviceURI: 'vspc', direction: 'client', proxyURI: OLD } })
    await reconfigureVm(session, ref!, { devices: [edit] })
  }

  test('vCenter is away at the start: the server serves, says so once, and follows when it is back', async () => {
    const path = join(temporaryFolder(), 'vcenter.sock')
    const host = await moveTo(0)
    const app = await startApp({ vsphere: { ...vsphere, dial: `unix://${path}` }, track })
    const reader = await EventReader.open(app)
    await eventually(async () => (await appliance(app)).trouble !== null)
    expect(await appliance(app)).toMatchObject({
      tracking: true,
      host: null,
      reachable: false,
      trouble: { message: expect.stringContaining('vcenter.sock'), since: expect.stringMatching(/Z$/) },
    })
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200)
    const plan = await fetch(`${app.url}/api/v1/appliance/plan`)
    expect([plan.status, plan.headers.get('content-type')]).toEqual([503, 'application/problem+json'])
    expect(await plan.json()).toMatchObject({
      code: expect.stringMatching(/^VSPC_/),
      detail: expect.stringContaining('vcenter.sock'),
    })
    expect(await metric(app, 'vspc_vcenter_reachable')).toBe('0')
    expect(await metric(app, 'vspc_appliance_trouble')).toBe('1')

    const way = await Way.open(path, sim.tcpPort)
    await settledOn(app, host)
    expect(await metric(app, 'vspc_vcenter_reachable')).toBe('1')
    await way.close()
    await eventually(async () => !(await appliance(app)).reachable)
    expect(await appliance(app)).toMatchObject({ host: { name: host }, trouble: { message: expect.any(String) } })
    const second = await moveTo(1)
    await Way.open(path, sim.tcpPort)
    await settledOn(app, second)
    await eventually(async () => (await appliance(app)).trouble === null)
    expect(await proxies()).toEqual(new Set([`telnet://${second}:13370`]))
    expect(
      reader.events.filter(({ event }) => event === 'appliance-moved').map(({ data }) => data['to']),
    ).toMatchObject([{ name: host }, { name: second }])
    const troubles = reader.events.filter(({ event }) => event === 'appliance-trouble').length
    const wells = reader.events.filter(({ event }) => event === 'appliance-well').length
    // Away twice, each time told once or, when it shows in another way meanwhile, twice or thrice.
    expect([troubles > 0, troubles < 7, wells > 0]).toEqual([true, true, true])
    const logged = app.logged.lines.filter(({ msg }) => String(msg).includes('meets with trouble'))
    expect(logged.length).toBeLessThan(8)
    expect(logged[0]).toMatchObject({ level: 'error', reason: expect.stringContaining('vcenter.sock') })
  })

  test('a wrong password: told once with what to check, and the server runs', async () => {
    const wrong = join(temporaryFolder(), 'pw')
    writeFileSync(wrong, 'not it', { mode: 0o600 })
    const app = await startApp({ vsphere: { ...vsphere, passwordFile: wrong }, track })
    await eventually(async () => (await appliance(app)).trouble !== null)
    const { trouble, reachable } = await appliance(app)
    expect([reachable, trouble?.message]).toEqual([
      false,
      expect.stringContaining(`check the user, and the password in ${wrong}`),
    ])
    await eventually(() => app.logged.find('meets with trouble') !== undefined)
    expect(app.logged.find('meets with trouble')).toMatchObject({ level: 'error', reason: trouble?.message })
    const plan = await fetch(`${app.url}/api/v1/appliance/plan`)
    expect([plan.status, await plan.json()]).toMatchObject([503, { code: 'VSPC_VSPHERE_LOGIN' }])
    expect((await fetch(`${app.url}/readyz`)).status).toBe(200)
    expect(app.logged.lines.filter(({ msg }) => String(msg).includes('meets with trouble'))).toHaveLength(1)
    expect(JSON.stringify(app.logged.lines)).not.toContain('not it')
  })

  test('a password file that is gone later, and a wrong name of the appliance, are trouble, not an end', async () => {
    const file = join(temporaryFolder(), 'pw')
    writeFileSync(file, VCSIM_PASSWORD, { mode: 0o600 })
    const starting = startApp({ vsphere: { ...vsphere, passwordFile: file }, track: { ...track, appliance: 'nobody' } })
    rmSync(file)
    const app = await starting
    expect(existsSync(file)).toBe(false)
    await eventually(async () => (await appliance(app)).trouble !== null)
    expect((await appliance(app)).trouble?.message).toContain('cannot read the password')
    writeFileSync(file, VCSIM_PASSWORD, { mode: 0o600 })
    await eventually(async () => (await appliance(app)).trouble?.message.includes("VM 'nobody' is not there") === true)
    expect(await appliance(app)).toMatchObject({ reachable: true, vm: null, host: null })
  })

  test('peer relays are told first; a host without a line in the table is trouble until there is one', async () => {
    const folder = temporaryFolder()
    const { relay } = await startRelay({
      routes: [{ name: 'r', listen: `unix://${folder}/vm.sock`, dial: 'next-hop:appliance' }],
      nextHops: { appliance: 'tcp://127.0.0.1:1' },
      control: `unix://${folder}/control.sock`,
    })
    const host = await moveTo(0)
    const nextHops = [`unix://${folder}/control.sock#appliance=tcp://{relay}:13371`]
    const app = await startApp({
      vsphere,
      track: { ...track, proxyUri: 'telnet://{relay}:13370', relays: { [host]: '192.0.2.1' }, nextHops },
    })
    await settledOn(app, host)
    expect(relay.nextHops()).toMatchObject([{ endpoint: { host: '192.0.2.1' } }])
    expect(await proxies()).toEqual(new Set(['telnet://192.0.2.1:13370']))
    const reader = await EventReader.open(app)
    const second = await moveTo(1)
    await eventually(async () => (await appliance(app)).host?.name === second)
    await eventually(async () => (await appliance(app)).trouble !== null)
    expect(await appliance(app)).toMatchObject({
      reachable: true,
      proxyURI: null,
      trouble: { message: `the table of relays has no line for host ${second}` },
    })
    expect(app.logged.find('no VM is re-pointed')).toMatchObject({ level: 'error' })
    await moveTo(0)
    await settledOn(app, host)
    expect(await appliance(app)).toMatchObject({ trouble: null, proxyURI: 'telnet://192.0.2.1:13370' })
    expect((await reader.has('next-hop-set')).data).toMatchObject({ endpoint: 'tcp://192.0.2.1:13371' })
    await reader.has('appliance-trouble')
    await reader.has('appliance-well')
  })

  test('stopping in the middle leaves no port disconnected, and takes no longer than it has to', async () => {
    const slow = await Vcsim.start({
      vms: 12,
      cert: certificate.cert,
      key: certificate.key,
      methodDelay: 'ReconfigVM_Task:150',
    })
    onTestFinished(() => slow.stop())
    const setup = await logIn(slow)
    onTestFinished(() => setup.close())
    const vms = await allVms(setup)
    await addPorts(
      setup,
      vms.map(({ ref }) => ref),
      () => ({ serviceURI: 'vspc', direction: 'client', proxyURI: OLD }),
    )
    const app = await startApp({ vsphere: { ...vsphere, url: slow.url }, track }, { drainMs: 5_000 })
    const reader = await EventReader.open(app)
    await reader.has('vm-repointed')
    await app.stop()
    const ports = [...(await portsOfAll(setup)).values()].flat()
    expect(ports.filter(({ connected }) => !connected)).toEqual([])
    const found = await proxies(setup)
    expect([found.size, found.has(OLD)]).toEqual([2, true])
    expect(app.logged.find('stopped before serial ports')).toBeUndefined()
    expect(app.logged.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('a vCenter that takes the connection and says nothing does not hold up the end', async () => {
    const path = join(temporaryFolder(), 'vcenter.sock')
    const silent = createServer((socket) => void socket.on('error', () => {}).resume())
    silent.listen(path)
    await once(silent, 'listening')
    onTestFinished(() => void silent.close())
    const app = await startApp({ vsphere: { ...vsphere, dial: `unix://${path}` }, track }, { drainMs: 60_000 })
    const [socket] = (await once(silent, 'connection')) as [Socket]
    const closed = once(socket, 'close')
    const plan = fetch(`${app.url}/api/v1/appliance/plan`)
    await eventually(async () => (await appliance(app)).tracking)
    await app.stop()
    await closed
    expect((await plan).status).toBe(503)
  })

  test('VMs that cannot be changed are listed with the reason', async () => {
    const host = await moveTo(0)
    const app = await startApp({ vsphere, track: { ...track, ports: [7] } })
    await settledOn(app, host)
    const { vms, counts } = await appliance(app)
    expect(counts).toMatchObject({ vms: 5, cannot: 5 })
    expect(vms).toHaveLength(5)
    expect(vms[0]).toMatchObject({
      name: 'DC0_C0_RP0_VM1',
      state: 'cannot',
      reason: 'it has no serial port 7',
      attempts: 0,
    })
    expect(app.logged.lines.filter(({ msg }) => msg === 'VM cannot be re-pointed')).toHaveLength(5)
  })
})

test('where it is not configured the API says so, and nothing else changes', async () => {
  const app = await startApp()
  expect(await appliance(app)).toMatchObject({ tracking: false, host: null, since: null, vms: [], counts: { vms: 0 } })
  for (const [method, path] of [
    ['GET', 'plan'],
    ['POST', 'check'],
  ] as const) {
    const answer = await fetch(`${app.url}/api/v1/appliance/${path}`, { method })
    expect([answer.status, await answer.json()]).toMatchObject([404, { code: 'VSPC_TRACK_OFF' }])
  }
  expect(await (await fetch(`${app.url}/metrics`)).text()).not.toContain('vspc_appliance')
})

async function appliance(app: AppUnderTest): Promise<Info> {
  return (await (await fetch(`${app.url}/api/v1/appliance`)).json()) as Info
}

async function settledOn(app: AppUnderTest, host: string): Promise<void> {
  await eventually(async () => {
    const { host: now, settled } = await appliance(app)
    return settled && now?.name === host
  })
}

async function metric(app: AppUnderTest, name: string): Promise<string | undefined> {
  const text = await (await fetch(`${app.url}/metrics`)).text()
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length + 1)
}
