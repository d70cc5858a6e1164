import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { loadConfig, type Settings } from '../../../src/app/index.ts'
import { type AppUnderTest, eventually, RawVm, refusedUpgrade } from '../support.ts'
import { Attached } from './attached.ts'
import { startGuarded, TokenFile } from './support.ts'

const TWO_VMS = ['tcp://127.0.0.1:0?protocol=raw&name=vm1', 'tcp://127.0.0.1:0?protocol=raw&name=vm2']

function open(app: AppUnderTest, mode: string, headers: Record<string, string>, protocols = ['vspc.v1']): WebSocket {
  const url = `${app.url.replace('http', 'ws')}/api/v1/ports/vm1/console?mode=${mode}`
  const socket = new WebSocket(url, protocols, { headers })
  socket.on('error', () => {})
  onTestFinished(() => socket.terminate())
  return socket
}

async function ticketOf(app: AppUnderTest, headers: Record<string, string>): Promise<string> {
  const answer = await fetch(`${app.url}/api/v1/tickets`, { method: 'POST', headers })
  expect(answer.status).toBe(201)
  return ((await answer.json()) as { ticket: string }).ticket
}

const consoleUrl = (app: AppUnderTest) => `${app.url.replace('http', 'ws')}/api/v1/ports/vm1/console`

/** What a stream of events has said so far, and whether it has ended. */
async function events(app: AppUnderTest, headers: Record<string, string>) {
  const stream = { text: '', ended: false }
  const answer = await fetch(`${app.url}/api/v1/events`, { headers })
  const reader = answer.body?.getReader()
  onTestFinished(() => reader?.cancel().catch(() => {}))
  const read = async (): Promise<void> => {
    for (;;) {
      const piece = await reader?.read().catch(() => ({ done: true, value: undefined }))
      if (piece === undefined || piece.done) break
      stream.text += Buffer.from(piece.value ?? []).toString('utf8')
    }
    stream.ended = true
  }
  void read()
  await eventually(() => stream.text.includes('event: hello'))
  return stream
}

test('a ticket opens one WebSocket, for whom it was given, and is never repeated', async () => {
  const tokens = new TokenFile({ ops: { roles: ['operator'] } })
  const app = await startGuarded(tokens)
  await RawVm.connect(app)
  const ticket = await ticketOf(app, tokens.bearer('ops'))
  const offered = ['vspc.v1', `vspc.ticket.${ticket}`]
  const socket = open(app, 'write', {}, offered)
  const console = await Attached.open(socket)
  expect(console.may).toContain('write')
  expect(socket.protocol).toBe('vspc.v1')
  const again = await refusedUpgrade(consoleUrl(app), { protocols: offered })
  expect(again).toMatchObject({ status: 401, body: { code: 'VSPC_ACCESS_LOGIN' } })
  expect(JSON.stringify(again)).not.toContain(ticket)

  const late = await ticketOf(app, tokens.bearer('ops'))
  tokens.remove('ops')
  await eventually(
    async () => (await fetch(`${app.url}/api/v1/ports`, { headers: tokens.bearer('ops') })).status === 401,
  )
  const refused = await refusedUpgrade(consoleUrl(app), { protocols: ['vspc.v1', `vspc.ticket.${late}`] })
  expect(refused.status).toBe(401)
})

test('a page of another site opens nothing, whatever it shows', async () => {
  const tokens = new TokenFile({ ops: { roles: ['operator'] } })
  const app = await startGuarded(tokens, {}, { httpNames: ['vspc.example.com'] })
  await RawVm.connect(app)
  const refused = async (headers: Record<string, string>) =>
    (await refusedUpgrade(consoleUrl(app), { headers: { ...headers, ...tokens.bearer('ops') } })).status
  expect(await refused({ origin: 'https://evil.example' })).toBe(403)
  expect(await refused({ origin: 'https://vspc.example.com:444' })).toBe(403)
  expect(await refused({ origin: 'null' })).toBe(403)
  const post = (origin: string) =>
    fetch(`${app.url}/api/v1/tickets`, { method: 'POST', headers: { origin, ...tokens.bearer('ops') } })
  expect((await post('https://evil.example')).status).toBe(403)
  // Behind a proxy that rewrites Host.
  expect((await post('https://vspc.example.com')).status).toBe(201)
  expect(
    (await Attached.open(open(app, 'read', { origin: 'https://vspc.example.com', ...tokens.bearer('ops') }))).id,
  ).toBeGreaterThan(0)
})

