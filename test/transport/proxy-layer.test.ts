import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Clock, ManualClock, parseHex, systemClock } from '../../src/base/index.ts'
import {
  type Announced,
  type ByteStream,
  dial,
  type Endpoint,
  type Listening,
  type ListenOptions,
  listen,
  type PeerInfo,
  parseEndpoint,
  parseTrustedSources,
  readChunks,
  type TrustedSources,
} from '../../src/transport/index.ts'
import { announcedPeer, unixPeer } from '../../src/transport/peer.ts'
import { ProxyReader, sendProxyHeader } from '../../src/transport/proxy-layer.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { Accepted, asSocket, LISTEN, readUntil } from './support.ts'

const open: (() => unknown)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

const LOOPBACK = parseTrustedSources(['127.0.0.0/8'])
const SIGNATURE = '0d0a0d0a000d0a515549540a'

/** From 10.0.0.7:51234 to 192.0.2.1:13370, VM "vm1", label "com2". */
const HEADER = `${SIGNATURE} 2111 0019 0a000007 c0000201 c822343a 050003 766d31 e00004 636f6d32`

interface Site {
  readonly accepted: Accepted
  readonly reader: ProxyReader
  readonly listener: Listening
  readonly endpoint: Endpoint
  readonly tcpPort: number
}

interface SiteOptions {
  readonly uri?: string
  readonly trusted?: TrustedSources
  readonly clock?: Clock
  readonly authenticated?: boolean
}

async function site(options: SiteOptions = {}): Promise<Site> {
  const { uri = 'tcp://127.0.0.1:0', trusted = LOOPBACK, clock = systemClock, authenticated = false } = options
  const accepted = new Accepted()
  const listenOptions: ListenOptions = { ...LISTEN, clock, trusted }
  const reader = new ProxyReader(accepted, listenOptions, authenticated)
  const handlers = {
    stream: (stream: ByteStream) => reader.take(stream),
    problem: accepted.problem.bind(accepted),
  }
  const listener = await listen(parseEndpoint(uri, 'listen', 'vm'), handlers, listenOptions)
  open.push(() => reader.close())
  open.push(() => listener.close())
  const { endpoint } = listener
  return { accepted, reader, listener, endpoint, tcpPort: 'tcpPort' in endpoint ? endpoint.tcpPort : 0 }
}

