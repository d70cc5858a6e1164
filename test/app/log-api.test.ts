import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import type { Settings } from '../../src/app/index.ts'
import { Port } from '../../src/vspc/port.ts'
import { type AppUnderTest, RawVm, sharedApp, startApp, TestConsole } from './support.ts'

async function serverThatHas(text: string | Uint8Array, limits = {}, settings: Settings = {}) {
  const app = await startApp(settings, limits)
  const vm = await RawVm.connect(app)
  await vm.print(app, text)
  return { app, vm }
}

async function log(app: AppUnderTest, query: string, path = '/api/v1/ports/vm1/log') {
  const answer = await fetch(`${app.url}${path}${query}`)
  return {
    status: answer.status,
    type: answer.headers.get('content-type'),
    start: Number(answer.headers.get('x-vspc-start')),
    next: Number(answer.headers.get('x-vspc-next')),
    body: Buffer.from(await answer.arrayBuffer()).toString('latin1'),
  }
}

describe('GET /api/v1/ports/{id}/log', () => {
  const app = sharedApp(async (shared) => (await RawVm.connect(shared)).print(shared, '0123456789'))

  test.each([
    ['', '0123456789', 0, 10],
    ['?start=0', '0123456789', 0, 10],
    ['?start=4', '456789', 4, 10],
    ['?start=-3', '789', 7, 10],
    ['?start=-300', '0123456789', 0, 10],
    ['?start=10', '', 10, 10],
    ['?start=11', '', 10, 10],
    ['?start=9007199254740991', '', 10, 10],
    ['?start=2&end=5', '234', 2, 5],
    ['?start=5&end=2', '', 5, 5],
    ['?end=999', '0123456789', 0, 10],
    ['?limit=4', '0123', 0, 4],
    ['?start=-4&limit=2', '67', 6, 8],
    ['?limit=0', '', 0, 0],
  ])('%s', async (query, body, start, next) => {
    expect(await log(app(), query)).toEqual({ status: 200, type: 'application/octet-stream', start, next, body })
  })

  test('is verbatim: all 256 bytes', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const { app } = await serverThatHas(all)
    expect((await log(app, '')).body).toBe(all.toString('latin1'))
  })

  test('what is older than history begins where history begins, and says so', async () => {
    const { app, vm } = await serverThatHas(Buffer.alloc(4_096, 'a'), { historyBytes: 4_096 }, { history: 'memory' })
    for (const letter of 'bcd') await vm.print(app, Buffer.alloc(4_096, letter))
    const { start } = app.server.table.resolve('vm1').history
    expect(start).toBeGreaterThan(0)
    const { body, ...headers } = await log(app, '?start=0')
    expect(headers).toMatchObject({ start, next: 16_384 })
    expect(body.length).toBe(16_384 - start)
    expect(body.endsWith('d'.repeat(4_096))).toBe(true)
    // The body of what is asked for by length and of what is all gone.
    expect(await log(app, '?start=0&end=10')).toMatchObject({ start, next: start, body: '' })
  })

  test('goes on where the last one ended: nothing twice, nothing missing', async () => {
    const { app, vm } = await serverThatHas('first')
    const first = await log(app, '')
    await vm.print(app, ' second')
    expect(await log(app, `?start=${first.next}`)).toMatchObject({ body: ' second', next: 12 })
  })

  test('names the counting of offsets as the console does', async () => {
    const { headers } = await fetch(`${app().url}/api/v1/ports/vm1/log`)
    const console = await TestConsole.open(app())
    expect(console.messages[0]).toMatchObject({ epoch: headers.get('x-vspc-epoch') })
  })

  test('of a port that has printed nothing is empty', async () => {
    const app = await startApp()
    await RawVm.connect(app)
    expect(await log(app, '?start=-10')).toMatchObject({ status: 200, start: 0, next: 0, body: '' })
  })

  test('HEAD gives the same headers without the body', async () => {
    const answer = await fetch(`${app().url}/api/v1/ports/vm1/log?start=-3`, { method: 'HEAD' })
    const headers = ['content-type', 'x-vspc-start', 'x-vspc-next'].map((name) => answer.headers.get(name))
    expect(headers).toEqual(['application/octet-stream', '7', '10'])
    expect(await answer.text()).toBe('')
  })

  test.each([
    ['?start=abc', '/start', 'whole number'],
    ['?start=1.5', '/start', 'whole number'],
    ['?start=', '/start', 'whole number'],
    ['?start=1&start=2', '/start', 'whole number'],
    ['?end=-1', '/end', '>= 0'],
    ['?limit=-1', '/limit', '>= 0'],
    ['?start=9007199254740993', '/start', '<= 9007199254740991'],
    ['?strat=1', '/strat', 'did you mean start?'],
  ])('%s is a problem that points to the parameter', async (query, pointer, detail) => {
    const answer = await fetch(`${app().url}/api/v1/ports/vm1/log${query}`)
    expect([answer.status, answer.headers.get('content-type')]).toEqual([400, 'application/problem+json'])
    expect(await answer.json()).toMatchObject({
      type: 'urn:vspc:error:VSPC_REQUEST_INVALID',
      status: 400,
      code: 'VSPC_REQUEST_INVALID',
      detail: expect.stringContaining(detail),
      instance: '/api/v1/ports/vm1/log',
      errors: [{ in: 'query', pointer, detail: expect.stringContaining(detail) }],
    })
  })
})

