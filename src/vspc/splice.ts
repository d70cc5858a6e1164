import type { ByteStream } from '../transport/index.ts'
import type { Console } from './console.ts'
import type { Port } from './port.ts'
import type { ConsoleClient, ConsoleMessage } from './types.ts'

/**
 * Joins a port to a byte stream: the stream's peer is at the other end of the VM's serial line, verbatim both ways.
 *
 * To the port it is a console that writes; so it takes part in vMotion like any other, and people may watch. A peer so
 * slow that history no longer holds what it missed is disconnected rather than fed a stream with a hole.
 */
export class Splice implements ConsoleClient {
  readonly #stream: ByteStream
  readonly #ended: (reason: string) => void
  readonly #console: Console | null
  #over = false

  /**
   * Takes ownership of `stream`; `ended` is called once, when it is over.
   * @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY; the stream is then closed.
   */
  constructor(port: Port, stream: ByteStream, ended: (reason: string) => void) {
    this.#stream = stream
    this.#ended = ended
    const { socket } = stream
    socket.on('error', (error) => this.#end(error.message))
    socket.on('close', () => this.#end('the peer closed the connection'))
    try {
      this.#console = port.attachConsole(this, { mode: 'write', from: null, who: stream.peer.display, force: false })
    } catch (error) {
      this.#console = null
      this.#over = true
      socket.destroy()
      throw error
    }
    const attached = this.#console
    socket.on('data', (chunk: Uint8Array) => attached.write(chunk))
    socket.on('drain', () => attached.drained())
    socket.on('end', () => socket.end())
  }

  output(bytes: Uint8Array): boolean {
    return this.#stream.socket.write(bytes)
  }

  notify(message: ConsoleMessage): void {
    if (message.type === 'gap') this.#end(`too slow: ${message.bytes} bytes of output would be missing`)
  }

  setInputPaused(paused: boolean): void {
    if (paused) this.#stream.socket.pause()
    else this.#stream.socket.resume()
  }

  close(reason: string): void {
    this.#end(reason)
  }

  #end(reason: string): void {
    if (this.#over) return
    this.#over = true
    this.#console?.detach()
    this.#stream.socket.destroy()
    this.#ended(reason)
  }
}