async function caller(tcpPort: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: tcpPort, allowHalfOpen: true, noDelay: true })
  socket.on('error', () => {})
  open.push(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

function bytes(hex: string): Buffer {
  const parsed = parseHex(hex)
  if (parsed === null) throw new Error(`no hex: ${hex}`)
  return Buffer.from(parsed)
}

/** A socket whose every byte is written alone, and has arrived alone, as far as the system can be made to. */
async function trickle(socket: Socket, all: Uint8Array): Promise<void> {
  for (const byte of all) {
    await new Promise((resolve) => socket.write(Uint8Array.of(byte), resolve))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('streams that begin with a header', () => {
  test('are those of whom it names, with what follows', async () => {
    const { accepted, tcpPort } = await site()
    const client = await caller(tcpPort)
    client.write(Buffer.concat([bytes(HEADER), Buffer.from('login: ')]))
    const stream = await accepted.nextStream()
    expect(stream.peer).toMatchObject({ address: '10.0.0.7', display: '10.0.0.7:51234', transport: 'tcp' })
    expect(stream.announced).toEqual({ uniqueId: 'vm1', label: 'com2' })
    expect(stream.via).toMatchObject({ display: `127.0.0.1:${client.localPort}`, transport: 'tcp' })
    expect(await readUntil(stream.socket, 'login: ')).toBe('login: ')
    stream.socket.write('root\n')
    expect(await readUntil(client, 'root\n')).toBe('root\n')
  })

  test('byte by byte too', async () => {
    const { accepted, tcpPort } = await site()
    const client = await caller(tcpPort)
    await trickle(client, Buffer.concat([bytes(HEADER), Buffer.from('hello')]))
    const stream = await accepted.nextStream()
    expect(stream.announced?.uniqueId).toBe('vm1')
    expect(await readUntil(stream.socket, 'hello')).toBe('hello')
  })

  test.each([
    ['in one packet', true],
    ['after it', false],
  ])('are read without a copy each, and to their end, when data come %s', async (_when, together) => {
    const { accepted, tcpPort } = await site()
    const all = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 0xff))
    const received: Buffer[] = []
    const ended = new Promise<void>((resolve) => {
      accepted.onStream = ({ socket }) => {
        readChunks(socket, (chunk) => received.push(Buffer.from(chunk)))
        socket.once('end', resolve)
      }
    })
    const client = await caller(tcpPort)
    if (together) client.end(Buffer.concat([bytes(HEADER), all]))
    else {
      client.write(bytes(HEADER))
      await accepted.nextStream()
      client.end(all)
    }
    await ended
    expect(Buffer.concat(received).equals(all)).toBe(true)
  })

  test('may end with it: the owner is told', async () => {
    const { accepted, tcpPort } = await site()
    const ended = new Promise<void>((resolve) => {
      accepted.onStream = ({ socket }) => {
        socket.once('end', resolve)
        readChunks(socket, () => {})
      }
    })
    const client = await caller(tcpPort)
    client.end(bytes(HEADER))
    const { socket } = await accepted.nextStream()
    await ended
    socket.write('still here')
    expect(await readUntil(client, 'still here')).toBe('still here')
  })

  test('wait for an owner that is not ready: its pause() counts', async () => {
    const { accepted, tcpPort } = await site()
    const received: string[] = []
    accepted.onStream = ({ socket }) => {
      socket.on('data', (chunk) => received.push(String(chunk)))
      socket.pause()
    }
    const client = await caller(tcpPort)
    client.write(Buffer.concat([bytes(HEADER), Buffer.from('early')]))
    const { socket } = await accepted.nextStream()
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    expect(received).toEqual([])
    socket.resume()
    await once(socket, 'data')
    expect(received).toEqual(['early'])
  })

  test('LOCAL is the relay itself, and it may name a VM', async () => {
    const { accepted, tcpPort } = await site()
    const client = await caller(tcpPort)
    client.write(bytes(`${SIGNATURE} 2000 0006 050003 766d31`))
    const { peer, via, announced } = await accepted.nextStream()
    expect(peer).toBe(via)
    expect(peer.display).toBe(`127.0.0.1:${client.localPort}`)
    expect(announced).toEqual({ uniqueId: 'vm1', label: null })
  })

  test('CIDs of two hosts are not mixed', async () => {
    const { accepted, tcpPort } = await site()
    const client = await caller(tcpPort)
    client.write(Buffer.concat([bytes(`${SIGNATURE} 2100 000f e1000c`), Buffer.from('vsock:3:1234')]))
    const { peer } = await accepted.nextStream()
    expect(peer).toMatchObject({ address: 'vsock:3@127.0.0.1', transport: 'vsock' })
    expect(peer.display).toBe('vsock:3:1234@127.0.0.1')
  })
})

describe('what is no such stream', () => {
  test('from who is not trusted is dropped unread, and said', async () => {
    const { accepted, tcpPort } = await site({ trusted: parseTrustedSources(['10.0.0.0/8', 'unix']) })
    const client = await caller(tcpPort)
    client.write(bytes(HEADER))
    const { kind, peer, error } = await accepted.nextProblem()
    expect({ kind, code: error.code, peer: peer?.address }).toEqual({
      kind: 'proxy',
      code: 'VSPC_PROXY_UNTRUSTED',
      peer: '127.0.0.1',
    })
    expect(error.message).toBe(
      `127.0.0.1:${client.localPort} is not trusted to say where streams come from; if it is a relay of yours, ` +
        'add "127.0.0.1" to trustedProxies (--trusted-proxy)',
    )
    await new Promise((resolve) => client.once('close', resolve).resume().on('end', resolve))
    expect(accepted.streams).toEqual([])
  })

  test('without a word about trust nobody is trusted', async () => {
    const accepted = new Accepted()
    const reader = new ProxyReader(accepted, LISTEN, true)
    const handlers = { stream: (stream: ByteStream) => reader.take(stream), problem: () => {} }
    const listener = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'vm'), handlers, LISTEN)
    open.push(() => listener.close())
    await caller('tcpPort' in listener.endpoint ? listener.endpoint.tcpPort : 0)
    expect((await accepted.nextProblem()).error.code).toBe('VSPC_PROXY_UNTRUSTED')
  })

  test('without header is refused at its first byte', async () => {
    const { accepted, tcpPort } = await site()
    const client = await caller(tcpPort)
    client.write(Buffer.from('secret'))
    const { kind, error } = await accepted.nextProblem()
    expect({ kind, code: error.code }).toEqual({ kind: 'proxy', code: 'VSPC_PROXY_HEADER' })
    expect(error.message).not.toContain('secret')
    expect(accepted.streams).toEqual([])
  })

  test('is given up when the header does not come in time, a byte now and then or not', async () => {
    const clock = new ManualClock()
    const { accepted, tcpPort } = await site({ clock })
    const silent = await caller(tcpPort)
    const slow = await caller(tcpPort)
    slow.write(bytes(SIGNATURE))
    // Both are there, and the slow one's bytes too, once a third has been handed over.
    const third = await caller(tcpPort)
    third.write(bytes(HEADER))
    await accepted.nextStream()
    clock.advance(LISTEN.limits.proxyHeaderMs - 1)
    expect(accepted.problems).toEqual([])
    clock.advance(1)
    expect((await accepted.nextProblem()).error.message).toBe(
      'no PROXY protocol v2 header: it did not come within 5000 ms',
    )
    expect((await accepted.nextProblem()).error.code).toBe('VSPC_PROXY_HEADER')
    await Promise.all([silent, slow].map((one) => new Promise((resolve) => one.resume().on('close', resolve).end())))
    expect(third.destroyed).toBe(false)
    expect(clock.pending).toBe(0)
  })

  test('that goes at once is no problem; in the middle of its header it is one', async () => {
    const { accepted, tcpPort } = await site()
    const scan = await caller(tcpPort)
    scan.end()
    await once(scan.resume(), 'close')
    const half = await caller(tcpPort)
    half.end(bytes(HEADER).subarray(0, 20))
    expect((await accepted.nextProblem()).error.message).toBe('no PROXY protocol v2 header: the stream ended within it')
    expect([accepted.problems, accepted.streams]).toEqual([[], []])
  })

  test('close() drops those that have not said who they are, and nobody else', async () => {
    const clock = new ManualClock()
    const { accepted, reader, tcpPort } = await site({ clock })
    const waiting = await caller(tcpPort)
    const known = await caller(tcpPort)
    known.write(bytes(HEADER))
    const { socket } = await accepted.nextStream()
    reader.close()
    await once(waiting.resume(), 'end')
    socket.write('alive')
    expect(await readUntil(known, 'alive')).toBe('alive')
    expect([accepted.problems, accepted.streams, clock.pending]).toEqual([[], [], 0])
  })
})

