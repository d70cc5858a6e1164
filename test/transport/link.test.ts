import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { Duplex } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import { type Clock, type Limits, limitsWith, ManualClock, systemClock } from '../../src/base/index.ts'
import { encodeAck, encodeDataHeader, encodeFin, encodeOver } from '../../src/link/codec.ts'
import { LinkTable } from '../../src/transport/link-acceptor.ts'
import { dialLink, probeLink } from '../../src/transport/link-dialler.ts'
import { LinkStream } from '../../src/transport/link-stream.ts'
import { closing, Ground, listening, readPattern, writePattern } from './link-support.ts'
import { readUntil } from './support.ts'

let grounds: Ground[] = []
let servers: Server[] = []

async function ground(overrides: Partial<Limits> = {}, clock: Clock = systemClock): Promise<Ground> {
  const fresh = await Ground.start(overrides, clock)
  grounds.push(fresh)
  return fresh
}

afterEach(() => {
  for (const one of grounds) one.stop()
  for (const one of servers) one.close()
  grounds = []
  servers = []
})

/** Lets events happen until `done`; what is waited for comes from sockets. */
async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setImmediate(resolve))
}

/** Time passes while sockets work. */
async function pass(clock: ManualClock, ms: number, step = 100): Promise<void> {
  for (let at = 0; at < ms; at += step) {
    clock.advance(step)
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  }
}

const both = ({ near, far }: { near: Duplex; far: Duplex }): Promise<string[]> =>
  Promise.all([closing(near), closing(far)])

test('without faults: bytes both ways, half-close, and a clean close on both sides', async () => {
  const net = await ground()
  const pair = await net.pair()
  const closed = both(pair)
  const { near, far } = pair
  near.write('to the server')
  expect(await readUntil(far, 'server')).toBe('to the server')
  near.end()
  far.resume()
  await once(far, 'end')
  expect(far.writable).toBe(true)
  far.end('still to the relay')
  expect(await readUntil(near, 'relay')).toBe('still to the relay')
  expect(await closed).toEqual(['no error', 'no error'])
  await until(() => net.acceptor.size === 0 && net.proxy.open === 0)
  expect(net.proxy.connections).toBe(1)
})

test('bytes that come before anybody reads wait, and so does the end', async () => {
  const net = await ground()
  const { near, far } = await net.pair()
  near.end('early')
  for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve))
  // Not acknowledged: nobody has taken them.
  expect([(near as LinkStream).keptBytes, far.readableLength]).toEqual([5, 0])
  expect(await readUntil(far, 'early')).toBe('early')
  if (!far.readableEnded) await once(far, 'end')
})

test('100 streams, both ways, while every connection is cut again and again: each byte once and in order', async () => {
  const net = await ground({ resumeBytes: 16_384, resumeMs: 4_000 })
  const size = 40_000
  let left = 100
  const one = async (seed: number): Promise<void> => {
    // One after the other: which of the accepted ones belongs to it is known then.
    const { near, far } = pairs[seed] as { near: Duplex; far: Duplex }
    const results = await Promise.all([
      readPattern(far, seed),
      readPattern(near, seed + 1000),
      writePattern(near, seed, size, 3000),
      writePattern(far, seed + 1000, size, 700),
      closing(near),
      closing(far),
    ])
    expect(results).toEqual([
      { bytes: size, wrongAt: null },
      { bytes: size, wrongAt: null },
      undefined,
      undefined,
      'no error',
      'no error',
    ])
    left--
  }
  const pairs: { near: Duplex; far: Duplex }[] = []
  while (pairs.length < 100) pairs.push(await net.pair())
  // After so many bytes in all; while some still run, the next cut follows the last one.
  let cuts = 0
  const cutting = (async () => {
    while (left > 0 && cuts < 12) {
      net.proxy.cutAfter(200_000 + ((cuts * 7919) % 90_000), cuts % 3 === 2 ? 'end' : 'reset')
      const before = net.proxy.connections
      await until(() => left === 0 || net.proxy.connections > before + 20)
      cuts++
    }
  })()
  await Promise.all(pairs.map((_, seed) => one(seed)))
  await cutting
  expect(cuts).toBeGreaterThan(5)
  // Cut within a HELLO, or when one end had everything and the other only missed the last word.
  const expected = /before its HELLO|not known here/
  expect(net.accepted.problems.filter(({ error }) => !expected.test(error.message))).toEqual([])
  // One whose peer missed only the last word is kept for its return.
  await until(() => net.acceptor.size === 0)
}, 60_000)

