/**
 * What a server tells of itself while it works: the format by a parser of our own, the page of metrics, and that every
 * metric and label in the dashboard and the alerts is there.
 */
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { grafanaDashboard } from '../../scripts/grafana-dashboard.ts'
import { metricsDocs } from '../../scripts/metrics-docs.ts'
import type { ApplianceTracker } from '../../src/app/appliance.ts'
import { addApplianceMetrics } from '../../src/app/metrics-appliance.ts'
import { parseSimTarget, type Simulation, simulate } from '../../src/sim/index.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Family, parseExposition, parsePromql } from '../support/prometheus.ts'
import { type AppUnderTest, eventually, RawVm, sharedApp, startApp } from './support.ts'

const root = join(import.meta.dirname, '../..')
/** What Prometheus itself adds to each series, and a series of its own. */
const OF_PROMETHEUS = ['job', 'instance']

/** Labels of a family but that of buckets; empty where it has no series just now. */
function labelsOf(family: Family): string[] {
  const all = new Set(family.samples.flatMap(({ labels }) => [...labels.keys()]))
  all.delete('le')
  return [...all]
}

/** A double of a tracker that knows a host: on one machine nobody moves, and vCenter is not there. */
function hostKnown(): ApplianceTracker {
  const host = { name: 'esx1.example', managementIps: [] }
  const counts = { vms: 0, queued: 0, working: 0, waiting: 0, stuck: 0, right: 0, cannot: 0 }
  const retarget = { counts, nextHopsOpen: 0 }
  const status = { host, since: 1_000, moves: 0, trouble: null, reachable: true, retarget }
  return { status, counters: { changed: 0, failed: 0 } } as unknown as ApplianceTracker
}

let families: Map<string, Family>
let text = ''
let simulation: Simulation
let certificates: TestCertificates
/** A name that would end a label, if it could. */
const HOSTILE = 'a"b\\c}'
const folder = mkdtempSync(join(tmpdir(), 'vspc-observed-'))

const server = sharedApp(work, async () => {
  certificates = await TestCertificates.create()
  const certificate: CertificateFiles = await certificates.selfSigned('vspc')
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, 'x')
  chmodSync(passwordFile, 0o600)
  return {
    listen: [
      `tcp://127.0.0.1:0?cert=${certificate.cert}&key=${certificate.key}`,
      `tcp://127.0.0.1:0?protocol=raw&name=${encodeURIComponent(HOSTILE)}`,
    ],
    access: { rules: [{ who: ['anyone'], role: 'admin' }], audit: { file: join(folder, 'audit.jsonl') } },
    serviceUris: ['ours'],
    // Nobody is there: it is followed all the same, and in trouble.
    vsphere: { url: 'https://127.0.0.1:1/sdk', user: 'u', passwordFile, pin: `sha256:${certificate.sha256}` },
    track: { appliance: 'vspc1', vms: ['*'], proxyUri: 'telnet://{host}:13370' },
    guestinfo: { vms: '*' },
    alerts: {},
    hooks: [{ name: 'log', exec: ['/bin/true'] }],
  }
})

async function work(app: AppUnderTest): Promise<void> {
  await RawVm.connect(app, 1)
  const { tcpPort } = app.server.listening[0] as TcpEndpoint
  const target = parseSimTarget(`tcp://127.0.0.1:${tcpPort}`)
  simulation = simulate({
    targets: [target],
    vms: 5,
    vmotionsPerSecond: 50,
    serviceURI: 'ours',
    guests: [{ kind: 'counter', intervalMs: 20 }],
  })
  await simulation.started
  // Who is not let in: another serviceURI, somebody who speaks something else, a TLS handshake that is none.
  const stranger = simulate({ targets: [target], vms: 1, serviceURI: 'theirs' })
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\x00\x05hello']) {
    const socket = connect(tcpPort, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.end(bytes)
  }
  const { counters, refusals } = app.server
  const isBusy = (): boolean =>
    counters.vmotionsCompleted > 5 &&
    counters.bytesFromVm > 0 &&
    refusals.counts['service-uri'] > 0 &&
    counters.tlsFailures > 0
  await eventually(isBusy)
  await stranger.stop()
  const answer = await fetch(`${app.url}/metrics`)
  text = await answer.text()
  families = parseExposition(text)
  // Where access is configured there is no Telnet.
  const other = await startApp({ telnet: { menu: '127.0.0.1:0' } })
  const more = parseExposition(await (await fetch(`${other.url}/metrics`)).text())
  for (const [name, family] of more) if (!families.has(name)) families.set(name, family)
  const registry = new Registry()
  addApplianceMetrics(registry, hostKnown())
  for (const [name, family] of parseExposition(await registry.metrics())) {
    if (families.get(name)?.samples.length === 0) families.set(name, family)
  }
}

