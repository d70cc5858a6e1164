import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type Clock, errorMessage, LIMITS, type Timer, VspcError } from '../base/index.ts'
import { SplitWriter, type WriteSplit } from './split-writer.ts'
import { checkPin, describeTarget, openSocket, type SimTarget, type SimTls, upgradeSocket } from './target.ts'
import { VmFrames } from './vm-frames.ts'
import { concatBytes } from './wire.ts'

/** How a connection ended: the proxy's FIN, ours, a reset by the proxy, `reset` or `abort`, or failure to connect. */
export interface CloseInfo {
  readonly how: 'proxy-fin' | 'fin' | 'reset' | 'aborted' | 'not-connected'
  readonly error: VspcError | null
}

export interface HostSocketOptions {
  readonly target: SimTarget
  readonly localAddress: string | undefined
  readonly noDelay: boolean
  readonly split: WriteSplit | undefined
  readonly clock: Clock
}

const OWNER = Symbol('HostSocket')

interface OwnedSocket extends Socket {
  [OWNER]?: HostSocket
}

/**
 * The socket half of a simulated connection: dialling, TLS and its pin, write splitting, FIN and RST, and how it all
 * ended. Listeners are one function each for all connections, so that an idle VM costs no closures.
 */
export abstract class HostSocket extends VmFrames {
  readonly #options: HostSocketOptions
  #socket: OwnedSocket
  #splitter: SplitWriter | null = null
  /** All answers to one segment leave as one, like those of a VM under Nagle's algorithm [seen: frame 14]. */
  #batch: Uint8Array[] | null = null
  #phase: 'dialing' | 'open' | 'closed' = 'dialing'
  #dialTimer: Timer | null
  #closeInfo: CloseInfo | null = null
  #finSent = false
  #finReceived = false
  #aborted = false
  #error: Error | null = null
  #onOpen: { resolve(): void; reject(error: Error): void }[] = []
  #onClose: ((info: CloseInfo) => void)[] = []

