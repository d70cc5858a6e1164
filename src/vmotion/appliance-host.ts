/**
 * Follows the ESXi host that the appliance runs on: {@link ApplianceMachine} decides, this performs it over an Inventory
 * and a clock. A move is announced once, however often it is told, and in whatever way the server gets lost meanwhile.
 */
import { Backoff, type Clock, cleanText, type Timer, VspcError } from '../base/index.ts'
import { ApplianceMachine, type ApplianceMove, type ApplianceOwner, type ApplianceTimer } from './appliance-machine.ts'
import type { ApplianceState } from './appliance-states.ts'
import { type Failure, failureOf, type HostPlace, type Inventory, type VmName } from './inventory.ts'
import { within } from './within.ts'

/** Milliseconds. */
export interface ApplianceTimes {
  /** From news to the look where the appliance is: a VM that is moved to and fro meanwhile has not moved. */
  readonly settleMs: number
  /** How often to look without news: bounds how long a deaf feed hides a move. */
  readonly resyncMs: number
  /** First and longest pause before the server is asked again. */
  readonly retryMinMs: number
  readonly retryMaxMs: number
  /** One call. */
  readonly callMs: number
}

export const APPLIANCE_TIMES: ApplianceTimes = {
  settleMs: 100,
  resyncMs: 180_000,
  retryMinMs: 500,
  retryMaxMs: 15_000,
  callMs: 60_000,
}

export interface ApplianceHostOptions {
  readonly inventory: Inventory
  /** Name, inventory path or UUID of the appliance's VM. */
  readonly selector: string
  readonly clock: Clock
  /** From 0 to 1, for the spread of pauses. */
  readonly random: () => number
  readonly times?: Partial<ApplianceTimes>
  /** As the two below, called at once and must not throw. */
  readonly onMove: (move: ApplianceMove) => void
  /** Something is wrong; the last known place stands, and it is tried again by itself. */
  readonly onTrouble?: (failure: Failure) => void
  readonly onWell?: () => void
}

/** For people and programs. */
export interface ApplianceStatus {
  readonly state: ApplianceState
  readonly vm: VmName | null
  readonly host: HostPlace | null
  /** Wall clock: when it was seen there first. */
  readonly since: number | null
  /** Announced after the first place. */
  readonly moves: number
  readonly trouble: Failure | null
}

/** The owner calls `start` once, and `stop` at the end. */
export class ApplianceHost {
  readonly #options: ApplianceHostOptions
  readonly #times: ApplianceTimes
  readonly #backoff: Backoff
  readonly #machine: ApplianceMachine
  readonly #timers = new Map<ApplianceTimer, Timer>()
  #feed: AbortController | null = null
  #reading: AbortController | null = null
  #feedSince: number | null = null
  #since: number | null = null
  #moves = 0

  constructor(options: ApplianceHostOptions) {
    this.#options = options
    this.#times = { ...APPLIANCE_TIMES, ...options.times }
    const { retryMinMs, retryMaxMs } = this.#times
    this.#backoff = new Backoff({ redialMinMs: retryMinMs, redialMaxMs: retryMaxMs }, options.random)
    this.#machine = new ApplianceMachine(this.#owner())
  }

  start(): void {
    this.#machine.start()
  }

  /** Nothing is told any more. */
  stop(): void {
    this.#machine.stop()
  }

