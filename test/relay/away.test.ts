/** The dialled side is away, and comes back: nobody waits for it longer than need be, and nobody is waited for in vain. */
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { dial, listen, parseEndpoint } from '../../src/transport/index.ts'
import { connectTo, echo, FarEnd, listenUri, readExactly, startRelay, temporaryFolder, until } from './support.ts'

const LISTEN = 'tcp://127.0.0.1:0'

test('who comes while it is away has it tried soon, however long the pauses have become', async () => {
  const path = join(temporaryFolder(), 'hop.sock')
  const { relay, clock } = await startRelay({
    routes: [{ listen: LISTEN, dial: `unix://${path}` }],
    limits: { relayHoldMs: 3_600_000, redialMinMs: 500, redialMaxMs: 600_000 },
  })
  const failures = (): number => relay.routes()[0]?.dialFailures ?? 0
  await connectTo(listenUri(relay))
  await until('it to be seen away', () => failures() === 1)
  for (let pauseMs = 500, count = 1; pauseMs < 300_000; pauseMs *= 2, count++) {
    clock.advance(pauseMs)
    await until('the next failure', () => failures() === count + 1)
  }
  await FarEnd.listen({ path, onSocket: echo })
  const fresh = await connectTo(listenUri(relay))
  fresh.write('now')
  await until('it to be held', () => relay.routes()[0]?.held === 2)
  clock.advance(500)
  expect((await readExactly(fresh, 3)).toString()).toBe('now')
  expect(relay.routes()[0]).toMatchObject({ held: 0, streams: 2, away: false })
})

test('what the relay before gives up is not held for it any longer: its first words lie there unread', async () => {
  const away = `unix://${join(temporaryFolder(), 'appliance.sock')}`
  const far = await startRelay({ routes: [{ listen: LISTEN, dial: away }] })
  const layers = '?proxy=v2&resume=on'
  const near = await startRelay({
    routes: [{ listen: LISTEN, dial: 'next-hop:a' }],
    nextHops: { a: `${listenUri(far.relay)}${layers}` },
  })
  const client = await connectTo(listenUri(near.relay))
  client.write('held')
  await until('it to be held at the far one', () => far.relay.routes()[0]?.held === 1)
  const next = await FarEnd.listen()
  await near.relay.setNextHop('a', parseEndpoint(`${next.uri}${layers}`, 'dial', 'relay'))
  await next.socket(0)
  near.clock.advance(2_000)
  await until('the far one to let it go', () => far.relay.routes()[0]?.held === 0)
  expect(far.relay.room.taken).toBe(0)
})

test('who comes and goes while it is away leaves nothing behind, though others go on waiting', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const seen: WeakRef<object>[] = []
  const { relay } = await startRelay(
    { routes: [{ listen: LISTEN, dial: `unix://${join(temporaryFolder(), 'nobody.sock')}` }] },
    {
      transport: {
        dial,
        listen: (endpoint, handlers, options) =>
          listen(
            endpoint,
            {
              ...handlers,
              stream: (stream) => {
                seen.push(new WeakRef(stream.socket))
                handlers.stream(stream)
              },
            },
            options,
          ),
      },
    },
  )
  const route = () => relay.routes()[0]
  await connectTo(listenUri(relay))
  await until('it to be seen away', () => route()?.away === true)
  for (let at = 0; at < 300; at++) {
    const passing = await connectTo(listenUri(relay))
    passing.destroy()
  }
  await until('all of them to be gone', () => seen.length === 301 && route()?.held === 1)
  await until('them to be forgotten', () => {
    collect()
    return seen.filter((one) => one.deref() !== undefined).length < 100
  })
})
