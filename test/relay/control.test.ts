import { request } from 'node:http'
import { expect, test } from 'vitest'
import { connectTo, FarEnd, listenUri, readExactly, startRelay, temporaryFolder, until } from './support.ts'

interface Reply {
  status: number
  type: string
  body: string
  headers: Record<string, unknown>
}

function ask(
  path: string,
  what: { method?: string; url?: string; body?: string; headers?: Record<string, string> } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', url = '/', headers = {} } = what
    const call = request({ socketPath: path, method, path: url, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          type: String(response.headers['content-type']),
          body: Buffer.concat(chunks).toString(),
          headers: response.headers,
        }),
      )
    })
    call.on('error', reject)
    call.end(what.body)
  })
}

async function world() {
  const far = await FarEnd.listen()
  const path = `${temporaryFolder()}/control.sock`
  const running = await startRelay({
    routes: [{ name: 'vms', listen: 'tcp://127.0.0.1:0', dial: 'next-hop:appliance' }],
    nextHops: { appliance: far.uri },
    control: `unix://${path}`,
  })
  return { ...running, far, path }
}

test('health, routes, next hops and metrics', async () => {
  const { relay, far, path } = await world()
  const client = await connectTo(listenUri(relay))
  client.write('12345')
  const server = await far.socket(0)
  await readExactly(server, 5)
  server.write('123')
  await readExactly(client, 3)

  for (const url of ['/livez', '/readyz']) expect(await ask(path, { url })).toMatchObject({ status: 200, body: 'ok\n' })
  const routes = await ask(path, { url: '/api/v1/routes' })
  expect(routes).toMatchObject({ status: 200, type: 'application/json' })
  expect(JSON.parse(routes.body)).toEqual([
    {
      name: 'vms',
      from: 'tcp://127.0.0.1:0',
      to: 'next-hop:appliance',
      whenAway: 'hold',
      maxStreams: null,
      streams: 1,
      held: 0,
      away: false,
      accepted: 1,
      joined: 1,
      refused: 0,
      expired: 0,
      dialFailures: 0,
      bytesForward: 5,
      bytesBack: 3,
      lastError: null,
    },
  ])
  const { status, type, body } = await ask(path, { url: '/metrics?x=1' })
  expect([status, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8'])
  expect(body).toContain('\nvspc_relay_streams{route="vms"} 1\n')
  expect(body).toContain('\nvspc_relay_bytes_total{route="vms",direction="forward"} 5\n')
  expect(body).toContain('\nvspc_relay_bytes_total{route="vms",direction="back"} 3\n')
  expect(body).toContain('\nvspc_relay_max_streams 20000\n')
  // Every line is a comment or a sample, and every sample has its TYPE.
  for (const line of body.trimEnd().split('\n')) {
    expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]+"(,[a-z]+="[^"]+")*\})? [0-9.e+-]+)$/)
    const name = /^([a-z_]+)[{ ]/.exec(line)?.[1]
    if (name !== undefined) expect(body).toContain(`# TYPE ${name} `)
  }
})

test('a next hop is shown and changed', async () => {
  const { relay, far, path } = await world()
  const next = await FarEnd.listen()
  const hop = { name: 'appliance', endpoint: far.uri, configured: far.uri }
  expect(JSON.parse((await ask(path, { url: '/api/v1/next-hops' })).body)).toEqual([hop])
  expect(JSON.parse((await ask(path, { url: '/api/v1/next-hops/appliance' })).body)).toEqual(hop)
  const body = JSON.stringify({ endpoint: next.uri })
  const put = await ask(path, { method: 'PUT', url: '/api/v1/next-hops/appliance', body })
  expect(put.status).toBe(200)
  expect(JSON.parse(put.body)).toEqual({ ...hop, endpoint: next.uri })
  await connectTo(listenUri(relay))
  await next.socket(0)
  expect(far.sockets).toHaveLength(0)
})

