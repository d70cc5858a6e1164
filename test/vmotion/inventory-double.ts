/**
 * A vSphere in memory, for what follows the appliance and re-points VMs: it takes its time (of a manual clock), fails
 * when told to, keeps to the rule that a connected port's backing may not change, and remembers every call.
 */
import { type ErrorCode, type ManualClock, VspcError } from '../../src/base/index.ts'
import type {
  HostPlace,
  Inventory,
  InventoryOptions,
  NextHopChange,
  NextHopPusher,
  PortChange,
  SerialPortInfo,
  VmName,
  VmPorts,
} from '../../src/vmotion/index.ts'

export const place = (n: number): HostPlace => ({
  id: `host-${n}`,
  name: `esx${n}.example`,
  managementIps: [`192.0.2.${n}`],
})

export const proxyOf = ({ name }: HostPlace) => `telnet://${name}:13370`

export function port(key: number, proxyURI: string | null, more: Partial<SerialPortInfo> = {}): SerialPortInfo {
  return {
    key,
    label: `Serial port ${key - 8999}`,
    backing: { kind: 'uri', serviceURI: 'vspc', direction: 'client', proxyURI },
    connected: true,
    startConnected: true,
    status: null,
    ...more,
  }
}

export function vm(n: number, ports: readonly SerialPortInfo[], more: Partial<VmPorts> = {}): VmPorts {
  return {
    id: `vm-${n}`,
    name: `web${n}`,
    instanceUuid: `50000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
    biosUuid: null,
    poweredOn: true,
    folder: '/DC/vm/prod',
    resourcePool: '/DC/host/c/Resources',
    customValues: new Map(),
    ports,
    ...more,
  }
}

export const failure = (code: ErrorCode) => new VspcError(code, `injected ${code}`)

export type Operation = 'find' | 'place' | 'list' | 'read' | 'disconnect' | 'point'

export interface CallRecord {
  readonly op: Operation
  readonly vm: string
  readonly at: number
  /** Of `point`: the proxy. */
  readonly to: string | null
  outcome: 'pending' | 'ok' | 'failed' | 'aborted'
}

interface Feed {
  readonly queue: (string | null)[]
  wake: () => void
  failed: unknown
  deaf: boolean
}

export class InventoryDouble implements Inventory {
  readonly vms = new Map<string, VmPorts>()
  readonly calls: CallRecord[] = []
  readonly feeds = new Set<Feed>()
  readonly broken: string[] = []
  names: VmName[] = []
  host: HostPlace | null = place(1)
  /** Of one call. */
  delayMs: () => number = () => 1
  /** What a call fails with. */
  fails: (op: Operation, vm: string) => unknown = () => null
  /** VMs under change now, and the most that ever were. */
  changing = new Set<string>()
  most = 0
  readonly #clock: ManualClock

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  add(...vms: readonly VmPorts[]): void {
    for (const one of vms) this.vms.set(one.id, one)
  }

  move(to: HostPlace | null): void {
    this.host = to
    this.tell(to?.id ?? null)
  }

  tell(hostId: string | null): void {
    for (const feed of this.feeds) {
      if (feed.deaf) continue
      feed.queue.push(hostId)
      feed.wake()
    }
  }

  /** Those that are open never tell anything any more. */
  deafen(): void {
    for (const feed of this.feeds) feed.deaf = true
  }

  breakFeeds(error: unknown): void {
    for (const feed of this.feeds) {
      feed.failed = error
      feed.wake()
    }
  }

  count(op: Operation, since = 0): number {
    return this.calls.filter((call) => call.op === op && call.at >= since).length
  }

  findVms(selector: string, { signal }: InventoryOptions): Promise<readonly VmName[]> {
    return this.#call('find', selector, signal, () =>
      this.names.filter(({ name, instanceUuid }) => name === selector || instanceUuid === selector),
    )
  }

  readPlace(one: VmName, { signal }: InventoryOptions): Promise<HostPlace | null> {
    // Begun now, so it knows of now.
    const host = this.host
    return this.#call('place', one.id, signal, () => {
      if (!this.names.some(({ id }) => id === one.id)) throw failure('VSPC_VSPHERE_NOT_FOUND')
      return host
    })
  }

  async *followPlace(one: VmName, { signal }: InventoryOptions): AsyncGenerator<string | null> {
    if (!this.names.some(({ id }) => id === one.id)) throw failure('VSPC_VSPHERE_NOT_FOUND')
    const feed: Feed = { queue: [this.host?.id ?? null], wake: () => {}, failed: null, deaf: false }
    this.feeds.add(feed)
    const onAbort = () => {
      feed.failed = signal.reason
      feed.wake()
    }
    signal.addEventListener('abort', onAbort)
    try {
      for (;;) {
        if (feed.failed !== null) throw feed.failed
        const next = feed.queue.shift()
        if (next !== undefined) yield next
        else
          await new Promise<void>((resolve) => {
            feed.wake = resolve
          })
      }
    } finally {
      this.feeds.delete(feed)
      signal.removeEventListener('abort', onAbort)
    }
  }

  listVms(_wanted: unknown, { signal }: InventoryOptions): Promise<readonly VmPorts[]> {
    // Each VM as it was at some moment between the call and the answer: the worst is the beginning.
    const all = [...this.vms.values()]
    return this.#call('list', '', signal, () => all)
  }

  readVm({ id }: VmPorts, { signal }: InventoryOptions): Promise<VmPorts> {
    return this.#call('read', id, signal, () => this.#vm(id))
  }

  changePorts({ id }: VmPorts, changes: readonly PortChange[], { signal }: InventoryOptions): Promise<void> {
    const [first] = changes
    const to = first?.backing?.proxyURI ?? null
    return this.#call(
      first?.backing === undefined ? 'disconnect' : 'point',
      id,
      signal,
      () => this.#apply(id, changes),
      to,
    )
  }

  #vm(id: string): VmPorts {
    const found = this.vms.get(id)
    if (found === undefined) throw failure('VSPC_VSPHERE_NOT_FOUND')
    return found
  }

  #apply(id: string, changes: readonly PortChange[]): void {
    const before = this.#vm(id)
    const ports = before.ports.map((now) => {
      const change = changes.find((one) => one.port.key === now.key)
      if (change === undefined) return now
      if (change.backing !== undefined && now.connected && before.poweredOn) {
        this.broken.push(`${id}: backing of a connected port changed`)
        throw failure('VSPC_VSPHERE_STATE')
      }
      if (change.connected === true && !before.poweredOn) throw failure('VSPC_VSPHERE_STATE')
      return {
        ...now,
        ...(change.backing === undefined ? {} : { backing: { kind: 'uri' as const, ...change.backing } }),
        ...(change.connected === undefined ? {} : { connected: change.connected }),
      }
    })
    this.vms.set(id, { ...before, ports })
  }

  #call<T>(op: Operation, id: string, signal: AbortSignal, run: () => T, to: string | null = null): Promise<T> {
    const changes = op === 'disconnect' || op === 'point'
    const record: CallRecord = { op, vm: id, at: this.#clock.now(), to, outcome: 'pending' }
    this.calls.push(record)
    if (changes && this.changing.has(id)) this.broken.push(`${id}: changed by two at once`)
    if (changes || op === 'read') this.changing.add(id)
    this.most = Math.max(this.most, this.changing.size)
    return new Promise<T>((resolve, reject) => {
      const end = (outcome: CallRecord['outcome']) => {
        record.outcome = outcome
        this.changing.delete(id)
        signal.removeEventListener('abort', onAbort)
      }
      const onAbort = () => {
        timer.cancel()
        end('aborted')
        reject(signal.reason)
      }
      const timer = this.#clock.after(this.delayMs(), () => {
        try {
          const wrong = this.fails(op, id)
          // A change whose answer is lost has been made all the same.
          if (wrong === 'lost') {
            run()
            throw failure('VSPC_VSPHERE_UNREACHABLE')
          }
          if (wrong !== null) throw wrong
          const value = run()
          end('ok')
          resolve(value)
        } catch (error) {
          end('failed')
          reject(error)
        }
      })
      signal.addEventListener('abort', onAbort)
    })
  }
}

/** Peer relays in memory. */
export class NextHopDouble implements NextHopPusher {
  readonly hops = new Map<string, string>()
  readonly attempts: { peer: string; endpoint: string; at: number }[] = []
  delayMs: () => number = () => 1
  fails: (peer: string) => unknown = () => null
  readonly #peers: readonly string[]
  readonly #clock: ManualClock

  constructor(clock: ManualClock, peers: readonly string[]) {
    this.#clock = clock
    this.#peers = peers
  }

  changes({ name }: HostPlace): NextHopChange[] {
    return this.#peers.map((peer) => ({ peer, endpoint: `tls://${name}:13371` }))
  }

  push({ peer, endpoint }: NextHopChange, { signal }: InventoryOptions): Promise<void> {
    this.attempts.push({ peer, endpoint, at: this.#clock.now() })
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.delayMs(), () => {
        signal.removeEventListener('abort', onAbort)
        const wrong = this.fails(peer)
        if (wrong !== null) {
          reject(wrong)
          return
        }
        this.hops.set(peer, endpoint)
        resolve()
      })
      const onAbort = () => {
        timer.cancel()
        reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }
}

/** Lets everything run that waits for nothing but promises. */
export const flush = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Moves time on in steps, each followed by what it has set free. */
export async function pass(clock: ManualClock, ms: number, stepMs = 10): Promise<void> {
  await flush()
  for (let left = ms; left > 0; left -= stepMs) {
    clock.advance(Math.min(stepMs, left))
    await flush()
  }
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
