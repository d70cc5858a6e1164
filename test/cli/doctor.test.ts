/** `vspc doctor` as a process of its own: the real simulator, a double of the server, and whatever is missing. */
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PortInfo } from '../../src/vspc/types.ts'
import {
  asRef,
  connect,
  findVm,
  hostOfVm,
  leaf,
  type ManagedRef,
  node,
  retrieveOne,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { temporaryFolder } from '../relay/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Run, runVspc } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, refsOf } from '../support/vcsim-fleet.ts'
import { portInfo } from './fake-server.ts'

const PERSIST = 'config.vpxd.SerialPort.PersistNetworkBacking'
/** Nobody listens there. */
const NOWHERE = ['--server', 'http://127.0.0.1:1']

interface Found {
  ok: boolean
  findings: { id: string; level: string; about: string | null; message: string; next: string | null }[]
}

/** `LEVEL id` of all that are of these levels. */
function levels(run: Run, ...wanted: string[]): string[] {
  const { findings } = JSON.parse(run.stdout.toString()) as Found
  return findings.filter(({ level }) => wanted.includes(level)).map(({ id, level }) => `${level} ${id}`)
}

function messageOf(run: Run, id: string): string | undefined {
  return (JSON.parse(run.stdout.toString()) as Found).findings.find((one) => one.id === id)?.message
}

test('without anything around it: this machine, and that there is no server', async () => {
  const run = await runVspc(['doctor', ...NOWHERE])
  expect(run.code).toBe(1)
  const lines = run.stdout.toString().split('\n')
  expect(lines.filter((line) => /^\S/.test(line))).toEqual(['This machine', 'Server'])
  expect(lines.at(1)).toBe(`  ok    node-version   Node ${process.versions.node}`)
  expect(lines.at(-2)).toMatch(/^ {2}FAIL {2}server +no server at http:\/\/127\.0\.0\.1:1: start one with 'vspc serve'/)
  expect(run.stderr).toMatch(/^vspc: 1 failed(?:, \d to look at)?; docs\/doctor\.md explains each\n$/)
})

test('mistakes of the configuration and of the command line are findings; what no command takes is none', async () => {
  const file = join(temporaryFolder(), 'vspc.yaml')
  writeFileSync(file, 'listen: [tcq://0.0.0.0:1]\nhistory: paper\n')
  const run = await runVspc(['doctor', '--config', file, '--server', 'ftp://x', '--json'])
  expect([run.code, levels(run, 'fail')]).toEqual([1, ['fail configuration', 'fail server']])
  expect(messageOf(run, 'configuration')).toContain('tcq')
  expect(messageOf(run, 'server')).toContain('--server: "ftp://x" is no http')
  const partly = await runVspc(['doctor', '--user', 'me', ...NOWHERE, '--json'])
  expect([partly.code, levels(partly, 'fail')]).toEqual([1, ['fail server', 'fail vsphere']])
  expect(messageOf(partly, 'vsphere')).toContain('--vsphere')
  for (const args of [['a', 'b'], ['--nonsense'], ['']]) expect((await runVspc(['doctor', ...args])).code).toBe(2)
})

describeWithPeers(['vcsim', 'openssl'], 'vspc doctor and vcsim', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let access: string[] = []
  let server: HttpServer
  let listener: Server
  let ports: PortInfo[] = []
  let here: string[] = []

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 2, cert: certificate.cert, key: certificate.key })
    const passwordFile = join(certificates.directory, 'password')
    writeFileSync(passwordFile, VCSIM_PASSWORD)
    chmodSync(passwordFile, 0o600)
    access = ['--vsphere', sim.url, '--user', VCSIM_USER, '--password-file', passwordFile]
    access.push('--pin', `sha256:${certificate.sha256}`)
    session = await connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
    })
    server = createHttpServer((request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end(request.url === '/readyz' ? '{"status":"ok"}' : JSON.stringify(ports))
    })
    listener = createServer((socket) => socket.destroy())
    await Promise.all(
      [server, listener].map((one) => new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve))),
    )
    const config = join(certificates.directory, 'vspc.yaml')
    writeFileSync(config, `listen: ['tcp://127.0.0.1:${portOf(listener)}']\n`)
    here = ['--server', `http://127.0.0.1:${portOf(server)}`, '--config', config, '--json']
    await addPorts(session, await refsOf(session, ['DC0_H0_VM0']), () => ({
      serviceURI: 'telnet://vspc/?port=com1',
      direction: 'server',
      proxyURI: `telnet://127.0.0.1:${portOf(listener)}`,
    }))
    await addPorts(session, await refsOf(session, ['DC0_C0_RP0_VM0']), () => ({
      serviceURI: '',
      direction: 'server',
      proxyURI: 'telnet://127.0.0.1:1 ',
    }))
    const setting = node('changedValue', [leaf('key', PERSIST), leaf('value', 'true', 'string')], 'OptionValue')
    await session.call(session.content.optionManager!, 'UpdateOptions', [setting])
    await session.call(await firewallOf('DC0_H0_VM0'), 'EnableRuleset', [leaf('id', 'vSPC')])
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    server?.close()
    listener?.close()
    await certificates?.remove()
  })

  const portOf = (one: Server): number => (one.address() as AddressInfo).port
  const doctor = (...args: string[]): Promise<Run> => runVspc(['doctor', ...args, ...access, ...here])

  async function firewallOf(vm: string): Promise<ManagedRef> {
    const host = await hostOfVm(session, (await findVm(session, vm)).ref)
    const found = await retrieveOne(session, host!, ['configManager.firewallSystem'])
    return asRef(found?.properties.get('configManager.firewallSystem'))!
  }

  async function seen(vm: string, change: Partial<PortInfo>): Promise<PortInfo> {
    const { instanceUuid } = await findVm(session, vm)
    return { ...portInfo(vm), vm: { name: vm, uuid: instanceUuid }, label: 'com1', host: '127.0.0.1', ...change }
  }

  test('a VM that is well, seen by the server from its host', async () => {
    ports = [await seen('DC0_H0_VM0', { bytesFromVm: 42 })]
    const run = await doctor('DC0_H0_VM0')
    expect([run.code, levels(run, 'fail')]).toEqual([0, []])
    // What cannot be otherwise on one machine, and what the simulator does not tell.
    expect(levels(run, 'warn')).toEqual(['warn listeners', 'warn proxy-uri'])
    expect(levels(run, 'ok')).toEqual(
      expect.arrayContaining(
        ['server', 'listeners', 'vsphere', 'clock', 'persist-backing', 'vm', 'power', 'host', 'ports', 'connected']
          .concat(['firewall', 'proxy-reachable', 'seen', 'seen-host'])
          .map((id) => `ok ${id}`),
      ),
    )
    expect(messageOf(run, 'seen')).toMatch(/^the server has it online since .*, from 127\.0\.0\.1; 42 bytes/)
    expect(run.stderr).toBe('vspc: 2 to look at; docs/doctor.md explains each\n')
  })

  test('the server has not seen it, but others of its host', async () => {
    ports = [{ ...portInfo('other'), host: '127.0.0.1' }]
    const run = await doctor('DC0_H0_VM0')
    expect([run.code, levels(run, 'fail'), messageOf(run, 'seen-host')]).toEqual([
      1,
      ['fail seen'],
      expect.stringContaining('1 other ports are online from DC0_H0'),
    ])
  })

  test('URIs with faults, a firewall that is shut, and a VM without ports', async () => {
    ports = []
    const firewall = await firewallOf('DC0_C0_RP0_VM0')
    await session.call(firewall, 'DisableRuleset', [leaf('id', 'vSPC')])
    const run = await doctor('/DC0/vm/DC0_C0_RP0_VM0')
    // The simulator's hosts share one firewall.
    await session.call(firewall, 'EnableRuleset', [leaf('id', 'vSPC')])
    expect([run.code, levels(run, 'fail')]).toEqual([
      1,
      ['fail proxy-uri', 'fail service-uri', 'fail firewall', 'fail seen'],
    ])
    const bare = await doctor('DC0_H0_VM1')
    expect([bare.code, levels(bare, 'fail')]).toEqual([1, ['fail ports']])
  })

  test('the host of the appliance, when it is named', async () => {
    ports = [await seen('DC0_H0_VM0', {})]
    const run = await doctor('DC0_H0_VM0', '--appliance', 'DC0_C0_RP0_VM1')
    // All simulated hosts have this address.
    expect(messageOf(run, 'proxy-address')).toMatch(/^is DC0_C0_H\d, where the appliance DC0_C0_RP0_VM1 runs$/)
    const nobody = await doctor('DC0_H0_VM0', '--appliance', 'nobody')
    expect([nobody.code, messageOf(nobody, 'proxy-address')]).toEqual([0, expect.stringContaining("no VM 'nobody'")])
  })

  test('whatever cannot be asked is a finding, and the rest is looked at all the same', async () => {
    const unknown = await doctor('nosuch')
    expect([unknown.code, levels(unknown, 'fail')]).toEqual([1, ['fail vm']])
    const wrong = await runVspc(['doctor', 'DC0_H0_VM0', ...access, '--user', 'nobody', ...here])
    expect([wrong.code, levels(wrong, 'fail')]).toEqual([1, ['fail vsphere']])
    expect(messageOf(wrong, 'vsphere')).toContain('cannot log in')
    const away = await runVspc(['doctor', 'x', ...access, '--vsphere', 'https://127.0.0.1:1/sdk', ...NOWHERE, '--json'])
    expect([away.code, levels(away, 'fail')]).toEqual([1, ['fail server', 'fail vsphere']])
    const pin = await runVspc(['doctor', ...access, '--pin', `sha256:${'0'.repeat(64)}`, ...here])
    expect([pin.code, levels(pin, 'fail')]).toEqual([1, ['fail vsphere']])
    const without = await runVspc(['doctor', 'DC0_H0_VM0', ...here])
    expect([without.code, levels(without, 'warn')]).toEqual([0, ['warn listeners', 'warn vsphere']])
    expect(messageOf(without, 'seen')).toContain('online')
  })
})
