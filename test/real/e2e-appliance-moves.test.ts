/**
 * vCenter moves the appliance from host to host, and the VMs follow it. vCenter is the real simulator, the appliance a
 * real `vspc serve` that follows itself; the ESXi hosts are network namespaces, each with a real relay and a double
 * that dials and redials as ESXi does.
 *
 * The streams from relay to appliance are resumable, and the tracker tells the relays where the appliance is: so what
 * a VM has printed at a relay that the appliance has left gets through by way of the next one.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { childOf, type Element, numberOf, textOf } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { describeWithPeers } from '../support/peers.ts'
import type { GuestReport } from './e2e-appliance-esxi.ts'
import { type ContainerVm, pause, SERVICE_URI, Site } from './e2e-appliance-site.ts'
import { seeded } from './e2e-appliance-support.ts'
import { WsClient } from './support.ts'

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 })

/** Of the moves' times and places. */
const SEED = Number(process.env['VSPC_TEST_SEED'] ?? Date.now() % 100_000)

let certificates: TestCertificates
let files: { vcenter: CertificateFiles; relays: CertificateFiles }
beforeAll(async () => {
  certificates = await TestCertificates.create()
  files = { vcenter: await certificates.selfSigned('vcenter'), relays: await certificates.selfSigned('relays') }
})
afterAll(() => certificates.remove())

const tell = (text: string): void => void process.stdout.write(`${text}\n`)

/** Where the appliance has been, with what was known when it left. */
interface Stay {
  readonly proxyURI: string
  /** Every VM was there. */
  readonly settled: boolean
}

/** So many moves, some of them in the middle of what the one before has caused. */
async function moves(site: Site, count: number, random: () => number): Promise<Stay[]> {
  const stays: Stay[] = []
  const others = site.hosts.length - 1
  for (let n = 1; n <= count; n++) {
    const settledBefore = site.settled
    stays.push({ proxyURI: site.proxyAt(site.at), settled: settledBefore })
    const before = site.changes
    await site.move((site.at + 1 + Math.floor(random() * others)) % site.hosts.length, random)
    const movedAt = Date.now()
    if (n < count && random() < 0.5) {
      const some = 1 + Math.floor(random() * 1.5 * site.vms.size)
      await site.until(`${some} changes`, () => site.settled || site.changes >= before + some)
      tell(`  move ${n}: the next one after ${site.changes - before} changes`)
      continue
    }
    await site.until(`all VMs after move ${n}`, () => site.settled)
    const took = Math.max(0, site.lastAttachedAt - movedAt)
    tell(`  move ${n}: the last VM was back ${took} ms later, after ${site.changes - before} changes`)
    expectPointed(site, await site.devices())
    // One after another: each VM is disconnected, and pointed.
    if (settledBefore) expect(site.changes - before).toBe(2 * site.vms.size)
    await vi.waitFor(async () => {
      const appliance = await site.server.json('/api/v1/appliance')
      expect(appliance).toMatchObject({ settled: true, host: { name: site.hostName }, proxyURI: site.proxyAt(site.at) })
    }, 10_000)
    await pause(random() * 300)
  }
  return stays
}

/** What vCenter has is what it should have, as against what was seen on the way. */
function expectPointed(site: Site, devices: ReadonlyMap<string, readonly Element[]>): void {
  const proxyURI = site.proxyAt(site.at)
  const wrong = [...site.vms.values()].filter(({ name, key }) => {
    const device = devices.get(name)?.find((one) => numberOf(one, 'key') === key)
    const backing = childOf(device ?? null, 'backing')
    const connected = textOf(childOf(device ?? null, 'connectable'), 'connected')
    return textOf(backing, 'proxyURI') !== proxyURI || connected !== 'true'
  })
  expect(wrong.map(({ name }) => name)).toEqual([])
}

/** As it has to stay: in order of keys; of the port that is re-pointed, without what may change. */
function frozen(devices: readonly Element[], key: number): Element[] {
  const keyOf = (device: Element): number => numberOf(device, 'key') ?? -1
  const blank = (element: Element, names: readonly string[]): Element => ({
    ...element,
    text: names.includes(element.name) ? '' : element.text,
    children: element.children.map((child) => blank(child, names)),
  })
  return [...devices]
    .sort((a, b) => keyOf(a) - keyOf(b))
    .map((device) => (keyOf(device) === key ? blank(device, ['proxyURI', 'connected']) : device))
}

