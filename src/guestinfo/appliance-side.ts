/** Guestinfo as the appliance has it: all keys of a VM at once, over the vSphere API, and news of every change. */
import { Backoff, type Clock, pause, systemClock, VspcError } from '../base/index.ts'
import {
  type Element,
  type ManagedRef,
  readExtraConfig,
  reconfigureVm,
  retrieveOne,
  type VsphereSession,
  watch,
} from '../vsphere/index.ts'
import { diffSnapshots, type GuestChange, type GuestSnapshot } from './diff.ts'
import { checkKey, isHiddenFromGuest } from './keys.ts'
import { type GuestinfoLimits, guestinfoLimits } from './limits.ts'
import { emptyRecord, type GuestRecord } from './records.ts'
import { decodeValue, encodeValue, NIL, setMessage, utf8Length } from './values.ts'
import { emptyVicRecord } from './vic.ts'

export interface ApplianceSideOptions {
  /** The caller closes it. */
  readonly session: VsphereSession
  readonly clock?: Clock
  /** From 0 to 1, as Math.random. */
  readonly random?: () => number
  readonly limits?: Partial<GuestinfoLimits>
}

export interface ApplianceCall {
  readonly signal?: AbortSignal
  /** The server was busy or away, and is asked again in `retryMs`. */
  readonly onTrouble?: (error: VspcError, retryMs: number) => void
}

/** A VM's keys at one moment. */
export interface VmKeys {
  /** All of extraConfig, values as they are on the wire; hidden keys and `@secret` ones too. */
  readonly values: GuestSnapshot
  /** Null = the server does not say. A suspended VM counts as on: its keys are as they are. */
  readonly poweredOn: boolean | null
}

export type ChangeOutcome = 'created' | 'changed' | 'unchanged' | 'removed'

export interface ChangeResult {
  readonly outcomes: ReadonlyMap<string, ChangeOutcome>
  /** Keys that were made while the VM was on: they vanish when it is switched off. [doc: vmware/vic#1337] */
  readonly volatileKeys: readonly string[]
}

export interface VmLook extends VmKeys {
  /** Against the look before; in the first one all keys that are there. */
  readonly changes: readonly GuestChange[]
  readonly first: boolean
}

const PROPERTIES = ['config.extraConfig', 'runtime.powerState']

/** What time heals. Of a task that the server has forgotten nobody knows whether it was done: that is looked up. */
const PASSING = new Set([
  'VSPC_VSPHERE_BUSY',
  'VSPC_VSPHERE_UNREACHABLE',
  'VSPC_VSPHERE_ANSWER',
  'VSPC_VSPHERE_SESSION',
  'VSPC_VSPHERE_NOT_FOUND',
  'VSPC_TRANSPORT_DIAL',
  'VSPC_TRANSPORT_DIAL_TIMEOUT',
])

/**
 * Reads and changes guestinfo of VMs from outside. Keys with a slash and hidden ones can be set here. All failures are
 * VspcError: VSPC_GUESTINFO_KEY, VSPC_GUESTINFO_TOO_LONG, VSPC_VSPHERE_*; VSPC_VSPHERE_NOT_FOUND when the VM is gone.
 */
export class ApplianceSide {
  readonly #session: VsphereSession
  readonly #clock: Clock
  readonly #random: () => number
  readonly #limits: GuestinfoLimits

  constructor(options: ApplianceSideOptions) {
    this.#session = options.session
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#limits = guestinfoLimits(options.limits)
  }

