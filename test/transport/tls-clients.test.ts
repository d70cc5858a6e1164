import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as connectTls, createServer, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { NO_LAYERS } from '../../src/transport/endpoint.ts'
import {
  type ByteStream,
  dial,
  type Listening,
  listen,
  parseEndpoint,
  type TlsEndpoint,
} from '../../src/transport/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { Accepted, LISTEN, readAll, readUntil } from './support.ts'

let certificates: TestCertificates
let ca: CertificateFiles
let server: CertificateFiles
let client: CertificateFiles
let expired: CertificateFiles
let stranger: CertificateFiles
beforeAll(async () => {
  certificates = await TestCertificates.create()
  ca = await certificates.selfSigned('ca')
  const otherCa = await certificates.selfSigned('other-ca')
  server = await certificates.issued('server', ca)
  client = await certificates.issued('client', ca)
  expired = await certificates.issued('gone', ca, { expired: true })
  stranger = await certificates.issued('stranger', otherCa, { subject: '/O=Odd\u001b[2J Ltd/CN=stranger' })
})
afterAll(() => certificates.remove())

const open: (() => unknown)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

interface Site {
  readonly accepted: Accepted
  readonly listener: Listening
  readonly tcpPort: number
}

async function listening(extra: string, files = server): Promise<Site> {
  const accepted = new Accepted()
  const uri = `tls://127.0.0.1:0?cert=${files.cert}&key=${files.key}${extra}`
  const listener = await listen(parseEndpoint(uri, 'listen', 'vm'), accepted, LISTEN)
  open.push(() => listener.close())
  return { accepted, listener, tcpPort: 'tcpPort' in listener.endpoint ? listener.endpoint.tcpPort : 0 }
}

const asking = () => listening(`&ca=${ca.cert}`)

function to(tcpPort: number, shown: CertificateFiles | null): TlsEndpoint {
  const tls = {
    cert: shown?.cert ?? null,
    key: shown?.key ?? null,
    ca: ca.cert,
    pin: null,
    servername: null,
    tlsMin: '1.2',
  } as const
  return { scheme: 'tls', host: 'localhost', tcpPort, tls, vm: null, layers: NO_LAYERS }
}

async function dialled(tcpPort: number, shown: CertificateFiles | null): Promise<ByteStream> {
  const stream = await dial(to(tcpPort, shown), { timeoutMs: 5000 })
  open.push(() => stream.socket.destroy())
  stream.socket.on('error', () => {})
  return stream
}

/** A client other than ours, which tells all it gets. */
async function foreign(tcpPort: number, shown: CertificateFiles, options: object = {}) {
  const socket = connectTls({
    host: '127.0.0.1',
    port: tcpPort,
    rejectUnauthorized: false,
    cert: await readFile(shown.cert),
    key: await readFile(shown.key),
    ...options,
  })
  open.push(() => socket.destroy())
  const heard: string[] = []
  socket.on('data', (bytes) => heard.push(`data ${bytes}`))
  socket.on('session', () => heard.push('session'))
  socket.on('error', () => {})
  // Not at once: this is told from within OpenSSL's reading, where nobody may write.
  const resumable = new Promise((resolve) => socket.once('session', () => setImmediate(resolve)))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  return { socket, heard, resumable, closed }
}

/** Both sides of a refusal, in one line each. */
async function refusal(site: Site, shown: CertificateFiles | null): Promise<{ said: string; heard: string }> {
  const error = await dialled(site.tcpPort, shown).then(
    () => null,
    (thrown: Error) => thrown,
  )
  expect(error).toMatchObject({ code: 'VSPC_TLS_HANDSHAKE' })
  const problem = await site.accepted.nextProblem()
  expect(problem).toMatchObject({ kind: 'handshake', peer: { address: '127.0.0.1' } })
  expect(problem.error.code).toBe('VSPC_TLS_PEER_REFUSED')
  expect(site.accepted.streams).toEqual([])
  return { said: problem.error.message, heard: error?.message ?? '' }
}

async function bothWays(there: ByteStream, here: ByteStream): Promise<void> {
  there.socket.write('ping')
  expect(await readUntil(here.socket, 'ping')).toBe('ping')
  here.socket.write('pong')
  expect(await readUntil(there.socket, 'pong')).toBe('pong')
}

