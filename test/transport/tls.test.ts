import { once } from 'node:events'
import { chmod, writeFile } from 'node:fs/promises'
import { connect as connectNet, type Socket } from 'node:net'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ManualClock, systemClock } from '../../src/base/index.ts'
import { NO_LAYERS } from '../../src/transport/endpoint.ts'
import {
  type ByteStream,
  dial,
  formatEndpoint,
  type Listening,
  type ListenOptions,
  listen,
  loadServerTls,
  parseEndpoint,
  type TlsEndpoint,
  type TlsParameters,
  upgradeServer,
} from '../../src/transport/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { Accepted, asSocket, LISTEN, readAll, readUntil } from './support.ts'

let certificates: TestCertificates
let good: CertificateFiles
let other: CertificateFiles
beforeAll(async () => {
  certificates = await TestCertificates.create()
  good = await certificates.selfSigned('good')
  other = await certificates.selfSigned('other', { altNames: 'DNS:other.example' })
})
afterAll(() => certificates.remove())

const open: (() => unknown)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

const NO_TLS: TlsParameters = { cert: null, key: null, ca: null, pin: null, servername: null, tlsMin: '1.2' }

async function listening(
  scheme: 'tcp' | 'tls',
  options: Partial<ListenOptions> = {},
  files: CertificateFiles = good,
  extra = '',
): Promise<{ accepted: Accepted; listener: Listening; tcpPort: number }> {
  const accepted = new Accepted()
  const uri = `${scheme}://127.0.0.1:0?cert=${files.cert}&key=${files.key}${extra}`
  const listener = await listen(parseEndpoint(uri, 'listen', 'vm'), accepted, { ...LISTEN, ...options })
  open.push(() => listener.close())
  const tcpPort = 'tcpPort' in listener.endpoint ? listener.endpoint.tcpPort : 0
  return { accepted, listener, tcpPort }
}

async function rawClient(tcpPort: number): Promise<Socket> {
  const socket = connectNet({ host: '127.0.0.1', port: tcpPort, allowHalfOpen: true })
  socket.on('error', () => {})
  open.push(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

async function tlsClient(tcpPort: number, options: object = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port: tcpPort, rejectUnauthorized: false, ...options })
  open.push(() => socket.destroy())
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

/** Certificates are made today, so the time of day has to be right. */
class StoppedClock extends ManualClock {
  override wall(): number {
    return Date.now()
  }
}

/** The carrier of a TLS client, whose every byte is a packet of its own. */
function byteByByte(carrier: Socket): Duplex {
  carrier.setNoDelay(true)
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      let at = 0
      const next = (): void => {
        if (at < chunk.length) carrier.write(chunk.subarray(at, ++at), () => setImmediate(next))
        else done()
      }
      next()
    },
  })
  carrier.on('data', (chunk) => stream.push(chunk))
  carrier.on('end', () => stream.push(null))
  return stream
}

function toLocalhost(tcpPort: number, tls: Partial<TlsParameters>, host = 'localhost'): TlsEndpoint {
  return { scheme: 'tls', host, tcpPort, tls: { ...NO_TLS, ...tls }, vm: null, layers: NO_LAYERS }
}

