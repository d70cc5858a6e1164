/**
 * A console over a WebSocket: binary frames are console bytes, text frames control messages.
 *
 * The socket's own send buffer is the only queue, and it is bounded: past `consoleBufferBytes` the console stops and is
 * later fed from history; control messages have a bit of room beyond that, and whoever fills it too is disconnected.
 */
import type { WebSocket } from 'ws'
import { errorMessage, VspcError } from '../base/index.ts'
import type { Console, ConsoleClient, ConsoleMessage, ConsoleMode, ConsolePermit, Port } from '../vspc/index.ts'
import { parseControl } from './console-control.ts'

export interface AttachRequest {
  readonly mode: ConsoleMode
  readonly from: number | null
  readonly force: boolean
  readonly wait: boolean
  readonly who: string
  readonly address?: string
  readonly permit?: ConsolePermit
}

/** Close codes of ours are 4000 plus the HTTP status that comes nearest; RFC 6455 section 7.4.2 leaves 4000 on to us. */
const CLOSE_CODES: { readonly [code: string]: number } = {
  VSPC_SERVER_STOPPING: 1001,
  VSPC_ACCESS_LOGIN: 4401,
  VSPC_ACCESS_DENIED: 4403,
  VSPC_CONSOLE_STALLED: 4408,
  VSPC_CONSOLE_BUSY: 4409,
  VSPC_PORT_REMOVED: 4410,
  VSPC_CONSOLE_KICKED: 4411,
  VSPC_CONSOLE_TOO_MANY: 4429,
}
const NORMAL_CLOSURE = 1000
const INTERNAL_ERROR = 1011

/** What RFC 6455 section 5.5 leaves for the reason of a close frame. */
const MAX_REASON_BYTES = 123
/** Messages beyond the mark for output, for a peer that does not read. */
const CONTROL_BYTES = 131_072
const DROPPED_UNREAD: readonly ConsoleMessage['type'][] = ['error', 'consoles', 'said']
/** Pings without any sign of life in between. */
const MAX_UNANSWERED = 2

/** Output that lies in this much memory or more is given back to history once it is sent. */
const LARGE_BYTES = 65_536

/** Entries of a list that are done with before it is cleaned up. */
const MAX_SENT = 256

const BINARY = { binary: true, compress: false } as const

export class WsConsole implements ConsoleClient {
  readonly #socket: WebSocket
  readonly #port: Port
  #console: Console | null = null
  readonly #highBytes: number
  /** Output waits for the socket; `#sent` goes on. */
  #blocked = false
  /** While history is fed: what may still be sent in this turn of the event loop. Otherwise infinite. */
  #turnBytes = Number.POSITIVE_INFINITY
  #inputPaused = false
  /** Output in large memory on its way, from `#firstLarge` on; at most about `consoleBufferBytes`. */
  readonly #large: Uint8Array[] = []
  #firstLarge = 0
  #unanswered = 0

  /** @param socket has to be open and nobody else's. */
  constructor(socket: WebSocket, port: Port) {
    this.#socket = socket
    this.#port = port
    this.#highBytes = port.core.limits.consoleBufferBytes
  }

