/** Peers that vanish: no FIN, no RST, nothing is taken any more, nothing comes. */
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import type { SimConnection, SimTarget } from '../../src/sim/index.ts'
import { Bench, begin, type Granted, inputOf, sequenceOf, settled, vmFacts } from '../vspc/conformance/support.ts'
import { until } from './support.ts'

/** Carries TCP to the server and back, until the machine at its far end vanishes. */
class Tunnel {
  readonly #door: NetServer
  readonly #sockets: Socket[] = []
  #vanished = false

  private constructor(door: NetServer) {
    this.#door = door
  }

  /** Closed with the bench. */
  static async to(bench: Bench): Promise<Tunnel> {
    const { target } = bench
    if ('path' in target) throw new Error('not TCP')
    const door = createServer({ allowHalfOpen: true, noDelay: true })
    const tunnel = bench.closing(new Tunnel(door))
    door.on('connection', (near) => {
      const far = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true })
      tunnel.#join(near, far)
      tunnel.#join(far, near)
    })
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
    return tunnel
  }

  get target(): SimTarget {
    const address = this.#door.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return { host: '127.0.0.1', port: address.port }
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.push(from)
    from.on('data', (chunk) => {
      if (!this.#vanished) to.write(chunk)
    })
    from.on('end', () => {
      if (!this.#vanished) to.end()
    })
    from.on('error', () => {})
  }

  close(): void {
    this.#door.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  vanish(): void {
    this.#vanished = true
    for (const socket of this.#sockets) socket.pause()
  }
}

interface Scene {
  readonly bench: Bench
  readonly clock: ManualClock
  readonly tunnel: Tunnel
}

async function scene(): Promise<Scene> {
  const clock = new ManualClock()
  clock.advance(1_000)
  const bench = await Bench.start({ clock })
  return { bench, clock, tunnel: await Tunnel.to(bench) }
}

/** The vanished one is noticed by timers alone: the last of them within `ms`. */
async function onlyOneLeft({ bench, clock }: Scene, ms: number): Promise<void> {
  clock.advance(ms)
  await until('its FIN stays without an answer', () => bench.server.connections <= 2)
  // closeMs
  clock.advance(5_000)
  await until('the vanished one is given up', () => bench.server.connections === 1)
  expect(bench.server.cookies.size).toBe(0)
  expect(clock.pending).toBe(1)
  expect(bench.port().state).toBe('online')
}

/** How far a vMotion came before its source was heard of no more. */
test.each(['GOAHEAD', 'PEER-OK'])(
  'the source vanishes after %s: the vMotion is completed without it',
  async (after) => {
    const here = await scene()
    const { bench, tunnel } = here
    const source = await bench.attach(1, 'vSPC.py', { target: tunnel.target })
    const user = bench.console()
    source.data('before|')
    await user.expectText('before|')
    const { cookie, sequence } = await begin(source)
    user.type('held')
    if (after === 'GOAHEAD') tunnel.vanish()
    const destination = await bench.peered(cookie)
    tunnel.vanish()
    destination.complete(sequence)
    await destination.expectData('held')
    destination.data('after')
    await until('its tail was waited for', () => {
      here.clock.advance(10)
      return user.text.endsWith('after')
    })
    expect([user.text, inputOf(source)]).toEqual(['before|after', ''])
    // retireMs
    await onlyOneLeft(here, 10_000)
    expect(bench.log.lines.filter(({ message }) => message === 'vmotion-complete')).toHaveLength(1)
  },
)

test('the source vanishes in mid-vMotion and the VM dials in again: it gets what was typed', async () => {
  const here = await scene()
  const { bench, tunnel } = here
  const source = await bench.attach(1, 'vSPC.py', { target: tunnel.target })
  const user = bench.console()
  await begin(source)
  user.type('held')
  tunnel.vanish()
  const again = await bench.attach()
  await again.expectData('held')
  // takeoverGraceMs
  await onlyOneLeft(here, 1_000)
  expect(bench.server.counters.takeovers).toBe(1)
})

const DESTINATION_STEPS: [string, (destination: SimConnection, granted: Granted) => Promise<unknown>, string][] = [
  ['before PEER', async () => {}, 'neither DO-PROXY nor VMOTION-PEER came in time; closed'],
  [
    'after PEER-OK',
    (destination, { cookie }) => {
      destination.suboption(44, cookie)
      return destination.expect('VMOTION-PEER-OK')
    },
    'connection closed',
  ],
]

test.each(DESTINATION_STEPS)('the destination vanishes %s: after ABORT the source goes on', async (_, act, message) => {
  const here = await scene()
  const { bench, tunnel } = here
  const source = await bench.attach()
  const user = bench.console()
  const granted = await begin(source)
  user.type('held')
  const destination = await bench.introduced({ target: tunnel.target })
  await act(destination, granted)
  tunnel.vanish()
  source.abortVmotion()
  await source.expectData('held')
  source.data('after')
  await user.expectText('after')
  // announceMs
  await onlyOneLeft(here, 10_000)
  const reasons = bench.log.lines.map((line) => line.message)
  expect(reasons).toContain('vmotion-abort')
  expect(reasons).toContain(message)
})

test('the destination vanishes after COMPLETE: the VM dials in again, users stay', async () => {
  const here = await scene()
  const { bench, tunnel } = here
  const source = await bench.attach()
  const user = bench.console()
  const { cookie, sequence } = await begin(source)
  const destination = await bench.peered(cookie, 1, { target: tunnel.target })
  source.fin()
  destination.complete(sequence)
  await settled(destination)
  tunnel.vanish()
  const again = await bench.connect()
  await again.expect('WILL-PROXY')
  await settled(again)
  user.type('typed')
  await again.expectData('typed')
  again.data('after')
  await user.expectText('after')
  await onlyOneLeft(here, 1_000)
})

test('source and destination vanish and nobody comes back: said after T_orphan, and the port can be used again', async () => {
  const here = await scene()
  const { bench, clock, tunnel } = here
  const source = await bench.attach(1, 'vSPC.py', { target: tunnel.target })
  const user = bench.console()
  const { cookie } = await begin(source)
  await bench.peered(cookie, 1, { target: tunnel.target })
  tunnel.vanish()
  clock.advance(119_999)
  expect(bench.port().state).toBe('migrating')
  clock.advance(1)
  // As far as TCP knows, the source is there: the kernel's keepalive is what finds out.
  expect(bench.port().state).toBe('online')
  expect(await bench.logged(/^vmotion-timeout$/)).toMatchObject({ level: 'warn' })
  expect(user.of('state').at(-1)).toMatchObject({ state: 'online', reason: expect.stringMatching(/in time/) })
  const again = await bench.connect()
  await again.expect('WILL-PROXY')
  await settled(again)
  user.type('typed')
  await again.expectData('typed')
  await onlyOneLeft(here, 5_000)
})

test('a VM vanishes under a user who types on: held to a bound, and the VM that dials in gets an unbroken rest', async () => {
  const here = await scene()
  const { bench, tunnel } = here
  await bench.attach(1, 'vSPC.py', { target: tunnel.target })
  const user = bench.console()
  tunnel.vanish()
  const line = (n: number): string => `${String(n).padStart(7, '0')}\n`.repeat(1_000)
  const lines = user.typeUntilPaused(line)
  expect(user.inputPaused).toBe(true)
  const again = await bench.connect()
  await user.untilPaused(false)
  user.type('END')
  await again.expectData('END')
  // What the vanished host's connection had taken is gone with it; what follows is all there, in order.
  const all = `${Array.from({ length: lines }, (_, n) => line(n)).join('')}END`
  const rest = inputOf(again)
  expect(rest.length).toBeGreaterThanOrEqual(bench.server.limits.inputBytes)
  expect(all.endsWith(rest)).toBe(true)
  await onlyOneLeft(here, 1_000)
})

test('a vMotion of another VM is answered at once while a host with a hundred VMs has vanished', async () => {
  const { bench, tunnel } = await scene()
  const healthy = await bench.attach(1_000)
  const vanished = Array.from({ length: 100 }, (_, i) => bench.attach(1 + i, 'vSPC.py', { target: tunnel.target }))
  await Promise.all(vanished)
  const users = vanished.map((_, i) => bench.console(vmFacts(1 + i).id))
  tunnel.vanish()
  for (const user of users) user.type('x'.repeat(100_000))
  const { cookie, sequence } = await begin(healthy, sequenceOf())
  const destination = await bench.peered(cookie, 1_000)
  destination.complete(sequence)
  await settled(destination)
  expect(bench.port(vmFacts(1_000).id).vmotions).toBe(1)
  // By the server's clock no time has passed.
  expect(bench.goaheads).toEqual([0])
})
