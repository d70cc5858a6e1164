/** The section `access` of the configuration: its schema, and the policy that it says. Pure. */
import { cleanText, errorMessage, nearest } from '../base/index.ts'
import type { ConfigProblem, SettingPath, SettingsSource } from '../config/index.ts'
import { BUILT_IN_ROLES, CAPABILITIES, type Capability, type Policy, type Rule, type Who } from './policy.ts'
import { parseSelector, SELECTOR_ACCEPTS, type Selector } from './selector.ts'
import { isPrincipal } from './subject.ts'

/** As they stand in a file. */
export interface AccessSettings {
  roles?: Record<string, string[]>
  rules?: RuleSettings[]
}

export interface RuleSettings {
  who?: string[]
  role?: string
  can?: string[]
  ports?: string[]
}

const WHO_ACCEPTS = 'user:NAME, group:NAME, token:NAME, authenticated or anyone'
const CAPABILITY_ITEM = { type: 'string', enum: CAPABILITIES, accepts: `one of ${CAPABILITIES.join(', ')}` } as const
const ROLE_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/
const MAX_RULES = 1_000

/** The section `access`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const ACCESS_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description: 'Who may do what on which ports; see docs/access.md. What no rule allows is refused.',
  properties: {
    roles: {
      type: 'object',
      description: `Names for lists of capabilities, beside ${Object.keys(BUILT_IN_ROLES).join(', ')}.`,
      accepts: 'a section of lines NAME: [read, break]',
      additionalProperties: {
        type: 'array',
        items: CAPABILITY_ITEM,
        accepts: `a list of ${CAPABILITIES.join(', ')}`,
      },
    },
    rules: {
      type: 'array',
      description: 'Each gives some people a role on some ports. Their order does not matter: none takes a right away.',
      accepts: 'a list of rules',
      items: {
        type: 'object',
        additionalProperties: false,
        accepts: 'a rule with "who", "role" or "can", and "ports"',
        properties: {
          who: {
            type: 'array',
            description: `Whom it is for: ${WHO_ACCEPTS}.`,
            accepts: `a list of ${WHO_ACCEPTS}`,
            items: { type: 'string', accepts: WHO_ACCEPTS },
          },
          role: { type: 'string', description: 'What they may.', accepts: 'the name of a role' },
          can: {
            type: 'array',
            description: 'What they may, as capabilities, instead of `role`.',
            accepts: `a list of ${CAPABILITIES.join(', ')}`,
            items: CAPABILITY_ITEM,
          },
          ports: {
            type: 'array',
            description: `Where: ${SELECTOR_ACCEPTS}. Default: all ports.`,
            accepts: `a list of ${SELECTOR_ACCEPTS}`,
            items: { type: 'string', accepts: SELECTOR_ACCEPTS },
          },
        },
      },
    },
  },
} as const

/** What a role gives, by its name. */
export type Roles = ReadonlyMap<string, readonly Capability[]>

export interface AccessRules {
  readonly policy: Policy
  readonly roles: Roles
}

/** Settings that have fitted the schema: wrong items of lists are null. */
type Fitting<T> = { readonly [Name in keyof T]: T[Name] extends (infer Item)[] | undefined ? (Item | null)[] : T[Name] }
type FittingAccess = {
  readonly roles?: Readonly<Record<string, readonly (string | null)[]>>
  readonly rules?: readonly (Fitting<RuleSettings> | null)[]
}

/** Null when something of it is wrong; then `problems` says what. A part of a policy is none. */
export function readAccessSection(
  settings: FittingAccess,
  source: SettingsSource,
  problems: ConfigProblem[],
): AccessRules | null {
  const reader = new SectionReader(source, problems)
  const before = problems.length
  const roles = reader.roles(settings.roles ?? {})
  const given = settings.rules ?? []
  if (given.length > MAX_RULES) {
    reader.report(['rules'], `access.rules has ${given.length} rules; at most ${MAX_RULES} are accepted`)
  }
  const rules = given.slice(0, MAX_RULES).map((rule, index) => reader.rule(rule, index, roles))
  return problems.length > before ? null : { policy: { rules: rules.filter((rule) => rule !== null) }, roles }
}

class SectionReader {
  readonly #source: SettingsSource
  readonly #problems: ConfigProblem[]

  constructor(source: SettingsSource, problems: ConfigProblem[]) {
    this.#source = source
    this.#problems = problems
  }

