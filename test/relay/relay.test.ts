import { once } from 'node:events'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { VspcError } from '../../src/base/index.ts'
import { RELAY_LIMITS } from '../../src/relay/index.ts'
import { dial, listen, parseEndpoint } from '../../src/transport/index.ts'
import { LinkStream } from '../../src/transport/link-stream.ts'
import {
  closed,
  connectTo,
  digest,
  echo,
  FarEnd,
  listenUri,
  readExactly,
  startRelay,
  stopNow,
  temporaryFolder,
  until,
} from './support.ts'

const LISTEN = 'tcp://127.0.0.1:0'
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('1,000 parallel connects: every stream comes out where it belongs', async () => {
  const far = await FarEnd.listen({ onSocket: echo })
  const { relay } = await startRelay({ routes: [{ listen: LISTEN, dial: far.uri }] })
  const clients = await Promise.all(
    Array.from({ length: 1_000 }, async (_, index) => {
      const socket = await connectTo(listenUri(relay))
      const text = `stream ${index} `.repeat(20)
      socket.write(text)
      const answer = await readExactly(socket, text.length)
      expect(answer.toString()).toBe(text)
      return socket
    }),
  )
  expect(relay.routes()[0]).toMatchObject({ streams: 1_000, held: 0, joined: 1_000, accepted: 1_000, away: false })
  for (const socket of clients) socket.end()
  await Promise.all(clients.map(closed))
  await until('all streams to be gone', () => relay.routes()[0]?.streams === 0)
  expect(relay.room.taken).toBe(0)
})

test('the next hop is away for 30 s: 200 streams are held, dialled for by one loop, and then each gets its own', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  let dialling = 0
  const counted: typeof dial = (endpoint, options) => {
    dialling++
    return dial(endpoint, options).finally(() => dialling--)
  }
  const { relay, clock, log } = await startRelay(
    { routes: [{ listen: LISTEN, dial: `unix://${path}` }] },
    { transport: { dial: counted, listen } },
  )
  const clients = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const socket = await connectTo(listenUri(relay))
      socket.write(`${String(index).padStart(4, '0')}`)
      return socket
    }),
  )
  await until('all to be held', () => relay.routes()[0]?.held === 200)
  await until('the hop to be seen away', () => relay.routes()[0]?.away === true)
  // Those dialled for at once before anybody knew; from now on there is one at a time.
  await until('dials to settle', () => dialling === 0)
  const before = relay.routes()[0]?.dialFailures ?? 0
  for (let second = 0; second < 30; second++) {
    clock.advance(1_000)
    expect(dialling).toBeLessThanOrEqual(1)
    await until('the dial to fail', () => dialling === 0)
  }
  const during = (relay.routes()[0]?.dialFailures ?? 0) - before
  expect(during).toBeGreaterThanOrEqual(4)
  expect(during).toBeLessThanOrEqual(6)
  expect(log.of('warn')).toEqual(['dial failed; streams are held while it is dialled again, with growing pauses'])
  expect(relay.routes()[0]?.lastError?.message).toMatch(/there is no such socket/)

  await FarEnd.listen({ path, onSocket: echo })
  clock.advance(1_000)
  const answers = await Promise.all(clients.map((socket) => readExactly(socket, 4)))
  expect(answers.map(Number)).toEqual(Array.from({ length: 200 }, (_, index) => index))
  expect(relay.routes()[0]).toMatchObject({ streams: 200, held: 0, away: false, expired: 0 })
})

test('who is held too long is closed, and told of once', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, clock, log } = await startRelay({
    routes: [{ listen: LISTEN, dial: `unix://${path}` }],
    limits: { relayHoldMs: 10_000 },
  })
  const first = await connectTo(listenUri(relay))
  await until('it to be held', () => relay.routes()[0]?.held === 1)
  clock.advance(4_000)
  const second = await connectTo(listenUri(relay))
  await until('it to be held', () => relay.routes()[0]?.held === 2)
  clock.advance(5_999)
  expect(relay.routes()[0]?.held).toBe(2)
  clock.advance(1)
  first.end()
  await closed(first)
  expect(relay.routes()[0]).toMatchObject({ held: 1, expired: 1 })
  clock.advance(4_000)
  second.end()
  await closed(second)
  expect(relay.routes()[0]).toMatchObject({ held: 0, expired: 2 })
  expect(relay.room.taken).toBe(0)
  expect(log.of('warn').filter((message) => message.includes('held stream was closed'))).toHaveLength(1)
})

