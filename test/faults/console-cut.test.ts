/** A console that goes away in the middle of a vMotion, in every way a console can go. */
import { expect, test } from 'vitest'
import { SimConnection } from '../../src/sim/index.ts'
import { begin, type Granted, inputOf, sequenceOf } from '../vspc/conformance/support.ts'
import { Serve, until } from './support.ts'
import { Attached, Bystander, bootVm, identityOf, portInfo } from './support-bystander.ts'

const ENDS: Record<string, (console: Attached) => void> = {
  RST: ({ tcp }) => void tcp.resetAndDestroy(),
  'FIN without a word': ({ tcp }) => void tcp.end(),
  'a close frame': ({ socket }) => socket.close(),
}

/** What a VM does, and what its port is afterwards. Each step but the last happens to a VM that moves. */
interface Move {
  source: SimConnection
  destination: SimConnection | null
  granted: Granted | null
}
type Step = (serve: Serve, n: number, move: Move) => Promise<void>

const STEPS: Record<string, Step> = {
  BEGIN: async (_serve, _n, move) => {
    move.granted = await begin(move.source, sequenceOf())
  },
  PEER: async (serve, n, move) => {
    const { vcUuid, name } = identityOf(n)
    move.destination = await SimConnection.open({
      target: serve.target,
      identity: { vcUuid, name },
      announcement: { kind: 'peer', payload: move.granted?.cookie ?? new Uint8Array(0) },
      noDelay: true,
    })
    await move.destination.expect('VMOTION-PEER-OK')
  },
  'the end of the source': async (_serve, _n, { source }) => {
    source.fin()
    await source.closed
  },
  COMPLETE: async (_serve, _n, { destination, granted }) => {
    destination?.complete(granted?.sequence ?? new Uint8Array(0))
    await destination?.fence()
  },
}
const NAMES = ['nothing', ...Object.keys(STEPS)]

test('a console is lost at every step of a vMotion: nobody else notices, and it goes on where it was', async () => {
  const serve = await Serve.start()
  const bystander = await Bystander.start(serve)
  const cases = NAMES.flatMap((after) => Object.keys(ENDS).map((how) => ({ after, how })))
  await Promise.all(cases.map(({ after, how }, i) => lostAfter(serve, i + 1, after, how)))
  await bystander.verify()
  expect(await serve.metric('vspc_vmotions_open')).toBe(0)
  await serve.reaches('vspc_vm_connections', cases.length + 1)
  expect(serve.complaints).toEqual([])
  await serve.stop()
})

/** One VM that moves, with a console that stays and one that is lost after step `after`. */
async function lostAfter(serve: Serve, n: number, after: string, how: string): Promise<void> {
  const { id } = identityOf(n)
  const move: Move = { source: await bootVm(serve, n), destination: null, granted: null }
  const witness = await Attached.open(serve, id, 'mode=read')
  let user = await Attached.open(serve, id)
  let seen = ''
  move.source.data('before|')
  await user.expectText('before|')
  for (const name of NAMES) {
    await STEPS[name]?.(serve, n, move)
    if (name !== after) continue
    user.type('last words|')
    ENDS[how]?.(user)
    await until('the console is forgotten', async () => (await portInfo(serve, id))?.['consoles'] === 1)
    seen = user.text
    user = await Attached.open(serve, id, `mode=write&from=${user.next}`)
    expect(user.of('gap')).toEqual([])
  }
  const vm = move.destination ?? move.source
  user.type('typed')
  await vm.expectData('typed')
  const input = inputOf(move.source) + inputOf(vm)
  // A reset may overtake what was typed just before it; nothing else may.
  if (how === 'RST') expect(['typed', 'last words|typed']).toContain(input)
  else expect(input, `${how} after ${after}`).toBe('last words|typed')
  vm.data('after')
  await user.expectText('after')
  await witness.expectText('after')
  expect([witness.text, seen + user.text]).toEqual(['before|after', 'before|after'])
}
