import { describe, expect, test } from 'vitest'
import { type HandoverEvent, type HandoverState, TRANSITIONS, transition } from '../../src/vmotion/index.ts'
import { S1, S2, S3, Stage } from './recording-owner.ts'

type Case = readonly [state: HandoverState, event: HandoverEvent, after: string, calls: string]

/**
 * What each event leads to, written down from the protocol, not from the table: state, source, destination, sequence of
 * the open cookie, whether input is held, armed timer; then what the owner was told, in order.
 */
const CASES: readonly Case[] = [
  ['OFFLINE', 'attach', 'STEADY N . . flows .', 'release N, (online)'],
  ['OFFLINE', 'retiredAbort', 'STEADY R . . flows .', 'release R, (online)'],

  ['STEADY', 'attach', 'STEADY N . . flows .', 'retire A superseded, release N, (online)'],
  ['STEADY', 'sourceBegin', 'DRAINING A . . held drain', 'hold, drain A'],
  ['STEADY', 'refuse', 'STEADY A . . flows .', 'NOTNOW 3 A, (refused)'],
  ['STEADY', 'sourceClosed', 'OFFLINE . . . flows .', '(offline)'],

  ['DRAINING', 'attach', 'STEADY N . . flows .', 'NOTNOW 1 A, disarm, retire A superseded, release N, (online)'],
  ['DRAINING', 'sourceBegin', 'DRAINING A . . held drain', 'drain A'],
  ['DRAINING', 'sourceBeginAgain', 'DRAINING A . . held drain', ''],
  ['DRAINING', 'refuse', 'STEADY A . . flows .', 'disarm, NOTNOW 3 A, release A, (refused)'],
  ['DRAINING', 'drained', 'HELD A . 1 held orphan', 'GOAHEAD 1 A, arm, (begin)'],
  ['DRAINING', 'drainTimeout', 'STEADY A . . flows .', 'NOTNOW 1 A, release A, (refused)'],
  ['DRAINING', 'sourceAbort', 'STEADY A . . flows .', 'disarm, release A, (abort)'],
  ['DRAINING', 'sourceClosed', 'OFFLINE . . . held .', 'disarm, (offline)'],

  ['HELD', 'attach', 'STEADY N . . flows .', 'close 1, disarm, retire A superseded, release N, (online)'],
  ['HELD', 'sourceBegin', 'DRAINING A . . held drain', 'close 1, disarm, drain A'],
  ['HELD', 'sourceBeginAgain', 'HELD A . 1 held orphan', 'GOAHEAD 1 A'],
  ['HELD', 'refuse', 'STEADY A . . flows .', 'NOTNOW 3 A, close 1, disarm, release A, (refused)'],
  ['HELD', 'destinationPeer', 'PEERED A N 1 held orphan', 'PEER-OK 1 N, arm'],
  ['HELD', 'sourceDataLate', 'RESUMED A . 1 flows orphan', 'release A, (implicit-abort)'],
  ['HELD', 'sourceAbort', 'STEADY A . . flows .', 'close 1, disarm, release A, (abort)'],
  ['HELD', 'sourceClosed', 'ORPHANED . . 1 held orphan', 'arm'],
  ['HELD', 'orphanTimeout', 'STEADY A . . flows .', 'close 1, disarm, release A, (timeout)'],

  ['RESUMED', 'attach', 'STEADY N . . flows .', 'close 1, disarm, retire A superseded, release N, (online)'],
  ['RESUMED', 'sourceBegin', 'DRAINING A . . held drain', 'close 1, disarm, hold, drain A'],
  ['RESUMED', 'sourceBeginAgain', 'DRAINING A . . held drain', 'close 1, disarm, hold, drain A'],
  ['RESUMED', 'refuse', 'STEADY A . . flows .', 'NOTNOW 3 A, close 1, disarm, (refused)'],
  ['RESUMED', 'destinationPeer', 'PEERED A N 1 held orphan', 'hold, PEER-OK 1 N, arm'],
  ['RESUMED', 'sourceAbort', 'STEADY A . . flows .', 'close 1, disarm'],
  ['RESUMED', 'sourceClosed', 'ORPHANED . . 1 held orphan', 'hold, arm'],
  ['RESUMED', 'orphanTimeout', 'STEADY A . . flows .', 'close 1'],

  [
    'PEERED',
    'attach',
    'STEADY N . . flows .',
    'discard, drop B, close 1, disarm, retire A superseded, release N, (online)',
  ],
  ['PEERED', 'sourceBegin', 'DRAINING A . . held drain', 'discard, drop B, close 1, disarm, drain A'],
  ['PEERED', 'sourceBeginAgain', 'PEERED A B 1 held orphan', 'GOAHEAD 1 A'],
  ['PEERED', 'refuse', 'STEADY A . . flows .', 'discard, drop B, NOTNOW 3 A, close 1, disarm, release A, (refused)'],
  ['PEERED', 'destinationPeer', 'PEERED A N 1 held orphan', 'discard, drop B, PEER-OK 1 N, arm'],
  [
    'PEERED',
    'destinationComplete',
    'STEADY B . . flows .',
    'close 1, disarm, retire A moved, promoted B after A, release B, (complete)',
  ],
  [
    'PEERED',
    'destinationOverflow',
    'STEADY B . . flows .',
    'close 1, disarm, retire A moved, promoted B after A, release B, (implicit-complete)',
  ],
  ['PEERED', 'destinationClosed', 'HELD A . 1 held orphan', 'discard, arm'],
  ['PEERED', 'sourceAbort', 'STEADY A . . flows .', 'discard, drop B, close 1, disarm, release A, (abort)'],
  ['PEERED', 'sourceClosed', 'PEERED-ORPHANED . B 1 held orphan', 'arm'],
  ['PEERED', 'orphanTimeout', 'STEADY A . . flows .', 'discard, drop B, close 1, disarm, release A, (timeout)'],

  ['ORPHANED', 'attach', 'STEADY N . . flows .', 'close 1, disarm, release N, (online)'],
  ['ORPHANED', 'destinationPeer', 'PEERED-ORPHANED . N 1 held orphan', 'PEER-OK 1 N, arm'],
  ['ORPHANED', 'orphanTimeout', 'OFFLINE . . . held .', 'close 1, (timeout), (offline)'],

  ['PEERED-ORPHANED', 'attach', 'STEADY N . . flows .', 'discard, drop B, close 1, disarm, release N, (online)'],
  ['PEERED-ORPHANED', 'destinationPeer', 'PEERED-ORPHANED . N 1 held orphan', 'discard, drop B, PEER-OK 1 N, arm'],
  [
    'PEERED-ORPHANED',
    'destinationComplete',
    'STEADY B . . flows .',
    'close 1, disarm, promoted B after nobody, release B, (complete)',
  ],
  [
    'PEERED-ORPHANED',
    'destinationData',
    'STEADY B . . flows .',
    'close 1, disarm, promoted B after nobody, release B, (implicit-complete)',
  ],
  [
    'PEERED-ORPHANED',
    'destinationOverflow',
    'STEADY B . . flows .',
    'close 1, disarm, promoted B after nobody, release B, (implicit-complete)',
  ],
  ['PEERED-ORPHANED', 'destinationClosed', 'ORPHANED . . 1 held orphan', 'discard, arm'],
  [
    'PEERED-ORPHANED',
    'orphanTimeout',
    'STEADY B . . flows .',
    'close 1, disarm, promoted B after nobody, release B, (implicit-complete)',
  ],
]

