import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Capability } from '../../../src/access/index.ts'
import { TestCertificates } from '../../support/certificates.ts'
import { eventually, RawVm } from '../support.ts'
import { ask, ROLES, type Role, type Site, startSite, TOKENS } from './roles.ts'
import { startGuarded, TokenFile } from './support.ts'

interface Row {
  /** Below vm1 where there is a port. */
  readonly path: string
  readonly body?: unknown
  /** `open`: anybody. `self`: anybody, as long as what is shown counts. `some`: who is known; what is seen differs. */
  readonly needs: 'open' | 'self' | 'some' | Capability
  /** The right has to be on this port, on all, or on any. */
  readonly on?: 'port' | 'all' | 'any'
  /** Where it is allowed. */
  readonly status: number
}

/** Each route of the server. A new one without a row here fails, and so does a row without a route. */
const ROWS: Readonly<Record<string, Row>> = {
  'GET /': { path: '/', needs: 'open', status: 200 },
  'HEAD /': { path: '/', needs: 'open', status: 200 },
  'GET /web/:file': { path: '/web/none.js', needs: 'open', status: 404 },
  'HEAD /web/:file': { path: '/web/none.js', needs: 'open', status: 404 },
  'GET /livez': { path: '/livez', needs: 'open', status: 200 },
  'GET /readyz': { path: '/readyz', needs: 'open', status: 200 },
  'GET /openapi.json': { path: '/openapi.json', needs: 'open', status: 200 },
  'GET /api/v1/whoami': { path: '/api/v1/whoami', needs: 'self', status: 200 },
  'POST /api/v1/tickets': { path: '/api/v1/tickets', needs: 'self', status: 201 },
  'GET /plain': { path: '/plain', needs: 'some', status: 200 },
  'GET /api/v1/ports': { path: '/api/v1/ports', needs: 'some', status: 200 },
  'GET /api/v1/events': { path: '/api/v1/events', needs: 'some', status: 200 },
  'GET /api/v1/alerts': { path: '/api/v1/alerts', needs: 'some', status: 200 },
  'GET /api/v1/log/search': { path: '/api/v1/log/search?pattern=x', needs: 'some', status: 200 },
  'GET /metrics': { path: '/metrics', needs: 'list', on: 'all', status: 200 },
  'GET /api/v1/health': { path: '/api/v1/health', needs: 'list', on: 'all', status: 200 },
  'GET /api/v1/appliance': { path: '/api/v1/appliance', needs: 'list', on: 'all', status: 200 },
  'GET /api/v1/appliance/plan': { path: '/api/v1/appliance/plan', needs: 'list', on: 'all', status: 404 },
  'POST /api/v1/appliance/check': { path: '/api/v1/appliance/check', needs: 'admin', on: 'all', status: 404 },
  'GET /api/v1/guestinfo': { path: '/api/v1/guestinfo', needs: 'list', on: 'all', status: 200 },
  'GET /api/v1/ports/:id': { path: '/api/v1/ports/vm1', needs: 'list', on: 'port', status: 200 },
  'DELETE /api/v1/ports/:id': { path: '/api/v1/ports/vm1', needs: 'admin', on: 'port', status: 409 },
  'GET /api/v1/ports/:id/log': { path: '/api/v1/ports/vm1/log', needs: 'read', on: 'port', status: 200 },
  'HEAD /api/v1/ports/:id/log': { path: '/api/v1/ports/vm1/log', needs: 'read', on: 'port', status: 200 },
  'GET /api/v1/ports/:id/log/search': {
    path: '/api/v1/ports/vm1/log/search?pattern=x',
    needs: 'read',
    on: 'port',
    status: 200,
  },
  'GET /console_log/:uuid': { path: `/console_log/${'0'.repeat(32)}`, needs: 'some', status: 404 },
  'HEAD /console_log/:uuid': { path: `/console_log/${'0'.repeat(32)}`, needs: 'some', status: 404 },
  'GET /api/v1/ports/:id/screen': { path: '/api/v1/ports/vm1/screen', needs: 'read', on: 'port', status: 200 },
  'GET /api/v1/ports/:id/consoles': { path: '/api/v1/ports/vm1/consoles', needs: 'read', on: 'port', status: 200 },
  'DELETE /api/v1/ports/:id/consoles/:console': {
    path: '/api/v1/ports/vm1/consoles/999999',
    needs: 'kick',
    on: 'port',
    status: 404,
  },
  'POST /api/v1/ports/:id/messages': {
    path: '/api/v1/ports/vm1/messages',
    body: { text: 'hello' },
    needs: 'write',
    on: 'port',
    status: 200,
  },
  'POST /api/v1/messages': {
    path: '/api/v1/messages',
    body: { text: 'hello' },
    needs: 'write',
    on: 'any',
    status: 200,
  },
  // Without an upgrade.
  'GET /api/v1/ports/:id/console': { path: '/api/v1/ports/vm1/console', needs: 'read', on: 'port', status: 426 },
}

