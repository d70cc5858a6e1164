/** What docs/tracking.md shows is what works. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { expect, onTestFinished, test } from 'vitest'
import { ApplianceTracker } from '../../src/app/appliance.ts'
import { NOT_TRACKING } from '../../src/app/appliance-view.ts'
import { loadConfig } from '../../src/app/index.ts'
import { addApplianceMetrics } from '../../src/app/metrics-appliance.ts'
import { APPLIANCE_EVENTS } from '../../src/app/schemas-appliance.ts'
import { ManualClock, silentLogger } from '../../src/base/index.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/tracking.md'), 'utf8')
const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text)

/** With its files in a directory of the test. */
function load(text: string) {
  const directory = mkdtempSync(join(tmpdir(), 'vspc-docs-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(join(directory, 'etc'))
  for (const name of ['vsphere-password', 'vcenter-ca.pem']) writeFileSync(join(directory, 'etc', name), 'x')
  writeFileSync(join(directory, 'vspc.yaml'), text.replaceAll('/etc/vspc/', `${directory}/etc/`))
  return loadConfig({ file: 'vspc.yaml', env: {}, flags: {}, directory })
}

test.each(examples)('example %# is a configuration without mistakes that follows the appliance', (text) => {
  const { track, vsphere: access } = load(text)
  if (track === null || access === null) expect.unreachable()
  else {
    const clock = new ManualClock()
    const tracker = new ApplianceTracker({ track, access, clock, log: silentLogger, random: () => 0 })
    const registry = new Registry()
    addApplianceMetrics(registry, tracker)
    const named = [...page.matchAll(/`(vspc_[a-z_]+)/g)].map(([, name]) => name)
    expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual([...new Set(named)])
  }
})

test('it shows every field and names every event', () => {
  const [, shown = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? []
  expect(Object.keys(JSON.parse(shown))).toEqual(Object.keys(NOT_TRACKING))
  const [, row = ''] = /^\| events \| (.*) \|$/m.exec(page) ?? []
  const types = (APPLIANCE_EVENTS as { properties: { type: { const: string } } }[]).map(
    (one) => one.properties.type.const,
  )
  expect([...row.matchAll(/`([a-z-]+)`/g)].map(([, type]) => type)).toEqual(types)
})
