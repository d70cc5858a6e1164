import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  DO,
  DONT,
  encodeData,
  encodeNegotiation,
  encodeSubnegotiation,
  IAC,
  OPTION,
  type TelnetOwner,
  TelnetSession,
  type Verb,
  VMWARE_POLICY,
  WILL,
  WONT,
} from '../../src/telnet/index.ts'
import { LoggedSession } from '../support/pages.ts'

const LIMITS = { maxSubnegotiationBytes: 4096, maxNegotiationReplies: 256 }
const START = new Map([['start', '']])

/** Verb and option of every negotiation in what a session sent. */
function verbs(sent: readonly number[]): [Verb, number][] {
  const found: [Verb, number][] = []
  for (let i = 0; i + 2 < sent.length; i += 3) {
    expect(sent[i]).toBe(IAC)
    found.push([sent[i + 1] as Verb, sent[i + 2] as number])
  }
  return found
}

/** Runs a peer that answers what we say until nothing is left to say, or `rounds` are over. */
function converse(answer: (verb: Verb, option: number) => Uint8Array | null, rounds = 10_000): LoggedSession {
  const logged = new LoggedSession(START)
  let heard = 0
  for (let round = 0; round < rounds && heard < logged.sent.length; round++) {
    const news = verbs(logged.sent.slice(heard))
    heard = logged.sent.length
    for (const [verb, option] of news) {
      const reply = answer(verb, option)
      if (reply) logged.receive(reply)
    }
  }
  return logged
}

const OFFERS = VMWARE_POLICY.offerUs.length + VMWARE_POLICY.offerThem.length
const MIRROR: Record<Verb, Verb> = { [WILL]: DO, [DO]: WILL, [WONT]: DONT, [DONT]: WONT }

describe('peers that would make a careless proxy talk for ever [C10]', () => {
  test('one that sends back exactly what it hears', () => {
    const logged = converse((verb, option) => encodeNegotiation(verb, option))
    expect(verbs(logged.sent).length).toBeLessThanOrEqual(2 * OFFERS + 4)
  })

  test('one that agrees to everything, every time', () => {
    const logged = converse((verb, option) => encodeNegotiation(MIRROR[verb], option))
    expect(verbs(logged.sent)).toHaveLength(OFFERS)
  })

  test('one that refuses everything', () => {
    const logged = converse((verb, option) => encodeNegotiation(verb === WILL || verb === WONT ? DONT : WONT, option))
    expect(verbs(logged.sent)).toHaveLength(OFFERS)
  })

  test('one that agrees and refuses by turns', () => {
    let turn = 0
    const logged = converse((verb, option) => {
      const yes = turn++ % 2 === 0
      return encodeNegotiation(verb === WILL || verb === WONT ? (yes ? DO : DONT) : yes ? WILL : WONT, option)
    })
    expect(verbs(logged.sent).length).toBeLessThanOrEqual(3 * OFFERS)
  })

  test('one that repeats every message 10,000 times draws at most the cap of replies [C11]', () => {
    for (const verb of [WILL, WONT, DO, DONT] as const) {
      for (const option of [OPTION.BINARY, OPTION.AUTHENTICATION, OPTION.VMWARE_TELNET_EXT, 99]) {
        const logged = new LoggedSession(START)
        const flood = new Uint8Array(30_000)
        for (let i = 0; i < flood.length; i += 3) flood.set([IAC, verb, option], i)
        logged.receive(flood)
        const answers = verbs(logged.sent).length - OFFERS
        const refusing = verb === WILL || verb === DO
        if (!refusing) expect(answers, `${verb} ${option}`).toBeLessThanOrEqual(1)
        expect(answers, `${verb} ${option}`).toBeLessThanOrEqual(LIMITS.maxNegotiationReplies)
      }
    }
  })

  test('one that turns an option on and off 10,000 times is met with silence, told once, and then still served', () => {
    const logged = new LoggedSession()
    for (let i = 0; i < 10_000; i++) logged.receive(Uint8Array.of(IAC, i % 2 === 0 ? WILL : WONT, OPTION.BINARY))
    expect(verbs(logged.sent)).toHaveLength(256)
    expect(logged.lines().filter((line) => line.includes('negotiation-flood'))).toHaveLength(1)
    logged.receive(Uint8Array.of(0x61))
    expect(logged.lines().at(-1)).toBe('data "a"')
  })
})

