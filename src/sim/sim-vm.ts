import { type Clock, LIMITS, systemClock, VspcError } from '../base/index.ts'
import type { Announcement, Opening } from './autopilot.ts'
import { findBytes } from './byte-log.ts'
import { type Guest, silentGuest } from './guest.ts'
import { hashName, namedIdentity, type SimIdentity } from './identity.ts'
import { type MigrateOptions, type MigratingVm, Migration, type MigrationResult, type SimHost } from './migration.ts'
import type { PortHost } from './port-host.ts'
import { Random } from './random.ts'
import { SimConnection, type SimConnectionOptions } from './sim-connection.ts'
import { SimPort } from './sim-port.ts'
import type { SimTarget } from './target.ts'
import { type Ticker, Tickers } from './ticker.ts'
import { DEFAULT_WAIT_MS, Waiting } from './waiting.ts'
import { toBytes } from './wire.ts'

export interface SimPortSpec {
  /** Default `vSPC.py`. */
  readonly serviceURI?: string | Uint8Array
  /** `S` (the default: users come to the proxy) or `C`. */
  readonly direction?: string
  readonly guest?: Guest
}

export interface SimVmOptions {
  readonly name: string
  readonly target: SimTarget
  /** Default: a host without an address of its own. */
  readonly host?: SimHost
  /** One connection each. Default: one port. */
  readonly ports?: readonly SimPortSpec[]
  /** Default: the VM's name, and UUIDs derived from it; the location UUID changes with the host. */
  readonly identity?: SimIdentity | ((host: SimHost) => SimIdentity)
  readonly opening?: Opening
  /** First pause before a lost link is dialled again; it doubles up to 15 s. 0 = never. Default 1000. */
  readonly redialMs?: number
  /** Keep all input for `input` and `expectInput`. Default true. */
  readonly recordInput?: boolean
  /** Further options of each connection, such as `split`, `noDelay` or `line`. */
  readonly connection?: Partial<Omit<SimConnectionOptions, 'target' | 'localAddress' | 'announcement' | 'handler'>>
  readonly clock?: Clock
  readonly random?: Random
  readonly tickers?: Tickers
}

const NOWHERE: SimHost = { name: 'esx-0' }
const MAX_VIOLATIONS = 100

/** A virtual machine with its serial ports, over all its hosts and connections. Close it with `close`. */
export class SimVm implements PortHost, MigratingVm {
  readonly ports: readonly SimPort[]
  readonly clock: Clock
  /** What the proxy did wrong, as seen from here; at most 100. */
  readonly violations: string[] = []
  readonly #options: SimVmOptions
  readonly #random: Random
  readonly #tickers: Tickers
  readonly #connections = new Set<SimConnection>()
  readonly #pauses = new Set<() => void>()
  #waiting: Waiting | null = null
  #attaching: { resolve(): void; reject(error: Error): void }[] = []
  #name: string
  #renamed = false
  #host: SimHost
  #poweredOn = false
  #migrating = false

  constructor(options: SimVmOptions) {
    this.#options = options
    this.clock = options.clock ?? systemClock
    this.#name = options.name
    this.#host = options.host ?? NOWHERE
    this.#random = options.random ?? new Random(hashName(options.name))
    this.#tickers = options.tickers ?? new Tickers(this.clock)
    this.ports = (options.ports ?? [{}]).map(
      (spec, index) =>
        new SimPort(
          this,
          index,
          { kind: 'do-proxy', direction: spec.direction ?? 'S', serviceURI: spec.serviceURI ?? 'vSPC.py' },
          spec.guest ?? silentGuest,
        ),
    )
  }

  get name(): string {
    return this.#name
  }

  get host(): SimHost {
    return this.#host
  }

  get hostName(): string {
    return this.#host.name
  }

  get poweredOn(): boolean {
    return this.#poweredOn
  }

  get migrating(): boolean {
    return this.#migrating
  }

  /** Every port has its WILL-PROXY. */
  get attached(): boolean {
    return this.ports.every((port) => port.state === 'attached')
  }

  get redialMs(): number {
    return this.#options.redialMs ?? 1_000
  }

  get recordInput(): boolean {
    return this.#options.recordInput !== false
  }

  /** Input that the first port's guest has read, over all connections. */
  get input(): Uint8Array {
    return this.port(0).inputLog.bytes
  }

  /** Every connection not yet closed, lingering sources included. */
  get connections(): ReadonlySet<SimConnection> {
    return this.#connections
  }

  /** @throws VspcError VSPC_SIM_STATE for a port the VM does not have. */
  port(index: number): SimPort {
    const port = this.ports[index]
    if (port) return port
    throw new VspcError('VSPC_SIM_STATE', `${this.#name} has ${this.ports.length} ports, none numbered ${index}`)
  }