const STATES = Object.keys(TRANSITIONS) as HandoverState[]
const EVENTS = [...new Set(CASES.map(([, event]) => event))]

describe('every cell', () => {
  test.each(CASES)('%s, %s: %s', (state, event, after, calls) => {
    const stage = Stage.at(state)
    stage.fire(event)
    expect({ after: stage.describe(), calls: stage.owner.calls.join(', ') }).toEqual({ after, calls })
    expect(stage.owner.open.size).toBe(stage.handover.cookie === null ? 0 : 1)
  })

  test('none is left out', () => {
    const listed = CASES.map(([state, event]) => `${state} ${event}`).sort()
    const cells = STATES.flatMap((state) => Object.keys(TRANSITIONS[state]).map((event) => `${state} ${event}`)).sort()
    expect(listed).toEqual(cells)
  })

  test('an event without a cell changes nothing, tells nobody, and is reported as without effect [C42]', () => {
    for (const state of STATES) {
      for (const event of EVENTS) {
        // There is no such BEGIN in STEADY: the first one is new, whatever its sequence. T_orphan is not armed where
        // the table has no cell for it.
        if (transition(state, event) !== null || (state === 'STEADY' && event === 'sourceBeginAgain')) continue
        const stage = Stage.at(state)
        const before = stage.describe()
        if (event === 'drainTimeout') stage.owner.drainArmed = false
        expect(stage.fire(event) ?? false, `${state} ${event}`).toBe(false)
        if (event === 'orphanTimeout') stage.owner.orphanArmed = before.includes('orphan')
        expect([event, stage.describe(), stage.owner.calls]).toEqual([event, before, []])
      }
    }
  })
})

