import { expect, test } from 'vitest'
import { RawVm } from '../support.ts'
import { startGuarded, TokenFile } from './support.ts'

test('who shows nothing, something wrong, too little or enough', async () => {
  const tokens = new TokenFile({ viewer: { roles: ['viewer'] }, other: { roles: ['viewer'], ports: ['vm2*'] } })
  const app = await startGuarded(tokens)
  await RawVm.connect(app)
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${app.url}${path}`, { headers })

  const anonymous = await get('/api/v1/ports')
  expect([anonymous.status, anonymous.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="vspc"'])
  expect((await get('/api/v1/ports', { authorization: 'Bearer vspct_wrong' })).status).toBe(401)
  expect(await (await get('/api/v1/ports', tokens.bearer('viewer'))).json()).toHaveLength(1)
  expect(await (await get('/api/v1/ports', tokens.bearer('other'))).json()).toEqual([])
  expect((await get('/api/v1/ports/vm1', tokens.bearer('viewer'))).status).toBe(200)
  expect((await get('/api/v1/ports/vm1', tokens.bearer('other'))).status).toBe(404)
  expect((await get('/livez')).status).toBe(200)
  const whoami = await get('/api/v1/whoami', tokens.bearer('viewer'))
  expect(await whoami.json()).toEqual({
    accessControl: true,
    who: 'viewer',
    via: 'token',
    groups: [],
    capabilities: ['list', 'read'],
  })
  const nobody = await get('/api/v1/whoami')
  expect(await nobody.json()).toMatchObject({ accessControl: true, who: null, via: 'anonymous', capabilities: [] })
})
