/** What the checks act on: connections and VMs of their own, and signs that a server has seen all that was sent. */
import { randomBytes } from 'node:crypto'
import { VspcError } from '../../base/index.ts'
import type { Opening } from '../autopilot.ts'
import { SUB, WILL } from '../codes.ts'
import { canonicalUuid, formatEsxUuid, type SimIdentity } from '../identity.ts'
import type { WireItem } from '../item.ts'
import type { SimHost } from '../migration.ts'
import { SimConnection, type SimConnectionOptions } from '../sim-connection.ts'
import { SimVm, type SimVmOptions } from '../sim-vm.ts'
import { makeHost } from '../simulation-vms.ts'
import { concatBytes } from '../wire.ts'
import type { CheckSettings } from './check.ts'
import type { CheckedVm } from './console.ts'
import { type BeginVerdict, judgeBegin } from './judge-wire.ts'
import { type MigrationSamples, migrateMany } from './migrations.ts'

/** Options nobody has assigned: an offer of one has to be refused, and the refusal stands behind all other answers. */
const PROBE_OPTIONS = { first: 140, count: 80 } as const
const MAX_SETTLE_MS = 1_000

export interface Someone {
  readonly vm: CheckedVm
  readonly identity: SimIdentity
}

/** What came of a BEGIN, with all that the server said since. */
export interface Begun extends BeginVerdict {
  readonly items: readonly WireItem[]
}

type ConnectionOptions = Partial<Omit<SimConnectionOptions, 'target' | 'record'>>

export class Stage {
  readonly settings: CheckSettings
  readonly hosts: readonly [SimHost, SimHost]
  /** The way of opening that the server is known to serve; checks that are not about it use that. */
  opening: Opening = 'reactive'
  readonly #connections = new Set<SimConnection>()
  readonly #vms = new Set<SimVm>()
  readonly #run = randomBytes(3).toString('hex')
  #people = 0
  #probes = 0
  #roundTrips: number[] = []
  #migrations: Promise<MigrationSamples> | null = null

  constructor(settings: CheckSettings) {
    this.settings = settings
    this.hosts = [makeHost(0, [settings.target]), makeHost(1, [settings.target])]
  }

  /** A VM that the server has never heard of. */
  someone(): Someone {
    return this.named(`check-${this.#run}-${++this.#people}`, randomBytes(16))
  }

  named(name: string, uuid: Uint8Array): Someone {
    const vcUuid = formatEsxUuid(uuid)
    return { vm: { name, uuid: canonicalUuid(vcUuid) }, identity: { vcUuid, name } }
  }

  random(count: number): Uint8Array {
    return randomBytes(count)
  }

  /** A sequence without bytes that a server may stumble over: for checks that are not about escaping. */
  sequence(): Uint8Array {
    return randomBytes(4).map((byte) => 1 + (byte % 0xe0))
  }

  /** Begins to connect. */
  dial(options: ConnectionOptions = {}): SimConnection {
    const { target, serviceURI, clock } = this.settings
    const connection = new SimConnection({
      noDelay: true,
      clock,
      opening: this.opening,
      localAddress: this.hosts[0].localAddress,
      announcement: { kind: 'do-proxy', direction: 'S', serviceURI },
      ...options,
      identity: options.identity ?? this.someone().identity,
      target,
    })
    this.#connections.add(connection)
    return connection
  }

  /** A connection that is up, whatever was said on it yet. */
  async connect(options: ConnectionOptions = {}): Promise<SimConnection> {
    const began = this.settings.clock.now()
    const connection = this.dial(options)
    await connection.opened
    this.#roundTrips.push(this.settings.clock.now() - began)
    return connection
  }

  /** A connection that has its WILL-PROXY. @throws VspcError VSPC_SIM_EXPECT without it. */
  async attach(options: ConnectionOptions = {}): Promise<SimConnection> {
    const { limitMs } = this.settings
    const connection = this.dial(options)
    const answer = connection.reply([SUB.WILL_PROXY, SUB.WONT_PROXY], limitMs)
    await connection.opened
    const reply = await answer
    if (reply.kind === 'sub' && reply.code === SUB.WILL_PROXY) return connection
    const what = { sub: 'WONT-PROXY', closed: 'the server closed', timeout: `none within ${limitMs} ms` }[reply.kind]
    throw new VspcError('VSPC_SIM_EXPECT', `no WILL-PROXY: ${what}`)
  }

  /** A powered-on VM with every port attached. */
  async boot(options: Partial<Omit<SimVmOptions, 'target'>> = {}): Promise<SimVm> {
    const { target, serviceURI, clock, limitMs } = this.settings
    const someone = this.someone()
    const vm = new SimVm({
      name: someone.vm.name,
      identity: someone.identity,
      host: this.hosts[0],
      ports: [{ serviceURI }],
      redialMs: 20,
      opening: this.opening,
      clock,
      ...options,
      connection: { noDelay: true, ...options.connection },
      target,
    })
    this.#vms.add(vm)
    await this.within(vm.powerOn(), limitMs, 'no WILL-PROXY')
    return vm
  }

