/** Runs `vspc track`: a plan, once, or until told to stop. */
import { cleanText, type Logger, silentLogger, VspcError } from '../base/index.ts'
import {
  ApplianceHost,
  type CannotStep,
  type Filled,
  failureOf,
  type HostPlace,
  type NextHopPusher,
  type PortChoice,
  Retargeter,
  type RetargetOptions,
  type RetargetSummary,
  readPlan,
  selects,
  type VmName,
  type VmPorts,
  type VmTerm,
  wantedFacts,
} from '../vmotion/index.ts'
import { readSetting, VsphereInventory, type VsphereSession } from '../vsphere/index.ts'
import { CommandExit, EXIT } from './exit-codes.ts'
import { exitOnInterrupt } from './interrupt.ts'
import { liveClock } from './live-clock.ts'
import { printNote } from './output.ts'
import { exitOnFault, onHangup, stayAlive, untilToldToStop } from './signals.ts'
import { planned, printPlan, TrackReport } from './track-report.ts'
import { connectVsphere, passwordFileWarning, type VsphereAccess } from './vsphere-options.ts'

export interface TrackJob {
  readonly access: VsphereAccess
  /** Name, inventory path or UUID. */
  readonly appliance: string
  readonly terms: readonly VmTerm[]
  readonly choice: PortChoice
  readonly proxyURI: (place: HostPlace) => Filled
  readonly nextHops: NextHopPusher | null
  readonly mode: 'plan' | 'once' | 'follow'
  /** Of `once`. */
  readonly timeoutMs: number
  readonly json: boolean
}