test('who loses the token loses console and events; who loses the right to write goes on reading', async () => {
  const tokens = new TokenFile({ gone: { roles: ['operator'] }, less: { roles: ['operator'] } })
  const app = await startGuarded(tokens)
  const vm = await RawVm.connect(app)
  const gone = await Attached.open(open(app, 'write', tokens.bearer('gone')))
  const less = await Attached.open(open(app, 'write', tokens.bearer('less')))
  const stream = await events(app, tokens.bearer('gone'))
  tokens.set('less', { roles: ['viewer'] })
  tokens.remove('gone')
  expect(await gone.closed()).toMatchObject({ code: 4401, reason: expect.stringContaining('no longer known') })
  await eventually(() => stream.ended)
  await eventually(() => less.messages.some((one) => one.type === 'writer' && one.mode === 'read'))
  expect(await less.ask({ type: 'mode', mode: 'write' }, [])).toMatchObject({ code: 'VSPC_ACCESS_DENIED' })
  // What is typed meanwhile does not arrive.
  less.socket.send(Buffer.from('typed'))
  await less.told('error')
  const heard = new Promise<string>((resolve) =>
    less.socket.on('message', (data: Buffer, isBinary) => isBinary && resolve(data.toString())),
  )
  await vm.print(app, 'goes on')
  expect(await heard).toContain('goes on')
  expect(vm.received.length).toBe(0)
})

test('rules of a reload count at once, for who is there, too', async () => {
  const tokens = new TokenFile({ ci: {} })
  const access = { rules: [{ who: ['token:ci'], role: 'operator' }] }
  const app = await startGuarded(tokens, access)
  await RawVm.connect(app)
  const console = await Attached.open(open(app, 'write', tokens.bearer('ci')))
  const next = (rules: NonNullable<Settings['access']>['rules']) =>
    loadConfig({ env: {}, flags: { access: { tokens: tokens.path, ...(rules === undefined ? {} : { rules }) } } })
      .access
  expect(app.reload({ ...app.config, access: next([{ who: ['token:ci'], can: ['read'] }]) }).needRestart).toEqual([])
  await eventually(() => console.messages.some((one) => one.type === 'writer' && one.mode === 'read'))
  app.reload({ ...app.config, access: next(undefined) })
  expect(await console.closed()).toMatchObject({ code: 4403 })
  expect(app.reload({ ...app.config, access: null }).needRestart).toEqual(['access'])
  expect((await fetch(`${app.url}/api/v1/ports`)).status).toBe(401)
})

test('who comes by a proxy that is no longer trusted has to come again, by tickets, too', async () => {
  const tokens = new TokenFile()
  const rules = [{ who: ['user:alice'], role: 'operator' }]
  const app = await startGuarded(tokens, { rules, proxies: { trusted: ['127.0.0.1'] } })
  await RawVm.connect(app)
  const alice = { 'x-forwarded-user': 'alice' }
  const console = await Attached.open(open(app, 'write', alice))
  const offered = async () => ['vspc.v1', `vspc.ticket.${await ticketOf(app, alice)}`]
  const byTicket = await Attached.open(open(app, 'read', {}, await offered()))
  const unused = await offered()
  const stream = await events(app, alice)
  const next = (proxies: NonNullable<Settings['access']>['proxies']) => {
    const flags = { access: { tokens: tokens.path, rules, ...(proxies === undefined ? {} : { proxies }) } }
    expect(app.reload({ ...app.config, access: loadConfig({ env: {}, flags }).access }).needRestart).toEqual([])
  }
  // One more, and the same one in other words: nobody minds.
  next({ trusted: ['127.0.0.0/8', '10.0.0.1'] })
  expect(await console.ask({ type: 'who' }, ['consoles'])).toMatchObject({ type: 'consoles' })
  next({ trusted: ['10.0.0.1'] })
  expect(await console.closed()).toMatchObject({ code: 4401 })
  expect(await byTicket.closed()).toMatchObject({ code: 4401 })
  await eventually(() => stream.ended)
  expect((await refusedUpgrade(consoleUrl(app), { protocols: unused })).status).toBe(401)

  // Names come from another header: those of the old one are nobody's.
  next({ trusted: ['127.0.0.1'] })
  const again = await Attached.open(open(app, 'write', alice))
  next({ trusted: ['127.0.0.1'], userHeader: 'x-user' })
  expect(await again.closed()).toMatchObject({ code: 4401 })
})

test('a token that expires ends what is open by it', async () => {
  const tokens = new TokenFile({ brief: { roles: ['viewer'], expires: new Date(Date.now() + 2_500).toISOString() } })
  const app = await startGuarded(tokens)
  await RawVm.connect(app)
  const console = await Attached.open(open(app, 'read', tokens.bearer('brief')))
  expect((await console.closed()).code).toBe(4401)
  const answer = await fetch(`${app.url}/api/v1/ports`, { headers: tokens.bearer('brief') })
  expect([answer.status, ((await answer.json()) as { detail: string }).detail]).toEqual([
    401,
    'the token "brief" has expired',
  ])
})

