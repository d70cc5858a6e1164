import { type Clock, systemClock, VspcError } from '../base/index.ts'
import {
  ALL_AUTOMATIC,
  type Announcement,
  type AutoAnswers,
  Autopilot,
  type AutopilotWire,
  NOTHING_AUTOMATIC,
  type Opening,
  type SimLine,
} from './autopilot.ts'
import { KNOWN_BY_VM, SUB } from './codes.ts'
import { ConnectionLog } from './connection-log.ts'
import { type CloseInfo, HostSocket } from './host-socket.ts'
import type { SimIdentity } from './identity.ts'
import { type Reply, ReplyWaits } from './reply-waits.ts'
import type { WriteSplit } from './split-writer.ts'
import type { SimTarget, SimTls } from './target.ts'
import { DEFAULT_WAIT_MS } from './waiting.ts'
import { WireParser, type WireSink } from './wire.ts'

export interface SimConnectionOptions {
  readonly target: SimTarget
  /** Source address, so that simulated hosts differ: on Linux any of 127.0.0.0/8 needs no set-up. */
  readonly localAddress?: string | undefined
  readonly opening?: Opening | undefined
  /** What follows KNOWN-SUBOPTIONS-1. Default: DO-PROXY, direction 'S', serviceURI `vSPC.py`. */
  readonly announcement?: Announcement | undefined
  readonly identity?: SimIdentity | undefined
  /** false: nothing is sent by itself. Single answers can be switched off by name. */
  readonly auto?: boolean | Partial<AutoAnswers> | undefined
  readonly known?: readonly number[] | undefined
  readonly line?: SimLine | undefined
  /** Take the upgrade to TLS when the proxy asks for AUTHENTICATION type SSL. Default: decline it. */
  readonly authUpgrade?: SimTls | undefined
  readonly split?: WriteSplit | undefined
  /** Default false, as ESX: Nagle's algorithm stays on [seen]. */
  readonly noDelay?: boolean | undefined
  /** Keep everything for `expect` and `log`. Default true; thousands of connections say false. */
  readonly record?: boolean | undefined
  readonly clock?: Clock | undefined
  readonly handler?: SimConnectionHandler | undefined
}

/** Told synchronously, in wire order, after the automatic answers. One object may serve many connections. */
export interface SimConnectionHandler {
  opened?(connection: SimConnection): void
  /** KNOWN-SUBOPTIONS-1 and DO-PROXY or PEER were written. */
  announced?(connection: SimConnection): void
  /** A view, valid during the call. */
  data?(connection: SimConnection, bytes: Uint8Array): void
  /** `payload` without the option byte; the handler may keep it. */
  sub?(connection: SimConnection, option: number, payload: Uint8Array): void
  command?(connection: SimConnection, command: number): void
  /** WILL, WONT, DO or DONT (251-254), for peers that answer in ways of their own. */
  verb?(connection: SimConnection, verb: number, option: number): void
  /** The socket takes data again after `data()` returned false. */
  writable?(connection: SimConnection): void
  closed?(connection: SimConnection, info: CloseInfo): void
}

/** The capture's VM. */
const DEFAULT_IDENTITY: SimIdentity = {
  vcUuid: '01 23 45 67 89 ab cd ef-fe dc ba 98 00 00 00 00',
  name: 'vm-00000',
}

/** Unassigned codes for {@link SimConnection.fence}; a new one each time, as a VM may not repeat a refused one. */
const FENCE_CODES = { first: 128, count: 96 } as const

/**
 * One TCP (or TLS, or Unix) connection of a simulated host to a concentrator. It dials from its constructor; `opened`
 * and `closed` tell how that went. The owner ends it with `fin`, `reset` or `abort`.
 */
export class SimConnection extends HostSocket implements WireSink, AutopilotWire {
  readonly log: ConnectionLog | null
  readonly #parser = new WireParser()
  readonly #autopilot: Autopilot
  readonly #replies: ReplyWaits
  readonly #handler: SimConnectionHandler | null
  readonly #authUpgrade: SimTls | null
  #fences = 0

