import { describe, expect, test } from 'vitest'
import type { PortAnswer } from '../../src/app/index.ts'
import { formatPorts, formatPortsJson, sortPorts } from '../../src/cli/ports.ts'
import { displayWidth, formatAge, formatBytes, formatTable } from '../../src/cli/table.ts'
import type { PortInfo } from '../../src/vspc/types.ts'
import { portInfo } from './fake-server.ts'

const NOW = Date.parse('2026-03-01T12:00:00.000Z')

function port(name: string, more: Partial<PortInfo> = {}): PortInfo {
  return { ...portInfo(name), id: '564d0000-1111-2222-3333-444455556666', ...more }
}

describe('the table of ports', () => {
  test('is aligned, with a dash for what is not known', () => {
    const list = [
      port('db', { label: 'com2', consoles: 12, bytesFromVm: 1_234_567, lastOutputAt: '2026-03-01T11:59:48.000Z' }),
      port('', { id: 'addr:10.0.0.9', host: null, state: 'offline' }),
    ]
    expect(formatPorts(list, NOW, Number.POSITIVE_INFINITY)).toEqual([
      'NAME  LABEL  STATE    HOST      CONSOLES     OUT  LAST OUTPUT  ID',
      'db    com2   online   10.0.0.1        12  1.2 MB  12s ago      564d0000-1111-2222-3333-444455556666',
      '-     -      offline  -                0     0 B  never        addr:10.0.0.9',
    ])
  })

  test('addresses have a column where any is known; those of one link only come last', () => {
    const guestinfo = (...addresses: string[]) => ({
      seenAt: null,
      poweredOn: true,
      present: true,
      addresses: addresses.map((address) => ({ name: 'n', address, prefix: null, gateway: null, dns: [], seenAt: '' })),
      errors: [],
      processes: [],
      exits: [],
    })
    const list: PortAnswer[] = [
      { ...port('a'), guestinfo: guestinfo('fe80::1', '169.254.0.1', '10.0.0.7') },
      { ...port('b'), guestinfo: guestinfo('fe80::1') },
      { ...port('c'), guestinfo: null },
      port('d'),
    ]
    expect(formatPorts(list, NOW, Number.POSITIVE_INFINITY).map((line) => line.slice(59, 72))).toEqual([
      'ADDRESS      ',
      '10.0.0.7 +2  ',
      'fe80::1      ',
      '-            ',
      '-            ',
    ])
    expect(formatPorts(list.slice(2), NOW, Number.POSITIVE_INFINITY)[0]).not.toContain('ADDRESS')
  })

  test('a VM cannot paint the terminal or forge a row with its name', () => {
    const [, row] = formatPorts([port('a\x1b[31m\r\n\u202eevil\x9b6n', { host: 'h\x07' })], NOW, 200)
    expect(row).toMatch(/^a\[31mevil6n {2}-/)
    expect(row).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202e]/)
  })

  test('fits the terminal by cutting the widest columns, and stays aligned', () => {
    const list = [port('a-very-long-virtual-machine-name-01'), port('b', { host: 'esx-with-a-long-name.example.com' })]
    for (const width of [140, 120, 100, 90, 80]) {
      const lines = formatPorts(list, NOW, width)
      for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width)
      const states = lines.slice(1).map((line) => line.indexOf('online'))
      expect(new Set(states).size).toBe(1)
    }
    expect(formatPorts(list, NOW, 80)[1]).toContain('…')
  })

  test('a terminal too narrow for anything still shows the names', () => {
    expect(formatPorts([port('web1')], NOW, 10)[1]).toMatch(/^web1/)
  })

  test('wide and combining characters do not break the columns', () => {
    const lines = formatTable(
      [{ title: 'A' }, { title: 'B' }],
      [
        ['日本', 'x'],
        ['e\u0301e', 'x'],
        ['abcd', 'x'],
      ],
      80,
    )
    const columns = lines.map((line) => displayWidth(line.slice(0, line.length - 1)))
    expect(columns).toEqual([6, 6, 6, 6])
  })

  test('a wide character is not cut in half', () => {
    const [, row] = formatTable([{ title: 'A', min: 4 }], [['日本語語']], 4)
    expect(row).toBe('日…')
  })

  test('is sorted by name, then id, and does not change the list it was given', () => {
    const list = [port('b', { id: '2' }), port('a', { id: '9' }), port('b', { id: '1' }), port('B', { id: '3' })]
    expect(sortPorts(list).map(({ vm, id }) => vm.name + id)).toEqual(['B3', 'a9', 'b1', 'b2'])
    expect(list[0]?.id).toBe('2')
  })

  test('JSON keeps every field, and what terminals obey is escaped', () => {
    const list = [port('a\u009b31m\u202e')]
    const text = formatPortsJson(list)
    expect(text).not.toMatch(/[\x7f-\x9f\u202e]/)
    expect(JSON.parse(text)).toEqual(list)
  })
})

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 kB'],
  [9_949, '9.9 kB'],
  [9_950, '10 kB'],
  [999_499, '999 kB'],
  [999_500, '1.0 MB'],
  [35_000_000, '35 MB'],
  [8e21, '8000000 PB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})

test.each([
  [0, 'now'],
  [1_000, '1s ago'],
  [59_999, '59s ago'],
  [60_000, '1m ago'],
  [7_200_000, '2h ago'],
  [86_400_000 * 3, '3d ago'],
])('%d ms is %s', (ms, text) => {
  expect(formatAge(ms)).toBe(text)
})
