import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { newSecret, TOKEN_PREFIX } from '../../src/access/index.ts'
import { loadConfig } from '../../src/app/index.ts'
import { BRK, DONT, IAC } from '../../src/telnet/index.ts'
import { TestCertificates } from '../support/certificates.ts'
import { startGuarded, TokenFile } from './access/support.ts'
import { type AppUnderTest, eventually, RawVm } from './support.ts'
import { atMenu, BareClient, freeRange, menuPortOf, telnetPortOf } from './telnet-support.ts'

const LISTEN = ['tcp://127.0.0.1:0?protocol=telnet&name=vm1', 'tcp://127.0.0.1:0?protocol=raw&name=vm2']

const TOKENS = {
  root: { roles: ['admin'] },
  operator: { roles: ['operator'], ports: ['vm1'] },
  viewer: { roles: ['viewer'], ports: ['vm1'] },
} as const

interface Guarded {
  readonly app: AppUnderTest
  readonly tokens: TokenFile
  readonly vm: RawVm
  readonly audit: string
}

async function guarded(access: object = {}, limits: object = {}, telnet: object = {}): Promise<Guarded> {
  const tokens = new TokenFile(TOKENS)
  const audit = join(tokens.folder, 'audit.jsonl')
  const app = await startGuarded(
    tokens,
    { audit: { file: audit }, ...access },
    { listen: LISTEN, telnet: { ports: await freeRange(), menu: '127.0.0.1:0', portEscape: '^Ec', ...telnet } },
    limits,
  )
  const vm = await RawVm.connect(app, 0)
  await RawVm.connect(app, 1)
  return { app, tokens, vm, audit }
}

async function atPort(app: AppUnderTest, token: string, port = 'vm1'): Promise<BareClient> {
  const client = await BareClient.to(await telnetPortOf(app, port))
  await client.next('token: ')
  client.write(`${token}\r`)
  return client
}

const consoles = (app: AppUnderTest, port = 'vm1') => app.server.table.resolve(port).consoles

