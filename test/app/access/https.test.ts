import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile, rename, writeFile } from 'node:fs/promises'
import { Agent, get } from 'node:https'
import { connect as connectPlain } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import type { Settings } from '../../../src/app/index.ts'
import { type CertificateFiles, TestCertificates } from '../../support/certificates.ts'
import { type AppUnderTest, eventually, RawVm } from '../support.ts'
import { Attached } from './attached.ts'
import { startGuarded, TokenFile } from './support.ts'

const run = promisify(execFile)

let certificates: TestCertificates
let server: CertificateFiles
let ca: CertificateFiles
let alice: CertificateFiles
let stranger: CertificateFiles

beforeAll(async () => {
  certificates = await TestCertificates.create()
  server = await certificates.selfSigned('server')
  ca = await certificates.selfSigned('people')
  alice = await certificates.issued('alice', ca, { subject: '/CN=alice', usage: 'clientAuth' })
  const other = await certificates.selfSigned('others')
  stranger = await certificates.issued('stranger', other, { subject: '/CN=alice', usage: 'clientAuth' })
})
afterAll(() => certificates.remove())

const withTls = (): Settings => ({ httpCert: server.cert, httpKey: server.key })

/** Status and body, by the real curl. */
async function curl(url: string, ...options: string[]): Promise<{ status: number; body: Record<string, unknown> }> {
  const { stdout } = await run('curl', [
    '-sS',
    '--max-time',
    '20',
    '--cacert',
    server.cert,
    '-w',
    '\n%{http_code}',
    ...options,
    url,
  ])
  const at = stdout.lastIndexOf('\n')
  return { status: Number(stdout.slice(at + 1)), body: JSON.parse(stdout.slice(0, at)) as Record<string, unknown> }
}

const withCertificate = ({ cert, key }: CertificateFiles) => ['--cert', cert, '--key', key]

describe('mutual TLS, by curl', () => {
  const start = (tokens: TokenFile): Promise<AppUnderTest> =>
    startGuarded(
      tokens,
      { rules: [{ who: ['user:alice'], role: 'operator' }] },
      { ...withTls(), httpClientCa: ca.cert },
    )

  test('the certificate says who it is, a token counts before it, none of both is nobody', async () => {
    const tokens = new TokenFile({ ci: { roles: ['viewer'] } })
    const app = await start(tokens)
    expect(app.url).toMatch(/^https:/)
    const whoami = `${app.url}/api/v1/whoami`
    expect(await curl(whoami, ...withCertificate(alice))).toMatchObject({
      status: 200,
      body: { who: 'alice', via: 'certificate', capabilities: ['list', 'read', 'write', 'break'] },
    })
    const token = ['-H', `authorization: Bearer ${tokens.of('ci')}`]
    expect(await curl(whoami, ...withCertificate(alice), ...token)).toMatchObject({ body: { who: 'ci', via: 'token' } })
    expect(await curl(whoami, ...token)).toMatchObject({ body: { who: 'ci', via: 'token' } })
    expect(await curl(whoami)).toMatchObject({ status: 200, body: { who: null } })
    expect((await curl(`${app.url}/api/v1/ports`)).status).toBe(401)
    expect((await curl(`${app.url}/api/v1/ports`, ...withCertificate(alice))).status).toBe(200)
  })

  test('a certificate of another authority with the same name is refused, not overlooked', async () => {
    const app = await start(new TokenFile())
    const answer = await curl(`${app.url}/api/v1/whoami`, ...withCertificate(stranger))
    expect(answer).toMatchObject({ status: 401, body: { code: 'VSPC_ACCESS_LOGIN' } })
    expect(answer.body['detail']).toMatch(/^the certificate does not count: /)
  })
})

test('a plain HTTP request to the HTTPS address is told so, and TLS goes on being served', async () => {
  const app = await startGuarded(new TokenFile(), {}, withTls())
  const answer = await fetch(`${app.url.replace('https', 'http')}/api/v1/ports`)
  expect(answer.status).toBe(400)
  expect(answer.headers.get('content-type')).toBe('application/problem+json')
  expect(await answer.json()).toMatchObject({
    code: 'VSPC_REQUEST_INVALID',
    detail: 'this address speaks HTTPS: write https:// instead of http://',
  })
  // What is neither is not answered.
  const { tcpPort = 0 } = app.http ?? {}
  const socket = connectPlain(tcpPort, '127.0.0.1', () => socket.write('\0\0\0\0\0\0\0\0\0\0'))
  let heard = ''
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  await once(socket, 'close')
  expect(heard).not.toContain('HTTP')
  expect((await curl(`${app.url}/livez`)).status).toBe(200)
})

