/**
 * Who may do what on which port, as tables. Pure.
 *
 * All is refused but what a rule, or a right that came with a token, allows. Nothing takes a right away again, so the order
 * of rules does not matter, and what was allowed can be explained by naming one line.
 */
import { formatSelector, type PortFacts, type Selector, selects } from './selector.ts'
import type { Subject } from './subject.ts'

export const CAPABILITIES = ['list', 'read', 'write', 'break', 'kick', 'admin'] as const
export type Capability = (typeof CAPABILITIES)[number]

/**
 * What comes with each, itself included. Who types sees what comes back; who breaks or kicks has to find the port. `admin`
 * is everything on its ports.
 */
const INCLUDES: Readonly<Record<Capability, readonly Capability[]>> = {
  list: ['list'],
  read: ['list', 'read'],
  write: ['list', 'read', 'write'],
  break: ['list', 'break'],
  kick: ['list', 'kick'],
  admin: CAPABILITIES,
}

/** Roles that need no definition. */
export const BUILT_IN_ROLES = {
  viewer: ['read'],
  operator: ['write', 'break'],
  supervisor: ['write', 'break', 'kick'],
  admin: ['admin'],
} as const satisfies Record<string, readonly Capability[]>

/** Everything that can be asked for. `server`: about no port, so it takes a right that is for all of them. */
export const ACTIONS = {
  'port.list': { needs: 'list', about: 'port' },
  'port.show': { needs: 'list', about: 'port' },
  'port.events': { needs: 'list', about: 'port' },
  'log.read': { needs: 'read', about: 'port' },
  'log.search': { needs: 'read', about: 'port' },
  'screen.read': { needs: 'read', about: 'port' },
  'console.read': { needs: 'read', about: 'port' },
  'console.who': { needs: 'read', about: 'port' },
  'console.write': { needs: 'write', about: 'port' },
  'console.exclusive': { needs: 'write', about: 'port' },
  'console.request': { needs: 'write', about: 'port' },
  'console.say': { needs: 'write', about: 'port' },
  'console.break': { needs: 'break', about: 'port' },
  'console.force': { needs: 'kick', about: 'port' },
  'console.kick': { needs: 'kick', about: 'port' },
  'port.change': { needs: 'admin', about: 'port' },
  'port.remove': { needs: 'admin', about: 'port' },
  'appliance.read': { needs: 'list', about: 'server' },
  'metrics.read': { needs: 'list', about: 'server' },
  'server.change': { needs: 'admin', about: 'server' },
} as const satisfies Record<string, { needs: Capability; about: 'port' | 'server' }>
export type Action = keyof typeof ACTIONS

export interface Grant {
  readonly capabilities: readonly Capability[]
  readonly ports: readonly Selector[]
  /** For explanations: `access.rules[2]`, `token ci`. */
  readonly source: string
}

/** `authenticated`: who has shown who they are. `anyone`: nobody in particular, too. */
export type Who =
  | { readonly kind: 'user' | 'group' | 'token'; readonly name: string }
  | { readonly kind: 'authenticated' | 'anyone' }

export interface Rule extends Grant {
  readonly who: readonly Who[]
}

export interface Policy {
  readonly rules: readonly Rule[]
}

/** Who reaches the server may do everything: what goes for a server on loopback that asks nobody who they are. */
export const OPEN_POLICY: Policy = {
  rules: [
    { who: [{ kind: 'anyone' }], capabilities: ['admin'], ports: [{ kind: 'all' }], source: 'no access control' },
  ],
}

export interface Decision {
  readonly allowed: boolean
  readonly needs: Capability
  /** What allows it; null when nothing does. */
  readonly by: Grant | null
}

/** @param port null, or left aside, where the action is about the server. Null for a port's: may they on every port? */
export function decide(policy: Policy, subject: Subject, action: Action, port: PortFacts | null): Decision {
  const { needs, about } = ACTIONS[action]
  const target = about === 'server' ? null : port
  const by =
    policy.rules.find((rule) => isMeant(rule.who, subject) && allows(rule, needs, target)) ??
    subject.grants.find((grant) => allows(grant, needs, target)) ??
    null
  return { allowed: by !== null, needs, by }
}

export function allowed(policy: Policy, subject: Subject, action: Action, port: PortFacts | null): boolean {
  return decide(policy, subject, action, port).allowed
}

/** All that a subject may on a port, in the order of {@link CAPABILITIES}: for pages that hide what would be refused. */
export function capabilitiesOn(policy: Policy, subject: Subject, port: PortFacts | null): Capability[] {
  const grants = grantsOf(policy, subject)
  return CAPABILITIES.filter((needs) => grants.some((grant) => allows(grant, needs, port)))
}

/** Everything that gives a subject something: rules that are for it, then what came with it. */
export function grantsOf(policy: Policy, subject: Subject): Grant[] {
  return [...policy.rules.filter(({ who }) => isMeant(who, subject)), ...subject.grants]
}

/** The decision in words: its reason first, then what each rule and right has to say to it. */
export function explain(policy: Policy, subject: Subject, action: Action, port: PortFacts | null): string[] {
  const { needs, by } = decide(policy, subject, action, port)
  const target = ACTIONS[action].about === 'server' ? null : port
  const who = subject.user === null ? 'nobody known' : `${subject.user} (${subject.via})`
  const where = target === null ? 'all ports' : `port ${target.id}`
  const verdict = by === null ? `refused: nothing gives "${needs}" on ${where}` : `allowed by ${by.source}`
  const lines = [`${who}, ${action} on ${where}: ${verdict}`]
  for (const rule of policy.rules) {
    const meant = isMeant(rule.who, subject)
    lines.push(
      `${rule.source}: ${meant ? account(rule, needs, target) : `is for ${rule.who.map(formatWho).join(', ')}`}`,
    )
  }
  for (const grant of subject.grants) lines.push(`${grant.source}: ${account(grant, needs, target)}`)
  return lines
}

export function formatWho(who: Who): string {
  return 'name' in who ? `${who.kind}:${who.name}` : who.kind
}

/** Why a grant that is for the subject does or does not allow it. */
function account(grant: Grant, needs: Capability, port: PortFacts | null): string {
  if (!grant.capabilities.some((one) => INCLUDES[one].includes(needs))) {
    return `gives ${grant.capabilities.join(', ')}, not ${needs}`
  }
  if (!grant.ports.some((selector) => selects(selector, port))) {
    return `gives ${needs}, but only on ${grant.ports.map(formatSelector).join(', ')}`
  }
  return `gives ${needs} here`
}

function allows(grant: Grant, needs: Capability, port: PortFacts | null): boolean {
  return (
    grant.capabilities.some((one) => INCLUDES[one].includes(needs)) &&
    grant.ports.some((selector) => selects(selector, port))
  )
}

function isMeant(who: readonly Who[], subject: Subject): boolean {
  return who.some((one) => isOne(one, subject))
}

function isOne(one: Who, { user, groups, via }: Subject): boolean {
  switch (one.kind) {
    case 'anyone':
      return true
    case 'authenticated':
      return user !== null
    case 'user':
      // Tokens have names of their own, which whoever makes one chooses: none becomes a person by its name.
      return via !== 'token' && user === one.name
    case 'token':
      return via === 'token' && user === one.name
    case 'group':
      return user !== null && groups.includes(one.name)
  }
}
