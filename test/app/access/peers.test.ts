import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type AccessRules, FAILURE_LIMITS } from '../../../src/access/index.ts'
import { AccessControl } from '../../../src/app/access/control.ts'
import type { AccessConfig } from '../../../src/app/access/settings.ts'
import { ManualClock, silentLogger } from '../../../src/base/index.ts'
import { type AppUnderTest, eventually, RawVm } from '../support.ts'
import { startGuarded, TokenFile } from './support.ts'

/** Sends a request and resets the connection, while this process, the server, looks elsewhere: Node's client cannot. */
const SEND_AND_RESET = `
import socket, struct, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.sendall(sys.argv[2].encode())
s.close()
`

test('who is gone before being asked for an address is nobody, and not the proxy on a Unix socket', async () => {
  const app = await startGuarded(new TokenFile(), {
    rules: [{ who: ['user:root'], role: 'admin' }],
    proxies: { trusted: ['unix'] },
  })
  const vm = await RawVm.connect(app)
  await vm.print(app, 'kept\n')
  vm.socket.destroy()
  await eventually(() => app.server.table.resolve('vm1').state === 'offline')

  const request =
    'DELETE /api/v1/ports/vm1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-User: root\r\nConnection: close\r\n\r\n'
  const { status, stderr } = spawnSync('python3', ['-c', SEND_AND_RESET, String(app.http?.tcpPort), request])
  expect(status, String(stderr)).toBe(0)
  // It was heard, as what came from nobody.
  await eventually(
    () => app.server.table.size === 0 || app.logged.find('it does not come from a trusted proxy') !== undefined,
  )
  expect(app.server.table.size).toBe(1)
})

/** How many consoles, streams and answers have been ended, as an observer is told. */
async function revoked(app: AppUnderTest, tokens: TokenFile): Promise<number> {
  const text = await (await fetch(`${app.url}/metrics`, { headers: tokens.bearer('observer') })).text()
  return Number(/^vspc_access_revoked_total (\d+)$/m.exec(text)?.[1])
}

/** Begins to read an answer, and then does not go on. */
async function halfRead(app: AppUnderTest, path: string, headers: Record<string, string>): Promise<IncomingMessage> {
  const answer = await new Promise<IncomingMessage>((resolve) => {
    get(`${app.url}${path}`, { headers: { ...headers, connection: 'close' } }, resolve)
  })
  expect(answer.statusCode).toBe(200)
  return answer.pause()
}

test('a search of who is no longer known is cut, and nothing of the ports that come next is heard', async () => {
  const tokens = new TokenFile({ ci: { roles: ['viewer'] }, observer: { roles: ['viewer'] } })
  const listen = ['a1', 'b1'].map((name) => `tcp://127.0.0.1:0?protocol=raw&name=${name}`)
  const app = await startGuarded(tokens, {}, { listen })
  const [first, second] = [await RawVm.connect(app, 0), await RawVm.connect(app, 1)]
  // More than what lies between a search and a peer that does not read.
  await first.print(app, `${'oops '.repeat(60)}\n`.repeat(60_000), 'a1')
  await second.print(app, 'oops, a secret\n', 'b1')

  const answer = await halfRead(app, '/api/v1/log/search?pattern=oops&limit=100000', tokens.bearer('ci'))
  tokens.remove('ci')
  await eventually(async () => (await revoked(app, tokens)) === 1)
  let text = ''
  const read = async () => {
    for await (const chunk of answer.setEncoding('utf8')) text = `${text}${chunk}`.slice(-100_000)
  }
  await expect(read()).rejects.toThrow('aborted')
  expect(text).toContain('oops')
  expect(text).not.toContain('a secret')
  expect(text).not.toContain('"type":"end"')
})

test.each(['raw', 'text'])('a log that is being read (%s) is cut when the right to read it ends', async (format) => {
  const tokens = new TokenFile({ ci: { roles: ['viewer'] }, observer: { roles: ['viewer'] } })
  const app = await startGuarded(tokens)
  const vm = await RawVm.connect(app)
  const line = `${'x'.repeat(1_023)}\n`
  await vm.print(app, line.repeat(15_000))
  const answer = await halfRead(app, `/api/v1/ports/vm1/log?format=${format}`, tokens.bearer('ci'))
  // Known still, and with fewer rights.
  tokens.set('ci', {})
  await eventually(async () => (await revoked(app, tokens)) === 1)
  let length = 0
  const read = async () => {
    for await (const chunk of answer) length += (chunk as Buffer).length
  }
  await expect(read()).rejects.toThrow('aborted')
  expect(length).toBeLessThan(15_000 * line.length)
})