test('cut at each byte of the beginning of the first connection: taken, or refused to the caller; nothing is left over', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  for (let bytes = 1; bytes < 44; bytes += 6) {
    net.proxy.cutAfter(bytes)
    await expect(net.dial()).rejects.toMatchObject({ code: 'VSPC_LINK_LOST' })
  }
  // The WELCOME gets lost half-way: the acceptor has a stream whose dialler is gone.
  net.proxy.cutAfter(50)
  await expect(net.dial()).rejects.toMatchObject({ code: 'VSPC_LINK_LOST' })
  const orphan = await net.accepted.nextStream()
  const code = closing(orphan.socket)
  await pass(clock, net.limits.resumeMs + 1000, 5000)
  expect(await code).toBe('VSPC_LINK_LOST')
  expect(net.acceptor.size).toBe(0)
})

test('what is written while there is no connection arrives when there is one; end and close too', async () => {
  const net = await ground()
  const { near, far } = await net.pair()
  net.proxy.mode = 'refuse'
  net.proxy.cut()
  await net.proxy.connected(2)
  near.end('from the relay')
  const got = readUntil(far, 'relay')
  await net.proxy.connected(4)
  expect(near.writableFinished).toBe(true)
  net.proxy.mode = 'forward'
  expect(await got).toBe('from the relay')
  const closed = both({ near, far })
  far.end()
  near.resume()
  expect(await closed).toEqual(['no error', 'no error'])
  await until(() => net.acceptor.size === 0)
})

test('a stream that its owner let go after end() delivers what it was given, in the background', async () => {
  const net = await ground()
  const { near, far } = await net.pair()
  net.proxy.mode = 'refuse'
  net.proxy.cut()
  await net.proxy.connected(2)
  near.end('last words')
  near.destroy()
  expect(await closing(near)).toBe('no error')
  net.proxy.mode = 'forward'
  expect(await readUntil(far, 'words')).toBe('last words')
  far.end()
  await until(() => net.acceptor.size === 0 && (near as LinkStream).over)
})

test('what is left over in the background is given up in the end, if the other side never ends', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const { near, far } = await net.pair()
  const code = closing(far)
  near.end('bye')
  near.destroy()
  expect(await readUntil(far, 'bye')).toBe('bye')
  await pass(clock, net.limits.resumeMs - 1_000, 500)
  expect([far.destroyed, (near as LinkStream).over]).toEqual([false, false])
  await pass(clock, 2_000, 500)
  expect(await code).toBe('VSPC_LINK_LOST')
  expect([net.acceptor.size, (near as LinkStream).over]).toEqual([0, true])
})

test('a lost connection is dialled again at once, then with growing pauses', async () => {
  const clock = new ManualClock()
  const net = await ground({ redialMinMs: 1_000, redialMaxMs: 4_000 }, clock)
  await net.pair()
  net.proxy.mode = 'refuse'
  net.proxy.cut()
  await net.proxy.connected(2)
  const at: number[] = []
  while (at.length < 5) {
    await pass(clock, 100)
    if (net.proxy.connections > 2 + at.length) at.push(clock.now())
  }
  const pauses = at.map((time, i) => time - (at[i - 1] ?? 0))
  // Half to all of 1, 2, 4, 4, 4 s, seen to a tenth of a second or two.
  for (const [i, full] of [1_000, 2_000, 4_000, 4_000, 4_000].entries()) {
    expect(pauses[i]).toBeGreaterThanOrEqual(full / 2 - 200)
    expect(pauses[i]).toBeLessThanOrEqual(full + 300)
  }
})

test('destroy() before the end resets the other side at once', async () => {
  const net = await ground()
  for (const who of ['near', 'far'] as const) {
    const pair = await net.pair()
    const closed = both(pair)
    pair[who].destroy()
    expect((await closed).toSorted()).toEqual(['ECONNRESET', 'no error'])
  }
  expect(net.acceptor.size).toBe(0)
})

