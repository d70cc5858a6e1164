/** What `vspc doctor` makes of its facts: one thing is wrong at a time, and exactly that is found. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { CHECKS } from '../../src/cli/doctor-checks.ts'
import { answered, type Facts, type ProxyFacts, unanswered, type VmFacts } from '../../src/cli/doctor-facts.ts'
import { runChecks } from '../../src/cli/doctor-finding.ts'
import { doctorReport, formatFindings, summary } from '../../src/cli/doctor-report.ts'
import type { PortInfo } from '../../src/vspc/types.ts'
import { leaf, type SerialPort, type UriBacking } from '../../src/vsphere/index.ts'
import { healthInfo, LISTENER } from './doctor-support.ts'
import { portInfo } from './fake-server.ts'

const UUID = '50213f0d-7a8e-4f5b-9c1d-0123456789ab'
const PROXY = 'telnet://10.0.0.9:13370'
const BACKING: UriBacking = { kind: 'uri', serviceURI: 'telnet://vspc:13370', direction: 'server', proxyURI: PROXY }

const PORT: SerialPort = {
  key: 9000,
  label: 'Serial port 1',
  backing: BACKING,
  connected: true,
  startConnected: true,
  status: 'ok',
  device: leaf('device', ''),
}
const SEEN: PortInfo = { ...portInfo('web1'), id: UUID, vm: { name: 'web1', uuid: UUID }, bytesFromVm: 42 }
const PROXIED: ProxyFacts = {
  host: '10.0.0.9',
  tcpPort: 13_370,
  addresses: answered(['10.0.0.9']),
  reached: answered(null),
}
const RULESET = { key: 'vSPC', label: '', enabled: true, allowed: null }
const HOST = {
  name: 'esx1.example',
  managementIps: ['10.0.0.1'],
  connection: answered('connected'),
  firewall: answered([RULESET]),
}
const VM: VmFacts = {
  name: 'web1',
  instanceUuid: UUID,
  biosUuid: null,
  power: 'poweredOn',
  ports: [PORT],
  host: answered(HOST),
  proxies: new Map([[PROXY, PROXIED]]),
}
const CONFIG = {
  file: null,
  listen: ['tcp://0.0.0.0:13370'],
  keepsHistory: true,
  dataDir: '/var/lib/vspc',
  dataDirUsable: answered(null),
  tls: answered([] as readonly string[] | null),
}
const LOCAL = {
  node: '20.20.2',
  neededNode: '20.19',
  openFiles: 65_536,
  vsock: answered(null),
  config: answered(CONFIG),
  addresses: ['10.0.0.9'],
}
const SERVER = {
  url: 'http://127.0.0.1:13371',
  ready: answered(null),
  ports: answered([SEEN]),
  health: answered({ info: healthInfo(), aheadMs: 200, tookMs: 10 }),
  listeners: new Map([['tcp://0.0.0.0:13370', answered(null)]]),
}
const VSPHERE = {
  url: 'https://vc/sdk',
  user: 'vspc',
  product: 'vCenter 8',
  isVcenter: true,
  passwordWarning: null,
  clock: answered({ aheadMs: 3_000, tookMs: 10 }),
  persistBacking: answered('true'),
}
/** All is well. */
const WELL: Facts = {
  local: LOCAL,
  server: SERVER,
  vsphere: answered(VSPHERE),
  wanted: 'web1',
  vm: answered(VM),
  appliance: null,
}

const broken = unanswered(new VspcError('VSPC_VSPHERE_PERMISSION', 'not for you'))