const HOP = '/api/v1/next-hops/appliance'
test.each([
  [{ url: '/nowhere' }, 404, 'VSPC_REQUEST_INVALID', /^there is no \/nowhere; accepted are \/livez/],
  [{ method: 'POST', url: '/api/v1/routes' }, 405, 'VSPC_REQUEST_INVALID', /^POST is not possible here/],
  [{ method: 'DELETE', url: HOP }, 405, 'VSPC_REQUEST_INVALID', /accepted: GET, HEAD, PUT$/],
  [{ url: '/api/v1/next-hops/aplliance' }, 404, 'VSPC_RELAY_NEXT_HOP', /did you mean appliance\?$/],
  [{ method: 'PUT', url: '/api/v1/next-hops/x', body: '{}' }, 404, 'VSPC_RELAY_NEXT_HOP', /^there is no next hop "x"/],
  [{ url: '/api/v1/next-hops/%zz' }, 400, 'VSPC_REQUEST_INVALID', /not well-formed/],
  [{ method: 'PUT', url: HOP, body: '' }, 400, 'VSPC_REQUEST_INVALID', /^the body is not \{"endpoint": "URI"\}/],
  [{ method: 'PUT', url: HOP, body: '{"endpoint": 7}' }, 400, 'VSPC_REQUEST_INVALID', /^the body is not/],
  [{ method: 'PUT', url: HOP, body: '[' }, 400, 'VSPC_REQUEST_INVALID', /^the body is not/],
  [{ method: 'PUT', url: HOP, body: '{"endpoint":"ftp://a:1"}' }, 400, 'VSPC_ENDPOINT_SCHEME', /"ftp" is not known/],
  [{ method: 'PUT', url: HOP, body: '{"endpoint":"vsock://any:1"}' }, 400, 'VSPC_ENDPOINT_ROLE', /cannot be dialled/],
  [{ method: 'PUT', url: HOP, body: 'x'.repeat(20_000) }, 413, 'VSPC_REQUEST_INVALID', /longer than 16384 bytes/],
  [{ url: '/livez', headers: { origin: 'http://evil' } }, 403, 'VSPC_NOT_ALLOWED', /web pages/],
])('%j is answered with %d %s', async (what, status, code, detail) => {
  const { relay, far, path } = await world()
  const reply = await ask(path, what)
  expect(reply.status).toBe(status)
  expect(reply.type).toBe('application/problem+json')
  const body = JSON.parse(reply.body)
  expect(body).toMatchObject({ type: `urn:vspc:error:${code}`, status, code, instance: what.url })
  expect(body.detail).toMatch(detail)
  expect(relay.nextHops()[0]?.endpoint).toMatchObject({ tcpPort: Number(far.uri.split(':').at(-1)) })
})

test('who connects and says nothing, or half a request, or rubbish, is let go; others are served meanwhile', async () => {
  const { clock, path } = await world()
  const silent = await connectTo(`unix://${path}`)
  const half = await connectTo(`unix://${path}`)
  half.write('GET /livez HTTP/1.1\r\nHost: x\r\n')
  const rubbish = await connectTo(`unix://${path}`)
  rubbish.write('\x16\x03\x01 no request at all\r\n\r\n')
  rubbish.resume()
  await until('rubbish to be cut', () => rubbish.readableEnded || rubbish.destroyed)
  expect((await ask(path, { url: '/livez' })).status).toBe(200)
  for (const socket of [silent, half]) socket.resume()
  clock.advance(10_000)
  await until('the silent ones to be cut', () => [silent, half].every((one) => one.readableEnded || one.destroyed))
})

test('no more than 64 control connections at once', async () => {
  const { path } = await world()
  const all = await Promise.all(Array.from({ length: 65 }, () => connectTo(`unix://${path}`)))
  for (const socket of all) socket.resume()
  await until('one to be cut', () => all.some((one) => one.readableEnded || one.destroyed))
  expect(all.filter((one) => one.readableEnded || one.destroyed)).toHaveLength(1)
})

test('the socket is for this user only', async () => {
  const { statSync } = await import('node:fs')
  const { path } = await world()
  expect(statSync(path).mode & 0o777).toBe(0o600)
})