  constructor(options: SimConnectionOptions) {
    const clock = options.clock ?? systemClock
    const { target, localAddress, split } = options
    super({ target, localAddress, split, noDelay: options.noDelay ?? false, clock })
    this.#handler = options.handler ?? null
    this.#authUpgrade = options.authUpgrade ?? null
    this.log = options.record === false ? null : new ConnectionLog(clock, () => this.describe())
    this.#replies = new ReplyWaits(clock)
    this.#autopilot = new Autopilot(
      {
        opening: options.opening ?? 'reactive',
        announcement: options.announcement ?? { kind: 'do-proxy', direction: 'S', serviceURI: 'vSPC.py' },
        identity: options.identity ?? DEFAULT_IDENTITY,
        auto: automatic(options.auto),
        known: options.known ?? KNOWN_BY_VM,
        line: options.line ?? null,
        secure: target.tls !== undefined,
        authUpgrade: options.authUpgrade !== undefined,
        clock,
      },
      this,
    )
  }

  /** Connects and resolves when the connection is up. */
  static open(options: SimConnectionOptions): Promise<SimConnection> {
    return new SimConnection(options).opened
  }

  /** Option 232 stands. */
  get vmwareOn(): boolean {
    return this.#autopilot.vmwareOn
  }

  /** BINARY and SGA on both ways, and option 232. */
  get settled(): boolean {
    return this.#autopilot.settled
  }

  /** The recorded log. @throws VspcError VSPC_SIM_STATE when opened with `record: false`. */
  get recorded(): ConnectionLog {
    if (this.log) return this.log
    throw new VspcError('VSPC_SIM_STATE', 'this connection was opened with record: false, so it has no log')
  }

  /** {@link ConnectionLog.expect} of this connection's log. */
  expect(...args: Parameters<ConnectionLog['expect']>): ReturnType<ConnectionLog['expect']> {
    return this.recorded.expect(...args)
  }

  /** {@link ConnectionLog.expectData} of this connection's log. */
  expectData(...args: Parameters<ConnectionLog['expectData']>): Promise<void> {
    return this.recorded.expectData(...args)
  }

  /**
   * Waits for one of these suboptions of option 232, from now on, without needing a log. `accept` may turn one down.
   * Call it before sending what is to be answered.
   */
  reply(codes: readonly number[], limitMs: number, accept?: (payload: Uint8Array) => boolean): Promise<Reply> {
    if (this.isClosed) return Promise.resolve({ kind: 'closed' })
    return this.#replies.add(codes, limitMs, accept)
  }

  /**
   * Sends an unknown suboption and waits for its UNKNOWN-SUBOPTION-RCVD-2: the proxy has then seen everything sent
   * before, so what it has not answered by now it will not answer. For asserting silence without sleeping.
   */
  fence(limitMs = DEFAULT_WAIT_MS): Promise<Reply> {
    const code = FENCE_CODES.first + (this.#fences++ % FENCE_CODES.count)
    const answer = this.reply([SUB.UNKNOWN_SUBOPTION_RCVD_2], limitMs, (payload) => payload[0] === code)
    this.suboption(code)
    return answer
  }

  override sendRaw(bytes: Uint8Array): boolean {
    this.log?.sent.append(bytes)
    return super.sendRaw(bytes)
  }

  // AutopilotWire

  announced(): void {
    this.#handler?.announced?.(this)
  }

  upgradeToTls(): void {
    if (this.#authUpgrade) this.startTls(this.#authUpgrade)
  }

  // HostSocket

  protected onOpen(): void {
    this.#autopilot.start()
    this.#handler?.opened?.(this)
  }

  protected onChunk(chunk: Uint8Array): void {
    this.#parser.push(chunk, this)
    this.log?.poke()
  }

  protected onWritable(): void {
    this.#handler?.writable?.(this)
  }

  protected onClosed(info: CloseInfo): void {
    this.#replies.close()
    this.log?.end(`the connection closed (${info.how})`)
    this.#handler?.closed?.(this, info)
  }

  // WireSink

  onData(bytes: Uint8Array, at: number): void {
    this.log?.sink.onData(bytes, at)
    this.#handler?.data?.(this, bytes)
  }

  onVerb(verb: number, option: number, at: number): void {
    this.log?.sink.onVerb(verb, option, at)
    this.#autopilot.verb(verb, option)
    this.#handler?.verb?.(this, verb, option)
  }

  onSub(option: number, payload: Uint8Array, at: number): void {
    this.log?.sink.onSub(option, payload, at)
    this.#autopilot.sub(option, payload)
    this.#handler?.sub?.(this, option, payload)
    this.#replies.sub(option, payload)
  }

  onCommand(command: number, at: number): void {
    this.log?.sink.onCommand(command, at)
    this.#handler?.command?.(this, command)
  }

  onMalformed(what: string, at: number): void {
    this.log?.sink.onMalformed(what, at)
  }
}

function automatic(auto: boolean | Partial<AutoAnswers> | undefined): AutoAnswers {
  if (auto === false) return NOTHING_AUTOMATIC
  if (auto === undefined || auto === true) return ALL_AUTOMATIC
  return { ...ALL_AUTOMATIC, ...auto }
}