const local = (change: Partial<Facts['local']>): Facts => ({ ...WELL, local: { ...LOCAL, ...change } })
const config = (change: Partial<typeof CONFIG> | object): Facts => local({ config: answered({ ...CONFIG, ...change }) })
const server = (change: Partial<Facts['server']>): Facts => ({ ...WELL, server: { ...SERVER, ...change } })
const vsphere = (change: object): Facts => ({ ...WELL, vsphere: answered({ ...VSPHERE, ...change }) })
const vm = (change: Partial<VmFacts>): Facts => ({ ...WELL, vm: answered({ ...VM, ...change }) })
const port = (change: Partial<SerialPort>): Facts => vm({ ports: [{ ...PORT, ...change }] })
const backing = (change: Partial<UriBacking>): Facts => port({ backing: { ...BACKING, ...change } })
const host = (change: object): Facts => vm({ host: answered({ ...HOST, ...change }) })
const proxy = (change: Partial<ProxyFacts>): Facts => vm({ proxies: new Map([[PROXY, { ...PROXIED, ...change }]]) })
const elsewhere = (facts: Facts): Facts => ({ ...facts, local: { ...LOCAL, addresses: ['10.0.0.77'] } })

/** `LEVEL id` of whatever is not ok. */
function troubles(facts: Facts): string[] {
  return runChecks(CHECKS, facts)
    .filter(({ level }) => level !== 'ok')
    .map(({ level, id }) => `${level} ${id}`)
}

