import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  failureOf,
  fillProxyTemplate,
  matches,
  parseProxyTemplate,
  parseVmTerm,
  planRetarget,
  selects,
  stepInfo,
  type VmPorts,
  wantedFacts,
} from '../../src/vmotion/index.ts'
import { failure, place, port, vm } from './inventory-double.ts'

const TO = 'telnet://esx2.example:13370'
const target = { proxyURI: TO, choice: {} }
const OLD = 'telnet://esx1.example:13370'

describe('which VMs', () => {
  const web = vm(7, [], { biosUuid: '42000000-0000-4000-8000-000000000007', customValues: new Map([['role', 'c-vm']]) })

  test.each<[string, boolean]>([
    ['web*', true],
    ['WEB7', true],
    ['web?', true],
    ['web', false],
    ['folder:/DC/vm', true],
    ['folder:DC/vm/prod/', true],
    ['folder:/DC/vm/pro', false],
    ['pool:/DC/host/c/Resources', true],
    ['pool:/DC/host/d', false],
    ['attribute:role', true],
    ['attribute:role=C-*', true],
    ['attribute:role=x', false],
    ['attribute:other', false],
    ['/DC/vm/prod/web7', true],
    ['/DC/vm/web7', false],
    ['vm:web7', true],
    ['vm:web*', false],
    ['50000000000040008000000000000007', true],
    ['42 00 00 00 00 00 40 00-80 00 00 00 00 00 00 07', true],
    ['name:/x', false],
  ])('%s', (text, selected) => {
    expect(selects([parseVmTerm(text)], web)).toBe(selected)
  })

  test('all that a term says has to fit, of several terms one is enough, and none selects nothing', () => {
    const both = { folder: '/DC/vm/prod', name: 'db*' }
    expect(selects([both], web)).toBe(false)
    expect(selects([both, { name: 'web7' }], web)).toBe(true)
    expect(selects([], web)).toBe(false)
    expect(selects([{}], web)).toBe(false)
  })

  test('a listing is asked only for what is needed', () => {
    const none = { folders: false, resourcePools: false, customValues: false }
    expect(wantedFacts([{ name: 'web*' }, { vm: 'web1' }])).toEqual(none)
    expect(wantedFacts([parseVmTerm('/DC/vm/web1'), parseVmTerm('pool:/x')])).toEqual({
      ...none,
      folders: true,
      resourcePools: true,
    })
    expect(wantedFacts([parseVmTerm('attribute:a')]).customValues).toBe(true)
  })

  test.each([
    ['', 'there is nothing to look for'],
    ['folder: ', 'there is nothing to look for'],
    ['fodler:/x', 'did you mean folder:?'],
    ['attribute:=x', 'the attribute has no name'],
  ])('%j is refused', (text, message) => {
    expect(() => parseVmTerm(text)).toThrow(message)
  })

  test('patterns agree with a slow and obvious matcher', () => {
    const slow = (pattern: string, text: string): boolean => {
      if (pattern === '') return text === ''
      if (pattern[0] === '*') return slow(pattern.slice(1), text) || (text !== '' && slow(pattern, text.slice(1)))
      return text !== '' && (pattern[0] === '?' || pattern[0] === text[0]) && slow(pattern.slice(1), text.slice(1))
    }
    const word = (alphabet: string) => fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 8 })
    fc.assert(fc.property(word('ab*?'), word('ab'), (pattern, text) => matches(pattern, text) === slow(pattern, text)))
    expect(matches(`${'*a'.repeat(40)}b`, 'a'.repeat(5_000))).toBe(false)
  })
})

