/** Firewall, connection and clock: from the real simulator, and what it cannot show from elements made by hand. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  asRef,
  connect,
  findVm,
  hostOfVm,
  leaf,
  type ManagedRef,
  node,
  readFirewall,
  readHostConnection,
  readServerTime,
  refElement,
  retrieveOne,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'

describeWithPeers(['vcsim', 'openssl'], 'facts of hosts, from vcsim', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let host: ManagedRef

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 1, hosts: 1, cert: certificate.cert, key: certificate.key })
    session = await connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
    })
    host = (await hostOfVm(session, (await findVm(session, 'DC0_H0_VM0')).ref))!
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  test('the rule sets of a host, and what becomes of one that is switched on', async () => {
    const keys = ['vSPC', 'remoteSerialPort']
    const relevant = async () => (await readFirewall(session, host))!.filter(({ key }) => keys.includes(key))
    const before = await relevant()
    expect(before.map(({ key, enabled }) => [key, enabled]).sort()).toEqual([
      ['remoteSerialPort', false],
      ['vSPC', false],
    ])
    const system = await firewallSystem()
    await session.call(system, 'EnableRuleset', [leaf('id', 'vSPC')])
    expect((await relevant()).find(({ key }) => key === 'vSPC')).toMatchObject({ enabled: true, allowed: null })
  })

  async function firewallSystem(): Promise<ManagedRef> {
    const found = await retrieveOne(session, host, ['configManager.firewallSystem'])
    return asRef(found?.properties.get('configManager.firewallSystem'))!
  }

  test('a host that is gone has no firewall', async () => {
    expect(await readFirewall(session, { type: 'HostSystem', value: 'host-4711' })).toBeNull()
  })

  test('whether the host is connected, and what time it is', async () => {
    expect(await readHostConnection(session, host)).toBe('connected')
    expect(Math.abs((await readServerTime(session)) - Date.now())).toBeLessThan(60_000)
  })
})

/** Answers every call with the element that is next. */
function answering(...answers: ReturnType<typeof node>[]): VsphereSession {
  const made = {
    url: 'https://vc/sdk',
    content: { propertyCollector: { type: 'PropertyCollector', value: 'pc' } },
    limits: { pageObjects: 10 },
    closing: new AbortController().signal,
    epoch: 1,
    call: async () => answers.shift() ?? node('empty', []),
  }
  return made as unknown as VsphereSession
}

const HOST: ManagedRef = { type: 'HostSystem', value: 'host-1' }

function property(name: string, val: ReturnType<typeof node>) {
  const objects = node('objects', [
    refElement('obj', HOST),
    node('propSet', [leaf('name', name), { ...val, name: 'val' }]),
  ])
  return node('RetrievePropertiesExResponse', [node('returnval', [objects])])
}

test('a rule set that is limited to some addresses says so; one without limits, or of an old host, is open', async () => {
  const hosts = (...children: ReturnType<typeof node>[]) => node('allowedHosts', children)
  const ruleset = (key: string, ...more: ReturnType<typeof node>[]) =>
    node('ruleset', [leaf('key', key), leaf('label', `L ${key}`), leaf('enabled', true), ...more])
  const network = node('ipNetwork', [leaf('network', '10.0.0.0'), leaf('prefixLength', 8)])
  const info = node('val', [
    ruleset('a', hosts(leaf('ipAddress', '10.1.2.3'), network, leaf('allIp', false))),
    ruleset('b', hosts(leaf('allIp', true))),
    ruleset('c'),
  ])
  const system = refElement('val', { type: 'HostFirewallSystem', value: 'fw' })
  const session = answering(property('configManager.firewallSystem', system), property('firewallInfo', info))
  expect(await readFirewall(session, HOST)).toEqual([
    { key: 'a', label: 'L a', enabled: true, allowed: ['10.1.2.3', '10.0.0.0/8'] },
    { key: 'b', label: 'L b', enabled: true, allowed: null },
    { key: 'c', label: 'L c', enabled: true, allowed: null },
  ])
})

test('a firewall that the user may not see is a matter of permissions, not of having none', async () => {
  const fault = node('fault', [node('fault', [], 'NoPermission'), leaf('localizedMessage', 'no')])
  const missing = node('missingSet', [leaf('path', 'configManager.firewallSystem'), fault])
  const objects = node('objects', [refElement('obj', HOST), missing])
  const answer = node('RetrievePropertiesExResponse', [node('returnval', [objects])])
  await expect(readFirewall(answering(answer), HOST)).rejects.toMatchObject({ code: 'VSPC_VSPHERE_PERMISSION' })
})

test('a server that does not say what time it is', async () => {
  const answer = node('CurrentTimeResponse', [leaf('returnval', 'soon')])
  await expect(readServerTime(answering(answer))).rejects.toMatchObject({ code: 'VSPC_VSPHERE_ANSWER' })
})
