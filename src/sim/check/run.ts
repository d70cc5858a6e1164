/** Runs the checks one after the other against one server. */
import { nearest, systemClock, VspcError } from '../../base/index.ts'
import { OPENINGS } from '../autopilot.ts'
import { describeTarget } from '../target.ts'
import type { Check, CheckOptions, CheckSettings } from './check.ts'
import { CONSOLE_CHECKS } from './console-checks.ts'
import { FRAMING_CHECKS } from './framing-checks.ts'
import { consoleVm } from './line.ts'
import { NEGOTIATION_CHECKS } from './negotiation-checks.ts'
import { Stage } from './stage.ts'
import { SUBOPTION_CHECKS } from './suboption-checks.ts'
import { type CheckReport, type CheckResult, firstLine, judged, reportOf, type Skip, type Verdict } from './verdict.ts'
import { VMOTION_CHECKS } from './vmotion-checks.ts'

/** In the order in which they are made and shown. The first one tells why, when no VM is served at all. */
export const CHECKS: readonly Check[] = [
  ...NEGOTIATION_CHECKS,
  ...FRAMING_CHECKS,
  ...SUBOPTION_CHECKS,
  ...VMOTION_CHECKS,
  ...CONSOLE_CHECKS,
]

/** A check that has not come to an end by then has found a server that hangs. */
const MAX_CHECK_MS = 120_000

/**
 * Judges a concentrator from outside: what a host on one side and a console on the other can see. It leaves nothing
 * connected, but a server remembers the VMs it met (`check-...`).
 * @throws VspcError VSPC_SERVER_UNREACHABLE when it cannot be connected to, VSPC_USAGE for an unknown check.
 */
export async function checkServer(options: CheckOptions): Promise<CheckReport> {
  const chosen = choose(options.only)
  const settings: CheckSettings = {
    target: options.target,
    serviceURI: options.serviceURI ?? 'vSPC.py',
    consoles: options.consoles ?? null,
    migrations: options.migrations ?? 100,
    limitMs: options.limitMs ?? 5_000,
    quietMs: options.quietMs ?? 50,
    resumeMs: options.resumeMs ?? 1_500,
    clock: options.clock ?? systemClock,
  }
  const stage = new Stage(settings)
  await reach(stage)
  const served = await findOpening(stage)
  const results: CheckResult[] = []
  for (const check of chosen) {
    const result = await one(check, stage, skipReason(check, settings, served, options.signal))
    results.push(result)
    options.onResult?.(result)
  }
  return reportOf(describeTarget(settings.target), settings.consoles?.address ?? null, results)
}

function choose(only: readonly string[] | undefined): readonly Check[] {
  if (only === undefined) return CHECKS
  const words = CHECKS.flatMap((check) => [check.id, check.name])
  const unknown = only.find((word) => !words.includes(word))
  if (unknown !== undefined) {
    const close = nearest(unknown, words)
    throw new VspcError('VSPC_USAGE', `no check "${unknown}"${close ? `; did you mean "${close}"?` : ''}`)
  }
  return CHECKS.filter((check) => only.includes(check.id) || only.includes(check.name))
}

/** A first connection, so that a wrong address is told as one. */
async function reach(stage: Stage): Promise<void> {
  try {
    await stage.connect({ auto: false })
  } catch (cause) {
    const what = `cannot connect to ${describeTarget(stage.settings.target)}: ${firstLine(cause)}`
    throw new VspcError('VSPC_SERVER_UNREACHABLE', what, { cause })
  } finally {
    await stage.strike()
  }
}

/** The first way of opening by which a VM gets as far as WILL-PROXY. False: none. */
async function findOpening(stage: Stage): Promise<boolean> {
  // Where console ports are given out by order, the VM behind the one we know has to come first.
  const first = stage.settings.consoles?.single ? consoleVm(stage) : stage.someone()
  for (const opening of OPENINGS) {
    try {
      await stage.attach({ opening, identity: first.identity })
      stage.opening = opening
      return true
    } catch {
      // The next one; the check of openings says what went wrong with this.
    } finally {
      await stage.strike()
    }
  }
  return false
}

function skipReason(
  check: Check,
  settings: CheckSettings,
  served: boolean,
  signal: AbortSignal | undefined,
): string | null {
  if (signal?.aborted) return 'interrupted'
  if (!served && check !== CHECKS[0]) return 'no VM gets as far as WILL-PROXY'
  return check.console && settings.consoles === null ? 'needs --console' : null
}

async function one(check: Check, stage: Stage, skipped: string | null): Promise<CheckResult> {
  const { clock } = stage.settings
  const began = clock.now()
  let found: Verdict | Skip
  try {
    found = skipped === null ? await stage.within(check.run(stage), MAX_CHECK_MS, 'no end') : { skipped }
  } catch (error) {
    found = { faults: [firstLine(error)], detail: '', figures: {} }
  }
  await stage.strike()
  const { id, name, title } = check
  return { id, name, title, ...judged(found), ms: clock.now() - began }
}