describe('a header of ours', () => {
  async function passedOn(to: Site, announced: Announced): Promise<ByteStream> {
    const { endpoint } = to
    const stream = await dial(parseEndpoint(`tcp://127.0.0.1:${to.tcpPort}`, 'dial', 'plain'), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
    expect(endpoint.scheme).toBe('tcp')
    sendProxyHeader(stream, announced)
    stream.socket.write('after')
    const taken = await to.accepted.nextStream()
    expect(await readUntil(taken.socket, 'after')).toBe('after')
    return taken
  }

  const NAMED = { uniqueId: '420f4e34-30ba-d9be-d4a3-0b6c3c2bd6a1', label: 'com1' }
  const ipPeer = (address: string, display: string): PeerInfo => ({ address, display, transport: 'tcp' })

  test.each([
    ['10.0.0.7', '10.0.0.7:51234', '10.0.0.7:51234'],
    ['2001:db8::7', '[2001:db8::7]:51234', '[2001:db8::7]:51234'],
    ['fe80::7%eth0', '[fe80::7%eth0]:51234', '[fe80::7]:51234'],
    ['10.0.0.7', 'somebody', '10.0.0.7:0'],
    ['10.0.0.7', 'somebody:99999', '10.0.0.7:0'],
  ])('carries an IP source %s (%s)', async (address, display, expected) => {
    const taken = await passedOn(await site(), { source: ipPeer(address, display), ...NAMED })
    expect(taken.peer).toMatchObject({ display: expected, transport: 'tcp' })
    expect(taken.announced).toEqual(NAMED)
  })

  test('carries what has no IP address as text, over several relays', async () => {
    const source: PeerInfo = { address: 'vsock:5', display: 'vsock:5:1234', transport: 'vsock' }
    const to = await site()
    const first = await passedOn(to, { source, ...NAMED })
    expect(first.peer.address).toBe('vsock:5@127.0.0.1')
    // The next relay has an address of its own; the first one stays known.
    const far = announcedPeer('vsock:5:1234@10.0.0.7', first.peer)
    const second = await passedOn(to, { source: far, uniqueId: null, label: null })
    expect(second.peer).toMatchObject({ address: 'vsock:5@10.0.0.7', display: 'vsock:5:1234@10.0.0.7' })
    expect(second.announced).toEqual({ uniqueId: null, label: null })
    const pipe = await passedOn(to, { source: unixPeer('/run/vm1.sock'), ...NAMED })
    expect(pipe.peer).toMatchObject({ address: 'unix:/run/vm1.sock@127.0.0.1', transport: 'unix' })
  })

  test('of our own stream names the VM alone', async () => {
    const taken = await passedOn(await site(), { source: null, ...NAMED })
    expect(taken.peer).toBe(taken.via)
    expect(taken.announced).toEqual(NAMED)
  })

  test('with a name that is too long is not sent', async () => {
    const to = await site()
    const stream = await dial(parseEndpoint(`tcp://127.0.0.1:${to.tcpPort}`, 'dial', 'plain'), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
    expect(() => sendProxyHeader(stream, { source: null, uniqueId: 'x'.repeat(129), label: null })).toThrow(
      /so announce its UUID/,
    )
    expect(asSocket(stream)).toMatchObject({ bytesWritten: 0, destroyed: true })
  })

  test('says which of our addresses it was sent from', async () => {
    const door = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), new Accepted(), LISTEN)
    open.push(() => door.close())
    const accepted = new Accepted()
    const plain = await listen(parseEndpoint('tcp://127.0.0.1:0', 'listen', 'plain'), accepted, LISTEN)
    open.push(() => plain.close())
    const uri = `tcp://127.0.0.1:${'tcpPort' in plain.endpoint ? plain.endpoint.tcpPort : 0}`
    const stream = await dial(parseEndpoint(uri, 'dial', 'plain'), { timeoutMs: 5000 })
    open.push(() => stream.socket.destroy())
    sendProxyHeader(stream, { source: ipPeer('10.0.0.7', '10.0.0.7:1'), uniqueId: null, label: null })
    const { socket } = await accepted.nextStream()
    await once(socket, 'readable')
    const header: Buffer = socket.read()
    const localPort = asSocket(stream).localPort ?? 0
    expect(header.subarray(16, 28).toString('hex')).toBe(
      `0a0000077f0000010001${localPort.toString(16).padStart(4, '0')}`,
    )
  })
})

