/** What vSockets do and nothing else does; for a guest with the module vsock_loopback, and with root in it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { ManualClock } from '../../src/base/index.ts'
import type { VsockEndpoint } from '../../src/transport/endpoint.ts'
import { dial, listen, NO_LAYERS } from '../../src/transport/index.ts'
import { SCENARIOS, type Scenario, type SuiteTransport, TIMEOUT_MS } from './suite.ts'
import { Accepted, LISTEN } from './support.ts'

function at(cid: VsockEndpoint['cid'], vsockPort = 0): VsockEndpoint {
  return { scheme: 'vsock', cid, vsockPort, vm: null, layers: NO_LAYERS }
}

function portOf({ endpoint }: { endpoint: { scheme: string } }): number {
  assert.equal(endpoint.scheme, 'vsock')
  return (endpoint as VsockEndpoint).vsockPort
}

export const vsock: SuiteTransport = {
  name: 'vsock',
  listen: (handlers) => listen(at('any'), handlers, LISTEN),
  dial: (listening, options) => dial(at('local', portOf(listening)), options),
  peers: { dialled: /^vsock:1:\d+$/, accepted: /^vsock:1:\d+$/ },
  nobody: {
    code: 'VSPC_TRANSPORT_DIAL',
    message: /^cannot reach vsock:\/\/local:\d+: nothing listens there.*ECONNRESET/,
  },
  inUse: /a program listens on this port already/,
  readsAhead: true,
  crowd: 200,
}

function alone(name: string, run: () => Promise<void>): Scenario {
  return { name, run }
}

async function rejected(promise: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(promise, (error: NodeJS.ErrnoException) => {
    assert.match(error.message, message)
    assert.equal(error.code, code)
    return true
  })
}

const ONLY_VSOCK: readonly Scenario[] = [
  alone('CIDs by name and by number, on both sides', async () => {
    for (const [own, other] of [
      ['any', 'local'],
      ['any', 1],
      ['local', 'local'],
      // Nobody else is host, so it is this machine itself.
      ['any', 'host'],
      ['any', 2],
    ] as const) {
      const accepted = new Accepted()
      const listening = await listen(at(own), accepted, LISTEN)
      const { socket, peer } = await dial(at(other, portOf(listening)), { timeoutMs: 5000 })
      socket.end('x')
      const server = await accepted.nextStream()
      assert.equal((await once(server.socket, 'data')).toString(), 'x')
      assert.equal(peer.display, `vsock:${{ local: 1, host: 2, 1: 1, 2: 2 }[other]}:${portOf(listening)}`)
      assert.equal(server.peer.transport, 'vsock')
      server.socket.destroy()
      socket.destroy()
      await listening.close()
    }
  }),

  alone('ports have 32 bits', async () => {
    const accepted = new Accepted()
    const listening = await listen(at('any', 0xffff_fff0), accepted, LISTEN)
    assert.equal(portOf(listening), 0xffff_fff0)
    const { socket } = await dial(at('local', 0xffff_fff0), { timeoutMs: 5000 })
    socket.destroy()
    ;(await accepted.nextStream()).socket.destroy()
    await listening.close()
  }),

  alone('a thousand dials at once: all are connected, none is mixed with another', async () => {
    const accepted = new Accepted()
    const listening = await listen(at('any'), accepted, LISTEN)
    const dials = Array.from({ length: 1000 }, () => dial(at('local', portOf(listening)), { timeoutMs: TIMEOUT_MS }))
    const streams = await Promise.all(dials)
    while (accepted.streams.length < streams.length) await new Promise((resolve) => setTimeout(resolve, 1))
    assert.equal(new Set(accepted.streams.map(({ peer }) => peer.display)).size, 1000)
    for (const { socket } of [...streams, ...accepted.streams]) socket.destroy()
    await listening.close()
  }),

  alone('nobody serves a port: refused at once, with the fix', () =>
    rejected(
      dial(at(1, 4000), { timeoutMs: 5000 }),
      'VSPC_TRANSPORT_DIAL',
      /^cannot reach vsock:\/\/1:4000: nothing listens there, or too many .* \(connect ECONNRESET\)$/,
    ),
  ),

  alone('no way to another machine: unavailable, with the modules to load', async () => {
    const clock = new ManualClock()
    const options = { timeoutMs: 5000, clock }
    await rejected(
      dial(at(77, 4000), options),
      'VSPC_VSOCK_UNAVAILABLE',
      /^cannot reach vsock:\/\/77:4000: the kernel has no way to that CID; load .*modprobe: vhost_vsock .*ENODEV\)$/,
    )
    assert.equal(clock.pending, 0)
  }),

  alone('a CID of another machine cannot be listened on', () =>
    rejected(
      listen(at(77), new Accepted(), LISTEN),
      'VSPC_TRANSPORT_LISTEN',
      /^cannot listen on vsock:\/\/77:0: the CID is not one of this machine; listen on vsock:\/\/any:PORT \(.*EADDRNOTAVAIL\)$/,
    ),
  ),

  alone('low ports are for root', async () => {
    const listening = await listen(at('any', 1023), new Accepted(), LISTEN)
    await listening.close()
    process.seteuid?.(1000)
    try {
      await rejected(
        listen(at('any', 1023), new Accepted(), LISTEN),
        'VSPC_TRANSPORT_LISTEN',
        /^cannot listen on vsock:\/\/any:1023: permission denied; ports below 1024 .* \(bind EACCES\)$/,
      )
    } finally {
      process.seteuid?.(0)
    }
  }),
]

export const VSOCK_SCENARIOS: readonly Scenario[] = [...SCENARIOS, ...ONLY_VSOCK]
