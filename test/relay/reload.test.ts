import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { Relay } from '../../src/relay/index.ts'
import { parseEndpoint } from '../../src/transport/index.ts'
import {
  closed,
  connectTo,
  echo,
  FarEnd,
  KeptLog,
  listenUri,
  planOf,
  readExactly,
  startRelay,
  stopNow,
  temporaryFolder,
  until,
} from './support.ts'

const LISTEN = 'tcp://127.0.0.1:0'

async function ask(uri: string, text: string) {
  const socket = await connectTo(uri)
  socket.write(text)
  expect((await readExactly(socket, text.length)).toString()).toBe(text)
  return socket
}

test('a reload leaves unchanged routes and live streams alone; a removed route stops listening, its streams live on', async () => {
  const far = await FarEnd.listen({ onSocket: echo })
  const folder = temporaryFolder()
  const kept = { name: 'kept', listen: `unix://${folder}/kept.sock`, dial: far.uri }
  const gone = { name: 'gone', listen: `unix://${folder}/gone.sock`, dial: far.uri }
  const added = { name: 'added', listen: `unix://${folder}/added.sock`, dial: far.uri }
  const { relay } = await startRelay({ routes: [kept, gone] })
  const onKept = await ask(listenUri(relay, 0), 'kept')
  const onGone = await ask(listenUri(relay, 1), 'gone')

  await relay.reload(planOf({ routes: [added, kept] }))
  expect(relay.routes().map(({ name, streams, joined }) => [name, streams, joined])).toEqual([
    ['added', 0, 0],
    ['kept', 1, 1],
  ])
  expect(relay.retiredStreams).toBe(1)
  for (const socket of [onKept, onGone]) {
    socket.write('more')
    expect((await readExactly(socket, 4)).toString()).toBe('more')
  }
  await expect(connectTo(`unix://${folder}/gone.sock`)).rejects.toMatchObject({ code: 'ENOENT' })
  await ask(`unix://${folder}/added.sock`, 'added')
  await ask(`unix://${folder}/kept.sock`, 'kept')
  onGone.end()
  await closed(onGone)
  await until('the retired stream to be forgotten', () => relay.retiredStreams === 0)
})

test('a route that changes keeps its listener open: where it leads to is another one from then on', async () => {
  const [one, two] = [await FarEnd.listen({ onSocket: echo }), await FarEnd.listen({ onSocket: echo })]
  const folder = temporaryFolder()
  const listen = `unix://${folder}/vm.sock`
  const { relay } = await startRelay({ routes: [{ listen, dial: one.uri }] })
  const before = statSync(`${folder}/vm.sock`).ino
  const live = await ask(listen, 'one')
  await relay.reload(planOf({ routes: [{ listen, dial: two.uri, whenAway: 'refuse' }] }))
  await ask(listen, 'two')
  live.write('still')
  expect((await readExactly(live, 5)).toString()).toBe('still')
  expect([one.sockets.length, two.sockets.length]).toEqual([1, 1])
  expect(statSync(`${folder}/vm.sock`).ino).toBe(before)
})

test('a reload that cannot listen somewhere changes nothing at all', async () => {
  const far = await FarEnd.listen({ onSocket: echo })
  const taken = await FarEnd.listen()
  const folder = temporaryFolder()
  const { relay } = await startRelay({
    routes: [{ name: 'old', listen: `unix://${folder}/old.sock?name=a`, dial: 'next-hop:a' }],
    nextHops: { a: far.uri },
  })
  const live = await ask(`unix://${folder}/old.sock`, 'old')
  const next = planOf({
    routes: [
      // The same place with something else said about it: closed for the new one, and opened again.
      { name: 'old', listen: `unix://${folder}/old.sock?name=b`, dial: 'next-hop:a' },
      { name: 'new', listen: `unix://${folder}/new.sock`, dial: far.uri },
      { name: 'taken', listen: taken.uri, dial: far.uri },
    ],
    nextHops: { a: 'tcp://127.0.0.1:9' },
    limits: { relayHeld: 0 },
  })
  await expect(relay.reload(next)).rejects.toMatchObject({ code: 'VSPC_TRANSPORT_LISTEN' })
  expect(relay.routes().map(({ name, from }) => [name, from])).toEqual([['old', `unix://${folder}/old.sock?name=a`]])
  await expect(connectTo(`unix://${folder}/new.sock`)).rejects.toMatchObject({ code: 'ENOENT' })
  await ask(`unix://${folder}/old.sock`, 'as before')
  live.write('still')
  expect((await readExactly(live, 5)).toString()).toBe('still')
})