test('an announced origin of no known kind is not believed', () => {
  expect(announcedPeer('gopher:3', unixPeer('/x'))).toBe(null)
  expect(announcedPeer('vsock:3', unixPeer('/x'))?.address).toBe('vsock:3@/x')
  expect(announcedPeer('vsock:3:4@127.0.0.1', unixPeer('/x'))?.address).toBe('vsock:3@127.0.0.1@/x')
})

describe('certificates', () => {
  let certificates: TestCertificates
  let files: CertificateFiles
  beforeAll(async () => {
    certificates = await TestCertificates.create()
    files = await certificates.selfSigned('both')
  })
  afterAll(() => certificates.remove())

  test('who has shown one is trusted wherever it comes from, and its header comes through TLS', async () => {
    const tls = `cert=${files.cert}&key=${files.key}`
    const pin = `pin=sha256:${files.sha256}`
    const trusted = parseTrustedSources(['certificate'])
    const { accepted, tcpPort } = await site({ uri: `tls://127.0.0.1:0?${tls}&${pin}`, trusted, authenticated: true })
    const stream = await dial(parseEndpoint(`tls://127.0.0.1:${tcpPort}?${tls}&${pin}`, 'dial', 'plain'), {
      timeoutMs: 5000,
    })
    open.push(() => stream.socket.destroy())
    sendProxyHeader(stream, { source: null, uniqueId: 'vm1', label: null })
    stream.socket.write('hello')
    const taken = await accepted.nextStream()
    expect(taken.announced?.uniqueId).toBe('vm1')
    expect(taken.via?.transport).toBe('tls')
    expect(await readUntil(taken.socket, 'hello')).toBe('hello')
  })

  test('of a listener that asks for none count for nothing', async () => {
    const trusted = parseTrustedSources(['certificate'])
    const uri = `tls://127.0.0.1:0?cert=${files.cert}&key=${files.key}`
    const { accepted, tcpPort } = await site({ uri, trusted })
    // It is dropped before it has sent anything, so that TLS may not even have come to its end here.
    const dialled = dial(parseEndpoint(`tls://127.0.0.1:${tcpPort}?ca=${files.cert}`, 'dial', 'plain'), {
      timeoutMs: 5000,
    })
    dialled.then(
      ({ socket }) => open.push(() => socket.destroy()),
      () => {},
    )
    expect((await accepted.nextProblem()).error.code).toBe('VSPC_PROXY_UNTRUSTED')
  })
})