test('window over: both sides are closed with a code, and nothing is dialled any more', async () => {
  const clock = new ManualClock()
  const net = await ground({ resumeMs: 4_000 }, clock)
  const pair = await net.pair()
  const closed = both(pair)
  pair.near.write('never acknowledged')
  net.proxy.mode = 'refuse'
  net.proxy.cut()
  await pass(clock, 3_000)
  expect([pair.near.destroyed, pair.far.destroyed]).toEqual([false, false])
  await pass(clock, 2_000)
  expect(await closed).toEqual(['VSPC_LINK_LOST', 'VSPC_LINK_LOST'])
  const dials = net.proxy.connections
  await pass(clock, 1_000)
  expect(net.proxy.connections).toBe(dials)
  expect([net.acceptor.size, clock.pending]).toEqual([0, 0])
})

test('the server was restarted: the stream is unknown there, and closed here; the server says so', async () => {
  const net = await ground()
  const { near } = await net.pair()
  const code = closing(near)
  net.restart()
  net.proxy.cut()
  expect(await code).toBe('VSPC_LINK_REFUSED')
  const problem = await net.accepted.nextProblem()
  expect(problem).toMatchObject({ kind: 'resume', error: { code: 'VSPC_LINK_REFUSED' } })
  expect(problem.error.message).toMatch(/not known/)
})

test('a silent black hole is found by ping, and the stream goes on over another connection', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const { near, far } = await net.pair()
  const got = readUntil(far, 'through')
  net.proxy.swallowing = true
  near.write('gets through')
  await pass(clock, net.limits.resumeDeadMs - 1_000, 500)
  expect(net.proxy.connections).toBe(1)
  net.proxy.swallowing = false
  await pass(clock, 2_000, 500)
  expect(await got).toBe('gets through')
  expect(net.proxy.connections).toBe(2)
})

test('an idle stream asks for signs of life now and then, and keeps its connection', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const { near, far } = await net.pair()
  await pass(clock, 5 * net.limits.resumeDeadMs, 500)
  expect(net.proxy.connections).toBe(1)
  near.write('still there')
  expect(await readUntil(far, 'there')).toBe('still there')
})

test('probeLink: a good connection stays, a dead one is replaced within seconds', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const { near, far } = await net.pair()
  probeLink(near)
  await pass(clock, 4_000)
  expect(net.proxy.connections).toBe(1)
  net.proxy.swallowing = true
  probeLink(near)
  await pass(clock, 1_000)
  net.proxy.swallowing = false
  await pass(clock, 2_000)
  near.write('by the new way')
  expect(await readUntil(far, 'way')).toBe('by the new way')
  expect(net.proxy.connections).toBe(2)
})

test('probeLink: a stream without connection gives up its pause, and the dial that leads nowhere', async () => {
  const clock = new ManualClock()
  const net = await ground({ redialMinMs: 10_000, redialMaxMs: 20_000 }, clock)
  const { near, far } = await net.pair()
  net.proxy.mode = 'refuse'
  net.proxy.cut()
  await net.proxy.connected(2)
  await until(() => clock.pending > 1)
  net.proxy.mode = 'blackhole'
  probeLink(near)
  await net.proxy.connected(3)
  await until(() => !(near as LinkStream).up)
  net.proxy.mode = 'forward'
  probeLink(near)
  near.write('at once')
  expect(await readUntil(far, 'once')).toBe('at once')
  expect(clock.now()).toBe(0)
})

test('a stalled reader stops the writer: memory stays within the window, and nothing is lost', async () => {
  const net = await ground({ resumeBytes: 65_536 })
  const { near, far } = await net.pair()
  const size = 3_000_000
  const writing = writePattern(near, 1, size, 100_000)
  await until(() => (near as LinkStream).keptBytes === 65_536)
  for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve))
  expect(far.readableLength).toBeLessThanOrEqual(65_536)
  expect((near as LinkStream).keptBytes).toBe(65_536)
  net.proxy.cut()
  expect(await readPattern(far, 1)).toEqual({ bytes: size, wrongAt: null })
  await writing
})

