/** `vspc track` as a process of its own, against the real simulator and a real relay. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { connect, type ManagedRef, type VsphereSession } from '../../src/vsphere/index.ts'
import { Way } from '../appliance/support.ts'
import { startRelay, temporaryFolder, until } from '../relay/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { runVspc, VSPC_BIN } from '../support/cli.ts'
import { temporaryHome } from '../support/home.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, allVms, clusterHosts, portsOfAll, refsOf, relocate } from '../support/vcsim-fleet.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const OLD = 'telnet://old.example:13370'

describeWithPeers(['vcsim', 'openssl'], 'vspc track', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  let own: ManagedRef
  let passwordFile = ''
  let access: string[] = []

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 3, cert: certificate.cert, key: certificate.key })
    passwordFile = join(certificates.directory, 'password')
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
    own = (await refsOf(session, [APPLIANCE]))[0]!
    const vms = (await allVms(session)).map(({ ref }) => ref)
    await addPorts(session, vms, () => ({ serviceURI: 'vspc', direction: 'client', proxyURI: OLD }))
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })

  const what = ['--appliance', APPLIANCE, '--vms', '*', '--proxy-uri', 'telnet://{host}:13370']

  async function proxies(): Promise<Record<string, (string | null)[]>> {
    const all = await portsOfAll(session)
    return Object.fromEntries(
      [...all].map(([name, ports]) => [
        name,
        ports.map((port) => (port.backing.kind === 'uri' ? port.backing.proxyURI : '')),
      ]),
    )
  }

  async function expected(host: string): Promise<Record<string, (string | null)[]>> {
    const names = (await allVms(session)).map(({ name }) => name)
    return Object.fromEntries(names.map((name) => [name, [name === APPLIANCE ? OLD : `telnet://${host}:13370`]]))
  }

  async function moveTo(at: number): Promise<string> {
    const host = (await clusterHosts(session))[at]!
    await relocate(session, own, host.ref)
    return host.name
  }

  test('--plan shows what would change, and changes nothing', async () => {
    const host = await moveTo(0)
    const before = await proxies()
    const run = await runVspc([
      'track',
      ...access,
      ...what,
      '--plan',
      '--vms',
      'DC0_H0*',
      'vm:DC0_C0_RP0_VM2',
      '--next-hop',
      'unix:///nobody.sock#a=tls://{host}:13371',
    ])
    expect([run.code, run.stderr]).toEqual([
      0,
      expect.stringContaining(`appliance on ${host}: 5 ports would be changed, 0 are right, 0 cannot be changed\n`),
    ])
    const lines = run.stdout.toString().split('\n')
    expect(lines.slice(0, 4)).toEqual([
      'NEXT HOP               TO',
      `unix:///nobody.sock#a  tls://${host}:13371`,
      '',
      expect.stringMatching(/^VM +PORT +FROM +TO +WHY$/),
    ])
    expect(lines[4]).toMatch(
      /^DC0_C0_RP0_VM1 +\S.* +telnet:\/\/old\.example:13370 +telnet:\/\/DC0_C0_H0:13370 +points elsewhere$/,
    )
    const some = await runVspc([
      'track',
      ...access,
      '--appliance',
      APPLIANCE,
      '--vms',
      'dc0_h0*',
      '--proxy-uri',
      'telnet://{ip}:13370',
      '--plan',
      '--json',
    ])
    expect(JSON.parse(some.stdout.toString())).toMatchObject({
      host,
      proxyURI: 'telnet://127.0.0.1:13370',
      nextHops: [],
      steps: [{ vm: 'DC0_H0_VM0', do: 'change', from: OLD }, { vm: 'DC0_H0_VM1' }, { vm: 'DC0_H0_VM2' }],
    })
    expect(await proxies()).toEqual(before)
  })

  test('--once brings all into line, tells the peer relay, and does nothing the second time', async () => {
    const host = await moveTo(1)
    const folder = temporaryFolder()
    const { relay } = await startRelay({
      routes: [{ name: 'r', listen: `unix://${folder}/vm.sock`, dial: 'next-hop:appliance' }],
      nextHops: { appliance: 'tcp://127.0.0.1:1' },
      control: `unix://${folder}/control.sock`,
    })
    const hop = `unix://${folder}/control.sock#appliance=tcp://{relay}:13371`
    const relays = join(folder, 'relays.yaml')
    writeFileSync(relays, '# by hand\nDC0_C0_H0: 192.0.2.1\nDC0_C0_H1: 192.0.2.2\n')
    const first = await runVspc(['track', ...access, ...what, '--once', '--next-hop', hop, '--relays', relays])
    expect([first.code, first.stderr.split('\n').at(-2)]).toEqual([
      0,
      expect.stringMatching(/^vspc: 5 of 5 VMs are right, 5 changed in [\d.]+ s$/),
    ])
    const lines = first.stdout.toString().split('\n')
    expect(lines[0]).toBe(`appliance on ${host}`)
    expect(lines.slice(1).filter((line) => line.endsWith(`: ${OLD} -> telnet://${host}:13370`))).toHaveLength(5)
    expect(await proxies()).toEqual(await expected(host))
    const status = await runVspc([
      'relay',
      'next-hop',
      'get',
      'appliance',
      '--control',
      `unix://${folder}/control.sock`,
    ])
    expect(status.stdout.toString()).toBe('tcp://192.0.2.2:13371\n')
    const again = await runVspc(['track', ...access, ...what, '--once', '--json'])
    expect(again.code).toBe(0)
    const events = again.stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events.map(({ event }) => event)).toEqual(['appliance', 'target', 'listed', 'settled'])
    expect(events.at(-1)).toMatchObject({ host, changed: 0, counts: { vms: 5, right: 5 } })
    await relay.stop()
    const away = await runVspc(['track', ...access, ...what, '--once', '--next-hop', hop, '--relays', relays])
    expect([away.code, away.stderr]).toEqual([1, expect.stringContaining('vspc: 1 peer relays could not be told\n')])
  })

  test('it follows the appliance until SIGTERM; the password is nowhere', async () => {
    const first = await moveTo(2)
    const track = new TrackProcess([...access, ...what])
    await until(`the first place: ${track.err}`, () => / VMs are right/.test(track.err) || track.ended)
    expect(track.out[0]).toBe(`appliance on ${first}`)
    expect(await proxies()).toEqual(await expected(first))
    const second = await moveTo(0)
    await until('the second place', () => (track.err.match(/ VMs are right/g)?.length ?? 0) > 1 || track.ended)
    expect(track.out).toContain(`appliance moved: ${first} -> ${second}`)
    expect(await proxies()).toEqual(await expected(second))
    expect(await track.end('SIGTERM')).toBe(0)
    expect(track.out.join('\n') + track.err).not.toContain(VCSIM_PASSWORD.slice(0, 8))
  })

  test('vCenter is away at the start, and in the middle of a move: it waits, and nothing is left behind', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'vcenter.sock')
    const first = await moveTo(1)
    const track = new TrackProcess([...access, ...what, '--dial', `unix://${path}`])
    await until('the trouble to be told', () => /vcenter\.sock.*; trying again\n/.test(track.err) || track.ended)
    const way = await Way.open(path, sim.tcpPort)
    const settled = () => track.err.match(/ VMs are right/g)?.length ?? 0
    await until(`the first place: ${track.err}`, () => settled() > 0 || track.ended)
    expect(await proxies()).toEqual(await expected(first))
    await way.close()
    const second = await moveTo(2)
    await until('the next trouble', () => (track.err.match(/; trying again\n/g)?.length ?? 0) > 1 || track.ended)
    await Way.open(path, sim.tcpPort)
    await until('the second place', () => settled() > 1 || track.ended)
    expect(await proxies()).toEqual(await expected(second))
    expect(track.err.match(/; trying again\n/g)?.length).toBeLessThan(6)
    await until('all to be well', () => track.err.includes('all is well again') || track.ended)
    expect(await track.end('SIGINT')).toBe(0)
  })

  test('told to stop while vCenter does not answer it ends at once, and tells of no trouble', async () => {
    let taken = 0
    const silent = createServer((socket) => {
      taken++
      socket.on('error', () => {})
      onTestFinished(() => void socket.destroy())
    })
    onTestFinished(() => void silent.close())
    const path = join(temporaryFolder(), 'silent.sock')
    silent.listen(path)
    await once(silent, 'listening')
    const track = new TrackProcess([...access, ...what, '--dial', `unix://${path}`])
    await until('it to be dialled', () => taken > 0 || track.ended)
    expect(await track.end('SIGTERM')).toBe(0)
    expect(track.err).not.toMatch(/trying again/)
  })

  test('in the middle of --once: a move is followed, too; SIGTERM leaves no port disconnected', async () => {
    // Changes take their time, and eight VMs have theirs together.
    const slow = await Vcsim.start({
      vms: 16,
      cert: certificate.cert,
      key: certificate.key,
      methodDelay: 'ReconfigVM_Task:150',
    })
    onTestFinished(() => slow.stop())
    const setup = await connect({
      url: slow.url,
      user: VCSIM_USER,
      password: () => VCSIM_PASSWORD,
      pin: certificate.sha256,
    })
    onTestFinished(() => setup.close())
    const vms = await allVms(setup)
    const backing = { serviceURI: 'vspc', direction: 'client', proxyURI: OLD } as const
    await addPorts(
      setup,
      vms.map(({ ref }) => ref),
      () => backing,
    )
    const [ref] = await refsOf(setup, [APPLIANCE])
    const hosts = await clusterHosts(setup)
    await relocate(setup, ref!, hosts[0]!.ref)
    const ports = async () =>
      [...(await portsOfAll(setup))].filter(([name]) => name !== APPLIANCE).flatMap(([, all]) => all)
    const args = [...access, ...what, '--vsphere', slow.url, '--once']
    const changed = (track: TrackProcess) => track.out.some((line) => line.includes(' -> telnet:')) || track.ended

    const moved = new TrackProcess(args)
    await until('the first VM', () => changed(moved))
    await relocate(setup, ref!, hosts[1]!.ref)
    expect(await moved.exit).toBe(0)
    expect(moved.out).toContain(`appliance moved: ${hosts[0]!.name} -> ${hosts[1]!.name}`)
    const target = { kind: 'uri', ...backing, proxyURI: `telnet://${hosts[1]!.name}:13370` }
    expect((await ports()).map((port) => port.backing)).toEqual(vms.slice(1).map(() => target))

    await relocate(setup, ref!, hosts[2]!.ref)
    const stopped = new TrackProcess(args)
    await until('the first VM', () => changed(stopped))
    expect(await stopped.end('SIGTERM')).toBe(130)
    expect(stopped.err).toContain('stopped before all VMs were in line')
    const after = await ports()
    expect(after.filter(({ connected }) => !connected)).toEqual([])
    const there = after.filter(
      (port) => port.backing.kind === 'uri' && port.backing.proxyURI !== target.proxyURI,
    ).length
    expect([there > 0, there < after.length]).toEqual([true, true])
  }, 40_000)

  test('settings from the environment and from the file; flags count more', async () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'pw'), VCSIM_PASSWORD, { mode: 0o600 })
    const file = join(folder, 'vspc.yaml')
    writeFileSync(
      file,
      `http: 127.0.0.1:13371\nvsphere:\n  url: https://nowhere.example/sdk\n  passwordFile: pw\n  user: ${VCSIM_USER}\n  pin: sha256:${'0'.repeat(64)}\n`,
    )
    const env = { VSPC_CONFIG: file, VSPC_VSPHERE_URL: sim.url, VSPC_VSPHERE_CA_FILE: certificate.cert }
    const run = await runVspc(['track', ...what, '--plan', '--json'], { env })
    expect([run.code, run.stderr.replace(/^vspc: warning: vCenter forgets.*\n/m, '')]).toEqual([0, ''])
    const pinned = await runVspc(['track', ...what, '--plan', '--pin', `sha256:${'1'.repeat(64)}`], { env })
    expect([pinned.code, pinned.stderr]).toEqual([1, expect.stringContaining('sha256')])
  })

  test("the server's own file says it all; flags count more", async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'vspc.yaml')
    const vsphere = `vsphere: { url: '${sim.url}', user: ${VCSIM_USER}, passwordFile: '${passwordFile}', pin: 'sha256:${certificate.sha256}' }`
    const track = (more: string) =>
      `track: { appliance: ${APPLIANCE}, vms: ['dc0_h0*'], proxyUri: 'telnet://{relay}:1', ${more} }`
    writeFileSync(join(folder, 'relays.yaml'), 'DC0_C0_H0: 192.0.2.1\nDC0_C0_H1: 192.0.2.1\nDC0_C0_H2: 192.0.2.1\n')
    writeFileSync(file, `listen: ['tcp://0.0.0.0:13370']\n${vsphere}\n${track('relays: relays.yaml')}\n`)
    const plan = async (...args: string[]) => {
      const run = await runVspc(['track', '--config', file, '--plan', '--json', ...args])
      expect([run.code, run.stderr.replace(/^vspc: warning: vCenter forgets.*\n/m, '')]).toEqual([0, ''])
      return JSON.parse(run.stdout.toString()) as { proxyURI: string; steps: { vm: string }[] }
    }
    const whole = await plan()
    expect([whole.proxyURI, whole.steps.map(({ vm }) => vm)]).toEqual([
      'telnet://192.0.2.1:1',
      ['DC0_H0_VM0', 'DC0_H0_VM1', 'DC0_H0_VM2'],
    ])
    const some = await plan('--vms', 'DC0_H0_VM1', '--proxy-uri', 'telnet://{ip}:2')
    expect([some.proxyURI, some.steps.map(({ vm }) => vm)]).toEqual(['telnet://127.0.0.1:2', ['DC0_H0_VM1']])
    writeFileSync(file, `${vsphere}\n${track('port: [1]')}\n`)
    const wrong = await runVspc(['track', '--config', file, '--plan'])
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      expect.stringMatching(/vspc\.yaml:2:\d+: "track\.port" is not.*did you mean ports/),
    ])
  })

  test('each mistake has its exit code, and is told before anything is tried', async () => {
    const folder = temporaryFolder()
    const wrong = join(folder, 'wrong')
    writeFileSync(wrong, 'not it', { mode: 0o600 })
    const empty = join(folder, 'empty')
    writeFileSync(empty, '\n', { mode: 0o600 })
    const broken = join(folder, 'vspc.yaml')
    writeFileSync(broken, 'vsphere:\n  url: http://vc/sdk\n  user: [a]\n  caFil: x\n')
    const none = await closedPort()
    const cases: [string[], number, string][] = [
      [[...what], 2, 'the vSphere API is not given: use --vsphere, VSPC_VSPHERE_URL'],
      [['--vsphere', sim.url, '--user', 'u', ...what], 2, 'the file with the password is not given'],
      [[...access, ...what, '--password-file', join(folder, 'none')], 2, '--password-file: '],
      [[...access, ...what, '--password-file', empty, '--once'], 2, 'is empty'],
      [[...access, ...what, '--password-file', wrong], 4, 'refuses user or password'],
      [[...access, ...what, '--vsphere', `https://127.0.0.1:${none}/sdk`, '--plan'], 6, '127.0.0.1'],
      [[...access, ...what, '--appliance', 'nobody', '--plan'], 3, "the appliance's VM 'nobody' is not there"],
      [
        [...access, '--appliance', APPLIANCE, '--vms', 'no*', '--proxy-uri', 'telnet://{ip}:1', '--once'],
        3,
        'no VM fits --vms',
      ],
      [[...access, ...what, '--proxy-uri', 'tcp://{host}:1'], 2, 'neither telnet nor telnets'],
      [[...access, ...what, '--proxy-uri', 'telnet://{hots}:1'], 2, 'did you mean {host}?'],
      [[...access, ...what, '--next-hop', 'unix:///a.sock'], 2, 'CONTROL-URI#NAME=ENDPOINT'],
      [[...access, ...what, '--next-hop', 'unix:///a.sock#a=tpc://{relay}'], 2, 'tpc'],
      [[...access, ...what, '--plan', '--once'], 2, 'cannot be used with'],
      [[...access, ...what, '--vms', 'foldr:/a'], 2, 'did you mean folder:?'],
      [[...access, ...what, '--pin', 'sha256:12'], 2, '--pin: "sha256:12" is no fingerprint'],
      [[...access, ...what, '--config', broken], 2, `${broken}:3:9: vsphere.user is a list`],
      [[...access, ...what, '--config', broken], 2, 'did you mean caFile?'],
      [[...access, ...what, '--port', '7', '--once'], 1, 'it has no serial port 7'],
    ]
    for (const [args, code, text] of cases) {
      const run = await runVspc(['track', ...args])
      expect([args, run.code, run.stderr]).toEqual([args, code, expect.stringContaining(text)])
      expect(run.stdout.toString().replace(/^appliance on .*\n/, '')).toBe('')
    }
  }, 60_000)
})

class TrackProcess {
  readonly #child: ChildProcess
  readonly out: string[] = []
  err = ''

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [VSPC_BIN, 'track', ...args], {
      env: { PATH: process.env['PATH'] ?? '', HOME: temporaryHome() },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => this.out.push(line))
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString()
    })
    this.exit = once(this.#child, 'close').then(([code, by]) => code ?? by)
    onTestFinished(() => {
      this.#child.kill('SIGKILL')
    })
  }

  /** Its exit code, or the signal. */
  readonly exit: Promise<number | NodeJS.Signals | null>

  get ended(): boolean {
    return this.#child.exitCode !== null
  }

  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    this.#child.kill(signal)
    return this.exit
  }
}

/** Nobody listens there. */
async function closedPort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
