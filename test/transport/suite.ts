/**
 * What every transport has to do, as scenarios without a test framework: under vitest on the host (suite.test.ts), and
 * bundled into a guest for what only a kernel of its own can show (vsock-guest-program.ts).
 */
import assert from 'node:assert/strict'
import { createHash, type Hash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { ManualClock, systemClock } from '../../src/base/index.ts'
import type { DialOptions, ListenHandlers } from '../../src/transport/contracts.ts'
import { type ByteStream, type Listening, listen, type PeerInfo, readChunks } from '../../src/transport/index.ts'
import { Accepted, LISTEN } from './support.ts'

/** One transport, for the scenarios. */
export interface SuiteTransport {
  readonly name: string
  /** Listens at an address that was free until now. */
  listen(handlers: ListenHandlers): Promise<Listening>
  /** Listens at the address of `listening` again, or in vain. Default: the `listen` of the product, at its endpoint. */
  listenAgain?(listening: Listening, handlers: ListenHandlers): Promise<Listening>
  /** Connects to what `listen` gave, or to what has closed since. */
  dial(listening: Listening, options: DialOptions): Promise<ByteStream>
  /** `display` of the peer, as each side sees it. */
  readonly peers: { readonly dialled: RegExp; readonly accepted: RegExp }
  /** What a dial says when nobody listens any more. */
  readonly nobody: { readonly code: string; readonly message: RegExp }
  /** What listening at an address in use says. */
  readonly inUse: RegExp
  /** Reads before anybody asks for it. */
  readonly readsAhead: boolean
  /** How many streams at once, where there are to be many. */
  readonly crowd: number
}

export interface Scenario {
  readonly name: string
  run(transport: SuiteTransport): Promise<void>
}

/** For one dial, or for what a scenario waits for: a guest that shares two cores with other tests takes its time. */
export const TIMEOUT_MS = 40_000
const KIB = 1024
const MIB = 1024 * KIB

/** Everything one scenario opens; gone when it ends. */
class Ground {
  readonly transport: SuiteTransport
  readonly accepted = new Accepted()
  readonly #open: (() => unknown)[] = []

  constructor(transport: SuiteTransport) {
    this.transport = transport
  }

  async listen(handlers: ListenHandlers = this.accepted): Promise<Listening> {
    return this.own(await this.transport.listen(handlers))
  }

  listenAgain(listening: Listening, handlers: ListenHandlers = new Accepted()): Promise<Listening> {
    const { transport } = this
    return transport.listenAgain?.(listening, handlers) ?? listen(listening.endpoint, handlers, LISTEN)
  }

  own(listening: Listening): Listening {
    this.#open.push(() => listening.close())
    return listening
  }

  async dial(listening: Listening, options: Partial<DialOptions> = {}): Promise<ByteStream> {
    return this.keep(await this.transport.dial(listening, { timeoutMs: TIMEOUT_MS, ...options }))
  }

  keep(stream: ByteStream): ByteStream {
    this.#open.push(() => stream.socket.destroy())
    stream.socket.on('error', () => {})
    return stream
  }

  /** Both ends of one stream; with several at a time, they need not belong together. */
  async pair(listening: Listening): Promise<{ client: ByteStream; server: ByteStream }> {
    const [client, server] = await Promise.all([this.dial(listening), this.accepted.nextStream()])
    return { client, server: this.keep(server) }
  }

  async close(): Promise<void> {
    for (const close of this.#open.splice(0).reverse()) await close()
  }
}

function scenario(name: string, run: (ground: Ground) => Promise<void>): Scenario {
  return {
    name,
    async run(transport) {
      const ground = new Ground(transport)
      try {
        await run(ground)
        assert.deepEqual(ground.accepted.problems, [], 'the listener has a problem')
      } finally {
        await ground.close()
      }
    },
  }
}

const noise = randomFillSync(Buffer.alloc(MIB))

/** Writes `total` bytes that nobody can guess, in pieces of many sizes, as fast as they are taken. */
class Sender {
  /** Given to the socket so far. */
  handed = 0
  readonly #hash = createHash('sha256')

  async send(socket: Duplex, total: number, seed: number): Promise<string> {
    for (let size = 1 + seed; this.handed < total; size = (size * 7 + 3) % 100_003) {
      const at = (this.handed + seed * 977) % (MIB - 100_003)
      const piece = noise.subarray(at, at + Math.min(size, total - this.handed))
      this.#hash.update(piece)
      this.handed += piece.length
      if (!socket.write(piece)) await once(socket, 'drain')
    }
    return this.#hash.digest('hex')
  }
}

async function sendAll(socket: Duplex, total: number, seed: number): Promise<string> {
  const hash = await new Sender().send(socket, total, seed)
  socket.end()
  return hash
}

/** Bytes and their hash, until the other side ends. */
async function receive(socket: Duplex): Promise<{ bytes: number; hash: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    hash.update(chunk)
  })
  await once(socket, 'end')
  return { bytes, hash: hash.digest('hex') }
}

