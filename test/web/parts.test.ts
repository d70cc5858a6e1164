import { expect, test } from 'vitest'
import { asOneLine, preparePaste } from '../../src/app/web/paste.ts'
import { listPlace, NO_QUERY, parsePlace, portPath, portPlace } from '../../src/app/web/places.ts'
import { listPorts } from '../../src/app/web/port-filter.ts'
import { ageInWords, bytesInWords } from '../../src/app/web/words.ts'
import type { PortInfo } from '../../src/vspc/index.ts'

const port = (name: string, more: Partial<PortInfo> = {}): PortInfo => ({
  id: `name:${name}`,
  vm: { name, uuid: null },
  label: null,
  state: 'online',
  host: '10.0.0.1',
  transport: 'tcp',
  direction: 'server',
  serviceURI: null,
  consoles: 0,
  bytesFromVm: 0,
  bytesToVm: 0,
  connectedAt: null,
  vmotions: 0,
  historyStart: 0,
  protocol: 'vmware',
  line: null,
  lastOutputAt: null,
  ...more,
})

test.each(['web 1', 'a/b', 'ü%20#?&', '../..', "'"])('the place of port %j is read as it was written', (id) => {
  expect(parsePlace(portPlace(id))).toEqual({ view: 'port', id, past: null })
  expect(parsePlace(portPlace(id, 12))).toEqual({ view: 'port', id, past: { around: 12 } })
})

test('paths to the API are relative, and a port cannot lead out of its own', () => {
  expect(portPath('../../x?y#z', '/log')).toBe('api/v1/ports/..%2F..%2Fx%3Fy%23z/log')
})

test.each([
  ['', { view: 'ports', query: NO_QUERY }],
  ['#/', { view: 'ports', query: NO_QUERY }],
  ['#/nothing/like/this', { view: 'ports', query: NO_QUERY }],
  ['#/moves', { view: 'moves' }],
  ['#/ports/100%', { view: 'port', id: '100%', past: null }],
  ['#/ports/a?at=-1', { view: 'port', id: 'a', past: null }],
  ['#/ports/a?time=2026-01-02T03:04Z', { view: 'port', id: 'a', past: { time: '2026-01-02T03:04Z' } }],
])('the address %j is understood', (hash, place) => {
  expect(parsePlace(hash)).toEqual(place)
})

test('filters survive the address', () => {
  const query = { text: 'web & db', state: 'online', host: 'vsock:5@10.0.0.7', sort: 'host' }
  expect(parsePlace(listPlace(query))).toEqual({ view: 'ports', query })
  expect(listPlace(NO_QUERY)).toBe('#/')
})

test('every word of a search has to be found, numbers sort as numbers, counts are those of what is searched', () => {
  const all = [
    port('web-10'),
    port('web-9', { state: 'offline' }),
    port('WEB-2', { host: '10.0.0.2', label: 'com2' }),
    port('db', { state: 'migrating' }),
  ]
  const names = (query: Partial<typeof NO_QUERY>) =>
    listPorts(all, { ...NO_QUERY, ...query }).ports.map(({ vm }) => vm.name)
  expect(names({})).toEqual(['db', 'WEB-2', 'web-9', 'web-10'])
  expect(names({ text: 'web 10.0.0.1' })).toEqual(['web-9', 'web-10'])
  expect(names({ text: 'COM2' })).toEqual(['WEB-2'])
  expect(names({ state: 'offline' })).toEqual(['web-9'])
  expect(names({ host: '10.0.0.2' })).toEqual(['WEB-2'])
  expect(names({ sort: 'state' })).toEqual(['WEB-2', 'web-10', 'db', 'web-9'])
  const { states, hosts } = listPorts(all, { ...NO_QUERY, text: 'web', state: 'offline' })
  expect(Object.fromEntries(states)).toEqual({ online: 2, offline: 1 })
  expect(hosts).toEqual([
    ['10.0.0.1', 3],
    ['10.0.0.2', 1],
  ])
})

test('of 20,000 ports the right ones are found, in order', () => {
  const all = Array.from({ length: 20_000 }, (_, at) => port(`vm-${(at * 7_919) % 20_000}`))
  expect(listPorts(all, { ...NO_QUERY, text: 'vm-1999' }).ports.map(({ vm }) => vm.name)).toEqual([
    'vm-1999',
    ...Array.from({ length: 10 }, (_, at) => `vm-1999${at}`),
  ])
  expect(
    listPorts(all, NO_QUERY)
      .ports.slice(9, 11)
      .map(({ vm }) => vm.name),
  ).toEqual(['vm-9', 'vm-10'])
})

test.each([
  ['ls -l', { text: 'ls -l', lines: 1, removed: 0, ask: false }],
  ['ls\n', { text: 'ls\n', lines: 1, removed: 0, ask: true }],
  ['a\r\nb\rc', { text: 'a\nb\nc', lines: 3, removed: 0, ask: true }],
  ['\tx', { text: '\tx', lines: 1, removed: 0, ask: false }],
  ['a\x1b[201~b\x07\x9b', { text: 'a[201~b', lines: 1, removed: 3, ask: true }],
  ['x'.repeat(2_001), { text: 'x'.repeat(2_001), lines: 1, removed: 0, ask: true }],
])('a paste of %j is looked at as it should', (raw, paste) => {
  expect(preparePaste(raw)).toEqual(paste)
})

test('as one line nothing of a paste runs', () => {
  expect(asOneLine('  for i in 1 2; do\n    echo $i\n  done\n')).toBe('for i in 1 2; do echo $i done')
})

test('figures in few words', () => {
  expect([0, 999, 1_000, 9_950, 12_345, 999_600, 5e9].map(bytesInWords)).toEqual([
    ...['0 B', '999 B', '1.0 kB', '10 kB', '12 kB', '1.0 MB', '5.0 GB'],
  ])
  const now = Date.parse('2026-01-02T00:00:00Z')
  const ages = [5, 59, 3_599, 86_400, 172_800].map((s) => ageInWords(new Date(now - s * 1_000).toISOString(), now))
  expect(ages).toEqual(['now', '50 s', '59 min', '24 h', '2 d'])
})
