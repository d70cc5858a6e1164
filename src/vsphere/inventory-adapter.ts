/** The vSphere API as the Inventory that following the appliance and re-pointing VMs are written for. */
import { type Clock, cleanText, systemClock, VspcError } from '../base/index.ts'
import type {
  HostPlace,
  Inventory,
  InventoryOptions,
  ListOptions,
  PortChange,
  VmName,
  VmPorts,
  WantedFacts,
} from '../vmotion/index.ts'
import type { Element, ManagedRef } from './element.ts'
import { faultError } from './faults.ts'
import { findVms, HOST_PROPERTIES, hostInfo } from './inventory.ts'
import { type KnownDevices, listVmPorts, readVmPorts, vmRef } from './inventory-vms.ts'
import { VSPHERE_LIMITS } from './limits.ts'
import { LoginGuard } from './login-guard.ts'
import { retrieveOne } from './properties.ts'
import { reconfigureVm } from './reconfigure.ts'
import { type Direction, editSerialPort } from './serial-ports.ts'
import type { VsphereSession } from './session.ts'
import type { ObjectContent } from './specs.ts'
import { type News, watch } from './watch.ts'

export interface VsphereInventoryOptions {
  /**
   * Opens the session when it is first needed; called again after it has failed. The inventory closes the session.
   * @param guard for `connect`: knows of logins that were refused before.
   */
  readonly connect: (signal: AbortSignal, guard: LoginGuard) => Promise<VsphereSession>
  /** Following a VM has met with trouble; it goes on by itself. `retryMs`: until the next attempt. */
  readonly onTrouble?: (error: unknown, retryMs: number) => void
  /** After the above: news comes again. */
  readonly onWell?: () => void
  readonly clock?: Clock
  /** After a refused login none is tried for so long, longer after the next: directories lock accounts. Milliseconds. */
  readonly loginPauseMs?: number
}

const INSTANCE_UUID = 'config.instanceUuid'
/** After a refused login the pause doubles up to so many of the first one: then it is seen whether the password changed. */
const MOST_PAUSES = 8

/** The owner calls `close` at the end. */
export class VsphereInventory implements Inventory {
  readonly #options: VsphereInventoryOptions
  readonly #devices: KnownDevices = new WeakMap()
  readonly #closing = new AbortController()
  #session: VsphereSession | null = null
  #connecting: Promise<VsphereSession> | null = null
  readonly #guard: LoginGuard
  #refused: { readonly error: unknown; readonly until: number; readonly pauseMs: number } | null = null

  constructor(options: VsphereInventoryOptions) {
    this.#options = options
    const { clock = systemClock, loginPauseMs = VSPHERE_LIMITS.loginPauseMs } = options
    this.#guard = new LoginGuard(clock, loginPauseMs)
  }

