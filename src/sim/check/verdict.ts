/** What a check finds, and what it comes to. Pure. */

/** `faults`: what is wrong, in plain words; none = passed. `detail` says in a few words what was seen. */
export interface Verdict {
  readonly faults: readonly string[]
  readonly detail: string
  /** Measured values; the unit is in the name. */
  readonly figures: Figures
}

export type Figures = Readonly<Record<string, number>>

/** The check could not be made, and why. */
export interface Skip {
  readonly skipped: string
}

export interface CheckResult {
  /** The statement of the conformance checklist (docs/conformance.md): `C29`. */
  readonly id: string
  /** Unique and stable: `goahead-latency`. */
  readonly name: string
  readonly title: string
  readonly outcome: 'pass' | 'fail' | 'skipped'
  /** What was seen, what is wrong, or why it was skipped. */
  readonly reason: string
  readonly figures: Figures
  readonly ms: number
}

export interface CheckReport {
  readonly target: string
  /** How consoles were reached; null without. */
  readonly console: string | null
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly checks: readonly CheckResult[]
}

export function verdict(faults: readonly string[], detail = '', figures: Figures = {}): Verdict {
  return { faults, detail, figures }
}

/** At most this many faults are told; a server with one bug has it in a hundred migrations. */
const MAX_FAULTS = 3

/** `a; b; c; and 4 more`, each fault once. */
export function faultText(faults: readonly string[]): string {
  const different = [...new Set(faults)]
  const more = different.length - MAX_FAULTS
  return [...different.slice(0, MAX_FAULTS), ...(more > 0 ? [`and ${more} more`] : [])].join('; ')
}

export function judged(what: Verdict | Skip): Pick<CheckResult, 'outcome' | 'reason' | 'figures'> {
  if ('skipped' in what) return { outcome: 'skipped', reason: what.skipped, figures: {} }
  const { faults, detail, figures } = what
  if (faults.length > 0) return { outcome: 'fail', reason: faultText(faults), figures }
  return { outcome: 'pass', reason: detail, figures }
}

export function reportOf(target: string, console: string | null, checks: readonly CheckResult[]): CheckReport {
  const count = (outcome: CheckResult['outcome']) => checks.filter((check) => check.outcome === outcome).length
  return { target, console, passed: count('pass'), failed: count('fail'), skipped: count('skipped'), checks }
}

/** Errors of waits carry the whole dialogue behind their first line. */
export function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.split('\n', 1)[0] ?? ''
}