test('a new certificate is used for new connections, and no console is dropped', async () => {
  const tokens = new TokenFile({ ops: { roles: ['operator'] } })
  const cert = join(certificates.directory, 'live.crt')
  const key = join(certificates.directory, 'live.key')
  await copyFile(server.cert, cert)
  await copyFile(server.key, key)
  const app = await startGuarded(tokens, {}, { httpCert: cert, httpKey: key })
  const vm = await RawVm.connect(app)
  const { tcpPort = 0 } = app.http ?? {}
  const shown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port: tcpPort, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase() ?? '')
        socket.destroy()
      })
      socket.on('error', reject)
    })
  const url = `${app.url.replace('https', 'wss')}/api/v1/ports/vm1/console?mode=write`
  const console = new WebSocket(url, ['vspc.v1'], { ca: await readFile(server.cert), headers: tokens.bearer('ops') })
  onTestFinished(() => console.terminate())
  await new Promise((resolve, reject) => console.once('message', resolve).once('error', reject))
  expect(await shown()).toBe(server.sha256)

  const next = await certificates.selfSigned('next')
  await copyFile(next.key, `${key}.new`)
  await copyFile(next.cert, `${cert}.new`)
  await rename(`${key}.new`, key)
  await rename(`${cert}.new`, cert)
  app.reload(app.config)
  await eventually(async () => (await shown()) === next.sha256)

  // One that is broken leaves the last one in use.
  await writeFile(cert, 'no certificate')
  app.reload(app.config)
  await eventually(() => app.logged.find('not read again') !== undefined)
  expect(await shown()).toBe(next.sha256)
  expect(console.readyState).toBe(WebSocket.OPEN)
  console.send(Buffer.from('still here'))
  await vm.hears('still here')
})

test('another CA of client certificates ends what is open by the old one, also over connections that stay', async () => {
  const tokens = new TokenFile({ ops: { roles: ['operator'] } })
  const people = join(certificates.directory, 'people-live.pem')
  await copyFile(ca.cert, people)
  const rules = [{ who: ['user:alice'], role: 'operator' }]
  const app = await startGuarded(tokens, { rules }, { ...withTls(), httpClientCa: people })
  await RawVm.connect(app)
  const url = `${app.url.replace('https', 'wss')}/api/v1/ports/vm1/console?mode=read`
  const shown = { ca: await readFile(server.cert), cert: await readFile(alice.cert), key: await readFile(alice.key) }
  const open = (options: object) => Attached.open(new WebSocket(url, ['vspc.v1'], { ca: shown.ca, ...options }))
  const byCertificate = await open(shown)
  const byToken = await open({ headers: tokens.bearer('ops') })
  // A connection that stays.
  const agent = new Agent({ ...shown, keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  const status = (headers = {}) =>
    new Promise<number>((resolve, reject) => {
      const asked = get(`${app.url}/api/v1/ports`, { agent, headers }, (answer) => {
        answer.resume().once('end', () => resolve(answer.statusCode ?? 0))
      })
      asked.once('error', reject)
    })
  expect(await status()).toBe(200)
  // The same again is no change.
  app.reload(app.config)
  await eventually(() => app.logged.find('certificate of HTTPS read again') !== undefined)
  expect(await status()).toBe(200)

  const next = await certificates.selfSigned('next people')
  await copyFile(next.cert, `${people}.new`)
  await rename(`${people}.new`, people)
  app.reload(app.config)
  expect(await byCertificate.closed()).toMatchObject({ code: 4401 })
  expect(await status()).toBe(401)
  expect(await status(tokens.bearer('ops'))).toBe(200)
  expect(byToken.socket.readyState).toBe(WebSocket.OPEN)
  // One of the new CA comes in.
  const bob = await certificates.issued('bob', next, { subject: '/CN=alice', usage: 'clientAuth' })
  expect((await curl(`${app.url}/api/v1/ports`, ...withCertificate(bob))).status).toBe(200)
  expect((await curl(`${app.url}/api/v1/ports`, ...withCertificate(alice))).status).toBe(401)
})
