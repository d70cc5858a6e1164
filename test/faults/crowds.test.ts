/** Very many at once: those who say nothing, and those who say everything. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openFileLimit } from '../../src/transport/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { bytesOf, CODE, frame, HELLO } from '../vspc/vm-peer.ts'
import { Serve, SLACK_BYTES } from './support.ts'
import { Bystander, bootVm, identityOf } from './support-bystander.ts'
import { Crowd } from './support-crowd.ts'

let certificates: TestCertificates
let files: CertificateFiles

beforeAll(async () => {
  certificates = await TestCertificates.create()
  files = await certificates.selfSigned('faults')
})

afterAll(() => certificates.remove())

const LIMITS = { firstByteMs: 50, negotiationMs: 600, tlsHandshakeMs: 600, closeMs: 100 }

test('1,000 silent connections are told what this is, and dropped in time; nobody waits for them', async () => {
  const serve = await Serve.start({ limits: LIMITS })
  const bystander = await Bystander.start(serve)
  const [rss, open] = [serve.rssBytes, serve.openFiles]
  const crowd = await silent(serve.vmPort, 1_000)
  await serve.reaches('vspc_vm_connections', 1)
  await serve.givesBack(open)
  const metrics = await serve.metrics()
  expect(metrics.get('vspc_negotiation_timeouts_total')).toBe(1_000)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  expect(crowd.received / 1_000).toBeGreaterThan(100)
  const message = 'no agreement on VMWARE-TELNET-EXT in time; closed'
  await serve.logged(/no agreement/)
  expect(serve.complaints).toEqual([message])
  expect(serve.log.find(({ msg }) => msg === message)).toMatchObject({
    level: 'warn',
    peer: expect.stringMatching(/^127\.0\.1\.\d+:\d+$/),
  })
  await bystander.verify()
  await serve.stop()
})

test('1,000 silent connections to listeners with TLS, 500 to each kind, are dropped in time, and nobody waits for them', async () => {
  const tls = `127.0.0.1:0?cert=${files.cert}&key=${files.key}`
  const serve = await Serve.start({ limits: LIMITS, listen: ['tcp://127.0.0.1:0', `tcp://${tls}`, `tls://${tls}`] })
  const bystander = await Bystander.start(serve)
  const [rss, open] = [serve.rssBytes, serve.openFiles]
  const [, beside = 0, only = 0] = serve.vmPorts
  await Promise.all([silent(beside, 500), silent(only, 500)])
  await serve.reaches('vspc_vm_connections', 1)
  await serve.givesBack(open)
  const metrics = await serve.metrics()
  // After firstByteMs they count as plain ones.
  expect(metrics.get('vspc_negotiation_timeouts_total')).toBe(500)
  expect(metrics.get('vspc_tls_failures_total')).toBe(500)
  expect(serve.rssBytes - rss).toBeLessThan(SLACK_BYTES)
  await Promise.all([serve.logged(/handshake/), serve.logged(/no agreement/)])
  expect(serve.complaints).toEqual(['listener: handshake', 'no agreement on VMWARE-TELNET-EXT in time; closed'])
  expect(serve.lines(/handshake/)[0]).toMatchObject({
    code: 'VSPC_TLS_HANDSHAKE',
    reason: 'TLS handshake not finished within 600 ms',
  })
  // Said once a minute for each address they come from.
  expect(serve.lines(/handshake/).length).toBeLessThanOrEqual(200)
  await bystander.verify()
  await serve.stop()
})

/** They never close their side: each is sent FIN, and then reset. */
async function silent(port: number, count: number): Promise<Crowd> {
  const crowd = new Crowd({ port, count })
  await crowd.until('all are in', ({ open }) => open === count)
  return crowd.until('all are sent away', ({ left }) => left === count)
}

const WILL_PROXY = Uint8Array.from(frame(CODE.WILL_PROXY))

/** Everything a VM says until its port is known, in one segment. */
function introduction(n: number): Uint8Array {
  const { vcUuid, name } = identityOf(n)
  const identity = [...frame(CODE.VM_VC_UUID, bytesOf(vcUuid)), ...frame(CODE.VM_NAME, bytesOf(name))]
  return Uint8Array.from([...HELLO, ...frame(CODE.DO_PROXY, bytesOf('SvSPC.py')), ...identity])
}

const WANTED = 10_000
/** The server needs as many descriptors as this process. */
const possible = Math.min(WANTED, (openFileLimit() ?? WANTED + 500) - 500)
const many = possible.toLocaleString('en')
const why = possible < WANTED ? ` (not ${WANTED}: the limit of open files is ${openFileLimit()})` : ''

test(`${many} VMs dial in at once${why}: all are served; all are reset at once: all is given back`, {
  timeout: 60_000,
}, async () => {
  const serve = await Serve.start()
  const bystander = await Bystander.start(serve)
  const [rss, open] = [serve.rssBytes, serve.openFiles]
  const dialIn = (count: number) => {
    const crowd = new Crowd({ port: serve.vmPort, count, opening: introduction, answer: WILL_PROXY })
    return crowd.until('all are served', ({ answered }) => answered === count)
  }
  const allReset = async (crowd: Crowd): Promise<number> => {
    crowd.reset()
    await serve.reaches('vspc_vm_connections', 1)
    await serve.reaches('vspc_ports{state="online"}', 1)
    await serve.givesBack(open)
    return serve.rssBytes
  }
  const crowd = await dialIn(possible)
  expect(crowd.errors).toEqual({})
  await serve.reaches('vspc_ports{state="online"}', possible + 1)
  await bystander.beatsOn()
  expect(serve.rssBytes - rss).toBeLessThan(possible * 16 * 1024 + SLACK_BYTES)
  const once = await allReset(crowd)
  expect(await serve.metric('vspc_ports{state="offline"}')).toBe(possible)
  // They come again, and find their ports; what came and went costs nothing.
  const again = Math.ceil(possible / 4)
  const twice = await allReset(await dialIn(again))
  expect(twice - once).toBeLessThan(SLACK_BYTES)
  expect(await serve.metric('vspc_ports{state="offline"}')).toBe(possible)
  expect(serve.complaints).toEqual([])
  expect((await bootVm(serve, 1)).isOpen).toBe(true)
  await bystander.verify()
  await serve.stop()
})