test('events of ports that one may not list are not heard', async () => {
  const tokens = new TokenFile({ one: { roles: ['viewer'], ports: ['vm1'] }, all: { roles: ['viewer'] } })
  const app = await startGuarded(tokens, {}, { listen: TWO_VMS })
  const [one, all] = [await events(app, tokens.bearer('one')), await events(app, tokens.bearer('all'))]
  await RawVm.connect(app, 1)
  await RawVm.connect(app, 0)
  await eventually(() => one.text.includes('vm1') && all.text.includes('vm1'))
  expect(all.text).toContain('vm2')
  expect(one.text).not.toContain('vm2')
})

test('failures of an address are limited; a good token there passes all the same', async () => {
  const tokens = new TokenFile({ ci: { roles: ['viewer'] } })
  const audit = join(tokens.folder, 'audit.jsonl')
  const app = await startGuarded(tokens, { failures: { burst: 2, refillMs: 60_000 }, audit: { file: audit } })
  const get = (authorization: string) => fetch(`${app.url}/api/v1/ports`, { headers: { authorization } })
  const statuses: number[] = []
  for (let tried = 0; tried < 4; tried++) statuses.push((await get('Bearer nothing')).status)
  expect(statuses).toEqual([401, 401, 429, 429])
  const limited = await get('Bearer nothing')
  expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(1)
  expect(await limited.json()).toMatchObject({ code: 'VSPC_ACCESS_FAILURES', status: 429 })
  expect((await get(tokens.bearer('ci').authorization)).status).toBe(200)
  const metrics = await (await fetch(`${app.url}/metrics`, { headers: tokens.bearer('ci') })).text()
  expect(metrics).toMatch(/^vspc_access_failures_total 5$/m)
  expect(metrics).toMatch(/^vspc_access_limited_total 3$/m)
  await app.stop()
  expect(readFileSync(audit, 'utf8').match(/"action":"login"/g)).toHaveLength(2)
})

test('no token and no ticket is in any log line, audit line or answer', async () => {
  const tokens = new TokenFile({
    ops: { roles: ['supervisor'] },
    old: { roles: ['viewer'], expires: '2026-01-02T00:00:00Z' },
  })
  const audit = join(tokens.folder, 'audit.jsonl')
  const app = await startGuarded(tokens, { audit: { file: audit } }, { logLevel: 'trace' })
  const vm = await RawVm.connect(app)
  const answers: string[] = []
  const ticket = await ticketOf(app, tokens.bearer('ops'))
  const [ops, old] = [tokens.of('ops'), tokens.of('old')]
  const wrong = `${ops.slice(0, -1)}${ops.endsWith('0') ? '1' : '0'}`
  const paths = [
    '/api/v1/ports',
    '/api/v1/ports/vm1',
    '/api/v1/ports/none',
    '/none',
    '/api/v1/ports/vm1/log?start=x',
    '/metrics',
  ]
  for (const path of paths) {
    for (const token of [ops, old, wrong, `${ops}\t`, `Basic ${ops}`]) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        const answer = await fetch(`${app.url}${path}`, { method, headers: { authorization: `Bearer ${token}` } })
        answers.push(await answer.text(), JSON.stringify([...answer.headers]))
      }
    }
    // Where nobody should put it.
    const query = path.includes('?') ? '&' : '?'
    answers.push(await (await fetch(`${app.url}${path}${query}token=${ops}`, { headers: tokens.bearer('ops') })).text())
  }
  const url = consoleUrl(app)
  for (const protocols of [
    [`vspc.ticket.${wrong}`],
    ['vspc.v1', `vspc.ticket.${ops}`],
    ['vspc.v2', `vspc.ticket.${ticket}`],
  ]) {
    answers.push(JSON.stringify(await refusedUpgrade(url, { protocols })))
  }
  answers.push(JSON.stringify(await refusedUpgrade(`${url}?mode=never`, { headers: tokens.bearer('ops') })))
  const console = await Attached.open(open(app, 'write', tokens.bearer('ops')))
  console.socket.send(JSON.stringify({ type: 'unknown', token: ops }))
  await console.told('error')
  console.socket.send(Buffer.from('typed'))
  await vm.hears('typed')
  answers.push(JSON.stringify(console.messages))
  await app.stop()
  const lines = [...app.logged.lines.map((line) => JSON.stringify(line)), readFileSync(audit, 'utf8')]
  expect(lines.length).toBeGreaterThan(10)
  for (const secret of [ops, old, wrong, ticket]) {
    for (const text of [...lines, ...answers]) expect(text).not.toContain(secret.slice(6, -6))
  }
})