afterAll(async () => {
  await simulation?.stop()
  await certificates?.remove()
  rmSync(folder, { recursive: true, force: true })
})

describe('metrics under load', () => {
  test('keep to the format, and to the conventions for names', () => {
    expect(families.size).toBeGreaterThan(60)
    for (const { name, type, help } of families.values()) {
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter'])
      expect([name, help]).toEqual([name, expect.stringMatching(/^(?:[A-Z0-9]|vMotion).*\.$/)])
      // Base units: seconds and bytes, never in the middle of a name.
      expect(name).not.toMatch(/_(?:ms|milliseconds|kb|kib|mib|percent)(?:_|$)/)
      if (/_(?:seconds|bytes)_/.test(name)) expect(name).toMatch(/_(?:seconds|bytes)_(?:total|info)$/)
    }
  })

  test('nothing names a VM unless that is asked for', async () => {
    for (const port of server().server.table) {
      expect(text).not.toContain(port.id)
      expect(text).not.toContain(`"${port.name}"`)
    }
    for (const family of families.values()) {
      if (!family.name.startsWith('vspc_port_')) continue
      expect([family.name, family.samples]).toEqual([family.name, []])
    }
  })

  test('a few ports have series of their own, hostile names included, and never more than allowed', async () => {
    server().server.limits = { ...server().server.limits, maxMetricPorts: 3 }
    try {
      const now = parseExposition(await (await fetch(`${server().url}/metrics`)).text())
      const series = [...now.values()]
        .filter((one) => one.name.startsWith('vspc_port_'))
        .map((one) => one.samples.length)
      expect(series).toEqual([3, 3, 3, 3, 3])
      const labels = now.get('vspc_port_online')?.samples.map((one) => one.labels.get('vm'))
      expect(labels).toContain(HOSTILE)
      expect(now.get('vspc_ports_without_metrics')?.samples[0]?.value).toBe(server().server.table.size - 3)
    } finally {
      server().server.limits = { ...server().server.limits, maxMetricPorts: 0 }
    }
  })

  test('say what happened', () => {
    const value = (metric: string, labels: Record<string, string> = {}): number | undefined =>
      families
        .get(metric.replace(/_(?:bucket|count)$/, ''))
        ?.samples.find(
          (one) => one.name === metric && Object.entries(labels).every(([k, v]) => one.labels.get(k) === v),
        )?.value
    expect(value('vspc_ports', { state: 'online' })).toBeGreaterThan(0)
    expect(value('vspc_vmotion_duration_seconds_count', { result: 'completed' })).toBeGreaterThan(0)
    expect(value('vspc_vmotion_duration_seconds_count', { result: 'timed_out' })).toBe(0)
    expect(value('vspc_vm_refusals_total', { reason: 'service-uri' })).toBeGreaterThan(0)
    expect(value('vspc_vm_refusals_total', { reason: 'tls' })).toBeGreaterThan(0)
    expect(value('vspc_vm_refusals_total', { reason: 'connections' })).toBe(0)
    expect(value('vspc_event_loop_delay_seconds_count')).toBeGreaterThan(0)
    expect(value('vspc_log_lines_total', { level: 'info' })).toBeGreaterThan(0)
    expect(value('process_open_fds')).toBeGreaterThan(5)
    const days = ((value('vspc_certificate_expiry_timestamp_seconds') ?? 0) - Date.now() / 1_000) / 86_400
    expect(days).toBeGreaterThan(1.9)
    expect(days).toBeLessThan(2.1)
  })
})