describe('a listener that asks for certificates', () => {
  test('takes who comes from its CA', async () => {
    const { accepted, tcpPort } = await asking()
    const there = await dialled(tcpPort, client)
    await bothWays(there, await accepted.nextStream())
  })

  test('hands over nobody without one, and both sides know why', async () => {
    const { said, heard } = await refusal(await asking(), null)
    expect(said).toBe('the peer shows no certificate, and this listener wants one; give the peer cert= and key=')
    expect(heard).toMatch(
      /^cannot reach tls:\/\/localhost:.*: TLS handshake failed: the peer wants a certificate from us; give cert= and key= \(/,
    )
  })

  test('hands over nobody from another CA, and says who it was, cleaned', async () => {
    const { said, heard } = await refusal(await asking(), stranger)
    expect(said).toBe(
      `the peer's certificate is refused: it does not come from ${ca.cert} (UNABLE_TO_VERIFY_LEAF_SIGNATURE); ` +
        `it is sha256:${stranger.sha256} (CN=stranger, O=Odd\\1B[2J Ltd)`,
    )
    expect(heard).toMatch(/TLS handshake failed: the peer closed the connection.*; it may not accept our certificate$/)
  })

  test('hands over nobody whose certificate has expired, and says when that was', async () => {
    const { said } = await refusal(await asking(), expired)
    expect(said).toContain("the peer's certificate is refused: it expired on Jan  1 00:00:00 2001 GMT; it is sha256:")
    expect(said).toContain('(CN=gone)')
  })

  test('hands over no server that shows its own certificate as a client', async () => {
    const serverOnly = await certificates.issued('server-only', ca, { usage: 'serverAuth' })
    const { said } = await refusal(await asking(), serverOnly)
    expect(said).toContain('it was not issued for this use (extended key usage)')
  })

  test('with a pin that alone decides: CA and date count for nothing', async () => {
    const { accepted, tcpPort } = await listening(`&pin=sha256:${expired.sha256}`)
    await bothWays(await dialled(tcpPort, expired), await accepted.nextStream())
    const site = await listening(`&ca=${ca.cert}&pin=sha256:${expired.sha256}`)
    const { said } = await refusal(site, client)
    expect(said).toBe(
      `the peer's certificate is refused: it shows sha256:${client.sha256} (CN=client), which is not the pinned one`,
    )
    expect((await refusal(site, null)).said).toContain('shows no certificate')
  })

  test.each(['TLSv1.2', 'TLSv1.3'])('sends not a byte to whom it refuses, with %s', async (version) => {
    const { accepted, tcpPort } = await asking()
    const { heard, closed } = await foreign(tcpPort, stranger, { minVersion: version, maxVersion: version })
    expect((await accepted.nextProblem()).error.code).toBe('VSPC_TLS_PEER_REFUSED')
    await closed
    expect(heard).toEqual([])
  })

  test.each(['TLSv1.2', 'TLSv1.3'])(
    'looks at every certificate anew: no session is resumed, with %s',
    async (version) => {
      const { accepted, tcpPort } = await asking()
      const options = { minVersion: version, maxVersion: version }
      const first = await foreign(tcpPort, client, options)
      const here = await accepted.nextStream()
      await first.resumable
      await bothWays({ ...here, socket: first.socket }, here)
      // With the session of one that was let in, by one that would not be.
      const second = await foreign(tcpPort, stranger, { ...options, session: first.socket.getSession() })
      expect((await accepted.nextProblem()).error.code).toBe('VSPC_TLS_PEER_REFUSED')
      await second.closed
      expect(second.heard).toEqual([])
    },
  )

  test('does not start without its CA file', async () => {
    await expect(listening('&ca=/nowhere/ca.pem')).rejects.toMatchObject({
      code: 'VSPC_TLS_FILES',
      message: 'cannot read the CA file /nowhere/ca.pem: there is no such file',
    })
    await expect(listening(`&ca=${ca.key}`)).rejects.toMatchObject({ code: 'VSPC_TLS_FILES' })
  })

  test('warns of a CA that has expired', async () => {
    const old = await certificates.selfSigned('old-ca', { expired: true })
    const { accepted } = await listening(`&ca=${old.cert}`)
    const { kind, error } = await accepted.nextProblem()
    expect(kind).toBe('certificate')
    expect(error.message).toMatch(/old-ca\.crt expired on /)
  })
})

describe('dialling', () => {
  test('an expired certificate is called that, with its date', async () => {
    const { tcpPort } = await listening('', expired)
    await expect(dialled(tcpPort, null)).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringMatching(
        new RegExp(
          `refused: it expired on Jan {2}1 00:00:00 2001 GMT, or, if it is the right one, pin=sha256:${expired.sha256}`,
        ),
      ),
    })
  })

  test.each([
    [null, /no common cipher or version.*, or it wants a certificate: cert= and key=$/],
    ['stranger', /(the peer closed the connection|no common cipher).*; it may not accept our certificate$/],
  ] as const)('a TLS 1.2 server refuses the certificate %s', async (shown, expected) => {
    const foreignServer = createServer({
      cert: await readFile(server.cert),
      key: await readFile(server.key),
      ca: await readFile(ca.cert),
      requestCert: true,
      maxVersion: 'TLSv1.2',
    })
    foreignServer.on('tlsClientError', () => {})
    foreignServer.listen(0, '127.0.0.1')
    await once(foreignServer, 'listening')
    open.push(() => foreignServer.close())
    const address = foreignServer.address()
    const tcpPort = typeof address === 'object' && address !== null ? address.port : 0
    await expect(dialled(tcpPort, shown === null ? null : stranger)).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringMatching(expected),
    })
  })

  test('what a server sends at once, and its end, are not lost', async () => {
    const { accepted, tcpPort } = await asking()
    accepted.onStream = ({ socket }) => socket.end('at once')
    const there = await dialled(tcpPort, client)
    expect(await readAll(there.socket)).toBe('at once')
  })

  test('a server without session tickets that waits for us is believed after a moment', async () => {
    const files = ['-cert', server.cert, '-key', server.key]
    const talking = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', '-num_tickets', '0', ...files])
    open.push(() => talking.kill('SIGKILL'))
    let printed = ''
    const tcpPort = await new Promise<number>((resolve) => {
      talking.stdout.on('data', (text) => {
        printed += text
        const found = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(printed)
        if (found !== null) resolve(Number(found[1]))
      })
    })
    const clock = new ManualClock()
    let stream: ByteStream | null = null
    const dialling = dial(to(tcpPort, client), { timeoutMs: 1e9, clock }).then((one) => {
      stream = one
    })
    const shaken = new Promise<void>((resolve) => {
      talking.stdout.on('data', (text) => {
        printed += text
        if (/CIPHER is|Ciphersuite|Shared ciphers/i.test(printed)) resolve()
      })
    })
    await shaken
    expect(stream).toBe(null)
    while (stream === null) {
      clock.advance(100)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await dialling
    const { socket } = stream as ByteStream
    open.push(() => socket.destroy())
    expect((socket as TLSSocket).getProtocol()).toBe('TLSv1.3')
    talking.stdin.write('hello\n')
    expect(await readUntil(socket, 'hello')).toContain('hello')
  })
})

