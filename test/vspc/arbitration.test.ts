import { describe, expect, test } from 'vitest'
import {
  type Changes,
  decide,
  EMPTY_FLOOR,
  type Floor,
  type FloorRequest,
  type IfBusy,
  inTheWay,
  type Seat,
  type WriterPolicy,
} from '../../src/vspc/arbitration.ts'
import type { ConsoleMode } from '../../src/vspc/index.ts'

const MODES: ConsoleMode[] = ['read', 'write', 'exclusive']
const POLICIES: WriterPolicy[] = ['shared', 'single']
const IF_BUSY: IfBusy[] = ['refuse', 'wait', 'force']

/** [policy, wanted, held by the other, nobody is in the way]. */
const TABLE: [WriterPolicy, ConsoleMode, ConsoleMode, boolean][] = [
  ['shared', 'read', 'read', true],
  ['shared', 'read', 'write', true],
  ['shared', 'read', 'exclusive', true],
  ['shared', 'write', 'read', true],
  ['shared', 'write', 'write', true],
  ['shared', 'write', 'exclusive', false],
  ['shared', 'exclusive', 'read', true],
  ['shared', 'exclusive', 'write', false],
  ['shared', 'exclusive', 'exclusive', false],
  ['single', 'read', 'read', true],
  ['single', 'read', 'write', true],
  ['single', 'read', 'exclusive', true],
  ['single', 'write', 'read', true],
  ['single', 'write', 'write', false],
  ['single', 'write', 'exclusive', false],
  ['single', 'exclusive', 'read', true],
  ['single', 'exclusive', 'write', false],
  ['single', 'exclusive', 'exclusive', false],
]

describe('one console and another', () => {
  test('the table is whole', () => {
    expect(new Set(TABLE.map((row) => row.slice(0, 3).join())).size).toBe(2 * MODES.length * MODES.length)
  })

  test.each(TABLE)('%s: %s while another has %s: granted %s', (policy, mode, held, free) => {
    const floor: Floor = { seats: [seat(1, held), seat(2, 'read')], queue: [] }
    const ask = (ifBusy: IfBusy) => decide(floor, { type: 'ask', id: 2, mode, ifBusy }, policy)
    const changed = mode === 'read' ? [] : [{ id: 2, mode, cause: 'own' }]
    const granted = { granted: true, changes: { modes: changed, places: [], asks: [] } }
    if (free) {
      for (const ifBusy of IF_BUSY) expect(ask(ifBusy)).toMatchObject(granted)
      return
    }
    expect(ask('refuse')).toEqual({ granted: false, why: 'busy', inTheWay: [1] })
    expect(ask('wait')).toMatchObject({
      floor: { seats: floor.seats, queue: [{ id: 2, mode }] },
      changes: {
        modes: [],
        places: [{ id: 2, mode, position: 1, cause: 'own' }],
        asks: [{ waiting: 2, holder: 1 }],
      },
    })
    expect(ask('force')).toMatchObject({
      changes: {
        modes: [
          { id: 1, mode: 'read', cause: 'force' },
          { id: 2, mode, cause: 'own' },
        ],
      },
    })
  })
})