const PERSIST_SETTING = 'config.vpxd.SerialPort.PersistNetworkBacking'

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
  readonly #inventory: VsphereInventory
  /** Calls of our own, as against those of the tracker. */
  readonly #stop = new AbortController()
  /** As known last: it is never re-pointed itself. */
  #own: VmName | null = null
  #warned = false

  constructor(job: TrackJob) {
    this.#job = job
    this.#report = new TrackReport(job.json, liveClock.wall)
    this.#inventory = new VsphereInventory({
      clock: liveClock,
      connect: (signal) => this.#connect(signal),
      onTrouble: (error) => this.#report.trouble('news', failureOf(error)),
      onWell: () => this.#report.well('news'),
    })
  }

  async run(): Promise<void> {
    const alive = stayAlive()
    try {
      if (this.#job.mode === 'plan') await this.#plan()
      else if (this.#job.mode === 'once') await this.#once()
      else await this.#follow()
    } finally {
      this.#stop.abort(new VspcError('VSPC_SERVER_STOPPING', 'the tracker stops'))
      await this.#inventory.close()
      alive.end()
    }
  }

  async #connect(signal: AbortSignal): Promise<VsphereSession> {
    const session = await connectVsphere(this.#job.access, { signal, clock: liveClock, log: noteLog })
    if (!this.#warned) {
      this.#warned = true
      if (session.about.isVcenter) void this.#checkSetting(session, signal)
      else printNote(`warning: ${session.url} is a single host: it does not tell where the appliance moves to`)
    }
    return session
  }

  async #checkSetting(session: VsphereSession, signal: AbortSignal): Promise<void> {
    try {
      if ((await readSetting(session, PERSIST_SETTING, { signal })) === 'true') return
      printNote(`warning: vCenter forgets these serial ports when it restarts, unless ${PERSIST_SETTING} is true`)
    } catch {
      // The user may not read settings, and need not: it is only a hint.
    }
  }

  async #plan(): Promise<void> {
    exitOnInterrupt()
    const { signal } = this.#stop
    const { nextHops, proxyURI, json } = this.#job
    const place = await this.#findAppliance()
    const steps = await readPlan(this.#retargetOptions(), place, signal)
    if (steps.length === 0) throw noVm()
    const filled = proxyURI(place)
    const hops = nextHops === null ? [] : planned(() => nextHops.changes(place))
    printPlan({ place, proxyURI: 'uri' in filled ? filled.uri : '', steps, nextHops: hops }, json)
  }

  async #once(): Promise<void> {
    const { timeoutMs } = this.#job
    const unfit: CannotStep[] = []
    const retargeter = this.#retargeter((steps) => unfit.push(...steps.filter(({ why }) => why !== 'no-port')))
    const stopped = Promise.race([untilToldToStop(silentLogger), onHangup(() => retargeter.check())]).then(() => {
      throw new CommandExit(EXIT.interrupted, 'stopped before all VMs were in line')
    })
    let cancel = (): void => {}
    const tooLong = new Promise<never>((_resolve, reject) => {
      const text = `not all is in line after ${timeoutMs / 1_000} s`
      cancel = liveClock.after(timeoutMs, () => reject(new VspcError('VSPC_WAIT_TIMEOUT', text))).cancel
    })
    try {
      const summary = await Promise.race([this.#settle(retargeter), stopped, tooLong])
      this.#judge(summary, unfit, retargeter)
    } finally {
      cancel()
      await retargeter.stop()
    }
  }

  /** Should the appliance move meanwhile, until that is in line, too. */
  async #settle(retargeter: Retargeter): Promise<RetargetSummary> {
    const { proxyURI } = this.#job
    let place = await this.#findAppliance()
    this.#report.moved({ from: null, to: place })
    for (;;) {
      const filled = proxyURI(place)
      if ('problem' in filled) throw new VspcError('VSPC_ENDPOINT_SYNTAX', filled.problem)
      retargeter.point(place)
      const summary = await retargeter.whenSettled()
      const now = await this.#findAppliance()
      if (now.id === place.id) return summary
      this.#report.moved({ from: place, to: now })
      place = now
    }
  }

  #judge({ counts }: RetargetSummary, unfit: readonly CannotStep[], retargeter: Retargeter): void {
    if (counts.vms === 0) throw noVm()
    const open = retargeter.status.nextHopsOpen
    const faults = [
      ...(counts.stuck > 0 ? [`${counts.stuck} VMs could not be re-pointed`] : []),
      ...(unfit.length > 0 ? [`${unfit.length} ports cannot be pointed anywhere`] : []),
      ...(open > 0 ? [`${open} peer relays could not be told`] : []),
    ]
    if (faults.length > 0) throw new CommandExit(EXIT.other, faults.join(', '))
  }

  async #follow(): Promise<void> {
    exitOnFault(noteLog)
    let look = (): void => {}
    const told = Promise.race([untilToldToStop(noteLog), onHangup(() => look())])
    // Mistakes that time does not heal show at once; while the server is away there is nothing to do but wait.
    const connected = this.#inventory.session({ signal: this.#stop.signal }).catch((error: unknown) => {
      if (!(error instanceof VspcError) || !error.retryable) throw error
      this.#report.trouble('appliance', failureOf(error))
    })
    if ((await Promise.race([connected, told.then(() => 'told')])) === 'told') return
    const retargeter = this.#retargeter()
    const follower = new ApplianceHost({
      inventory: this.#inventory,
      selector: this.#job.appliance,
      clock: liveClock,
      random: Math.random,
      onMove: (move) => {
        this.#own = follower.status.vm ?? this.#own
        this.#report.moved(move)
        retargeter.point(move.to)
      },
      onTrouble: (failure) => this.#report.trouble('appliance', failure),
      onWell: () => this.#report.well('appliance'),
    })
    look = () => retargeter.check()
    follower.start()
    await told
    follower.stop()
    await retargeter.stop()
  }

  #retargeter(onCannot: (steps: readonly CannotStep[]) => void = () => {}): Retargeter {
    return new Retargeter({
      ...this.#retargetOptions(),
      clock: liveClock,
      random: Math.random,
      pusher: this.#job.nextHops,
      onEvent: (event) => {
        if (event.kind === 'cannot') onCannot(event.steps)
        this.#report.retarget(event)
      },
    })
  }

  #retargetOptions(): RetargetOptions {
    const { terms, choice, proxyURI } = this.#job
    return {
      inventory: this.#inventory,
      selects: (vm) => !this.#isOwn(vm) && selects(terms, vm),
      wanted: wantedFacts(terms),
      choice,
      proxyURI,
    }
  }

  #isOwn({ id, instanceUuid }: VmPorts): boolean {
    const own = this.#own
    return own !== null && (id === own.id || (instanceUuid !== null && instanceUuid === own.instanceUuid))
  }

  async #findAppliance(): Promise<HostPlace> {
    const { signal } = this.#stop
    const { appliance } = this.#job
    const shown = cleanText(appliance, 100)
    const [vm, ...others] = await this.#inventory.findVms(this.#own?.instanceUuid ?? appliance, { signal })
    if (vm === undefined) {
      throw new VspcError(
        'VSPC_VSPHERE_NOT_FOUND',
        `the appliance's VM '${shown}' is not there, or the user may not see it: check --appliance`,
      )
    }
    if (others.length > 0) {
      const text = `'${shown}' means ${others.length + 1} VMs; name the appliance by its instance UUID`
      throw new VspcError('VSPC_VSPHERE_AMBIGUOUS', text)
    }
    this.#own = vm
    const place = await this.#inventory.readPlace(vm, { signal })
    if (place === null) throw new VspcError('VSPC_VSPHERE_STATE', `the appliance's VM ${shown} has no host just now`)
    return place
  }
}

function noVm(): VspcError {
  return new VspcError('VSPC_VSPHERE_NOT_FOUND', 'no VM fits --vms, or the user may see none of them')
}
