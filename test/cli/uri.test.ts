/** `vspc uri`: what is pasted must be what OpenSSL says of the certificate that the server really shows. */
import { execFile } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ListenerInfo } from '../../src/app/index.ts'
import { proxyUriFault, proxyUriHints } from '../../src/cli/point-uris.ts'
import { formatUris, uriReport } from '../../src/cli/uri-lines.ts'
import type { TcpEndpoint } from '../../src/transport/index.ts'
import { eventually, startApp } from '../app/support.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { runVspc } from '../support/cli.ts'
import { describeWithPeers } from '../support/peers.ts'
import { CERTIFICATE as THEIR_CERTIFICATE, LISTENER as THEIR_LISTENER } from './doctor-support.ts'

const run = promisify(execFile)
const NOW = Date.parse('2026-06-01T00:00:00Z')

const CERTIFICATE = { ...THEIR_CERTIFICATE, names: ['localhost', 'vspc.example.com'] }
const LISTENER: ListenerInfo = { ...THEIR_LISTENER, certificate: CERTIFICATE }

function report(change: Partial<ListenerInfo>, more: { host?: string; serviceUris?: string[]; now?: number } = {}) {
  const { host = null, serviceUris = [], now = NOW } = more
  return uriReport({ listeners: [{ ...LISTENER, ...change }], serviceUris, host, guesses: ['10.0.0.9'], now })
}

const only = (change: Partial<ListenerInfo>, more: Parameters<typeof report>[1] = {}) => {
  const [first] = report(change, more).listeners
  return { pinned: first?.pinned, plain: first?.plain, direct: first?.direct, notes: first?.notes.join('; ') }
}

describe('what leads to a listener', () => {
  const pin = `#thumbprint=${CERTIFICATE.sha1}`

  test('the host is the one that is said, else that of the listener, the certificate, this machine', () => {
    expect(only({}, { host: 'a.example' }).pinned).toBe(`telnets://a.example:13370${pin}`)
    expect(only({ host: '10.1.2.3' }).pinned).toBe(`telnets://10.1.2.3:13370${pin}`)
    expect(only({}).pinned).toBe(`telnets://vspc.example.com:13370${pin}`)
    expect(only({ certificate: null, tls: 'off' })).toMatchObject({ pinned: null, plain: 'telnet://10.0.0.9:13370' })
    expect(only({}, { host: '2001:db8::1' }).plain).toBe('telnet://[2001:db8::1]:13370')
  })

  test('plain is not offered where there is only TLS, and nothing where no host connects', () => {
    expect(only({ scheme: 'tls', tls: 'only' })).toMatchObject({ plain: null, notes: expect.any(String) })
    for (const change of [{ host: null, tcpPort: null, scheme: 'vsock' as const }, { forRelays: true }]) {
      expect(only(change)).toMatchObject({ pinned: null, plain: null, direct: null })
    }
    expect(only({ forRelays: true }).notes).toContain('relay')
  })

  test('a listener without the VMware extension is a service URI of its own, without vMotion', () => {
    const schemes = (['raw', 'telnet'] as const).flatMap((protocol) =>
      (['off', 'beside'] as const).map((tls) => only({ protocol, tls }, { host: 'h' }).direct),
    )
    expect(schemes).toEqual(['tcp://h:13370', 'ssl://h:13370', 'telnet://h:13370', 'telnets://h:13370'])
    expect(only({ protocol: 'raw' }).notes).toContain('no vMotion')
  })

  test('what will not work is said: loopback, another name, expired, a certificate asked of the host', () => {
    expect(only({ host: '127.0.0.1' }).notes).toContain('loopback only')
    expect(only({}, { host: 'other.example' }).notes).toContain('not for other.example')
    expect(only({}, { host: 'vspc.example.com' }).notes).toBe('')
    expect(only({}, { host: 'vspc.example.com', now: Date.parse('2027-01-02') }).notes).toContain(
      'expired on 2027-01-01',
    )
    expect(only({}, { host: 'vspc.example.com', now: Date.parse('2026-12-20') }).notes).toContain(
      'expires on 2027-01-01',
    )
    expect(only({ asksForCertificate: true }).notes).toContain('asks for a certificate')
    const wild = { ...CERTIFICATE, names: ['*.example.com'] }
    expect(only({ certificate: wild }, { host: 'a.example.com' }).notes).toBe('')
    expect(only({ certificate: wild }, { host: 'a.b.example.com' }).notes).toContain('not for')
  })

  test('the service URI is one that the server accepts: like a URL for vCenter, its own word for Nova', () => {
    expect(report({})).toMatchObject({ serviceURI: 'telnet://vspc:13370', nova: { serviceURI: 'vmware-vspc' } })
    const both = report({}, { serviceUris: ['x', 'telnet://mine', 'vmware-vspc'] })
    expect(both).toMatchObject({ serviceURI: 'telnet://mine', nova: { serviceURI: 'vmware-vspc' } })
    expect(report({}, { serviceUris: ['mine'] })).toMatchObject({ serviceURI: 'mine', nova: { serviceURI: 'mine' } })
    expect(report({ forRelays: true }).nova).toBeNull()
  })

  test('hostile texts of a certificate reach no terminal', () => {
    const certificate = { ...CERTIFICATE, subject: 'a\x1b]0;evil\x07', names: ['x\x1b[2J'] }
    expect(formatUris(report({ certificate })).join('')).not.toMatch(/[\x00-\x1f]/)
  })
})