test('a proxy that reads nothing for a while: the writer waits, the stream goes on', async () => {
  const net = await ground({ resumeBytes: 8 << 20 })
  const { near, far } = await net.pair()
  net.proxy.stall(true)
  const size = 20_000_000
  const reading = readPattern(far, 2)
  const writing = writePattern(near, 2, size, 100_000)
  await until(() => near.writableNeedDrain)
  net.proxy.stall(false)
  expect(await reading).toEqual({ bytes: size, wrongAt: null })
  await writing
}, 30_000)

test('pause() and resume() in the middle of a chunk keep order and lose nothing', async () => {
  const net = await ground({ resumeBytes: 16_384 })
  const { near, far } = await net.pair()
  const writing = writePattern(near, 3, 300_000, 9_000)
  let chunks = 0
  far.on('data', () => {
    if (++chunks % 3 !== 0) return
    far.pause()
    setImmediate(() => far.resume())
  })
  expect(await readPattern(far, 3)).toEqual({ bytes: 300_000, wrongAt: null })
  await writing
})

test('a reader that took all that had waited, more than a buffer full, hears what comes later', () => {
  const keeper = { joined() {}, legLost() {}, hurry() {}, over() {} }
  const id = new Uint8Array(16)
  const far = new LinkStream({ role: 'acceptor', id, limits: limitsWith(), clock: new ManualClock(), keeper })
  const leg = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const frame = (bytes: Uint8Array): Uint8Array => Buffer.concat([encodeDataHeader(bytes.length), bytes])
  const waiting = Buffer.alloc(far.readableHighWaterMark, 'a')
  expect(far.accepted(leg, { kind: 'new', id, leg: 1, received: 0, window: 1_000 }, frame(waiting))).toBeNull()
  expect(far.read()).toEqual(waiting)
  // Asks for more, and there is none.
  expect(far.read()).toBeNull()
  far.legData(leg, frame(Buffer.from('later')))
  expect(far.read()).toEqual(Buffer.from('later'))
  far.destroy()
})

test('the end is heard by a reader with a full buffer, though the stream is over by then', () => {
  const keeper = { joined() {}, legLost() {}, hurry() {}, over() {} }
  const id = new Uint8Array(16)
  const far = new LinkStream({ role: 'acceptor', id, limits: limitsWith(), clock: new ManualClock(), keeper })
  const leg = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const waiting = Buffer.alloc(2 * far.readableHighWaterMark, 'a')
  const rest = Buffer.concat([encodeDataHeader(waiting.length), waiting])
  far.accepted(leg, { kind: 'new', id, leg: 1, received: 0, window: 1_000 }, rest)
  far.end()
  // Takes what waits into its buffer, which is full of it.
  far.read(0)
  far.legData(leg, Buffer.concat([encodeAck(1), encodeFin(), encodeOver('done')]))
  expect(far.over).toBe(true)
  let ended = false
  far.on('end', () => {
    ended = true
  })
  expect(far.read()).toEqual(waiting)
  far.read()
  return until(() => ended)
})

test('maxResumable: one more is refused, those that are there go on', async () => {
  const net = await ground({ maxResumable: 1 })
  const { near, far } = await net.pair()
  await expect(net.dial()).rejects.toMatchObject({ code: 'VSPC_LINK_REFUSED', message: expect.stringMatching(/full/) })
  expect((await net.accepted.nextProblem()).error.message).toMatch(/maxResumable/)
  net.proxy.cut()
  near.write('still')
  expect(await readUntil(far, 'still')).toBe('still')
})

test('somebody who says no HELLO, or something else, is reported and dropped', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const stranger = await net.dialLeg()
  stranger.socket.write('GET / HTTP/1.1\r\n\r\n')
  stranger.socket.on('end', () => stranger.socket.end()).resume()
  await once(stranger.socket, 'close')
  expect((await net.accepted.nextProblem()).error).toMatchObject({ code: 'VSPC_LINK_PROTOCOL' })
  const silent = await net.dialLeg()
  silent.socket.on('end', () => silent.socket.end()).resume()
  await until(() => clock.pending > 0)
  clock.advance(net.limits.proxyHeaderMs)
  await once(silent.socket, 'close')
  expect((await net.accepted.nextProblem()).error.message).toMatch(/no HELLO within 5000 ms/)
})