describe('which address', () => {
  const six = { ...place(3), name: '2001:db8::3', managementIps: ['2001:db8::33', '192.0.2.3'] }
  const relays = new Map([
    ['ESX1.example', 'relay1:7000'],
    ['192.0.2.2', '198.51.100.2'],
  ])

  test.each([
    ['telnet://{host}:13370', place(1), 'telnet://esx1.example:13370'],
    ['telnet://{ip}:13370', place(1), 'telnet://192.0.2.1:13370'],
    ['telnet://{host}:13370', six, 'telnet://[2001:db8::3]:13370'],
    [
      'telnets://{ip}:1#thumbprint=AA:BB&peerName={host}',
      place(1),
      'telnets://192.0.2.1:1#thumbprint=AA:BB&peerName=esx1.example',
    ],
    ['telnet://{ip}:13370', six, 'telnet://[2001:db8::33]:13370'],
    ['telnet://{relay}:13370', place(2), 'telnet://198.51.100.2:13370'],
    ['telnet://10.0.0.1:13370', place(1), 'telnet://10.0.0.1:13370'],
  ])('%s', (text, where, uri) => {
    expect(fillProxyTemplate(parseProxyTemplate(text), where, relays)).toEqual({ uri })
  })

  test.each([
    ['telnet://{relay}:13370', place(9), 'the table of relays has no line for host esx9.example'],
    ['telnet://{ip}:1', { ...place(1), managementIps: [] }, 'the management address of host esx1.example is not known'],
    ['telnet://{host}:1', { ...place(1), name: 'a@evil/#' }, '"a@evil/#" of host a@evil/# is no address'],
    ['telnet://{relay}:1', place(1), 'host and port are not HOST:PORT'],
  ])('%s says what is missing', (text, where, problem) => {
    const filled = fillProxyTemplate(parseProxyTemplate(text), where, relays)
    expect('problem' in filled && filled.problem).toContain(problem)
  })

  test.each([
    ['tcp://{host}:1', 'the scheme "tcp" is neither telnet nor telnets'],
    ['telnet://{hots}:1', 'did you mean {host}?'],
    ['telnet://{host}', 'host and port are not HOST:PORT'],
    ['telnet://{host}:0', 'not between 1 and 65535'],
    ['telnet://u@{host}:1', 'has no user'],
    ['telnet://{host}:1/x', 'behind the port'],
    ['telnets://{host}:1#pin=x', 'the option "pin" is none of'],
    ['{host}', 'it is no URI'],
  ])('%s is refused', (text, message) => {
    expect(() => parseProxyTemplate(text)).toThrow(message)
  })
})