describe('the queue', () => {
  test('who holds and wants more waits without giving up what it has', () => {
    const floor: Floor = { seats: [seat(1, 'write'), seat(2, 'write')], queue: [] }
    const waits = granted(floor, { type: 'ask', id: 2, mode: 'exclusive', ifBusy: 'wait' }, 'shared')
    expect(waits.seats).toEqual(floor.seats)
    const alone = granted(waits, { type: 'leave', id: 1 }, 'shared')
    expect(alone).toEqual({ seats: [seat(2, 'exclusive')], queue: [] })
  })

  test('who asks again keeps its place, who asks for something else goes to the end', () => {
    const floor: Floor = {
      seats: [seat(1, 'exclusive'), seat(2, 'read'), seat(3, 'read')],
      queue: [
        { id: 2, mode: 'write' },
        { id: 3, mode: 'write' },
      ],
    }
    expect(granted(floor, { type: 'ask', id: 2, mode: 'write', ifBusy: 'wait' }, 'single')).toEqual(floor)
    expect(granted(floor, { type: 'ask', id: 2, mode: 'exclusive', ifBusy: 'wait' }, 'single').queue).toEqual([
      { id: 3, mode: 'write' },
      { id: 2, mode: 'exclusive' },
    ])
  })

  test('under "shared", all who wait for an exclusive one to go write together', () => {
    const floor: Floor = {
      seats: [seat(1, 'exclusive'), seat(2, 'read'), seat(3, 'read')],
      queue: [
        { id: 3, mode: 'write' },
        { id: 2, mode: 'write' },
      ],
    }
    expect(granted(floor, { type: 'yield', id: 1, to: null }, 'shared')).toEqual({
      seats: [seat(1, 'read'), seat(2, 'write'), seat(3, 'write')],
      queue: [],
    })
  })

  test('what is handed over passes the queue; where others are in the way, nothing is handed over', () => {
    const queue = [
      { id: 2, mode: 'exclusive' },
      { id: 3, mode: 'exclusive' },
    ] as const
    const one: Floor = { seats: [seat(1, 'write'), seat(2, 'read'), seat(3, 'read')], queue }
    expect(granted(one, { type: 'yield', id: 1, to: 3 }, 'shared')).toEqual({
      seats: [seat(1, 'read'), seat(2, 'read'), seat(3, 'exclusive')],
      queue: [queue[0]],
    })
    const two: Floor = { seats: [...one.seats, seat(4, 'write')], queue }
    expect(decide(two, { type: 'yield', id: 1, to: 3 }, 'shared')).toEqual({
      granted: false,
      why: 'busy',
      inTheWay: [4],
    })
    expect(decide(one, { type: 'yield', id: 1, to: 4 }, 'shared')).toMatchObject({ why: 'not-waiting' })
    expect(decide(one, { type: 'yield', id: 2, to: 3 }, 'shared')).toMatchObject({ why: 'reads-only' })
  })

  test('a policy that is relaxed lets those in who wait for nothing any more', () => {
    const floor: Floor = { seats: [seat(1, 'write'), seat(2, 'read')], queue: [{ id: 2, mode: 'write' }] }
    expect(granted(floor, { type: 'settle' }, 'shared').seats).toEqual([seat(1, 'write'), seat(2, 'write')])
  })
})

/** As many as there were when this was written: others mean that something is no longer tried, or has become possible. */
const REACHED = {
  shared: [
    { states: 4, decisions: 56 },
    { states: 23, decisions: 644 },
    { states: 177, decisions: 7_791 },
    { states: 1_681, decisions: 104_142 },
  ],
  single: [
    { states: 4, decisions: 56 },
    { states: 20, decisions: 554 },
    { states: 128, decisions: 5_560 },
    { states: 1_040, decisions: 63_760 },
  ],
}

/** Every state that up to so many consoles can reach, and from each of them every request. */
describe.each(POLICIES)('every state and every request, policy "%s"', (policy) => {
  test.each([1, 2, 3, 4])('%i consoles', (count) => {
    const ids = Array.from({ length: count }, (_, index) => index + 1)
    const seen = new Map<string, Floor>([[keyOf(EMPTY_FLOOR), EMPTY_FLOOR]])
    let decisions = 0
    for (const floor of seen.values()) {
      for (const request of requestsIn(floor, ids)) {
        const decision = decide(floor, request, policy)
        decisions++
        if (!decision.granted) {
          checkRefusal(floor, request, decision.why, decision.inTheWay)
          continue
        }
        const faults = faultsOf(floor, request, decision.floor, decision.changes, policy)
        if (faults.length > 0) throw new Error(`${JSON.stringify({ floor, request, decision, faults }, null, 1)}`)
        const key = keyOf(decision.floor)
        if (!seen.has(key)) seen.set(key, decision.floor)
      }
    }
    expect({ states: seen.size, decisions }).toEqual(REACHED[policy][count - 1])
  })
})

