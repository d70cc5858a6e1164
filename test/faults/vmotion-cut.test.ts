/** A connection that breaks at any byte of a vMotion: what was typed arrives once, what was printed is shown once. */
import { expect, onTestFinished, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import type { SimConnection, SimConnectionHandler } from '../../src/sim/index.ts'
import { Bench, begin, identityOf, inputOf, sequenceOf, settled, vmFacts } from '../vspc/conformance/support.ts'
import { until } from './support.ts'
import { Bystander } from './support-bystander.ts'
import { type Cut, destinationStream, outputWithin, RawHost, sourceStream } from './support-moving.ts'

/** Scenarios at the same time. */
const AT_ONCE = 24
const BYSTANDER = 9_999
const CUTS: readonly Cut[] = ['fin', 'reset']

/** The VM as it runs in the end. */
interface Survivor {
  readonly vm: SimConnection
  readonly n: number
}

class World {
  readonly clock = new ManualClock()
  readonly bench: Bench
  readonly bystander: Bystander
  readonly port: number

  private constructor(bench: Bench, clock: ManualClock, bystander: Bystander) {
    const { target } = bench
    if ('path' in target) throw new Error('not TCP')
    this.bench = bench
    this.clock = clock
    this.bystander = bystander
    this.port = target.port
  }

  static async start(): Promise<World> {
    const clock = new ManualClock()
    clock.advance(1_000)
    const bench = await Bench.start({ clock })
    const handler: SimConnectionHandler = {}
    const vm = await bench.attach(BYSTANDER, 'vSPC.py', { handler })
    const client = {
      output: (bytes: Uint8Array) => {
        bystander.heardByConsole(bytes)
        return true
      },
      notify: () => {},
      setInputPaused: () => {},
      close: () => {},
    }
    const options = { mode: 'write', from: null, who: 'bystander', via: 'websocket', force: false } as const
    const console = bench.port(vmFacts(BYSTANDER).id).attachConsole(client, options)
    const bystander = new Bystander({ vm, type: (bytes) => console.write(bytes) })
    onTestFinished(() => bystander.stop())
    handler.data = (_, bytes) => bystander.heardByVm(bytes)
    bystander.beat()
    return new World(bench, clock, bystander)
  }

  /** VM `n` dials in as if for the first time. */
  async boot(n: number): Promise<SimConnection> {
    const vm = await this.bench.connect({ identity: identityOf(n) })
    await vm.expect('WILL-PROXY')
    await settled(vm)
    return vm
  }

  /** Says `bytes` on a new connection that then breaks; resolves when the server knows. */
  async breakOff(bytes: Uint8Array, how: Cut): Promise<RawHost> {
    const host = await RawHost.connect(this.port)
    const tap = this.bench.wire(host)
    await host.sayAndEnd(bytes, how)
    await tap.untilClosed()
    return host
  }

  /** Only what is in use is left: connections, timers, cookies. */
  async atRest(survivors: readonly Survivor[]): Promise<void> {
    const { bench, clock } = this
    await this.bystander.verify()
    // Whatever is closed late has been told to go by then.
    clock.advance(200_000)
    await until('only those in use are left', () => bench.server.connections === survivors.length + 1)
    expect(bench.server.cookies.size).toBe(0)
    expect([...bench.server.table].filter(({ state }) => state !== 'online')).toEqual([])
    expect(bench.server.table.size).toBe(survivors.length + 1)
    // The sweep over offline ports.
    expect(clock.pending).toBe(1)
    expect(bench.log.lines.filter(({ level }) => level === 'error')).toEqual([])
  }
}

type Scenario = (world: World, cutAt: number, n: number) => Promise<SimConnection>

/** Runs `scenario` for every length from 0 to `length`, each with a VM of its own. */
async function atEveryByte(length: number, scenario: Scenario): Promise<void> {
  const world = await World.start()
  const survivors: Survivor[] = []
  for (let from = 0; from <= length; from += AT_ONCE) {
    const lengths = Array.from({ length: Math.min(AT_ONCE, length + 1 - from) }, (_, i) => from + i)
    const run = async (cutAt: number) => ({ vm: await scenario(world, cutAt, 1 + cutAt), n: 1 + cutAt })
    survivors.push(...(await Promise.all(lengths.map(run))))
  }
  // What failed is in nobody's way: the next vMotion succeeds.
  const moved = survivors.map(({ vm, n }, i) => (i % 10 === 0 ? world.bench.migrate(vm, { n }) : vm))
  await Promise.all(moved)
  await world.atRest(survivors)
}

test.each(CUTS)('the source breaks off (%s) at any byte up to BEGIN, and the VM dials in again', async (how) => {
  const sequence = sequenceOf()
  const streamOf = (n: number) => sourceStream({ ...vmFacts(n), name: 'one of many' }, sequence, 'first|')
  await atEveryByte(streamOf(1).bytes.length, async (world, cutAt, n) => {
    const { bench } = world
    const { id } = vmFacts(n)
    const spoken = streamOf(n)
    const host = await world.breakOff(spoken.bytes.subarray(0, cutAt), how)
    const known = bench.server.table.get(id) !== undefined
    const early = known ? bench.console(id, { from: 0 }) : null
    early?.type('typed|')
    const back = await world.boot(n)
    const user = early ?? bench.console(id, { from: 0 })
    user.type(known ? 'again' : 'typed|again')
    await back.expectData('again')
    expect(inputOf(back)).toBe('typed|again')
    expect(host.heard).not.toContain('typed')
    back.data('second')
    await user.expectText('second')
    const shown = outputWithin(spoken, cutAt)
    if (how === 'fin') expect(user.text).toBe(`${shown}second`)
    else expect(`${shown}second`.endsWith(user.text)).toBe(true)
    return back
  })
})

test.each(CUTS)(
  'the destination breaks off (%s) at any byte: the source goes on, or the VM dials in again',
  async (how) => {
    const sequence = sequenceOf()
    const length = destinationStream(vmFacts(1), new Uint8Array(12), sequence, 'moved|').bytes.length
    await atEveryByte(length, async (world, cutAt, n) => {
      const { bench } = world
      const { id, esxUuid } = vmFacts(n)
      const source = await world.boot(n)
      const user = bench.console(id)
      source.data('first|')
      await user.expectText('first|')
      const { cookie } = await begin(source, sequence)
      user.type('typed|')
      const spoken = destinationStream({ esxUuid }, cookie, sequence, 'moved|')
      const host = await world.breakOff(spoken.bytes.subarray(0, cutAt), how)
      const completed = bench.port(id).state !== 'migrating'
      if (cutAt < spoken.outputAt) expect(completed).toBe(false)
      else if (how === 'fin') expect(completed).toBe(true)
      let vm = source
      if (completed) {
        source.fin()
        vm = await world.boot(n)
      } else {
        source.abortVmotion()
      }
      user.type('again')
      await vm.expectData('again')
      expect(inputOf(vm)).toBe(completed ? 'again' : 'typed|again')
      if (completed) expect(inputOf(source)).toBe('')
      if (how === 'fin') expect(host.heard.includes('typed|')).toBe(completed)
      vm.data('second')
      await user.expectText('second')
      const shown = completed ? outputWithin(spoken, cutAt) : ''
      if (how === 'fin') expect(user.text).toBe(`first|${shown}second`)
      else expect(user.text).toMatch(/^first\|(?:moved\||moved|move|mov|mo|m)?second$/)
      return vm
    })
  },
)

test.each(CUTS)('source and destination break off (%s) together at any byte: the VM dials in again', async (how) => {
  const sequence = sequenceOf()
  const length = destinationStream(vmFacts(1), new Uint8Array(12), sequence, 'moved|').bytes.length
  await atEveryByte(length, async (world, cutAt, n) => {
    const { bench } = world
    const { id, esxUuid } = vmFacts(n)
    const source = await world.boot(n)
    const user = bench.console(id)
    const { cookie } = await begin(source, sequence)
    user.type('typed|')
    const spoken = destinationStream({ esxUuid }, cookie, sequence, 'moved|')
    const ended = bench.end(source, how)
    const host = await world.breakOff(spoken.bytes.subarray(0, cutAt), how)
    await ended
    const completed = bench.port(id).state === 'offline'
    const vm = await world.boot(n)
    user.type('again')
    await vm.expectData('again')
    expect(inputOf(source)).toBe('')
    expect(inputOf(vm)).toBe(completed ? 'again' : 'typed|again')
    if (how === 'fin') expect(host.heard.includes('typed|')).toBe(completed)
    vm.data('second')
    await user.expectText('second')
    expect(user.text).toMatch(/^(?:moved\||moved|move|mov|mo|m)?second$/)
    return vm
  })
})
