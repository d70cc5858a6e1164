import { describe, expect, test } from 'vitest'
import {
  type HandoverAction,
  type HandoverEvent,
  type HandoverState,
  TRANSITIONS,
  transition,
} from '../../src/vmotion/index.ts'

const STATES = Object.keys(TRANSITIONS) as HandoverState[]
const EVENTS = Object.keys({
  attach: 0,
  sourceBegin: 0,
  sourceBeginAgain: 0,
  refuse: 0,
  drained: 0,
  drainTimeout: 0,
  destinationPeer: 0,
  destinationComplete: 0,
  destinationData: 0,
  destinationOverflow: 0,
  destinationClosed: 0,
  sourceDataLate: 0,
  sourceAbort: 0,
  sourceClosed: 0,
  retiredAbort: 0,
  orphanTimeout: 0,
} satisfies Record<HandoverEvent, 0>) as HandoverEvent[]

const WITHOUT_SOURCE: HandoverState[] = ['OFFLINE', 'ORPHANED', 'PEERED-ORPHANED']
const WITH_SOURCE: HandoverState[] = ['STEADY', 'DRAINING', 'HELD', 'RESUMED', 'PEERED']
const WITHOUT_COOKIE: HandoverState[] = ['OFFLINE', 'STEADY', 'DRAINING']
const WITHOUT_DESTINATION: HandoverState[] = [...WITHOUT_COOKIE, 'HELD', 'RESUMED', 'ORPHANED']

/** Pairs without a cell, each with the reason why the event has no business in the state. */
const MEANINGLESS: { states: HandoverState[]; events: HandoverEvent[]; why: string }[] = [
  {
    states: WITHOUT_SOURCE,
    events: ['sourceBegin', 'sourceBeginAgain', 'refuse', 'sourceDataLate', 'sourceAbort', 'sourceClosed'],
    why: 'there is no source to say it',
  },
  { states: WITHOUT_COOKIE, events: ['destinationPeer'], why: 'no cookie is open' },
  {
    states: WITHOUT_DESTINATION,
    events: ['destinationComplete', 'destinationData', 'destinationOverflow', 'destinationClosed'],
    why: 'there is no destination',
  },
  {
    states: STATES.filter((state) => state !== 'DRAINING'),
    events: ['drained', 'drainTimeout'],
    why: 'nothing is draining',
  },
  { states: ['OFFLINE', 'STEADY', 'DRAINING'], events: ['orphanTimeout'], why: 'T_orphan is not armed' },
  { states: ['STEADY'], events: ['sourceBeginAgain'], why: 'no BEGIN came before: any one is new' },
  { states: ['STEADY'], events: ['sourceAbort'], why: 'ABORT without BEGIN' },
  { states: ['STEADY', 'DRAINING'], events: ['sourceDataLate'], why: 'no GOAHEAD was sent' },
  { states: ['RESUMED'], events: ['sourceDataLate'], why: 'that it resumed is known' },
  { states: ['PEERED'], events: ['sourceDataLate'], why: 'the source may still have output on its way' },
  { states: ['PEERED'], events: ['destinationData'], why: 'held until COMPLETE: the source is still there' },
  {
    states: STATES.filter((state) => state !== 'OFFLINE'),
    events: ['retiredAbort'],
    why: 'somebody runs the port, or a vMotion is open whose destination may',
  },
]