describeWithPeers(['openssl'], 'vspc uri and OpenSSL', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vspc', { altNames: 'DNS:vspc.example.com' })
  })
  afterAll(() => certificates.remove())

  const fingerprint = async (pem: string, digest: string): Promise<string> => {
    const { stdout } = await run('openssl', ['x509', '-in', pem, '-noout', '-fingerprint', digest])
    return stdout.trim().split('=')[1] ?? ''
  }

  test('of files: the thumbprints are those of OpenSSL, and the URI is one that vspc point takes', async () => {
    const listen = `tcp://0.0.0.0:13370?cert=${certificate.cert}&key=${certificate.key}`
    const { code, stdout } = await runVspc(['uri', '--listen', listen, '--json'])
    const [found] = (JSON.parse(stdout.toString()) as ReturnType<typeof uriReport>).listeners
    expect(code).toBe(0)
    const sha1 = await fingerprint(certificate.cert, '-sha1')
    expect(sha1).toMatch(/^(?:[0-9A-F]{2}:){19}[0-9A-F]{2}$/)
    expect(found?.pinned).toBe(`telnets://vspc.example.com:13370#thumbprint=${sha1}`)
    expect(found?.listener.certificate?.sha256).toBe(await fingerprint(certificate.cert, '-sha256'))
    expect([proxyUriFault(found?.pinned ?? ''), proxyUriHints(found?.pinned ?? '')]).toEqual([null, []])
    const nova = await runVspc(['uri', '--listen', listen, '--host', '10.0.0.1', '--nova'])
    expect(nova.stdout.toString()).toBe(
      `[vmware]\nserial_port_service_uri = vmware-vspc\n` +
        `serial_port_proxy_uri = telnets://10.0.0.1:13370#thumbprint=${sha1}\n`,
    )
  })

  test('of a server: what it shows to who connects, also after the certificate was exchanged', async () => {
    const [cert, key] = [join(certificates.directory, 'live.crt'), join(certificates.directory, 'live.key')]
    const use = (files: CertificateFiles): void => {
      copyFileSync(files.cert, cert)
      copyFileSync(files.key, key)
    }
    use(certificate)
    const app = await startApp({
      listen: [`tcp://127.0.0.1:0?cert=${cert}&key=${key}`],
      serviceUris: ['telnet://mine'],
    })
    const { tcpPort } = app.server.listening[0] as TcpEndpoint
    const shown = async (): Promise<string> => {
      const client = run('openssl', ['s_client', '-connect', `127.0.0.1:${tcpPort}`])
      client.child.stdin?.end()
      const { stdout } = await client.catch((error: { stdout: string }) => error)
      const pem = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/.exec(stdout)?.[0] ?? ''
      const file = join(certificates.directory, 'shown.crt')
      writeFileSync(file, pem)
      return fingerprint(file, '-sha1')
    }
    const printed = async (): Promise<string> => {
      const { code, stdout } = await runVspc(['uri', '--server', app.url])
      expect(code).toBe(0)
      expect(stdout.toString()).toContain('service URI  telnet://mine\n')
      return /^ {2}proxy URI +telnets:\/\/127\.0\.0\.1:\d+#thumbprint=(\S+)$/m.exec(stdout.toString())?.[1] ?? ''
    }
    const before = await shown()
    expect(await printed()).toBe(before)
    use(await certificates.selfSigned('next'))
    void app.server.reloadCertificates()
    await eventually(() => app.logged.find('certificates read again') !== undefined)
    const after = await shown()
    expect(after).not.toBe(before)
    expect(await printed()).toBe(after)
  })

  test('nothing to paste is no success, and says why', async () => {
    const nothing = await runVspc(['uri', '--listen', 'unix:///run/nobody.sock'])
    expect([nothing.code, nothing.stdout.toString()]).toEqual([1, expect.stringContaining('a relay does')])
    expect((await runVspc(['uri', '--listen', 'unix:///run/nobody.sock', '--nova'])).code).toBe(1)
    const missing = await runVspc(['uri', '--listen', 'tls://0.0.0.0:1?cert=/nowhere&key=/nowhere'])
    expect([missing.code, missing.stderr]).toEqual([expect.any(Number), expect.stringContaining('/nowhere')])
    expect(missing.code).not.toBe(0)
    for (const args of [['--host', 'http://x'], ['--host', ''], ['--listen', 'tcq://x'], ['more']]) {
      expect([args, (await runVspc(['uri', ...args])).code]).toEqual([args, 2])
    }
  })
})