test('docs/metrics.md lists them all', async () => {
  const known: Record<string, string[]> = Object.fromEntries(
    [...families.values()]
      .filter(({ name }) => name.startsWith('vspc_port_'))
      .map(({ name }) => [name, ['port', 'vm']]),
  )
  const rows = [...families.values()].map((family) => {
    const { name, type, help } = family
    return { name, type, help: help.replaceAll('|', '\\|'), labels: known[name] ?? labelsOf(family) }
  })
  // Out of date? npx vitest run test/app/observability.test.ts -u
  await expect(metricsDocs(rows)).toMatchFileSnapshot('../../docs/metrics.md')
})

/** What is wrong with the metrics and labels of an expression. */
function faultsOf(expr: string, legend = ''): string[] {
  const faults: string[] = []
  const { selectors, groupedBy } = parsePromql(expr)
  const names = new Set<string>(OF_PROMETHEUS)
  for (const { metric, labels } of selectors) {
    if (metric === 'up') continue
    // Of a histogram there are only parts.
    const exact = families.get(metric)?.type === 'histogram' ? undefined : families.get(metric)
    const whole = families.get(metric.replace(/_(?:bucket|sum|count)$/, ''))
    const family = exact ?? (whole?.name !== metric && whole?.type === 'histogram' ? whole : undefined)
    if (family === undefined) {
      faults.push(`no metric ${metric}`)
      continue
    }
    if (family.samples.length === 0) faults.push(`${metric} has no series`)
    if (metric.endsWith('_bucket')) names.add('le')
    for (const name of labelsOf(family)) names.add(name)
    for (const [name, { op, value }] of labels) {
      if (OF_PROMETHEUS.includes(name)) continue
      const values = family.samples.map((one) => one.labels.get(name))
      if (values.every((one) => one === undefined)) faults.push(`${metric} has no label ${name}`)
      // A value that never comes would be an alert that never fires.
      else if ((op === '=' || op === '!=') && !values.includes(value)) faults.push(`${metric}: no ${name}="${value}"`)
    }
  }
  for (const name of groupedBy) if (!names.has(name)) faults.push(`nothing has a label ${name}`)
  for (const [, name = ''] of legend.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)/g)) {
    if (!names.has(name)) faults.push(`the legend has no ${name}`)
  }
  return faults.map((fault) => `${fault}: ${expr}`)
}

interface Panel {
  id: number
  type: string
  title: string
  description?: string
  datasource?: { uid: string }
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { expr: string; legendFormat: string; datasource: { uid: string }; refId: string }[]
}

describe('the Grafana dashboard', () => {
  const dashboard = JSON.parse(grafanaDashboard()) as {
    uid?: string
    schemaVersion: number
    panels: Panel[]
    templating: { list: { name: string; type: string; query: string | { query: string } }[] }
  }

  test('packaging/grafana/vspc.json is it', async () => {
    await expect(grafanaDashboard()).toMatchFileSnapshot('../../packaging/grafana/vspc.json')
  })

  test('every metric and label in it is there', () => {
    const targets = dashboard.panels.flatMap(({ targets: all = [] }) => all)
    expect(targets.length).toBeGreaterThan(50)
    expect(targets.flatMap(({ expr, legendFormat }) => faultsOf(expr, legendFormat))).toEqual([])
    for (const { query } of dashboard.templating.list) {
      const [, metric = ''] = /^label_values\((\w+)/.exec(typeof query === 'string' ? query : query.query) ?? []
      if (metric !== '') expect(families.has(metric)).toBe(true)
    }
  })

  test('it is bound to no data source, has no id of its own, and no panel lies on another', () => {
    expect(dashboard.uid).toBeUndefined()
    const uids = [...grafanaDashboard().matchAll(/"uid": "([^"]*)"/g)].map(([, uid]) => uid)
    // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own way of writing a variable
    expect(new Set(uids)).toEqual(new Set(['${datasource}']))
    expect(dashboard.templating.list.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'datasource datasource',
      'job query',
      'instance query',
    ])
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
    const cells = new Set<string>()
    for (const { title, type, description, gridPos, targets = [] } of dashboard.panels) {
      if (type !== 'row') expect([title, description]).toEqual([title, expect.stringMatching(/\S{3}/)])
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, x, y, cells.has(`${x} ${y}`)]).toEqual([title, x, y, false])
          cells.add(`${x} ${y}`)
        }
      }
      // Of each instance that is chosen, and of no other.
      for (const { expr } of targets) {
        for (const { metric, labels } of parsePromql(expr).selectors) {
          expect([metric, labels.get('instance')?.value, labels.get('job')?.value]).toEqual([
            metric,
            '$instance',
            '$job',
          ])
        }
      }
    }
  })
})

