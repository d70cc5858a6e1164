import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sourceOf } from '../../src/access/failures.ts'
import { ANONYMOUS, FailureLimit, type TicketLimits, Tickets } from '../../src/access/index.ts'
import { ManualClock } from '../../src/base/index.ts'
import { person } from './support.ts'

function desk(limits: Partial<TicketLimits> = {}): { tickets: Tickets; clock: ManualClock } {
  const clock = new ManualClock()
  let made = 0
  const secrets = { fresh: () => `ticket ${made++}`, digest: (ticket: string) => `digest of ${ticket}` }
  return { tickets: new Tickets(clock, secrets, { lifeMs: 30_000, max: 10, maxPerUser: 3, ...limits }), clock }
}

describe('tickets', () => {
  test('a ticket is for one use', () => {
    const { tickets } = desk()
    const { ticket } = tickets.issue(person('ann', 'ops')) ?? { ticket: '' }
    expect(tickets.redeem(ticket)).toMatchObject({ subject: { user: 'ann', groups: ['ops'] } })
    expect(tickets.redeem(ticket)).toBeNull()
    expect(tickets.open).toBe(0)
  })

  test('and for thirty seconds, to the millisecond', () => {
    const { tickets, clock } = desk()
    const first = tickets.issue(person('ann'))
    const second = tickets.issue(person('ann'))
    expect(first?.expiresAt).toBe(clock.wall() + 30_000)
    clock.advance(29_999)
    expect(tickets.redeem(first?.ticket ?? '')).not.toBeNull()
    clock.advance(1)
    expect(tickets.redeem(second?.ticket ?? '')).toBeNull()
  })

  test('what is no ticket of ours is nobody', () => {
    const { tickets } = desk()
    tickets.issue(person('ann'))
    for (const text of ['', 'ticket 1', 'digest of ticket 0', '__proto__']) expect(tickets.redeem(text)).toBeNull()
    expect(tickets.open).toBe(1)
  })

  test('one user who takes many ends only their own, oldest first', () => {
    const { tickets } = desk()
    const ben = tickets.issue(person('ben'))
    const ann = Array.from({ length: 4 }, () => tickets.issue(person('ann'))?.ticket ?? '')
    // Another one of that name, who came another way.
    const token = tickets.issue({ ...person('ann'), via: 'token' })
    expect(ann.map((ticket) => tickets.redeem(ticket)?.subject.user ?? null)).toEqual([null, 'ann', 'ann', 'ann'])
    expect(tickets.redeem(ben?.ticket ?? '')?.subject.user).toBe('ben')
    expect(tickets.redeem(token?.ticket ?? '')?.subject.via).toBe('token')
  })

  test('when too many are out nobody gets one, until those are used or too old', () => {
    const { tickets, clock } = desk()
    const out = Array.from({ length: 10 }, (_, i) => tickets.issue(person(`user ${i}`))?.ticket ?? '')
    expect(tickets.issue(person('ann'))).toBeNull()
    tickets.redeem(out[5] ?? '')
    expect(tickets.issue(person('ann'))).not.toBeNull()
    expect(tickets.issue(person('ben'))).toBeNull()
    clock.advance(30_000)
    expect(tickets.issue(person('ben'))).not.toBeNull()
    expect(tickets.open).toBe(1)
  })

  test('whatever is issued, redeemed and waited for: never more open than allowed, none redeemed twice', () => {
    const step = fc.oneof(
      fc.record({ issue: fc.constantFrom('a', 'b', 'c', null) }),
      fc.record({ redeem: fc.nat(20) }),
      fc.record({ wait: fc.constantFrom(1, 10_000, 30_000) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { tickets, clock } = desk({ max: 5 })
        const issued: { ticket: string; user: string | null; until: number; used: boolean }[] = []
        for (const one of steps) {
          if ('issue' in one) {
            const made = tickets.issue({ ...ANONYMOUS, user: one.issue })
            if (made) issued.push({ ticket: made.ticket, user: one.issue, until: clock.now() + 30_000, used: false })
          } else if ('wait' in one) clock.advance(one.wait)
          else {
            const target = issued[one.redeem]
            if (target === undefined) continue
            const subject = tickets.redeem(target.ticket)?.subject ?? null
            if (subject === null) continue
            expect([subject.user, target.used, clock.now() < target.until]).toEqual([target.user, false, true])
            target.used = true
          }
          expect(tickets.open).toBeLessThanOrEqual(5)
        }
      }),
    )
  })
})

describe('how often one may fail', () => {
  const limits = { burst: 3, refillMs: 1_000, maxSources: 4 }

  test('a burst, then one for each time that passes', () => {
    const failures = new FailureLimit(limits)
    expect([0, 0, 0].map((now) => failures.failed('10.0.0.1', now))).toEqual([0, 0, 0])
    expect(failures.blockedFor('10.0.0.1', 0)).toBe(1_000)
    expect(failures.failed('10.0.0.1', 250)).toBe(750)
    expect(failures.failed('10.0.0.1', 1_000)).toBe(0)
    expect(failures.blockedFor('10.0.0.1', 1_000)).toBe(1_000)
    expect(failures.blockedFor('10.0.0.2', 1_000)).toBe(0)
    expect([9_000, 9_000, 9_000, 9_000].map((now) => failures.failed('10.0.0.1', now) > 0)).toEqual([
      false,
      false,
      false,
      true,
    ])
  })

  test('to ask is not to fail', () => {
    const failures = new FailureLimit(limits)
    for (let i = 0; i < 10; i++) expect(failures.blockedFor('10.0.0.1', 0)).toBe(0)
    expect(failures.sources).toBe(0)
  })

  test('a million addresses take no more memory than four', () => {
    const failures = new FailureLimit(limits)
    for (let i = 0; i < 50_000; i++) failures.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, i)
    expect(failures.sources).toBeLessThanOrEqual(4)
  })

  test('who keeps failing is not forgotten for those that fail once', () => {
    const failures = new FailureLimit(limits)
    let blocked = 0
    for (let i = 0; i < 100; i++) {
      if (failures.failed('10.0.0.1', i) > 0) blocked++
      failures.failed(`10.1.0.${i}`, i)
    }
    expect(blocked).toBe(97)
  })

  test('a clock that goes back gives nothing away, and locks nobody out for longer', () => {
    const failures = new FailureLimit(limits)
    for (const now of [5_000, 5_000, 5_000]) failures.failed('a', now)
    expect(failures.failed('a', 0)).toBe(1_000)
  })

  test('never more failures pass than burst and time allow, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(900), { minLength: 1, maxLength: 100 }), (pauses) => {
        const failures = new FailureLimit(limits)
        let now = 0
        let passed = 0
        for (const pause of pauses) {
          now += pause
          if (failures.failed('10.0.0.1', now) === 0) passed++
        }
        expect(passed).toBeLessThanOrEqual(limits.burst + now / limits.refillMs)
      }),
    )
  })

  test.each([
    ['10.0.0.7', '10.0.0.7'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['::FFFF:10.0.0.7', '10.0.0.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:1:2::99', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['unix', 'unix'],
    ['vsock:5', 'vsock:5'],
    ['', ''],
  ])('%s counts as %s', (address, source) => {
    expect(sourceOf(address)).toBe(source)
  })

  test('no text makes a source of endless length', () => {
    fc.assert(fc.property(fc.string({ maxLength: 300 }), (text) => sourceOf(text).length <= 128))
  })
})
