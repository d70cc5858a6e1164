/** Following the appliance as a part of the server: what it logs, counts and tells as events. */
import {
  ownSerial,
  type TrackConfig,
  Tracking,
  type TrackingEvent,
  type TrackingStatus,
  type TroubleSource,
  trackingPlan,
  type VsphereAccess,
} from '../appliance/index.ts'
import { type Clock, errorMessage, type Logger } from '../base/index.ts'
import type { ApplianceMove, RetargetEvent, RetargetSummary } from '../vmotion/index.ts'
import type { VsphereSession } from '../vsphere/index.ts'
import {
  type ApplianceEvent,
  type ApplianceInfo,
  applianceInfo,
  hostInfo,
  isoTime,
  type PlanInfo,
  repointedPort,
  shown,
  vmRef,
} from './appliance-view.ts'
import { PlanReader } from './plan-reader.ts'

const OWN_HINT = 'name it as track.appliance in the configuration: name, inventory path or UUID of the VM'

const TRIED_AGAIN = 'following the appliance meets with trouble; it is tried again'
const TROUBLE: Readonly<Record<TroubleSource, string>> = {
  appliance: TRIED_AGAIN,
  news: TRIED_AGAIN,
  vms: TRIED_AGAIN,
  target: 'no VM is re-pointed: there is no address of a relay on the host of the appliance',
  'next-hops': 'no peer relay is told its next hop: there is no address for the host of the appliance',
}

export interface TrackerOptions {
  readonly track: TrackConfig
  readonly access: VsphereAccess
  readonly clock: Clock
  readonly log: Logger
  /** From 0 to 1. */
  readonly random: () => number
}

/** Since the start. */
export interface TrackerCounters {
  /** VMs re-pointed. */
  changed: number
  /** Attempts that failed. */
  failed: number
}

/** The owner calls `start` once, and `stop` at the end. Neither waits for vCenter; nothing is thrown but by `readPlan`. */
export class ApplianceTracker {
  readonly counters: TrackerCounters = { changed: 0, failed: 0 }
  readonly #options: TrackerOptions
  readonly #tracking: Tracking
  readonly #plans: PlanReader
  readonly #subscribers = new Set<(event: ApplianceEvent) => void>()