test('a start that cannot listen somewhere leaves nothing open', async () => {
  const taken = await FarEnd.listen()
  const folder = temporaryFolder()
  const plan = planOf({
    routes: [
      { listen: `unix://${folder}/first.sock`, dial: 'tcp://127.0.0.1:9' },
      { listen: taken.uri, dial: 'tcp://127.0.0.1:9' },
    ],
  })
  await expect(new Relay(plan, { log: new KeptLog() }).start()).rejects.toMatchObject({ code: 'VSPC_TRANSPORT_LISTEN' })
  await expect(connectTo(`unix://${folder}/first.sock`)).rejects.toMatchObject({ code: 'ENOENT' })
})

test('limits take effect on a reload, for what is there too', async () => {
  const folder = temporaryFolder()
  const routes = [{ listen: LISTEN, dial: `unix://${folder}/none.sock` }]
  const { relay, clock } = await startRelay({ routes })
  const held = await connectTo(listenUri(relay))
  await until('it to be held', () => relay.routes()[0]?.away === true)
  await relay.reload(planOf({ routes, limits: { relayHeld: 1, maxStreams: 7 } }))
  expect(relay.room.max).toBe(7)
  const refused = await connectTo(listenUri(relay))
  refused.end()
  await closed(refused)
  expect(held.destroyed).toBe(false)
  expect(clock.now()).toBe(0)
})

test('a changed next hop survives reloads and a restart, until the configuration says something new', async () => {
  const folder = temporaryFolder()
  const stateFile = join(folder, 'state.json')
  const uri = (tcpPort: number) => `tcp://127.0.0.1:${tcpPort}`
  const settings = (configured: number) => ({
    routes: [{ listen: LISTEN, dial: 'next-hop:a' }],
    nextHops: { a: uri(configured), b: uri(99) },
    stateFile,
  })
  const hops = (relay: Relay) =>
    relay.nextHops().map(({ endpoint }) => ('tcpPort' in endpoint ? endpoint.tcpPort : null))

  const { relay, clock } = await startRelay(settings(1))
  await relay.setNextHop('a', parseEndpoint(uri(2), 'dial', 'relay'))
  expect(statSync(stateFile).mode & 0o777).toBe(0o600)
  expect(JSON.parse(readFileSync(stateFile, 'utf8'))).toEqual({
    'vspc-relay-state': 1,
    nextHops: { a: { endpoint: uri(2), configured: uri(1) } },
  })
  await relay.reload(planOf(settings(1)))
  expect(hops(relay)).toEqual([2, 99])
  await stopNow(relay, clock)

  const again = await startRelay(settings(1))
  expect(hops(again.relay)).toEqual([2, 99])
  await again.relay.reload(planOf(settings(3)))
  expect(hops(again.relay)).toEqual([3, 99])
  await stopNow(again.relay, again.clock)

  const anew = await startRelay(settings(3))
  expect(hops(anew.relay)).toEqual([3, 99])
  await anew.relay.setNextHop('a', parseEndpoint(uri(4), 'dial', 'relay'))
  await stopNow(anew.relay, anew.clock)
  // Edited while the relay was down: what stands there now counts.
  const edited = await startRelay(settings(5))
  expect(hops(edited.relay)).toEqual([5, 99])
})

test.each([
  ['no JSON', '{"nextHops": '],
  ['no endpoint', '{"nextHops": {"a": {"endpoint": "nonsense", "configured": "tcp://127.0.0.1:1"}}}'],
  ['another form', '[]'],
])('a state file that is damaged (%s) is told of, and stops nobody', async (_what, text) => {
  const stateFile = join(temporaryFolder(), 'state.json')
  writeFileSync(stateFile, text)
  const log = new KeptLog()
  const plan = planOf({
    routes: [{ listen: LISTEN, dial: 'next-hop:a' }],
    nextHops: { a: 'tcp://127.0.0.1:1' },
    stateFile,
  })
  const clock = new ManualClock()
  const relay = new Relay(plan, { log, clock })
  await relay.start()
  expect(relay.nextHops()[0]?.endpoint).toMatchObject({ tcpPort: 1 })
  expect(log.of('error')).toEqual(['state file is damaged: next hops are as configured'])
  await stopNow(relay, clock)
})

test('a state file that cannot be written: the hop is changed, and whoever changed it is told', async () => {
  const stateFile = join(temporaryFolder(), 'missing', 'state.json')
  const { relay } = await startRelay({
    routes: [{ listen: LISTEN, dial: 'next-hop:a' }],
    nextHops: { a: 'tcp://127.0.0.1:1' },
    stateFile,
  })
  await expect(relay.setNextHop('a', parseEndpoint('tcp://127.0.0.1:2', 'dial', 'relay'))).rejects.toMatchObject({
    code: 'VSPC_RELAY_CONTROL',
    message: expect.stringMatching(/^the next hop is changed, but will not survive a restart: /),
  })
  expect(relay.nextHops()[0]?.endpoint).toMatchObject({ tcpPort: 2 })
})