describe('with access control', () => {
  test('nothing of a port is shown before a token counts; the token is not shown; what follows it is typed', async () => {
    const { app, tokens, vm } = await guarded()
    const client = await BareClient.to(await telnetPortOf(app))
    await client.next('[vspc] token: ')
    await vm.print(app, 'secret output')
    const token = tokens.of('operator')
    client.write(`${token}\r\0uptime\r\0`)
    const before = await client.next('[vspc] vm1 (name:vm1), online')
    expect(before).toBe('\r\n')
    await vm.hears('uptime\r')
    expect(client.text).not.toContain(token)
    expect(client.text).not.toContain('secret')
    expect(consoles(app).map(({ info }) => [info.who, info.via, info.address?.replace(/\d+$/, 'N')])).toEqual([
      ['operator', 'telnet', 'telnet:127.0.0.1:N'],
    ])
  })

  test('three wrong ones, and the connection is over; too many from one address are only told so; no token is recorded', async () => {
    const { app, tokens, audit } = await guarded({ failures: { burst: 4, refillMs: 60_000 } })
    const wrong = newSecret(TOKEN_PREFIX)
    const client = await atPort(app, wrong)
    await client.next('token: ')
    client.write('nonsense\r')
    await client.next('token: ')
    client.write('\r')
    await client.ended()
    for (let i = 0; i < 2; i++) {
      const next = await atPort(app, wrong)
      await next.hears('token: ')
      next.socket.destroy()
    }
    const limited = await atPort(app, wrong)
    await limited.next('too many requests from this address have shown what does not count')
    // Who has the right one is not kept out by others at the same address.
    const right = await atPort(app, tokens.of('operator'))
    await right.next('vm1 (name:vm1), online')
    await app.stop()
    const recorded = readFileSync(audit, 'utf8')
    expect(recorded).toContain('"action":"login"')
    expect(recorded).not.toContain(wrong)
    expect(JSON.stringify(app.logged.lines)).not.toContain(wrong)
    expect(recorded).not.toContain(tokens.of('operator'))
  })

  test('who shows nothing is sent away', async () => {
    const { app } = await guarded({}, { telnetLoginMs: 50 })
    const client = await atMenu(app)
    await client.ended()
    expect(client.text).toContain('[vspc] no token in time\r\n')
  })

  test('rights: a viewer reads, an operator types and breaks, neither throws out; all of it is recorded', async () => {
    const { app, tokens, vm, audit } = await guarded()
    const operator = await atPort(app, tokens.of('operator'))
    await operator.next('^Ec . leaves\r\n')
    const viewer = await atPort(app, tokens.of('viewer'))
    await viewer.next('online on 127.0.0.1, reading only; ')
    viewer.write('x')
    await viewer.next('reading only')
    viewer.write(Buffer.of(IAC, BRK))
    viewer.write('\x05ca')
    await viewer.next('(console.write): it takes the right "write"')
    viewer.write(`\x05ck${consoles(app)[0]?.id}\r`)
    await viewer.next('(console.kick): it takes the right "kick"')
    viewer.write('\x05cq')
    await viewer.next('(console.write): it takes the right "write"')
    // What is not allowed is not offered.
    viewer.write('\x05c?')
    expect(await viewer.next('type ^Ec itself')).not.toContain('^Ec k')
    operator.write(Buffer.of(IAC, BRK))
    await eventually(() => vm.received.includes(Buffer.of(IAC, BRK)))
    operator.write('typed')
    await vm.hears('typed')
    expect(vm.received.toString('latin1')).not.toContain('x')
    operator.write('\x05c.')
    await operator.ended()
    await app.stop()
    const records = readFileSync(audit, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const of = (who: string) =>
      records.filter((one) => one['who'] === who).map((one) => `${one['action']} ${one['allowed']}`)
    expect(of('operator')).toEqual([
      'login true',
      'console.read true',
      'console.write true',
      'console.break true',
      'console.detached true',
    ])
    expect(of('viewer')).toEqual(expect.arrayContaining(['console.kick false', 'console.write false']))
    expect(of('viewer')).not.toContain('console.break true')
  })

  test('the menu lists what may be listed, and a port of others is as one that is not there', async () => {
    const { app, tokens } = await guarded()
    const client = await atMenu(app)
    await client.next('token: ')
    client.write(`${tokens.of('viewer')}\r`)
    expect(await client.next('> ')).toMatch(/Serial ports: 1\r\n 1 {2}vm1/)
    client.write('vm2\r')
    await client.next('No port is called "vm2".\r\n> ')
    const port = await atPort(app, tokens.of('viewer'), 'vm2')
    await port.ended()
    expect(port.text).toContain('[vspc] there is nothing here for you\r\n')
    expect(port.text).not.toContain('vm2')
  })

  test('a token is removed: its console and its menu end', async () => {
    const { app, tokens } = await guarded()
    const client = await atPort(app, tokens.of('operator'))
    await client.next('leaves\r\n')
    const menu = await atMenu(app)
    await menu.next('token: ')
    menu.write(`${tokens.of('operator')}\r`)
    await menu.next('> ')
    tokens.remove('operator')
    await client.ended()
    await menu.ended()
    expect(client.text).toContain('operator is no longer known here')
    expect(menu.text).toContain('operator is no longer known here')
  })

  test('a rule for anyone: Enter is enough for what it gives', async () => {
    const { app } = await guarded({ rules: [{ who: ['anyone'], can: ['read'], ports: ['vm1'] }] })
    const client = await BareClient.to(await telnetPortOf(app))
    await client.next('token (Enter: without one): ')
    client.write('\r\n')
    await client.next('reading only; ')
  })

  test('a client that echoes for itself, and one that types on and on: a line has an end', async () => {
    const { app } = await guarded()
    const client = await atMenu(app)
    client.write(Buffer.of(IAC, DONT, 1))
    for (let i = 0; i < 20; i++) client.write('x'.repeat(60_000))
    client.write('\r')
    await client.next('token: ')
    await client.next('token: ')
  })
})

describe('over TLS', () => {
  async function withCertificate(): Promise<{
    certificates: TestCertificates
    use: (name: string) => Promise<void>
    files: { cert: string; key: string }
  }> {
    const certificates = await TestCertificates.create()
    onTestFinished(() => certificates.remove())
    const files = { cert: join(certificates.directory, 'live.crt'), key: join(certificates.directory, 'live.key') }
    const use = async (name: string) => {
      const made = await certificates.selfSigned(name)
      copyFileSync(made.cert, files.cert)
      copyFileSync(made.key, files.key)
    }
    await use('one')
    return { certificates, use, files }
  }
  const nameOf = ({ socket }: BareClient) => (socket as TLSSocket).getPeerCertificate().subject.CN

  test('menu and TCP ports; a plain client is only turned away; the certificate is read again', async () => {
    const { files, use } = await withCertificate()
    const { app, tokens, vm } = await guarded({}, {}, files)
    const client = await BareClient.overTls(await telnetPortOf(app))
    expect(nameOf(client)).toBe('one')
    await client.next('token: ')
    client.write(`${tokens.of('operator')}\r\0`)
    await client.next('^Ec . leaves\r\n')
    client.write('over TLS')
    await vm.hears('over TLS')
    const menu = await BareClient.overTls(menuPortOf(app))
    await menu.hears('token: ')

    const plain = await atMenu(app)
    plain.write('root\r\n')
    await plain.ended()
    expect(plain.text).not.toContain('token')

    await use('two')
    app.reload(loadConfig({ env: {}, flags: {} }))
    await eventually(() => app.logged.find('telnet: certificate read again') !== undefined)
    expect(nameOf(await BareClient.overTls(menuPortOf(app)))).toBe('two')
    expect(nameOf(await BareClient.overTls(await telnetPortOf(app)))).toBe('two')
    client.write(', still')
    await vm.hears('over TLS, still')
  })

  test.each([
    [{}, { cert: 'c.pem', key: 'k.pem' }, null],
    [{}, {}, /10\.0\.0\.1:5" can be reached from other machines, and tokens and all that is typed could be read/],
    [
      { rules: [{ who: ['anyone'], can: ['write'], ports: ['*'] }] },
      { cert: 'c.pem', key: 'k.pem' },
      /gives anyone more than to read/,
    ],
    [null, { cert: 'c.pem', key: 'k.pem' }, /nothing says who may use it/],
  ])('others reach it only with access control and TLS: %o %o', (access, tls, fault) => {
    const tokens = new TokenFile(TOKENS)
    const load = () =>
      loadConfig({
        env: {},
        flags: {
          telnet: { menu: '10.0.0.1:5', ports: '10.0.0.1:6-9', ...tls },
          ...(access === null ? {} : { access: { tokens: tokens.path, ...access } as never }),
        },
      })
    if (fault === null) expect(load().telnet?.menu).toEqual({ host: '10.0.0.1', tcpPort: 5 })
    else expect(load).toThrow(fault)
  })
})