describe('a log that is read slowly', () => {
  /** The answer, of which nothing has been read yet. */
  async function begin(app: AppUnderTest): Promise<IncomingMessage> {
    const request = get(`${app.url}/api/v1/ports/vm1/log`, { agent: false })
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    return answer
  }

  test('is whole, even if the VM prints more than history holds meanwhile', async () => {
    // The most that is taken out of history at once: more than the kernel takes at once.
    const size = 4 << 20
    const { app, vm } = await serverThatHas(Buffer.alloc(size, 'a'), { historyBytes: size }, { history: 'memory' })
    const answer = await begin(app)
    await vm.print(app, Buffer.alloc(2 * size, 'b'))
    const chunks: Buffer[] = []
    for await (const chunk of answer) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).equals(Buffer.alloc(size, 'a'))).toBe(true)
  })

  test('is cut off where history no longer holds it, rather than go on with a hole', async () => {
    // Too long to be taken out of history at once, and longer than the kernel buffers.
    const size = 24 << 20
    const { app, vm } = await serverThatHas(Buffer.alloc(size, 'a'), { historyBytes: size }, { history: 'memory' })
    const answer = await begin(app)
    answer.pause()
    await vm.print(app, Buffer.alloc(size, 'b'))
    let length = 0
    const read = async () => {
      for await (const chunk of answer) length += (chunk as Buffer).length
    }
    await expect(read()).rejects.toThrow(/aborted/)
    expect(length).toBeLessThan(size)
  })
})

describe('GET /console_log/{uuid}', () => {
  const UUID = '564d1f5a-1e5c-0a3b-9c2d-0123456789ab'

  function addPort(app: AppUnderTest, label: string | null, text: string): void {
    const port = new Port(app.server, UUID, label)
    port.vcUuid = UUID
    port.history.append(Buffer.from(text))
    app.server.table.add(port)
  }

  test.each([UUID, UUID.toUpperCase(), UUID.replaceAll('-', ''), '56 4d 1f 5a 1e 5c 0a 3b-9c 2d 01 23 45 67 89 ab'])(
    'is the raw log of %s',
    async (spelling) => {
      const app = await startApp({ history: 'memory' })
      addPort(app, null, 'boot ok')
      const path = `/console_log/${encodeURIComponent(spelling)}`
      expect(await log(app, '', path)).toEqual({
        status: 200,
        type: 'application/octet-stream',
        start: 0,
        next: 7,
        body: 'boot ok',
      })
    },
  )

  test('is that of the port without label, else of the lowest label', async () => {
    const app = await startApp({ history: 'memory' })
    addPort(app, 'com2', 'two')
    addPort(app, 'com1', 'one')
    expect((await log(app, '', `/console_log/${UUID}`)).body).toBe('one')
    addPort(app, null, 'plain')
    expect((await log(app, '', `/console_log/${UUID}`)).body).toBe('plain')
  })

  test.each([
    ['an unknown VM', UUID, 'no VM with UUID'],
    ['something that is no UUID', 'vm1', 'is no UUID'],
  ])('%s is a 404 problem', async (_what, uuid, detail) => {
    const app = await startApp()
    const answer = await fetch(`${app.url}/console_log/${uuid}`)
    expect([answer.status, await answer.json()]).toMatchObject([
      404,
      { code: 'VSPC_PORT_NOT_FOUND', detail: expect.stringContaining(detail) },
    ])
  })
})
