/** The section `alerts` of the configuration: its schema, and the rules that it says. */
import { parseSelector, SELECTOR_ACCEPTS } from '../access/index.ts'
import { cleanText, errorMessage, nearest } from '../base/index.ts'
import type { ConfigProblem, SettingPath, SettingsSource } from '../config/index.ts'
import { BUILT_IN_RULES } from './built-in.ts'
import { compileRule } from './compile.ts'
import {
  type AlertRule,
  DEFAULT_EVERY_MS,
  MAX_RULES,
  RULE_NAME,
  RULE_NAME_ACCEPTS,
  SEVERITIES,
  type Severity,
} from './rule.ts'

/** As they stand in a file. */
export interface AlertsSettings {
  builtIn?: boolean
  rules?: AlertRuleSettings[]
}

export interface AlertRuleSettings {
  name?: string
  pattern?: string
  ignoreCase?: boolean
  ports?: string[]
  severity?: Severity
  everyMs?: number
  enabled?: boolean
}

/** Checked and complete; plain data. */
export interface AlertsConfig {
  /** As written: what a file would say again. */
  readonly settings: AlertsSettings
  /** In force: the built-in ones first. */
  readonly rules: readonly AlertRule[]
}

const BUILT_IN_NAMES = BUILT_IN_RULES.map(({ name }) => name)
const MAX_EVERY_MS = 31_536_000_000

/** The section `alerts`, as JSON Schema. `accepts` finishes the sentence "accepted is ...". */
export const ALERTS_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description: 'What in the output of VMs is worth an alert; see docs/alerts.md.',
  properties: {
    builtIn: {
      type: 'boolean',
      default: true,
      description: `The rules that are built in count, but for those that \`rules\` switches off: ${BUILT_IN_NAMES.join(', ')}.`,
    },
    rules: {
      type: 'array',
      default: [],
      description: 'More rules. One with the name of a built-in rule changes that one, by what it says.',
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          name: { type: 'string', description: 'Names the rule in alerts and metrics.', accepts: RULE_NAME_ACCEPTS },
          pattern: {
            type: 'string',
            description: "What is looked for in each line, in RE2's syntax. It need not fit the whole line.",
            accepts: 'a regular expression, such as "FAILED LOGIN [0-9]+ from"',
          },
          ignoreCase: {
            type: 'boolean',
            default: false,
            description: 'Upper and lower case are the same. Much cheaper than (?i) in the pattern.',
          },
          ports: {
            type: 'array',
            description: `Which ports it is for: any of ${SELECTOR_ACCEPTS}. Default: all.`,
            items: { type: 'string', accepts: SELECTOR_ACCEPTS },
          },
          severity: { type: 'string', enum: SEVERITIES, default: 'warning', description: 'How grave it is.' },
          everyMs: {
            type: 'integer',
            minimum: 0,
            maximum: MAX_EVERY_MS,
            default: DEFAULT_EVERY_MS,
            description: 'At most one alert of this rule for a port and so long; 0 = all.',
          },
          enabled: { type: 'boolean', default: true, description: '`false`: the rule does not count.' },
        },
      },
    },
  },
} as const

