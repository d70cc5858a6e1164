/** Following what VMs publish about themselves, as a part of the server. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { connectVsphere, type GuestinfoConfig, guestinfoPlace, type VsphereAccess } from '../appliance/index.ts'
import { type Clock, errorMessage, type Logger, type Timer, VspcError } from '../base/index.ts'
import { type CollectorNews, type CollectorStatus, GuestinfoCollector } from '../guestinfo/index.ts'
import { type DirLock, lockDir } from '../history/index.ts'
import type { Port, Server } from '../vspc/index.ts'
import { VsphereInventory } from '../vsphere/index.ts'
import type { ApplianceTracker } from './appliance.ts'
import {
  type GuestinfoEvent,
  type GuestinfoState,
  guestinfoEvent,
  guestinfoState,
  type PortGuestinfo,
  portGuestinfo,
  type VmGuestinfoInfo,
  vmGuestinfo,
} from './guestinfo-view.ts'

export interface GuestinfoOptions {
  readonly config: GuestinfoConfig
  readonly access: VsphereAccess
  /** Whose session is used; null: it logs in itself. */
  readonly tracker: ApplianceTracker | null
  readonly dataDir: string
  /** Whether somebody else in this process keeps other servers away from `dataDir`. */
  readonly isLocked: boolean
  readonly server: Server
  readonly clock: Clock
  readonly log: Logger
  /** From 0 to 1. */
  readonly random: () => number
}

/** Ids of ports by the instance UUID of their VM. */
type PortIndex = ReadonlyMap<string, string[]>

/** The owner calls `start` once, and `stop` at the end. Neither fails, nor waits for vCenter or a disk for long. */
export class GuestinfoFollower {
  readonly #options: GuestinfoOptions
  readonly #collector: GuestinfoCollector
  readonly #inventory: VsphereInventory
  #index: PortIndex | null = null

  constructor(options: GuestinfoOptions) {
    this.#options = options
    const { config, access, tracker, dataDir, isLocked, clock, log, random } = options
    const below = guestinfoPlace(config)
    // Where the appliance is followed as well, one login does: two that are refused lock the account sooner.
    const inventory = new VsphereInventory({
      clock,
      connect: (signal) => connectVsphere(access, { signal, clock, log }),
    })
    this.#inventory = inventory
    this.#collector = new GuestinfoCollector({
      session: (signal) => tracker?.session(signal) ?? inventory.session({ signal }),
      directory: join(dataDir, 'guestinfo'),
      ...(isLocked ? {} : { lock: () => this.#lock() }),
      ...(below === null ? {} : { below }),
      clock,
      random,
      log,
    })
    this.#collector.subscribe((news) => this.#log(news))
  }

  start(): void {
    this.#collector.start()
  }

  /** What was seen is written, and vCenter told, within `graceMs`; what is not is seen again after the next start. */
  async stop(graceMs: number): Promise<void> {
    const { clock, log } = this.#options
    let isOver = false
    let timer: Timer | null = null
    const late = new Promise<void>((resolve) => {
      timer = clock.after(graceMs, resolve)
    })
    const end = this.#end().then(() => {
      isOver = true
      timer?.cancel()
    })
    await Promise.race([end, late])
    if (!isOver) log.warn({ unwritten: this.state.unwritten }, 'guestinfo: the disk did not take everything in time')
  }

  get status(): CollectorStatus {
    return this.#collector.status
  }

  get state(): GuestinfoState {
    return guestinfoState(this.#collector.status)
  }

  /** What is known of a port's VM; null for nothing. */
  ofPort(port: Port): PortGuestinfo | null {
    const uuid = this.#uuidOf(port)
    const known = uuid === null ? null : this.#collector.latest(uuid)
    return known === null ? null : portGuestinfo(known)
  }

  /** Instance UUIDs of VMs of which something is known. */
  known(): string[] {
    return this.#collector.known()
  }

  ofVm(uuid: string): VmGuestinfoInfo | null {
    const known = this.#collector.latest(uuid)
    return known === null ? null : vmGuestinfo(known, this.#portsOf(uuid))
  }

  /** Calls `subscriber` with every event from now on; the returned function ends that. */
  subscribe(subscriber: (event: GuestinfoEvent) => void): () => void {
    return this.#collector.subscribe((news) => subscriber(guestinfoEvent(news, this.#portsOf(news.vm.uuid))))
  }

  async #end(): Promise<void> {
    await this.#collector.stop()
    await this.#inventory.close()
  }

  /** BIOS UUIDs count only where there is no better one: clones share them. */
  #uuidOf({ vcUuid, biosUuid }: Port): string | null {
    return vcUuid ?? (biosUuid === null ? null : this.#collector.uuidOfBios(biosUuid))
  }

  /** News comes in thousands at a time: within one turn of the event loop the ports are gone through once. */
  #portsOf(uuid: string): string[] {
    if (this.#index === null) {
      this.#index = this.#portIndex()
      setImmediate(() => {
        this.#index = null
      })
    }
    return this.#index.get(uuid) ?? []
  }

  #portIndex(): PortIndex {
    const index = new Map<string, string[]>()
    for (const port of this.#options.server.table) {
      const uuid = this.#uuidOf(port)
      if (uuid === null) continue
      const ports = index.get(uuid)
      if (ports === undefined) index.set(uuid, [port.id])
      else ports.push(port.id)
    }
    return index
  }

  /** Without histories on disk nobody else does: two servers would write into each other's results. */
  async #lock(): Promise<DirLock> {
    const { dataDir, clock, log } = this.#options
    try {
      await mkdir(dataDir, { recursive: true, mode: 0o700 })
    } catch (cause) {
      const text = `cannot keep the results of guestinfo in the data directory ${dataDir}: ${errorMessage(cause)}`
      throw new VspcError('VSPC_GUESTINFO_STORE', text, { cause })
    }
    const lock = await lockDir(dataDir, clock)
    lock.events = {
      lost: (loss, path) => {
        if (loss === 'removed') return
        log.error({ path }, 'guestinfo is no longer followed: another server has taken the data directory')
        void this.#collector.stop()
      },
      regained: () => {},
    }
    return lock
  }

  /** VMs decide how much there is of it. */
  #log(news: CollectorNews): void {
    const { type, seq, vm } = news
    const what = 'record' in news ? news.record : { name: news.name }
    this.#options.log.debug({ vm: vm.name, seq, ...what }, `guestinfo: ${type}`)
  }
}