async function text(socket: Duplex): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks).toString('latin1')
}

/** A byte there and back: time for whatever was ready to happen. */
async function roundTrip(client: Duplex, server: Duplex): Promise<void> {
  client.write('?')
  await once(server, 'data')
  server.write('!')
  await once(client, 'data')
}

/** Sockets and pipes that this process has open. */
function openDescriptors(): number {
  let count = 0
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (/^(?:socket|pipe):|fifo/.test(readlinkSync(`/proc/self/fd/${fd}`))) count++
    } catch {
      // The one that the directory was read with.
    }
  }
  return count
}

/** Turns of the event loop until `done`, or until the deadline says that it will not come. */
async function until(what: string, done: () => boolean): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS / 4
  while (!done()) {
    assert.ok(performance.now() < deadline, what)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.fail('it succeeded'),
    (error: unknown) => error,
  )
}

function assertCoded(error: unknown, code: string, message: RegExp): void {
  assert.ok(error instanceof Error)
  assert.match(error.message, message)
  assert.equal((error as NodeJS.ErrnoException).code, code)
}

function assertPeer(peer: PeerInfo, display: RegExp): void {
  assert.match(peer.display, display)
  assert.ok(peer.display.includes(peer.address), `${peer.display} shows ${peer.address}`)
}

/** One after the other dial that ends as `nobody` says, as an abort, or by its deadline: none leaves anything. */
async function failedDials(ground: Ground, listening: Listening, count: number): Promise<void> {
  const reason = new Error('changed my mind')
  for (let index = 0; index < count; index++) {
    const abort = new AbortController()
    const clock = new ManualClock()
    const aborted = rejection(ground.dial(listening, { signal: abort.signal }))
    const late = rejection(ground.dial(listening, { timeoutMs: 50, clock }))
    abort.abort(reason)
    clock.advance(50)
    assert.equal(await aborted, reason)
    assertCoded(await late, 'VSPC_TRANSPORT_DIAL_TIMEOUT', /no connection within 50 ms/)
    assert.equal(clock.pending, 0)
  }
}