test('a held VM that leaves is let go at once, and is not dialled for', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, clock } = await startRelay({ routes: [{ listen: LISTEN, dial: `unix://${path}` }] })
  const [ends, resets] = [await connectTo(listenUri(relay)), await connectTo(listenUri(relay))]
  await until('both to be held', () => relay.routes()[0]?.held === 2 && relay.routes()[0]?.away === true)
  ends.end()
  await closed(ends)
  resets.resetAndDestroy()
  await until('both to be gone', () => relay.routes()[0]?.held === 0)
  const far = await FarEnd.listen({ path })
  clock.advance(60_000)
  await turn()
  expect(far.sockets).toHaveLength(0)
  expect(relay.room.taken).toBe(0)
})

test('no more than relayHeld are held; a further one is refused with the name of the limit', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, log } = await startRelay({
    routes: [{ listen: LISTEN, dial: `unix://${path}` }],
    limits: { relayHeld: 2 },
  })
  const held = [await connectTo(listenUri(relay)), await connectTo(listenUri(relay))]
  await until('two to be held', () => relay.routes()[0]?.held === 2 && relay.routes()[0]?.away === true)
  for (let index = 0; index < 3; index++) {
    const refused = await connectTo(listenUri(relay))
    refused.end()
    await closed(refused)
  }
  expect(relay.routes()[0]).toMatchObject({ held: 2, refused: 3 })
  expect(held.every((socket) => !socket.destroyed)).toBe(true)
  const told = log.lines.filter(({ fields }) => fields['code'] === 'VSPC_RELAY_FULL')
  expect(told.map(({ message }) => message)).toEqual([
    'a stream was closed: 2 are held already; raise limits.relayHeld for more',
  ])
})

test('whenAway refuse: closed at once, and dialled for again by the next one', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, log } = await startRelay({ routes: [{ listen: LISTEN, dial: `unix://${path}`, whenAway: 'refuse' }] })
  const refused = await connectTo(listenUri(relay))
  refused.end()
  await closed(refused)
  expect(relay.routes()[0]).toMatchObject({ refused: 1, held: 0, streams: 0 })
  expect(log.of('warn')).toEqual(['dial failed; streams are closed while it is away'])
  await FarEnd.listen({ path, onSocket: echo })
  const served = await connectTo(listenUri(relay))
  served.write('hello')
  expect((await readExactly(served, 5)).toString()).toBe('hello')
})

test('maxStreams of a route and of the relay; room is given back', async () => {
  const far = await FarEnd.listen()
  const { relay, log } = await startRelay({
    routes: [
      { name: 'small', listen: LISTEN, dial: far.uri, maxStreams: 1 },
      { name: 'big', listen: LISTEN, dial: far.uri },
    ],
    limits: { maxStreams: 2 },
  })
  const one = await connectTo(listenUri(relay, 0))
  await until('the first', () => relay.routes()[0]?.streams === 1)
  const refused = await connectTo(listenUri(relay, 0))
  refused.end()
  await closed(refused)
  await connectTo(listenUri(relay, 1))
  await until('the second', () => relay.routes()[1]?.streams === 1)
  const full = await connectTo(listenUri(relay, 1))
  full.end()
  await closed(full)
  expect(log.of('warn')).toEqual([
    'a stream was closed: the route has 1 already; raise its maxStreams for more',
    'a stream was closed: the relay has 2 already; raise limits.maxStreams for more',
  ])
  one.resetAndDestroy()
  ;(await far.socket(0)).end()
  await until('room', () => relay.room.taken === 1)
  await connectTo(listenUri(relay, 0))
  await until('the next one', () => relay.routes()[0]?.streams === 1)
})

