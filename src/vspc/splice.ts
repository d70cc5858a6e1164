import type { Timer } from '../base/index.ts'
import type { ByteStream } from '../transport/index.ts'
import type { Console } from './console.ts'
import type { Port } from './port.ts'
import type { ConsoleClient, ConsoleMessage } from './types.ts'

const NOTHING = new Uint8Array(0)

export interface SpliceOptions {
  /** Shown to the port's other consoles. */
  readonly who: string
  /** Offset of the first byte of output wanted, as far as history still has it; null = live only. */
  readonly from: number | null
  /**
   * What a FIN of the peer means. `end`: it is gone. `keep`: it only has nothing more to say, and is sent output until
   * it closes.
   */
  readonly halfClose: 'end' | 'keep'
  /** Called once, when it is over, in a later microtask. */
  readonly ended: (reason: string) => void
}

/**
 * Joins a port to a byte stream: the stream's peer is at the other end of the VM's serial line, verbatim both ways.
 *
 * To the port it is a console that writes; so it takes part in vMotion like any other, and people may watch. Its end is
 * the stream's end: a peer so slow that history no longer holds what it missed is disconnected rather than fed a stream
 * with a hole, and one that lost its right to write is, rather than robbed of what it says.
 */
export class Splice implements ConsoleClient {
  readonly #port: Port
  readonly #stream: ByteStream
  readonly #options: SpliceOptions
  readonly #console: Console | null
  #over = false
  #inputOver = false
  #deadline: Timer | null = null

  /**
   * Takes ownership of `stream`.
   * @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY; the stream is then closed, and `ended` is not called.
   */
  constructor(port: Port, stream: ByteStream, options: SpliceOptions) {
    this.#port = port
    this.#stream = stream
    this.#options = options
    const { socket } = stream
    socket.on('error', (error) => this.#abort(error.message))
    socket.on('close', () => {
      this.#deadline?.cancel()
      this.#abort('the peer closed the connection')
    })
    const from = options.from === null ? null : Math.max(options.from, port.history.start)
    try {
      this.#console = port.attachConsole(this, { mode: 'write', from, who: options.who, via: 'forward', force: false })
    } catch (error) {
      this.#console = null
      this.#over = true
      socket.destroy()
      throw error
    }
    const attached = this.#console
    if (this.#over) attached.detach()
    socket.on('data', (chunk: Uint8Array) => attached.write(chunk))
    socket.on('drain', () => attached.drained())
    socket.on('end', () => this.#peerEnded())
  }

  /** The peer will say nothing more. On a Unix socket it may still read; elsewhere it may as well be gone. */
  get inputOver(): boolean {
    return this.#inputOver
  }

  /**
   * Finds out whether the peer is still there, which nobody notices while its input is paused; calls `looked` then, later.
   * What the system knows is enough: a closed Unix socket, a reset TCP connection.
   */
  look(looked: () => void): void {
    const { socket } = this.#stream
    // What waits to be written is about to tell by itself.
    if (!this.#over && socket.writable && socket.writableLength === 0) socket.write(NOTHING)
    // Errors of a write come in the ticks after it.
    setImmediate(looked)
  }

  /** Resolves when the stream is closed; {@link close} bounds the time that takes. */
  closed(): Promise<void> {
    const { socket } = this.#stream
    if (socket.closed) return Promise.resolve()
    return new Promise((resolve) => socket.once('close', resolve))
  }

  output(bytes: Uint8Array): boolean {
    return this.#stream.socket.write(bytes)
  }

  notify(message: ConsoleMessage): void {
    if (message.type === 'gap') {
      this.#port.core.counters.splicesTooSlow++
      this.#abort(`too slow: ${message.bytes} bytes of output would be missing`)
    } else if (message.type === 'writer' && message.mode === 'read') {
      this.close(message.reason)
    }
  }

  setInputPaused(paused: boolean): void {
    if (this.#over) return
    if (paused) this.#stream.socket.pause()
    else this.#stream.socket.resume()
  }

  /** What was given to the stream is flushed, then FIN; what the peer does not take within `closeMs` is dropped. */
  close(reason: string): void {
    if (this.#over) return
    this.#leave(reason)
    const { socket } = this.#stream
    const { limits, clock, stopping } = this.#port.core
    this.#deadline = clock.after(stopping ? limits.drainMs : limits.closeMs, () => socket.destroy())
    socket.end()
    // Unread input would turn the close into a reset, which may overtake what is being flushed.
    socket.resume()
  }

  #peerEnded(): void {
    this.#inputOver = true
    if (this.#options.halfClose === 'end') this.close('the peer closed the connection')
    // On a Unix socket this fails at once if the peer has closed altogether. TCP tells when there is output.
    else if (!this.#over) this.#stream.socket.write(NOTHING)
  }

  #abort(reason: string): void {
    this.#leave(reason)
    this.#stream.socket.destroy()
  }

  #leave(reason: string): void {
    if (this.#over) return
    this.#over = true
    this.#console?.detach()
    // Not while the port is attaching or delivering.
    queueMicrotask(() => this.#options.ended(reason))
  }
}
