import type { Clock } from '../../base/index.ts'
import type { SimTarget } from '../target.ts'
import type { CheckConsoles } from './console.ts'
import type { Stage } from './stage.ts'
import type { CheckResult, Skip, Verdict } from './verdict.ts'

/** One thing a concentrator has to do, and how to find out. */
export interface Check {
  /** The statement of the conformance checklist it belongs to. */
  readonly id: string
  readonly name: string
  readonly title: string
  /** It cannot be made without a console. */
  readonly console?: true
  /** Acts it out and hands what was seen to the judge. What it throws is a fault too. */
  run(stage: Stage): Promise<Verdict | Skip>
}

/** All that the checks are made with. */
export interface CheckSettings {
  readonly target: SimTarget
  readonly serviceURI: string
  readonly consoles: CheckConsoles | null
  /** For latency and secrets. */
  readonly migrations: number
  /** How long an answer may take before it counts as missing. */
  readonly limitMs: number
  /** After the sign that a server has seen everything: time for an answer it should not give. */
  readonly quietMs: number
  /** How long the guest stands still when GOAHEAD is taken as too late, before it resumes without ABORT. */
  readonly resumeMs: number
  readonly clock: Clock
}

export interface CheckOptions {
  readonly target: SimTarget
  /** Default `vSPC.py`. */
  readonly serviceURI?: string
  /** Without it what needs a console is skipped. */
  readonly consoles?: CheckConsoles
  /** Default 100. */
  readonly migrations?: number
  /** Default 5000. */
  readonly limitMs?: number
  /** Default 50. */
  readonly quietMs?: number
  /** Default 1500. */
  readonly resumeMs?: number
  /** Ids (`C29`) or names; default: all. */
  readonly only?: readonly string[]
  readonly clock?: Clock
  /** Told after each check. */
  readonly onResult?: (result: CheckResult) => void
  /** Ends it after the check that is running; the others count as skipped. */
  readonly signal?: AbortSignal
}
