import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { NO_LAYERS } from '../../src/transport/endpoint.ts'
import { type ByteStream, dial, type Listening, listen, parseEndpoint } from '../../src/transport/index.ts'
import { Accepted, asSocket, LISTEN, readAll } from './support.ts'

const open: (() => unknown)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function listenTcp(uri = 'tcp://127.0.0.1:0'): Promise<{ accepted: Accepted; listening: Listening }> {
  const accepted = new Accepted()
  const listening = await listen(parseEndpoint(uri, 'listen', 'plain'), accepted, LISTEN)
  open.push(() => listening.close())
  return { accepted, listening }
}

async function dialled(listening: Listening): Promise<ByteStream> {
  const stream = await dial(listening.endpoint, { timeoutMs: 5000 })
  open.push(() => stream.socket.destroy())
  return stream
}

function tcpPortOf(listening: Listening): number {
  return listening.endpoint.scheme === 'tcp' ? listening.endpoint.tcpPort : 0
}

describe('tcp', () => {
  test('port 0 becomes the real port, and both ends know their peer', async () => {
    const { accepted, listening } = await listenTcp()
    expect(tcpPortOf(listening)).toBeGreaterThan(0)
    const client = await dialled(listening)
    const server = await accepted.nextStream()
    expect(client.peer).toMatchObject({
      address: '127.0.0.1',
      display: `127.0.0.1:${tcpPortOf(listening)}`,
      transport: 'tcp',
    })
    expect(server.peer.display).toBe(`127.0.0.1:${asSocket(client).localPort}`)
  })

  test('an IPv4 host on a dual-stack listener is shown as IPv4', async () => {
    const { accepted, listening } = await listenTcp('tcp://[::]:0')
    const client = await dial(
      { scheme: 'tcp', host: '127.0.0.1', tcpPort: tcpPortOf(listening), tls: null, vm: null, layers: NO_LAYERS },
      { timeoutMs: 5000 },
    )
    open.push(() => client.socket.destroy())
    expect((await accepted.nextStream()).peer.address).toBe('127.0.0.1')
  })

  test('end of input does not end the other direction, on either side', async () => {
    const { accepted, listening } = await listenTcp()
    const client = await dialled(listening)
    const server = await accepted.nextStream()
    client.socket.end('request')
    expect(await readAll(server.socket)).toBe('request')
    server.socket.end('late answer')
    expect(await readAll(client.socket)).toBe('late answer')
  })

  test('closing the listener frees the address and leaves streams alone', async () => {
    const { accepted, listening } = await listenTcp()
    const client = await dialled(listening)
    const server = await accepted.nextStream()
    await listening.close()
    await listening.close()
    const again = await listen(listening.endpoint, new Accepted(), LISTEN)
    open.push(() => again.close())
    client.socket.end('still here')
    expect(await readAll(server.socket)).toBe('still here')
  })

  test('an address in use is named, with the fix', async () => {
    const { listening } = await listenTcp()
    await expect(listen(listening.endpoint, new Accepted(), LISTEN)).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringMatching(
        /cannot listen on tcp:\/\/127\.0\.0\.1:\d+: the address is in use; stop the program/,
      ),
      cause: expect.objectContaining({ code: 'EADDRINUSE' }),
    })
  })

  test('a foreign address is named, with the fix', async () => {
    await expect(
      listen(parseEndpoint('tcp://192.0.2.1:0', 'listen', 'plain'), new Accepted(), LISTEN),
    ).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_LISTEN',
      message: expect.stringContaining('not one of this machine'),
    })
  })

  test('nothing listens: refused, with the URI', async () => {
    const { listening } = await listenTcp()
    await listening.close()
    await expect(dial(listening.endpoint, { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL',
      message: expect.stringMatching(
        /cannot reach tcp:\/\/127\.0\.0\.1:\d+: connection refused; nothing listens there/,
      ),
    })
  })

  test('a dial that takes too long ends by its deadline', async () => {
    // A full backlog leaves further connects unanswered.
    const server = createServer()
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1 })
    await once(server, 'listening')
    open.push(() => server.close())
    const clock = new ManualClock()
    const address = server.address()
    const tcpPort = typeof address === 'object' && address !== null ? address.port : 0
    // The clock passes the deadline before the event loop can report the connect.
    const dialling = dial(
      { scheme: 'tcp', host: '127.0.0.1', tcpPort, tls: null, vm: null, layers: NO_LAYERS },
      { timeoutMs: 50, clock },
    )
    clock.advance(50)
    await expect(dialling).rejects.toMatchObject({
      code: 'VSPC_TRANSPORT_DIAL_TIMEOUT',
      message: expect.stringContaining('no connection within 50 ms'),
    })
    expect(clock.pending).toBe(0)
  })

  test('an abort ends a dial with its reason, before and during', async () => {
    const { listening } = await listenTcp()
    const reason = new Error('changed my mind')
    await expect(dial(listening.endpoint, { timeoutMs: 5000, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const abort = new AbortController()
    const dialling = dial(listening.endpoint, { timeoutMs: 5000, signal: abort.signal })
    abort.abort(reason)
    await expect(dialling).rejects.toBe(reason)
  })
})
