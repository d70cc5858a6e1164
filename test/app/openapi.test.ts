import { Value } from 'typebox/value'
import { expect, test } from 'vitest'
import { ConsoleInfoSchema, PortInfoSchema, ProblemSchema } from '../../src/app/schemas.ts'
import { CODES } from '../../src/base/index.ts'
import { RawVm, startApp, TestConsole } from './support.ts'

interface Schema {
  properties?: Record<string, { const?: unknown; enum?: unknown[] }>
  oneOf?: Schema[]
}

interface Operation {
  parameters?: { in: string; name: string; schema?: object }[]
  responses?: Record<string, { description?: string; content?: unknown }>
}

interface Api {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

async function document(): Promise<Api> {
  const app = await startApp()
  const answer = await fetch(`${app.url}/openapi.json`)
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
  return (await answer.json()) as Api
}

/** Every object in a document, with where it is. */
function* nodes(value: unknown, path = '#'): Generator<[string, Record<string, unknown>]> {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) yield [path, value as Record<string, unknown>]
  for (const [name, inner] of Object.entries(value)) yield* nodes(inner, `${path}/${name}`)
}

test('every route is there, and none that is not', async () => {
  const { openapi, paths } = await document()
  expect(openapi).toMatch(/^3\.1\./)
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect(routes.sort()).toEqual([
    'DELETE /api/v1/ports/{id}',
    'DELETE /api/v1/ports/{id}/consoles/{console}',
    'GET /',
    'GET /api/v1/alerts',
    'GET /api/v1/appliance',
    'GET /api/v1/appliance/plan',
    'GET /api/v1/events',
    'GET /api/v1/guestinfo',
    'GET /api/v1/health',
    'GET /api/v1/log/search',
    'GET /api/v1/ports',
    'GET /api/v1/ports/{id}',
    'GET /api/v1/ports/{id}/console',
    'GET /api/v1/ports/{id}/consoles',
    'GET /api/v1/ports/{id}/log',
    'GET /api/v1/ports/{id}/log/search',
    'GET /api/v1/ports/{id}/screen',
    'GET /api/v1/whoami',
    'GET /console_log/{uuid}',
    'GET /livez',
    'GET /metrics',
    'GET /openapi.json',
    'GET /plain',
    'GET /readyz',
    'GET /web/{file}',
    'HEAD /',
    'HEAD /api/v1/ports/{id}/log',
    'HEAD /console_log/{uuid}',
    'HEAD /web/{file}',
    'POST /api/v1/appliance/check',
    'POST /api/v1/messages',
    'POST /api/v1/ports/{id}/messages',
    'POST /api/v1/tickets',
  ])
})

test('it keeps the rules of OpenAPI 3.1 that tools trip over', async () => {
  const api = await document()
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, { parameters = [], responses = {} }] of Object.entries(methods)) {
      const where = `${method} ${path}`
      const declared = parameters.filter((one) => one.in === 'path').map(({ name }) => name)
      expect([where, ...declared]).toEqual([where, ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)])
      for (const parameter of parameters) expect([where, parameter]).toMatchObject([where, { schema: {} }])
      expect(Object.keys(responses).length).toBeGreaterThan(1)
      for (const [status, { description }] of Object.entries(responses)) {
        expect(status).toMatch(/^(?:[1-5]\d\d|default)$/)
        expect([where, status, description]).toEqual([where, status, expect.stringMatching(/^\S/)])
      }
      expect(responses['default']?.content).toEqual({
        'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
      })
    }
  }
  for (const [path, node] of nodes(api)) {
    // 3.0's way of saying it; 3.1 has "type": [..., "null"].
    expect([path, 'nullable' in node && typeof node['nullable'] === 'boolean']).toEqual([path, false])
    const reference = node['$ref']
    if (typeof reference !== 'string') continue
    expect([path, Object.keys(api.components.schemas).map((name) => `#/components/schemas/${name}`)]).toEqual([
      path,
      expect.arrayContaining([reference]),
    ])
  }
})

test('the console describes both kinds of frames', async () => {
  const api = await document()
  const types = (name: string) =>
    api.components.schemas[name]?.oneOf?.map(({ properties }) => properties?.['type']?.const)
  expect(types('ConsoleMessage')).toEqual(expect.arrayContaining(['attached', 'gap', 'writer', 'detached']))
  expect(types('ConsoleRequest')).toEqual(['mode', 'cancel', 'yield', 'kick', 'say', 'break', 'who'])
  expect(types('ServerEvent')).toEqual(expect.arrayContaining(['port-added', 'vmotion-begin', 'console-attached']))
})

test('what the server really answers fits the schemas', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  await TestConsole.open(app)
  const json = async (path: string) => (await (await fetch(app.url + path)).json()) as unknown
  const strict = { additionalProperties: false }
  expect(Value.Check({ ...PortInfoSchema, ...strict }, await json('/api/v1/ports/vm1'))).toBe(true)
  expect(Value.Check({ ...PortInfoSchema, ...strict }, ((await json('/api/v1/ports')) as unknown[])[0])).toBe(true)
  expect(
    Value.Check({ ...ConsoleInfoSchema, ...strict }, ((await json('/api/v1/ports/vm1/consoles')) as unknown[])[0]),
  ).toBe(true)
  for (const path of ['/nope', '/api/v1/ports/x', '/api/v1/ports/vm1/log?start=x']) {
    expect(Value.Check({ ...ProblemSchema, ...strict }, await json(path))).toBe(true)
  }
})

test('problem codes are those of the table', async () => {
  const api = await document()
  expect(api.components.schemas['Problem']?.properties?.['code']?.enum).toEqual(Object.keys(CODES))
})