  /**
   * The session; connected now if it is not yet.
   * @throws VspcError as `connect`; VSPC_VSPHERE_SESSION once closed; the signal's reason.
   */
  async session({ signal }: InventoryOptions): Promise<VsphereSession> {
    signal.throwIfAborted()
    if (this.#closing.signal.aborted) throw this.#closing.signal.reason
    if (this.#session !== null) return this.#session
    // One who no longer waits does not end the attempt for those who do.
    this.#connecting ??= this.#connect()
    return untilAborted(this.#connecting, signal)
  }

  /** Calls under way fail. */
  async close(): Promise<void> {
    this.#closing.abort(new VspcError('VSPC_VSPHERE_SESSION', 'the inventory has been closed'))
    await this.#connecting?.catch(() => {})
    await this.#session?.close()
  }

  async findVms(selector: string, options: InventoryOptions): Promise<readonly VmName[]> {
    const found = await findVms(await this.session(options), selector, options)
    return found.map(({ ref, name, instanceUuid }) => ({ id: ref.value, name, instanceUuid }))
  }

  async readPlace(vm: VmName, options: InventoryOptions): Promise<HostPlace | null> {
    const session = await this.session(options)
    const found = await retrieveOne(session, vmRef(vm), ['runtime.host', INSTANCE_UUID], options)
    if (found === null || isOther(vm, found.properties.get(INSTANCE_UUID))) throw gone(vm)
    mayRead(found, 'runtime.host', `the host of VM ${shown(vm)}`)
    const ref = hostRef(found.properties.get('runtime.host'))
    if (ref === null) return null
    const host = await retrieveOne(session, ref, HOST_PROPERTIES, options)
    // It was removed from the inventory just now; the VM's own news will tell where it is.
    if (host === null) return null
    // Without its name an address would be made up from something else.
    mayRead(host, 'name', `the host ${ref.value} of VM ${shown(vm)}`)
    const { name, managementIps } = hostInfo(host)
    return { id: ref.value, name, managementIps }
  }

  async *followPlace(vm: VmName, options: InventoryOptions): AsyncGenerator<string | null, void, undefined> {
    const session = await this.session(options)
    const { onTrouble, onWell } = this.#options
    let troubled = false
    const query = { type: 'VirtualMachine', properties: ['runtime.host', INSTANCE_UUID], objects: [vmRef(vm)] }
    const news: AsyncIterable<News> = watch(session, query, {
      signal: options.signal,
      onTrouble: (error, retryMs) => {
        troubled = true
        onTrouble?.(error, retryMs)
      },
    })
    for await (const { updates } of news) {
      if (troubled) onWell?.()
      troubled = false
      for (const { kind, changes, missing } of updates) {
        if (kind === 'leave' || isOther(vm, changes.get(INSTANCE_UUID))) throw gone(vm)
        mayRead({ missing }, 'runtime.host', `the host of VM ${shown(vm)}`)
        const host = changes.get('runtime.host')
        // On `enter` all that is set is told: a VM without host is one of which it is not.
        if (host !== undefined || kind === 'enter') yield hostRef(host)?.value ?? null
      }
    }
  }

  async listVms(wanted: WantedFacts, options: ListOptions): Promise<readonly VmPorts[]> {
    return listVmPorts(await this.session(options), wanted, this.#devices, options)
  }

  async readVm(vm: VmPorts, options: InventoryOptions): Promise<VmPorts> {
    const found = await readVmPorts(await this.session(options), vm, this.#devices, options)
    if (found === null || isOtherUuid(vm, found.instanceUuid)) throw gone(vm)
    return found
  }

  async changePorts(vm: VmPorts, changes: readonly PortChange[], options: InventoryOptions): Promise<void> {
    const session = await this.session(options)
    const devices = changes.map((change) => this.#edit(vm, change))
    try {
      await reconfigureVm(session, vmRef(vm), { devices }, options)
    } catch (error) {
      throw await this.#judge(session, vm, error, options)
    }
  }

  #edit(vm: VmPorts, { port, backing, connected }: PortChange): Element {
    const known = this.#devices.get(port)
    if (known === undefined) {
      const text = `port ${port.key} of VM ${shown(vm)} was not read here; it has to be read again`
      throw new VspcError('VSPC_VSPHERE_STATE', text)
    }
    return editSerialPort(known, {
      // The direction is the server's own word, handed back.
      ...(backing === undefined ? {} : { backing: { ...backing, direction: backing.direction as Direction } }),
      ...(connected === undefined ? {} : { connected }),
    })
  }

  /** What is not found may be the task, after a restart of the server, or a file: the VM is only gone if it is. */
  async #judge(session: VsphereSession, vm: VmPorts, error: unknown, options: InventoryOptions): Promise<unknown> {
    if (!(error instanceof VspcError) || error.code !== 'VSPC_VSPHERE_NOT_FOUND') return error
    const found = await retrieveOne(session, vmRef(vm), ['name'], options).catch(() => undefined)
    if (found === null) return gone(vm)
    return new VspcError('VSPC_VSPHERE_STATE', error.message, { cause: error })
  }

  async #connect(): Promise<VsphereSession> {
    const { connect, clock = systemClock, loginPauseMs = VSPHERE_LIMITS.loginPauseMs } = this.#options
    const refused = this.#refused
    const waits = refused !== null && clock.now() < refused.until
    try {
      if (waits) throw refused.error
      this.#session = await connect(this.#closing.signal, this.#guard)
      this.#refused = null
      return this.#session
    } catch (error) {
      if (!waits && error instanceof VspcError && error.code === 'VSPC_VSPHERE_LOGIN') {
        const pauseMs = Math.min(MOST_PAUSES * loginPauseMs, 2 * (refused?.pauseMs ?? loginPauseMs / 2))
        this.#refused = { error, until: clock.now() + pauseMs, pauseMs }
      }
      throw error
    } finally {
      this.#connecting = null
    }
  }
}

/**
 * A vCenter that was set up anew, or restored from an older backup, gives the same ids to other VMs. Nobody but those
 * that are meant may be followed or changed.
 */
function isOther(vm: VmName, instanceUuid: Element | null | undefined): boolean {
  return isOtherUuid(vm, instanceUuid?.text ?? null)
}

function isOtherUuid({ instanceUuid }: VmName, found: string | null): boolean {
  return instanceUuid !== null && found !== null && found !== '' && found !== instanceUuid
}

function hostRef(element: Element | null | undefined): ManagedRef | null {
  if (element == null || element.text === '') return null
  return { type: element.refType ?? 'HostSystem', value: element.text }
}

/** @throws what the server says of a property that it does not give out. */
function mayRead({ missing }: Pick<ObjectContent, 'missing'>, path: string, what: string): void {
  const fault = missing.get(path)
  if (fault !== undefined) throw faultError({ name: fault, message: '', detail: null }, `cannot read ${what}`)
}

function gone(vm: VmName): VspcError {
  return new VspcError('VSPC_VSPHERE_NOT_FOUND', `VM ${shown(vm)} is no longer there, or the user may not see it`)
}

function shown({ name }: VmName): string {
  return cleanText(name, 100)
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
