/** Telnet for people: a TCP port for each serial port, and the menu. */
import { join } from 'node:path'
import { errorMessage, type Logger, type Timer } from '../../base/index.ts'
import { type ByteStream, formatHostPort, type Listening, listen, NO_LAYERS } from '../../transport/index.ts'
import type { Port, Server, ServerEvent } from '../../vspc/index.ts'
import { TelnetConnection } from './connection.ts'
import { TelnetConsole } from './console.ts'
import { type ListedPort, MenuUser } from './menu-user.ts'
import { TelnetPortMap } from './port-map.ts'
import type { TelnetConfig, TelnetRange } from './settings.ts'

const FILE_NAME = 'telnet-ports.json'
/** TCP ports that could not be had are tried again. */
const RETRY_MS = 15_000
/** Free numbers tried for a new port, where others have what should be free. */
const MAX_TRIES = 50
/** The menu's list is put together at most so often: with 20,000 ports that takes a while. */
const LIST_MS = 500

export interface TelnetOptions {
  readonly config: TelnetConfig
  readonly server: Server
  readonly dataDir: string
  readonly log: Logger
}

/** Plain counters for metrics. */
export class TelnetCounters {
  accepted = 0
  refused = 0
}

export class TelnetAccess {
  readonly counters = new TelnetCounters()
  readonly #options: TelnetOptions
  readonly #map: TelnetPortMap
  readonly #listening = new Map<Port, { tcpPort: number; listening: Listening }>()
  readonly #connections = new Set<TelnetConnection>()
  #menu: Listening | null = null
  #list: { at: number; ports: readonly ListedPort[] } | null = null
  /** Ports that something has happened to. */
  #changed = new Set<Port>()
  readonly #failed = new Set<Port>()
  #retry: Timer | null = null
  #settling: Promise<void> | null = null
  #unsubscribe: () => void = () => {}
  /** Where to look for a free number first. */
  #next = 0
  /** There is none: not looked for again before {@link RETRY_MS}. */
  #full = false
  #complained = false
  #stopping = false
  #allClosed: () => void = () => {}

  private constructor(options: TelnetOptions) {
    this.#options = options
    this.#map = TelnetPortMap.read(join(options.dataDir, FILE_NAME), options.log)
  }

