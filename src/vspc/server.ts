import {
  type Clock,
  errorMessage,
  formatHex,
  type Limits,
  type Logger,
  type Tap,
  type Timer,
  VspcError,
} from '../base/index.ts'
import { type HistoryStore, MemoryHistoryStore } from '../history/index.ts'
import {
  type ByteStream,
  type Endpoint,
  type EndpointPattern,
  formatEndpoint,
  formatHostPort,
  LinkTable,
  type Listening,
  type ListenProblem,
  listen,
  parseTrustedSources,
  type TrustedSources,
} from '../transport/index.ts'
import { CookieTable, type RandomBytes } from '../vmotion/index.ts'
import type { WriterPolicy } from './arbitration.ts'
import { type Core, Counters, type OutputWatch } from './core.ts'
import { Dialler } from './dialler.ts'
import { Forwards } from './forward.ts'
import type { ForwardRule } from './forward-rule.ts'
import { OutwardDials } from './outward.ts'
import type { Port } from './port.ts'
import { PortTable } from './port-table.ts'
import { Refusals, refusalOf } from './refusals.ts'
import type { ServerEvent, VmotionResult } from './types.ts'
import { type VmEntry, VmSession } from './vm-session.ts'

/** Offline ports are looked over this often for those past their retention. */
const SWEEP_MS = 60_000
/** The same complaint is logged once per this time. */
const REPEAT_LOG_MS = 60_000

export interface ServerOptions {
  /** Endpoints with `vm` parameters: where hosts dial us. */
  readonly listen: readonly Endpoint[]
  /** Endpoints with `vm` parameters: serial ports in server mode, which we dial. */
  readonly dial: readonly Endpoint[]
  readonly serviceUris: readonly string[]
  readonly allowDial: readonly EndpointPattern[]
  /** Whose PROXY headers count. Default: nobody's. */
  readonly trusted?: TrustedSources
  /** Ports joined to programs. Default: none. */
  readonly forward?: readonly ForwardRule[]
  readonly writers: WriterPolicy
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Logger
  /** Cryptographically secure: vMotion secrets come from it. */
  readonly random: RandomBytes
  readonly tap?: Tap
  readonly observeGoahead?: (ms: number) => void
  readonly observeVmotion?: (result: VmotionResult, ms: number) => void
  /** Of the server alone, while it runs; whoever made it closes it after `stop`. Default: in memory. */
  readonly histories?: HistoryStore
}

/** The concentrator without its operator side: VM listeners, ports, consoles. */
export class Server implements Core {
  limits: Limits
  readonly clock: Clock
  readonly log: Logger
  readonly random: RandomBytes
  readonly tap: Tap | null
  /** May be set and taken away at any time. */
  watch: OutputWatch | null = null
  readonly cookies: CookieTable<Port>
  readonly table: PortTable
  readonly histories: HistoryStore
  readonly epoch: string
  readonly counters = new Counters()
  readonly refusals: Refusals
  /** Resumable streams of all listeners. */
  readonly links = new LinkTable()
  serviceUris: readonly string[]
  /** Looked at by listeners for each stream. */
  trusted: TrustedSources
  writers: WriterPolicy
  readonly observeGoahead: (ms: number) => void
  readonly observeVmotion: (result: VmotionResult, ms: number) => void
  stopping = false
  readonly unnamed = new Set<VmSession>()
  readonly #options: ServerOptions
  readonly #listening: Listening[] = []
  readonly #sessions = new Set<VmSession>()
  readonly #diallers = new Map<VmEntry, Dialler>()
  readonly #outward: OutwardDials
  readonly #forwards: Forwards
  readonly #subscribers = new Set<(event: ServerEvent) => void>()
  readonly #said = new Map<string, number>()
  #sweep: Timer | null = null
  #stopped: Promise<void> | null = null