test('who is nobody cannot fill the audit log with tickets', async () => {
  const tokens = new TokenFile({ ci: { roles: ['viewer'] } })
  const audit = join(tokens.folder, 'audit.jsonl')
  const app = await startGuarded(tokens, { audit: { file: audit } })
  const ask = async (headers = {}) => (await fetch(`${app.url}/api/v1/tickets`, { method: 'POST', headers })).status
  for (let asked = 0; asked < 20; asked++) expect(await ask()).toBe(201)
  expect(await ask(tokens.bearer('ci'))).toBe(201)
  await app.stop()
  const lines = readFileSync(audit, 'utf8').trimEnd().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as { who: string | null }).who)).toEqual(['ci'])
})

test('who does not read a search does not keep others from theirs', async () => {
  const tokens = new TokenFile({ ci: { roles: ['viewer'] }, ops: { roles: ['viewer'] } })
  const app = await startGuarded(tokens, {}, {}, { maxSearches: 2 })
  const vm = await RawVm.connect(app)
  await vm.print(app, `${'oops '.repeat(60)}\n`.repeat(60_000))
  const search = (name: string) =>
    new Promise<IncomingMessage>((resolve) => {
      const headers = { ...tokens.bearer(name), connection: 'close' }
      get(`${app.url}/api/v1/log/search?pattern=oops&limit=100000`, { headers }, resolve)
    })
  const first = await search('ci')
  first.pause()
  const second = await search('ci')
  expect([first.statusCode, second.statusCode]).toEqual([200, 503])
  second.resume()
  const other = await search('ops')
  expect(other.statusCode).toBe(200)
  other.destroy()
  // The place is given back.
  first.destroy()
  await eventually(async () => {
    const again = await search('ci')
    again.destroy()
    return again.statusCode === 200
  })
})

test('a console that a ticket has opened ends with the certificate that the ticket was given for', async () => {
  const rules: AccessRules = {
    policy: {
      rules: [
        { who: [{ kind: 'authenticated' }], capabilities: ['read'], ports: [{ kind: 'all' }], source: 'rules[0]' },
      ],
    },
    roles: new Map(),
  }
  const access: AccessConfig = {
    rules,
    settings: {},
    tokens: '/nowhere/tokens.json',
    tokensIsDefault: true,
    certificates: { user: 'cn', groupsFromOu: false },
    proxies: null,
    failures: FAILURE_LIMITS,
  }
  const clock = new ManualClock()
  const control = await AccessControl.open({ access, audit: null, clock, log: silentLogger })
  onTestFinished(() => control.close())
  const until = clock.wall() + 10_000
  const from = { address: '10.0.0.9', display: '10.0.0.9:1', fromTrustedProxy: false, certificateFault: null }
  const certificate = { subject: 'CN=alice', subjectAltName: null, until }
  const alice = control.identify({ headers: {}, upgrade: false, origin: { ...from, certificate } })
  const { ticket } = control.ticket(alice)
  const headers = { 'sec-websocket-protocol': `vspc.v1, vspc.ticket.${ticket}` }
  const console = control.identify({ headers, upgrade: true, origin: { ...from, certificate: null } })
  expect([console.who, console.counts]).toEqual(['alice', true])
  clock.advance(10_000)
  expect(console.counts).toBe(false)
})

test('groups that a client sends are not more of those that a proxy adds', async () => {
  const app = await startGuarded(new TokenFile(), {
    rules: [{ who: ['group:admin'], role: 'admin' }],
    proxies: { trusted: ['127.0.0.1'] },
  })
  const status = (headers: Record<string, string | string[]>) =>
    new Promise<number | undefined>((resolve) => {
      get(`${app.url}/api/v1/ports`, { headers }, (answer) => resolve(answer.resume().statusCode))
    })
  expect(await status({ 'X-Forwarded-User': 'bob', 'X-Forwarded-Groups': 'staff,admin' })).toBe(200)
  expect(await status({ 'X-Forwarded-User': 'bob', 'X-Forwarded-Groups': ['staff', 'admin'] })).toBe(400)
  expect(await status({ 'X-Forwarded-User': ['bob', 'root'], 'X-Forwarded-Groups': 'admin' })).toBe(400)
})
