/** `vspc point` as a process of its own, against the real simulator. */
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  connect,
  findVm,
  leaf,
  reconfigureVm,
  removeSerialPort,
  taskOf,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Run, runVspc } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, allVms, portsOfAll, refsOf } from '../support/vcsim-fleet.ts'

const URIS = ['--service-uri', 'telnet://vspc:13370', '--proxy-uri', 'telnet://127.0.0.9:13370']
const RIGHT = {
  kind: 'uri',
  serviceURI: 'telnet://vspc:13370',
  direction: 'server',
  proxyURI: 'telnet://127.0.0.9:13370',
}
/** What is said of every proxyURI of ours, which are loopback ones. */
const HINT = 'vspc: warning: 127.0.0.9 is the ESXi host itself: right only where a relay runs on every host\n'

describeWithPeers(['vcsim', 'openssl'], 'vspc point', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let access: string[] = []

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 6, cert: certificate.cert, key: certificate.key })
    const passwordFile = join(certificates.directory, 'password')
    writeFileSync(passwordFile, `${VCSIM_PASSWORD}\n`)
    chmodSync(passwordFile, 0o600)
    access = ['--vsphere', sim.url, '--user', VCSIM_USER, '--password-file', passwordFile]
    access.push('--pin', `sha256:${certificate.sha256}`)
    session = await connect({
      url: sim.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
    })
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })
  beforeEach(async () => {
    const refs = new Map((await allVms(session)).map(({ ref, name }) => [name, ref]))
    for (const [name, ports] of await portsOfAll(session)) {
      if (ports.length > 0) await reconfigureVm(session, refs.get(name)!, { devices: ports.map(removeSerialPort) })
    }
  })

  const point = (...args: string[]): Promise<Run> => runVspc(['point', ...args, ...access])

  async function backings(name: string): Promise<unknown[]> {
    return (await portsOfAll(session)).get(name)!.map(({ backing }) => backing)
  }

  test('adds a port where there is none, points the first there is, and does nothing the second time', async () => {
    const old = { serviceURI: 'old', direction: 'client', proxyURI: null } as const
    await addPorts(session, await refsOf(session, ['DC0_H0_VM0']), () => old)
    const before = await portsOfAll(session)
    const plan = await point('DC0_H0_VM?', ...URIS, '--plan')
    expect([plan.code, plan.stderr.split('\n').at(-2)]).toEqual([
      0,
      'vspc: 5 would be added, 1 would be changed; nothing was changed',
    ])
    expect(plan.stdout.toString().split('\n')[1]).toMatch(
      /^DC0_H0_VM0 +\S+ +would change +connected +serviceURI old -> telnet:\/\/vspc:13370, direction client -> server, proxyURI none -> telnet:\/\/127\.0\.0\.9:13370$/,
    )
    expect(await portsOfAll(session)).toEqual(before)

    const run = await point('DC0_H0_VM?', ...URIS)
    expect([run.code, run.stderr]).toEqual([
      0,
      `${HINT}vspc: 5 added, 1 changed; see 'vspc ports' or 'vspc attach DC0_H0_VM0'\n`,
    ])
    const after = await portsOfAll(session)
    for (const [name, ports] of after) {
      expect(ports.map(({ backing }) => backing)).toEqual(name.startsWith('DC0_H0_VM') ? [RIGHT] : [])
      for (const { connected, startConnected } of ports) expect([connected, startConnected]).toEqual([true, true])
    }
    // What nobody asked for stays as it was.
    expect(after.get('DC0_H0_VM0')![0]!.key).toBe(before.get('DC0_H0_VM0')![0]!.key)

    const again = await point('DC0_H0_VM?', ...URIS)
    expect([again.code, again.stderr.split('\n').at(-2)]).toEqual([0, expect.stringContaining('6 right already')])
    expect(await portsOfAll(session)).toEqual(after)
  })

  test('by inventory path and UUID; with a label for a second port; as JSON', async () => {
    const { instanceUuid } = await findVm(session, 'DC0_C0_RP0_VM1')
    const first = await point(instanceUuid!.toUpperCase(), '/DC0/vm/DC0_C0_RP0_VM2', ...URIS, '--json')
    expect([first.code, first.stderr]).toEqual([0, HINT])
    expect(JSON.parse(first.stdout.toString())).toEqual([
      expect.objectContaining({
        vm: 'DC0_C0_RP0_VM1',
        uuid: instanceUuid,
        done: 'added',
        address: 'DC0_C0_RP0_VM1',
        connected: true,
        fault: null,
      }),
      expect.objectContaining({ vm: 'DC0_C0_RP0_VM2', done: 'added' }),
    ])
    const label = ['DC0_C0_RP0_VM1', ...URIS, '--label', 'com2']
    const second = await point(...label, '--add', '--json')
    expect(JSON.parse(second.stdout.toString())).toEqual([
      expect.objectContaining({ done: 'added', address: 'DC0_C0_RP0_VM1/com2' }),
    ])
    const com2 = { ...RIGHT, serviceURI: 'telnet://vspc:13370/?port=com2' }
    expect(await backings('DC0_C0_RP0_VM1')).toEqual([RIGHT, com2])
    // The port with that label is found again, and moved without touching the other.
    const moved = await point(...label, '--proxy-uri', 'telnet://127.0.0.8:1', '--direction', 'client')
    expect([moved.code, moved.stdout.toString()]).toEqual([
      0,
      expect.stringMatching(/^DC0_C0_RP0_VM1\/com2 .* changed /m),
    ])
    expect(await backings('DC0_C0_RP0_VM1')).toEqual([
      RIGHT,
      { ...com2, proxyURI: 'telnet://127.0.0.8:1', direction: 'client' },
    ])
    const other = await point('DC0_C0_RP0_VM1', ...URIS, '--port', '2', '--label', 'com3')
    expect([other.code, await backings('DC0_C0_RP0_VM1')]).toEqual([
      0,
      [RIGHT, { ...RIGHT, serviceURI: 'telnet://vspc:13370/?port=com3' }],
    ])
  })

  test('one VM that is not there blocks nobody, and is told with its exit code', async () => {
    const run = await point('nosuch', 'DC0_H0_VM1', ...URIS)
    expect([run.code, run.stderr]).toEqual([3, expect.stringContaining("vspc: nosuch: no VM 'nosuch' in https://")])
    expect(run.stderr.split('\n').at(-2)).toBe('vspc: 1 added, 1 failed')
    expect(run.stdout.toString()).toMatch(/^nosuch +- +FAILED +- +see above\nDC0_H0_VM1 .* added /m)
    const alone = await point('zz*', ...URIS)
    expect([alone.code, alone.stdout.toString()]).toEqual([3, ''])
    expect(alone.stderr).toBe(`${HINT}vspc: no VM fits 'zz*', or the user may see none of them\n`)
    const port = await point('DC0_H0_VM1', ...URIS, '--port', '2')
    expect([port.code, port.stderr]).toEqual([
      3,
      expect.stringMatching(/vspc: it has no serial port 2; it has 1 \(.+\)\n$/),
    ])
  })

  test('two VMs of one name are not mistaken for each other', async () => {
    const [ref] = await refsOf(session, ['DC0_C0_RP0_VM5'])
    const rename = (name: string) => reconfigureVm(session, ref!, { devices: [leaf('name', name)] })
    await rename('DC0_C0_RP0_VM4')
    try {
      const run = await point('DC0_C0_RP0_VM4', ...URIS)
      expect([run.code, run.stderr]).toEqual([3, expect.stringContaining('means 2 VMs')])
      expect([...(await portsOfAll(session)).values()].flat()).toEqual([])
    } finally {
      await rename('DC0_C0_RP0_VM5')
    }
  })

  test.each([
    [['--proxy-uri', 'telnet://a:1'], 2, '--service-uri is missing'],
    [['--service-uri', 'x'], 2, 'docs/esxi.md, section 6'],
    [['--service-uri', 'x', '--proxy-uri', 'tcp://a:1'], 2, 'neither telnet nor telnets'],
    [['--service-uri', 'x y', '--proxy-uri', 'telnet://a:1'], 2, 'white space'],
    [[...URIS, '--label', 'a b'], 2, '--label'],
    [[...URIS, '--port', '0'], 2, 'they count from 1'],
    [[...URIS, '--port', '1', '--add'], 2, 'cannot be used with'],
    [[...URIS, '--direction', 'both'], 2, 'Allowed choices are server, client'],
    [[...URIS, '--print=gov'], 2, 'did you mean govc?'],
    [[...URIS, '--user', 'nobody'], 4, 'cannot log in'],
    [[...URIS, '--vsphere', 'https://127.0.0.1:1/sdk'], 6, 'refused'],
  ])('mistakes are told before anything is changed: %j', async (args, code, message) => {
    const run = await runVspc(['point', 'DC0_H0_VM0', ...access, ...args])
    expect([run.code, run.stderr, run.stdout.toString()]).toEqual([code, expect.stringContaining(message), ''])
    expect(await backings('DC0_H0_VM0')).toEqual([])
  })

  test('--print needs no vSphere', async () => {
    const run = await runVspc(['point', "o'neil", ...URIS, '--print=govc'])
    expect([run.code, run.stdout.toString()]).toEqual([0, expect.stringContaining(" -vm 'o'\\''neil' ")])
    const all = await runVspc(['point', 'a', 'b', ...URIS, '--print', '--json'])
    expect(JSON.parse(all.stdout.toString()).map((one: object) => Object.keys(one))).toEqual([
      ['vm', 'govc', 'powercli', 'ansible'],
      ['vm', 'govc', 'powercli', 'ansible'],
    ])
    const pattern = await runVspc(['point', 'web*', ...URIS, '--print'])
    expect([pattern.code, pattern.stderr]).toEqual([2, expect.stringContaining('knows no patterns')])
  })

  test('a VM that is off is given its port without being connected', async () => {
    const [ref] = await refsOf(session, ['DC0_H0_VM2'])
    const task = await session.call(ref!, 'PowerOffVM_Task')
    await session.tasks.wait(taskOf(task), 'power off')
    const run = await point('DC0_H0_VM2', ...URIS)
    expect([run.code, run.stdout.toString()]).toEqual([0, expect.stringMatching(/^DC0_H0_VM2 .* added +VM is off /m)])
    expect(run.stderr).toContain("'vspc ports' shows them once they are on")
    expect(await backings('DC0_H0_VM2')).toEqual([RIGHT])
  })
})