describe('checks', () => {
  test('when all is well, every check says so', () => {
    expect(troubles(WELL)).toEqual([])
    const said = new Set(runChecks(CHECKS, WELL).map(({ id }) => id))
    // These have something to say only when something is wrong, or there are several ports.
    const silent = CHECKS.map(({ id }) => id).filter((id) => !said.has(id))
    expect(silent).toEqual(['health', 'password-file', 'labels'])
  })

  test.each<[string, Facts, string[]]>([
    ['an old Node', local({ node: '20.9.0' }), ['fail node-version']],
    ['another major version', local({ node: '22.0.0' }), []],
    ['few open files', local({ openFiles: 1_024 }), ['warn open-files']],
    ['a limit that nobody knows', local({ openFiles: null }), ['note open-files']],
    ['a proxy on whichever host it is', proxy({ addresses: answered(['127.0.0.1']) }), ['note proxy-address']],
    ['no vsock', local({ vsock: broken }), ['note vsock']],
    ['a broken configuration', local({ config: broken }), ['fail configuration']],
    ['a folder that is not ours', config({ dataDirUsable: broken }), ['warn data-dir']],
    ['no history, so no folder', config({ dataDirUsable: broken, keepsHistory: false }), []],
    [
      'no server',
      server({ ready: broken, ports: broken, health: broken, listeners: new Map() }),
      ['fail server', 'note seen'],
    ],
    ['a server that wants a token', server({ ports: broken }), ['fail server', 'note seen']],
    [
      'a server that starts',
      server({ ready: unanswered(new VspcError('VSPC_SERVER_STARTING', 'soon')) }),
      ['warn server'],
    ],
    ['a listener that is shut', server({ listeners: new Map([['tcp://0.0.0.0:1', broken]]) }), ['warn listeners']],
    [
      'listeners that no host can reach',
      server({
        health: answered({
          info: healthInfo({ listeners: [{ ...LISTENER, uri: 'tcp://127.0.0.1:1' }] }),
          aheadMs: 0,
          tookMs: 1,
        }),
        listeners: new Map([['tcp://127.0.0.1:1', answered(null)]]),
      }),
      ['warn listeners'],
    ],
    [
      'listeners of the configuration that no host can reach, and a server that does not say',
      server({ health: broken, listeners: new Map([['tcp://127.0.0.1:1', answered(null)]]) }),
      ['warn listeners', 'note health'],
    ],
    ['keys that do not fit', config({ tls: broken }), ['fail tls-files']],
    ['a certificate that ran out', config({ tls: answered(['expired']) }), ['warn tls-files']],
    ['vSphere that does not answer', { ...WELL, vsphere: broken, vm: null }, ['fail vsphere']],
    ['a single host', vsphere({ isVcenter: false }), ['warn vsphere']],
    ['a password that all may read', vsphere({ passwordWarning: 'all may' }), ['warn password-file']],
    ['a clock that is ahead', vsphere({ clock: answered({ aheadMs: 90_000, tookMs: 1 }) }), ['warn clock']],
    ['a clock that is behind', vsphere({ clock: answered({ aheadMs: -90_000, tookMs: 1 }) }), ['warn clock']],
    ['a slow answer about time', vsphere({ clock: answered({ aheadMs: 65_000, tookMs: 9_000 }) }), []],
    ['time that is not told', vsphere({ clock: broken }), ['note clock']],
    ['backings that are forgotten', vsphere({ persistBacking: answered(null) }), ['warn persist-backing']],
    ['backings that are to be forgotten', vsphere({ persistBacking: answered('false') }), ['warn persist-backing']],
    ['a setting that is not told', vsphere({ persistBacking: broken }), ['note persist-backing']],
    ['no such VM', { ...WELL, vm: broken }, ['fail vm']],
    ['a VM that is off', { ...vm({ power: 'poweredOff', ports: [{ ...PORT, connected: false }] }) }, ['warn power']],
    ['a host that nobody may see', vm({ host: broken }), ['note host']],
    ['a host that is lost', host({ connection: answered('notResponding') }), ['warn host']],
    ['a VM without ports', vm({ ports: [], proxies: new Map() }), ['fail ports']],
    [
      'a VM with a pipe only',
      vm({ ports: [{ ...PORT, backing: { kind: 'pipe', pipeName: 'p', endpoint: 'server' } }], proxies: new Map() }),
      ['fail ports'],
    ],
    [
      'no proxyURI, and the firewall rule set for that not known',
      vm({ ports: [{ ...PORT, backing: { ...BACKING, proxyURI: null } }], proxies: new Map() }),
      ['warn proxy-uri', 'note firewall'],
    ],
    ['a proxyURI with a blank', backing({ proxyURI: `${PROXY} ` }), ['fail proxy-uri']],
    ['a proxyURI of another scheme', backing({ proxyURI: 'tcp://10.0.0.9:13370' }), ['fail proxy-uri']],
    ['TLS options on a plain proxyURI', backing({ proxyURI: `${PROXY}#verify` }), ['fail proxy-uri']],
    ['a thumbprint of another form', backing({ proxyURI: 'telnets://10.0.0.9:1#thumbprint=abc' }), ['warn proxy-uri']],
    ['a proxyURI of loopback', backing({ proxyURI: 'telnet://127.0.0.1:13370' }), ['warn proxy-uri']],
    ['an empty serviceURI', backing({ serviceURI: '' }), ['fail service-uri']],
    ['a serviceURI with a blank', backing({ serviceURI: 'vspc ' }), ['fail service-uri']],
    ['a serviceURI that is no URL', backing({ serviceURI: 'vspc' }), ['note service-uri']],
    ['direction client', backing({ direction: 'client' }), ['note direction']],
    ['no direction at all', backing({ direction: '' }), ['fail direction']],
    [
      'two ports that look the same',
      vm({ ports: [PORT, { ...PORT, key: 9001, label: 'Serial port 2' }] }),
      ['warn labels'],
    ],
    ['a port that is not connected', port({ connected: false }), ['fail connected']],
    ['a port that will not be', port({ startConnected: false }), ['warn connected']],
    ['a port that was given up', port({ status: 'unrecoverableError' }), ['fail status']],
    ['a port in trouble', port({ status: 'recoverableError' }), ['warn status']],
    ['a port that was not tried', port({ status: 'untried' }), ['note status']],
    ['a status that is not told', port({ status: null }), ['note status']],
    [
      'a firewall that is shut, and nothing comes through',
      {
        ...host({ firewall: answered([{ ...RULESET, enabled: false }]) }),
        server: { ...SERVER, ports: answered([]) },
      },
      ['fail firewall', 'fail seen', 'warn seen-host'],
    ],
    [
      'a firewall that is shut, but the VM is online',
      host({ firewall: answered([{ ...RULESET, enabled: false }]) }),
      ['warn firewall'],
    ],
    ['a firewall without that rule set', host({ firewall: answered([]) }), ['note firewall']],
    ['a firewall that is not told', host({ firewall: answered(null) }), ['note firewall']],
    ['a firewall that nobody may see', host({ firewall: broken }), ['note firewall']],
    [
      'a firewall that is open for others',
      host({ firewall: answered([{ ...RULESET, allowed: ['10.0.0.7'] }]) }),
      ['warn firewall'],
    ],
    ['a firewall that is open for us', host({ firewall: answered([{ ...RULESET, allowed: ['10.0.0.9'] }]) }), []],
    ['a name that is not known', proxy({ addresses: broken }), ['warn proxy-address']],
    ['a proxy that does not answer', proxy({ reached: broken }), ['warn proxy-reachable']],
    ['a proxy that is somewhere else', elsewhere(WELL), ['note proxy-address']],
    [
      "the host of the appliance, by its host's address",
      elsewhere({ ...WELL, appliance: answered({ vm: 'vspc', host: 'esx9', managementIps: ['10.0.0.9'] }) }),
      [],
    ],
    [
      'another host than that of the appliance',
      elsewhere({ ...WELL, appliance: answered({ vm: 'vspc', host: 'esx2', managementIps: ['10.0.0.2'] }) }),
      ['warn proxy-address'],
    ],
    ['an appliance that is not found', elsewhere({ ...WELL, appliance: broken }), ['note proxy-address']],
    [
      'a port that the server has not seen, nor any other',
      server({ ports: answered([]) }),
      ['fail seen', 'warn seen-host'],
    ],
    [
      'a port that the server has not seen, but others of that host',
      server({ ports: answered([{ ...SEEN, id: 'x', vm: { name: 'db', uuid: 'x' } }]) }),
      ['fail seen', 'note seen-host'],
    ],
    [
      'a port that went offline',
      server({ ports: answered([{ ...SEEN, state: 'offline' }]) }),
      ['fail seen', 'warn seen-host'],
    ],
    ['a port that comes by another label', server({ ports: answered([{ ...SEEN, label: 'com1' }]) }), ['fail seen']],
    ['a port behind NAT', server({ ports: answered([{ ...SEEN, host: '192.0.2.1' }]) }), ['note seen-host']],
    ['a port that is migrating', server({ ports: answered([{ ...SEEN, state: 'migrating' }]) }), []],
    ['a VM, but nobody to ask', { ...WELL, vsphere: null, vm: null }, ['warn vsphere']],
    [
      'a VM, nobody to ask, and a server that has not seen it',
      { ...server({ ports: answered([]) }), vsphere: null, vm: null },
      ['warn vsphere', 'warn seen'],
    ],
    ['no VM', { ...WELL, vsphere: null, vm: null, wanted: null }, []],
  ])('%s', (_name, facts, expected) => {
    expect(troubles(facts)).toEqual(expected)
  })

  test('a VM without UUID at the server is known by its name', () => {
    const nameless = { ...SEEN, id: 'name:web1', vm: { name: 'web1', uuid: null } }
    expect(troubles(server({ ports: answered([nameless]) }))).toEqual([])
  })

  test('each failure and warning says what to do, or names it in its message', () => {
    const spoken = [
      vm({ ports: [] }),
      port({ connected: false, startConnected: false }),
      host({ firewall: answered([{ ...RULESET, enabled: false }]) }),
      server({ ports: answered([]) }),
      vsphere({ persistBacking: answered(null) }),
    ].flatMap((facts) => runChecks(CHECKS, facts))
    const bad = spoken.filter(({ level }) => level === 'warn' || level === 'fail')
    expect(bad.length).toBeGreaterThan(5)
    for (const { next } of bad) expect(next).not.toBeNull()
  })

  test('no facts make a check throw', () => {
    const asked = <T>(value: fc.Arbitrary<T>) => fc.oneof(value.map(answered), fc.constant(broken))
    const text = fc.string({ unit: 'binary' })
    const uri = fc.oneof(text, fc.constant(PROXY))
    const anyBacking = fc.oneof(
      fc.record({
        kind: fc.constant('uri' as const),
        serviceURI: uri,
        direction: text,
        proxyURI: fc.oneof(uri, fc.constant(null)),
      }),
      fc.record({ kind: fc.constant('other' as const), type: text }),
    )
    const anyPort = fc.record({
      key: fc.nat(),
      label: text,
      backing: anyBacking,
      connected: fc.boolean(),
      startConnected: fc.boolean(),
      status: fc.oneof(text, fc.constant(null)),
      device: fc.constant(leaf('d', '')),
    })
    const anyHost = fc.record({
      name: text,
      managementIps: fc.array(text, { maxLength: 2 }),
      connection: asked(fc.oneof(text, fc.constant(null))),
      firewall: asked(
        fc.array(
          fc.record({
            key: fc.constantFrom('vSPC', 'x'),
            label: text,
            enabled: fc.boolean(),
            allowed: fc.constant([]),
          }),
        ),
      ),
    })
    const anyVm = fc.record({
      name: text,
      instanceUuid: fc.oneof(text, fc.constant(null)),
      biosUuid: fc.constant(null),
      power: fc.constantFrom('poweredOn', 'poweredOff', 'odd'),
      ports: fc.array(anyPort, { maxLength: 3 }),
      host: asked(fc.oneof(anyHost, fc.constant(null))),
      proxies: fc.constant(new Map([[PROXY, PROXIED]])),
    })
    fc.assert(
      fc.property(asked(anyVm), asked(fc.constantFrom([], [SEEN])), (anything, ports) => {
        const findings = runChecks(CHECKS, { ...server({ ports }), vm: anything })
        // Nothing that a terminal obeys gets through, whatever it says.
        expect(formatFindings(findings).join('')).not.toMatch(/\p{Cc}/u)
      }),
      { numRuns: 40 },
    )
  })
})