  constructor(options: HostSocketOptions) {
    super()
    this.#options = options
    this.#socket = openSocket(options.target, options.localAddress, options.noDelay)
    this.#listen(this.#socket, options.target.tls !== undefined)
    this.#dialTimer = options.clock.after(LIMITS.dialMs.default, () => {
      this.#error = new VspcError('VSPC_TRANSPORT_DIAL_TIMEOUT', `no answer from ${describeTarget(options.target)}`)
      this.#socket.destroy()
    })
  }

  /** Just connected; what is written now leaves in one segment. */
  protected abstract onOpen(): void
  /** Raw bytes from the proxy; what is written meanwhile leaves in one segment. */
  protected abstract onChunk(chunk: Uint8Array): void
  protected abstract onWritable(): void
  protected abstract onClosed(info: CloseInfo): void

  /** Rejects with VSPC_TRANSPORT_DIAL, _DIAL_TIMEOUT, VSPC_TLS_HANDSHAKE or VSPC_TLS_PIN_MISMATCH. */
  get opened(): Promise<this> {
    if (this.#phase === 'open') return Promise.resolve(this)
    if (this.#closeInfo) return Promise.reject(this.#closeInfo.error ?? new Error('closed'))
    return new Promise((resolve, reject) => this.#onOpen.push({ resolve: () => resolve(this), reject }))
  }

  /** Resolves when the socket is gone, whoever ended it. */
  get closed(): Promise<CloseInfo> {
    if (this.#closeInfo) return Promise.resolve(this.#closeInfo)
    return new Promise((resolve) => this.#onClose.push(resolve))
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  /** Open, and no FIN sent. */
  get canSend(): boolean {
    return this.#phase === 'open' && !this.#finSent
  }

  get isClosed(): boolean {
    return this.#phase === 'closed'
  }

  /** The connection's own address and port, as the proxy sees them; empty for Unix sockets. */
  get localAddress(): string {
    return this.#socket.localAddress ? `${this.#socket.localAddress}:${this.#socket.localPort}` : ''
  }

  /** Writes bytes as they are. False: the socket is full, wait for `writable`. Ignored once closed or after `fin`. */
  override sendRaw(bytes: Uint8Array): boolean {
    if (this.#phase === 'closed' || this.#finSent) return false
    if (this.#batch === null) return this.#write(bytes)
    this.#batch.push(bytes)
    return !this.#socket.writableNeedDrain
  }

  /** Sends FIN once everything written is out; reading goes on until the proxy closes too. */
  fin(): void {
    if (this.#finSent || this.#phase === 'closed') return
    this.#flushBatch()
    this.#finSent = true
    const socket = this.#socket
    if (this.#splitter) this.#splitter.whenIdle(() => socket.end())
    else socket.end()
  }

  /** Drops the connection with RST, as a crashed host or a firewall does. */
  reset(): void {
    this.#aborted = true
    if (this.#socket instanceof TLSSocket) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  /** Closes at once, for teardown. */
  abort(): void {
    this.#aborted = true
    this.#socket.destroy()
  }

  /** Stops reading, so that the proxy feels a VM that does not take its input. */
  pauseReading(): void {
    this.#socket.pause()
  }

  resumeReading(): void {
    this.#socket.resume()
  }

  describe(): string {
    return `${this.localAddress || 'VM'} -> ${describeTarget(this.#options.target)}, ${this.#phase}`
  }

  /** Goes on in TLS on the same connection; what follows in the current chunk would be lost, and is never sent. */
  protected startTls(tls: SimTls): void {
    this.#flushBatch()
    const plain = this.#socket
    plain.off('data', onData).off('end', onEnd).off('drain', onDrain).off('close', onClose)
    this.#socket = upgradeSocket(plain, tls)
    this.#listen(this.#socket, false)
    this.#socket.once('secureConnect', () => this.#pinned(tls))
  }

  #listen(socket: OwnedSocket, secure: boolean): void {
    socket[OWNER] = this
    socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('error', onError).on('close', onClose)
    if (this.#phase === 'dialing') socket.once(secure ? 'secureConnect' : 'connect', onConnect)
  }

  /** For the listeners below, which cannot reach private members. */
  socketEvent(event: 'connect' | 'end' | 'drain' | 'close'): void {
    if (event === 'connect') this.#connected()
    else if (event === 'drain') this.onWritable()
    else if (event === 'close') this.#finish()
    else {
      this.#finReceived = true
      // A host whose proxy has closed has no use for the other half.
      if (!this.#finSent) this.#socket.end()
    }
  }

  socketChunk(chunk: Uint8Array): void {
    this.#batch = []
    try {
      this.onChunk(chunk)
    } finally {
      this.#endBatch()
    }
  }

  socketError(error: Error): void {
    this.#error ??= error
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#splitter === null) return this.#socket.write(bytes)
    this.#splitter.write(bytes)
    return true
  }

  #endBatch(): void {
    this.#flushBatch()
    this.#batch = null
  }

  #flushBatch(): void {
    const batch = this.#batch
    const [first] = batch ?? []
    if (!batch || !first) return
    this.#batch = []
    this.#write(batch.length === 1 ? first : concatBytes(...batch))
  }

  #pinned(tls: SimTls): boolean {
    try {
      checkPin(this.#socket as TLSSocket, tls)
      return true
    } catch (error) {
      this.#error = error as Error
      this.#socket.destroy()
      return false
    }
  }

  #connected(): void {
    this.#dialTimer?.cancel()
    const { target, split } = this.#options
    if (target.tls && !this.#pinned(target.tls)) return
    this.#phase = 'open'
    if (split !== undefined) this.#splitter = new SplitWriter(this.#socket, split)
    this.#batch = []
    this.onOpen()
    this.#endBatch()
    const waiting = this.#onOpen
    this.#onOpen = []
    for (const { resolve } of waiting) resolve()
  }

  #finish(): void {
    if (this.#phase === 'closed') return
    const wasOpen = this.#phase === 'open'
    this.#dialTimer?.cancel()
    const info: CloseInfo = { how: this.#how(wasOpen), error: this.#failure(wasOpen) }
    this.#phase = 'closed'
    this.#closeInfo = info
    for (const { reject } of this.#onOpen) reject(info.error ?? new Error('closed before it opened'))
    this.#onOpen = []
    this.onClosed(info)
    for (const resolve of this.#onClose) resolve(info)
    this.#onClose = []
  }

  #how(wasOpen: boolean): CloseInfo['how'] {
    if (!wasOpen) return 'not-connected'
    if (this.#aborted) return 'aborted'
    if (this.#error) return 'reset'
    return this.#finReceived && !this.#finSent ? 'proxy-fin' : 'fin'
  }

  #failure(wasOpen: boolean): VspcError | null {
    const cause = this.#error
    if (cause instanceof VspcError) return cause
    const where = describeTarget(this.#options.target)
    if (cause === null) return wasOpen ? null : new VspcError('VSPC_TRANSPORT_DIAL', `${where}: given up or closed`)
    // TCP was up and TLS was not: the handshake failed.
    const handshake = !wasOpen && this.#options.target.tls !== undefined && !('syscall' in cause)
    const code = handshake ? 'VSPC_TLS_HANDSHAKE' : 'VSPC_TRANSPORT_DIAL'
    return new VspcError(code, `${where}: ${errorMessage(cause) || 'cannot connect'}`, { cause })
  }
}

function onConnect(this: OwnedSocket): void {
  this[OWNER]?.socketEvent('connect')
}

function onData(this: OwnedSocket, chunk: Buffer): void {
  this[OWNER]?.socketChunk(chunk)
}

function onEnd(this: OwnedSocket): void {
  this[OWNER]?.socketEvent('end')
}

function onDrain(this: OwnedSocket): void {
  this[OWNER]?.socketEvent('drain')
}

function onError(this: OwnedSocket, error: Error): void {
  this[OWNER]?.socketError(error)
}

function onClose(this: OwnedSocket): void {
  this[OWNER]?.socketEvent('close')
}
