/** One end against a peer that is played by hand, so that it can do what no honest one does. */
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex } from '../../src/base/index.ts'
import { encodeAck, encodeDataHeader, encodeWelcome } from '../../src/link/codec.ts'
import { Link, type LinkClose, type LinkOwner, type LinkState } from '../../src/link/index.ts'
import { type LinkEvent, TRANSITIONS, transition } from '../../src/link/states.ts'
import { ID, World } from './model.ts'

interface PlayedLeg {
  readonly name: string
}

/** An owner that writes down everything. */
class Stage implements LinkOwner<PlayedLeg> {
  readonly said: string[] = []
  readonly link = new Link<PlayedLeg>(this, { role: 'dialler', id: ID, windowBytes: 100 })
  close: LinkClose | null = null
  full = false
  got = ''
  onDeliver: () => void = () => {}
  leg: PlayedLeg = { name: '0' }

  writeLeg(leg: PlayedLeg, head: Uint8Array, body: Uint8Array | null): boolean {
    this.said.push(`${leg.name}< ${head.length > 9 ? 'HELLO' : formatHex(head, '')}${body ? ` +${body.length}` : ''}`)
    return !this.full
  }

  dropLeg(leg: PlayedLeg, how: string): void {
    this.said.push(`${leg.name} ${how}`)
  }

  joined(): void {}

  deliver(bytes: Uint8Array): void {
    this.got += new TextDecoder().decode(bytes)
    this.onDeliver()
  }

  deliverEnd(): void {
    this.got += '.'
  }

  canSend(): void {}

  linkClosed(close: LinkClose): void {
    this.close = close
  }

  hear(bytes: Uint8Array | string, leg = this.leg): void {
    this.link.legBytes(leg, typeof bytes === 'string' ? (parseHex(bytes) as Uint8Array) : bytes)
  }

  dial(name: string): void {
    this.leg = { name }
    this.link.dialled(this.leg)
  }

  welcome(received = 0, window = 100, status: 'new' | 'resumed' = 'new'): void {
    this.hear(encodeWelcome({ status, refusal: 'none', received, window }))
  }

  data(text: string): void {
    this.hear(encodeDataHeader(text.length))
    this.hear(new TextEncoder().encode(text))
  }

  /** What was said since the last time. */
  take(): string[] {
    return this.said.splice(0)
  }
}

function joined(): Stage {
  const stage = new Stage()
  stage.dial('1')
  stage.welcome()
  stage.take()
  return stage
}

describe('a peer that breaks the protocol ends the stream, once, and is told', () => {
  const cases: [string, (stage: Stage) => void, RegExp][] = [
    ['ACK of what was not sent', (stage) => stage.hear(encodeAck(1)), /ACK of 1, sent are 0/],
    [
      'ACK that goes back',
      (stage) => {
        stage.link.send(new Uint8Array(10))
        stage.hear(encodeAck(8))
        stage.hear(encodeAck(7))
      },
      /goes back from 8 to 7/,
    ],
    [
      'ACK of a FIN that was not sent',
      (stage) => {
        stage.link.send(new Uint8Array(10))
        stage.hear(encodeAck(11))
      },
      /ACK of 11, sent are 10/,
    ],
    ['DATA beyond the window', (stage) => stage.data('x'.repeat(101)), /beyond the window/],
    [
      'DATA after FIN',
      (stage) => {
        stage.hear('03')
        stage.data('x')
      },
      /DATA after FIN/,
    ],
    ['a second FIN', (stage) => stage.hear('03 03'), /second FIN/],
    ['PONG without PING', (stage) => stage.hear('06'), /PONG without PING/],
    ['OVER (done) before both ends are', (stage) => stage.hear('04 00'), /done before/],
    ['an unknown frame', (stage) => stage.hear('63'), /type 99/],
    [
      'PINGs without end while it takes no answers',
      (stage) => {
        stage.full = true
        stage.hear('05'.repeat(40))
      },
      /PINGs without end/,
    ],
  ]
  test.each(cases)('%s', (_name, act, message) => {
    const stage = joined()
    act(stage)
    expect(stage.close).toMatchObject({
      why: 'fault',
      error: { code: 'VSPC_LINK_PROTOCOL', message: expect.stringMatching(message) },
    })
    expect(stage.take().slice(-2)).toEqual(['1< 0402', '1 flush'])
    stage.hear('05')
    stage.link.legLost(stage.leg)
    stage.link.abort()
    stage.link.expire()
    expect([stage.take(), stage.link.send(new Uint8Array(3)), stage.link.keptBytes]).toEqual([[], 0, 0])
  })

  test.each([
    ['before what it acknowledged', 4],
    ['after what was sent', 11],
  ])('resuming %s', (_name, received) => {
    const stage = joined()
    stage.link.send(new Uint8Array(10))
    stage.hear(encodeAck(5))
    stage.link.legLost(stage.leg)
    stage.dial('2')
    stage.take()
    stage.welcome(received, 100, 'resumed')
    expect(stage.close).toMatchObject({ why: 'fault', error: { message: expect.stringMatching(/not within 5 to 10/) } })
    // It was not told before: in this state it may be anybody.
    expect(stage.take()).toEqual(['2 abort'])
  })

  test.each(['new', 'resumed'] as const)('WELCOME as %s when it is the other', (status) => {
    const stage = status === 'new' ? joined() : new Stage()
    stage.dial('2')
    stage.welcome(0, 100, status)
    expect(stage.close).toMatchObject({ why: 'fault' })
  })
})