  /**
   * Boots the guests and dials. Resolves when every port is attached; rejects when the first dial of one fails, is
   * refused or ends early. The VM goes on dialling all the same, as a host does.
   */
  powerOn(): Promise<void> {
    if (this.#poweredOn) return this.attached ? Promise.resolve() : this.#untilAttached()
    this.#poweredOn = true
    const attached = this.#untilAttached()
    for (const port of this.ports) port.powerOn()
    return attached
  }

  /**
   * Ends all connections: `fin` is an orderly power-off, `reset` a crash of the host. Resolves when they are gone; a
   * proxy that does not close its side within 5 s is cut off.
   */
  async powerOff(how: 'fin' | 'reset' = 'fin'): Promise<void> {
    this.#poweredOn = false
    for (const wake of this.#pauses) wake()
    for (const port of this.ports) port.powerOff()
    for (const { reject } of this.#attaching.splice(0)) {
      reject(new VspcError('VSPC_SIM_STATE', `${this.#name} was powered off`))
    }
    const closing = [...this.#connections]
    for (const connection of closing) {
      if (how === 'fin' && connection.isOpen) connection.fin()
      else connection.reset()
    }
    const limit = this.clock.after(LIMITS.closeMs.default, () => {
      for (const connection of closing) connection.abort()
    })
    await Promise.all(closing.map((connection) => connection.closed))
    limit.cancel()
  }

  /** Powers off without ceremony and drops what still lingers. */
  async close(): Promise<void> {
    this.#waiting?.end('the VM was closed')
    for (const connection of this.#connections) connection.abort()
    await this.powerOff('reset')
  }

  /** The guest of a port prints. While the VM is frozen or not connected the bytes wait. False: the line is full. */
  print(bytes: Uint8Array | string, port = 0): boolean {
    return this.port(port).write(toBytes(bytes))
  }

  /**
   * vMotion of all ports. Resolves whatever the outcome.
   * @throws VspcError VSPC_SIM_STATE while another one runs, or when the VM is off.
   */
  async migrate(options: MigrateOptions): Promise<MigrationResult> {
    if (!this.#poweredOn) throw new VspcError('VSPC_SIM_STATE', `${this.#name} is powered off: it cannot migrate`)
    if (this.#migrating) throw new VspcError('VSPC_SIM_STATE', `${this.#name} is migrating already`)
    this.#migrating = true
    try {
      return await new Migration(this, options).run()
    } finally {
      this.#migrating = false
    }
  }

  /** The administrator renames the VM: VM-NAME goes out unasked. */
  rename(name: string): void {
    this.#name = name
    this.#renamed = true
    for (const port of this.ports) port.connection?.vmName(name)
  }

  /**
   * Resolves with the offset behind `wanted` once the input of a port contains it.
   * @throws VspcError VSPC_SIM_EXPECT after `timeoutMs` (default 5000).
   */
  expectInput(wanted: Uint8Array | string, options: { port?: number; timeoutMs?: number } = {}): Promise<number> {
    const { inputLog } = this.port(options.port ?? 0)
    const needle = toBytes(wanted)
    this.#waiting ??= new Waiting(this.clock)
    const attempt = () => {
      const at = findBytes(inputLog.bytes, needle)
      return at < 0 ? undefined : at + needle.length
    }
    const dump = () => `${this.#name} has read: ${JSON.stringify(Buffer.from(inputLog.bytes).toString('latin1'))}`
    const what = `input ${JSON.stringify(wanted)}`
    return this.#waiting.wait(what, attempt, options.timeoutMs ?? DEFAULT_WAIT_MS, dump)
  }

  // PortHost and MigratingVm: for ports and migrations only

  connect(port: SimPort, announcement: Announcement): SimConnection {
    return this.connectFrom(this.#host, port, announcement)
  }

  connectFrom(host: SimHost, port: SimPort, announcement: Announcement): SimConnection {
    const connection = new SimConnection({
      opening: this.#options.opening,
      clock: this.clock,
      ...this.#options.connection,
      target: this.#options.target,
      localAddress: host.localAddress,
      identity: this.#identity(host),
      announcement,
      handler: port,
    })
    this.#connections.add(connection)
    return connection
  }

  gone(connection: SimConnection): void {
    this.#connections.delete(connection)
  }

  moved(host: SimHost): void {
    this.#host = host
  }

  randomBytes(count: number): Uint8Array {
    return this.#random.bytes(count)
  }

  pause(ms: number): Promise<void> {
    if (ms <= 0 || !this.#poweredOn) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.clock.after(ms, () => wake())
      const wake = () => {
        timer.cancel()
        this.#pauses.delete(wake)
        resolve()
      }
      this.#pauses.add(wake)
    })
  }

  ticker(intervalMs: number): Ticker {
    return this.#tickers.get(intervalMs)
  }

  violation(port: SimPort, text: string): void {
    if (this.violations.length < MAX_VIOLATIONS) this.violations.push(`${this.#name} port ${port.index}: ${text}`)
  }

  changed(): void {
    this.#waiting?.poke()
  }

  portState(_port: SimPort, cause: VspcError | null): void {
    if (cause) for (const { reject } of this.#attaching.splice(0)) reject(cause)
    else if (this.attached) for (const { resolve } of this.#attaching.splice(0)) resolve()
  }

  #untilAttached(): Promise<void> {
    return new Promise((resolve, reject) => this.#attaching.push({ resolve, reject }))
  }

  #identity(host: SimHost): SimIdentity {
    const given = this.#options.identity
    const identity = typeof given === 'function' ? given(host) : (given ?? namedIdentity(this.#options.name, host.name))
    return this.#renamed ? { ...identity, name: this.#name } : identity
  }
}
