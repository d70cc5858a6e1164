/** `vspc serve` that follows what VMs publish, against the real simulator and a double of its hosts. */
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Value } from 'typebox/value'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { GuestinfoAnswer, PortAnswer, Settings } from '../../src/app/index.ts'
import { encodeValue } from '../../src/guestinfo/index.ts'
import { parseSimTarget, SimVm } from '../../src/sim/index.ts'
import {
  connect,
  findVm,
  leaf,
  type ManagedRef,
  reconfigureVm,
  retrieveOne,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { Way } from '../appliance/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { FakeEsx } from '../support/fake-rpctool-vcsim.mjs'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { EventReader } from './event-reader.ts'
import { type AppUnderTest, eventually, RawVm, startApp } from './support.ts'

const WEB = 'DC0_H0_VM0'
const DB = 'DC0_H0_VM1'
const LONE = 'DC0_C0_RP0_VM0'
const PROCESS = 'guestinfo.vspc.process.main'
const VMS = [WEB, DB, LONE]
/** A port that is called like a VM, and is none of it. */
const LISTEN = ['tcp://127.0.0.1:0', `tcp://127.0.0.1:0?protocol=raw&name=${WEB}`]

interface ApiDocument {
  components: {
    schemas: Record<
      string,
      { required?: string[]; oneOf?: { required: string[]; properties: { type: { const: string } } }[] }
    >
  }
}

describeWithPeers(['vcsim', 'openssl'], 'a server that follows guestinfo', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let esx: FakeEsx
  let vsphere: NonNullable<Settings['vsphere']>
  const guestinfo = { vms: '*' }
  const uuids = new Map<string, { ref: ManagedRef; vc: string; bios: string }>()

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ cert: certificate.cert, key: certificate.key })
    const passwordFile = join(certificates.directory, 'password')
    writeFileSync(passwordFile, VCSIM_PASSWORD)
    chmodSync(passwordFile, 0o600)
    vsphere = { url: sim.url, user: VCSIM_USER, passwordFile, pin: `sha256:${certificate.sha256}` }
    session = await connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
    })
    esx = new FakeEsx({ url: sim.url, user: VCSIM_USER, password: VCSIM_PASSWORD })
    await esx.adopt(VMS)
    for (const name of VMS) {
      const { ref, instanceUuid, biosUuid } = await findVm(session, name)
      uuids.set(name, { ref, vc: instanceUuid ?? '', bios: biosUuid ?? '' })
    }
  })
  afterAll(async () => {
    esx?.close()
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  function vm(name: string) {
    return uuids.get(name) as { ref: ManagedRef; vc: string; bios: string }
  }

  /** VMs dial it, as ESXi does. */
  async function dialIn(app: AppUnderTest, name: string, identity: { vcUuid?: string; biosUuid?: string }) {
    const dialling = new SimVm({
      name,
      target: parseSimTarget(app.listening[0] ?? ''),
      identity: { name, ...identity },
      redialMs: 0,
    })
    onTestFinished(() => dialling.close())
    await dialling.powerOn()
    await eventually(() => [...app.server.table].some((port) => port.name === name))
  }

  /** The keys of all VMs as they were before anybody published. */
  async function clean(): Promise<void> {
    for (const name of VMS) {
      const keys = [
        PROCESS,
        'guestinfo.vspc.address.eth0',
        'guestinfo.vspc.error.disk',
        'guestinfo.vspc.error.a@secret',
      ]
      await reconfigureVm(session, vm(name).ref, { extraConfig: new Map(keys.map((key) => [key, ''])) })
    }
  }

  function folder(): string {
    const path = mkdtempSync(join(tmpdir(), 'vspc-app-guestinfo-'))
    onTestFinished(() => {
      chmodSync(path, 0o700)
      rmSync(path, { recursive: true, force: true })
    })
    return path
  }

  test('what a VM publishes is with its ports, in the list, told once, counted; a name alone is nobody', async () => {
    await clean()
    const app = await startApp({ vsphere, guestinfo, listen: LISTEN })
    await dialIn(app, 'web', { vcUuid: vm(WEB).vc, biosUuid: vm(DB).bios })
    await dialIn(app, 'db', { biosUuid: vm(DB).bios })
    await RawVm.connect(app, 1)
    await following(app)
    expect((await port(app, 'web')).guestinfo).toBeNull()
    const reader = await EventReader.open(app)
    await esx.publish(WEB, 'guestinfo.vspc.address.eth0', '10.0.0.7/24 gateway=10.0.0.1 dns=10.0.0.2')
    await esx.publish(WEB, 'guestinfo.vspc.error.disk', encodeValue('no\x1b[31m room\u202e'))
    await esx.publish(WEB, 'guestinfo.vspc.error.a@secret', 'hunter2')
    await esx.publish(WEB, PROCESS, 'exited code=3 started=1795385613 stopped=1795385700')
    await esx.publish(DB, PROCESS, 'running started=1795385613')
    await esx.publish(LONE, 'guestinfo.vspc.address.eth0', '10.0.0.9')
    await eventually(() => reader.events.length === 6)

    const web = await port(app, 'web')
    expect(web.guestinfo).toEqual({
      seenAt: expect.stringMatching(/Z$/),
      poweredOn: true,
      present: true,
      addresses: [
        {
          name: 'eth0',
          address: '10.0.0.7',
          prefix: 24,
          gateway: '10.0.0.1',
          dns: ['10.0.0.2'],
          seenAt: expect.stringMatching(/Z$/),
        },
      ],
      errors: [{ name: 'disk', text: expect.stringMatching(/^no\[31m room$/), seenAt: expect.any(String) }],
      processes: [
        {
          name: 'main',
          state: 'exited',
          exitCode: 3,
          startedAt: '2026-11-22T22:13:33.000Z',
          stoppedAt: '2026-11-22T22:15:00.000Z',
          error: null,
          seenAt: expect.any(String),
        },
      ],
      exits: [expect.objectContaining({ name: 'main', exitCode: 3, corrected: false })],
    })
    // Whose BIOS UUID is another VM's, as a clone's may be, is still who it says it is.
    expect((await port(app, 'db')).guestinfo).toMatchObject({ addresses: [], processes: [{ state: 'running' }] })
    expect((await port(app, WEB)).guestinfo).toBeNull()
    const listed = (await json(app, '/api/v1/ports')) as PortAnswer[]
    expect(new Map(listed.map(({ vm, guestinfo }) => [vm.name, guestinfo]))).toEqual(
      new Map([
        ['web', web.guestinfo],
        ['db', (await port(app, 'db')).guestinfo],
        [WEB, null],
      ]),
    )

    const answer = await all(app)
    expect(answer).toMatchObject({ state: 'following', trouble: null, followed: 4, unreadable: 0, unwritten: 0 })
    const byName = new Map(answer.vms.map((one) => [one.vm.name, one]))
    expect([...byName.keys()].sort()).toEqual([...VMS].sort())
    expect(byName.get(WEB)).toEqual({
      vm: { name: WEB, uuid: vm(WEB).vc },
      ports: [web.id],
      ...web.guestinfo,
    })
    expect(byName.get(DB)?.ports).toHaveLength(1)
    expect(byName.get(LONE)).toMatchObject({ ports: [], addresses: [{ address: '10.0.0.9', prefix: null }] })

    const events = reader.events.slice(1)
    const told = new Map(events.map(({ event, data }) => [`${event} ${(data['vm'] as { name: string }).name}`, data]))
    expect([...told.keys()].sort()).toEqual(
      [
        `guest-address ${LONE}`,
        `guest-address ${WEB}`,
        `guest-error ${WEB}`,
        `guest-exit ${WEB}`,
        `guest-start ${DB}`,
      ].sort(),
    )
    expect(told.get(`guest-exit ${WEB}`)).toEqual({
      type: 'guest-exit',
      at: expect.stringMatching(/Z$/),
      seq: expect.any(Number),
      again: false,
      vm: { name: WEB, uuid: vm(WEB).vc },
      ports: [web.id],
      record: web.guestinfo?.exits[0],
    })
    expect(told.get(`guest-address ${LONE}`)).toMatchObject({ ports: [] })
    await esx.publish(WEB, 'guestinfo.vspc.error.disk', '<nil>')
    expect((await reader.has('guest-error-cleared')).data).toMatchObject({ name: 'disk', ports: [web.id] })

    const api = (await json(app, '/openapi.json')) as ApiDocument
    for (const { event, data } of reader.events.slice(1)) {
      const described = api.components.schemas['ServerEvent']?.oneOf?.find((one) => one.properties.type.const === event)
      expect([event, Object.keys(data).sort()]).toEqual([event, [...(described?.required ?? [])].sort()])
    }
    expectFits(api, 'Guestinfo', await all(app))
    expectFits(api, 'Port', await port(app, 'web'))
    expectFits(api, 'Port', await port(app, WEB))

    const metrics = (await (await fetch(`${app.url}/metrics`)).text()).split('\n')
    for (const line of [
      'vspc_guestinfo_results_total{type="guest-exit"} 1',
      'vspc_guestinfo_results_total{type="guest-address"} 2',
      'vspc_guestinfo_results_total{type="guest-error-cleared"} 1',
      'vspc_guestinfo_following 1',
      'vspc_guestinfo_vms 4',
      'vspc_guestinfo_known_vms 3',
      'vspc_guestinfo_unwritten_results 0',
      'vspc_guestinfo_store_trouble 0',
      'vspc_guestinfo_left_out_total 0',
    ]) {
      expect(metrics).toContain(line)
    }
    const everything = JSON.stringify([await all(app), reader.events, app.logged.lines, metrics])
    expect(everything).not.toContain('hunter2')
    expect(everything).not.toContain(VCSIM_PASSWORD.slice(0, 6))
    expect(app.logged.lines.filter(({ level }) => level === 'error')).toEqual([])
  })

  test('an exit is kept and told once, through a restart of the server; what is known is there before vCenter is', async () => {
    await clean()
    const dataDir = folder()
    const settings = { vsphere, guestinfo, dataDir, listen: LISTEN }
    const first = await startApp(settings)
    const reader = await EventReader.open(first)
    await following(first)
    await esx.publish(WEB, PROCESS, 'exited code=3 started=1 stopped=2')
    const { seq } = (await reader.has('guest-exit')).data
    await first.stop()
    await esx.publish(DB, PROCESS, 'exited code=4 started=1 stopped=2')

    const path = join(folder(), 'vcenter.sock')
    const second = await startApp({ ...settings, vsphere: { ...vsphere, dial: `unix://${path}` } })
    const again = await EventReader.open(second)
    await dialIn(second, 'web', { vcUuid: vm(WEB).vc })
    await eventually(async () => (await all(second)).state === 'trouble')
    expect((await port(second, 'web')).guestinfo).toMatchObject({
      present: false,
      poweredOn: null,
      exits: [{ exitCode: 3 }],
    })
    expect((await all(second)).trouble?.message).toContain('vcenter.sock')
    expect((await fetch(`${second.url}/readyz`)).status).toBe(200)
    expect(await metric(second, 'vspc_guestinfo_following')).toBe('0')

    const way = await Way.open(path, sim.tcpPort)
    await following(second)
    await again.has('guest-exit')
    const exits = again.events.filter(({ event }) => event === 'guest-exit').map(({ data }) => data)
    expect(exits).toMatchObject([{ vm: { name: DB }, record: { exitCode: 4 }, again: false }])
    expect(exits[0]?.['seq']).toBeGreaterThan(Number(seq))
    expect((await port(second, 'web')).guestinfo).toMatchObject({ present: true, poweredOn: true })

    // It goes away while it is followed.
    await way.close()
    await eventually(async () => (await all(second)).state === 'trouble')
    expect((await port(second, 'web')).guestinfo).toMatchObject({ exits: [{ exitCode: 3 }] })
    await esx.publish(LONE, PROCESS, 'failed code=127 error=no such file')
    await Way.open(path, sim.tcpPort)
    await eventually(() => again.events.filter(({ event }) => event === 'guest-exit').length === 2)
    await following(second)
    await second.stop()
    const lines = readFileSync(join(dataDir, 'guestinfo/results.jsonl'), 'utf8').split('\n')
    expect(lines.filter((line) => line.includes('"exit"'))).toHaveLength(3)
    expect(second.logged.find('guestinfo is followed again')).toBeDefined()
  })

  test('with the appliance followed as well there is one login, and an end in any order', async () => {
    const before = await sessions()
    const track = { appliance: LONE, vms: ['none*'], proxyUri: 'telnet://{host}:13370' }
    const app = await startApp({ vsphere, guestinfo, track })
    await following(app)
    await eventually(async () => ((await json(app, '/api/v1/appliance')) as { reachable: boolean }).reachable)
    expect(await sessions()).toBe(before + 1)
    await app.stop()
    expect(await sessions()).toBe(before)
    expect(app.logged.lines.filter(({ msg }) => String(msg).includes('not followed just now'))).toEqual([])
  })

  async function sessions(): Promise<number> {
    const found = await retrieveOne(session, session.content.sessionManager, ['sessionList'])
    return found?.properties.get('sessionList')?.children.length ?? 0
  }

  test('two servers on one data directory never write into the same results; the second goes on when the first ends', async () => {
    const settings = { vsphere, guestinfo, dataDir: folder(), history: 'memory' as const }
    const first = await startApp(settings)
    await following(first)
    const second = await startApp(settings)
    await eventually(async () => (await all(second)).trouble !== null)
    expect(await all(second)).toMatchObject({
      state: 'trouble',
      trouble: {
        code: 'VSPC_HISTORY_LOCKED',
        message: expect.stringContaining(`in use by the server with process id ${process.pid}`),
      },
      vms: [],
    })
    await expect(startApp({ ...settings, history: 'disk' })).rejects.toMatchObject({ code: 'VSPC_HISTORY_LOCKED' })
    await first.stop()
    await following(second)
  })

  test('a folder that cannot be written to is said, and stops nothing; it goes on when it can be', async () => {
    await clean()
    const dataDir = folder()
    writeFileSync(join(dataDir, 'guestinfo'), 'in the way')
    const app = await startApp({ vsphere, guestinfo, dataDir, listen: LISTEN })
    await eventually(async () => (await all(app)).trouble !== null)
    const { trouble } = await all(app)
    expect(trouble).toMatchObject({
      code: 'VSPC_GUESTINFO_STORE',
      message: expect.stringContaining(join(dataDir, 'guestinfo')),
    })
    const console = await RawVm.connect(app, 1)
    await console.print(app, 'still here', WEB)
    await eventually(() => app.logged.find('guestinfo is not followed just now') !== undefined)
    expect(app.logged.find('guestinfo is not followed just now')).toMatchObject({ reason: trouble?.message })
    rmSync(join(dataDir, 'guestinfo'))
    await following(app)
  })

  test('a vCenter that takes the connection and says nothing does not hold up the end', async () => {
    const path = join(folder(), 'vcenter.sock')
    const silent = createServer((socket) => void socket.on('error', () => {}).resume())
    silent.listen(path)
    await once(silent, 'listening')
    onTestFinished(() => void silent.close())
    const connected = once(silent, 'connection')
    const app = await startApp(
      { vsphere: { ...vsphere, dial: `unix://${path}` }, guestinfo, listen: LISTEN },
      { drainMs: 60_000 },
    )
    const [socket] = (await connected) as [Socket]
    const closed = once(socket, 'close')
    expect((await all(app)).state).toBe('starting')
    await app.stop()
    await closed
  })

  test('VMs below a folder or a pool only; a place that is not there is trouble, not an end', async () => {
    await clean()
    const app = await startApp({ vsphere, guestinfo: { vms: 'pool:/DC0/host/DC0_C0/Resources/' } })
    await following(app)
    expect((await all(app)).followed).toBe(2)
    const none = await startApp({ vsphere, guestinfo: { vms: 'folder:/DC0/vm/none' } })
    await eventually(async () => (await all(none)).trouble !== null)
    expect((await all(none)).trouble?.message).toBe(
      'guestinfo.vms: folder:/DC0/vm/none is not there, or the user may not see it',
    )
    await session.call(await vmFolder(), 'CreateFolder', [leaf('name', 'none')])
    await following(none)
    expect((await all(none)).followed).toBe(0)
  })

  async function vmFolder(): Promise<ManagedRef> {
    const found = await retrieveOne(session, vm(WEB).ref, ['parent'])
    const parent = found?.properties.get('parent')
    return { type: 'Folder', value: parent?.text ?? '' }
  }
})

test('where it is not configured nothing changes but one answer that says so', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  expect(await all(app)).toEqual({
    state: 'off',
    since: null,
    trouble: null,
    followed: 0,
    unreadable: 0,
    unwritten: 0,
    vms: [],
  })
  expect(await port(app, 'vm1')).not.toHaveProperty('guestinfo')
  expect(((await json(app, '/api/v1/ports')) as object[])[0]).not.toHaveProperty('guestinfo')
  expect(await (await fetch(`${app.url}/metrics`)).text()).not.toContain('vspc_guestinfo')
})