function expected({ needs, on, status }: Row, role: Role): number {
  if (needs === 'open' || needs === 'self') return status
  if (!role.known) return 401
  if (needs === 'some') return status
  if (on === 'all') return role.everywhere.includes(needs) ? status : 403
  if (on === 'port' && !role.here.includes('list')) return 404
  return role.here.includes(needs) ? status : 403
}

let certificates: TestCertificates
let folder: string
beforeAll(async () => {
  certificates = await TestCertificates.create()
  folder = mkdtempSync(join(tmpdir(), 'vspc-audit-'))
})
afterAll(async () => {
  await certificates.remove()
  rmSync(folder, { recursive: true, force: true })
})

test('every route, for everybody', { timeout: 90_000 }, async () => {
  const [server, people] = [await certificates.selfSigned('server'), await certificates.selfSigned('people')]
  const alice = await certificates.issued('alice', people, { subject: '/CN=alice', usage: 'clientAuth' })
  const tokens = new TokenFile(TOKENS)
  const audit = join(folder, 'audit.jsonl')
  const app = await startSite(tokens, server, people, audit)
  const site: Site = { app, tokens, server, alice, audit }
  const vm = await RawVm.connect(app)
  await vm.print(app, 'hello\n')

  // HEAD beside GET is made by the framework for some.
  const routes = app.http?.routes.map(({ method, url }) => `${method} ${url}`) ?? []
  const named = routes.filter((route) => !route.startsWith('HEAD ') || Object.hasOwn(ROWS, route))
  expect([...new Set(named)].sort()).toEqual(Object.keys(ROWS).sort())

  const wrong: string[] = []
  for (const [route, row] of Object.entries(ROWS)) {
    const [method = ''] = route.split(' ')
    for (const [name, role] of Object.entries(ROLES)) {
      const { status, body } = await ask(site, role, method, row.path, row.body)
      const wanted = expected(row, role)
      if (status !== wanted) wrong.push(`${route} as ${name}: ${status}, not ${wanted}: ${body.slice(0, 200)}`)
    }
    // What is shown and wrong is never overlooked, except where nobody is asked.
    const invalid = { ...(ROLES['viewer'] as Role), headers: () => ({ authorization: 'Bearer vspct_wrong' }) }
    const { status } = await ask(site, invalid, method, row.path, row.body)
    if (status !== (row.needs === 'open' ? row.status : 401)) wrong.push(`${route} with a wrong token: ${status}`)
  }
  expect(wrong).toEqual([])

  await app.stop()
  const lines = readFileSync(audit, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(lines).toContainEqual(
    expect.objectContaining({ who: 'viewer', via: 'token', action: 'port.remove', name: 'vm1', allowed: false }),
  )
  expect(lines).toContainEqual(
    expect.objectContaining({ who: 'alice', via: 'certificate', action: 'log.read', allowed: true }),
  )
  expect(lines).toContainEqual(
    expect.objectContaining({ who: 'bob', via: 'proxy', action: 'screen.read', allowed: true }),
  )
  expect(lines).toContainEqual(expect.objectContaining({ who: null, action: 'login', allowed: false }))
})

test('lists show what may be listed, the plain page too', async () => {
  const tokens = new TokenFile({ one: { roles: ['viewer'], ports: ['vm1'] }, all: { roles: ['viewer'] } })
  const listen = ['tcp://127.0.0.1:0?protocol=raw&name=vm1', 'tcp://127.0.0.1:0?protocol=raw&name=vm2']
  const app = await startGuarded(tokens, {}, { listen })
  for (const index of [0, 1]) await RawVm.connect(app, index)
  await eventually(() => [...app.server.table].length === 2)
  const get = (path: string, name: string) => fetch(`${app.url}${path}`, { headers: tokens.bearer(name) })
  const names = async (name: string) =>
    ((await (await get('/api/v1/ports', name)).json()) as { vm: { name: string } }[]).map(({ vm }) => vm.name).sort()
  expect(await names('all')).toEqual(['vm1', 'vm2'])
  expect(await names('one')).toEqual(['vm1'])
  expect(await (await get('/plain', 'one')).text()).not.toContain('vm2')
  // A prefix of both is not ambiguous to who knows of one; the other is not named.
  expect(((await (await get('/api/v1/ports/vm', 'one')).json()) as { vm: { name: string } }).vm.name).toBe('vm1')
  const missing = await get('/api/v1/ports/vm2', 'one')
  const never = await get('/api/v1/ports/vm9', 'one')
  expect([missing.status, never.status]).toEqual([404, 404])
  expect((await missing.text()).replaceAll('vm2', 'X')).toBe((await never.text()).replaceAll('vm9', 'X'))
})