describe('plain and TLS on one listener (C52)', () => {
  test('0x16 is TLS, and not a byte of the handshake is lost', async () => {
    const { accepted, tcpPort } = await listening('tcp')
    const client = await tlsClient(tcpPort)
    const server = await accepted.nextStream()
    expect(server.peer).toMatchObject({
      address: '127.0.0.1',
      transport: 'tls',
      display: `127.0.0.1:${client.localPort}`,
    })
    client.write('hello')
    expect(await readUntil(server.socket, 'hello')).toBe('hello')
  })

  test('0xFF is plain, and not a byte is lost', async () => {
    const { accepted, tcpPort } = await listening('tcp')
    const client = await rawClient(tcpPort)
    client.end(Buffer.from('fffb25fffb00', 'hex'))
    const server = await accepted.nextStream()
    expect(server.peer.transport).toBe('tcp')
    expect(Buffer.from(await readAll(server.socket), 'latin1').toString('hex')).toBe('fffb25fffb00')
  })

  test('a ClientHello that arrives byte by byte is still TLS', async () => {
    const { accepted, tcpPort } = await listening('tcp')
    const carrier = await rawClient(tcpPort)
    const client = connectTls({ socket: byteByByte(carrier), rejectUnauthorized: false })
    open.push(() => client.destroy())
    await once(client, 'secureConnect')
    const server = await accepted.nextStream()
    server.socket.write('welcome')
    expect(await readUntil(client, 'welcome')).toBe('welcome')
  })

  test('silence is plain after firstByteMs, and what comes later arrives', async () => {
    const clock = new StoppedClock()
    const { accepted, tcpPort } = await listening('tcp', { clock })
    const client = await rawClient(tcpPort)
    // The connection shows at the server as a pending timer.
    while (clock.pending === 0) await new Promise(setImmediate)
    clock.advance(LISTEN.limits.firstByteMs - 1)
    expect(accepted.streams).toEqual([])
    clock.advance(1)
    const server = await accepted.nextStream()
    server.socket.write('login: ')
    expect(await readUntil(client, 'login: ')).toBe('login: ')
    client.end('\u0016 is data now')
    expect(await readAll(server.socket)).toBe('\u0016 is data now')
    expect(clock.pending).toBe(0)
  })

  test('a peer that ends its side at once is plain and can still read', async () => {
    const { accepted, tcpPort } = await listening('tcp')
    const client = await rawClient(tcpPort)
    accepted.onStream = ({ socket }) => {
      socket.resume()
      socket.on('end', () => socket.end('bye'))
    }
    client.end()
    expect(await readAll(client)).toBe('bye')
  })

  test('an owner that pauses at once is not fed', async () => {
    const { accepted, tcpPort } = await listening('tcp')
    const chunks: string[] = []
    accepted.onStream = ({ socket }) => {
      socket.on('data', (chunk: Buffer) => chunks.push(chunk.toString()))
      socket.pause()
    }
    const client = await rawClient(tcpPort)
    client.end('data')
    const { socket } = await accepted.nextStream()
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    expect(chunks).toEqual([])
    socket.resume()
    await once(socket, 'end')
    expect(chunks.join('')).toBe('data')
  })

  test('a silent peer that resets leaves nothing behind', async () => {
    const clock = new StoppedClock()
    const { accepted, tcpPort } = await listening('tcp', { clock })
    const client = await rawClient(tcpPort)
    while (clock.pending === 0) await new Promise(setImmediate)
    client.resetAndDestroy()
    while (clock.pending > 0) await new Promise(setImmediate)
    expect(accepted.streams).toEqual([])
    expect(accepted.problems).toEqual([])
  })

  test('a handshake that stalls is dropped by timer and reported', async () => {
    const clock = new StoppedClock()
    const { accepted, tcpPort } = await listening('tcp', { clock })
    const client = await rawClient(tcpPort)
    client.write(Buffer.from('160301', 'hex'))
    while (clock.pending === 0) await new Promise(setImmediate)
    const closed = once(client, 'close')
    // Either the first byte is still awaited, or the handshake has begun: its timer is the later one.
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    clock.advance(LISTEN.limits.tlsHandshakeMs)
    const problem = await accepted.nextProblem()
    expect(problem).toMatchObject({ kind: 'handshake', peer: { address: '127.0.0.1' } })
    expect(problem.error).toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: 'TLS handshake not finished within 10000 ms',
    })
    client.end()
    await closed
  })

  test('close() drops peers that are not through yet, without a report', async () => {
    const clock = new StoppedClock()
    const { accepted, listener, tcpPort } = await listening('tcp', { clock })
    const silent = await rawClient(tcpPort)
    const shaking = await rawClient(tcpPort)
    shaking.write(Buffer.from('160301', 'hex'))
    while (clock.pending < 2) await new Promise(setImmediate)
    const gone = [silent, shaking].map((socket) => new Promise((resolve) => socket.resume().once('close', resolve)))
    for (const socket of [silent, shaking]) socket.on('end', () => socket.end())
    await listener.close()
    await Promise.all(gone)
    expect(accepted.problems).toEqual([])
    expect(accepted.streams).toEqual([])
  })
})