  /** Attaches, or says why not and closes. */
  attach(request: AttachRequest): void {
    const socket = this.#socket
    socket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary))
    socket.on('pong', () => {
      this.#unanswered = 0
    })
    socket.on('close', () => this.#console?.detach())
    this.#feed(() => {
      try {
        this.#console = this.#port.attachConsole(this, { ...request, via: 'websocket' })
      } catch (error) {
        this.#refuse(error)
      }
    })
  }

  #refuse(error: unknown): void {
    const code = error instanceof VspcError ? error.code : 'VSPC_INTERNAL'
    const message = error instanceof VspcError ? error.message : 'the server failed; its log says why'
    if (code === 'VSPC_INTERNAL') {
      this.#port.core.log.error({ port: this.#port.id, error: errorMessage(error) }, 'a console could not be attached')
    }
    this.notify({ type: 'error', code, message })
    this.notify({ type: 'detached', reason: message, code })
    this.close(message, code)
  }

  /** Null: refused. */
  get console(): Console | null {
    return this.#console
  }

  // ConsoleClient

  output(bytes: Uint8Array): boolean {
    const socket = this.#socket
    if (socket.readyState !== socket.OPEN) return false
    this.#port.core.counters.consoleBytes += bytes.length
    if (bytes.buffer.byteLength < LARGE_BYTES) {
      socket.send(bytes, BINARY, this.#sent)
    } else {
      this.#large.push(bytes)
      socket.send(bytes, BINARY, this.#sentLarge)
    }
    this.#turnBytes -= bytes.length
    this.#blocked = socket.bufferedAmount > this.#highBytes || this.#turnBytes <= 0
    return !this.#blocked
  }

  notify(message: ConsoleMessage): void {
    const socket = this.#socket
    if (socket.readyState !== socket.OPEN) return
    if (socket.bufferedAmount > 2 * this.#highBytes + CONTROL_BYTES) {
      // Answers and words are dropped for a peer that does not read; anything else it would have to know.
      if (DROPPED_UNREAD.includes(message.type)) return
      socket.terminate()
      return
    }
    socket.send(JSON.stringify(message), this.#sent)
  }

  setInputPaused(paused: boolean): void {
    this.#inputPaused = paused
    if (paused) this.#socket.pause()
    else this.#socket.resume()
  }

  /** The peer gets the time of a close handshake to read what is on its way; see the server's `closeTimeout`. */
  close(reason: string, code?: string): void {
    const number = code === undefined ? NORMAL_CLOSURE : (CLOSE_CODES[code] ?? INTERNAL_ERROR)
    this.#socket.close(number, cutUtf8(reason, MAX_REASON_BYTES))
    // A paused socket would not see the peer's answer.
    this.#socket.resume()
  }

  /** Asks for a sign of life, and ends a console that gave none after the last ones. */
  ping(): void {
    const socket = this.#socket
    // Behind unread output a ping proves nothing: that peer is there, and slow. While paused we hear no answers.
    if (socket.readyState !== socket.OPEN || socket.bufferedAmount > 0) return
    if (this.#inputPaused) this.#unanswered = 0
    if (this.#unanswered >= MAX_UNANSWERED) {
      this.#console?.close(`no answer to ${MAX_UNANSWERED} pings`, 'VSPC_CONSOLE_STALLED')
      return
    }
    this.#unanswered++
    socket.ping()
  }

  /** Called by the socket for everything sent, once the kernel has it. One function for all, made once. */
  readonly #sent = (): void => {
    if (this.#blocked && this.#turnBytes > 0 && this.#socket.bufferedAmount <= this.#highBytes / 2) {
      this.#feed(() => this.#console?.drained())
    }
  }

  /** For output in large memory, in the order in which it was sent. */
  readonly #sentLarge = (): void => {
    this.#port.core.histories.release(this.#large[this.#firstLarge++] as Uint8Array)
    if (this.#firstLarge === this.#large.length || this.#firstLarge === MAX_SENT) {
      this.#large.splice(0, this.#firstLarge)
      this.#firstLarge = 0
    }
    this.#sent()
  }

  /**
   * Runs what may send history. A reader as fast as we are would take all of it in one go while every VM waits; so after
   * a buffer's worth the rest follows in the next turn of the event loop.
   */
  #feed(send: () => void): void {
    this.#blocked = false
    this.#turnBytes = this.#highBytes
    send()
    if (this.#turnBytes > 0) {
      this.#turnBytes = Number.POSITIVE_INFINITY
      return
    }
    setImmediate(() => {
      this.#turnBytes = Number.POSITIVE_INFINITY
      this.#sent()
    })
  }

  #received(data: Buffer, isBinary: boolean): void {
    this.#unanswered = 0
    const console = this.#console
    // Refused, and about to be closed.
    if (console === null) return
    if (isBinary) {
      console.write(data)
      return
    }
    try {
      console.request(parseControl(data))
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      this.notify({ type: 'error', code: error.code, message: error.message })
    }
  }
}

/** At most `maxBytes` of UTF-8, without half a character at the end. */
function cutUtf8(text: string, maxBytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(maxBytes))
  return text.slice(0, read)
}