test('whatever comes, in whatever pieces, ends: handed over, reported or gone, with nothing left behind', async () => {
  const clock = new ManualClock()
  const accepted = new Accepted()
  const reader = new ProxyReader(accepted, { ...LISTEN, clock, trusted: LOOPBACK }, false)
  const valid = [...bytes(HEADER)]
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 20 }),
          fc.nat(60).map((n) => Uint8Array.from(valid.slice(0, n))),
        ),
        {
          maxLength: 6,
        },
      ),
      fc.boolean(),
      async (pieces, whole) => {
        accepted.streams.length = 0
        accepted.problems.length = 0
        const [near, far] = duplexPair({ allowHalfOpen: true })
        far.on('error', () => {}).resume()
        const peer = { address: '127.0.0.1', display: '127.0.0.1:1', transport: 'tcp' } as const
        reader.take({ socket: near, peer })
        if (whole) far.write(Uint8Array.from(valid))
        for (const piece of pieces) {
          far.write(piece)
          await new Promise((resolve) => setImmediate(resolve))
        }
        far.end()
        await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
        if (accepted.streams.length === 0) expect(near.destroyed).toBe(true)
        expect(accepted.streams.length + accepted.problems.length).toBeLessThanOrEqual(1)
        for (const { error } of accepted.problems) expect(error.code).toBe('VSPC_PROXY_HEADER')
        if (whole) expect(accepted.streams).toHaveLength(1)
        near.destroy()
        expect(clock.pending).toBe(0)
      },
    ),
    { numRuns: 200 },
  )
})

/** A sender that shares nothing with ours. */
const FOREIGN = `
import socket, struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82f63b78 if crc & 1 else crc >> 1
    return crc ^ 0xffffffff
def tlv(kind, value):
    return struct.pack('>BH', kind, len(value)) + value
addresses = socket.inet_pton(socket.AF_INET6, '2001:db8::5') + socket.inet_pton(socket.AF_INET6, '::1') + struct.pack('>HH', 902, 13370)
tail = tlv(2, b'console.example') + tlv(5, 'K\\u00f6ln-1'.encode()) + tlv(0xe0, b'com1') + tlv(4, bytes(40))
def header(crc):
    body = addresses + tlv(3, struct.pack('>I', crc)) + tail
    return b'\\r\\n\\r\\n\\0\\r\\nQUIT\\n' + struct.pack('>BBH', 0x21, 0x21, len(body)) + body
connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
connection.sendall(header(crc32c(header(0))) + b'from python')
connection.recv(1)
`

test('a header that another implementation wrote', async () => {
  const { accepted, tcpPort } = await site()
  const child = spawn('python3', ['-c', FOREIGN, String(tcpPort)], { stdio: ['ignore', 'ignore', 'inherit'] })
  open.push(() => child.kill('SIGKILL'))
  const stream = await accepted.nextStream()
  expect(stream.peer.display).toBe('[2001:db8::5]:902')
  expect(stream.announced).toEqual({ uniqueId: 'Köln-1', label: 'com1' })
  expect(await readUntil(stream.socket, 'python')).toBe('from python')
})
