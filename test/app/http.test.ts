import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { RawVm, sharedApp, startApp } from './support.ts'

/** `fetch` lets nobody set Host and Origin. */
async function ask(url: string, options: { method?: string; headers?: Record<string, string> } = {}) {
  const sent = request(url, { ...options, agent: false })
  sent.end()
  const [answer] = await once(sent, 'response')
  let text = ''
  for await (const chunk of answer) text += chunk
  return {
    status: answer.statusCode as number,
    headers: answer.headers as Record<string, string>,
    body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {},
  }
}

describe('problems', () => {
  const shared = sharedApp(async () => {})

  test('a path without a route', async () => {
    const app = shared()
    const { status, headers, body } = await ask(`${app.url}/api/v2/ports?token=abc`)
    expect([status, headers['content-type']]).toEqual([404, 'application/problem+json'])
    expect(body).toEqual({
      type: 'urn:vspc:error:VSPC_REQUEST_INVALID',
      title: 'Not Found',
      status: 404,
      detail: expect.stringContaining('/openapi.json'),
      code: 'VSPC_REQUEST_INVALID',
      // Without the query: it may hold what belongs into no log.
      instance: '/api/v2/ports',
    })
  })

  test.each([
    ['POST', '/api/v1/ports', 'GET, HEAD'],
    ['PUT', '/api/v1/ports/vm1', 'DELETE, GET, HEAD'],
    ['DELETE', '/api/v1/ports/vm1/log', 'GET, HEAD'],
    ['HEAD', '/api/v1/events', 'GET'],
    ['OPTIONS', '/livez', 'GET, HEAD'],
  ])('%s %s is not possible, and the answer says what is', async (method, path, allow) => {
    const app = shared()
    const answer = await ask(`${app.url}${path}`, { method })
    expect([answer.status, answer.headers['allow']]).toEqual([405, allow])
  })

  test.each([
    ['a path that is not percent-encoded properly', '/api/v1/ports/%zz'],
    ['a body nobody asked for', '/api/v1/ports/vm1'],
  ])('%s', async (_what, path) => {
    const app = shared()
    const sent = request(`${app.url}${path}`, {
      method: 'DELETE',
      headers: { 'content-type': 'application/json', 'content-length': '5' },
      agent: false,
    })
    sent.end('{"a":')
    const [answer] = await once(sent, 'response')
    answer.resume()
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([400, 'application/problem+json'])
  })

  test.each([
    ['that is no HTTP', 'EHLO there\r\n\r\n', 400],
    ['with endless headers', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ])('something %s', async (_what, text, status) => {
    const app = shared()
    const socket = connect(app.http?.tcpPort ?? 0, '127.0.0.1')
    socket.end(text)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    await once(socket, 'close')
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [^]*application/problem\\+json`))
    expect(JSON.parse(body)).toMatchObject({ status, code: 'VSPC_REQUEST_INVALID' })
  })

  test('what comes after an answer is not answered into it', async () => {
    const app = shared()
    const socket = connect(app.http?.tcpPort ?? 0, '127.0.0.1')
    socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
      if (answer.endsWith('{"status":"ok"}')) socket.write('EHLO there\r\n\r\n')
    })
    socket.on('error', () => {})
    await once(socket, 'close')
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  test('a fault of ours is a 500 that gives nothing away; the log has it all', async () => {
    const app = await startApp()
    vi.spyOn(app.server.table, 'resolve').mockImplementation(() => {
      throw new TypeError('secret internals')
    })
    const { status, body } = await ask(`${app.url}/api/v1/ports/vm1`)
    expect([status, body['code']]).toEqual([500, 'VSPC_INTERNAL'])
    expect(JSON.stringify(body)).not.toContain('secret internals')
    expect(app.logged.find('request failed')).toMatchObject({
      level: 'error',
      path: '/api/v1/ports/vm1',
      error: expect.stringContaining('TypeError: secret internals\n    at '),
    })
  })
})

describe('who may ask', () => {
  const shared = sharedApp(async (app) => void (await RawVm.connect(app)))

  test.each([
    'localhost',
    'localhost:1',
    '127.0.0.1:13371',
    '127.9.9.9',
    '[::1]',
    '[::1]:80',
    'LOCALHOST',
    'vspc.localhost',
  ])('Host %s means this machine', async (host) => {
    const app = shared()
    expect((await ask(`${app.url}/livez`, { headers: { host } })).status).toBe(200)
  })

  test.each([
    'evil.example',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '10.0.0.1',
    '127.0.0.1@evil.example',
    'evil.example#127.0.0.1',
    '[::2]',
    '0.0.0.0',
  ])('Host %s does not: 421', async (host) => {
    const app = shared()
    const { status, headers, body } = await ask(`${app.url}/api/v1/ports`, { headers: { host } })
    expect([status, headers['content-type'], body['code']]).toEqual([
      421,
      'application/problem+json',
      'VSPC_NOT_ALLOWED',
    ])
    expect(body['detail']).toContain('answers only as localhost')
  })

  test('a page of another site can change nothing', async () => {
    const app = shared()
    const { status, body } = await ask(`${app.url}/api/v1/ports/vm1`, {
      method: 'DELETE',
      headers: { origin: 'https://evil.example' },
    })
    expect([status, body['code']]).toEqual([403, 'VSPC_NOT_ALLOWED'])
  })

  test('and is not told that it may read', async () => {
    const app = shared()
    const { headers } = await ask(`${app.url}/api/v1/ports`, { headers: { origin: 'https://evil.example' } })
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([])
    expect(headers['cross-origin-resource-policy']).toBe('same-origin')
  })

  test('every answer, errors included, carries the security headers', async () => {
    const app = shared()
    for (const path of ['/livez', '/nope', '/api/v1/ports/%zz', '/api/v1/ports', '/openapi.json']) {
      expect((await ask(app.url + path)).headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'cache-control': 'no-store',
      })
    }
  })
})

describe('health and metrics', () => {
  test('livez and readyz', async () => {
    const app = await startApp()
    expect((await ask(`${app.url}/livez`)).body).toEqual({ status: 'ok' })
    expect((await ask(`${app.url}/readyz`)).status).toBe(200)
  })

  test('while the server stops it is alive, and not ready', async () => {
    const app = await startApp()
    const vm = await RawVm.connect(app)
    // Its half stays open, so the server has to wait for it.
    vm.socket.allowHalfOpen = true
    const stopped = app.stop()
    expect((await ask(`${app.url}/livez`)).status).toBe(200)
    expect(await ask(`${app.url}/readyz`)).toMatchObject({ status: 503, body: { code: 'VSPC_SERVER_STOPPING' } })
    const console = await ask(`${app.url}/api/v1/ports/vm1/console`)
    expect(console).toMatchObject({ status: 503, body: { code: 'VSPC_SERVER_STOPPING' } })
    vm.socket.destroy()
    await stopped
  })

  test('metrics are in the Prometheus format, with every counter of the concentrator', async () => {
    const app = await startApp()
    const vm = await RawVm.connect(app)
    await vm.print(app, 'hello')
    app.server.observeGoahead(0.2)
    app.server.observeGoahead(4_000)
    const answer = await fetch(`${app.url}/metrics`)
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const text = await answer.text()
    const samples = new Map(
      [...text.matchAll(/^([a-z_]+(?:\{[^}]*\})?) (\S+)$/gm)].map(([, name = '', value = '']) => [name, Number(value)]),
    )
    expect(Object.fromEntries(samples)).toMatchObject({
      vspc_vm_received_bytes_total: 5,
      vspc_vm_connections_accepted_total: 1,
      vspc_vm_connections: 1,
      vspc_vmotions_open: 0,
      'vspc_ports{state="online"}': 1,
      'vspc_ports{state="migrating"}': 0,
      'vspc_consoles{mode="write"}': 0,
      'vspc_vmotions_total{result="implicit"}': 0,
      'vspc_vmotion_goahead_seconds_bucket{le="0.0001"}': 0,
      'vspc_vmotion_goahead_seconds_bucket{le="0.00025"}': 1,
      'vspc_vmotion_goahead_seconds_bucket{le="5"}': 2,
      vspc_vmotion_goahead_seconds_count: 2,
    })
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(10_000_000)
    expect(text).toMatch(/^vspc_build_info\{version="\d+\.\d+\.\d+",node="v\d+[^"]*"\} 1$/m)
    // Counters end in _total, everything has a help text, nothing names a VM.
    for (const [, name = ''] of text.matchAll(/^# TYPE (\S+) counter$/gm)) expect(name).toMatch(/_total$/)
    const typed = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    expect([...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name)).toEqual(typed)
    expect(text).not.toContain('vm1')
  })

  test('a second look does not count twice', async () => {
    const app = await startApp()
    await RawVm.connect(app)
    await fetch(`${app.url}/metrics`)
    expect(await (await fetch(`${app.url}/metrics`)).text()).toMatch(/^vspc_vm_connections_accepted_total 1$/m)
  })
})