interface Rule {
  alert: string
  expr: string
  for?: string
  labels: { severity: string }
  annotations: { summary: string; action: string }
}

describe('the alerts', () => {
  const file = readFileSync(join(root, 'packaging/prometheus/vspc-rules.yaml'), 'utf8')
  const { groups } = parse(file) as { groups: { name: string; rules: Rule[] }[] }
  const rules = groups.flatMap((group) => group.rules)

  test('every metric and label in them is there', () => {
    expect(rules.length).toBeGreaterThan(15)
    expect(rules.flatMap(({ expr, annotations }) => faultsOf(expr, annotations.summary))).toEqual([])
  })

  test('each has a name of its own, a severity, and says what to do', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
    for (const { alert, labels, annotations, for: pending = '0s' } of rules) {
      expect(alert).toMatch(/^Vspc[A-Z][A-Za-z]+$/)
      expect(['critical', 'warning', 'info']).toContain(labels.severity)
      expect(annotations.action).toMatch(/\S{3}/)
      expect(pending).toMatch(/^\d+[smh]$/)
    }
  })
})

describe('the parser of these tests', () => {
  test.each([
    ['a 1\n', 'not below its TYPE'],
    ['# HELP a b\n# TYPE a counter\na 1', 'line feed'],
    ['# HELP a b\n# TYPE a counter\na 1\na 2\n', 'twice'],
    ['# HELP a b\n# TYPE a counter\na -1\n', 'counter of -1'],
    ['# HELP a b\n# TYPE a gauge\na{x="1} 1\n', 'bad label'],
    ['# HELP a b\n# TYPE a gauge\na{x="\\x"} 1\n', 'bad label'],
    ['# HELP a b\n# TYPE a gauge\na{x="1"} one\n', 'bad value'],
    ['# TYPE a gauge\na 1\n', 'no HELP'],
    ['# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n', 'do not rise'],
    ['# HELP a b\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n', 'whole histogram'],
  ])('finds what is wrong: %#', (wrong, why) => {
    expect(() => parseExposition(wrong)).toThrow(why)
  })

  test.each(['rate(a[5m]', 'nosuch(a)', 'sum by a (b)', 'a{b=c}', 'rate', 'sum(', '', 'a)'])(
    'no PromQL: %s',
    (wrong) => {
      expect(() => parsePromql(wrong)).toThrow()
    },
  )

  test('a metric, label or value that does not exist is found', () => {
    expect(faultsOf('vspc_nothing')).toHaveLength(1)
    expect(faultsOf('vspc_ports{state="asleep"}')).toHaveLength(1)
    expect(faultsOf('vspc_ports{status="online"}')).toHaveLength(1)
    expect(faultsOf('sum by (status) (vspc_ports)')).toHaveLength(1)
    expect(faultsOf('vspc_vmotion_duration_seconds')).toHaveLength(1)
    expect(faultsOf('vspc_ports', '{{status}}')).toHaveLength(1)
  })
})
