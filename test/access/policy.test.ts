import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ACTIONS,
  type Action,
  ANONYMOUS,
  allowed,
  BUILT_IN_ROLES,
  CAPABILITIES,
  type Capability,
  capabilitiesOn,
  decide,
  explain,
  OPEN_POLICY,
  type Policy,
  parseSelector,
  type Subject,
} from '../../src/access/index.ts'
import { person, port, UUID } from './support.ts'

const policyOf = (
  who: Policy['rules'][number]['who'],
  can: readonly Capability[],
  ports: readonly string[],
): Policy => ({
  rules: [{ who, capabilities: can, ports: ports.map(parseSelector), source: 'access.rules[0]' }],
})

const ANYONE = [{ kind: 'anyone' }] as const

/** By hand, and not from the source: what each capability alone allows on its ports. */
const MAY: Record<Capability, Action[]> = {
  list: ['port.list', 'port.show', 'port.events'],
  read: ['log.read', 'log.search', 'screen.read', 'console.read', 'console.who'],
  write: ['console.write', 'console.exclusive', 'console.request', 'console.say'],
  break: ['console.break'],
  kick: ['console.force', 'console.kick'],
  admin: ['port.change', 'port.remove'],
}
const FOR_THE_SERVER: Partial<Record<Capability, Action[]>> = {
  list: ['appliance.read', 'metrics.read'],
  admin: ['server.change'],
}
const COMES_WITH: Record<Capability, Capability[]> = {
  list: [],
  read: ['list'],
  write: ['list', 'read'],
  break: ['list'],
  kick: ['list'],
  admin: ['list', 'read', 'write', 'break', 'kick'],
}
const ROLES: Record<keyof typeof BUILT_IN_ROLES, Capability[]> = {
  viewer: ['list', 'read'],
  operator: ['list', 'read', 'write', 'break'],
  supervisor: ['list', 'read', 'write', 'break', 'kick'],
  admin: ['list', 'read', 'write', 'break', 'kick', 'admin'],
}
/** Selector, and whether it is for port web1, for port db1 and for the whole server. */
const SELECTORS: [string, boolean, boolean, boolean][] = [
  ['*', true, true, true],
  ['web*', true, false, false],
  ['name:*', true, true, false],
  [`uuid:${UUID}`, true, false, false],
  ['host:10.0.0.*', true, false, false],
  ['nothing-is-called-so', false, false, false],
]
const WEB = port()
const DB = port({ id: 'x', name: 'db1', uuid: '564d0000-0000-0000-0000-000000000000', host: '10.1.0.1' })
const EVERY_ACTION = Object.keys(ACTIONS) as Action[]

test('every action is in exactly one place of the table by hand', () => {
  const listed = [...Object.values(MAY).flat(), ...Object.values(FOR_THE_SERVER).flat()]
  expect(listed.sort()).toEqual([...EVERY_ACTION].sort())
})

describe('every action x capability x selector', () => {
  const rows = CAPABILITIES.flatMap((can) => SELECTORS.map((selector) => [can, ...selector] as const))
  test.each(rows)('%s on %s', (can, selector, web, db, server) => {
    const policy = policyOf(ANYONE, [can], [selector])
    const withIt = [can, ...COMES_WITH[can]]
    const onPorts = withIt.flatMap((one) => MAY[one])
    const onServer = withIt.flatMap((one) => FOR_THE_SERVER[one] ?? [])
    for (const action of EVERY_ACTION) {
      const aboutServer = ACTIONS[action].about === 'server'
      const may = (aboutServer ? onServer : onPorts).includes(action)
      expect([action, allowed(policy, ANONYMOUS, action, WEB)]).toEqual([action, may && (aboutServer ? server : web)])
      expect([action, allowed(policy, ANONYMOUS, action, DB)]).toEqual([action, may && (aboutServer ? server : db)])
      expect([action, allowed(policy, ANONYMOUS, action, null)]).toEqual([action, may && server])
    }
  })

  test.each(Object.entries(ROLES))('role %s gives %s', (role, capabilities) => {
    const policy = policyOf(ANYONE, BUILT_IN_ROLES[role as keyof typeof ROLES], ['web*'])
    expect(capabilitiesOn(policy, ANONYMOUS, WEB)).toEqual(capabilities)
    expect(capabilitiesOn(policy, ANONYMOUS, DB)).toEqual([])
    expect(capabilitiesOn(policy, ANONYMOUS, null)).toEqual([])
  })
})

describe('whom a rule is for', () => {
  const token: Subject = { ...person('alice', 'ops'), via: 'token' }
  test.each([
    [{ kind: 'user', name: 'alice' }, true, false, false, false],
    [{ kind: 'group', name: 'ops' }, true, true, false, true],
    [{ kind: 'token', name: 'alice' }, false, false, false, true],
    [{ kind: 'authenticated' }, true, true, false, true],
    [{ kind: 'anyone' }, true, true, true, true],
    [{ kind: 'user', name: 'Alice' }, false, false, false, false],
    [{ kind: 'group', name: '' }, false, false, false, false],
  ] as const)(
    '%o: alice %s, bob of ops %s, nobody known %s, a token called alice %s',
    (who, alice, bob, nobody, byToken) => {
      const policy = policyOf([who], ['read'], ['*'])
      const subjects = [person('alice', 'ops'), person('bob', 'ops'), ANONYMOUS, token]
      expect(subjects.map((one) => allowed(policy, one, 'log.read', WEB))).toEqual([alice, bob, nobody, byToken])
    },
  )

  test('groups of nobody known count for nothing', () => {
    const policy = policyOf([{ kind: 'group', name: 'ops' }], ['read'], ['*'])
    expect(allowed(policy, { ...ANONYMOUS, groups: ['ops'] }, 'log.read', WEB)).toBe(false)
  })
})

