import type { Socket } from 'node:net'
import type { Timer } from '../base/index.ts'
import { type GuestMachine, SilentGuest } from './guest.ts'
import { openSocket, parseSimTarget, type SimTarget } from './target.ts'

/** Input queued for a backend that does not read, before the concentrator is made to wait. */
const MAX_QUEUED_BYTES = 65_536
const RECONNECT_MS = 1_000

/**
 * A guest that lives elsewhere: its serial port is a byte stream at `unix:///path` or `tcp://host:port`, for example
 * QEMU's `-serial unix:/run/vm.sock,server=on`. Bytes go through verbatim, both ways. While the VM is frozen nothing is
 * read from the backend, so what it prints waits in its own socket. A lost backend is dialled again every second.
 */
export class BackendGuest extends SilentGuest {
  readonly #target: SimTarget
  #machine: GuestMachine | null = null
  #socket: Socket | null = null
  #retry: Timer | null = null
  #stunned = false
  #full = false
  #inputFull = false

  /** @throws VspcError VSPC_ENDPOINT_* for a URI it cannot dial. */
  constructor(uri: string) {
    super()
    this.#target = parseSimTarget(uri)
  }

  override start(machine: GuestMachine): void {
    this.#machine = machine
    this.#dial()
  }

  override input(bytes: Uint8Array): boolean {
    const socket = this.#socket
    // Between two dials: like a UART with nothing at the other end.
    if (socket === null) return true
    socket.write(bytes.slice())
    this.#inputFull = socket.writableLength > MAX_QUEUED_BYTES
    return !this.#inputFull
  }

  override drain(): void {
    this.#full = false
    this.#flow()
  }

  override stun(): void {
    this.#stunned = true
    this.#flow()
  }

  override resume(): void {
    this.#stunned = false
    this.#flow()
  }

  override stop(): void {
    this.#machine = null
    this.#retry?.cancel()
    this.#socket?.destroy()
    this.#socket = null
    this.#stunned = false
    this.#full = false
  }

  #flow(): void {
    if (this.#stunned || this.#full) this.#socket?.pause()
    else this.#socket?.resume()
  }

  #dial(): void {
    const socket = openSocket(this.#target, undefined, true)
    this.#socket = socket
    socket.on('error', this.#onError)
    socket.on(this.#target.tls ? 'secureConnect' : 'connect', this.#onConnect)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.on('close', this.#onClose)
  }

  readonly #onConnect = (): void => {
    this.#flow()
  }

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#machine === null) return
    if (this.#machine.write(chunk)) return
    this.#full = true
    this.#flow()
  }

  readonly #onDrain = (): void => {
    if (!this.#inputFull) return
    this.#inputFull = false
    this.#machine?.inputDrained()
  }

  readonly #onEnd = (): void => {
    this.#socket?.end()
  }

  /** `close` follows and dials again; the cause makes no difference to that. */
  readonly #onError = (): void => {}

  readonly #onClose = (): void => {
    this.#socket = null
    const machine = this.#machine
    if (machine === null) return
    this.#onDrain()
    this.#retry = machine.clock.after(RECONNECT_MS, () => this.#dial())
  }
}
