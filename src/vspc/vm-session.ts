/**
 * One connection from an ESXi host (or a plain serial line): the socket, its Telnet session, and the role it plays for
 * a port. What the two sides say in option 232 is in `dialogue.ts`.
 *
 * There may be 20,000 of these: listeners are shared functions that find the session through the socket, there is one
 * timer slot, and what is only needed until the port is known is let go then.
 */
import type { Duplex } from 'node:stream'
import { ByteQueue, type ConnectionTap, errorMessage, type Timer } from '../base/index.ts'
import {
  BRK,
  encodeProxyMessage,
  OPTION,
  type ProxyMessage,
  type Side,
  TELNET_POLICY,
  type TelnetAnomaly,
  type TelnetOwner,
  TelnetSession,
  VMWARE_POLICY,
} from '../telnet/index.ts'
import type { Announcement, ByteStream, LinkInfo, PeerInfo, Scheme } from '../transport/index.ts'
import { ComPortLine } from './com-port-line.ts'
import { afterConnected } from './connected-time.ts'
import type { Core } from './core.ts'
import { Dialogue } from './dialogue.ts'
import { NOBODY } from './identity.ts'
import type { Port } from './port.ts'
import { listenTo } from './session-socket.ts'

/** How a listener or dialler was configured. */
export interface VmEntry {
  /** The endpoint's URI, for logs and captures. */
  readonly uri: string
  readonly protocol: 'vmware' | 'telnet' | 'raw'
  /** Identity of streams that carry none, and are not announced either. */
  readonly name: string | null
  readonly label: string | null
  /** Stands for the peer where it has no better identity; null = the peer's address. */
  readonly address: string | null
}

/**
 * `opening`: not yet a port's. `source`, `destination`: as in the handover. `retired`: was the source, delivers its last
 * bytes. `refused`: kept open, its data discarded.
 */
export type SessionRole = 'opening' | 'source' | 'destination' | 'retired' | 'refused' | 'closed'

let lastOrder = 0

export class VmSession implements TelnetOwner {
  readonly core: Core
  /** Connections made later have higher ones. */
  readonly order = ++lastOrder
  readonly entry: VmEntry
  /** Where the stream comes from; behind relays that say so, that is not who is connected to us. */
  readonly peer: PeerInfo
  /** How it reaches us. */
  readonly transport: Scheme
  /** Of a stream that survives its connections. */
  readonly link: LinkInfo | null
  /** What a relay says of a VM that says nothing itself; let go once the port is known. */
  announced: Announcement | null
  /** Wall clock, ms. */
  readonly connectedAt: number
  role: SessionRole = 'opening'
  port: Port | null = null
  /** Monotonic ms; 0 = was never superseded. */
  supersededAt = 0
  /** Why the connection broke, as the system calls it; null = it did not. */
  failure: string | null = null
  /** The peer has said FIN, or the socket is closed: no more input from it. */
  ended = false
  readonly #telnet: TelnetSession | null
  readonly #dialogue: Dialogue | null
  #socket: Duplex | null
  #tap: ConnectionTap | null
  #timer: Timer | null = null
  #early: ByteQueue | null = null
  #line: ComPortLine | null = null

  /** Takes over `stream`: the session closes it. `entry` says what is spoken on it. */
  constructor(core: Core, entry: VmEntry, stream: ByteStream) {
    this.core = core
    this.entry = entry
    this.peer = stream.peer
    this.transport = (stream.via ?? stream.peer).transport
    this.announced = entry.protocol === 'vmware' ? null : (stream.announced ?? null)
    this.connectedAt = core.clock.wall()
    this.link = stream.link ?? null
    this.#socket = stream.socket
    this.#tap = core.tap?.open({ peer: stream.peer.display, endpoint: entry.uri }) ?? null
    this.#telnet =
      entry.protocol === 'raw'
        ? null
        : new TelnetSession(this, entry.protocol === 'vmware' ? VMWARE_POLICY : TELNET_POLICY, core.limits)
    this.#dialogue = entry.protocol === 'vmware' ? new Dialogue(this) : null
    listenTo(stream.socket, this)
  }

  get protocol(): VmEntry['protocol'] {
    return this.entry.protocol
  }

  /** The VM's host took option 232 and may be sent its suboptions. */
  get isVmware(): boolean {
    return this.#telnet?.options.isOn('them', OPTION.VMWARE_TELNET_EXT) ?? false
  }