describe('reload', () => {
  /** Files of a listener that can be replaced. */
  async function replaceable(): Promise<
    CertificateFiles & { ca: string; replace(by: CertificateFiles): Promise<void> }
  > {
    const cert = join(certificates.directory, 'live.crt')
    const key = join(certificates.directory, 'live.key')
    const caFile = join(certificates.directory, 'live-ca.crt')
    await copyFile(ca.cert, caFile)
    const replace = async (by: CertificateFiles): Promise<void> => {
      await copyFile(by.cert, cert)
      await copyFile(by.key, key)
    }
    await replace(server)
    return { cert, key, ca: caFile, sha256: server.sha256, replace }
  }

  async function shownBy(tcpPort: number): Promise<string> {
    const { socket } = await foreign(tcpPort, client)
    await once(socket, 'secureConnect')
    return socket.getPeerCertificate().fingerprint256.replaceAll(':', '').toLowerCase()
  }

  test('new certificates are for new handshakes, and live streams live on', async () => {
    const files = await replaceable()
    const { accepted, listener, tcpPort } = await listening(`&ca=${files.ca}`, files)
    const there = await dialled(tcpPort, client)
    const here = await accepted.nextStream()
    const renewed = await certificates.issued('renewed', ca)
    await files.replace(renewed)
    expect(await shownBy(tcpPort)).toBe(server.sha256)
    await listener.reload()
    expect(await shownBy(tcpPort)).toBe(renewed.sha256)
    await bothWays(there, here)
  })

  test('the CA is read again too', async () => {
    const files = await replaceable()
    const site = await listening(`&ca=${files.ca}`, files)
    await refusal(site, stranger)
    await copyFile(join(certificates.directory, 'other-ca.crt'), files.ca)
    await site.listener.reload()
    await dialled(site.tcpPort, stranger)
    await site.accepted.nextStream()
    expect((await refusal(site, client)).said).toContain(`it does not come from ${files.ca}`)
  })

  test('broken files leave the old ones in use, and are named', async () => {
    const files = await replaceable()
    const { accepted, listener, tcpPort } = await listening(`&ca=${files.ca}`, files)
    const there = await dialled(tcpPort, client)
    const here = await accepted.nextStream()
    await writeFile(files.cert, 'half a certifi')
    await expect(listener.reload()).rejects.toMatchObject({
      code: 'VSPC_TLS_FILES',
      message: expect.stringContaining(`cannot use ${files.cert}`),
    })
    // Half-way through a renewal: the new certificate with the old key.
    await copyFile(client.cert, files.cert)
    await expect(listener.reload()).rejects.toMatchObject({ code: 'VSPC_TLS_FILES' })
    expect(await shownBy(tcpPort)).toBe(server.sha256)
    await bothWays(there, here)
  })

  test('an expired certificate is taken, with the warning that a start would give', async () => {
    const files = await replaceable()
    const { accepted, listener } = await listening('', files)
    await files.replace(expired)
    await listener.reload()
    const { kind, error } = await accepted.nextProblem()
    expect(kind).toBe('certificate')
    expect(error.message).toMatch(/live\.crt expired on Jan {2}1 /)
  })

  test('nothing to read is no failure', async () => {
    const plain = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'vm'), new Accepted(), LISTEN)
    open.push(() => plain.close())
    await plain.reload()
  })
})
