/** What an alert rule is. Pure. */

/** From the gravest on. */
export const SEVERITIES = ['critical', 'error', 'warning', 'info'] as const
export type Severity = (typeof SEVERITIES)[number]

/** Built in, or one of the operator's. Plain data: it goes to another thread. */
export interface AlertRule {
  readonly name: string
  /** RE2's syntax; of a line, cleaned. */
  readonly pattern: string
  /** Texts of which each match holds one, in any case, where better ones are known than the engine finds. ASCII. */
  readonly literals?: readonly string[]
  readonly severity: Severity
  readonly ignoreCase: boolean
  /** Selectors of ports, any of which; null = all. */
  readonly ports: readonly string[] | null
  /** One alert per port and so long, ms. */
  readonly everyMs: number
}

export const RULE_NAME = /^[a-z][a-z0-9-]{0,62}$/
export const RULE_NAME_ACCEPTS = 'lower-case letters, digits and "-", such as disk-full'
export const MAX_RULES = 200
export const DEFAULT_EVERY_MS = 60_000