describe('tls: listeners', () => {
  test('half-close works through TLS', async () => {
    const { accepted, tcpPort } = await listening('tls')
    const client = await dial(toLocalhost(tcpPort, { ca: good.cert }), { timeoutMs: 5000 })
    open.push(() => client.socket.destroy())
    const server = await accepted.nextStream()
    client.socket.end('request')
    expect(await readAll(server.socket)).toBe('request')
    server.socket.end('late answer')
    expect(await readAll(client.socket)).toBe('late answer')
  })

  test('a plain peer is reported with its address and a reason, and dropped', async () => {
    const { accepted, tcpPort } = await listening('tls')
    const client = await rawClient(tcpPort)
    client.write('GET / HTTP/1.0\r\n\r\n')
    const { kind, peer, error } = await accepted.nextProblem()
    expect({ kind, display: peer?.display }).toEqual({ kind: 'handshake', display: `127.0.0.1:${client.localPort}` })
    expect(error.code).toBe('VSPC_TLS_HANDSHAKE')
    expect(error.message).toContain('does not speak TLS')
    client.end()
    await once(client, 'close')
  })

  test('a broken record after the handshake closes the stream with an error', async () => {
    const { accepted, tcpPort } = await listening('tls')
    const carrier = await rawClient(tcpPort)
    const client = connectTls({ socket: byteByByte(carrier), rejectUnauthorized: false })
    client.on('error', () => {})
    await once(client, 'secureConnect')
    const { socket } = await accepted.nextStream()
    socket.resume()
    const failed = once(socket, 'error')
    const closed = new Promise((resolve) => socket.once('close', resolve))
    // Past the client's TLS layer.
    carrier.write(Buffer.from('170303000548656c6c6f', 'hex'))
    await failed
    await closed
  })

  test('old hosts: TLS 1.0 only where tlsMin allows it', async () => {
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }
    const lenient = await listening('tls', {}, good, '&tlsMin=1.0')
    const client = await tlsClient(lenient.tcpPort, old)
    expect(client.getProtocol()).toBe('TLSv1')
    const strict = await listening('tls')
    await expect(tlsClient(strict.tcpPort, old)).rejects.toThrow()
    const { error } = await strict.accepted.nextProblem()
    expect(error.message).toMatch(/old hosts need a lower tlsMin=/)
  })

  test('an expired certificate is reported, and the listener works', async () => {
    const expired = await certificates.selfSigned('expired', { expired: true })
    const { accepted, tcpPort } = await listening('tls', {}, expired)
    const { kind, error } = await accepted.nextProblem()
    expect(kind).toBe('certificate')
    expect(error.message).toMatch(/expired\.crt expired on Jan {2}1 .* 2001/)
    await tlsClient(tcpPort)
    await accepted.nextStream()
  })
})

describe('certificate files', () => {
  async function refused(cert: string, key: string): Promise<string> {
    const error = await loadServerTls({ ...NO_TLS, cert, key }, systemClock.wall()).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'VSPC_TLS_FILES' })
    return (error as Error).message
  }

  test('missing', async () => {
    expect(await refused('/nowhere/x.crt', good.key)).toBe(
      'cannot read the certificate /nowhere/x.crt: there is no such file',
    )
    expect(await refused(good.cert, '/nowhere/x.key')).toBe('cannot read the key /nowhere/x.key: there is no such file')
  })

  test('a directory', async () => {
    expect(await refused(certificates.directory, good.key)).toContain('it is a directory')
  })

  test('the key of another certificate', async () => {
    expect(await refused(good.cert, other.key)).toMatch(/other\.key does not belong to the certificate .*good\.crt/)
  })

  test('swapped', async () => {
    expect(await refused(good.key, good.cert)).toContain('are cert= and key= swapped?')
  })

  test('not PEM', async () => {
    const junk = join(certificates.directory, 'junk')
    await writeFile(junk, 'junk')
    await chmod(junk, 0o600)
    expect(await refused(junk, good.key)).toContain('no certificate in PEM form')
    expect(await refused(good.cert, junk)).toContain('no private key in PEM form')
  })

  test('a key with a passphrase', async () => {
    const locked = await certificates.selfSigned('locked', { passphrase: 'test only' })
    expect(await refused(locked.cert, locked.key)).toContain('protected by a passphrase')
  })
})