/** A VM is disconnected as it stands, then pointed at where the appliance is by then, and connected; and so on. */
function expectPlanned({ name, key, changes }: ContainerVm, stays: readonly Stay[]): void {
  const first = stays[0]?.proxyURI ?? ''
  const places = new Set(stays.map(({ proxyURI }) => proxyURI))
  let pointed = first
  let connected = true
  for (const change of changes) {
    const { operation, device, serviceURI, direction, proxyURI } = change
    const what = { name, operation, device, key: change.key, serviceURI, direction }
    const edit = { operation: 'edit', device: 'VirtualSerialPort', serviceURI: SERVICE_URI, direction: 'client' }
    expect(what).toEqual({ name, key, ...edit })
    if (connected) expect([name, proxyURI, change.connected]).toEqual([name, pointed, false])
    else {
      expect([name, change.connected, places.has(proxyURI ?? '')]).toEqual([name, true, true])
      pointed = proxyURI ?? ''
    }
    connected = change.connected
  }
  expect([name, connected, pointed]).toEqual([name, true, stays.at(-1)?.proxyURI])
  // The last one is no move, but where all of them have led to.
  expect(changes.length, name).toBeLessThanOrEqual(2 * (stays.length - 1))
}

const printed = ({ vm, lines }: GuestReport): string =>
  Array.from({ length: lines }, (_, at) => `${vm} line ${at + 1}\r\n`).join('')

/** In words, where two texts of numbered lines begin to differ; they may be long. */
function difference(got: string, wanted: string): string {
  if (got === wanted) return ''
  const numbers = [...got.matchAll(/ line (\d+)\r\n/g)].map(([, number]) => Number(number))
  const at = numbers.findIndex((number, index) => number !== index + 1)
  const lines = wanted.split('\r\n').length - 1
  return `${numbers.length} of ${lines} lines; line ${at + 1} on: ${numbers.slice(Math.max(0, at - 2), at + 8)}`
}

async function follow(site: Site, count: number): Promise<void> {
  const random = seeded(SEED)
  const { server, vms } = site
  const before = await site.devices()
  const names = [...vms.keys()]
  const watched = names.filter((_, at) => at % Math.ceil(names.length / 10) === 0)
  const consoles = await Promise.all(watched.map((name) => WsClient.attach(server, name, 'mode=read&from=0')))
  tell(`${names.length} VMs, seed ${SEED}`)
  const stays = await moves(site, count, random)
  stays.push({ proxyURI: site.proxyAt(site.at), settled: true })
  await pause(300)
  const reports = await site.finish()
  const stalls = reports.map(({ stallsMs }) => stallsMs[0] ?? 0).sort((a, b) => a - b)
  const lost = site.legs.reduce((sum, { lostBytes }) => sum + lostBytes, 0)
  const lines = reports.reduce((sum, report) => sum + report.lines, 0)
  tell(`  ${lines} lines; ${lost} bytes were lost with vSockets, and sent again`)
  tell(
    `  longest time in which a guest had to wait: median ${stalls[stalls.length >> 1]} ms, at most ${stalls.at(-1)} ms`,
  )

  // vCenter: each VM was changed as planned, and nothing else.
  const after = await site.devices()
  expectPointed(site, after)
  for (const vm of vms.values()) expectPlanned(vm, stays)
  expect(site.stray).toEqual([])
  expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
  for (const [name, devices] of after) {
    const key = vms.get(name)?.key ?? -1
    expect([name, frozen(devices, key)]).toEqual([name, frozen(before.get(name) ?? [], key)])
  }

  // Hosts: nobody was refused, or cut off without having been told to go.
  expect(reports.map(({ vm }) => vm).sort()).toEqual([...names].sort())
  expect([site.refused, reports.filter((report) => report.lost > 0)]).toEqual([[], []])

  // The appliance: every port under its own name, and every line of each once and in order.
  await vi.waitFor(
    async () => {
      const ports = await server.ports()
      const states = ports
        .map(({ id, vm, state, host }) => [id, vm.name, state, (host ?? '').replace(/:\d+$/, '')])
        .sort()
      const wanted = [...vms.values()].map(({ uuid, name, host }) => [uuid, name, 'online', site.hosts[host]?.address])
      expect(states).toEqual(wanted.sort())
    },
    { timeout: 10_000, interval: 100 },
  )
  for (const report of reports) {
    const wanted = printed(report)
    await vi.waitFor(async () => expect((await server.port(report.vm)).bytesFromVm).toBe(wanted.length), 15_000)
    expect([report.vm, difference(await server.history(report.vm), wanted)]).toEqual([report.vm, ''])
    const console = consoles[watched.indexOf(report.vm)]
    if (console === undefined) continue
    await vi.waitFor(() => expect(console.output.text.length).toBe(wanted.length), 15_000)
    expect([report.vm, difference(console.output.text, wanted)]).toEqual([report.vm, ''])
    expect(console.messages.filter(({ type }) => type === 'gap' || type === 'error' || type === 'detached')).toEqual([])
  }
}

describeWithPeers(['namespaces', 'openssl', 'vcsim'], 'the appliance moves, and the VMs follow', () => {
  test('200 VMs through ten moves, some in the middle of re-pointing: none left behind, every line once', async () => {
    await follow(await Site.make({ ...files, vms: 200, peers: 'tcp' }), 10)
  })

  test('the same with TLS among the relays, and fewer VMs', async () => {
    await follow(await Site.make({ ...files, vms: 24, peers: 'tls' }), 5)
  })
})
