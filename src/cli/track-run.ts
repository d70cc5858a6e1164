/** Runs `vspc track`: a plan, once, or until told to stop. */
import { passwordFileWarning, Tracking, type TrackingPlan, type VsphereAccess } from '../appliance/index.ts'
import { cleanText, type Logger, silentLogger, VspcError } from '../base/index.ts'
import { type CannotStep, failureOf, type RetargetSummary } from '../vmotion/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printNote } from './output.ts'
import { exitOnFault, onHangup, stayAlive, untilToldToStop } from './signals.ts'
import { printPlan, TrackReport } from './track-report.ts'

export interface TrackJob {
  readonly access: VsphereAccess
  readonly plan: TrackingPlan
  readonly mode: 'plan' | 'once' | 'follow'
  /** Of `once`. */
  readonly timeoutMs: number
  readonly json: boolean
}

const noteLog: Logger = {
  ...silentLogger,
  info: (_fields, message) => printNote(message),
  warn: (_fields, message) => printNote(message),
  error: (_fields, message) => printNote(message),
  child: () => noteLog,
}

export async function runTrack(job: TrackJob): Promise<void> {
  const warning = passwordFileWarning(job.access)
  if (warning !== null) printNote(`warning: ${warning}`)
  await new Track(job).run()
}

class Track {
  readonly #job: TrackJob
  readonly #report: TrackReport
  readonly #tracking: Tracking
  readonly #unfit: CannotStep[] = []

  constructor(job: TrackJob) {
    this.#job = job
    this.#report = new TrackReport(job.json, liveClock.wall)
    this.#tracking = new Tracking({
      ...job.plan,
      access: job.access,
      clock: liveClock,
      random: Math.random,
      log: noteLog,
      onEvent: (event) => {
        if (event.kind === 'retarget' && event.event.kind === 'cannot') {
          this.#unfit.push(...event.event.steps.filter(({ why }) => why !== 'no-port'))
        }
        this.#report.take(event)
      },
    })
  }

  async run(): Promise<void> {
    const alive = stayAlive()
    try {
      if (this.#job.mode === 'plan') await this.#plan()
      else if (this.#job.mode === 'once') await this.#once()
      else await this.#follow()
    } finally {
      const halfDone = await this.#tracking.stop()
      if (halfDone.length > 0) {
        const names = halfDone.map(({ name }) => cleanText(name, 100)).join(', ')
        printNote(`warning: maybe disconnected, since there was no time to connect them again: ${names}`)
      }
      alive.end()
    }
  }

  async #plan(): Promise<void> {
    exitOnInterrupt()
    const plan = await this.#tracking.readPlan()
    if (plan.steps.length === 0) throw noVm()
    printPlan(plan, this.#job.json)
  }

  async #once(): Promise<void> {
    const { timeoutMs } = this.#job
    const { retargeter } = this.#tracking
    const stopped = Promise.race([untilToldToStop(silentLogger), onHangup(() => retargeter.check())]).then(() => {
      throw new CommandExit(EXIT.interrupted, 'stopped before all VMs were in line')
    })
    let cancel = (): void => {}
    const tooLong = new Promise<never>((_resolve, reject) => {
      const text = `not all is in line after ${timeoutMs / 1_000} s`
      cancel = liveClock.after(timeoutMs, () => reject(new VspcError('VSPC_WAIT_TIMEOUT', text))).cancel
    })
    try {
      this.#judge(await Promise.race([this.#settle(), stopped, tooLong]))
    } finally {
      cancel()
    }
  }

  /** Should the appliance move meanwhile, until that is in line, too. */
  async #settle(): Promise<RetargetSummary> {
    const { retargeter } = this.#tracking
    let place = await this.#tracking.findAppliance()
    this.#report.moved({ from: null, to: place })
    for (;;) {
      const filled = this.#job.plan.proxyURI(place)
      if ('problem' in filled) throw new VspcError('VSPC_ENDPOINT_SYNTAX', filled.problem)
      retargeter.point(place)
      const summary = await retargeter.whenSettled()
      const now = await this.#tracking.findAppliance()
      if (now.id === place.id) return summary
      this.#report.moved({ from: place, to: now })
      place = now
    }
  }

  #judge({ counts }: RetargetSummary): void {
    if (counts.vms === 0) throw noVm()
    const open = this.#tracking.retargeter.status.nextHopsOpen
    const faults = [
      ...(counts.stuck > 0 ? [`${counts.stuck} VMs could not be re-pointed`] : []),
      ...(this.#unfit.length > 0 ? [`${this.#unfit.length} ports cannot be pointed anywhere`] : []),
      ...(open > 0 ? [`${open} peer relays could not be told`] : []),
    ]
    if (faults.length > 0) throw new CommandExit(EXIT.other, faults.join(', '))
  }

  async #follow(): Promise<void> {
    exitOnFault(noteLog)
    const told = Promise.race([untilToldToStop(noteLog), onHangup(() => this.#tracking.check())])
    // Mistakes that time does not heal show at once; while the server is away there is nothing to do but wait.
    const opened = this.#tracking.open().catch((error: unknown) => {
      if (!(error instanceof VspcError) || !error.retryable) throw error
      // We are the ones who have ended it.
      if (error.code === 'VSPC_SERVER_STOPPING') return
      this.#tracking.report(failureOf(error))
    })
    if ((await Promise.race([opened, told.then(() => 'told')])) === 'told') return
    this.#tracking.start()
    await told
  }
}

function noVm(): VspcError {
  return new VspcError('VSPC_VSPHERE_NOT_FOUND', 'no VM fits --vms, or the user may see none of them')
}
