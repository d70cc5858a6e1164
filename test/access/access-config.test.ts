import { expect, test } from 'vitest'
import { ANONYMOUS, allowed, capabilitiesOn } from '../../src/access/index.ts'
import { errorMessage } from '../../src/base/index.ts'
import { accessOf, person, port } from './support.ts'

const messageOf = (yaml: string): string => {
  try {
    accessOf(yaml)
    return 'no problem'
  } catch (error) {
    return errorMessage(error)
  }
}

test('a section as in the docs', () => {
  const { policy, roles } = accessOf(`
access:
  roles:
    nightwatch: [read, break]
  rules:
    - { who: [group:ops, user:root], role: admin }
    - { who: [authenticated], can: [list] }
    - who: [group:night]
      role: nightwatch
      ports: ['web*', 'host:10.9.*']
`)
  expect(capabilitiesOn(policy, person('ann', 'night'), port())).toEqual(['list', 'read', 'break'])
  expect(capabilitiesOn(policy, person('ann', 'night'), port({ name: 'db' }))).toEqual(['list'])
  expect(allowed(policy, person('root'), 'server.change', null)).toBe(true)
  expect(allowed(policy, ANONYMOUS, 'port.list', port())).toBe(false)
  expect(roles.get('nightwatch')).toEqual(['read', 'break'])
})

test.each([
  ['rules: [{ who: [anyone] }]', '2:11: access.rules[0] gives nothing'],
  ['rules: [{ role: viewer }]', '2:11: access.rules[0] is for nobody'],
  ['rules: [{ who: [], role: viewer }]', '2:18: access.rules[0].who is empty'],
  ['rules: [{ who: [anyone], role: viewr }]', 'did you mean viewer?'],
  ['rules: [{ who: [anyone], role: toString }]', '2:34: access.rules[0].role: there is no role "toString"'],
  ['rules: [{ who: [anyone], role: viewer, can: [read] }]', '2:42: access.rules[0] has "role" and "can"'],
  ['rules: [{ who: [anyone], can: [raed] }]', 'did you mean read?'],
  ['rules: [{ who: [anyone], can: [] }]', 'would give nothing'],
  ['rules: [{ who: [anyone], role: viewer, ports: [] }]', 'leave it out for all ports'],
  ['rules: [{ who: [everyone], role: viewer }]', '2:19: who "everyone" is nobody'],
  ['rules: [{ who: ["user:"], role: viewer }]', '2:19: who "user:" is nobody'],
  ['rules: [{ who: ["user:a,b"], role: viewer }]', 'without commas'],
  ['rules: [{ who: ["user:a\\u202eb"], role: viewer }]', 'control characters'],
  ['rules: [{ who: [anyone], role: viewer, ports: ["hosts:1"] }]', '2:50: "hosts:1" selects no ports'],
  ['rules: [{ who: [anyone], role: viewer, port: [a] }]', 'did you mean access.rules'],
  ['rules: [5]', '2:11: access.rules[0] is'],
  ['roles: { viewer: [admin] }', '2:12: access.roles.viewer is built in'],
  ['roles: { "no name": [read] }', 'is no name of a role'],
  ['roles: { none: [] }', 'access.roles.none is empty'],
])('%s: the problem has its place', (section, expected) => {
  const message = messageOf(`access:\n  ${section}\n`)
  if (expected === 'did you mean access.rules') expect(message).toMatch(/is not a setting; .*did you mean ports\?/)
  else expect(message).toContain(expected)
  expect(message).toMatch(/^vspc\.yaml:2:\d+: /)
})

test('a rule with one wrong part is not in force with the rest of it', () => {
  expect(messageOf('access:\n  rules:\n    - { who: [anyone, nobody], role: viewer }\n')).toContain('nobody')
})
