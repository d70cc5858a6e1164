import { type Clock, liveClock, VspcError } from '../base/index.ts'
import type { ConsoleInfo, PortInfo } from '../vspc/index.ts'
import { checkToken, DEFAULT_SERVER, parseServerUrl, type ServerAddress } from './address.ts'
import { type OpenConsole, webSocketConsoles } from './console-connection.ts'
import type { ConsoleOptions } from './console-options.ts'
import { EventStream } from './event-stream.ts'
import { chunksOf, openHistory } from './history.ts'
import { RemoteConsole } from './remote-console.ts'
import { notOurs, portSegment, ServerClient } from './requests.ts'
import { waitForPort } from './wait-for-port.ts'

export interface ConnectOptions {
  /** Default http://127.0.0.1:13371. May have a path, behind a reverse proxy. */
  readonly server?: string
  /** Bearer token. It never appears in an error. */
  readonly token?: string
  /** PEM text of the authorities to trust instead of the system's. */
  readonly ca?: string
  /** PEM texts of a client certificate and its key, for servers with mutual TLS; both or none. */
  readonly cert?: string
  readonly key?: string
}

export interface RequestOptions {
  /** Aborting it rejects. */
  readonly signal?: AbortSignal
}

export interface LogOptions extends RequestOptions {
  /** Offset of the first byte wanted; negative counts from the end. Default: the oldest byte held. */
  readonly from?: number
  /** Offset to stop before. Default: the end. */
  readonly to?: number
}

/** A port's recorded output. Iterate it to the end or leave the loop: either ends the transfer. */
export interface PortLog extends AsyncIterable<Uint8Array> {
  /** Offset of the first byte: later than asked for, where older ones are no longer held. */
  readonly start: number
  /** Offset after the last byte. There are fewer bytes than `next - start` where history has gaps. */
  readonly next: number
}

/**
 * A client of one server. Nothing is sent before the first call, and there is nothing to close but the consoles and
 * event streams that were opened.
 *
 * PORT is a port id, VM name, NAME/LABEL, UUID in any spelling, or a unique prefix of one, as on the command line.
 * Every failure is a VspcError whose `code` is one of docs/errors.md; aborts reject with the signal's reason.
 * @throws VspcError VSPC_USAGE for an address or token that cannot be one.
 */
export function connect({ server = DEFAULT_SERVER, token, ca, cert, key }: ConnectOptions = {}): VspcClient {
  if ((cert === undefined) !== (key === undefined)) throw new VspcError('VSPC_USAGE', 'cert and key go together')
  return new VspcClient({
    url: parseServerUrl(server, 'server'),
    token: token === undefined ? null : checkToken(token, 'token'),
    ca: ca ?? null,
    ...(cert === undefined || key === undefined ? {} : { identity: { cert, key } }),
  })
}

export class VspcClient {
  readonly #requests: ServerClient
  readonly #open: OpenConsole
  readonly #clock: Clock

  /** @param clock for every deadline and pause; tests pass their own. */
  constructor(address: ServerAddress, clock: Clock = liveClock) {
    this.#requests = new ServerClient(address)
    this.#open = webSocketConsoles(address, clock)
    this.#clock = clock
  }

  /** Every port the server knows, connected or not, in the server's order. */
  async ports({ signal }: RequestOptions = {}): Promise<PortInfo[]> {
    const list = await this.#requests.getJson('/api/v1/ports', signal)
    const valid =
      Array.isArray(list) && list.every((port) => typeof port?.id === 'string' && typeof port.vm?.name === 'string')
    if (!valid) throw notOurs(this.#requests.address, 'no list of ports')
    return list as PortInfo[]
  }

  /** @throws VspcError VSPC_PORT_NOT_FOUND, VSPC_PORT_AMBIGUOUS. */
  async port(port: string, { signal }: RequestOptions = {}): Promise<PortInfo> {
    return (await this.#requests.getJson(`/api/v1/ports/${portSegment(port)}`, signal)) as PortInfo
  }

  /**
   * Waits until the port exists and its VM is connected.
   * @param onWait told once why it waits.
   * @throws VspcError VSPC_WAIT_TIMEOUT after `timeoutMs` (default: never), or what makes waiting pointless.
   */
  waitForPort(
    port: string,
    {
      timeoutMs = Number.POSITIVE_INFINITY,
      onWait = () => {},
    }: { timeoutMs?: number; onWait?: (why: string) => void } = {},
  ): Promise<PortInfo> {
    return waitForPort(this.#requests, port, timeoutMs, this.#clock, onWait)
  }

  /** Who is attached to a port. */
  async consoles(port: string, { signal }: RequestOptions = {}): Promise<ConsoleInfo[]> {
    const list = await this.#requests.getJson(`/api/v1/ports/${portSegment(port)}/consoles`, signal)
    const valid = Array.isArray(list) && list.every((one) => typeof one?.id === 'number' && typeof one.who === 'string')
    if (!valid) throw notOurs(this.#requests.address, 'no list of consoles')
    return list as ConsoleInfo[]
  }

  /** Ends a console. @throws VspcError VSPC_CONSOLE_NOT_FOUND, VSPC_ACCESS_DENIED. */
  async kick(port: string, console: number, reason = '', { signal }: RequestOptions = {}): Promise<void> {
    const query = reason === '' ? '' : `?${new URLSearchParams({ reason })}`
    await this.#requests.delete(`/api/v1/ports/${portSegment(port)}/consoles/${console}${query}`, signal)
  }

  /** Says something to all consoles of a port, or (null) of all ports. Resolves to how many were told. */
  async say(port: string | null, text: string, { signal }: RequestOptions = {}): Promise<number> {
    const path = port === null ? '/api/v1/messages' : `/api/v1/ports/${portSegment(port)}/messages`
    const answer = (await this.#requests.postJson(path, { text }, signal)) as { consoles?: unknown } | null
    if (typeof answer?.consoles !== 'number') throw notOurs(this.#requests.address, 'no number of consoles')
    return answer.consoles
  }

  /** Attaches to a port. The caller closes the console. */
  console(port: string, options: ConsoleOptions = {}): Promise<RemoteConsole> {
    return RemoteConsole.open(port, options, { open: this.#open, clock: this.#clock, random: Math.random })
  }

  /** What the server has recorded of a port's output. To follow it, iterate a console opened with `from`. */
  async log(port: string, { from = 0, to, signal }: LogOptions = {}): Promise<PortLog> {
    const { start, next, body } = await openHistory(this.#requests, port, from, to ?? null, signal)
    return { start, next, [Symbol.asyncIterator]: () => chunksOf(body) }
  }

  /** Lifecycle events from now on. The caller closes the stream. */
  events({ signal }: RequestOptions = {}): Promise<EventStream> {
    return EventStream.open(this.#requests, signal)
  }
}