  async read(vm: ManagedRef, { signal }: ApplianceCall = {}): Promise<VmKeys> {
    const found = await retrieveOne(this.#session, vm, PROPERTIES, signal ? { signal } : {})
    if (found === null) throw gone(vm)
    if (found.missing.has('config.extraConfig')) throw notReadable(vm)
    const { properties } = found
    return { values: valuesOf(properties.get('config.extraConfig')), poweredOn: powerOf(properties) }
  }

  /** Decoded values; null = no such key. One call, however many keys. @throws also VSPC_GUESTINFO_KEY. */
  async get(vm: ManagedRef, keys: Iterable<string>, call: ApplianceCall = {}): Promise<Map<string, string | null>> {
    const wanted = [...keys]
    for (const key of wanted) checkKey(key)
    const { values } = await this.read(vm, call)
    return new Map(
      wanted.map((key) => {
        const value = values.get(key)
        return [key, value === undefined ? null : decodeValue(value)]
      }),
    )
  }

  /** Sets values, which are encoded (an empty one as `<nil>`), in one change. What is so already is left alone. */
  set(vm: ManagedRef, values: Iterable<readonly [string, string]>, call: ApplianceCall = {}): Promise<ChangeResult> {
    const wanted = new Map(Array.from(values, ([key, value]) => [key, encodeValue(value)]))
    return this.#change(vm, () => wanted, call)
  }

  /** Removes keys. Those that are not there are unchanged. */
  remove(vm: ManagedRef, keys: Iterable<string>, call: ApplianceCall = {}): Promise<ChangeResult> {
    const wanted = new Map(Array.from(keys, (key) => [key, '']))
    return this.#change(vm, () => wanted, call)
  }

  /**
   * Makes keys that are not there yet, with nothing in them, so that what the guest writes into them survives its
   * power-off. Only useful before the VM is switched on: see `volatileKeys` of the result. Others are left alone.
   */
  prepareKeys(vm: ManagedRef, keys: Iterable<string>, call: ApplianceCall = {}): Promise<ChangeResult> {
    const wanted = [...keys]
    for (const key of wanted) checkKey(key)
    return this.#change(vm, (now) => new Map(wanted.map((key) => [key, now.get(key) ?? NIL])), call)
  }

  /** {@link prepareKeys} for records: of our scheme, or VIC's. */
  prepare(
    vm: ManagedRef,
    records: Iterable<Pick<GuestRecord, 'kind' | 'name'>>,
    call: ApplianceCall & { readonly scheme?: 'vspc' | 'vic' } = {},
  ): Promise<ChangeResult> {
    const { scheme = 'vspc' } = call
    const keys = [...records].flatMap((record) => (scheme === 'vic' ? emptyVicRecord(record) : [emptyRecord(record)]))
    return this.prepareKeys(
      vm,
      keys.map(([key]) => key),
      call,
    )
  }

  /**
   * Yields what is there, then each change of keys or power. Goes on through restarts of the server and ended sessions,
   * after which what changed meanwhile is told at once. Ends by its signal (throwing its reason), or leaving the loop.
   * @throws VSPC_VSPHERE_NOT_FOUND when the VM is gone.
   */
  async *watch(vm: ManagedRef, call: ApplianceCall = {}): AsyncGenerator<VmLook, never, undefined> {
    const { signal, onTrouble } = call
    const query = { type: vm.type, properties: PROPERTIES, objects: [vm] }
    let values: GuestSnapshot | null = null
    let poweredOn: boolean | null = null
    const all = watch(this.#session, query, {
      random: this.#random,
      ...(signal ? { signal } : {}),
      onTrouble: (error, retryMs) => {
        if (error instanceof VspcError) onTrouble?.(error, retryMs)
      },
    })
    for await (const { updates } of all) {
      for (const { kind, changes, missing } of updates) {
        if (kind === 'leave') throw gone(vm)
        if (missing.has('config.extraConfig')) throw notReadable(vm)
        const power: boolean | null = powerOf(changes) ?? poweredOn
        const element = changes.get('config.extraConfig')
        // Unset: its host is away, and nobody knows its keys just now.
        const now: GuestSnapshot | null = element == null ? values : valuesOf(element)
        if (now === null) continue
        const differences = diffSnapshots(values ?? new Map(), now)
        const first = values === null
        if (!first && differences.length === 0 && power === poweredOn) continue
        values = now
        poweredOn = power
        yield { values: now, poweredOn: power, changes: differences, first }
      }
    }
    throw gone(vm)
  }