test('two listening sides: pairs in order of arrival, bytes both ways', async () => {
  const { relay } = await startRelay({ routes: [{ listen: [LISTEN, LISTEN] }] })
  const [left, right] = [relay.relaying[0]?.from ?? '', relay.relaying[0]?.to ?? '']
  const waiting = [await connectTo(left), await connectTo(left)]
  waiting[0]?.write('first')
  waiting[1]?.write('second')
  await until('both to wait', () => relay.routes()[0]?.held === 2)
  const partners = [await connectTo(right)]
  expect((await readExactly(partners[0] as never, 5)).toString()).toBe('first')
  partners.push(await connectTo(right))
  expect((await readExactly(partners[1] as never, 6)).toString()).toBe('second')
  partners[1]?.write('back')
  expect((await readExactly(waiting[1] as never, 4)).toString()).toBe('back')
  expect(relay.routes()[0]).toMatchObject({ streams: 2, held: 0 })
  expect(relay.room.taken).toBe(2)
})

test('two listening sides: who waits is bounded in number and time, and gone when it leaves', async () => {
  const { relay, clock, log } = await startRelay({
    routes: [{ listen: [LISTEN, LISTEN] }],
    limits: { relayHeld: 2, relayHoldMs: 1_000 },
  })
  const left = relay.relaying[0]?.from ?? ''
  const right = relay.relaying[0]?.to ?? ''
  const leaver = await connectTo(left)
  const stays = await connectTo(left)
  await until('both to wait', () => relay.routes()[0]?.held === 2)
  const refused = await connectTo(left)
  refused.end()
  await closed(refused)
  leaver.end()
  await closed(leaver)
  expect(relay.routes()[0]).toMatchObject({ held: 1, refused: 1 })
  const partner = await connectTo(right)
  partner.write('x')
  expect((await readExactly(stays, 1)).toString()).toBe('x')
  const late = await connectTo(right)
  await until('it to wait', () => relay.routes()[0]?.held === 1)
  clock.advance(1_000)
  late.end()
  await closed(late)
  expect(relay.routes()[0]).toMatchObject({ held: 0, expired: 1, streams: 1 })
  expect(log.of('warn')).toEqual([
    'a stream was closed: 2 wait already; raise limits.relayHeld for more',
    'a waiting stream was closed: nobody came on the other side',
  ])
})

test('two dialled sides: kept joined; when either ends both are dialled again, with growing pauses', async () => {
  const serial = await FarEnd.listen()
  const server = await FarEnd.listen()
  const { relay, clock } = await startRelay({ routes: [{ dial: [serial.uri, server.uri] }] })
  const [vm, session] = [await serial.socket(0), await server.socket(0)]
  vm.write('boot')
  expect((await readExactly(session, 4)).toString()).toBe('boot')
  expect(serial.sockets).toHaveLength(1)

  session.end('bye')
  expect((await digest(vm)).bytes).toBe(3)
  vm.end()
  await Promise.all([closed(vm), closed(session)])
  await until('a pause before the next dial', () => relay.routes()[0]?.streams === 0 && clock.pending === 1)
  clock.advance(499)
  await turn()
  expect(serial.sockets).toHaveLength(1)
  clock.advance(1)
  const again = await serial.socket(1)
  again.write('again')
  expect((await readExactly(await server.socket(1), 5)).toString()).toBe('again')
  // It lasted no time: the next pause is twice as long.
  again.destroy()
  ;(await server.socket(1)).end()
  await until('a longer pause', () => relay.routes()[0]?.streams === 0 && clock.pending >= 1)
  clock.advance(999)
  await turn()
  expect(serial.sockets).toHaveLength(2)
  clock.advance(1)
  await serial.socket(2)
})

test('two dialled sides: the first stays up, unread, while the second is away', async () => {
  const path = join(temporaryFolder(), 'server.sock')
  const serial = await FarEnd.listen()
  const { relay, clock } = await startRelay({ routes: [{ dial: [serial.uri, `unix://${path}`] }] })
  const vm = await serial.socket(0)
  vm.write('kept')
  await until('it to be held', () => relay.routes()[0]?.held === 1 && relay.routes()[0]?.away === true)
  const server = await FarEnd.listen({ path })
  clock.advance(1_000)
  expect((await readExactly(await server.socket(0), 4)).toString()).toBe('kept')
  expect(serial.sockets).toHaveLength(1)
})

