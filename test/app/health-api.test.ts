/** GET /api/v1/health of a real server, and what a flood of strangers leaves behind in it and in the log. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect } from 'node:net'
import { Value } from 'typebox/value'
import { expect, test } from 'vitest'
import type { HealthInfo } from '../../src/app/index.ts'
import { NAMED_SCHEMAS } from '../../src/app/schemas.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import { type AppUnderTest, eventually, RawVm, startApp } from './support.ts'

/** With what it refers to in its place, and nothing allowed that is not described. */
function whole(schema: unknown): unknown {
  if (typeof schema !== 'object' || schema === null) return schema
  if (Array.isArray(schema)) return schema.map(whole)
  const { $ref, $id: _id, ...rest } = schema as Record<string, unknown>
  if (typeof $ref === 'string') {
    return whole(NAMED_SCHEMAS.find((one) => `${(one as { $id?: string }).$id}#` === $ref) ?? expect.unreachable($ref))
  }
  const copy = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, whole(value)]))
  return 'properties' in copy ? { ...copy, additionalProperties: false } : copy
}

async function health(app: AppUnderTest): Promise<HealthInfo> {
  return (await (await fetch(`${app.url}/api/v1/health`)).json()) as HealthInfo
}

test('what it answers is what the document says', async () => {
  const app = await startApp()
  await RawVm.connect(app)
  const info = await health(app)
  const schema = whole({ $ref: 'Health#' }) as object
  expect([...Value.Errors(schema, info)]).toEqual([])
  expect(Value.Check(schema, { ...info, more: 1 })).toBe(false)
  expect(info).toMatchObject({
    state: 'ready',
    ports: { online: 1, offline: 0, migrating: 0 },
    connections: { open: 1 },
    listeners: [{ protocol: 'raw', tls: 'off', certificate: null, host: '127.0.0.1' }],
    http: { url: app.url, certificate: null },
    history: { wanted: 'disk', persistent: true, troubles: [], disk: { writable: true } },
    vsphere: null,
    appliance: null,
    guestinfo: null,
  })
  expect(info.listeners[0]?.tcpPort).toBe((app.server.listening[0] as TcpEndpoint).tcpPort)
  expect(info.openFiles.open).toBeGreaterThan(5)
  expect(info.history.disk?.freeBytes).toBeGreaterThan(0)
})

test('a data directory that is gone is told, not a failure', async () => {
  const app = await startApp()
  const { disk } = (await health(app)).history
  rmSync(disk?.path ?? '/nowhere', { recursive: true, force: true })
  const answer = await health(app)
  expect(answer.history.disk).toMatchObject({ freeBytes: null, writable: false })
  expect((await fetch(`${app.url}/metrics`)).status).toBe(200)
})

test('two thousand strangers are a few hundred lines of log, and one entry', async () => {
  const app = await startApp({ listen: ['tcp://127.0.0.1:0'] })
  const { tcpPort } = app.server.listening[0] as TcpEndpoint
  const STRANGERS = 2_000
  for (let i = 0; i < STRANGERS; i += 100) {
    const sockets = Array.from({ length: 100 }, () => connect(tcpPort, '127.0.0.1').on('error', () => {}))
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    for (const socket of sockets) socket.destroy()
  }
  const { counters, refusals } = app.server
  await eventually(() => counters.connectionsClosed >= STRANGERS)
  expect(refusals.counts.left).toBe(STRANGERS)
  const info = await health(app)
  expect(info.refusals.recent).toHaveLength(1)
  expect(info.refusals.recent[0]).toMatchObject({ reason: 'left', peer: '127.0.0.1', count: STRANGERS })
  const lines = app.logged.lines.filter(({ msg }) => String(msg).startsWith('peer left'))
  expect(lines.length).toBeGreaterThanOrEqual(200)
  expect(lines.length).toBeLessThan(600)
  const metrics = await (await fetch(`${app.url}/metrics`)).text()
  const left = Number(/^vspc_log_lines_missing_total\{reason="repeated"\} (\d+)$/m.exec(metrics)?.[1])
  expect(left + lines.length).toBe(STRANGERS)
})
