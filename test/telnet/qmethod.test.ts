import { describe, expect, test } from 'vitest'
import {
  DO,
  DONT,
  OPTION,
  type OptionPolicy,
  OptionStates,
  Q_METHOD,
  type QCell,
  type QEvent,
  type QState,
  qStep,
  type Side,
  TELNET_POLICY,
  type Verb,
  VMWARE_POLICY,
  WILL,
  WONT,
} from '../../src/telnet/index.ts'

const STATES: QState[] = ['NO', 'YES', 'WANTNO', 'WANTNO-OPPOSITE', 'WANTYES', 'WANTYES-OPPOSITE']
const EVENTS: QEvent[] = ['POSITIVE_OK', 'POSITIVE_NO', 'NEGATIVE', 'ASK_ON', 'ASK_OFF']

/** RFC 1143 section 7 as the RFC tells it: a state and a queue bit, one rule after the other. */
function rfc1143(state: QState, event: QEvent): [QState, 'POSITIVE' | 'NEGATIVE' | null] {
  const him = state.split('-')[0]
  const opposite = state.endsWith('OPPOSITE')
  switch (event) {
    case 'POSITIVE_OK':
    case 'POSITIVE_NO':
      if (him === 'NO') return event === 'POSITIVE_OK' ? ['YES', 'POSITIVE'] : ['NO', 'NEGATIVE']
      if (him === 'YES') return ['YES', null]
      if (him === 'WANTNO') return [opposite ? 'YES' : 'NO', null]
      return opposite ? ['WANTNO', 'NEGATIVE'] : ['YES', null]
    case 'NEGATIVE':
      if (him === 'NO') return ['NO', null]
      if (him === 'YES') return ['NO', 'NEGATIVE']
      if (him === 'WANTNO') return opposite ? ['WANTYES', 'POSITIVE'] : ['NO', null]
      return ['NO', null]
    case 'ASK_ON':
      if (him === 'NO') return ['WANTYES', 'POSITIVE']
      if (him === 'YES') return ['YES', null]
      if (him === 'WANTNO') return ['WANTNO-OPPOSITE', null]
      return ['WANTYES', null]
    case 'ASK_OFF':
      if (him === 'NO') return ['NO', null]
      if (him === 'YES') return ['WANTNO', 'NEGATIVE']
      if (him === 'WANTNO') return ['WANTNO', null]
      return ['WANTYES-OPPOSITE', null]
  }
}

const isOn = (state: QState): boolean => state === 'YES' || state.startsWith('WANTNO')

describe('the Q table', () => {
  test('has a cell for every state and event, and each is what RFC 1143 says', () => {
    for (const state of STATES) {
      for (const event of EVENTS) {
        const [next, answer] = qStep(state, event)
        expect([next, answer], `${state} ${event}`).toEqual(rfc1143(state, event))
      }
    }
    expect(Object.keys(Q_METHOD)).toEqual(STATES)
  })

  test('announces "on" and "off" exactly where the half comes into force and goes out of it', () => {
    for (const state of STATES) {
      for (const event of EVENTS) {
        const [next, , announce]: QCell = qStep(state, event)
        const expected = isOn(state) === isOn(next) ? null : isOn(next) ? 'on' : 'off'
        if (announce === 'refused') {
          expect(state.startsWith('WANTYES') && next === 'NO', `${state} ${event}`).toBe(true)
        } else {
          expect(announce, `${state} ${event}`).toBe(expected)
        }
      }
    }
  })

  test('a message that confirms what is in force is never answered [C10]', () => {
    expect(qStep('YES', 'POSITIVE_OK')[1]).toBeNull()
    expect(qStep('YES', 'POSITIVE_NO')[1]).toBeNull()
    expect(qStep('NO', 'NEGATIVE')[1]).toBeNull()
  })
})

// Two machines joined

/** One end of the experiment: it performs the half (`us`), or the other end's performance is its `them`. */
interface End {
  states: OptionStates
  side: Side
  inbox: Verb[]
  wishes: number
  sent: number
}

type Move = 'A on' | 'A off' | 'B on' | 'B off' | 'to A' | 'to B'

const OPTION_TRIED = OPTION.BINARY
const WISHES = 3

function policy(accept: boolean): OptionPolicy {
  const list = accept ? [OPTION_TRIED] : []
  return { offerUs: [], offerThem: [], acceptUs: list, acceptThem: list }
}

/** Replays `path` on two real OptionStates from the start; they cannot be copied. */
function play(path: readonly Move[], acceptA: boolean, acceptB: boolean): { a: End; b: End } {
  const a: End = { states: new OptionStates(policy(acceptA)), side: 'us', inbox: [], wishes: 0, sent: 0 }
  const b: End = { states: new OptionStates(policy(acceptB)), side: 'them', inbox: [], wishes: 0, sent: 0 }
  for (const move of path) {
    const [me, other] = move.startsWith('A') || move === 'to A' ? [a, b] : [b, a]
    let answer: Verb | null
    if (move.startsWith('to')) {
      answer = me.states.receive(me.inbox.shift() as Verb, OPTION_TRIED).answer
    } else {
      me.wishes++
      answer = me.states.ask(me.side, OPTION_TRIED, move.endsWith('on')).answer
    }
    if (answer !== null) {
      me.sent++
      other.inbox.push(answer)
    }
  }
  return { a, b }
}