async function json(app: AppUnderTest, path: string): Promise<unknown> {
  const answer = await fetch(app.url + path)
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8'])
  return answer.json()
}

async function port(app: AppUnderTest, name: string): Promise<PortAnswer> {
  return (await json(app, `/api/v1/ports/${name}`)) as PortAnswer
}

async function all(app: AppUnderTest): Promise<GuestinfoAnswer> {
  return (await json(app, '/api/v1/guestinfo')) as GuestinfoAnswer
}

async function following(app: AppUnderTest): Promise<void> {
  await eventually(async () => (await all(app)).state === 'following')
}

async function metric(app: AppUnderTest, name: string): Promise<string | undefined> {
  const text = await (await fetch(`${app.url}/metrics`)).text()
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length + 1)
}

/** Everything in `value` is described, and everything described is there. */
function expectFits(api: ApiDocument, name: string, value: unknown): void {
  const inline = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(inline)
    if (typeof node !== 'object' || node === null) return node
    const { $ref, ...rest } = node as { $ref?: string }
    if ($ref !== undefined) return inline(api.components.schemas[$ref.replace('#/components/schemas/', '')])
    const copy = Object.fromEntries(Object.entries(rest).map(([key, inner]) => [key, inline(inner)]))
    return 'properties' in copy ? { ...copy, additionalProperties: false } : copy
  }
  const schema = inline(api.components.schemas[name]) as object
  expect([...Value.Errors(schema, value)]).toEqual([])
}