describe('the report', () => {
  test('is ordered by section, with what to do below', () => {
    const lines = formatFindings(runChecks(CHECKS, port({ connected: false })))
    expect(lines.slice(0, 2)).toEqual(['This machine', '  ok    node-version     Node 20.20.2'])
    const at = lines.findIndex((line) => line.includes('FAIL'))
    expect(lines.slice(at, at + 2)).toEqual([
      '  FAIL  connected        Serial port 1: it is not connected, although the VM is on',
      '                         -> tick "connected" in its settings, or vspc point',
    ])
    expect(lines.filter((line) => !line.startsWith(' '))).toEqual([
      'This machine',
      '',
      'Server',
      '',
      'vSphere',
      '',
      'VM',
    ])
  })

  test('counts, and is ok only without failures', () => {
    const well = doctorReport(runChecks(CHECKS, WELL))
    expect([well.ok, summary(well)]).toEqual([true, 'all is well'])
    const bad = doctorReport(runChecks(CHECKS, port({ connected: false, startConnected: false })))
    expect([bad.ok, summary(bad)]).toEqual([false, '1 failed, 1 to look at; docs/doctor.md explains each'])
    expect(bad.findings.find(({ level }) => level === 'fail')).toMatchObject({
      id: 'connected',
      section: 'vm',
      about: 'Serial port 1',
      docs: 'docs/doctor.md#connected',
    })
  })

  test('docs/doctor.md has a section for each check, and no other', () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/doctor.md'), 'utf8')
    const headings = [...page.matchAll(/^### (.+)$/gm)].map(([, heading]) => heading)
    expect(headings).toEqual(CHECKS.map(({ id }) => id))
    for (const heading of headings) expect(page).toMatch(new RegExp(`^### ${heading}\\n\\n\\S`, 'm'))
  })
})