test('a next hop is changed: held and new streams go there at once, live ones are probed and stay', async () => {
  const path = join(temporaryFolder(), 'gone.sock')
  const [old, next] = [await FarEnd.listen({ onSocket: echo }), await FarEnd.listen({ onSocket: echo })]
  const probed: unknown[] = []
  const { relay, clock } = await startRelay(
    {
      routes: [
        { name: 'moving', listen: LISTEN, dial: 'next-hop:appliance' },
        { name: 'away', listen: LISTEN, dial: 'next-hop:other' },
        { name: 'fixed', listen: LISTEN, dial: old.uri },
      ],
      nextHops: { appliance: old.uri, other: `unix://${path}` },
    },
    { probe: (socket) => probed.push(socket) },
  )
  const live = await connectTo(listenUri(relay, 0))
  live.write('one')
  await readExactly(live, 3)
  const fixed = await connectTo(listenUri(relay, 2))
  fixed.write('fix')
  await readExactly(fixed, 3)
  const held = await connectTo(listenUri(relay, 1))
  await until('it to be held', () => relay.routes()[1]?.away === true)

  await relay.setNextHop('appliance', parseEndpoint(next.uri, 'dial', 'relay'))
  expect(probed).toHaveLength(1)
  const fresh = await connectTo(listenUri(relay, 0))
  fresh.write('two')
  expect((await readExactly(fresh, 3)).toString()).toBe('two')
  expect([old.sockets.length, next.sockets.length]).toEqual([2, 1])
  live.write('still')
  expect((await readExactly(live, 5)).toString()).toBe('still')

  await relay.setNextHop('other', parseEndpoint(next.uri, 'dial', 'relay'))
  held.write('now')
  expect((await readExactly(held, 3)).toString()).toBe('now')
  expect(clock.now()).toBe(0)
  const resumed = parseEndpoint(`${next.uri}?resume=on`, 'dial', 'relay')
  await expect(relay.setNextHop('appliance', resumed)).rejects.toMatchObject({
    code: 'VSPC_RELAY_NEXT_HOP',
    message: expect.stringMatching(/"appliance" has resume=off, and ".*\?resume=on" resume=on; write it as before/),
  })
  await expect(relay.setNextHop('aplliance', parseEndpoint(next.uri, 'dial', 'relay'))).rejects.toThrow(
    new VspcError(
      'VSPC_RELAY_NEXT_HOP',
      'there is no next hop "aplliance"; accepted: appliance, other; did you mean appliance?',
    ),
  )
})

test('a dial under way to the old next hop is given up for the new one', async () => {
  const next = await FarEnd.listen({ onSocket: echo })
  const dialled: string[] = []
  const silent: typeof dial = (endpoint, options) => {
    dialled.push('host' in endpoint ? endpoint.host : '')
    if (!('host' in endpoint) || endpoint.host !== 'silent.invalid') return dial(endpoint, options)
    return new Promise((_resolve, reject) => {
      options.signal?.addEventListener('abort', () => reject(options.signal?.reason))
    })
  }
  const { relay } = await startRelay(
    { routes: [{ listen: LISTEN, dial: 'next-hop:a' }], nextHops: { a: 'tcp://silent.invalid:1' } },
    { transport: { dial: silent, listen } },
  )
  const client = await connectTo(listenUri(relay))
  await until('the dial', () => dialled.length === 1)
  await relay.setNextHop('a', parseEndpoint(next.uri, 'dial', 'relay'))
  client.write('through')
  expect((await readExactly(client, 7)).toString()).toBe('through')
  expect(dialled).toEqual(['silent.invalid', '127.0.0.1'])
  expect(relay.routes()[0]).toMatchObject({ dialFailures: 0, away: false })
})

test('what is announced: the source, and the name of either endpoint with {peer} filled in', async () => {
  const announced: unknown[] = []
  const far = await FarEnd.listen()
  const spy: typeof dial = (endpoint, options) => {
    announced.push(options.announce)
    return dial({ ...endpoint, layers: { proxy: 'off', resume: 'off' } } as typeof endpoint, options)
  }
  const { relay } = await startRelay(
    {
      routes: [
        { listen: `${LISTEN}?name=vm-{peer}&label=com2`, dial: `${far.uri}?proxy=v2` },
        { listen: LISTEN, dial: `${far.uri}?proxy=v2` },
        { listen: `${LISTEN}?name=unheard`, dial: far.uri },
      ],
    },
    { transport: { dial: spy, listen } },
  )
  for (const index of [0, 1, 2]) {
    await connectTo(listenUri(relay, index))
    await until('it to be joined', () => relay.routes()[index]?.streams === 1)
  }
  const source = expect.objectContaining({ address: '127.0.0.1', transport: 'tcp' })
  expect(announced).toEqual([
    { source, uniqueId: 'vm-127.0.0.1', label: 'com2' },
    { source, uniqueId: null, label: null },
    undefined,
  ])
})