test('without rules everything is refused, to everybody', () => {
  for (const action of EVERY_ACTION) {
    for (const target of [WEB, null])
      expect(allowed({ rules: [] }, person('root', 'admin'), action, target)).toBe(false)
  }
})

test('without access control everything is allowed', () => {
  for (const action of EVERY_ACTION) expect(allowed(OPEN_POLICY, ANONYMOUS, action, WEB)).toBe(true)
})

test("a token's own rights count on its ports only, and come on top of the rules", () => {
  const grants = [{ capabilities: ['write' as const], ports: [parseSelector('web*')], source: 'token ci' }]
  const subject: Subject = { ...ANONYMOUS, user: 'ci', via: 'token', grants }
  const policy = policyOf([{ kind: 'token', name: 'ci' }], ['list'], ['*'])
  expect(capabilitiesOn(policy, subject, WEB)).toEqual(['list', 'read', 'write'])
  expect(capabilitiesOn(policy, subject, DB)).toEqual(['list'])
  expect(decide(policy, subject, 'console.write', WEB).by?.source).toBe('token ci')
})

test('why it is refused or allowed is said rule by rule', () => {
  const policy: Policy = {
    rules: [
      ...policyOf([{ kind: 'group', name: 'ops' }], ['admin'], ['*']).rules,
      { ...policyOf(ANYONE, ['read'], ['*']).rules[0]!, source: 'access.rules[1]' },
      { ...policyOf(ANYONE, ['write'], ['db*', 'host:10.9.*']).rules[0]!, source: 'access.rules[2]' },
    ],
  }
  expect(explain(policy, person('alice'), 'console.write', WEB)).toEqual([
    `alice (certificate), console.write on port ${UUID}: refused: nothing gives "write" on port ${UUID}`,
    'access.rules[0]: is for group:ops',
    'access.rules[1]: gives read, not write',
    'access.rules[2]: gives write, but only on name:db*, host:10.9.*',
  ])
  expect(explain(policy, ANONYMOUS, 'console.write', DB)[0]).toBe(
    'nobody known, console.write on port x: allowed by access.rules[2]',
  )
  expect(explain(policy, ANONYMOUS, 'metrics.read', WEB)[0]).toBe(
    'nobody known, metrics.read on all ports: allowed by access.rules[1]',
  )
})

const anyWho = fc.constantFrom(
  { kind: 'anyone' as const },
  { kind: 'authenticated' as const },
  { kind: 'user' as const, name: 'alice' },
  { kind: 'group' as const, name: 'ops' },
)
const anyRule = fc.record({
  who: fc.array(anyWho, { maxLength: 3 }),
  capabilities: fc.subarray([...CAPABILITIES]),
  ports: fc.subarray(SELECTORS.map(([text]) => text)).map((texts) => texts.map(parseSelector)),
  source: fc.constant('some rule'),
})
const anyPolicy = fc.array(anyRule, { maxLength: 6 }).map((rules) => ({ rules }))
const anySubject = fc.constantFrom(ANONYMOUS, person('alice'), person('bob', 'ops'), person('carol'))
const anyAction = fc.constantFrom(...EVERY_ACTION)
const anyPort = fc.constantFrom(WEB, DB, null)

test('one rule more never refuses what was allowed, and the order of rules never matters', () => {
  fc.assert(
    fc.property(anyPolicy, anyRule, anySubject, anyAction, anyPort, (policy, rule, subject, action, target) => {
      const before = allowed(policy, subject, action, target)
      const more = { rules: [...policy.rules, rule] }
      if (before) expect(allowed(more, subject, action, target)).toBe(true)
      expect(allowed({ rules: [...more.rules].reverse() }, subject, action, target)).toBe(
        allowed(more, subject, action, target),
      )
    }),
  )
})

test('what is allowed is always explained by a rule that gives it here, and what is refused by none', () => {
  fc.assert(
    fc.property(anyPolicy, anySubject, anyAction, anyPort, (policy, subject, action, target) => {
      const { allowed: may, by } = decide(policy, subject, action, target)
      const [, ...accounts] = explain(policy, subject, action, target)
      expect(accounts.some((line) => line.endsWith(' here'))).toBe(may)
      expect(by !== null).toBe(may)
    }),
  )
})

test('what a page is told it may is what it may', () => {
  fc.assert(
    fc.property(anyPolicy, anySubject, anyAction, anyPort, (policy, subject, action, target) => {
      const on = ACTIONS[action].about === 'server' ? null : target
      const told = capabilitiesOn(policy, subject, on).includes(ACTIONS[action].needs)
      expect(told).toBe(allowed(policy, subject, action, target))
    }),
  )
})