function explore(acceptA: boolean, acceptB: boolean): { states: number; mostSent: number; longestQueue: number } {
  const seen = new Set<string>()
  let frontier: Move[][] = [[]]
  let mostSent = 0
  let longestQueue = 0
  while (frontier.length > 0) {
    const next: Move[][] = []
    for (const path of frontier) {
      const { a, b } = play(path, acceptA, acceptB)
      const stateA = a.states.state('us', OPTION_TRIED)
      const stateB = b.states.state('them', OPTION_TRIED)
      const key = [stateA, stateB, a.inbox, b.inbox, a.wishes, b.wishes, a.sent, b.sent].join(' ')
      if (seen.has(key)) continue
      seen.add(key)
      mostSent = Math.max(mostSent, a.sent + b.sent)
      longestQueue = Math.max(longestQueue, a.inbox.length, b.inbox.length)
      const moves: Move[] = []
      if (a.wishes < WISHES) moves.push('A on', 'A off')
      if (b.wishes < WISHES) moves.push('B on', 'B off')
      if (a.inbox.length > 0) moves.push('to A')
      if (b.inbox.length > 0) moves.push('to B')
      if (a.inbox.length === 0 && b.inbox.length === 0) {
        // Nothing under way: both must be at rest and of one opinion, whatever was wished on the way.
        const where = `${path.join(', ')}: ${stateA} / ${stateB}`
        expect(['NO', 'YES'], where).toContain(stateA)
        expect(stateB, where).toBe(stateA)
      }
      for (const move of moves) next.push([...path, move])
    }
    frontier = next
  }
  return { states: seen.size, mostSent, longestQueue }
}

describe('two machines joined by queues', () => {
  for (const acceptA of [true, false]) {
    for (const acceptB of [true, false]) {
      test(`every interleaving of ${WISHES} wishes a side settles in agreement (A accepts: ${acceptA}, B accepts: ${acceptB}) [C10]`, () => {
        const { states, mostSent, longestQueue } = explore(acceptA, acceptB)
        expect(states).toBeGreaterThan(100)
        // A wish makes its owner speak at most twice (now, or later as the "opposite"), and each is answered once.
        expect(mostSent).toBeLessThanOrEqual(2 * WISHES * 2)
        expect(longestQueue).toBeLessThanOrEqual(2)
      })
    }
  }
})

describe('OptionStates', () => {
  test('keeps both halves of every option apart: no step changes another slot', () => {
    const options = [
      OPTION.BINARY,
      OPTION.ECHO,
      OPTION.SGA,
      OPTION.AUTHENTICATION,
      OPTION.COM_PORT,
      OPTION.VMWARE_TELNET_EXT,
    ]
    const states = new OptionStates(VMWARE_POLICY)
    const model = new Map<string, QState>()
    const read = (): Map<string, QState> =>
      new Map(options.flatMap((o) => (['us', 'them'] as const).map((s) => [`${s} ${o}`, states.state(s, o)] as const)))
    for (const [key, state] of read()) model.set(key, state)
    // A fixed pseudo-random walk through all options, sides and events.
    let seed = 12_345
    const random = (n: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
      return Math.floor((seed / 2_147_483_648) * n)
    }
    for (let i = 0; i < 3000; i++) {
      const option = options[random(options.length)] ?? 0
      const side: Side = random(2) === 0 ? 'us' : 'them'
      const kind = random(4)
      const key = `${side} ${option}`
      const state = model.get(key) ?? 'NO'
      let event: QEvent
      if (kind < 2) {
        event = kind === 0 ? 'ASK_ON' : 'ASK_OFF'
        states.ask(side, option, kind === 0)
      } else {
        const accepted = (side === 'us' ? VMWARE_POLICY.acceptUs : VMWARE_POLICY.acceptThem).includes(option)
        event = kind === 3 ? 'NEGATIVE' : accepted ? 'POSITIVE_OK' : 'POSITIVE_NO'
        states.receive(side === 'us' ? (kind === 3 ? DONT : DO) : kind === 3 ? WONT : WILL, option)
      }
      model.set(key, rfc1143(state, event)[0])
      expect(read()).toEqual(model)
      expect(states.isOn(side, option)).toBe(isOn(model.get(key) ?? 'NO'))
    }
  })

  test('options it has never heard of are refused without being remembered [C12]', () => {
    const states = new OptionStates(TELNET_POLICY)
    for (const option of [2, 24, 31, 43, 45, 231, 233, 255]) {
      for (let i = 0; i < 3; i++) {
        expect(states.receive(WILL, option)).toEqual({ answer: DONT, announce: null })
        expect(states.receive(DO, option)).toEqual({ answer: WONT, announce: null })
      }
      expect(states.receive(WONT, option).answer).toBeNull()
      expect(states.receive(DONT, option).answer).toBeNull()
      expect(states.state('us', option)).toBe('NO')
      expect(states.ask('us', option, true).answer).toBeNull()
    }
  })
})
