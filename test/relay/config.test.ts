import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadRelayConfig, RELAY_LIMITS, type RelayPlan } from '../../src/relay/index.ts'
import { formatEndpoint } from '../../src/transport/index.ts'
import { temporaryFolder } from './support.ts'

function load(text: string, flags = {}): RelayPlan {
  const directory = temporaryFolder()
  writeFileSync(join(directory, 'relay.yaml'), text)
  return loadRelayConfig({ env: {}, flags, file: 'relay.yaml', directory })
}

/** The problems, one a line. */
function problems(run: () => unknown): string[] {
  try {
    run()
  } catch (error) {
    return (error as Error).message.split('\n')
  }
  throw new Error('it has no problems')
}

test('everything a file may say', () => {
  const plan = load(`
routes:
  - name: hosts
    listen: tcp://0.0.0.0:13370
    dial: next-hop:appliance
    whenAway: refuse
    maxStreams: 500
  - listen: [unix:///run/a.sock, unix:///run/b.sock]
  - dial: ['tcp://esx1:2001?name=vm1&label=com2', 'tls://appliance:13370?ca=ca.pem&proxy=v2']
nextHops:
  appliance: vsock://3:13370?resume=on
control: unix:///run/relay.sock
trustedProxies: [10.0.0.0/8]
stateFile: relay.json
logLevel: debug
limits: { relayHoldMs: 5000 }
`)
  expect(
    plan.routes.map(({ name, whenAway, maxStreams, vmName, label }) => [name, whenAway, maxStreams, vmName, label]),
  ).toEqual([
    ['hosts', 'refuse', 500, null, null],
    ['route2', 'hold', null, null, null],
    ['route3', 'hold', null, 'vm1', 'com2'],
  ])
  expect(plan.routes.map(({ sides }) => sides.map(({ role }) => role))).toEqual([
    ['listen', 'dial'],
    ['listen', 'listen'],
    ['dial', 'dial'],
  ])
  expect([...plan.nextHops].map(([name, endpoint]) => [name, formatEndpoint(endpoint)])).toEqual([
    ['appliance', 'vsock://3:13370?resume=on'],
  ])
  expect(plan).toMatchObject({ trustedProxies: ['10.0.0.0/8'], logLevel: 'debug', limits: { relayHoldMs: 5000 } })
  expect(plan.limits.relayHeld).toBe(RELAY_LIMITS.relayHeld.default)
  // Beside the file, not where somebody happened to start it.
  expect(plan.stateFile).toBe(join(plan.directory, 'relay.json'))
  const tls = plan.routes[2]?.sides[1]
  expect(tls?.role === 'dial' && tls.hop.kind === 'endpoint' ? tls.hop.endpoint : null).toMatchObject({
    tls: { ca: join(plan.directory, 'ca.pem') },
  })
})

test('flags come before the file, which keeps its routes', () => {
  const plan = load(
    'routes: [{listen: unix:///a, dial: next-hop:x}]\nnextHops: {x: tcp://a:1, y: tcp://b:1}\nlogLevel: warn',
    {
      nextHops: { x: 'tcp://c:1' },
      logLevel: 'error',
    },
  )
  expect([...plan.nextHops].map(([name, endpoint]) => [name, formatEndpoint(endpoint)])).toEqual([
    ['x', 'tcp://c:1'],
    ['y', 'tcp://b:1'],
  ])
  expect(plan.logLevel).toBe('error')
  expect(plan.routes).toHaveLength(1)
})

