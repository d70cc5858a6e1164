/** A TCP port for each serial port: opens and closes them, and keeps which is whose. */
import { join } from 'node:path'
import { errorMessage, type Logger, type Timer } from '../../base/index.ts'
import type { ByteStream, Listening } from '../../transport/index.ts'
import type { Port, Server, ServerEvent } from '../../vspc/index.ts'
import { TelnetPortMap } from './port-map.ts'
import { rangeText, type TelnetRange } from './settings.ts'

const FILE_NAME = 'telnet-ports.json'
/** TCP ports that could not be had are tried again. */
const RETRY_MS = 15_000
/** Free numbers tried for a new port, where others have what should be free. */
const MAX_TRIES = 50

export type Listen = (host: string, tcpPort: number, accept: (stream: ByteStream) => void) => Promise<Listening>

export interface TelnetTcpPortsOptions {
  readonly server: Server
  readonly dataDir: string
  readonly log: Logger
  readonly listen: Listen
  readonly accept: (port: Port, stream: ByteStream) => void
}

interface Open {
  readonly host: string
  readonly tcpPort: number
  readonly listening: Listening
}

export class TelnetTcpPorts {
  readonly #options: TelnetTcpPortsOptions
  readonly #map: TelnetPortMap
  readonly #open = new Map<Port, Open>()
  #range: TelnetRange | null = null
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

  constructor(options: TelnetTcpPortsOptions) {
    this.#options = options
    this.#map = TelnetPortMap.read(join(options.dataDir, FILE_NAME), options.log)
  }

  /** Serial ports that have a TCP port open. */
  get size(): number {
    return this.#open.size
  }

  /**
   * Gives serial ports numbers of this range from now on; null = none. What is open and not of it is closed; who is
   * connected there stays. Never rejects.
   * @param reopen what is open counts no longer: it is listened on in another way.
   */
  async use(range: TelnetRange | null, reopen = false): Promise<void> {
    const { server, log } = this.#options
    this.#unsubscribe()
    this.#range = range
    this.#next = 0
    this.#full = this.#complained = false
    if (reopen) for (const port of [...this.#open.keys()]) await this.#close(port)
    this.#unsubscribe = range === null ? () => {} : server.subscribe((event) => this.#happened(event))
    for (const port of this.#open.keys()) this.#change(port)
    if (range !== null) for (const port of server.table) this.#change(port)
    await this.#settling
    if (range !== null) {
      log.info({ ports: this.#open.size, range: rangeText(range) }, 'telnet: a TCP port per serial port')
    }
  }

  /** What listens, to read its certificate again. */
  *listening(): Generator<Listening> {
    for (const { listening } of this.#open.values()) yield listening
  }

  /** Never rejects. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#unsubscribe()
    this.#retry?.cancel()
    await this.#settling
    for (const { listening } of this.#open.values()) await listening.close()
  }

  /** After the last port has changed its name. Never rejects. */
  async save(): Promise<void> {
    await this.#map.save()
  }

  #happened(event: ServerEvent): void {
    switch (event.type) {
      case 'port-rekeyed':
        this.#map.rename(event.previousId, event.port.id)
        break
      case 'port-added':
        break
      case 'port-removed':
        for (const port of this.#open.keys()) if (port.id === event.port.id) this.#change(port)
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
      for (const [port, { tcpPort }] of this.#open) port.telnetPort = tcpPort
    }
    this.#settling = null
    if (this.#failed.size > 0 && !this.#stopping) this.#tryAgainLater()
  }

  async #settlePort(port: Port): Promise<void> {
    const { table } = this.#options.server
    const range = this.#range
    const there = this.#open.get(port)
    const isWanted = range !== null && table.get(port.id) === port
    const wanted = isWanted ? this.#numberOf(port, range) : null
    if (there !== undefined) {
      if (there.tcpPort === wanted && there.host === range?.host) return
      await this.#close(port)
    }
    if (!isWanted) this.#failed.delete(port)
    else if (wanted !== null) await this.#openOne(port, range, wanted, false)
    else await this.#openAny(port, range)
  }

  async #close(port: Port): Promise<void> {
    const there = this.#open.get(port)
    port.telnetPort = null
    this.#open.delete(port)
    await there?.listening.close()
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
      const failure = await this.#openOne(port, range, tcpPort, true)
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
  async #openOne(port: Port, { host }: TelnetRange, tcpPort: number, fresh: boolean): Promise<string | null> {
    const { log, listen, accept } = this.#options
    try {
      const listening = await listen(host, tcpPort, (stream) => accept(port, stream))
      this.#open.set(port, { host, tcpPort, listening })
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
}