  report(at: SettingPath, message: string, part: 'key' | 'value' = 'value'): void {
    const place = this.#source.locate(['access', ...at], part)
    this.#problems.push({ code: 'VSPC_CONFIG_INVALID', ...place, message })
  }

  roles(given: Readonly<Record<string, readonly (string | null)[]>>): Roles {
    const roles = new Map<string, readonly Capability[]>(Object.entries(BUILT_IN_ROLES))
    for (const [name, list] of Object.entries(given)) {
      const shown = cleanText(name, 64)
      if (Object.hasOwn(BUILT_IN_ROLES, name)) {
        this.report(['roles', name], `access.roles.${shown} is built in: choose another name`, 'key')
      } else if (!ROLE_NAME.test(name)) {
        const accepts = 'a letter, then up to 63 letters, digits, "-" and "_"'
        this.report(['roles', name], `access.roles: "${shown}" is no name of a role; accepted is ${accepts}`, 'key')
      } else {
        if (list.length === 0) this.report(['roles', name], `access.roles.${shown} is empty: it would give nothing`)
        roles.set(name, capabilitiesOf(list))
      }
    }
    return roles
  }

  rule(rule: Fitting<RuleSettings> | null, index: number, roles: Roles): Rule | null {
    if (rule === null) return null
    const name = `access.rules[${index}]`
    const { who, role, can, ports } = rule
    /** What is there and did not fit has been reported. */
    const isMissing = (...names: (keyof RuleSettings)[]) => names.every((one) => !this.#isThere(index, one))
    if (isMissing('who')) this.report(['rules', index], `${name} is for nobody: give "who", such as [group:ops]`)
    else if (who?.length === 0) this.report(['rules', index, 'who'], `${name}.who is empty; accepted is ${WHO_ACCEPTS}`)
    if (isMissing('role', 'can')) {
      this.report(['rules', index], `${name} gives nothing: give "role", such as operator, or "can", such as [read]`)
    } else if (!isMissing('role') && !isMissing('can')) {
      this.report(['rules', index, 'can'], `${name} has "role" and "can": give one of them`, 'key')
    } else if (can?.length === 0) this.report(['rules', index, 'can'], `${name}.can is empty: it would give nothing`)
    if (ports?.length === 0) {
      this.report(['rules', index, 'ports'], `${name}.ports is empty; leave it out for all ports`)
    }
    return {
      who: (who ?? []).map((text, at) => this.#who(text, [index, 'who', at])).filter((one) => one !== null),
      capabilities: can !== undefined ? capabilitiesOf(can) : this.#role(role, index, roles),
      ports: ports === undefined ? [{ kind: 'all' }] : this.#ports(ports, index),
      source: name,
    }
  }

  #isThere(index: number, name: string): boolean {
    const { access } = this.#source.values as { access?: { rules?: unknown[] } }
    const rule = access?.rules?.[index]
    return typeof rule === 'object' && rule !== null && Object.hasOwn(rule, name)
  }

  #role(name: string | undefined, index: number, roles: Roles): readonly Capability[] {
    if (name === undefined) return []
    const known = roles.get(name)
    if (known !== undefined) return known
    const near = nearest(name, [...roles.keys()])
    const hint = near === null ? '' : `; did you mean ${near}?`
    const message = `access.rules[${index}].role: there is no role "${cleanText(name, 64)}"`
    this.report(['rules', index, 'role'], `${message}; there are ${[...roles.keys()].join(', ')}${hint}`)
    return []
  }

  #who(text: string | null, at: SettingPath): Who | null {
    if (text === null) return null
    if (text === 'anyone' || text === 'authenticated') return { kind: text }
    const [, kind, name = ''] = /^(user|group|token):(.*)$/su.exec(text) ?? []
    if (kind !== undefined && isPrincipal(name)) return { kind: kind as 'user' | 'group' | 'token', name }
    const hint = kind === undefined ? '' : '; names are up to 128 characters, without commas or control characters'
    this.report(['rules', ...at], `who "${cleanText(text, 100)}" is nobody; accepted is ${WHO_ACCEPTS}${hint}`)
    return null
  }

  #ports(texts: readonly (string | null)[], index: number): Selector[] {
    const selectors: Selector[] = []
    for (const [at, text] of texts.entries()) {
      if (text === null) continue
      try {
        selectors.push(parseSelector(text))
      } catch (error) {
        this.report(['rules', index, 'ports', at], errorMessage(error))
      }
    }
    return selectors
  }
}

function capabilitiesOf(list: readonly (string | null)[]): Capability[] {
  return CAPABILITIES.filter((one) => list.includes(one))
}