describe('wrong side, wrong sequence, repeated', () => {
  test('COMPLETE counts on the destination alone, with the sequence of the cookie alone [C42]', () => {
    const { handover, owner, ...stage } = peered()
    for (const sequence of [S2, S1.subarray(0, 2), Uint8Array.of(...S1, 0), new Uint8Array(0)]) {
      expect(handover.complete('B', sequence)).toBe(false)
    }
    for (const stranger of ['A', 'N']) expect(handover.complete(stranger, S1)).toBe(false)
    expect(owner.calls).toEqual([])
    expect(handover.complete('B', S1)).toBe(true)
    const { calls } = owner
    calls.length = 0
    expect(handover.complete('B', S1)).toBe(false)
    expect(handover.complete('A', S1)).toBe(false)
    expect([calls, stage.describe()]).toEqual([[], 'STEADY B . . flows .'])
  })

  test('ABORT counts on the source alone [C42]', () => {
    const { handover, owner, describe } = peered()
    for (const stranger of ['B', 'N']) expect(handover.abort(stranger, false)).toBe(false)
    expect(handover.abort('R', true)).toBe(false)
    expect([owner.calls, describe()]).toEqual([[], 'PEERED A B 1 held orphan'])
  })

  test('late COMPLETE after ABORT changes nothing', () => {
    const { handover, owner, describe } = peered()
    handover.abort('A', false)
    owner.calls.length = 0
    expect(handover.complete('B', S1)).toBe(false)
    expect([owner.calls, describe()]).toEqual([[], 'STEADY A . . flows .'])
  })

  test('late ABORT after COMPLETE changes nothing while the new source is there', () => {
    const { handover, owner, describe } = peered()
    handover.complete('B', S1)
    owner.calls.length = 0
    expect(handover.abort('A', true)).toBe(false)
    expect([owner.calls, describe()]).toEqual([[], 'STEADY B . . flows .'])
  })

  test('a cookie that was superseded, used or given up opens nothing [C43]', () => {
    const { handover, owner } = peered()
    const cookie = handover.cookie
    if (cookie === null) throw new Error('no cookie')
    expect(handover.peer('A', cookie)).toBe(false)
    handover.begin('A', S2, true)
    handover.drained()
    owner.calls.length = 0
    expect(handover.peer('N', cookie)).toBe(false)
    handover.abort('A', false)
    expect(handover.peer('N', cookie)).toBe(false)
    expect(owner.calls.join()).not.toContain('PEER-OK')
    expect(handover.destination).toBeNull()
  })

  test('BEGIN from a connection that is not the source is not ours to answer', () => {
    const { handover, owner } = peered()
    for (const stranger of ['B', 'N']) expect(handover.begin(stranger, S2, true)).toBe(false)
    expect(owner.calls).toEqual([])
  })
})