describe('the plan', () => {
  const shown = (vms: readonly VmPorts[], choice = {}) =>
    planRetarget(vms, { proxyURI: TO, choice }).map((step) => {
      const { vm: name, port: label, do: what, why } = stepInfo(step)
      return `${name} ${label}: ${what}, ${why}`
    })

  test('names every port with a reason, in a stable order', () => {
    const other = { kind: 'pipe', type: 'VirtualSerialPortPipeBackingInfo' } as const
    const vms = [
      vm(3, [port(9001, OLD), port(9000, TO)]),
      vm(1, [port(9000, TO, { connected: false }), port(9001, null)]),
      vm(2, [port(9000, OLD, { backing: other })]),
      vm(4, [port(9000, TO, { status: 'unrecoverableError' })]),
      vm(5, [port(9000, TO, { connected: false, startConnected: false })]),
      vm(6, [port(9000, TO, { connected: false })], { poweredOn: false }),
    ]
    const plan = [
      'web1 Serial port 1: change, is not connected',
      'web2 null: cannot, it has no serial port that fits',
      'web3 Serial port 1: keep, is right already',
      'web3 Serial port 2: change, points elsewhere',
      'web4 Serial port 1: change, the host has given up to connect it',
      'web5 Serial port 1: keep, is right already',
      'web6 Serial port 1: keep, is right already',
    ]
    expect(shown(vms)).toEqual(plan)
    expect(shown([...vms].reverse())).toEqual(plan)
  })

  test('ports by number or label: also those without proxy; what is no network port is said', () => {
    const other = { kind: 'other', type: 'VirtualSerialPortFileBackingInfo' } as const
    const one = vm(1, [port(9000, null, { backing: other }), port(9001, null), port(9002, OLD)])
    expect(shown([one], { ports: [1, 'Serial port 2', 7] })).toEqual([
      'web1 Serial port 1: cannot, Serial port 1 is no network port (VirtualSerialPortFileBackingInfo)',
      'web1 Serial port 2: change, points elsewhere',
      'web1 null: cannot, it has no serial port 7',
    ])
  })

  test('ports by what they say; one that is right already is found though its proxy fits no more', () => {
    const one = vm(1, [port(9000, 'telnet://else:1'), port(9001, OLD), port(9002, TO)])
    expect(shown([one], { proxyURI: 'telnet://esx1*' })).toEqual([
      'web1 Serial port 2: change, points elsewhere',
      'web1 Serial port 3: keep, is right already',
    ])
    expect(shown([one], { serviceURI: 'other*' })).toEqual(['web1 null: cannot, it has no serial port that fits'])
  })

  test('a VM that is off is neither disconnected nor connected', () => {
    const [step] = planRetarget([vm(1, [port(9000, OLD)], { poweredOn: false })], target)
    expect(step).toMatchObject({ do: 'change', disconnect: false, connect: false, to: { proxyURI: TO } })
  })

  test('a port that was disconnected by us is connected again, though it starts disconnected', () => {
    const one = vm(1, [port(9000, TO, { connected: false, startConnected: false })])
    const [step] = planRetarget([one], target, new Set(['50000000-0000-4000-8000-000000000001/9000']))
    expect(step).toMatchObject({ do: 'change', why: 'disconnected', disconnect: false, connect: true })
  })

  test('what is applied leaves nothing to change, and nothing else is touched', () => {
    const anyPort = (key: number) =>
      fc.record({
        key: fc.constant(key),
        label: fc.constant(`Serial port ${key - 8999}`),
        backing: fc.oneof(
          fc.record({
            kind: fc.constant('uri' as const),
            serviceURI: fc.constantFrom('a', 'b'),
            direction: fc.constantFrom('server', 'client'),
            proxyURI: fc.constantFrom(null, OLD, TO),
          }),
          fc.record({ kind: fc.constant('other' as const), type: fc.constant('x') }),
        ),
        connected: fc.boolean(),
        startConnected: fc.boolean(),
        status: fc.constantFrom(null, 'ok', 'unrecoverableError'),
      })
    const anyVm = fc
      .tuple(fc.tuple(anyPort(9000), anyPort(9001)), fc.boolean())
      .map(([ports, poweredOn]) => vm(1, ports, { poweredOn }))
    fc.assert(
      fc.property(anyVm, (before) => {
        const changes = planRetarget([before], target).filter((step) => step.do === 'change')
        const ports = before.ports.map((now) => {
          const change = changes.find((step) => step.port.key === now.key)
          if (change === undefined) return now
          expect(change.disconnect).toBe(before.poweredOn && now.connected)
          expect(change.to).toEqual({ ...now.backing, proxyURI: TO })
          return { ...now, backing: change.to, connected: change.connect || now.connected, status: 'ok' }
        })
        expect(planRetarget([{ ...before, ports }], target).filter((step) => step.do === 'change')).toEqual([])
      }),
    )
  })
})

test.each([
  ['VSPC_VSPHERE_UNREACHABLE', 'transient'],
  ['VSPC_VSPHERE_SESSION', 'transient'],
  ['VSPC_VSPHERE_ANSWER', 'transient'],
  ['VSPC_TRANSPORT_DIAL', 'transient'],
  ['VSPC_VSPHERE_BUSY', 'busy'],
  ['VSPC_VSPHERE_TASK_TIMEOUT', 'busy'],
  ['VSPC_VSPHERE_PERMISSION', 'permission'],
  ['VSPC_VSPHERE_LOGIN', 'transient'],
  ['VSPC_VSPHERE_NOT_FOUND', 'gone'],
  ['VSPC_VSPHERE_FAULT', 'refused'],
  ['VSPC_TLS_PIN_MISMATCH', 'transient'],
] as const)('%s is %s', (code, kind) => {
  expect(failureOf(failure(code)).kind).toBe(kind)
  expect(failureOf(new TypeError('bug')).kind).toBe('refused')
})
