/** Telnet for people: who comes in, by a serial port's own TCP port or by the menu. */
import { errorMessage, type Logger } from '../../base/index.ts'
import { type ByteStream, formatHostPort, type Listening, listen, NO_LAYERS } from '../../transport/index.ts'
import type { Port, Server } from '../../vspc/index.ts'
import type { AccessControl } from '../access/control.ts'
import { factsOf } from '../access/visitor.ts'
import { serverFiles } from '../config-tls.ts'
import { TelnetConnection } from './connection.ts'
import { TelnetConsole } from './console.ts'
import { TelnetLogin } from './login.ts'
import { type ListedPort, MenuUser } from './menu-user.ts'
import { NO_TELNET, type TelnetConfig } from './settings.ts'
import { TelnetTcpPorts } from './tcp-ports.ts'

/** The menu's list is put together at most so often: with 20,000 ports that takes a while. */
const LIST_MS = 500

const PROBLEMS: { readonly [kind: string]: string } = {
  accept: 'accept failed',
  handshake: 'a client failed TLS',
  certificate: 'clients will object to the certificate',
}

export interface TelnetOptions {
  readonly config: TelnetConfig
  readonly server: Server
  readonly access: AccessControl
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
  readonly #server: Server
  readonly #access: AccessControl
  readonly #log: Logger
  readonly #ports: TelnetTcpPorts
  readonly #connections = new Set<TelnetConnection>()
  /** As it is to be; what listens follows. */
  #config = NO_TELNET
  #menu: Listening | null = null
  #list: { at: number; ports: readonly ListedPort[] } | null = null
  #changing: Promise<void> = Promise.resolve()
  #stopping = false
  #allClosed: () => void = () => {}

  private constructor({ server, access, dataDir, log }: Omit<TelnetOptions, 'config'>) {
    this.#server = server
    this.#access = access
    this.#log = log
    this.#ports = new TelnetTcpPorts({
      server,
      dataDir,
      log,
      listen: (host, tcpPort, accept) => this.#listen(host, tcpPort, accept),
      accept: (port, stream) => this.#acceptPort(port, stream),
    })
  }

  /** Opens the menu, and what is known from before. @throws VspcError VSPC_TRANSPORT_LISTEN of the menu. */
  static async start({ config, ...options }: TelnetOptions): Promise<TelnetAccess> {
    const access = new TelnetAccess(options)
    access.#config = config
    await access.#openMenu(config)
    if (config.ports !== null) await access.#ports.use(config.ports)
    return access
  }

  /**
   * Takes over other settings; who is connected stays as they are. A menu that cannot be opened is told, and the one
   * there was stays. @param config null: nobody is let in any more.
   */
  reconfigure(config: TelnetConfig | null): void {
    this.#changing = this.#changing.then(() => this.#change(config ?? NO_TELNET))
  }

  /** Certificates are read again. Where that fails the old ones stay in use, and the log says so. Never rejects. */
  async reloadCertificates(): Promise<void> {
    if (this.#config.cert === null) return
    let failure: unknown = null
    for (const listening of [...(this.#menu === null ? [] : [this.#menu]), ...this.#ports.listening()]) {
      await listening.reload().catch((error: unknown) => {
        failure ??= error
      })
    }
    if (failure === null) this.#log.info({}, 'telnet: certificate read again')
    else
      this.#log.error({ reason: errorMessage(failure) }, 'telnet: certificate not read again; the old one stays in use')
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
    return this.#ports.size
  }

  /**
   * Accepts nobody any more, flushes and closes the connections, and resolves when they are closed. Consoles are closed
   * by the concentrator, which also says why.
   */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#changing
    await this.#menu?.close()
    await this.#ports.stop()
    for (const connection of [...this.#connections]) {
      if (connection.user instanceof TelnetConsole) continue
      connection.say('the server is stopping')
      connection.end()
    }
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#allClosed = resolve))
    await this.#ports.save()
  }

  /** Never rejects. */
  async #change(config: TelnetConfig): Promise<void> {
    const before = this.#config
    if (this.#stopping) return
    this.#config = config
    const isOtherWay = isOther([before.cert, before.key], [config.cert, config.key])
    if (isOther(before.menu, config.menu) || (isOtherWay && config.menu !== null)) {
      const old = this.#menu
      try {
        this.#menu = null
        // The same place cannot be had twice.
        if (!isOther(before.menu, config.menu)) await old?.close()
        await this.#openMenu(config)
        await old?.close()
      } catch (error) {
        this.#menu = old
        this.#config = { ...config, menu: before.menu }
        this.#log.error({ reason: errorMessage(error) }, 'telnet: the menu stays where it was')
      }
    }
    if (isOther(before.ports, config.ports) || isOtherWay) await this.#ports.use(config.ports, isOtherWay)
  }

  async #openMenu({ menu }: TelnetConfig): Promise<void> {
    if (menu === null) return
    this.#menu = await this.#listen(menu.host, menu.tcpPort, (stream) => this.#acceptMenu(stream))
    this.#log.info({ endpoint: this.menu }, 'telnet: serving the menu')
  }

  #listen(host: string, tcpPort: number, accept: (stream: ByteStream) => void): Promise<Listening> {
    const { cert, key } = this.#config
    const place = { host, tcpPort, vm: null, layers: NO_LAYERS }
    return listen(
      cert === null ? { scheme: 'tcp', tls: null, ...place } : { scheme: 'tls', tls: serverFiles(cert, key), ...place },
      {
        stream: accept,
        problem: ({ kind, error }) =>
          this.#log.warn({ tcpPort, code: error.code, reason: error.message }, `telnet: ${PROBLEMS[kind] ?? kind}`),
      },
      this.#server,
    )
  }

  // Clients

  #accept(stream: ByteStream): TelnetConnection | null {
    const server = this.#server
    if (this.#stopping || this.#connections.size >= server.limits.maxTelnetConnections) {
      this.counters.refused++
      stream.socket.on('error', () => {})
      stream.socket.end('[vspc] too many Telnet connections, the limit "maxTelnetConnections"\r\n', () =>
        stream.socket.destroy(),
      )
      return null
    }
    this.counters.accepted++
    const connection: TelnetConnection = new TelnetConnection(stream, server, this.#access, this.#config.binary, () => {
      this.#connections.delete(connection)
      if (this.#connections.size === 0) this.#allClosed()
    })
    this.#connections.add(connection)
    return connection
  }

  #acceptPort(port: Port, stream: ByteStream): void {
    this.#enter(stream, (connection) => {
      if (!connection.visitor.may('port.list', factsOf(port))) {
        connection.say('there is nothing here for you')
        connection.end()
        return
      }
      const { notices, portEscape } = this.#config
      const console = new TelnetConsole(connection, port, { notices, escape: portEscape, back: null })
      connection.handOver(console)
      console.attach({ mode: null })
    })
  }

  #acceptMenu(stream: ByteStream): void {
    this.#enter(stream, (connection) => {
      const menu = new MenuUser(connection, () => this.#listed(), this.#config)
      connection.handOver(menu)
      menu.open()
    })
  }

  /** Nothing is shown before it is known who it is. */
  #enter(stream: ByteStream, enter: (connection: TelnetConnection) => void): void {
    const connection = this.#accept(stream)
    if (connection === null) return
    const login = new TelnetLogin(connection, () => enter(connection))
    connection.start(login)
    if (this.#access.isOpen) enter(connection)
    else login.open()
  }

  #listed(): readonly ListedPort[] {
    const { clock, table } = this.#server
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

function isOther(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) !== JSON.stringify(b)
}