  /** Opens the menu, and what is known from before. @throws VspcError VSPC_TRANSPORT_LISTEN of the menu. */
  static async start(options: TelnetOptions): Promise<TelnetAccess> {
    const access = new TelnetAccess(options)
    const { config, server, log } = options
    if (config.menu !== null) {
      const { host, tcpPort } = config.menu
      access.#menu = await access.#listen(host, tcpPort, (stream) => access.#acceptMenu(stream))
      log.info({ endpoint: access.menu }, 'telnet: serving the menu')
    }
    if (config.ports !== null) {
      access.#unsubscribe = server.subscribe((event) => access.#happened(event))
      for (const port of server.table) access.#change(port)
      await access.#settling
      log.info({ ports: access.#listening.size, range: rangeText(config.ports) }, 'telnet: a TCP port per serial port')
    }
    return access
  }

  /** `127.0.0.1:13399`, as bound; null: there is none. */
  get menu(): string | null {
    const endpoint = this.#menu?.endpoint
    return endpoint !== undefined && 'tcpPort' in endpoint ? formatHostPort(endpoint.host, endpoint.tcpPort) : null
  }

  /** Clients now. */
  get connections(): number {
    return this.#connections.size
  }

  /** Serial ports that have a TCP port open. */
  get openPorts(): number {
    return this.#listening.size
  }

  /**
   * Accepts nobody any more, flushes and closes the connections, and resolves when they are closed. Consoles are closed
   * by the concentrator, which also says why.
   */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#unsubscribe()
    this.#retry?.cancel()
    await this.#settling
    await this.#menu?.close()
    for (const { listening } of this.#listening.values()) await listening.close()
    for (const connection of [...this.#connections]) {
      if (!(connection.user instanceof MenuUser)) continue
      connection.say('the server is stopping')
      connection.end()
    }
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#allClosed = resolve))
    await this.#map.save()
  }

  // TCP ports of serial ports

  #happened(event: ServerEvent): void {
    switch (event.type) {
      case 'port-rekeyed':
        this.#map.rename(event.previousId, event.port.id)
        break
      case 'port-added':
        break
      case 'port-removed':
        for (const port of this.#listening.keys()) if (port.id === event.port.id) this.#change(port)
        // Its number may be somebody's who had none.
        this.#tryAgain()
        return
      default:
        return
    }
    const port = this.#options.server.table.get(event.port.id)
    if (port !== undefined) this.#change(port)
  }

  #change(port: Port): void {
    this.#changed.add(port)
    // After whatever is going on now: a fleet that connects is seen to in one go.
    if (this.#settling === null) this.#settling = new Promise((resolve) => setImmediate(() => resolve(this.#settle())))
  }

  /** Brings what is open in line with the ports there are, and keeps what was given out. Never rejects. */
  async #settle(): Promise<void> {
    while (this.#changed.size > 0 && !this.#stopping) {
      const changed = this.#changed
      this.#changed = new Set()
      for (const port of changed) await this.#settlePort(port)
      await this.#map.save()
      // Nobody is told a number that a crash could still change.
      for (const [port, { tcpPort }] of this.#listening) port.telnetPort = tcpPort
    }
    this.#settling = null
    if (this.#failed.size > 0 && !this.#stopping) this.#tryAgainLater()
  }

  async #settlePort(port: Port): Promise<void> {
    const { server, config } = this.#options
    const range = config.ports as TelnetRange
    const there = this.#listening.get(port)
    const known = server.table.get(port.id) === port
    const wanted = known ? this.#numberOf(port, range) : null
    if (there !== undefined) {
      if (there.tcpPort === wanted) return
      port.telnetPort = null
      this.#listening.delete(port)
      await there.listening.close()
    }
    if (!known) {
      this.#failed.delete(port)
      return
    }
    if (wanted !== null) await this.#open(port, range, wanted, false)
    else await this.#openAny(port, range)
  }

  /** What the port was given before, if that still counts. */
  #numberOf(port: Port, { first, last }: TelnetRange): number | null {
    const tcpPort = this.#map.get(port.id)
    return tcpPort !== null && tcpPort >= first && tcpPort <= last ? tcpPort : null
  }

  async #openAny(port: Port, range: TelnetRange): Promise<void> {
    this.#failed.add(port)
    if (this.#full) return
    let tries = 0
    let reason = 'every number is taken'
    for (const tcpPort of this.#candidates(range)) {
      if (tries++ === MAX_TRIES) break
      const failure = await this.#open(port, range, tcpPort, true)
      if (failure === null) {
        this.#next = tcpPort + 1
        return
      }
      reason = failure
    }
    this.#full = true
    if (this.#complained) return
    this.#complained = true
    this.#options.log.error(
      { port: port.id, range: rangeText(range), reason },
      'telnet: no TCP port for a serial port; widen telnet.ports. The menu still has it',
    )
  }

  /** Numbers that were never given out; when there are none, those whose serial ports are gone, the oldest first. */
  *#candidates({ first, last }: TelnetRange): Generator<number> {
    const count = last - first + 1
    const begin = Math.max(0, this.#next - first)
    let free = false
    for (let n = 0; n < count; n++) {
      const tcpPort = first + ((begin + n) % count)
      if (this.#map.holderOf(tcpPort) !== null) continue
      free = true
      yield tcpPort
    }
    if (free) return
    const { table } = this.#options.server
    for (const [id, tcpPort] of [...this.#map.entries()]) {
      if (table.get(id) === undefined && tcpPort >= first && tcpPort <= last) yield tcpPort
    }
  }

  /** @param fresh the number is the port's only if it can be had. @returns why it failed; null: it has not. */
  async #open(port: Port, { host }: TelnetRange, tcpPort: number, fresh: boolean): Promise<string | null> {
    const { log } = this.#options
    try {
      const listening = await this.#listen(host, tcpPort, (stream) => this.#acceptPort(port, stream))
      this.#listening.set(port, { tcpPort, listening })
      this.#map.set(port.id, tcpPort)
      this.#failed.delete(port)
      return null
    } catch (error) {
      const reason = errorMessage(error)
      if (!fresh && !this.#failed.has(port)) {
        log.error({ port: port.id, tcpPort, reason }, 'telnet: listening failed; tried again')
      }
      this.#failed.add(port)
      return reason
    }
  }

  #tryAgainLater(): void {
    this.#retry?.cancel()
    this.#retry = this.#options.server.clock.after(RETRY_MS, () => this.#tryAgain())
  }

  #tryAgain(): void {
    this.#full = false
    for (const port of this.#failed) this.#change(port)
  }

  // Clients

  #listen(host: string, tcpPort: number, accept: (stream: ByteStream) => void): Promise<Listening> {
    const { server, log } = this.#options
    return listen(
      { scheme: 'tcp', host, tcpPort, tls: null, vm: null, layers: NO_LAYERS },
      {
        stream: accept,
        problem: ({ error }) => log.warn({ tcpPort, code: error.code, reason: error.message }, 'telnet: accept failed'),
      },
      server,
    )
  }

  #accept(stream: ByteStream): TelnetConnection | null {
    const { server } = this.#options
    if (this.#stopping || this.#connections.size >= server.limits.maxTelnetConnections) {
      this.counters.refused++
      stream.socket.on('error', () => {})
      stream.socket.end('[vspc] too many Telnet connections, the limit "maxTelnetConnections"\r\n', () =>
        stream.socket.destroy(),
      )
      return null
    }
    this.counters.accepted++
    const connection: TelnetConnection = new TelnetConnection(stream, server, this.#options.config.binary, () => {
      this.#connections.delete(connection)
      if (this.#connections.size === 0) this.#allClosed()
    })
    this.#connections.add(connection)
    return connection
  }

  #acceptPort(port: Port, stream: ByteStream): void {
    const connection = this.#accept(stream)
    if (connection === null) return
    const console = new TelnetConsole(connection, port, this.#options.config.notices)
    connection.start(console)
    console.attach('write')
  }

  #acceptMenu(stream: ByteStream): void {
    const connection = this.#accept(stream)
    if (connection === null) return
    const menu = new MenuUser(connection, () => this.#ports(), this.#options.config.notices)
    connection.start(menu)
    menu.open()
  }

  #ports(): readonly ListedPort[] {
    const { clock, table } = this.#options.server
    const at = clock.now()
    if (this.#list !== null && at - this.#list.at < LIST_MS) return this.#list.ports
    const ports = [...table].map((port) => ({
      port,
      name: port.displayName,
      id: port.id,
      state: port.state,
      host: port.lastSession?.peer.address ?? null,
    }))
    ports.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1))
    this.#list = { at, ports }
    return ports
  }
}

function rangeText({ host, first, last }: TelnetRange): string {
  return `${formatHostPort(host, first)}-${last}`
}