describe('a session', () => {
  test('any bytes in any chunking give the same events and the same answers, and never an exception [C1, C4, C20]', () => {
    const byte = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(IAC, IAC, 250, 240, WILL, WONT, DO, DONT, 232, 232, 44, 0) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
    )
    const bytes = fc.array(byte, { maxLength: 200 }).map((list) => Uint8Array.from(list))
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 })
    fc.assert(
      fc.property(bytes, sizes, (input, steps) => {
        const whole = new LoggedSession(START)
        whole.receive(input.slice())
        const cut = new LoggedSession(START)
        for (let at = 0, i = 0; at < input.length; i++) {
          const size = steps[i % steps.length] ?? 1
          cut.receive(input.slice(at, at + size))
          at += size
        }
        expect(cut.lines()).toEqual(whole.lines())
        expect(cut.sent).toEqual(whole.sent)
      }),
      { numRuns: 500 },
    )
  })

  test('answers to one chunk leave as one piece, behind what they answer', () => {
    const pieces: string[] = []
    const owner = bareOwner({ telnetSend: (bytes) => pieces.push(Buffer.from(bytes).toString('hex')) })
    const session = new TelnetSession(owner, VMWARE_POLICY, LIMITS)
    session.receive(Uint8Array.of(IAC, WILL, 37, IAC, WILL, 0, IAC, DO, 0))
    expect(pieces).toEqual(['fffe25fffd00fffb00'])
  })

  test('what the owner sends while its own bytes are being sent goes to its own peer, not to the next session', () => {
    const toA: number[] = []
    const toB: number[] = []
    let echoed = false
    const ownerA = bareOwner({
      telnetSend(bytes) {
        toA.push(...bytes)
        if (!echoed) {
          echoed = true
          a.sendData(Uint8Array.of(0x41))
        }
      },
    })
    const a: TelnetSession = new TelnetSession(ownerA, VMWARE_POLICY, LIMITS)
    const b = new TelnetSession(bareOwner({ telnetSend: (bytes) => toB.push(...bytes) }), VMWARE_POLICY, LIMITS)
    a.receive(Uint8Array.of(IAC, WILL, 37))
    b.receive(Uint8Array.of(IAC, WILL, 37))
    expect(toA).toEqual([IAC, DONT, 37, 0x41])
    expect(toB).toEqual([IAC, DONT, 37])
  })

  test('an owner that throws while sending takes no other session down', () => {
    const broken = new TelnetSession(
      bareOwner({
        telnetSend: () => {
          throw new Error('socket gone')
        },
      }),
      VMWARE_POLICY,
      LIMITS,
    )
    expect(() => broken.receive(Uint8Array.of(IAC, WILL, 37, IAC, WILL, 0))).toThrow('socket gone')
    const pieces: string[] = []
    const good = new TelnetSession(
      bareOwner({ telnetSend: (bytes) => pieces.push(Buffer.from(bytes).toString('hex')) }),
      VMWARE_POLICY,
      LIMITS,
    )
    good.receive(Uint8Array.of(IAC, WILL, 37, IAC, WILL, 0))
    expect(pieces).toEqual(['fffe25fffd00'])
  })

  test('a session fed from within another one keeps both answers apart', () => {
    const toA: number[] = []
    const toB: number[] = []
    const b = new TelnetSession(bareOwner({ telnetSend: (bytes) => toB.push(...bytes) }), VMWARE_POLICY, LIMITS)
    const a = new TelnetSession(
      bareOwner({
        telnetSend: (bytes) => toA.push(...bytes),
        telnetData: () => b.receive(Uint8Array.of(IAC, WILL, 44)),
      }),
      VMWARE_POLICY,
      LIMITS,
    )
    a.receive(Uint8Array.of(IAC, WILL, 37, 0x61, IAC, WILL, 0))
    expect(toA).toEqual([IAC, DONT, 37, IAC, DO, 0])
    expect(toB).toEqual([IAC, DO, 44])
  })

  test('a long answer overtakes nothing: order is that of the calls', () => {
    const sent: number[] = []
    const owner = bareOwner({
      telnetSend: (bytes) => sent.push(...bytes),
      telnetData: () => {
        session.sendData(Uint8Array.of(1))
        session.sendData(new Uint8Array(5000).fill(2))
        session.sendData(Uint8Array.of(3))
        session.sendSubnegotiation(232, new Uint8Array(4095).fill(0xff))
        session.sendCommand(243)
      },
    })
    const session: TelnetSession = new TelnetSession(owner, VMWARE_POLICY, LIMITS)
    session.receive(Uint8Array.of(0x61))
    const expected = [
      1,
      ...new Array<number>(5000).fill(2),
      3,
      ...encodeSubnegotiation(232, new Uint8Array(4095).fill(0xff)),
      IAC,
      243,
    ]
    expect(sent).toEqual(expected)
  })

  test('serial data to the VM double every 0xFF and change nothing else [C2, C3]', () => {
    const sent: number[] = []
    const session = new TelnetSession(bareOwner({ telnetSend: (bytes) => sent.push(...bytes) }), VMWARE_POLICY, LIMITS)
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte)
    session.sendData(all)
    expect(Uint8Array.from(sent)).toEqual(encodeData(all))
    expect(sent).toHaveLength(257)
  })
})

function bareOwner(methods: Partial<TelnetOwner>): TelnetOwner {
  return {
    telnetData: () => {},
    telnetOption: () => {},
    telnetSubnegotiation: () => {},
    telnetCommand: () => {},
    telnetAnomaly: () => {},
    telnetSend: () => {},
    ...methods,
  }
}