  /** @throws VspcError VSPC_USAGE where nobody says which VM the appliance is. */
  constructor(options: TrackerOptions) {
    this.#options = options
    const { track, access, clock, log, random } = options
    this.#tracking = new Tracking({
      ...trackingPlan(track, track.appliance ?? ownSerial(OWN_HINT)),
      access,
      clock,
      random,
      log,
      onEvent: (event) => this.#take(event),
    })
    this.#plans = new PlanReader(this.#tracking, clock)
  }

  get status(): TrackingStatus {
    return this.#tracking.status
  }

  get info(): ApplianceInfo {
    return applianceInfo(this.#tracking.status, this.#tracking.wrongVms())
  }

  /** The one session with vSphere, until `stop`. @throws VspcError VSPC_VSPHERE_*, ...; the signal's reason. */
  session(signal: AbortSignal): Promise<VsphereSession> {
    return this.#tracking.session(signal)
  }

  start(): void {
    this.#tracking.start()
  }

  /** VMs that are being changed get `graceMs`. Never fails. */
  async stop(graceMs: number): Promise<void> {
    const halfDone = await this.#tracking.stop(graceMs)
    if (halfDone.length === 0) return
    const vms = halfDone.slice(0, 20).map((vm) => vmRef(vm).name)
    this.#options.log.warn(
      { vms, count: halfDone.length },
      'stopped before serial ports that were disconnected could be connected again; the next start does that',
    )
  }

  /** Looks at all VMs again, soon. */
  check(): void {
    this.#tracking.check()
  }

  /** What would be changed now. @throws VspcError VSPC_VSPHERE_*, VSPC_WAIT_TIMEOUT, ... */
  readPlan(): Promise<PlanInfo> {
    return this.#plans.read()
  }

  /** Calls `subscriber` with every event from now on; the returned function ends that. */
  subscribe(subscriber: (event: ApplianceEvent) => void): () => void {
    this.#subscribers.add(subscriber)
    return () => this.#subscribers.delete(subscriber)
  }

  /** What readers of events, or a log, make of it must not end what is being done. */
  #take(event: TrackingEvent): void {
    try {
      this.#tell(event)
    } catch (error) {
      this.#options.log.error({ event: event.kind, error: errorMessage(error) }, 'telling of the appliance failed')
    }
  }

  #tell(event: TrackingEvent): void {
    const { log } = this.#options
    switch (event.kind) {
      case 'moved':
        this.#moved(event.move)
        break
      case 'trouble': {
        const message = shown(event.failure.message)
        log.error({ reason: message }, TROUBLE[event.source])
        this.#emit((at) => ({ type: 'appliance-trouble', at, message }))
        break
      }
      case 'well':
        log.info({}, 'following the appliance: all is well again')
        this.#emit((at) => ({ type: 'appliance-well', at }))
        break
      case 'hint':
        log.warn({}, shown(event.message))
        break
      case 'retarget':
        this.#retargeted(event.event, event.news)
        break
      default:
        event satisfies never
    }
  }

  #moved(move: ApplianceMove): void {
    const to = hostInfo(move.to)
    const from = move.from === null ? null : hostInfo(move.from)
    const fields = { host: to.name, ...(from === null ? {} : { from: from.name }), managementIps: to.managementIps }
    this.#options.log.info(fields, from === null ? "the appliance's host is known" : 'the appliance has moved')
    this.#emit((at) => ({ type: 'appliance-moved', at, from, to }))
  }

  #retargeted(event: RetargetEvent, news: boolean): void {
    const { log } = this.#options
    switch (event.kind) {
      case 'target':
        log.info({ host: hostInfo(event.place).name, proxyURI: event.proxyURI }, 'VMs are pointed at the relay there')
        break
      case 'no-target':
      case 'no-next-hop':
        // Told as a trouble.
        break
      case 'listed':
        if (event.counts.vms === 0 && news) log.warn({}, 'there is no VM to re-point: none fits track.vms')
        break
      case 'list-failed':
        this.counters.failed++
        break
      case 'changed': {
        this.counters.changed++
        const [vm, ports] = [vmRef(event.vm), event.steps.map(repointedPort)]
        log.debug({ vm: vm.name, ports }, 'VM re-pointed')
        this.#emit((at) => ({ type: 'vm-repointed', at, vm, ports }))
        break
      }
      case 'cannot': {
        // A VM without serial port is not meant, and of no interest.
        if (event.steps.every(({ why }) => why === 'no-port')) break
        const message = shown(event.steps.map((step) => step.message).join('; '))
        this.#failed(event, message, 0, false)
        break
      }
      case 'failed':
        this.counters.failed++
        if (news) this.#failed(event, shown(event.failure.message), event.attempts, true)
        break
      case 'forgotten':
        break
      case 'pushed': {
        const { peer, endpoint } = event.change
        log.info({ peer, endpoint }, 'the peer relay knows its next hop')
        this.#emit((at) => ({ type: 'next-hop-set', at, peer, endpoint }))
        break
      }
      case 'push-failed': {
        this.counters.failed++
        if (!news) break
        const { peer, endpoint } = event.change
        const [message, { attempts }] = [shown(event.failure.message), event]
        log.warn(
          { peer, endpoint, reason: message },
          'the peer relay could not be told its next hop; it is tried again',
        )
        this.#emit((at) => ({ type: 'next-hop-failed', at, peer, endpoint, message, attempts }))
        break
      }
      case 'settled':
        this.#settled(event.summary)
        break
      default:
        event satisfies never
    }
  }

  #failed(
    event: RetargetEvent & { kind: 'cannot' | 'failed' },
    message: string,
    attempts: number,
    again: boolean,
  ): void {
    const vm = vmRef(event.vm)
    const what = again ? 'VM could not be re-pointed; it is tried again' : 'VM cannot be re-pointed'
    this.#options.log.warn({ vm: vm.name, reason: message }, what)
    this.#emit((at) => ({ type: 'vm-repoint-failed', at, vm, message, attempts, again }))
  }

  #settled({ place, proxyURI, counts, changed, ms: exact }: RetargetSummary): void {
    const [host, ms] = [hostInfo(place).name, Math.round(exact)]
    const { vms, right, cannot, stuck } = counts
    const wrong = { ...(cannot > 0 ? { cannot } : {}), ...(stuck > 0 ? { stuck } : {}) }
    this.#options.log.info({ host, proxyURI, vms, right, changed, ...wrong, ms }, 're-pointing has settled')
    this.#emit((at) => ({ type: 'repoint-settled', at, host, proxyURI, counts, changed, ms }))
  }

  #emit(make: (at: string) => ApplianceEvent): void {
    if (this.#subscribers.size === 0) return
    const event = make(isoTime(this.#options.clock.wall()))
    for (const subscriber of this.#subscribers) subscriber(event)
  }
}