test('a window that is smaller on the next leg is kept to', () => {
  const stage = joined()
  expect(stage.link.send(new Uint8Array(150))).toBe(100)
  stage.link.legLost(stage.leg)
  stage.dial('2')
  stage.take()
  stage.welcome(0, 10, 'resumed')
  expect(stage.take()).toEqual(['2< 0100000a +10'])
  stage.hear(encodeAck(10))
  expect(stage.take()).toEqual(['2< 0100000a +10'])
  expect([stage.link.keptBytes, stage.link.send(new Uint8Array(1))]).toEqual([90, 0])
})

test('late bytes and the late end of an old leg mean nothing', () => {
  const stage = joined()
  const old = stage.leg
  stage.hear(encodeDataHeader(5))
  stage.dial('2')
  expect(stage.take()).toEqual(['1 abort', '2< HELLO'])
  // As the WELCOME of the new leg begins.
  stage.hear('d6 76', old)
  stage.link.legLost(old)
  stage.link.legDrained(old)
  stage.welcome(0, 100, 'resumed')
  stage.data('new')
  expect([stage.got, stage.link.state]).toEqual(['new', 'JOINED'])
})

test.each([
  ['gives the stream up', (stage: Stage) => stage.link.abort()],
  ['goes over to another leg', (stage: Stage) => stage.dial('2')],
])('an owner that %s while it is given bytes gets none of the same chunk after them', (_name, act) => {
  const stage = joined()
  stage.onDeliver = () => act(stage)
  stage.hear('01000001 61 01000001 62 03')
  expect(stage.got).toBe('a')
})

test('an acceptor takes no leg that a later one has overtaken, and the stream goes on', () => {
  const stage = new Stage()
  const link = new Link<PlayedLeg>(stage, { role: 'acceptor', id: ID, windowBytes: 100 })
  const hello = (leg: number, kind: 'new' | 'resume' = 'resume', received = 0) => ({
    kind,
    id: ID,
    leg,
    received,
    window: 100,
  })
  expect(link.accepted({ name: '1' }, hello(1, 'new'))).toBeNull()
  expect(link.accepted({ name: '3' }, hello(3))).toBeNull()
  expect(link.accepted({ name: '2' }, hello(2))).toBe('stale')
  expect(link.accepted({ name: '3' }, hello(3))).toBe('stale')
  expect([link.leg?.name, link.state]).toEqual(['3', 'JOINED'])
  link.legBytes(link.leg as PlayedLeg, parseHex('01000001 61') as Uint8Array)
  expect(link.accepted({ name: '4' }, hello(4, 'new'))).toBe('duplicate')
  expect(link.accepted({ name: '4' }, hello(4, 'resume', 1))).toBe('offsets')
  expect([link.state, link.accepted({ name: '5' }, hello(5))]).toEqual(['CLOSED', 'closing'])
})

test('an acknowledgement that the leg did not take follows when it does', () => {
  const stage = joined()
  stage.full = true
  stage.link.ping()
  stage.data('x'.repeat(60))
  stage.link.consumed(60)
  stage.full = false
  expect(stage.take()).toEqual(['1< 05'])
  stage.link.send(new Uint8Array(3))
  stage.link.legDrained(stage.leg)
  expect(stage.take()).toEqual(['1< 02000000000000003c', '1< 01000003 +3'])
})

