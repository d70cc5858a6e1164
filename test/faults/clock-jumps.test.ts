/** The wall clock jumps, forward and back, by years: it is for display, and decides nothing. */
import { expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { SimConnection } from '../../src/sim/index.ts'
import { begin, inputOf, sequenceOf } from '../vspc/conformance/support.ts'
import { portOf, TestConsole, testServer } from '../vspc/support.ts'
import { bootVm as bootPeer, CODE, ID, migrateTo, turn } from '../vspc/vm-peer.ts'
import { Serve, until } from './support.ts'
import { Attached, Bystander, bootVm, identityOf, portInfo } from './support-bystander.ts'

const YEAR_MS = 365 * 86_400_000
const DAY_MS = 86_400_000

/** Of the wall clock, by turns; monotonic time knows nothing of it. */
class JumpyClock extends ManualClock {
  readonly #jumps: readonly number[]
  #jumped = 0
  #skew = 0

  constructor(jumps: readonly number[]) {
    super()
    this.#jumps = jumps
  }

  override wall(): number {
    return super.wall() + this.#skew
  }

  jump(): void {
    this.#skew += this.#jumps[this.#jumped++ % this.#jumps.length] ?? 0
  }
}

/** Everything that has a timer, each looked at just before its time and at it. @returns what was seen. */
async function story(jumps: readonly number[]): Promise<unknown[]> {
  const clock = new JumpyClock(jumps)
  clock.advance(1_000)
  const { server, log, events } = testServer({}, { clock })
  const seen: unknown[] = []
  const advance = async (ms: number): Promise<void> => {
    clock.jump()
    clock.advance(ms)
    clock.jump()
    await turn()
    const port = server.table.get(ID)
    seen.push([port?.state, server.cookies.size, server.connections, port?.vmotions, clock.pending])
  }
  const silent = await bootPeer(server, { uuid: null, name: null })
  const first = await bootPeer(server)
  const user = new TestConsole(portOf(server, ID))
  first.print('one|')
  // GET-VM-VC-UUID stays without an answer.
  await advance(2_999)
  await advance(1)
  silent.reset()
  await turn()
  // T_orphan: the cookie is good until then, and no longer.
  first.say(CODE.BEGIN, [1])
  const dead = first.cookie
  user.type('held|')
  await advance(119_999)
  await advance(1)
  const late = await migrateTo(server, dead)
  seen.push(late.said(CODE.PEER_OK).length)
  await advance(10_000)
  late.end()
  // A vMotion as it should be; the old source is closed after retireMs and closeMs.
  first.say(CODE.BEGIN, [2])
  // Last words, not the sign of a VM that runs on: that is serial data later than resumeAfterMs.
  await advance(900)
  first.print('tail|')
  await advance(1_500)
  const second = await migrateTo(server, first.cookie)
  await advance(1_500)
  second.say(CODE.COMPLETE, [2])
  user.type('moved|')
  second.print('two|')
  await advance(49)
  await advance(1)
  await advance(9_950)
  await advance(5_000)
  // A reconnect takes over; the one before is closed after its grace.
  const third = await bootPeer(server)
  await advance(999)
  await advance(1)
  await advance(5_000)
  third.print('three')
  third.reset()
  await turn()
  const { connectedAt, lastOutputAt } = portOf(server, ID).info()
  seen.push(connectedAt, first.input, second.input, third.input, user.text)
  const shown = [lastOutputAt, user.console.info.attachedAt, ...events.map(({ at }) => at)]
  for (const time of shown) expect(Date.parse(time ?? '')).toBeGreaterThan(0)
  // Offline ports are listed for a day; a jump of years does not make it longer or shorter.
  user.console.detach()
  await server.start()
  await advance(DAY_MS)
  expect(server.table.get(ID)?.state).toBe('offline')
  await advance(60_000)
  await advance(60_000)
  seen.push(
    server.table.size,
    { ...server.counters },
    events.map(({ type }) => type),
    log.lines,
  )
  const stopped = server.stop()
  clock.advance(10_000)
  await stopped
  return seen
}

test.each<[string, number[]]>([
  ['forward by ten years at every step', [10 * YEAR_MS]],
  ['back by a year at every step', [-YEAR_MS]],
  ['to and fro', [5 * YEAR_MS, -10 * YEAR_MS, 5 * YEAR_MS]],
  ['by an hour, as when summer time is set by hand', [3_600_000, -3_600_000]],
])('the wall clock jumps %s: timers, cookies, retirement and retention are as without', async (_, jumps) => {
  expect(await story(jumps)).toEqual(await story([0]))
})

/** Lines on stdin say by how many milliseconds the wall clock of the process is wrong. */
const WRONG_CLOCK = `
  const RealDate = Date
  let skew = 0
  globalThis.Date = class extends RealDate {
    constructor(...given) {
      if (given.length === 0) super(RealDate.now() + skew)
      else super(...given)
    }
    static now() {
      return RealDate.now() + skew
    }
  }
  let rest = ''
  process.stdin.on('data', (chunk) => {
    const lines = (rest + chunk).split('\\n')
    rest = lines.pop()
    for (const line of lines) skew = Number(line)
  })
  process.stdin.unref()
`

test('a whole server whose clock is set by years and back: consoles, vMotions and history go on; the log shows the time as it is set', async () => {
  const serve = await Serve.start({ preload: WRONG_CLOCK })
  const bystander = await Bystander.start(serve)
  let vm = await bootVm(serve, 1)
  const { id, vcUuid, name } = identityOf(1)
  const user = await Attached.open(serve, id)
  let printed = ''
  const typed: string[] = []
  for (const years of [20, -5, 0]) {
    const year = new Date(Date.now() + years * YEAR_MS).getUTCFullYear()
    const { cookie, sequence } = await begin(vm, sequenceOf())
    typed.push(`in ${year}`)
    user.type(`in ${year}`)
    serve.tell(String(years * YEAR_MS))
    const destination = await SimConnection.open({
      target: serve.target,
      identity: { vcUuid, name },
      announcement: { kind: 'peer', payload: cookie },
      noDelay: true,
    })
    await destination.expect('VMOTION-PEER-OK')
    vm.fin()
    await vm.closed
    destination.complete(sequence)
    await destination.expectData(`in ${year}`)
    vm = destination
    vm.data(`out ${year}|`)
    printed += `out ${year}|`
    await user.expectText(printed)
    await bystander.beatsOn()
    await until('it is logged', () => serve.lines(/vmotion-complete/).length === typed.length)
    expect(String(serve.lines(/vmotion-complete/).at(-1)?.['time'])).toMatch(new RegExp(`^${year}-`))
    expect(String((await portInfo(serve, id))?.['lastOutputAt'])).toMatch(new RegExp(`^${year}-`))
  }
  expect(inputOf(vm)).toBe(typed.at(-1))
  const kept = await fetch(`${serve.url}/api/v1/ports/${id}/log`)
  expect(await kept.text()).toBe(printed)
  expect(await serve.metric('vspc_vmotions_total{result="completed"}')).toBe(3)
  expect(serve.complaints).toEqual([])
  vm.abort()
  await bystander.verify()
  await serve.stop()
})