  /** Where the VM is not. */
  otherHost(vm: SimVm): SimHost {
    return vm.host.name === this.hosts[0].name ? this.hosts[1] : this.hosts[0]
  }

  /**
   * Makes sure that the server has seen all that was sent on this connection, and has had time to answer. False: it
   * gives no sign; then as much time as such a sign may take has passed.
   */
  async settle(connection: SimConnection): Promise<boolean> {
    const option = PROBE_OPTIONS.first + (this.#probes++ % PROBE_OPTIONS.count)
    const from = connection.recorded.items.length
    const isAnswer = (item: WireItem) => item.kind === 'verb' && item.option === option
    const answer = connection.expect((item) => isAnswer(item) && connection.recorded.items.indexOf(item) >= from, {
      timeoutMs: Math.min(MAX_SETTLE_MS, this.settings.limitMs),
    })
    connection.verb(WILL, option)
    try {
      await answer
    } catch {
      // Silence, or closed: the caller sees which.
      return false
    }
    await this.quiet()
    return true
  }

  /** Items that arrive from now on. Data bytes are counted apart, see `dataSince`. */
  since(connection: SimConnection): () => readonly WireItem[] {
    const from = connection.recorded.items.length
    return () => connection.recorded.items.slice(from)
  }

  /** BEGIN and everything that follows it until the server has nothing more to say. */
  async begin(connection: SimConnection, sequence: Uint8Array): Promise<Begun> {
    const seen = this.since(connection)
    const answer = connection.reply([SUB.VMOTION_GOAHEAD, SUB.VMOTION_NOTNOW], this.settings.limitMs)
    connection.begin(sequence)
    const reply = await answer
    if (reply.kind === 'sub') await this.settle(connection)
    const verdict = judgeBegin(sequence, seen())
    const faults = reply.kind === 'closed' ? ['the server closed the connection'] : verdict.faults
    return { ...verdict, faults, items: seen() }
  }

  /** Whether a connection still serves: a migration can begin on it, and is called off. */
  async usable(connection: SimConnection): Promise<string[]> {
    if (!connection.isOpen) return ['the server closed the connection']
    const { answer } = await this.begin(connection, this.sequence())
    if (answer === 'goahead') connection.abortVmotion()
    if (answer !== 'none') return []
    return [connection.isOpen ? 'afterwards BEGIN is not answered' : 'afterwards the connection is closed']
  }

  /** A destination that shows `payload`; what came of it, once the server has had its say. */
  async peer(
    payload: Uint8Array,
    options: ConnectionOptions = {},
  ): Promise<{ readonly connection: SimConnection; readonly items: readonly WireItem[] }> {
    const { limitMs } = this.settings
    let told = () => {}
    const written = new Promise<void>((resolve) => {
      told = resolve
    })
    const connection = this.dial({
      ...options,
      localAddress: this.hosts[1].localAddress,
      announcement: { kind: 'peer', payload },
      handler: { announced: told, closed: told },
    })
    await connection.opened
    await this.within(written, limitMs, 'option 232 was not agreed on with the destination')
    await this.settle(connection)
    return { connection, items: connection.recorded.items }
  }

  cookie(sequence: Uint8Array, secret: Uint8Array | null): Uint8Array {
    return concatBytes(sequence, secret ?? new Uint8Array(0))
  }

  /** Time for what should not happen. */
  quiet(ms = this.settings.quietMs): Promise<void> {
    if (ms <= 0) return Promise.resolve()
    return new Promise((resolve) => this.settings.clock.after(ms, resolve))
  }

  /** @throws VspcError VSPC_SIM_EXPECT when `task` takes longer than `ms`. */
  async within<T>(task: Promise<T>, ms: number, what: string): Promise<T> {
    let cancel = () => {}
    const late = new Promise<never>((_, reject) => {
      const error = new VspcError('VSPC_SIM_EXPECT', `${what} within ${ms} ms`)
      const timer = this.settings.clock.after(ms, () => reject(error))
      cancel = () => timer.cancel()
    })
    try {
      return await Promise.race([task, late])
    } finally {
      cancel()
    }
  }

  /** The middle of the times that connecting took: the network's round trip, roughly. */
  get roundTripMs(): number {
    const sorted = this.#roundTrips.toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }

  /** Many migrations, made once and looked at by several checks. */
  migrations(): Promise<MigrationSamples> {
    this.#migrations ??= migrateMany(this)
    return this.#migrations
  }

  /** Ends every connection and VM of the check that is over. */
  async strike(): Promise<void> {
    const vms = [...this.#vms]
    this.#vms.clear()
    for (const connection of this.#connections) connection.abort()
    this.#connections.clear()
    await Promise.all(vms.map((vm) => vm.close()))
  }
}
