/**
 * A TCP client without streams: Node's own TCP handle, used directly, at about half of `net.Socket`'s CPU time. The
 * generator shares two cores with the server it measures, so what it costs itself is what limits the rates.
 *
 * `process.binding` is deprecated and may go; this file is the only one that would have to change.
 */

interface Handle {
  onread: () => void
  bind(address: string, port: number, flags: number): number
  connect(request: object, address: string, port: number): number
  setNoDelay(on: boolean): number
  useUserBuffer(buffer: Uint8Array): void
  getsockname(out: { port?: number }): number
  readStart(): number
  readStop(): number
  writeBuffer(request: object, bytes: Uint8Array): number
  shutdown(request: object): number
  reset(): number
  close(): void
}

type Completed = { oncomplete: (status: number) => void }

interface TcpBinding {
  TCP: new (type: number) => Handle
  TCPConnectWrap: new () => Completed
  constants: { SOCKET: number }
}

interface StreamBinding {
  WriteWrap: new () => Completed & { buffer?: Uint8Array }
  ShutdownWrap: new () => Completed
  streamBaseState: Int32Array
  kReadBytesOrError: number
  kLastWriteWasAsync: number
}

const { binding } = process as unknown as { binding(name: string): unknown }
const tcp = binding('tcp_wrap') as TcpBinding
const { WriteWrap, ShutdownWrap, streamBaseState, kReadBytesOrError, kLastWriteWasAsync } = binding(
  'stream_wrap',
) as StreamBinding

/** One for all sockets: a read is handed on before the next one begins. */
const inbox = Buffer.alloc(262_144)

export interface SocketOwner {
  opened(): void
  /** A view of a shared buffer, valid during the call. */
  received(bytes: Buffer): void
  /** What `write` could not get rid of at once is with the kernel now. */
  drained(): void
  /** The peer said FIN, the connection failed, or was never made; `reason` in words. Nothing follows. */
  ended(reason: string): void
}

export class RawSocket {
  readonly #handle: Handle
  readonly #owner: SocketOwner
  #open = true
  #sending = 0

  /** Dials 127.0.0.1. @param from source address, a loopback one. */
  constructor(tcpPort: number, from: string, owner: SocketOwner) {
    this.#owner = owner
    this.#handle = new tcp.TCP(tcp.constants.SOCKET)
    const handle = this.#handle
    handle.useUserBuffer(inbox)
    handle.onread = () => this.#read(streamBaseState[kReadBytesOrError] as number)
    const request = new tcp.TCPConnectWrap()
    request.oncomplete = (status) => this.#connected(status)
    const failed = handle.bind(from, 0, 0) || handle.connect(request, '127.0.0.1', tcpPort)
    if (failed !== 0) setImmediate(() => this.#lost(`connect: error ${failed}`))
  }

  get open(): boolean {
    return this.#open
  }

  get localPort(): number {
    const name: { port?: number } = {}
    this.#handle.getsockname(name)
    return name.port ?? 0
  }

  /** Sends `bytes`, which must not change until then. @returns false: wait for `drained`. */
  write(bytes: Uint8Array): boolean {
    if (!this.#open) return false
    const request = new WriteWrap()
    request.oncomplete = (status) => this.#written(status)
    const failed = this.#handle.writeBuffer(request, bytes)
    if (failed !== 0) {
      this.#lost(`write: error ${failed}`)
      return false
    }
    if (streamBaseState[kLastWriteWasAsync] === 0) return this.#sending === 0
    request.buffer = bytes
    this.#sending++
    return false
  }

  /** Sends FIN; reading goes on. */
  fin(): void {
    if (!this.#open) return
    const request = new ShutdownWrap()
    request.oncomplete = () => {}
    this.#handle.shutdown(request)
  }

  pause(): void {
    if (this.#open) this.#handle.readStop()
  }

  resume(): void {
    if (this.#open) this.#handle.readStart()
  }

  /** RST: no side keeps the connection in TIME_WAIT. The owner hears nothing more. */
  reset(): void {
    if (!this.#open) return
    this.#open = false
    this.#handle.reset()
  }

  #connected(status: number): void {
    if (!this.#open) return
    if (status !== 0) {
      this.#lost(`connect: error ${status}`)
      return
    }
    this.#handle.setNoDelay(true)
    this.#handle.readStart()
    this.#owner.opened()
  }

  #read(length: number): void {
    if (!this.#open) return
    if (length > 0) this.#owner.received(inbox.subarray(0, length))
    else if (length < 0) this.#lost(length === -4095 ? 'FIN' : `read: error ${length}`)
  }

  #written(status: number): void {
    this.#sending--
    if (!this.#open) return
    if (status !== 0) this.#lost(`write: error ${status}`)
    else if (this.#sending === 0) this.#owner.drained()
  }

  #lost(reason: string): void {
    if (!this.#open) return
    this.#open = false
    this.#handle.close()
    this.#owner.ended(reason)
  }
}