test('stop: listeners close, streams get what is on its way and a clean end, and it resolves', async () => {
  const far = await FarEnd.listen()
  const { relay, clock } = await startRelay({ routes: [{ listen: LISTEN, dial: far.uri }] })
  const uri = listenUri(relay)
  const client = await connectTo(uri)
  const server = await far.socket(0)
  client.write(Buffer.alloc(500_000, 1))
  await until('all of it to be read', () => relay.routes()[0]?.bytesForward === 500_000)
  const stopped = relay.stop()
  const [atServer, atClient] = [digest(server), digest(client)]
  expect((await atServer).bytes).toBe(500_000)
  expect((await atClient).bytes).toBe(0)
  await expect(connectTo(uri)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  client.end()
  server.end()
  await stopped
  expect(clock.now()).toBe(0)
  await stopNow(relay, clock)
})

test('stop: who takes nothing is cut after drainMs; who is held is let go', async () => {
  const far = await FarEnd.listen()
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, clock, log } = await startRelay({
    routes: [
      { listen: LISTEN, dial: far.uri },
      { listen: LISTEN, dial: `unix://${path}` },
    ],
  })
  const client = await connectTo(listenUri(relay, 0))
  const server = await far.socket(0)
  server.pause()
  client.write(Buffer.alloc(30_000_000))
  const held = await connectTo(listenUri(relay, 1))
  await until('one joined, one held', () => relay.routes()[0]?.streams === 1 && relay.routes()[1]?.away === true)
  const gone = once(held, 'end')
  held.resume()
  let over = false
  const stopped = relay.stop().then(() => {
    over = true
  })
  await gone
  expect(over).toBe(false)
  clock.advance(5_000)
  await stopped
  expect(log.of('warn')).toContain('streams that took nothing were cut')
})

test('a sender that was reset while its reader took nothing does not keep its place for ever', async () => {
  const far = await FarEnd.listen()
  const { relay, clock } = await startRelay({ routes: [{ listen: LISTEN, dial: far.uri }] })
  const client = await connectTo(listenUri(relay))
  const server = await far.socket(0)
  server.pause()
  client.write(Buffer.alloc(30_000_000))
  let before = -1
  await until('the sender to be stopped', () => {
    const now = relay.routes()[0]?.bytesForward ?? 0
    const stopped = now > 0 && now === before
    before = now
    return stopped
  })
  client.resetAndDestroy()
  await until('the reset to be noticed', () => {
    clock.advance(RELAY_LIMITS.keepAliveMs.default)
    return relay.routes()[0]?.streams === 0
  })
})

test('stop: a resumable stream whose other end never ends is given up after drainMs, not after resumeMs', async () => {
  const silent = await FarEnd.listen()
  const far = await startRelay({ routes: [{ listen: `${LISTEN}?resume=on`, dial: silent.uri }] })
  const links: Duplex[] = []
  const transport = {
    listen,
    dial: async (...options: Parameters<typeof dial>) => {
      const stream = await dial(...options)
      links.push(stream.socket)
      return stream
    },
  }
  const near = await startRelay({ routes: [{ listen: LISTEN, dial: listenUri(far.relay) }] }, { transport })
  const client = await connectTo(listenUri(near.relay))
  client.write('x')
  await until('a byte to be through', () => far.relay.routes()[0]?.bytesForward === 1)
  let over = false
  const stopped = near.relay.stop().then(() => {
    over = true
  })
  await once(client.resume(), 'end')
  client.destroy()
  await until('the end', () => {
    near.clock.advance(250)
    return over
  })
  await stopped
  expect(links.map((link) => link instanceof LinkStream && link.over)).toEqual([true])
  expect(near.clock.now()).toBeLessThan(2 * RELAY_LIMITS.drainMs.default)
})