  /** Sends the opening offers, or, where nothing is negotiated, attaches at once. */
  start(): void {
    this.#telnet?.start()
    if (this.#dialogue !== null) this.#dialogue.start()
    else if (this.core.table.isTaken(this)) this.arm(this.core.limits.newcomerMs, () => this.#attachPlain())
    else this.#attachPlain()
  }

  /** As the port that the listener or dialler names. */
  #attachPlain(): void {
    this.disarm()
    this.core.table.attach(this, NOBODY, null)
  }

  // What the port asks of its connection

  /** The socket takes more input now. */
  get writable(): boolean {
    const socket = this.#socket
    return socket !== null && !socket.writableNeedDrain && socket.writable && !(this.#line?.suspended ?? false)
  }

  /** Everything handed to the socket was taken by the kernel (up to its own 16 KiB mark). */
  get drained(): boolean {
    return !(this.#socket?.writableNeedDrain ?? false)
  }

  /** We have not said FIN: the VM can still be reached. */
  get reachable(): boolean {
    return this.#socket?.writable ?? false
  }

  /** Serial data for the VM; encoded here. Nobody may change `bytes` afterwards: the socket may hold them. */
  sendInput(bytes: Uint8Array): void {
    if (this.#telnet !== null) this.#telnet.sendData(bytes)
    else this.#write(bytes)
  }

  send(message: ProxyMessage): void {
    if (!this.isVmware) return
    this.#telnet?.sendSubnegotiation(OPTION.VMWARE_TELNET_EXT, encodeProxyMessage(message))
  }

  /** @throws VspcError VSPC_BREAK_UNSUPPORTED on a raw stream. */
  sendBreak(): void {
    const notification = this.#comPort().breakNotification()
    if (notification !== null) this.#telnet?.sendSubnegotiation(OPTION.COM_PORT, notification)
    else this.#telnet?.sendCommand(BRK)
  }

  /** History is behind: nothing is read until `resumeReading`, which comes soon. */
  pauseReading(): void {
    this.#socket?.pause()
  }

  resumeReading(): void {
    this.#socket?.resume()
  }

  /** This connection runs the port now. */
  becomeSource(): void {
    this.role = 'source'
    this.disarm()
  }

  /** This connection is no longer the port's: what it has sent still counts, then it is closed. */
  retire(why: 'moved' | 'superseded'): void {
    if (this.role === 'closed') return
    this.role = 'retired'
    if (why === 'superseded') this.supersededAt = this.core.clock.now()
    if (this.ended) this.end()
    else this.arm(why === 'moved' ? this.core.limits.retireMs : this.core.limits.takeoverGraceMs, () => this.end())
  }

  // What the dialogue asks of its session

  /** One timer at a time: arming replaces. */
  arm(ms: number, run: () => void): void {
    this.#timer?.cancel()
    this.#timer = afterConnected(this.core.clock, this.link, ms, run)
  }

  disarm(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  /** The port is known: what came before it is delivered. */
  attached(port: Port): void {
    this.core.unnamed.delete(this)
    this.port = port
    this.announced = null
    this.role = 'source'
    this.supersededAt = 0
    this.disarm()
    port.attachSession(this)
    this.#flushEarly(port)
  }

  /** VMOTION-PEER was accepted. */
  becameDestination(port: Port): void {
    this.core.unnamed.delete(this)
    this.port = port
    this.role = 'destination'
    this.disarm()
    this.#flushEarly(port)
  }

  /** Keeps the connection, discards its data, closes it after `lingerMs`. */
  refuse(lingerMs: number): void {
    this.role = 'refused'
    this.#early = null
    this.arm(lingerMs, () => this.end())
  }

  /** Tells a person who found the wrong door, then closes. */
  explain(text: string): void {
    this.role = 'refused'
    this.#early = null
    this.#write(new TextEncoder().encode(text))
    this.end()
  }

  #flushEarly(port: Port): void {
    const early = this.#early
    this.#early = null
    if (early === null) return
    for (let piece = early.shift(); piece !== null; piece = early.shift()) port.output(this, piece)
  }

  // TelnetOwner

  telnetData(bytes: Uint8Array): void {
    if (this.port !== null && this.role !== 'refused') {
      this.port.output(this, bytes)
      return
    }
    if (this.role !== 'opening') return
    if (this.#dialogue === null) {
      this.#attachPlain()
      this.telnetData(bytes)
      return
    }
    this.#early ??= new ByteQueue(this.core.limits.preAttachBytes)
    if (this.#early.full) {
      if (this.core.counters.preAttachBytesDropped === 0) {
        this.core.log.warn(
          { peer: this.peer.display },
          'serial data before the port is known exceed "preAttachBytes"; the rest is dropped',
        )
      }
      this.core.counters.preAttachBytesDropped += bytes.length
    } else {
      this.#early.push(bytes)
    }
  }

  telnetOption(side: Side, option: number, change: 'on' | 'off' | 'refused'): void {
    if (side === 'them' && option === OPTION.VMWARE_TELNET_EXT) this.#dialogue?.optionChanged(change)
  }

  telnetSubnegotiation(option: number, payload: Uint8Array): void {
    if (option === OPTION.VMWARE_TELNET_EXT) this.#dialogue?.receive(payload)
    else if (option === OPTION.COM_PORT) {
      const answer = this.#comPort().receive(payload)
      if (answer !== null) this.#telnet?.sendSubnegotiation(OPTION.COM_PORT, answer)
    }
  }

  telnetCommand(code: number): void {
    if (code === BRK) this.port?.tellConsoles({ type: 'break', on: true })
  }

  telnetAnomaly(kind: TelnetAnomaly, offset: number): void {
    this.core.counters.telnetAnomalies++
    this.core.log[kind === 'negotiation-flood' ? 'warn' : 'debug'](
      { peer: this.peer.display, kind, offset },
      'Telnet anomaly',
    )
  }

  telnetSend(bytes: Uint8Array): void {
    this.#write(bytes)
  }

  #comPort(): ComPortLine {
    this.#line ??= new ComPortLine(this)
    return this.#line
  }

  // Socket

  /** @param chunk valid until return; overwritten on the way. */
  receive(chunk: Uint8Array): void {
    this.#tap?.fromVm(chunk)
    try {
      if (this.#telnet !== null) this.#telnet.receive(chunk)
      else this.telnetData(chunk)
    } catch (error) {
      // A bug of ours must cost one connection, not the process.
      this.core.counters.internalErrors++
      this.core.log.error({ peer: this.peer.display, error: stackOf(error) }, 'internal error; connection dropped')
      this.abort()
    }
  }

  /** The peer said FIN. */
  receiveEnd(): void {
    this.#finish()
    this.end()
  }

  socketClosed(): void {
    this.#finish()
    if (this.role === 'closed') return
    this.role = 'closed'
    this.disarm()
    this.#tap?.close()
    this.#tap = null
    this.#socket = null
    this.core.counters.connectionsClosed++
    this.core.sessionClosed(this)
  }

  socketFailed(error: NodeJS.ErrnoException): void {
    this.failure = error.code ?? error.message
    this.core.log.debug({ peer: this.peer.display, error: error.message }, 'connection failed')
  }

  socketDrained(): void {
    this.port?.sessionDrained(this)
  }

  #finish(): void {
    if (this.ended) return
    this.ended = true
    if (this.port !== null) this.port.sessionClosed(this)
    else if (this.role === 'opening' && !this.core.stopping) this.#leftUnknown()
  }

  #leftUnknown(): void {
    // A host that checks a certificate only after the handshake says no like this.
    const tls = this.transport === 'tls' ? '; it may not accept our TLS certificate' : ''
    this.core.refusals.note('left', this.peer, `it left before it said which VM it is${tls}`)
    this.core.log.info({ peer: this.peer.display }, `peer left before it said which VM it is${tls}`)
  }

  /** Sends what is queued, then FIN; a peer that does not answer it is reset after `closeMs`. */
  end(): void {
    const socket = this.#socket
    if (socket === null || socket.destroyed) return
    if (socket.writable) socket.end()
    this.arm(this.core.limits.closeMs, () => this.abort())
  }

  /** As {@link end}, for a reason worth a log line. */
  close(reason: string): void {
    this.core.log.info({ peer: this.peer.display, reason }, 'connection closed')
    this.role = this.role === 'closed' ? 'closed' : 'refused'
    this.end()
  }

  /** At once: what is queued is lost. */
  abort(): void {
    this.#socket?.destroy()
  }

  #write(bytes: Uint8Array): void {
    const socket = this.#socket
    if (socket === null || !socket.writable) return
    this.#tap?.toVm(bytes)
    if (!socket.write(bytes)) this.#checkUnread(socket)
  }

  /** Input waits for the socket, answers do not: a peer that only asks must not fill our memory with them. */
  #checkUnread(socket: Duplex): void {
    const { maxUnreadAnswerBytes, vmSocketBytes } = this.core.limits
    if (socket.writableLength <= maxUnreadAnswerBytes + 2 * vmSocketBytes) return
    this.core.log.warn(
      { peer: this.peer.display, bytes: socket.writableLength },
      'peer takes none of our answers ("maxUnreadAnswerBytes"); connection dropped',
    )
    this.abort()
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : errorMessage(error)
}
