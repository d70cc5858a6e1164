/** What docs/guestinfo.md shows of the server is what works. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { readLayer } from '../../src/app/config-layer.ts'
import type { GuestinfoFollower } from '../../src/app/guestinfo.ts'
import { portGuestinfo } from '../../src/app/guestinfo-view.ts'
import { addGuestinfoMetrics } from '../../src/app/metrics-guestinfo.ts'
import { GUESTINFO_EVENTS } from '../../src/app/schemas-guestinfo.ts'
import { parseConfigText } from '../../src/config/file.ts'
import type { ConfigProblem } from '../../src/config/problems.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/guestinfo.md'), 'utf8')

test('the example is a configuration that follows', () => {
  const [, text = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? []
  const problems: ConfigProblem[] = []
  expect(readLayer(parseConfigText('vspc.yaml', text, '/'), problems)).toMatchObject({ guestinfo: { vms: '*' } })
  // The files are not there.
  expect(problems.map(({ message }) => message.replace(/.*ENOENT.*/, 'ENOENT'))).toEqual(['ENOENT', 'ENOENT'])
})

test('it names every metric and event', () => {
  const registry = new Registry()
  addGuestinfoMetrics(registry, {} as GuestinfoFollower)
  const named = [...page.matchAll(/`(vspc_[a-z_]+)/g)].map(([, name]) => name)
  expect(named.sort()).toEqual(
    registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .sort(),
  )
  const [, row = ''] = /^\| events \| ([^:]*):/m.exec(page) ?? []
  const types = (GUESTINFO_EVENTS as { properties: { type: { const: string } } }[]).map(
    (one) => one.properties.type.const,
  )
  expect([...row.matchAll(/`([a-z-]+)`/g)].map(([, type]) => type)).toEqual(types)
})

test('what it shows with a port is what the API makes of it', () => {
  const [, text = ''] = /```json\n(\{\n {2}"guestinfo"[\s\S]*?)```/.exec(page) ?? []
  const shown = JSON.parse(text).guestinfo
  const at = (time: string) => Date.parse(time)
  const seconds = { startedSeconds: 1_795_385_613, stoppedSeconds: 1_795_385_700 }
  const process = { kind: 'process', name: 'main', exitCode: 3, error: null, ...seconds } as const
  const exit = { ...process, state: 'exited', seenAt: at(shown.seenAt) } as const
  expect(shown).toEqual(
    portGuestinfo({
      uuid: '',
      biosUuid: null,
      name: '',
      poweredOn: true,
      present: true,
      seenAt: at(shown.seenAt),
      addresses: [
        {
          kind: 'address',
          name: 'eth0',
          address: '10.0.0.7',
          prefix: 24,
          gateway: '10.0.0.1',
          dns: ['10.0.0.2'],
          seenAt: at(shown.addresses[0].seenAt),
        },
      ],
      errors: [],
      processes: [exit],
      exits: [{ ...exit, corrected: false }],
    }),
  )
})
