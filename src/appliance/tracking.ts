/**
 * Following the appliance, and re-pointing VMs when it moves, as one object that runs: what `vspc serve` and
 * `vspc track` own. It does everything on its own time, tells what happens as events, and fails nobody: what cannot be
 * done is told and tried again.
 */
import { cleanText, errorMessage, VspcError } from '../base/index.ts'
import {
  ApplianceHost,
  type ApplianceMove,
  type CannotStep,
  type Failure,
  failureOf,
  type HostPlace,
  type NextHopChange,
  type RetargetEvent,
  Retargeter,
  type RetargetOptions,
  readPlan,
  selects,
  type VmName,
  type VmPorts,
  wantedFacts,
} from '../vmotion/index.ts'
import { type LoginGuard, readSetting, VsphereInventory, type VsphereSession } from '../vsphere/index.ts'
import { connectVsphere } from './access.ts'
import type { PlanReport, TrackedVmInfo, TrackingEvent, TrackingOptions, TrackingStatus } from './tracking-types.ts'
import { type TroubleSource, Troubles } from './troubles.ts'

const PERSIST_SETTING = 'config.vpxd.SerialPort.PersistNetworkBacking'

/** The owner calls `stop` at the end. Nothing happens before `start`, or one of the calls that ask the server. */
export class Tracking {
  /** Of those who steer it themselves, as `vspc track --once` does. */
  readonly retargeter: Retargeter
  readonly #options: TrackingOptions
  readonly #inventory: VsphereInventory
  readonly #follower: ApplianceHost
  readonly #troubles = new Troubles()
  /** What failed for single VMs and peers, as told last. */
  readonly #told = new Map<string, string>()
  /** Why VMs cannot be changed, by id. */
  readonly #cannot = new Map<string, string>()
  /** Calls of our own, as against those of the tracker. */
  readonly #stopping = new AbortController()
  /** As known last: it is never re-pointed itself. */
  #own: VmName | null = null
  #connected = false
  #stopped: Promise<readonly VmName[]> | null = null