test('a dialler that reaches something else says so', async () => {
  const server = createServer((socket) => socket.on('error', () => {}).end('SSH-2.0-OpenSSH\r\n'))
  servers.push(server)
  const port = await listening(server)
  const dialLeg = async () => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    return { socket, peer: { address: '127.0.0.1', display: `127.0.0.1:${port}`, transport: 'tcp' as const } }
  }
  const limits = limitsWith()
  await expect(dialLink({ dialLeg, limits, clock: systemClock })).rejects.toMatchObject({ code: 'VSPC_LINK_PROTOCOL' })
})

test('dialLink: the error of the first dial, a silent peer, and an abort come to the caller; no timer is left', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const failure = new Error('no way')
  const { limits } = net
  await expect(dialLink({ dialLeg: () => Promise.reject(failure), limits, clock })).rejects.toBe(failure)
  net.proxy.mode = 'blackhole'
  const silent = net.dial()
  silent.catch(() => {})
  await net.proxy.connected(1)
  await pass(clock, limits.resumeDeadMs + 1_000, 500)
  await expect(silent).rejects.toMatchObject({ code: 'VSPC_LINK_LOST' })
  const abort = new AbortController()
  const aborted = net.dial(abort.signal)
  aborted.catch(() => {})
  await net.proxy.connected(2)
  await until(() => clock.pending > 0)
  abort.abort(new Error('changed our mind'))
  await expect(aborted).rejects.toThrow('changed our mind')
  // A connection that is closed gets as long to answer that.
  await pass(clock, limits.resumeDeadMs + 1_000, 500)
  expect(clock.pending).toBe(0)
})

test('close(): no new streams and no new connections of old ones; those that are there live on', async () => {
  const net = await ground({ resumeMs: 1_000 })
  const { near, far } = await net.pair()
  const closed = both({ near, far })
  net.acceptor.close()
  await expect(net.dial()).rejects.toMatchObject({ code: 'VSPC_LINK_LOST' })
  near.write('alive')
  expect(await readUntil(far, 'alive')).toBe('alive')
  net.proxy.cut()
  expect(await closed).toEqual(['VSPC_LINK_LOST', 'VSPC_LINK_LOST'])
})

test('an owner that refuses a new stream on the spot resets its dialler', async () => {
  const net = await ground()
  net.accepted.onStream = ({ socket }) => socket.destroy()
  await expect(net.dial()).rejects.toMatchObject({ code: 'VSPC_LINK_REFUSED' })
  expect(net.acceptor.size).toBe(0)
})

test('probeLink leaves other streams alone', async () => {
  const net = await ground()
  const { socket } = await net.dialLeg()
  probeLink(socket)
  expect(socket).not.toBeInstanceOf(LinkStream)
  socket.destroy()
})

test('an owner that exits waits for what is in the background, and not longer than it said', async () => {
  const clock = new ManualClock()
  const net = await ground({}, clock)
  const links = new LinkTable()
  const { limits, dialLeg } = net
  const dialled = async (): Promise<{ near: Duplex; far: Duplex }> => {
    const [near, far] = await Promise.all([dialLink({ dialLeg, limits, clock, links }), net.accepted.nextStream()])
    return { near: near.socket, far: far.socket }
  }
  const letGo = (near: Duplex): void => {
    near.end('bye')
    near.destroy()
  }
  const quick = await dialled()
  letGo(quick.near)
  expect(links.size).toBe(1)
  const emptied = links.emptied(clock, 5_000)
  expect(await readUntil(quick.far, 'bye')).toBe('bye')
  quick.far.end()
  await emptied
  expect([links.size, clock.now()]).toEqual([0, 0])

  const stuck = await dialled()
  const closed = closing(stuck.far)
  letGo(stuck.near)
  let over = false
  const waited = links.emptied(clock, 5_000).then(() => {
    over = true
  })
  await pass(clock, 4_900)
  expect(over).toBe(false)
  clock.advance(100)
  await waited
  expect(links.size).toBe(0)
  // The connection is gone with it, and nobody dials again: a process could end now.
  await until(() => net.proxy.open === 0)
  await pass(clock, limits.resumeMs + 1_000, 1_000)
  expect(await closed).toBe('VSPC_LINK_LOST')
  expect(net.proxy.connections).toBe(2)
})