test('the checks above notice what they are there for', () => {
  const before: Floor = { seats: [seat(1, 'exclusive'), seat(2, 'read')], queue: [] }
  const none: Changes = { modes: [], places: [], asks: [] }
  const faults = (after: Floor, changes: Changes = none) =>
    faultsOf(before, { type: 'cancel', id: 2 }, after, changes, 'shared').map((text) => text.replace(/ \d.*/, ''))
  expect(faults({ seats: [seat(1, 'exclusive'), seat(2, 'write')], queue: [] })).toEqual([
    'another writes beside an exclusive one',
    'a console that did not ask got more',
    'changes of modes are told wrong',
  ])
  expect(faults({ ...before, queue: [{ id: 2, mode: 'write' }] })).toEqual([
    'one waits that did not ask to',
    'who gave up still waits',
    'changes of places are told wrong',
    'askings are told wrong',
  ])
  expect(
    faultsOf(
      { seats: [seat(1, 'read'), seat(2, 'read')], queue: [] },
      { type: 'settle' },
      { seats: [seat(1, 'read'), seat(2, 'read')], queue: [{ id: 1, mode: 'write' }] },
      none,
      'shared',
    ),
  ).toContain('one waits although nobody is in the way')
})

function seat(id: number, mode: ConsoleMode): Seat {
  return { id, mode }
}

function granted(floor: Floor, request: FloorRequest, policy: WriterPolicy): Floor {
  const decision = decide(floor, request, policy)
  if (!decision.granted) throw new Error(`refused: ${decision.why}`)
  return decision.floor
}

function keyOf({ seats, queue }: Floor): string {
  const sorted = [...seats].sort((a, b) => a.id - b.id).map(({ id, mode }) => `${id}${mode[0]}`)
  return `${sorted.join('')}|${queue.map(({ id, mode }) => `${id}${mode[0]}`).join('')}`
}

function* requestsIn({ seats }: Floor, ids: readonly number[]): Generator<FloorRequest> {
  const present = seats.map(({ id }) => id)
  for (const id of ids) {
    const type = present.includes(id) ? 'ask' : 'enter'
    for (const mode of MODES) for (const ifBusy of IF_BUSY) yield { type, id, mode, ifBusy }
    if (type === 'enter') continue
    yield { type: 'cancel', id }
    yield { type: 'leave', id }
    yield { type: 'demote', id }
    yield { type: 'yield', id, to: null }
    for (const to of present) if (to !== id) yield { type: 'yield', id, to }
  }
  yield { type: 'idle' }
  yield { type: 'settle' }
}

function checkRefusal(floor: Floor, request: FloorRequest, why: string, blocking: readonly number[]): void {
  if (request.type === 'yield') {
    const ticket = floor.queue.find(({ id }) => id === request.to)
    const reads = floor.seats.find(({ id }) => id === request.id)?.mode === 'read'
    expect(why).toBe(reads ? 'reads-only' : ticket === undefined ? 'not-waiting' : 'busy')
    if (why === 'busy') expect(blocking.every((id) => id !== request.id && id !== request.to)).toBe(true)
    return
  }
  expect(request.type === 'ask' || request.type === 'enter').toBe(true)
  expect(request).toMatchObject({ ifBusy: 'refuse' })
  expect(blocking.length).toBeGreaterThan(0)
}