describe('TRANSITIONS', () => {
  test('every (state, event) has a cell or a reason for none, never both', () => {
    const faults: string[] = []
    for (const state of STATES) {
      for (const event of EVENTS) {
        const reasons = MEANINGLESS.filter((rule) => rule.states.includes(state) && rule.events.includes(event))
        const cell = transition(state, event)
        if (cell === null && reasons.length === 0) faults.push(`${state} ${event}: neither cell nor reason`)
        if (cell !== null && reasons.length > 0) faults.push(`${state} ${event}: a cell, but "${reasons[0]?.why}"`)
      }
    }
    expect(faults).toEqual([])
  })

  test('the table names no event that does not exist', () => {
    for (const state of STATES) expect(EVENTS).toEqual(expect.arrayContaining(Object.keys(TRANSITIONS[state])))
  })

  test('every state can be entered, and left again for one where a connection runs the port', () => {
    const reached = new Set<HandoverState>(['OFFLINE'])
    for (let grew = true; grew; ) {
      const before = reached.size
      for (const state of [...reached]) for (const event of EVENTS) reached.add(transition(state, event)?.[0] ?? state)
      grew = reached.size > before
    }
    expect([...reached].sort()).toEqual([...STATES].sort())
    for (const state of STATES) expect(transition(state, 'attach')?.[0], state).toBe('STEADY')
  })

  /** What is so in a state, whatever way led there. `null`: either. */
  const INVARIANTS: Record<HandoverState, Facts> = {
    OFFLINE: { source: false, destination: false, cookie: false, held: null, orphan: false },
    STEADY: { source: true, destination: false, cookie: false, held: false, orphan: false },
    DRAINING: { source: true, destination: false, cookie: false, held: true, orphan: false },
    HELD: { source: true, destination: false, cookie: true, held: true, orphan: true },
    RESUMED: { source: true, destination: false, cookie: true, held: false, orphan: true },
    PEERED: { source: true, destination: true, cookie: true, held: true, orphan: true },
    ORPHANED: { source: false, destination: false, cookie: true, held: true, orphan: true },
    'PEERED-ORPHANED': { source: false, destination: true, cookie: true, held: true, orphan: true },
  }

  test.each(STATES)('every cell of %s ends with the facts of its next state', (state) => {
    const row: Partial<Record<HandoverEvent, readonly [HandoverState, ...HandoverAction[]]>> = TRANSITIONS[state]
    for (const [event, [next, ...actions]] of Object.entries(row)) {
      for (const heldBefore of INVARIANTS[state].held === null ? [true, false] : [INVARIANTS[state].held]) {
        const facts = { ...INVARIANTS[state], held: heldBefore as boolean | null }
        if (event === 'orphanTimeout') facts.orphan = false
        if (event === 'sourceClosed' || event === 'destinationClosed') {
          expect(actions, `${state} ${event}`).not.toContain(event === 'sourceClosed' ? 'dropDestination' : 'retire')
        }
        for (const action of actions) perform(action, facts)
        const expected = INVARIANTS[next]
        for (const key of Object.keys(expected) as (keyof Facts)[]) {
          if (expected[key] !== null)
            expect([state, event, key, facts[key]]).toEqual([state, event, key, expected[key]])
        }
      }
    }
  })

  test('a BEGIN is answered in its own cell, or drains with a limit', () => {
    for (const state of WITH_SOURCE) {
      expect(transition(state, 'sourceBegin'), state).toEqual(expect.arrayContaining(['DRAINING', 'startDrain']))
      expect(transition(state, 'refuse'), state).toContain('notnow')
    }
    expect(transition('DRAINING', 'drained')).toContain('goahead')
    expect(transition('DRAINING', 'drainTimeout')).toContain('notnow')
  })

  test('NOTNOW goes out before held input that is released with it [C33]', () => {
    for (const state of STATES) {
      for (const event of EVENTS) {
        const actions: readonly string[] = transition(state, event) ?? []
        if (!actions.includes('notnow') || !actions.includes('release')) continue
        expect(actions.indexOf('notnow'), `${state} ${event}`).toBeLessThan(actions.indexOf('release'))
      }
    }
  })

  test('reports come last in every cell: no reader of events delays an answer or sees a half-made state', () => {
    for (const state of STATES) {
      for (const event of EVENTS) {
        const told = (transition(state, event) ?? []).map((action) => action.startsWith('report'))
        expect(told, `${state} ${event}`).toEqual([...told].sort())
      }
    }
  })
})

interface Facts {
  source: boolean | null
  destination: boolean | null
  cookie: boolean | null
  held: boolean | null
  orphan: boolean | null
}

function perform(action: HandoverAction, facts: Facts): void {
  if (action === 'hold') facts.held = true
  if (action === 'release') {
    // Input released to nobody would be lost.
    expect(facts.source).toBe(true)
    facts.held = false
  }
  if (action === 'goahead') facts.cookie = true
  if (action === 'dropCookie') {
    expect(facts.cookie).toBe(true)
    facts.cookie = false
  }
  if (action === 'adopt') facts.source = true
  if (action === 'loseSource') facts.source = false
  if (action === 'bindDestination') facts.destination = true
  if (action === 'dropDestination' || action === 'forgetDestination') {
    expect(facts.destination).toBe(true)
    facts.destination = false
  }
  if (action === 'promote') {
    expect(facts.destination).toBe(true)
    facts.source = true
    facts.destination = false
  }
  if (action === 'armOrphan') facts.orphan = true
  if (action === 'disarm') facts.orphan = false
}