describe('answers', () => {
  test('a source that takes everything at once is told GOAHEAD before BEGIN returns [C29]', () => {
    const stage = Stage.at('STEADY')
    stage.owner.drainsAtOnce = true
    expect(stage.handover.begin('A', S1, true)).toBe(true)
    expect(stage.owner.calls).toEqual(['hold', 'drain A', 'GOAHEAD 1 A', 'arm', '(begin)'])
    expect(stage.describe()).toBe('HELD A . 1 held orphan')
  })

  test.each(['STEADY', 'HELD', 'RESUMED', 'PEERED'] as const)(
    'a secret that cannot be made ends in NOTNOW and a running port, from %s [C50]',
    (state) => {
      const stage = Stage.at(state)
      stage.owner.secretFails = true
      stage.owner.drainsAtOnce = true
      expect(stage.handover.begin('A', S2, true)).toBe(true)
      expect(stage.owner.calls.filter((call) => /NOTNOW|GOAHEAD|failed/.test(call))).toEqual(['failed', 'NOTNOW 2 A'])
      expect(stage.describe()).toBe('STEADY A . . flows .')
      expect(stage.owner.open.size).toBe(0)
    },
  )

  test('the answer to a BEGIN that was superseded while draining is for the newer one [C44]', () => {
    const stage = Stage.at('DRAINING')
    stage.handover.begin('A', S2, true)
    stage.handover.drained()
    expect(stage.owner.calls.filter((call) => /NOTNOW|GOAHEAD/.test(call))).toEqual(['GOAHEAD 2 A'])
    expect(stage.handover.cookie?.sequence).toEqual(S2)
  })

  test('a repeated BEGIN gets the very same cookie, and a new sequence a new one [C31, C44]', () => {
    const stage = Stage.at('HELD')
    const first = stage.handover.cookie
    stage.handover.begin('A', S1.slice(), true)
    expect(stage.handover.cookie).toBe(first)
    stage.handover.begin('A', S2, true)
    stage.handover.drained()
    expect(stage.handover.cookie).not.toBe(first)
    expect(stage.owner.open.size).toBe(1)
  })

  test('NOTNOW names the sequence that was asked for, not the one that is open', () => {
    const stage = Stage.at('PEERED')
    stage.handover.begin('A', S3, false)
    expect(stage.owner.calls).toContain('NOTNOW 3 A')
  })

  test('a drain that ends after the vMotion was aborted answers nothing', () => {
    const stage = Stage.at('DRAINING')
    stage.handover.abort('A', false)
    stage.owner.calls.length = 0
    expect(stage.handover.drained()).toBe(false)
    expect(stage.handover.drainTimeout()).toBe(false)
    expect(stage.owner.calls).toEqual([])
  })
})

describe('several in a row', () => {
  test('five vMotions there and back: each cookie is closed once, the port is never without owner [C37]', () => {
    const stage = Stage.at('STEADY')
    stage.owner.drainsAtOnce = true
    const hosts = ['A', 'B', 'C', 'D', 'E', 'F']
    for (let i = 0; i + 1 < hosts.length; i++) {
      const [from, to] = [hosts[i] as string, hosts[i + 1] as string]
      const sequence = Uint8Array.of(i + 1)
      expect(stage.handover.begin(from, sequence, true)).toBe(true)
      const { cookie } = stage.handover
      expect(cookie !== null && stage.handover.peer(to, cookie)).toBe(true)
      if (i % 2 === 0) stage.handover.closed(from)
      expect(stage.handover.complete(to, sequence)).toBe(true)
      expect(stage.describe()).toBe(`STEADY ${to} . . flows .`)
    }
    expect(stage.owner.open.size).toBe(0)
    expect(stage.owner.calls.filter((call) => call.startsWith('close '))).toHaveLength(5)
  })

  test('a destination that fails is replaced by another with the same cookie [C45]', () => {
    const stage = Stage.at('PEERED')
    const { cookie } = stage.handover
    stage.handover.closed('B')
    expect(cookie !== null && stage.handover.peer('C', cookie)).toBe(true)
    expect(stage.handover.complete('B', S1)).toBe(false)
    expect(stage.handover.complete('C', S1)).toBe(true)
    expect(stage.describe()).toBe('STEADY C . . flows .')
  })

  test('the same destination may repeat PEER: it is told again, and not dropped', () => {
    const stage = Stage.at('PEERED')
    const { cookie } = stage.handover
    expect(cookie !== null && stage.handover.peer('B', cookie)).toBe(true)
    expect(stage.owner.calls).toEqual(['PEER-OK 1 B', 'arm'])
  })

  test('S2 is granted after S1 was refused', () => {
    const stage = Stage.at('STEADY')
    stage.owner.drainsAtOnce = true
    stage.handover.begin('A', S1, false)
    stage.handover.begin('A', S2, true)
    expect(stage.owner.calls.filter((call) => /NOTNOW|GOAHEAD/.test(call))).toEqual(['NOTNOW 1 A', 'GOAHEAD 2 A'])
  })
})

function peered() {
  const stage = Stage.at('PEERED')
  return { handover: stage.handover, owner: stage.owner, describe: () => stage.describe() }
}