describe('dialling tls:', () => {
  test('the CA decides when there is no pin', async () => {
    const { tcpPort } = await listening('tls')
    const stream = await dial(toLocalhost(tcpPort, { ca: good.cert }), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
    expect(stream.peer.transport).toBe('tls')
    await expect(dial(toLocalhost(tcpPort, {}), { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringMatching(
        new RegExp(`tls://localhost:.*not trusted .*ca=FILE, or, .*pin=sha256:${good.sha256}`),
      ),
    })
    await expect(dial(toLocalhost(tcpPort, { ca: other.cert }), { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringContaining(`it does not come from ${other.cert}`),
    })
  })

  test('an address is checked as an address', async () => {
    const { tcpPort } = await listening('tls')
    const stream = await dial(toLocalhost(tcpPort, { ca: good.cert }, '127.0.0.1'), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
  })

  test('a certificate for another name is refused, and servername mends it', async () => {
    const { tcpPort } = await listening('tls', {}, other)
    await expect(dial(toLocalhost(tcpPort, { ca: other.cert }), { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringContaining('not issued for localhost; give the name it was issued for as servername='),
    })
    const stream = await dial(toLocalhost(tcpPort, { ca: other.cert, servername: 'other.example' }), {
      timeoutMs: 5000,
    })
    open.push(() => stream.socket.destroy())
  })

  test('a pin that fits needs no CA and no name', async () => {
    const { tcpPort } = await listening('tls', {}, other)
    const stream = await dial(toLocalhost(tcpPort, { pin: other.sha256 }), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
  })

  test('a pin that does not fit is fatal even if the CA would do, and nothing is handed over', async () => {
    const { tcpPort } = await listening('tls')
    await expect(
      dial(toLocalhost(tcpPort, { ca: good.cert, pin: other.sha256 }), { timeoutMs: 5000 }),
    ).rejects.toMatchObject({
      code: 'VSPC_TLS_PIN_MISMATCH',
      message: expect.stringContaining(`shows certificate sha256:${good.sha256}`),
    })
  })

  test('a plain server is no TLS server, and says so', async () => {
    const accepted = new Accepted()
    const plain = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), accepted, LISTEN)
    open.push(() => plain.close())
    const tcpPort = 'tcpPort' in plain.endpoint ? plain.endpoint.tcpPort : 0
    const dialling = dial(toLocalhost(tcpPort, {}), { timeoutMs: 5000 })
    const { socket } = await accepted.nextStream()
    socket.end(Buffer.from('fffd2c', 'hex').toString('latin1').repeat(10))
    await expect(dialling).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringMatching(
        /^cannot reach tls:\/\/localhost:\d+: TLS handshake failed: the peer does not speak TLS here/,
      ),
    })
  })

  test('a server that never answers is given up by the deadline, and an abort ends it at once', async () => {
    const accepted = new Accepted()
    const plain = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), accepted, LISTEN)
    open.push(() => plain.close())
    const tcpPort = 'tcpPort' in plain.endpoint ? plain.endpoint.tcpPort : 0
    const clock = new StoppedClock()
    const slow = dial(toLocalhost(tcpPort, {}), { timeoutMs: 500, clock })
    slow.catch(() => {})
    const first = await accepted.nextStream()
    await once(first.socket, 'readable')
    clock.advance(500)
    await expect(slow).rejects.toMatchObject({
      code: 'VSPC_TLS_HANDSHAKE',
      message: expect.stringContaining('not finished'),
    })
    const abort = new AbortController()
    const aborted = dial(toLocalhost(tcpPort, {}), { timeoutMs: 5000, signal: abort.signal })
    aborted.catch(() => {})
    const second = await accepted.nextStream()
    await once(second.socket, 'readable')
    abort.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
  })

  test('missing files are named before anything is sent', async () => {
    const { tcpPort } = await listening('tls')
    await expect(dial(toLocalhost(tcpPort, { ca: '/nowhere/ca.pem' }), { timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'VSPC_TLS_FILES',
      message: 'cannot read the CA file /nowhere/ca.pem: there is no such file',
    })
  })
})

describe('upgrade of a running stream', () => {
  test('bytes read past the switch come first', async () => {
    const accepted = new Accepted()
    const plain = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), accepted, LISTEN)
    open.push(() => plain.close())
    const { context } = await loadServerTls({ ...NO_TLS, cert: good.cert, key: good.key }, systemClock.wall())
    const client = await rawClient('tcpPort' in plain.endpoint ? plain.endpoint.tcpPort : 0)
    const stream = await accepted.nextStream()
    client.write('START')
    // The client starts TLS without waiting, so part of its ClientHello may come in the same chunk.
    const secure = connectTls({ socket: client, rejectUnauthorized: false })
    open.push(() => secure.destroy())
    let seen = Buffer.alloc(0)
    const upgraded = await new Promise<ByteStream>((resolve) => {
      const onData = (chunk: Buffer): void => {
        seen = Buffer.concat([seen, chunk])
        if (seen.length < 20) return
        stream.socket.off('data', onData)
        resolve(upgradeServer(stream, { context, head: seen.subarray(5), handshakeMs: 5000, clock: systemClock }))
      }
      stream.socket.on('data', onData)
    })
    expect(seen.subarray(0, 5).toString()).toBe('START')
    expect(upgraded.peer.transport).toBe('tls')
    secure.write('ping')
    expect(await readUntil(upgraded.socket, 'ping')).toBe('ping')
    upgraded.socket.write('pong')
    expect(await readUntil(secure, 'pong')).toBe('pong')
    // Closing the upgraded stream closes the connection itself.
    const ended = once(client, 'close')
    secure.on('end', () => secure.end())
    secure.on('error', () => {})
    upgraded.socket.destroy()
    await ended
    expect(asSocket(stream).destroyed).toBe(true)
  })
})

test('the endpoint of a listener that is printed can be parsed again', async () => {
  const { listener } = await listening('tcp')
  expect(parseEndpoint(formatEndpoint(listener.endpoint), 'listen', 'vm')).toEqual(listener.endpoint)
})