/** The section of one source; what is wrong in it is added to `problems` and does not count. */
export function readAlertsSection(
  settings: AlertsSettings,
  source: SettingsSource,
  problems: ConfigProblem[],
): AlertsConfig {
  const report = (path: SettingPath, message: string, part: 'key' | 'value' = 'value'): void => {
    problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...source.locate(['alerts', 'rules', ...path], part),
      message: `alerts.rules[${path[0]}]${path.length > 1 ? `.${path.slice(1).join('.')}` : ''} ${message}`,
    })
  }
  const rules = new Map<string, AlertRule>()
  if (settings.builtIn ?? true) for (const rule of BUILT_IN_RULES) rules.set(rule.name, rule)
  const given = new Set<string>()
  // A rule that is not even a section has been reported, and is null.
  const list = (settings.rules ?? []) as readonly (AlertRuleSettings | null)[]
  for (const [index, one] of list.entries()) {
    if (one === null) continue
    const name = checkName(one, index, given, report)
    if (name === null) continue
    given.add(name)
    const before = rules.get(name) ?? BUILT_IN_RULES.find((rule) => rule.name === name)
    const rule = readRule(name, one, before, index, source, report)
    if (rule !== null && (one.enabled ?? true)) rules.set(name, rule)
    else rules.delete(name)
  }
  if (rules.size > MAX_RULES) {
    problems.push({
      code: 'VSPC_CONFIG_INVALID',
      ...source.locate(['alerts', 'rules'], 'key'),
      message: `alerts has ${rules.size} rules; at most ${MAX_RULES} are accepted`,
    })
  }
  return { settings, rules: [...rules.values()] }
}

type Report = (path: SettingPath, message: string, part?: 'key' | 'value') => void

function checkName(one: AlertRuleSettings, index: number, given: Set<string>, report: Report): string | null {
  const { name } = one
  if (name === undefined) {
    report([index], `has no name; accepted is ${RULE_NAME_ACCEPTS}`)
    return null
  }
  if (!RULE_NAME.test(name)) {
    report([index, 'name'], `"${cleanText(name, 80)}" is no name of a rule; accepted are ${RULE_NAME_ACCEPTS}`)
    return null
  }
  if (given.has(name)) {
    report([index, 'name'], `"${name}" is there already; name each rule once`)
    return null
  }
  return name
}

/** @param before what it changes; undefined for a new rule. */
function readRule(
  name: string,
  one: AlertRuleSettings,
  before: AlertRule | undefined,
  index: number,
  source: SettingsSource,
  report: Report,
): AlertRule | null {
  const pattern = one.pattern ?? before?.pattern
  if (pattern === undefined) {
    // What is there and is no text has been reported.
    if (one.enabled !== false && !isGiven(source, index, 'pattern')) {
      const near = nearest(name, BUILT_IN_NAMES)
      report([index], `has no pattern, and no built-in rule is named "${name}"${near ? `; did you mean ${near}?` : ''}`)
    }
    return null
  }
  const rule: AlertRule = {
    name,
    pattern,
    ignoreCase: one.ignoreCase ?? before?.ignoreCase ?? false,
    // They are those of its own pattern.
    ...(before?.literals === undefined || one.pattern !== undefined || one.ignoreCase
      ? {}
      : { literals: before.literals }),
    severity: one.severity ?? before?.severity ?? 'warning',
    ports: portsOf(one, index, report) ?? before?.ports ?? null,
    everyMs: one.everyMs ?? before?.everyMs ?? DEFAULT_EVERY_MS,
  }
  try {
    compileRule(rule)
  } catch (error) {
    report([index, 'pattern'], `"${cleanText(pattern, 100)}": ${errorMessage(error)}`)
    return null
  }
  return rule
}

function portsOf(one: AlertRuleSettings, index: number, report: Report): readonly string[] | null {
  if (one.ports === undefined) return null
  const texts = (one.ports as readonly (string | null)[]).filter((text) => text !== null)
  for (const [at, text] of texts.entries()) {
    try {
      parseSelector(text)
    } catch (error) {
      report([index, 'ports', at], errorMessage(error))
    }
  }
  if (texts.length === 0 && one.ports.length === 0) report([index, 'ports'], 'is empty; leave it out for all ports')
  return texts
}

function isGiven(source: SettingsSource, index: number, name: string): boolean {
  const { alerts } = source.values as { alerts?: { rules?: unknown[] } }
  const rule = alerts?.rules?.[index]
  return typeof rule === 'object' && rule !== null && Object.hasOwn(rule, name)
}

/** As it would stand in a file. */
export function alertsSettings({ settings }: AlertsConfig): AlertsSettings {
  return { builtIn: settings.builtIn ?? true, rules: [...(settings.rules ?? [])] }
}
