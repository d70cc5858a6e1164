import { expect, test } from 'vitest'
import { Port } from '../../src/vspc/port.ts'
import { eventually, RawVm, startApp, TestConsole } from './support.ts'

const UUID = '564d1f5a-1e5c-0a3b-9c2d-0123456789ab'

/** A port in the table without a connection: what a VM leaves behind. */
function addPort(app: Awaited<ReturnType<typeof startApp>>, key: string, label: string | null, name: string): Port {
  const port = new Port(app.server, key, label)
  port.learn({ vcUuid: null, biosUuid: null, locationUuid: null, name })
  app.server.table.add(port)
  return port
}

test('the list is a JSON array of ports in the shape of the contract', async () => {
  const app = await startApp({ listen: ['tcp://127.0.0.1:0?protocol=raw&name=vm1&label=com2'] })
  const vm = await RawVm.connect(app)
  await vm.print(app, 'hello', 'vm1/com2')
  await TestConsole.open(app, '', 'vm1/com2')
  const answer = await fetch(`${app.url}/api/v1/ports`)
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
  expect(await answer.json()).toEqual([
    {
      id: 'name:vm1:com2',
      vm: { name: 'vm1', uuid: null },
      label: 'com2',
      state: 'online',
      host: '127.0.0.1',
      transport: 'tcp',
      direction: null,
      serviceURI: null,
      consoles: 1,
      bytesFromVm: 5,
      bytesToVm: 0,
      connectedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      vmotions: 0,
      historyStart: 0,
      protocol: 'raw',
      line: null,
      lastOutputAt: expect.stringMatching(/^\d{4}-/),
    },
  ])
})

test('an empty list is an empty array', async () => {
  const app = await startApp()
  expect(await (await fetch(`${app.url}/api/v1/ports`)).json()).toEqual([])
})

test('a long list is sent in pieces, and whole', async () => {
  const app = await startApp()
  for (let i = 0; i < 3_000; i++) addPort(app, `name:vm${i}`, null, `vm${i}`)
  const answer = await fetch(`${app.url}/api/v1/ports`)
  const text = await answer.text()
  const list = JSON.parse(text) as { id: string }[]
  expect(list.map(({ id }) => id)).toEqual(Array.from({ length: 3_000 }, (_, i) => `name:vm${i}`))
  expect(answer.headers.get('transfer-encoding')).toBe('chunked')
})

test('a reader that leaves in the middle of a long list does no harm', async () => {
  const app = await startApp()
  for (let i = 0; i < 3_000; i++) addPort(app, `name:vm${i}`, null, `vm${i}`)
  const leave = new AbortController()
  const answer = await fetch(`${app.url}/api/v1/ports`, { signal: leave.signal })
  await answer.body?.getReader().read()
  leave.abort()
  expect((await fetch(`${app.url}/livez`)).status).toBe(200)
  expect(app.logged.find('failed')).toBeUndefined()
})

test.each([
  ['its id', UUID],
  ['the UUID in capitals', UUID.toUpperCase()],
  ['the UUID as VMware writes it', '56 4d 1f 5a 1e 5c 0a 3b-9c 2d 01 23 45 67 89 ab'],
  ['the UUID without dashes', UUID.replaceAll('-', '')],
  ['the name', 'web server/1'],
  ['a unique prefix of the name', 'web'],
])('one port is found by %s', async (_what, id) => {
  const app = await startApp()
  addPort(app, UUID, null, 'web server/1')
  addPort(app, 'name:db', null, 'db')
  const answer = await fetch(`${app.url}/api/v1/ports/${encodeURIComponent(id)}`)
  expect(await answer.json()).toMatchObject({ id: UUID, vm: { name: 'web server/1' }, state: 'offline' })
})

test('a labelled port has its label in the id, and is found by it', async () => {
  const app = await startApp()
  addPort(app, UUID, 'com1', 'vm')
  addPort(app, UUID, 'com2', 'vm')
  for (const id of [`${UUID}:com2`, `vm/com2`]) {
    const answer = await fetch(`${app.url}/api/v1/ports/${encodeURIComponent(id)}`)
    expect(await answer.json()).toMatchObject({ id: `${UUID}:com2`, label: 'com2' })
  }
  // A colon may stand in a path as it is.
  expect((await fetch(`${app.url}/api/v1/ports/${UUID}:com1`)).status).toBe(200)
})

test('an unknown port is a 404 problem, an ambiguous one a 409 that names the candidates', async () => {
  const app = await startApp()
  addPort(app, 'name:web1', null, 'web1')
  addPort(app, 'name:web2', null, 'web2')
  const unknown = await fetch(`${app.url}/api/v1/ports/mail`)
  expect(unknown.headers.get('content-type')).toBe('application/problem+json')
  expect([unknown.status, await unknown.json()]).toEqual([
    404,
    {
      type: 'urn:vspc:error:VSPC_PORT_NOT_FOUND',
      title: 'No such port',
      status: 404,
      detail: expect.stringContaining('no port matches "mail"'),
      code: 'VSPC_PORT_NOT_FOUND',
      instance: '/api/v1/ports/mail',
    },
  ])
  const ambiguous = await fetch(`${app.url}/api/v1/ports/web`)
  expect([ambiguous.status, await ambiguous.json()]).toMatchObject([
    409,
    { code: 'VSPC_PORT_AMBIGUOUS', detail: expect.stringContaining('web1 (name:web1), web2 (name:web2)') },
  ])
})

test('the consoles of a port are listed', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  await TestConsole.open(app, 'mode=exclusive')
  expect(await (await fetch(`${app.url}/api/v1/ports/vm1/consoles`)).json()).toEqual([
    {
      id: expect.any(Number),
      who: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      via: 'websocket',
      mode: 'exclusive',
      attachedAt: expect.stringMatching(/Z$/),
      lastInputAt: null,
      waiting: null,
    },
  ])
})

test('an offline port can be forgotten, an online one not', async () => {
  const app = await startApp()
  const vm = await RawVm.connect(app)
  const forget = () => fetch(`${app.url}/api/v1/ports/vm1`, { method: 'DELETE' })
  const refused = await forget()
  expect([refused.status, await refused.json()]).toMatchObject([409, { code: 'VSPC_PORT_ONLINE' }])
  vm.socket.destroy()
  await eventually(() => app.server.table.resolve('vm1').state === 'offline')
  const done = await forget()
  expect([done.status, await done.text()]).toEqual([204, ''])
  expect((await forget()).status).toBe(404)
})
