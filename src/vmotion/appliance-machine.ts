/** Applies events to the table of following the appliance, keeps what is known of it, and tells its owner what to do. */
import {
  type ApplianceAction,
  type ApplianceEvent,
  type ApplianceState,
  applianceTransition,
} from './appliance-states.ts'
import type { Failure, HostPlace, VmName } from './inventory.ts'

/** The appliance runs on another host than was last announced, or its host has other names or addresses. */
export interface ApplianceMove {
  /** Null: the first place known. */
  readonly from: HostPlace | null
  readonly to: HostPlace
}

export type ApplianceTimer = 'settle' | 'resync' | 'retry'

/**
 * Performs what the table decides. Every method runs inside a call of the machine, in the order of the cell, and reports
 * back later, never from inside.
 */
export interface ApplianceOwner {
  /** @param remembered instance UUID of the VM that was the appliance before, to be tried first. */
  search(remembered: string | null): void
  openFeed(vm: VmName): void
  closeFeed(): void
  read(vm: VmName): void
  /** Of readings, and of searches. */
  dropRead(): void
  arm(timer: ApplianceTimer): void
  disarm(): void
  moved(move: ApplianceMove): void
  /** Once until it is well again, or something else is wrong. */
  trouble(failure: Failure): void
  well(): void
}

const NO_HOST: Failure = { kind: 'busy', message: "the appliance's VM has no host just now" }

export class ApplianceMachine {
  readonly #owner: ApplianceOwner
  #state: ApplianceState = 'STOPPED'
  #vm: VmName | null = null
  #remembered: string | null = null
  /** As it was read last. */
  #place: HostPlace | null = null
  /** The host that the feed at hand named last; undefined = it has said nothing. */
  #told: string | null | undefined
  #announced: HostPlace | null = null
  #trouble: Failure | null = null

  constructor(owner: ApplianceOwner) {
    this.#owner = owner
  }

  get state(): ApplianceState {
    return this.#state
  }

  /** The appliance's VM, once it was found. */
  get vm(): VmName | null {
    return this.#vm
  }

  /** Where the appliance is, as announced last. */
  get announced(): HostPlace | null {
    return this.#announced
  }

  get trouble(): Failure | null {
    return this.#trouble
  }

  start(): void {
    this.#apply('start')
  }

  stop(): void {
    this.#apply('stop')
  }

  found(vm: VmName): void {
    if (this.#state === 'SEARCHING') this.#vm = vm
    this.#apply('found')
  }

  notFound(failure: Failure): void {
    this.#apply('notFound', failure)
  }

  /** The feed names a host, or null for none. */
  told(hostId: string | null): void {
    this.#told = hostId
    this.#apply(hostId === (this.#place?.id ?? null) ? 'toldSame' : 'toldOther')
  }

  feedFailed(failure: Failure): void {
    this.#apply(failure.kind === 'gone' ? 'gone' : 'feedFailed', failure)
  }

  read(place: HostPlace | null): void {
    this.#place = place
    this.#apply(this.#told === (place?.id ?? null) ? 'read' : 'readUntold')
  }

  readFailed(failure: Failure): void {
    this.#apply(failure.kind === 'gone' ? 'gone' : 'readFailed', failure)
  }

  due(timer: ApplianceTimer): void {
    this.#apply(timer === 'settle' ? 'settled' : timer)
  }

  #apply(event: ApplianceEvent, failure: Failure | null = null): void {
    const cell = applianceTransition(this.#state, event)
    if (cell === null) return
    const [next, ...actions] = cell
    this.#state = next
    for (const action of actions) this.#perform(action, failure)
  }

  #perform(action: ApplianceAction, failure: Failure | null): void {
    const owner = this.#owner
    switch (action) {
      case 'search':
        owner.search(this.#remembered)
        break
      case 'adopt':
        this.#remembered = this.#vm?.instanceUuid ?? this.#remembered
        break
      case 'forget':
        this.#vm = null
        this.#place = null
        break
      case 'openFeed':
        this.#told = undefined
        if (this.#vm !== null) owner.openFeed(this.#vm)
        break
      case 'closeFeed':
        owner.closeFeed()
        break
      case 'read':
        if (this.#vm !== null) owner.read(this.#vm)
        break
      case 'dropRead':
        owner.dropRead()
        break
      case 'compare':
        this.#compare()
        break
      case 'armSettle':
        owner.arm('settle')
        break
      case 'armResync':
        owner.arm('resync')
        break
      case 'armRetry':
        owner.arm('retry')
        break
      case 'disarm':
        owner.disarm()
        break
      case 'trouble':
        if (failure !== null) this.#setTrouble(failure)
        break
      case 'well':
        if (this.#place !== null) this.#setTrouble(null)
        break
      default:
        action satisfies never
    }
  }

  #compare(): void {
    const to = this.#place
    const from = this.#announced
    if (to === null) {
      this.#setTrouble(NO_HOST)
      return
    }
    if (from !== null && samePlace(from, to)) return
    this.#announced = to
    this.#owner.moved({ from, to })
  }

  #setTrouble(failure: Failure | null): void {
    const before = this.#trouble
    if (before?.kind === failure?.kind && before?.message === failure?.message) return
    this.#trouble = failure
    if (failure === null) this.#owner.well()
    else this.#owner.trouble(failure)
  }
}

export function samePlace(a: HostPlace, b: HostPlace): boolean {
  return (
    a.id === b.id &&
    a.name === b.name &&
    a.managementIps.length === b.managementIps.length &&
    a.managementIps.every((ip, at) => ip === b.managementIps[at])
  )
}