test.each([
  ['logLevel: info', ['relay.yaml:1:1: there is nothing to do: a route needs two sides; give two of listen and dial']],
  [
    'routes:\n  - listen: tcp://0.0.0.0:1\n',
    [
      'relay.yaml:2:5: routes[0] has 1 side(s), listen 1 and dial 0; a route joins exactly two: one of each, listen: [A, B], or dial: [A, B]',
    ],
  ],
  [
    'routes:\n  - listen: [unix:///a, unix:///b]\n    dial: unix:///c\n',
    [
      'relay.yaml:2:5: routes[0] has 3 side(s), listen 2 and dial 1; a route joins exactly two: one of each, listen: [A, B], or dial: [A, B]',
    ],
  ],
  [
    'routes:\n  - lisen: unix:///a\n    dial: unix:///b\n',
    [
      'relay.yaml:2:5: "routes[0].lisen" is not a setting; accepted are name, listen, dial, whenAway, maxStreams; did you mean listen?',
    ],
  ],
  [
    'routes:\n  - listen: unix:///a\n    dial: next-hop:aplliance\nnextHops:\n  appliance: vsock://3:1\n',
    ['relay.yaml:2:5: there is no next hop "aplliance"; accepted: appliance; did you mean appliance?'],
  ],
  [
    'routes:\n  - {listen: unix:///a, dial: unix:///b}\n  - {listen: unix:///a?name=x, dial: unix:///c}\n',
    ['relay.yaml:3:5: endpoint "unix:///a?name=x": route route1 listens there already; choose another place'],
  ],
  [
    'routes:\n  - {name: a, listen: unix:///a, dial: unix:///b}\n  - {name: a, listen: unix:///c, dial: unix:///d}\n',
    ['relay.yaml:3:5: a route named "a" stands above already; choose another name'],
  ],
  [
    'routes:\n  - {listen: unix:///a, dial: unix:///b, whenAway: holt}\n',
    ['relay.yaml:2:52: routes[0].whenAway is the text "holt"; accepted is one of hold, refuse; did you mean hold?'],
  ],
  [
    'routes:\n  - {listen: next-hop:a, dial: unix:///b}\nnextHops: {a: unix:///c}\n',
    ['relay.yaml:2:14: "next-hop:a" stands for where to dial; use it with dial'],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\ncontrol: tcp://0.0.0.0:99\n',
    [
      'relay.yaml:2:10: control "tcp://0.0.0.0:99": other machines can reach it, and it has no authentication; accepted are unix:///PATH, tls://HOST:PORT?cert=FILE&key=FILE&ca=FILE, and tcp:// on loopback',
    ],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\ncontrol: tls://0.0.0.0:99?cert=a&key=b\n',
    [
      'relay.yaml:2:10: control "tls://0.0.0.0:99?cert=a&key=b": anybody could use it: give the CA (or pin) of the certificates that may as ca=FILE; accepted are unix:///PATH, tls://HOST:PORT?cert=FILE&key=FILE&ca=FILE, and tcp:// on loopback',
    ],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\ncontrol: vsock://any:1\n',
    [
      'relay.yaml:2:10: control "vsock://any:1": vsock:// has no authentication; accepted are unix:///PATH, tls://HOST:PORT?cert=FILE&key=FILE&ca=FILE, and tcp:// on loopback',
    ],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\nlimits:\n  relayHeld: lots\n  relayHoldMs: -1\n',
    [
      'relay.yaml:3:14: limits.relayHeld is the text "lots"; accepted is a whole number from 0 to 1000000',
      'relay.yaml:4:16: limits.relayHoldMs is -1; accepted is a whole number from 0 to 3600000',
    ],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\nlimits: {redialMinMs: 9000, redialMaxMs: 8000}\n',
    ['relay.yaml:2:23: limits.redialMinMs is 9000, more than limits.redialMaxMs (8000); accepted is at most that'],
  ],
  [
    'routes: [{listen: unix:///a, dial: unix:///b}]\nnextHops: {"a b": unix:///x, c: 7}\n',
    [
      'relay.yaml:2:19: "a b" is not usable as a name; accepted are 1 to 64 of A-Z a-z 0-9 . _ -',
      'relay.yaml:2:33: nextHops.c is 7; accepted is an endpoint URI, such as tls://appliance:13370',
    ],
  ],
  [
    'routes: 7',
    [
      'relay.yaml:1:9: routes is 7; accepted is a list of routes, such as [{listen: tcp://0.0.0.0:13370, dial: vsock://3:13370}]',
    ],
  ],
])('%j is refused with the place and what to do', (text, expected) => {
  expect(problems(() => load(text))).toEqual(expected)
})

test('endpoints: their own messages, with the place; an unusable trusted source too', () => {
  const text =
    'routes:\n  - listen: tcp://0.0.0.0:99999\n    dial: unix:///b\ntrustedProxies: [10.0.0.0/99]\nstateFile: ""\n'
  const found = problems(() => load(text))
  expect(found).toHaveLength(3)
  expect(found[0]).toMatch(/^relay\.yaml:2:13: endpoint "tcp:\/\/0\.0\.0\.0:99999": port 99999 is out of range/)
  expect(found[1]).toMatch(/^relay\.yaml:4:18: .*10\.0\.0\.0\/99/)
  expect(found[2]).toBe(
    'relay.yaml:5:12: stateFile is not the path of a file; accepted is one, such as /var/lib/vspc/relay.json',
  )
})

test('on the command line the flag is named', () => {
  const flags = (values: object) => problems(() => loadRelayConfig({ env: {}, flags: values }))
  expect(flags({})).toEqual([
    '--listen, --dial: there is nothing to do: a route needs two sides; give two of listen and dial',
  ])
  expect(flags({ routes: [{ listen: ['unix:///a'], dial: ['tcp:/b'] }] })[0]).toMatch(/^--dial: endpoint "tcp:\/b"/)
  expect(flags({ routes: [{ listen: ['unix:///a'], dial: ['unix:///b'], whenAway: 'x' }] })[0]).toMatch(
    /^--when-away: /,
  )
  expect(flags({ routes: [{ listen: ['unix:///a'], dial: ['unix:///b'] }], nextHops: { a: 'b' } })[0]).toMatch(
    /^--next-hop: /,
  )
  expect(flags({ routes: [{ listen: ['unix:///a'], dial: ['unix:///b'] }], control: 'b' })[0]).toMatch(/^--control: /)
  expect(problems(() => loadRelayConfig({ env: { VSPC_LOG_LEVEL: 'loud' }, flags: {} }))[0]).toMatch(
    /^VSPC_LOG_LEVEL: /,
  )
})

test('--label and --name that no PROXY header can carry are told at the start', () => {
  const flags = { routes: [{ listen: 'tcp://127.0.0.1:0', dial: 'tcp://127.0.0.1:2?proxy=v2' }] }
  const load = (more: { vmName?: string; label?: string }) => () => loadRelayConfig({ env: {}, flags, ...more })
  expect(load({ label: 'a b' })).toThrow(/--label: label "a b" is not usable; accepted are 1 to 64/)
  expect(load({ vmName: 'x'.repeat(129) })).toThrow(/--name: name "x+.* is not usable; accepted are 1 to 128 bytes/)
  expect(load({ label: 'com1', vmName: 'vm-{peer}' })).not.toThrow()
})