export const SCENARIOS: readonly Scenario[] = [
  scenario('both ends know whom they talk to', async (ground) => {
    const { client, server } = await ground.pair(await ground.listen())
    assertPeer(client.peer, ground.transport.peers.dialled)
    assertPeer(server.peer, ground.transport.peers.accepted)
  }),

  scenario('several MiB both ways at once arrive to the last byte', async (ground) => {
    const { client, server } = await ground.pair(await ground.listen())
    const total = 4 * MIB + 1
    const [there, back, atServer, atClient] = await Promise.all([
      sendAll(client.socket, total, 1),
      sendAll(server.socket, total, 2),
      receive(server.socket),
      receive(client.socket),
    ])
    assert.deepEqual(atServer, { bytes: total, hash: there })
    assert.deepEqual(atClient, { bytes: total, hash: back })
  }),

  scenario('the end of input does not end the other direction: a late reply still comes', async (ground) => {
    const listening = await ground.listen()
    for (const [asking, answering] of [
      ['client', 'server'],
      ['server', 'client'],
    ] as const) {
      const pair = await ground.pair(listening)
      const other = await ground.pair(listening)
      pair[asking].socket.end('request')
      assert.equal(await text(pair[answering].socket), 'request')
      for (let trip = 0; trip < 5; trip++) await roundTrip(other.client.socket, other.server.socket)
      const reply = sendAll(pair[answering].socket, 200 * KIB, 3)
      assert.deepEqual(await receive(pair[asking].socket), { bytes: 200 * KIB, hash: await reply })
    }
  }),

  scenario('what was sent right before the end arrives, also when nobody has read yet', async (ground) => {
    const listening = await ground.listen()
    const { client, server } = await ground.pair(listening)
    const other = await ground.pair(listening)
    const sent = sendAll(client.socket, 100 * KIB, 4)
    for (let trip = 0; trip < 5; trip++) await roundTrip(other.client.socket, other.server.socket)
    const received = await receive(server.socket)
    assert.deepEqual(received, { bytes: 100 * KIB, hash: await sent })
  }),

  scenario('what the listening side says first is there, whenever the other side looks', async (ground) => {
    ground.accepted.onStream = ({ socket }) => socket.end('hello')
    const listening = await ground.listen()
    const clients = await Promise.all([ground.dial(listening), ground.dial(listening)])
    assert.equal(await text(clients[0].socket), 'hello')
    const ahead = ground.transport.readsAhead
    if (ahead) await until('the other stream has ended', () => clients[1].socket.readableLength === 5)
    assert.equal(await text(clients[1].socket), 'hello')
  }),

  scenario('a stalled reader stalls the writer: little is held, and nothing is lost', async (ground) => {
    const listening = await ground.listen()
    const { client, server } = await ground.pair(listening)
    const clock = await ground.pair(listening)
    const total = 24 * MIB
    const sender = new Sender()
    const sending = sender.send(client.socket, total, 5)
    for (let handed = -1, calm = 0; calm < 20; calm = sender.handed === handed ? calm + 1 : 0) {
      handed = sender.handed
      await roundTrip(clock.client.socket, clock.server.socket)
    }
    assert.ok(sender.handed < total - 4 * MIB, `${sender.handed} bytes were taken`)
    assert.ok(client.socket.writableLength < MIB, `${client.socket.writableLength} bytes wait in the writer`)
    assert.ok(server.socket.readableLength < MIB, `${server.socket.readableLength} bytes wait in the reader`)
    const received = receive(server.socket)
    const hash = await sending
    client.socket.end()
    assert.deepEqual(await received, { bytes: total, hash })
  }),

  scenario('a crowd connects at once: each has its own stream, none is mixed with another', async (ground) => {
    const answer = async (stream: ByteStream): Promise<void> => {
      const { bytes, hash } = await receive(ground.keep(stream).socket)
      stream.socket.end(`${bytes} ${hash}`)
    }
    const answers: Promise<void>[] = []
    ground.accepted.onStream = (stream) => void answers.push(answer(stream))
    const listening = await ground.listen()
    const dialled = Array.from({ length: ground.transport.crowd }, () => ground.dial(listening))
    const streams = await Promise.all(dialled)
    await Promise.all(
      streams.map(async ({ socket }, index) => {
        const answered = text(socket)
        const hash = await sendAll(socket, 3000 + index, index)
        assert.equal(await answered, `${3000 + index} ${hash}`, `stream ${index}`)
      }),
    )
    await Promise.all(answers)
    assert.equal(answers.length, ground.transport.crowd)
    const displays = new Set(ground.accepted.streams.map(({ peer }) => peer.display))
    assert.ok(displays.size === 1 || displays.size === answers.length, `${displays.size} peers`)
  }),

  scenario('chunks read into shared memory are the bytes sent, with pauses', async (ground) => {
    const hashes: Hash[] = []
    const reading: Promise<unknown>[] = []
    const chunksOf = (socket: Duplex): void => {
      const hash = createHash('sha256')
      hashes.push(hash)
      let chunks = 0
      readChunks(socket, (bytes) => {
        hash.update(bytes)
        if (++chunks % 3 !== 0) return
        socket.pause()
        setImmediate(() => socket.resume())
      })
      reading.push(once(socket, 'end'))
    }
    ground.accepted.onStream = ({ socket }) => chunksOf(socket)
    const { client, server } = await ground.pair(await ground.listen())
    chunksOf(client.socket)
    const sent = await Promise.all([sendAll(client.socket, 2 * MIB, 6), sendAll(server.socket, 2 * MIB, 7)])
    await Promise.all(reading)
    const received = hashes.map((hash) => hash.digest('hex'))
    // Who is accepted first is nobody's business.
    assert.deepEqual(new Set(received), new Set(sent))
  }),

  scenario('the peer is gone: the stream ends, and writing to it ends in a close, not in silence', async (ground) => {
    const listening = await ground.listen()
    for (const unread of [0, 64 * KIB]) {
      const { client, server } = await ground.pair(listening)
      if (unread > 0) client.socket.write(noise.subarray(0, unread))
      server.socket.destroy()
      let over = false
      client.socket.once('end', () => (over = true))
      client.socket.once('close', () => (over = true))
      client.socket.resume()
      await until('the stream ends', () => over)
      await until('the stream closes', () => {
        if (!client.socket.destroyed) client.socket.write('x')
        return client.socket.destroyed
      })
    }
  }),

  scenario('peers that connect and go at once do the listener no harm', async (ground) => {
    let seen = ''
    ground.accepted.onStream = ({ socket }) => socket.on('data', (chunk: Buffer) => (seen += chunk.toString('latin1')))
    const listening = await ground.listen()
    for (let index = 0; index < 20; index++) (await ground.dial(listening)).socket.destroy()
    const { socket } = await ground.dial(listening)
    socket.end('still here')
    await until('the last one is heard', () => seen === 'still here')
  }),

  scenario('nobody listens: the dial says so at once', async (ground) => {
    const listening = await ground.listen()
    await listening.close()
    const { code, message } = ground.transport.nobody
    const error = await rejection(ground.dial(listening))
    assertCoded(error, code, message)
  }),

  scenario('no answer: the dial ends by its deadline', async (ground) => {
    await failedDials(ground, await ground.listen(), 1)
  }),

  scenario('an abort ends a dial with its reason, before it begins and while it runs', async (ground) => {
    const listening = await ground.listen()
    const reason = new Error('changed my mind')
    assert.equal(await rejection(ground.dial(listening, { signal: AbortSignal.abort(reason) })), reason)
    const abort = new AbortController()
    const dialling = rejection(ground.dial(listening, { signal: abort.signal }))
    abort.abort(reason)
    assert.equal(await dialling, reason)
  }),

  scenario('an abort after the connect does nothing', async (ground) => {
    const abort = new AbortController()
    const listening = await ground.listen()
    const [client, server] = await Promise.all([
      ground.dial(listening, { signal: abort.signal }),
      ground.accepted.nextStream(),
    ])
    abort.abort(new Error('too late'))
    client.socket.end('here')
    assert.equal(await text(server.socket), 'here')
  }),

  scenario('an address in use is named', async (ground) => {
    const listening = await ground.listen()
    const error = await rejection(ground.listenAgain(listening))
    assertCoded(error, 'VSPC_TRANSPORT_LISTEN', ground.transport.inUse)
  }),

  scenario('closing the listener frees the address and leaves streams alone', async (ground) => {
    const listening = await ground.listen()
    const { client, server } = await ground.pair(listening)
    await listening.close()
    await listening.close()
    const later = new Accepted()
    const again = ground.own(await ground.listenAgain(listening, later))
    const [newcomer, taken] = await Promise.all([ground.dial(again), later.nextStream()])
    newcomer.socket.end('new')
    assert.equal(await text(ground.keep(taken).socket), 'new')
    client.socket.end('still here')
    assert.equal(await text(server.socket), 'still here')
    server.socket.end('and so am I')
    assert.equal(await text(client.socket), 'and so am I')
  }),

  scenario('no descriptor is left behind, however streams and dials end', async (ground) => {
    const one = await ground.listen()
    // What is opened once and for good, is opened by now.
    const first = await ground.pair(one)
    for (const { socket } of Object.values(first)) socket.destroy()
    await until('the first pair is closed', () => Object.values(first).every(({ socket }) => socket.closed))
    await one.close()
    const before = openDescriptors()

    const listening = await ground.listen()
    for (let index = 0; index < 10; index++) {
      const { client, server } = await ground.pair(listening)
      if (index % 2 === 0) client.socket.destroy()
      else client.socket.end()
      server.socket.resume()
      if (index % 3 === 0) server.socket.destroy()
      else server.socket.end()
      client.socket.resume()
    }
    await failedDials(ground, listening, 10)
    await assert.rejects(ground.listenAgain(listening))
    // Of the dials that failed too late to be unnoticed.
    ground.accepted.onStream = ({ socket }) => socket.destroy()
    for (const { socket } of ground.accepted.streams) socket.destroy()
    await listening.close()
    for (let index = 0; index < 10; index++) await rejection(ground.dial(listening))
    await until(`${openDescriptors()} descriptors are open, not ${before}`, () => openDescriptors() <= before)
  }),
]

export interface Verdict {
  readonly name: string
  readonly ms: number
  /** Null: it went well. */
  readonly error: unknown
}

/** One scenario, with a deadline: for where no framework runs it. */
export async function runScenario(one: Scenario, transport: SuiteTransport): Promise<Verdict> {
  const started = systemClock.now()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it has not ended after ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
  })
  const error = await Promise.race([one.run(transport), late]).then(
    () => null,
    (thrown: unknown) => thrown ?? new Error('it threw nothing'),
  )
  clearTimeout(timer)
  return { name: one.name, ms: Math.round(systemClock.now() - started), error }
}
