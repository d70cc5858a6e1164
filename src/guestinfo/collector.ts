/**
 * Follows the guestinfo of all VMs over the vSphere API, for as long as its owner lives.
 *
 * One property collector gives the keys of all VMs, whole at every change. What is new against the store is kept, then
 * told. Since the store remembers what was told, it does not matter why all VMs are told anew (a restart of ours or of
 * the server, an ended session): what changed meanwhile is news, what did not is none.
 */
import {
  Backoff,
  type Clock,
  cleanText,
  errorMessage,
  type Logger,
  pause,
  silentLogger,
  systemClock,
  VspcError,
} from '../base/index.ts'
import {
  type Element,
  type ManagedRef,
  type News,
  type ObjectContent,
  type ObjectUpdate,
  parseUuid,
  readExtraConfig,
  refKey,
  retrieve,
  retrieveOne,
  type VsphereSession,
  vmIdentity,
  watch,
} from '../vsphere/index.ts'
import { type CollectorNews, type CollectorNewsType, guestinfoOf, newsOf, type VmGuestinfo } from './collected.ts'
import { reportOf, takeSnapshot } from './diff.ts'
import { isSecret } from './keys.ts'
import type { ResultLine } from './ledger.ts'
import { type GuestinfoLimits, guestinfoLimits } from './limits.ts'
import type { ResultFs } from './result-file.ts'
import { ResultStore, type ResultStoreStatus } from './result-store.ts'

export interface CollectorOptions {
  /** The session to use, connected when it is not yet; asked again after a failure. Whoever gives it closes it. */
  readonly session: (signal: AbortSignal) => Promise<VsphereSession>
  /** For the results, such as DATA-DIR/guestinfo; nobody else may use it. */
  readonly directory: string
  /** Keeps others away from it: taken before it is opened, and tried again while that fails. Default: the owner's care. */
  readonly lock?: () => Promise<{ release(): Promise<void> }>
  /** Finds the folder or pool below which VMs are followed, at each beginning; default: all that the user may see. */
  readonly below?: (session: VsphereSession, signal: AbortSignal) => Promise<ManagedRef>
  readonly clock?: Clock
  /** From 0 to 1, as Math.random. */
  readonly random?: () => number
  readonly limits?: Partial<GuestinfoLimits>
  readonly log?: Logger
  /** Tests pass one that fails. */
  readonly fs?: ResultFs
}

/** `trouble`: it goes on by itself, what is known is from before. */
export type CollectorState = 'stopped' | 'starting' | 'following' | 'trouble'

export interface CollectorStatus {
  readonly state: CollectorState
  /** Wall clock, milliseconds: since when. */
  readonly since: number
  /** Of `trouble`, or of the store. */
  readonly trouble: VspcError | null
  /** In the inventory, as far as it has been read. */
  readonly vms: number
  /** Of those: without instance UUID, or whose keys the user may not read. */
  readonly unreadableVms: number
  /** Times that all VMs were told anew, the first one among them. */
  readonly beginnings: number
  /** Values of our scheme that were no records, and keys beyond the limits, in what was read. */
  readonly strange: number
  readonly news: { readonly [type in CollectorNewsType]: number }
  /** Null until it is open. */
  readonly store: ResultStoreStatus | null
}

interface Vm {
  uuid: string | null
  biosUuid: string | null
  name: string
  poweredOn: boolean | null
  readable: boolean
  /** Of which beginning it was last told. */
  beginning: number
}

/** What changes. Who a VM is is read when it is first told: each further property costs a server at every change. */
const PROPERTIES = ['runtime.powerState', 'config.extraConfig']
const IDENTITY = ['name', 'config.instanceUuid', 'config.uuid']
const PREFIXES = ['guestinfo.vspc.', 'guestinfo.vice.']