test('an acceptor that has everything answers a dialler that missed the last word', () => {
  const stage = new Stage()
  const link = new Link<PlayedLeg>(stage, { role: 'acceptor', id: ID, windowBytes: 100 })
  const hello = { kind: 'new', id: ID, leg: 1, received: 0, window: 100 } as const
  const [one, two] = [{ name: '1' }, { name: '2' }]
  link.accepted(one, hello)
  link.end()
  link.legBytes(one, parseHex(`03 ${formatHex(encodeAck(1))}`) as Uint8Array)
  expect(link.state).toBe('CLOSING')
  stage.take()
  expect(link.accepted(two, { ...hello, kind: 'resume', leg: 2, received: 1 })).toBeNull()
  link.legBytes(two, encodeAck(1))
  expect(stage.take()).toEqual(['1 abort', '2< HELLO', '2< 020000000000000001', '2< 0400'])
  link.legBytes(two, parseHex('04 00') as Uint8Array)
  expect(stage.close).toEqual({ why: 'done' })
})

test('PINGs are forgotten with their leg', () => {
  const stage = joined()
  stage.link.ping()
  stage.dial('2')
  stage.welcome(0, 100, 'resumed')
  expect(stage.link.pings).toBe(0)
  stage.hear('06')
  expect(stage.close).toMatchObject({ why: 'fault' })
})

test('it is not over before a stalled reader has taken everything', () => {
  const run = new World()
  run.dial()
  run.settle()
  const { A, D } = run.end
  A.stalled = true
  D.write(10)
  D.end()
  A.end()
  for (let i = 0; i < 10; i++) for (const leg of run.legs) run.carry(leg, i % 2 === 0 ? 'A' : 'D')
  expect([A.gotEnd, A.link.state, D.link.state, run.faults]).toEqual([1, 'JOINED', 'JOINED', []])
  run.settle()
  run.checkDone()
  expect(run.faults).toEqual([])
})

test('an end that has everything is done, however its last leg ends', () => {
  for (const last of ['expire', 'abort', 'lost and unknown'] as const) {
    const stage = joined()
    stage.link.end()
    stage.hear(`03 ${formatHex(encodeAck(1))}`)
    expect(stage.link.state).toBe('CLOSING')
    expect(stage.take()).toContain('1< 0400')
    if (last === 'expire') stage.link.expire()
    else if (last === 'abort') stage.link.abort()
    else {
      stage.link.legLost(stage.leg)
      stage.dial('2')
      stage.hear('d6 76 73 70 63 2d 6c 0a 01 02 00 00 0000000000000000 00000000')
    }
    expect(stage.close).toEqual({ why: 'done' })
  }
})

test('the time is over on one side only: the other one is told when it comes, or finds nobody', () => {
  const stage = joined()
  stage.link.legLost(stage.leg)
  stage.dial('2')
  stage.take()
  stage.link.expire()
  expect([stage.close, stage.take()]).toEqual([{ why: 'expired' }, ['2< 0403', '2 flush']])
  const told = joined()
  told.hear('04 03')
  expect([told.close, told.take()]).toEqual([{ why: 'peerGone', over: 'expired' }, ['1 flush']])
})

test('the table has a way out of every state, and leaves no leg behind in CLOSED or WAITING', () => {
  for (const [state, row] of Object.entries(TRANSITIONS) as [LinkState, Record<string, readonly string[]>][]) {
    for (const [event, [next, ...actions]] of Object.entries(row)) {
      const hasLeg = state !== 'WAITING'
      const lets = actions.includes('dropLeg') || actions.includes('flushLeg')
      const where = `${state} ${event}`
      if (next === 'CLOSED' || next === 'WAITING') expect([where, lets]).toEqual([where, hasLeg])
      expect([where, actions.includes('close')]).toEqual([where, next === 'CLOSED'])
      if (actions.includes('takeLeg') && hasLeg) expect([where, actions[0]]).toEqual([where, 'dropLeg'])
    }
    if (state === 'CLOSED') continue
    for (const event of ['abort', 'expired', 'fault'] satisfies LinkEvent[]) {
      expect([state, event, transition(state, event)?.[0]]).toEqual([state, event, 'CLOSED'])
    }
  }
})
