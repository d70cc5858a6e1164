/** Runs `vspc point`: all VMs are looked up first, then changed, some at a time; one that fails blocks nobody. */
import { cleanText, errorMessage, silentLogger, VspcError } from '../base/index.ts'
import { VsphereInventory, type VsphereSession } from '../vsphere/index.ts'
import { CommandExit, EXIT, EXIT_BY_CODE, type ExitCode } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { cleanMessage, printNote } from './output.ts'
import { type Pointed, pointVm } from './point-one.ts'
import { type CannotStep, type PointChoice, planPoint, type WantedPort } from './point-plan.ts'
import { shellWord } from './point-quoting.ts'
import {
  failedOutcome,
  type PointOutcome,
  type PointResult,
  plannedOutcome,
  pointedOutcome,
  printOutcomes,
  summaryOf,
} from './point-report.ts'
import { readPointVm, type SelectedVm, selectVms, type UnknownVm, type VmArgument } from './point-vms.ts'
import { untilToldToStop } from './signals.ts'
import { connectVsphere, passwordFileWarning, type VsphereAccess } from './vsphere-options.ts'

export interface PointJob {
  readonly access: VsphereAccess
  readonly vms: readonly VmArgument[]
  readonly wanted: WantedPort
  readonly choice: PointChoice
  /** Only show what would be done. */
  readonly plan: boolean
  readonly json: boolean
}

/** As many changes as a vCenter takes without slowing down for others. */
const CONCURRENCY = 8

/** @throws CommandExit when anything failed; VspcError for what keeps all of it from being done. */
export async function runPoint(job: PointJob): Promise<void> {
  const warning = passwordFileWarning(job.access)
  if (warning !== null) printNote(`warning: ${warning}`)
  const stop = new AbortController()
  const inventory = new VsphereInventory({
    clock: liveClock,
    connect: (signal) => connectVsphere(job.access, { signal, clock: liveClock, log: silentLogger }),
  })
  // Nothing is changed yet: Ctrl-C may end it at once.
  const letBe = exitOnInterrupt()
  try {
    const session = await inventory.session(stop)
    const { vms, unknown } = await selectVms(inventory, session, job.vms, stop.signal)
    letBe()
    const known = await pointAll(job, session, vms, stop.signal)
    report(job, [...unknown.map(unknownResult), ...known], vms.length - known.length)
  } finally {
    stop.abort(new VspcError('VSPC_SERVER_STOPPING', 'stopped'))
    await inventory.close()
  }
}

/** @returns fewer results than VMs when it was told to stop: VMs under way are brought to their end, no more begun. */
async function pointAll(
  job: PointJob,
  session: VsphereSession,
  vms: readonly SelectedVm[],
  signal: AbortSignal,
): Promise<PointResult[]> {
  let stopping = false
  void untilToldToStop(silentLogger).then(() => {
    stopping = true
    printNote('finishing the VMs that are being changed; again to end at once')
  })
  const results = new Map<SelectedVm, PointResult>()
  const queue = [...vms]
  const worker = async (): Promise<void> => {
    for (let vm = queue.shift(); vm !== undefined && !stopping; vm = queue.shift()) {
      results.set(vm, await pointOne(job, session, vm, signal))
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  return vms.flatMap((vm) => results.get(vm) ?? [])
}

/** Never fails. */
async function pointOne(
  job: PointJob,
  session: VsphereSession,
  vm: SelectedVm,
  signal: AbortSignal,
): Promise<PointResult> {
  const { wanted, choice } = job
  try {
    if (job.plan) {
      const now = await readPointVm(session, vm, { signal })
      const step = planPoint(now, wanted, choice)
      return { outcome: plannedOutcome(now, step, wanted.label), exit: step.do === 'cannot' ? exitOf(step) : EXIT.ok }
    }
    const pointed = await pointVm({ session, wanted, choice, clock: liveClock, signal }, vm)
    return { outcome: pointedOutcome(pointed), exit: exitOfPointed(pointed) }
  } catch (error) {
    const code = error instanceof VspcError ? error.code : null
    const outcome = failedOutcome(vm.name, vm.instanceUuid, errorMessage(error), code)
    // It was there when it was looked up.
    if (code === 'VSPC_VSPHERE_NOT_FOUND') return { outcome, exit: EXIT.gone }
    return { outcome, exit: (code === null ? undefined : EXIT_BY_CODE[code]) ?? EXIT.other }
  }
}

function exitOfPointed({ step, fault }: Pointed): ExitCode {
  if (step.do === 'cannot') return exitOf(step)
  return fault === null ? EXIT.ok : EXIT.other
}

function exitOf({ why }: CannotStep): ExitCode {
  return why === 'no-such-port' || why === 'ambiguous' ? EXIT.noSuchPort : EXIT.other
}

function unknownResult({ selector, error }: UnknownVm): PointResult {
  return { outcome: failedOutcome(selector, null, error.message, error.code), exit: EXIT.noSuchPort }
}

/** @param left VMs that were not begun. */
function report(job: PointJob, results: readonly PointResult[], left: number): void {
  const outcomes = results.map(({ outcome }) => outcome)
  for (const { vm, fault, hints } of outcomes) {
    const shown = cleanText(vm, 100)
    for (const hint of hints) printNote(`warning: ${shown}: ${cleanMessage(hint)}`)
    // Who asked for one VM knows which one it is about.
    if (fault !== null) printNote(outcomes.length === 1 ? cleanMessage(fault) : `${shown}: ${cleanMessage(fault)}`)
  }
  const shown = job.json ? outcomes : outcomes.filter(isWorthARow(outcomes))
  printOutcomes(shown, job.json)
  if (left > 0)
    throw new CommandExit(EXIT.interrupted, `stopped: ${summaryOf(outcomes) || 'nothing was done'}, ${left} not begun`)
  const codes = new Set(results.map(({ exit }) => exit).filter((exit) => exit !== EXIT.ok))
  const [only = EXIT.other] = codes
  if (codes.size > 0)
    throw new CommandExit(codes.size === 1 ? only : EXIT.other, outcomes.length > 1 ? summaryOf(outcomes) : '')
  if (!job.json) printNote(nextStep(outcomes, job.plan))
}

/** A table that would only repeat one failure is left out. */
function isWorthARow(all: readonly PointOutcome[]): (outcome: PointOutcome) => boolean {
  return ({ done }) => done !== 'failed' || all.length > 1
}

function nextStep(outcomes: readonly PointOutcome[], plan: boolean): string {
  const summary = summaryOf(outcomes)
  if (plan) return `${summary}; nothing was changed`
  const address = outcomes.find(({ poweredOn }) => poweredOn)?.address
  const hint =
    address == null
      ? "'vspc ports' shows them once they are on"
      : `see 'vspc ports' or 'vspc attach ${shellWord(cleanText(address, 100))}'`
  return `${summary}; ${hint}`
}