  get status(): ApplianceStatus {
    const { state, vm, announced, trouble } = this.#machine
    return { state, vm, host: announced, since: this.#since, moves: this.#moves, trouble }
  }

  #owner(): ApplianceOwner {
    const { onTrouble, onWell } = this.#options
    return {
      search: (remembered) => this.#search(remembered),
      openFeed: (vm) => this.#openFeed(vm),
      closeFeed: () => {
        this.#feed?.abort(dropped())
        this.#feed = null
      },
      read: (vm) => this.#read(vm),
      dropRead: () => {
        this.#reading?.abort(dropped())
        this.#reading = null
      },
      arm: (timer) => this.#arm(timer),
      disarm: () => {
        for (const timer of this.#timers.values()) timer.cancel()
        this.#timers.clear()
      },
      moved: (move) => this.#moved(move),
      trouble: (failure) => onTrouble?.(failure),
      well: () => onWell?.(),
    }
  }

  #arm(timer: ApplianceTimer): void {
    this.#timers.get(timer)?.cancel()
    const { settleMs, resyncMs } = this.#times
    const ms = timer === 'settle' ? settleMs : timer === 'resync' ? resyncMs : this.#retryMs()
    this.#timers.set(
      timer,
      this.#options.clock.after(ms, () => this.#machine.due(timer)),
    )
  }

  /** A feed that was open for longer than the longest pause proves that it was not opened in vain. */
  #retryMs(): number {
    const { clock } = this.#options
    if (this.#feedSince !== null && clock.now() - this.#feedSince > this.#times.retryMaxMs) this.#backoff.reset()
    this.#feedSince = null
    return this.#backoff.next()
  }

  #moved(move: ApplianceMove): void {
    this.#since = this.#options.clock.wall()
    if (move.from !== null) this.#moves++
    this.#options.onMove(move)
  }

  #search(remembered: string | null): void {
    this.#ask(
      "looking for the appliance's VM",
      (signal) => this.#find(remembered, signal),
      (found) => this.#judge(found),
      (failure) => this.#machine.notFound(failure),
    )
  }

  async #find(remembered: string | null, signal: AbortSignal): Promise<readonly VmName[]> {
    const { inventory, selector } = this.#options
    const again = remembered === null ? [] : await inventory.findVms(remembered, { signal })
    return again.length === 1 ? again : inventory.findVms(selector, { signal })
  }

  #judge(found: readonly VmName[]): void {
    const [vm, ...others] = found
    if (vm !== undefined && others.length === 0) {
      this.#machine.found(vm)
      return
    }
    const shown = cleanText(this.#options.selector, 100)
    this.#machine.notFound(
      vm === undefined
        ? { kind: 'gone', message: `the appliance's VM '${shown}' is not there, or the user may not see it` }
        : { kind: 'refused', message: `'${shown}' means ${found.length} VMs; name the appliance by its instance UUID` },
    )
  }

  #read(vm: VmName): void {
    const { inventory } = this.#options
    this.#ask(
      'reading where the appliance is',
      (signal) => inventory.readPlace(vm, { signal }),
      (place) => this.#machine.read(place),
      (failure) => this.#machine.readFailed(failure),
    )
  }

  #ask<T>(
    doing: string,
    call: (signal: AbortSignal) => Promise<T>,
    answered: (value: T) => void,
    failed: (failure: Failure) => void,
  ): void {
    const { clock } = this.#options
    const asking = new AbortController()
    this.#reading = asking
    within({ clock, signal: asking.signal, timeoutMs: this.#times.callMs, doing }, call).then(
      (value) => {
        if (this.#reading !== asking) return
        this.#reading = null
        answered(value)
      },
      (error: unknown) => {
        if (this.#reading !== asking) return
        this.#reading = null
        failed(failureOf(error))
      },
    )
  }

  #openFeed(vm: VmName): void {
    const feed = new AbortController()
    this.#feed = feed
    this.#feedSince = this.#options.clock.now()
    this.#listen(vm, feed).then(
      () => this.#feedEnded(feed, new VspcError('VSPC_VSPHERE_SESSION', 'the feed of news ended')),
      (error: unknown) => this.#feedEnded(feed, error),
    )
  }

  async #listen(vm: VmName, feed: AbortController): Promise<void> {
    for await (const hostId of this.#options.inventory.followPlace(vm, { signal: feed.signal })) {
      if (this.#feed !== feed) return
      this.#machine.told(hostId)
    }
  }

  #feedEnded(feed: AbortController, error: unknown): void {
    if (this.#feed !== feed) return
    this.#feed = null
    this.#machine.feedFailed(failureOf(error))
  }
}

function dropped(): VspcError {
  return new VspcError('VSPC_VSPHERE_SESSION', 'no longer of interest')
}