  constructor(options: ServerOptions) {
    this.#options = options
    this.limits = options.limits
    this.clock = options.clock
    this.log = options.log
    this.refusals = new Refusals(options.clock)
    this.random = options.random
    this.tap = options.tap ?? null
    this.serviceUris = options.serviceUris
    this.trusted = options.trusted ?? parseTrustedSources([])
    this.writers = options.writers
    this.observeGoahead = options.observeGoahead ?? (() => {})
    this.observeVmotion = options.observeVmotion ?? (() => {})
    this.cookies = new CookieTable(options.random)
    this.histories = options.histories ?? new MemoryHistoryStore(options.limits)
    this.epoch = formatHex(options.random(6), '')
    this.table = new PortTable(this)
    this.table.restore()
    this.#outward = new OutwardDials(this, options.allowDial)
    this.#forwards = new Forwards(this, options.forward ?? [])
    if ((options.forward ?? []).length > 0) this.subscribe((event) => this.#forwardChanged(event))
  }

  /** Endpoints really listened on, with the ports the system chose. */
  get listening(): readonly Endpoint[] {
    return this.#listening.map((one) => one.endpoint)
  }

  /** The same, with what they show of themselves. */
  get listeners(): readonly Pick<Listening, 'endpoint' | 'certificate'>[] {
    return this.#listening
  }

  /** VM connections open now. */
  get connections(): number {
    return this.#sessions.size
  }

  /** Opens every listener, or none: a failure closes those already open. @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_TLS_FILES. */
  async start(): Promise<void> {
    try {
      for (const endpoint of this.#options.listen) await this.#open(endpoint)
    } catch (error) {
      await Promise.all(this.#listening.splice(0).map((one) => one.close()))
      throw error
    }
    await this.#forwards.start()
    for (const endpoint of this.#options.dial) this.#dial(endpoint)
    this.#scheduleSweep()
  }

  /** Changes what can change while running. It counts for what is opened and decided from now on; nothing is cut. */
  reconfigure(settings: Pick<ServerOptions, 'serviceUris' | 'trusted' | 'writers' | 'limits'>): void {
    this.serviceUris = settings.serviceUris
    if (settings.trusted !== undefined) this.trusted = settings.trusted
    this.writers = settings.writers
    this.limits = settings.limits
    this.histories.limits = settings.limits
    for (const port of this.table) port.consoleGroup?.settle()
  }

  /**
   * Has every listener read its certificates again, for connections from now on. Where that fails, the old ones stay in
   * use and the log says so. Never rejects.
   */
  async reloadCertificates(): Promise<void> {
    const withTls = this.#listening.filter(({ endpoint }) => 'tls' in endpoint && endpoint.tls !== null)
    await Promise.all(
      withTls.map(async (listening) => {
        const endpoint = formatEndpoint(listening.endpoint)
        try {
          await listening.reload()
          this.log.info({ endpoint }, 'certificates read again')
        } catch (error) {
          const reason = errorMessage(error)
          this.log.error({ endpoint, reason }, 'certificates not read again; the old ones stay in use')
        }
      }),
    )
  }

  /** Calls `subscriber` with every event from now on; the returned function ends that. It must not throw. */
  subscribe(subscriber: (event: ServerEvent) => void): () => void {
    this.#subscribers.add(subscriber)
    return () => this.#subscribers.delete(subscriber)
  }

  /** Forgets an offline port and its history. @returns false while it is not offline. */
  forget(port: Port): boolean {
    if (port.state !== 'offline') return false
    this.#remove(port, 'the port was removed')
    return true
  }

  /**
   * Stops: no new connection, vMotions answered NOTNOW, consoles told and closed, VM connections ended; what has not
   * flushed after `drainMs` is reset. Calling it again waits for the same end.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.stopping = true
    this.#sweep?.cancel()
    for (const dialler of this.#diallers.values()) dialler.stop()
    const flushed = Promise.all([this.#outward.stop(), this.#forwards.stop()])
    await Promise.all(this.#listening.splice(0).map((one) => one.close()))
    for (const port of this.table) port.consoleGroup?.closeAll('the server is stopping', 'VSPC_SERVER_STOPPING')
    // Who waits stunned for an answer gets one before the FIN.
    for (const port of this.table) port.handover.drainTimeout()
    for (const session of this.#sessions) session.end()
    const until = this.clock.now() + this.limits.drainMs
    await this.#untilClosed()
    await flushed
    // What was written to resumable streams may still be on its way.
    await this.links.emptied(this.clock, until - this.clock.now())
    for (const port of this.table) port.disarm()
  }

  #untilClosed(): Promise<void> {
    if (this.#sessions.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.clock.after(this.limits.drainMs, () => {
        for (const session of this.#sessions) session.abort()
      })
      this.#allClosed = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  #allClosed: (() => void) | null = null

  // Core

  emit(make: (at: string) => ServerEvent): void {
    if (this.#subscribers.size === 0) return
    const event = make(new Date(this.clock.wall()).toISOString())
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(event)
      } catch (error) {
        // Events are told in the middle of a handover: what a reader of them does must not end it half-way.
        this.counters.internalErrors++
        this.log.error({ event: event.type, error: errorMessage(error) }, 'a subscriber of events failed')
      }
    }
  }

  park(port: Port, session: VmSession): Port {
    const parked = this.table.park(port, session)
    if (this.#sayAgain(`park ${port.id}`)) {
      this.log.warn(
        { port: port.id, parked: parked.id },
        'two connections send under one port id: two serial ports share a serviceURI. Give each its own, such as "vSPC.py?port=com1"',
      )
    }
    return parked
  }

  cameOnline(port: Port): void {
    this.#outward.consider(port)
    this.#forwards.cameOnline(port)
  }

  #forwardChanged(event: ServerEvent): void {
    if (event.type !== 'port-offline' && event.type !== 'port-renamed' && event.type !== 'port-rekeyed') return
    const port = this.table.get(event.port.id)
    if (port !== undefined) this.#forwards.changed(port)
  }

  sessionClosed(session: VmSession): void {
    this.#sessions.delete(session)
    this.unnamed.delete(session)
    this.#diallers.get(session.entry)?.lost()
    if (this.stopping && this.#sessions.size === 0) this.#allClosed?.()
  }

  // Connections

  async #open(endpoint: Endpoint): Promise<void> {
    const entry = entryOf(endpoint, null)
    const listening = await listen(
      endpoint,
      {
        stream: (stream) => this.#accept(entry, stream),
        problem: (problem) => this.#problem(entry, problem),
      },
      // Itself, so that a listener sees limits that were changed meanwhile.
      this,
    )
    this.#listening.push(listening)
    this.log.info({ endpoint: formatEndpoint(listening.endpoint) }, 'listening for VMs')
  }

  #accept(entry: VmEntry, stream: ByteStream): void {
    if (this.stopping || this.#sessions.size >= this.limits.maxConnections) {
      this.counters.connectionsRefused++
      if (!this.stopping) this.refusals.note('connections', stream.peer, 'the limit "maxConnections" is reached')
      if (!this.stopping && this.#sayAgain('maxConnections')) {
        this.log.error(
          { connections: this.#sessions.size },
          'limit "maxConnections" reached: new VM connections are refused',
        )
      }
      stream.socket.on('error', () => {})
      stream.socket.destroy()
      // One that we dialled has to be dialled again: nobody else will bring it back.
      this.#diallers.get(entry)?.lost()
      return
    }
    this.counters.connectionsAccepted++
    const session = new VmSession(this, entry, stream)
    this.#sessions.add(session)
    session.start()
  }

  #problem(entry: VmEntry, problem: ListenProblem): void {
    if (problem.kind === 'handshake') this.counters.tlsFailures++
    else this.counters.listenerProblems++
    const refused = refusalOf(problem.kind)
    if (refused !== null) this.refusals.note(refused, problem.peer, problem.error.message)
    const what = `${problem.kind} ${problem.error.code} ${problem.peer?.address ?? ''}`
    if (!this.#sayAgain(what)) return
    this.log.warn(
      {
        listener: entry.uri,
        peer: problem.peer?.display ?? null,
        code: problem.error.code,
        reason: problem.error.message,
      },
      `listener: ${problem.kind}`,
    )
  }

  #dial(endpoint: Endpoint): void {
    const address = 'host' in endpoint ? formatHostPort(endpoint.host, endpoint.tcpPort) : null
    const entry = entryOf(endpoint, address)
    const dialler = new Dialler(this, endpoint, (stream) => this.#accept(entry, stream))
    this.#diallers.set(entry, dialler)
    dialler.start()
  }

  // Housekeeping

  #scheduleSweep(): void {
    this.#sweep = this.clock.after(SWEEP_MS, () => {
      for (const port of this.table) {
        const limit = this.histories.persistent && port.history.next > 0 ? 'historyRetentionMs' : 'portRetentionMs'
        const before = this.clock.now() - this.limits[limit]
        if (port.state === 'offline' && port.consoles.length === 0 && port.offlineSince < before) {
          this.#remove(port, `offline for longer than "${limit}"`)
        }
      }
      for (const [key, at] of this.#said) if (this.clock.now() - at > REPEAT_LOG_MS) this.#said.delete(key)
      this.#scheduleSweep()
    })
  }

  #remove(port: Port, reason: string): void {
    this.table.remove(port)
    this.#outward.forget(port)
    this.#forwards.forget(port)
    port.dispose(reason)
    this.log.info({ port: port.id, reason }, 'port removed')
    port.emitPort('port-removed')
  }

  /** False while the same thing was said within the last minute. Bounded: keys are swept, and few. */
  #sayAgain(key: string): boolean {
    const now = this.clock.now()
    const last = this.#said.get(key)
    if (last !== undefined && now - last < REPEAT_LOG_MS) return false
    if (this.#said.size > 1000) this.#said.clear()
    this.#said.set(key, now)
    return true
  }
}

/** @param address stands for peers of this entry; null = each has its own. */
function entryOf(endpoint: Endpoint, address: string | null): VmEntry {
  if (endpoint.vm === null || endpoint.vm.protocol === null) {
    throw new VspcError('VSPC_ENDPOINT_ROLE', `endpoint "${formatEndpoint(endpoint)}" was not parsed for VMs`)
  }
  const { protocol, name, label } = endpoint.vm
  return { uri: formatEndpoint(endpoint), protocol, name, label, address }
}