/** None of its methods throws, but for the listeners' own faults there is a log line. */
export class GuestinfoCollector {
  readonly #options: CollectorOptions
  readonly #limits: GuestinfoLimits
  readonly #clock: Clock
  readonly #log: Logger
  readonly #listeners = new Set<(news: CollectorNews) => void>()
  readonly #vms = new Map<string, Vm>()
  readonly #byUuid = new Map<string, Vm>()
  /** Null for what several have; made when it is asked for. */
  #byBiosUuid: ReadonlyMap<string, string | null> | null = null
  readonly #stop = new AbortController()
  #again = new AbortController()
  #running: Promise<void> | null = null
  #store: ResultStore | null = null
  #lock: { release(): Promise<void> } | null = null
  #isOurs = true
  #state: CollectorState = 'stopped'
  #since: number
  #trouble: VspcError | null = null
  #beginnings = 0
  #strange = 0
  readonly #news: Record<CollectorNewsType, number> = {
    'guest-address': 0,
    'guest-address-gone': 0,
    'guest-error': 0,
    'guest-error-cleared': 0,
    'guest-start': 0,
    'guest-exit': 0,
  }

  constructor(options: CollectorOptions) {
    this.#options = options
    this.#limits = guestinfoLimits(options.limits)
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLogger
    this.#since = this.#clock.wall()
  }

  /** Begins, once. Whoever wants all news subscribes before. */
  start(): void {
    if (this.#running !== null || this.#stop.signal.aborted) return
    this.#enter('starting', null)
    this.#running = this.#run()
  }

  /** Resolves when what was seen has been written, as far as that is possible. */
  async stop(): Promise<void> {
    this.#stop.abort(new VspcError('VSPC_SERVER_STOPPING', 'guestinfo is no longer followed'))
    await this.#running
    this.#enter('stopped', null)
  }

  /** As `stop`, where somebody else has taken the directory: nothing more is written. */
  abandon(): Promise<void> {
    this.#isOurs = false
    return this.stop()
  }

  /** Called with everything that is news, once it is on the disk. A listener must not wait. Returns how to end it. */
  subscribe(listener: (news: CollectorNews) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** What is known of a VM, by instance UUID in any spelling; null for nothing. */
  latest(uuid: string): VmGuestinfo | null {
    const vm = parseUuid(uuid)
    const records = vm === null ? null : (this.#store?.latest(vm) ?? null)
    if (vm === null || records === null) return null
    const present = this.#byUuid.get(vm)
    return guestinfoOf(records, present === undefined ? null : { ...present, uuid: vm })
  }

  /** VMs of which something is known, by canonical instance UUID. */
  known(): string[] {
    return this.#store?.vms() ?? []
  }

  /** Of the one VM in the inventory with this canonical BIOS UUID; null where there is none, or several have it. */
  uuidOfBios(biosUuid: string): string | null {
    this.#byBiosUuid ??= biosUuids(this.#byUuid)
    return this.#byBiosUuid.get(biosUuid) ?? null
  }

  get status(): CollectorStatus {
    const store = this.#store?.status ?? null
    let unreadableVms = 0
    for (const { uuid, readable } of this.#vms.values()) if (uuid === null || !readable) unreadableVms++
    return {
      state: this.#state,
      since: this.#since,
      trouble: this.#trouble ?? store?.trouble ?? null,
      vms: this.#vms.size,
      unreadableVms,
      beginnings: this.#beginnings,
      strange: this.#strange,
      news: { ...this.#news },
      store,
    }
  }

  async #run(): Promise<void> {
    const { collectRetryMinMs, collectRetryMaxMs } = this.#limits
    const { random = Math.random } = this.#options
    const backoff = new Backoff({ redialMinMs: collectRetryMinMs, redialMaxMs: collectRetryMaxMs }, random)
    while (!this.#stop.signal.aborted) {
      this.#again = new AbortController()
      try {
        this.#lock ??= (await this.#options.lock?.()) ?? null
        this.#store ??= await this.#openStore()
        await this.#follow(this.#store, () => backoff.reset())
      } catch (error) {
        if (this.#stop.signal.aborted) break
        if (this.#again.signal.aborted) continue
        this.#fail(error)
        // Directories lock accounts after a few refused logins.
        const isRefused = error instanceof VspcError && error.code === 'VSPC_VSPHERE_LOGIN'
        await pause(this.#clock, isRefused ? collectRetryMaxMs : backoff.next(), this.#stop.signal).catch(() => {})
      }
    }
    await this.#store?.close(this.#isOurs)
    await this.#lock?.release()
  }

  async #openStore(): Promise<ResultStore> {
    const { directory, fs, random } = this.#options
    const store = await ResultStore.open({
      directory,
      onTold: (lines, again) => this.#tell(lines, again),
      onCaughtUp: () => {
        this.#log.warn({}, 'guestinfo: the disk did not keep up; all VMs are looked at anew')
        this.#again.abort()
      },
      isPresent: (vm) => this.#beginnings === 0 || this.#byUuid.has(vm),
      clock: this.#clock,
      limits: this.#limits,
      log: this.#log,
      ...(random === undefined ? {} : { random }),
      ...(fs === undefined ? {} : { fs }),
    })
    store.tellAgain()
    return store
  }

  async #follow(store: ResultStore, onNews: () => void): Promise<void> {
    const { session: open, below, random } = this.#options
    const signal = AbortSignal.any([this.#stop.signal, this.#again.signal])
    const session = await open(this.#stop.signal)
    const query = {
      type: 'VirtualMachine',
      properties: PROPERTIES,
      maxObjects: this.#limits.collectPageVms,
      ...(below === undefined ? {} : { below: await below(session, signal) }),
    }
    const all = watch(session, query, {
      signal,
      onTrouble: (error) => this.#fail(error),
      ...(random === undefined ? {} : { random }),
    })
    for await (const news of all) {
      await this.#identify(session, news, signal)
      this.#take(store, news)
      if (news.truncated) continue
      this.#enter('following', null)
      onNews()
      // What changes meanwhile comes at once, as it is then.
      await pause(this.#clock, this.#limits.collectPaceMs, signal)
    }
  }

  #take(store: ResultStore, { restarted, truncated, updates }: News): void {
    if (restarted) this.#beginnings++
    for (const update of updates) this.#update(store, update)
    // What was not told again is gone.
    if (!truncated) for (const [key, vm] of this.#vms) if (vm.beginning < this.#beginnings) this.#forget(key, vm)
  }

  #update(store: ResultStore, { ref, kind, changes, missing }: ObjectUpdate): void {
    const key = refKey(ref)
    const vm = this.#vms.get(key)
    // Gone before it could be asked who it is.
    if (vm === undefined) return
    if (kind === 'leave') {
      this.#forget(key, vm)
      return
    }
    if (kind === 'enter') vm.beginning = this.#beginnings
    const power = changes.get('runtime.powerState')
    if (power != null) vm.poweredOn = power.text !== 'poweredOff'
    if (missing.has('config.extraConfig')) vm.readable = false
    const extraConfig = changes.get('config.extraConfig')
    // Unset means that the server cannot tell just now (a host that is away), not that there are no keys.
    if (extraConfig == null) return
    vm.readable = true
    if (vm.uuid !== null) this.#observe(store, vm, vm.uuid, extraConfig)
  }

  /** Asks who those are that are new, or have no UUID yet. A name that changes later is learnt at the next beginning. */
  async #identify(session: VsphereSession, { updates }: News, signal: AbortSignal): Promise<void> {
    const refs = updates
      .filter(({ ref, kind }) => kind === 'enter' || (kind === 'modify' && this.#vms.get(refKey(ref))?.uuid == null))
      .map(({ ref }) => ref)
    for (const found of await readAll(session, refs, signal)) {
      const { ref, name, instanceUuid, biosUuid } = vmIdentity(found)
      const key = refKey(ref)
      const known = this.#vms.get(key)
      const uuid = instanceUuid === null ? null : parseUuid(instanceUuid)
      if (known?.uuid != null && known.uuid !== uuid) this.#forget(key, known)
      const vm: Vm = known ?? {
        uuid,
        biosUuid: null,
        name,
        poweredOn: null,
        readable: true,
        beginning: this.#beginnings,
      }
      vm.uuid = uuid
      vm.name = cleanText(name)
      vm.biosUuid = biosUuid === null ? null : parseUuid(biosUuid)
      this.#vms.set(key, vm)
      if (uuid !== null) this.#byUuid.set(uuid, vm)
      this.#byBiosUuid = null
    }
  }

  #observe(store: ResultStore, vm: Vm, uuid: string, extraConfig: Element): void {
    const { snapshot, dropped } = takeSnapshot(
      readExtraConfig(extraConfig),
      (key) => PREFIXES.some((prefix) => key.startsWith(prefix)) && !isSecret(key),
      this.#limits,
    )
    const report = reportOf(snapshot, Math.floor(this.#limits.maxKeptProcesses / 2))
    this.#strange += dropped + report.strange.length
    store.observe({ vm: uuid, vmName: vm.name, poweredOn: vm.poweredOn }, report)
  }

  #forget(key: string, vm: Vm): void {
    this.#vms.delete(key)
    this.#byBiosUuid = null
    if (vm.uuid !== null && this.#byUuid.get(vm.uuid) === vm) this.#byUuid.delete(vm.uuid)
  }

  #tell(lines: readonly ResultLine[], again: boolean): void {
    for (const line of lines) {
      const news = newsOf(line, again)
      if (news === null) continue
      this.#news[news.type]++
      for (const listener of this.#listeners) {
        try {
          listener(news)
        } catch (error) {
          this.#log.error({ reason: errorMessage(error) }, 'internal error: a listener to guestinfo failed')
        }
      }
    }
  }

  #enter(state: CollectorState, trouble: VspcError | null): void {
    if (state === 'following' && this.#state === 'trouble') this.#log.info({}, 'guestinfo is followed again')
    if (state !== this.#state) this.#since = this.#clock.wall()
    this.#state = state
    this.#trouble = trouble
  }

  #fail(error: unknown): void {
    const trouble = error instanceof VspcError ? error : new VspcError('VSPC_INTERNAL', errorMessage(error))
    // Once, until all is well: a server that is away fails every attempt.
    if (this.#state !== 'trouble' || this.#trouble?.code !== trouble.code) {
      this.#log.warn({ code: trouble.code, reason: trouble.message }, 'guestinfo is not followed just now')
    }
    this.#enter('trouble', trouble)
  }
}

/** Clones may share one: then it is nobody's. */
function biosUuids(vms: ReadonlyMap<string, Vm>): Map<string, string | null> {
  const found = new Map<string, string | null>()
  for (const [uuid, { biosUuid }] of vms) if (biosUuid !== null) found.set(biosUuid, found.has(biosUuid) ? null : uuid)
  return found
}

/** Those that are gone meanwhile are left out. Some servers refuse the whole call for one. */
async function readAll(
  session: VsphereSession,
  refs: readonly ManagedRef[],
  signal: AbortSignal,
): Promise<ObjectContent[]> {
  try {
    return await retrieve(session, { type: 'VirtualMachine', properties: IDENTITY, objects: refs }, { signal })
  } catch (error) {
    if (!(error instanceof VspcError) || error.code !== 'VSPC_VSPHERE_NOT_FOUND') throw error
    const found: ObjectContent[] = []
    for (const ref of refs) {
      const one = await retrieveOne(session, ref, IDENTITY, { signal })
      if (one !== null) found.push(one)
    }
    return found
  }
}
