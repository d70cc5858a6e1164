/**
 * What tcp: and unix: listeners share. A plain listener hands sockets over as they come; one with TLS keeps them until
 * it knows that they are plain, or until the handshake is done.
 */
import { createServer, type ListenOptions as NetListenOptions, type Server, type Socket } from 'node:net'
import { errorMessage, VspcError } from '../base/index.ts'
import { type ByteStream, ignoreError, type PeerInfo } from './byte-stream.ts'
import { type CertificateFacts, certificateFacts } from './certificate.ts'
import type { ListenHandlers, ListenOptions } from './contracts.ts'
import { DescriptorWatch } from './descriptors.ts'
import type { Endpoint, TlsParameters } from './endpoint.ts'
import { awaitFirstByte } from './first-byte.ts'
import { acceptError } from './system-errors.ts'
import { upgradeServer } from './tls.ts'
import { loadServerTls, type ServerTlsContext } from './tls-files.ts'

/** A restart of many hosts at once must not overflow it; the system caps it (net.core.somaxconn). */
export const BACKLOG = 4096

export interface AcceptPlan {
  readonly endpoint: Endpoint
  /** With `fd`, Node has it when `start` returns its promise. */
  readonly address: NetListenOptions | { readonly fd: number }
  /** Null: the peer is gone already. */
  readonly peerOf: (socket: Socket) => PeerInfo | null
  readonly tls: ServerTlsContext | null
  /** `only`: every connection begins with TLS. `beside`: the first byte tells. Means nothing without `tls`. */
  readonly tlsMode: 'only' | 'beside'
}

/** Accepts connections until closed. */
export class Listener {
  readonly server: Server
  readonly #plan: AcceptPlan
  readonly #handlers: ListenHandlers
  readonly #options: ListenOptions
  /** Sockets not handed over yet: to be dropped by `close`. */
  readonly #pending = new Set<Socket>()
  readonly #descriptors: DescriptorWatch
  #tls: ServerTlsContext | null

  private constructor(plan: AcceptPlan, handlers: ListenHandlers, options: ListenOptions) {
    this.#plan = plan
    this.#tls = plan.tls
    this.#handlers = handlers
    this.#options = options
    this.#descriptors = new DescriptorWatch('vm', options.clock)
    this.server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: options.limits.keepAliveMs,
    })
    const take = plan.tls === null ? (socket: Socket) => this.#plain(socket) : (socket: Socket) => this.#withTls(socket)
    this.server.on('connection', (socket) => {
      const shortage = this.#descriptors.shortage(socket)
      if (shortage === null) take(socket)
      else this.#refuse(socket, shortage)
    })
  }

  /** Binds and listens. @throws what the system says; the caller words it. */
  static async start(plan: AcceptPlan, handlers: ListenHandlers, options: ListenOptions): Promise<Listener> {
    const listener = new Listener(plan, handlers, options)
    const { server } = listener
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ ...plan.address, backlog: BACKLOG }, () => {
        server.off('error', reject)
        // Node emits failed accepts here; the listener itself is none the worse.
        server.on('error', (error) => listener.#acceptFailed(error))
        resolve()
      })
    })
    listener.#warn()
    return listener
  }

  /** The port of a TCP listener, as bound. */
  get tcpPort(): number {
    const address = this.server.address()
    return address !== null && typeof address === 'object' ? address.port : 0
  }

  /** What peers are shown from now on; null without TLS. */
  get certificate(): CertificateFacts | null {
    return this.#tls === null ? null : certificateFacts(this.#tls.certificate)
  }

  /** For handshakes from now on. @throws VspcError VSPC_TLS_FILES; nothing has changed then. */
  async reloadTls(tls: TlsParameters | null): Promise<void> {
    if (tls === null) return
    this.#tls = await loadServerTls(tls, this.#options.clock.wall())
    this.#warn()
  }

  #warn(): void {
    for (const warning of this.#tls?.warnings ?? []) {
      this.#handlers.problem({ kind: 'certificate', peer: null, error: new VspcError('VSPC_TLS_FILES', warning) })
    }
  }

  close(): void {
    // Its callback would wait for every connection handed over; the address is free at once.
    if (this.server.listening) this.server.close()
    for (const socket of this.#pending) socket.destroy()
    this.#pending.clear()
  }

  #acceptFailed(error: Error): void {
    this.#handlers.problem({ kind: 'accept', peer: null, error: acceptError(this.#plan.endpoint, error) })
  }

  #refuse(socket: Socket, shortage: string): void {
    socket.on('error', ignoreError)
    socket.destroy()
    this.#acceptFailed(Object.assign(new Error(shortage), { code: 'EMFILE' }))
  }

  #plain(socket: Socket): void {
    const peer = this.#plan.peerOf(socket)
    if (peer === null) {
      socket.on('error', ignoreError)
      socket.destroy()
      return
    }
    this.#handlers.stream({ socket, peer })
  }

  #withTls(socket: Socket): void {
    socket.on('error', ignoreError)
    const peer = this.#plan.peerOf(socket)
    if (peer === null) {
      socket.destroy()
      return
    }
    this.#pending.add(socket)
    const forget = (): boolean => this.#pending.delete(socket)
    socket.once('close', forget)
    const handOver = (stream: ByteStream): void => {
      socket.off('close', forget)
      // Closed meanwhile, or by now without owner.
      if (forget()) {
        this.#handlers.stream(stream)
        return
      }
      stream.socket.destroy()
      if (stream.socket !== socket && this.server.listening) this.#leftAfterHandshake(peer)
    }
    const startTls = (): void => {
      void this.#handshake({ socket, peer }, handOver)
    }
    if (this.#plan.tlsMode === 'only') {
      startTls()
      return
    }
    awaitFirstByte(socket, this.#options.limits.firstByteMs, this.#options.clock, (kind) => {
      if (kind === 'tls') startTls()
      else handOver({ socket, peer })
    })
  }

  /** How a host that checks a certificate only after the handshake says no (seen with Node's own client). */
  #leftAfterHandshake(peer: PeerInfo): void {
    const message = 'the peer closed right after the TLS handshake: it may not accept our certificate'
    this.#handlers.problem({ kind: 'handshake', peer, error: new VspcError('VSPC_TLS_HANDSHAKE', message) })
  }

  async #handshake(stream: ByteStream, handOver: (stream: ByteStream) => void): Promise<void> {
    const tls = this.#tls
    if (tls === null) return
    let secured: ByteStream
    try {
      secured = await upgradeServer(stream, {
        context: tls.context,
        clients: tls.clients,
        handshakeMs: this.#options.limits.tlsHandshakeMs,
        clock: this.#options.clock,
      })
    } catch (error) {
      // A handshake cut short by our own close() is no problem of the peer's.
      if (!this.server.listening) return
      const reported =
        error instanceof VspcError ? error : new VspcError('VSPC_TLS_HANDSHAKE', errorMessage(error), { cause: error })
      this.#handlers.problem({ kind: 'handshake', peer: stream.peer, error: reported })
      return
    }
    handOver(secured)
  }
}