  constructor(options: TrackingOptions) {
    this.#options = options
    const { clock, random, appliance, nextHops } = options
    this.#inventory = new VsphereInventory({
      clock,
      connect: (signal, guard) => this.#connect(signal, guard),
      onTrouble: (error) => this.#trouble('news', failureOf(error)),
      onWell: () => this.#well('news'),
    })
    this.retargeter = new Retargeter({
      ...this.#retargetOptions(),
      clock,
      random,
      pusher: nextHops,
      onEvent: (event) => this.#retargeted(event),
    })
    this.#follower = new ApplianceHost({
      inventory: this.#inventory,
      selector: appliance,
      clock,
      random,
      onMove: (move) => this.#moved(move),
      onTrouble: (failure) => this.#trouble('appliance', failure),
      onWell: () => this.#well('appliance'),
    })
  }

  /** Follows the appliance from now on. */
  start(): void {
    this.#follower.start()
  }

  /**
   * VMs that are being changed are brought to their end, at most for `graceMs`. Never fails; calling it again waits for
   * the same end.
   * @returns VMs that may be disconnected, because that was too short.
   */
  stop(graceMs?: number): Promise<readonly VmName[]> {
    this.#stopped ??= this.#stop(graceMs)
    return this.#stopped
  }

  /** Looks at all VMs again, without a move. */
  check(): void {
    this.retargeter.check()
  }

  get status(): TrackingStatus {
    const { vm, host, since, moves } = this.#follower.status
    const reachable = this.#connected && !this.#troubles.some(({ kind }) => kind === 'transient')
    const trouble = this.#troubles.first
    return { vm: vm ?? this.#own, host, since, moves, trouble, reachable, retarget: this.retargeter.status }
  }

  /** VMs that are not right, by name; without those that have no serial port to be re-pointed. */
  wrongVms(): TrackedVmInfo[] {
    return this.retargeter
      .vms()
      .filter(({ vm, uuid, state }) => state !== 'right' && (state !== 'cannot' || this.#cannot.has(uuid ?? vm)))
      .map(({ vm, uuid, state, failure, attempts }) => {
        const reason = state === 'cannot' ? this.#cannot.get(uuid ?? vm) : failure?.message
        return { vm, uuid, state, reason: reason ?? null, attempts }
      })
  }

  /**
   * Logs in, unless that is done; for those who want to know at once whether it works.
   * @throws VspcError as {@link connectVsphere}.
   */
  async open(): Promise<void> {
    await this.session(this.#stopping.signal)
  }

  /**
   * The one session, for others that need one: it ends with `stop`.
   * @throws VspcError as {@link connectVsphere}; the signal's reason.
   */
  session(signal: AbortSignal): Promise<VsphereSession> {
    return this.#inventory.session({ signal })
  }

  /** Takes the failure of {@link open} for one of its own. */
  report(failure: Failure): void {
    this.#trouble('appliance', failure)
  }

  /** What would be done now. Changes nothing. @throws VspcError VSPC_VSPHERE_*, VSPC_ENDPOINT_SYNTAX; the signal's reason. */
  async readPlan(signal: AbortSignal = this.#stopping.signal): Promise<PlanReport> {
    const any = AbortSignal.any([signal, this.#stopping.signal])
    const { proxyURI, nextHops } = this.#options
    const place = await this.findAppliance(any)
    const steps = await readPlan(this.#retargetOptions(), place, any)
    const filled = proxyURI(place)
    return {
      place,
      proxyURI: 'uri' in filled ? filled.uri : '',
      steps,
      nextHops: nextHops === null ? [] : planned(() => nextHops.changes(place)),
    }
  }

  /** Where the appliance is now. @throws VspcError VSPC_VSPHERE_*; the signal's reason. */
  async findAppliance(signal: AbortSignal = this.#stopping.signal): Promise<HostPlace> {
    const { appliance } = this.#options
    const shown = cleanText(appliance, 100)
    const known = this.#ownVm?.instanceUuid ?? appliance
    const [vm, ...others] = await this.#inventory.findVms(known, { signal })
    if (vm === undefined) {
      throw new VspcError(
        'VSPC_VSPHERE_NOT_FOUND',
        `the appliance's VM '${shown}' is not there, or the user may not see it; check its name`,
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

  async #stop(graceMs: number | undefined): Promise<readonly VmName[]> {
    this.#follower.stop()
    const halfDone = await this.retargeter.stop(graceMs)
    this.#stopping.abort(new VspcError('VSPC_SERVER_STOPPING', 'the tracker stops'))
    await this.#inventory.close()
    return halfDone
  }

  async #connect(signal: AbortSignal, guard: LoginGuard): Promise<VsphereSession> {
    const { access, clock, log } = this.#options
    const session = await connectVsphere(access, { signal, clock, log, guard })
    if (!this.#connected) {
      this.#connected = true
      if (session.about.isVcenter) void this.#checkSetting(session, signal)
      else this.#hint(`${session.url} is a single host: it does not tell where the appliance moves to`)
    }
    return session
  }

  async #checkSetting(session: VsphereSession, signal: AbortSignal): Promise<void> {
    try {
      if ((await readSetting(session, PERSIST_SETTING, { signal })) === 'true') return
      this.#hint(`vCenter forgets these serial ports when it restarts, unless ${PERSIST_SETTING} is true`)
    } catch {
      // The user may not read settings, and need not: it is only a hint.
    }
  }

  #retargetOptions(): RetargetOptions {
    const { terms, choice, proxyURI } = this.#options
    return {
      inventory: this.#inventory,
      selects: (vm) => !this.#isOwn(vm) && selects(terms, vm),
      wanted: wantedFacts(terms),
      choice,
      proxyURI,
    }
  }

  get #ownVm(): VmName | null {
    return this.#follower.status.vm ?? this.#own
  }

  #isOwn({ id, instanceUuid }: VmPorts): boolean {
    const own = this.#ownVm
    return own !== null && (id === own.id || (instanceUuid !== null && instanceUuid === own.instanceUuid))
  }

  #moved(move: ApplianceMove): void {
    this.#own = this.#follower.status.vm ?? this.#own
    this.#well('appliance')
    this.#tell({ kind: 'moved', move })
    this.retargeter.point(move.to)
  }

  #retargeted(event: RetargetEvent): void {
    const news = this.#isNews(event)
    switch (event.kind) {
      case 'target':
        this.#well('next-hops')
        this.#well('target')
        break
      case 'no-target':
        this.#well('next-hops')
        this.#trouble('target', { kind: 'refused', message: event.message })
        break
      case 'no-next-hop':
        this.#trouble('next-hops', event.failure)
        break
      case 'list-failed':
        this.#trouble('vms', event.failure)
        break
      case 'failed':
        if (event.failure.kind === 'transient') this.#trouble('vms', event.failure)
        break
      case 'listed':
      case 'changed':
        this.#well('vms')
        break
      case 'cannot':
        this.#keepReason(event.vm, event.steps)
        break
      case 'forgotten':
        this.#cannot.delete(vmKey(event.vm))
        break
      default:
    }
    this.#tell({ kind: 'retarget', event, news })
  }

  /** A VM without serial port is none that somebody would have to look at. */
  #keepReason(vm: VmName, steps: readonly CannotStep[]): void {
    const reasons = steps.filter(({ why }) => why !== 'no-port').map(({ message }) => message)
    if (reasons.length === 0) this.#cannot.delete(vmKey(vm))
    else this.#cannot.set(vmKey(vm), reasons.join('; '))
  }

  /** Whether what failed has not failed the same way before. */
  #isNews(event: RetargetEvent): boolean {
    const told = this.#told
    switch (event.kind) {
      case 'target':
        told.clear()
        return true
      case 'changed':
      case 'forgotten':
        told.delete(vmKey(event.vm))
        return true
      case 'pushed':
        told.delete(event.change.peer)
        return true
      case 'failed':
        // What concerns the whole server is told as a trouble, not VM by VM.
        return event.failure.kind !== 'transient' && this.#isNew(vmKey(event.vm), event.failure.message)
      case 'push-failed':
        return this.#isNew(event.change.peer, event.failure.message)
      case 'listed':
        return this.#isNew('', `${event.counts.vms === 0}`)
      default:
        return true
    }
  }

  #isNew(key: string, message: string): boolean {
    if (this.#told.get(key) === message) return false
    this.#told.set(key, message)
    return true
  }

  #trouble(source: TroubleSource, failure: Failure): void {
    if (this.#troubles.add(source, failure, this.#options.clock.wall()))
      this.#tell({ kind: 'trouble', source, failure })
  }

  #well(source: TroubleSource): void {
    if (this.#troubles.end(source)) this.#tell({ kind: 'well' })
  }

  #hint(message: string): void {
    this.#tell({ kind: 'hint', message })
  }

  #tell(event: TrackingEvent): void {
    this.#options.onEvent(event)
  }
}

/** Names are not unique, but what has no UUID has nothing better to go by outside of the inventory. */
function vmKey({ instanceUuid, name }: VmName): string {
  return instanceUuid ?? name
}

function planned(changes: () => readonly NextHopChange[]): PlanReport['nextHops'] {
  try {
    return changes()
  } catch (error) {
    return { problem: errorMessage(error) }
  }
}