  /** @param want keys and encoded values, empty = none, by what is there now; asked anew for every attempt. */
  async #change(
    vm: ManagedRef,
    want: (now: GuestSnapshot) => ReadonlyMap<string, string>,
    call: ApplianceCall,
  ): Promise<ChangeResult> {
    const { changeAttempts, changeRetryMinMs, changeRetryMaxMs } = this.#limits
    this.#check(want(new Map()))
    const backoff = new Backoff({ redialMinMs: changeRetryMinMs, redialMaxMs: changeRetryMaxMs }, this.#random)
    // What the first look found is what was changed, whichever attempt did it.
    let before: VmKeys | null = null
    for (let attempt = 1; ; attempt++) {
      try {
        const now = await this.read(vm, call)
        before ??= now
        const wanted = want(now.values)
        // A key that is given again unchanged may become a volatile one. [doc: vmware/vic#8148]
        const changed = [...wanted].filter(([key, value]) => (now.values.get(key) ?? '') !== value)
        if (changed.length > 0) {
          await reconfigureVm(this.#session, vm, { extraConfig: changed }, call.signal ? { signal: call.signal } : {})
        }
        return resultOf(before, want(before.values))
      } catch (error) {
        call.signal?.throwIfAborted()
        if (!(error instanceof VspcError) || !PASSING.has(error.code) || attempt >= changeAttempts) throw error
        // Not found is the VM, or a task from before a restart.
        if (error.code === 'VSPC_VSPHERE_NOT_FOUND') await this.read(vm, call)
        const retryMs = Math.round(backoff.next())
        call.onTrouble?.(error, retryMs)
        await pause(this.#clock, retryMs, call.signal)
      }
    }
  }

  /** @throws VspcError VSPC_GUESTINFO_KEY, VSPC_GUESTINFO_TOO_LONG. */
  #check(values: ReadonlyMap<string, string>): void {
    const { maxChangeKeys, maxChangeBytes } = this.#limits
    if (values.size > maxChangeKeys) {
      const text = `${values.size} keys are too many for one change: ${maxChangeKeys} are possible`
      throw new VspcError('VSPC_GUESTINFO_KEY', text)
    }
    let bytes = 0
    for (const [key, value] of values) {
      checkKey(key)
      // The guest could not read more than one message has room for.
      if (!isHiddenFromGuest(key)) setMessage(key, value)
      bytes += utf8Length(key) + utf8Length(value)
    }
    if (bytes > maxChangeBytes) {
      const text = `keys and values take ${bytes} bytes; one change has room for ${maxChangeBytes}, a VM for about 1 MiB`
      throw new VspcError('VSPC_GUESTINFO_TOO_LONG', text)
    }
  }
}

function resultOf(before: VmKeys, wanted: ReadonlyMap<string, string>): ChangeResult {
  const outcomes = new Map<string, ChangeOutcome>()
  for (const [key, value] of wanted) {
    const old = before.values.get(key) ?? ''
    outcomes.set(key, old === value ? 'unchanged' : value === '' ? 'removed' : old === '' ? 'created' : 'changed')
  }
  const created = [...outcomes].filter(([, outcome]) => outcome === 'created').map(([key]) => key)
  return { outcomes, volatileKeys: before.poweredOn === false ? [] : created }
}

/** Some servers keep a key that was removed, with nothing in it; a guest sees no difference. */
function valuesOf(element: Element | null | undefined): GuestSnapshot {
  const values = readExtraConfig(element)
  for (const [key, value] of values) if (value === '') values.delete(key)
  return values
}

function powerOf(properties: ReadonlyMap<string, Element | null>): boolean | null {
  const state = properties.get('runtime.powerState')?.text
  return state === undefined ? null : state !== 'poweredOff'
}

function gone(vm: ManagedRef): VspcError {
  return new VspcError('VSPC_VSPHERE_NOT_FOUND', `VM ${vm.value} is no longer there, or the user may not see it`)
}

function notReadable(vm: ManagedRef): VspcError {
  const text = `the user may not read the settings of VM ${vm.value}: that needs the privilege System.Read on it`
  return new VspcError('VSPC_VSPHERE_PERMISSION', text)
}