/** What is wrong with a step from one floor to another, written without the code it judges, but for who is in the way. */
function faultsOf(
  before: Floor,
  request: FloorRequest,
  after: Floor,
  { modes, places, asks }: Changes,
  policy: WriterPolicy,
): string[] {
  const faults: string[] = []
  const modeOf = (floor: Floor, id: number) => floor.seats.find((one) => one.id === id)?.mode
  const writers = after.seats.filter(({ mode }) => mode !== 'read')
  if (writers.length > 1 && writers.some(({ mode }) => mode === 'exclusive')) {
    faults.push('another writes beside an exclusive one')
  }
  if (policy === 'single' && writers.length > 1) faults.push('two write where one may')

  const ticketOf = (floor: Floor, id: number) => floor.queue.find((ticket) => ticket.id === id)?.mode
  const blocking = (floor: Floor, id: number, mode: ConsoleMode) => inTheWay(floor.seats, id, mode, policy)
  for (const { id, mode } of after.queue) {
    if (blocking(after, id, mode).length === 0) faults.push('one waits although nobody is in the way')
    if (modeOf(after, id) === undefined) faults.push('one waits that is not there')
    if (modeOf(after, id) === mode) faults.push('one waits for what it has')
    const asked = 'mode' in request && request.id === id && request.mode === mode && request.ifBusy === 'wait'
    if (!asked && ticketOf(before, id) !== mode) faults.push('one waits that did not ask to')
  }
  if (new Set(after.queue.map(({ id }) => id)).size < after.queue.length) faults.push('one waits twice')

  for (const { id, mode } of after.seats) {
    const former = modeOf(before, id) ?? 'read'
    if (MODES.indexOf(mode) <= MODES.indexOf(former)) continue
    const asked = 'mode' in request && request.id === id && request.mode === mode
    if (!asked && ticketOf(before, id) !== mode) faults.push('a console that did not ask got more')
    if (ticketOf(after, id) === mode) faults.push('one waits for what it has got')
  }
  for (const { id, mode } of before.seats) {
    const now = modeOf(after, id)
    if (now === undefined || MODES.indexOf(now) >= MODES.indexOf(mode)) continue
    const own = 'id' in request && request.id === id && request.type !== 'cancel'
    const forced =
      'mode' in request && request.ifBusy === 'force' && blocking(before, request.id, request.mode).includes(id)
    const first = before.queue[0]
    const idle = request.type === 'idle' && first !== undefined && blocking(before, first.id, first.mode).includes(id)
    if (!own && !forced && !idle) faults.push('one lost what nobody took from it')
  }
  // A spy, and who has given up, wait for nothing.
  if ('id' in request) {
    const gaveUp = ['cancel', 'yield', 'demote', 'leave'].includes(request.type)
    const reads = 'mode' in request && request.mode === 'read'
    if ((gaveUp || reads) && ticketOf(after, request.id) !== undefined) faults.push('who gave up still waits')
  }

  const stayed = before.queue.filter(({ id, mode }) => ticketOf(after, id) === mode)
  const kept = after.queue.filter(({ id, mode }) => ticketOf(before, id) === mode)
  if (JSON.stringify(stayed) !== JSON.stringify(kept)) faults.push('the queue has another order')
  if (after.queue.some((ticket, at) => !kept.includes(ticket) && at < kept.length)) faults.push('one jumped the queue')
  for (const waiting of kept) {
    // What keeps it waiting may not be one from behind it that was not in its way before.
    const place = before.queue.findIndex(({ id }) => id === waiting.id)
    const behind = before.queue.slice(place + 1).map(({ id }) => id)
    const turns = modes.filter(({ id, cause }) => cause === 'turn' && behind.includes(id)).map(({ id }) => id)
    const holders = blocking(after, waiting.id, waiting.mode)
    const former = blocking(before, waiting.id, waiting.mode)
    const overtaken = holders.length > 0 && holders.every((id) => turns.includes(id) && !former.includes(id))
    if (overtaken) faults.push('one behind it was served first')
  }

  const changed = after.seats.filter(({ id, mode }) => modeOf(before, id) !== undefined && modeOf(before, id) !== mode)
  const asText = (list: readonly { id: number; mode: ConsoleMode }[]) =>
    list
      .map(({ id, mode }) => `${id} ${mode}`)
      .sort()
      .join()
  if (asText(modes) !== asText(changed)) faults.push('changes of modes are told wrong')

  const told = new Map(before.queue.map(({ id, mode }, at) => [id, `${at + 1} ${mode}`]))
  const once = new Set(places.map(({ id }) => id)).size === places.length
  let news = once
  for (const { id, mode, position } of places) {
    if (told.get(id) === `${position} ${mode}` || modeOf(after, id) === undefined) news = false
    if (position === 0) news = told.delete(id) && news
    else told.set(id, `${position} ${mode}`)
  }
  for (const id of [...told.keys()]) if (modeOf(after, id) === undefined) told.delete(id)
  const right = new Map(after.queue.map(({ id, mode }, at) => [id, `${at + 1} ${mode}`]))
  if (!news || told.size !== right.size || [...right].some(([id, place]) => told.get(id) !== place)) {
    faults.push('changes of places are told wrong')
  }

  const pairs = (floor: Floor) =>
    floor.queue.flatMap(({ id, mode }) => blocking(floor, id, mode).map((holder) => `${id} ${mode} ${holder}`))
  const wanted = pairs(after).filter((pair) => !pairs(before).includes(pair))
  const said = asks.map(({ waiting, holder }) => `${waiting} ${ticketOf(after, waiting)} ${holder}`)
  if (wanted.sort().join() !== said.sort().join()) faults.push('askings are told wrong')
  return faults
}
