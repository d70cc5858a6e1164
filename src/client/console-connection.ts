import { WebSocket } from 'ws'
import { type Clock, cleanText, type Timer, VspcError } from '../base/index.ts'
import type { ConsoleMessage, ConsoleMode, ConsoleRequest } from '../vspc/index.ts'
import { type ServerAddress, tlsOptionsOf } from './address.ts'
import { parseConsoleMessage } from './console-message.ts'
import { endpointPath, notOurs, portSegment, readProblem, requestHeaders, unreachable } from './requests.ts'
import { TIMING } from './timing.ts'

/** What to attach to, and how. */
export interface ConsoleTarget {
  readonly port: string
  readonly mode: ConsoleMode
  /** Offset of the first byte wanted; negative = from the end; null = live from now. */
  readonly from: number | null
  readonly force: boolean
  /** Where somebody is in the way, read until it is our turn. */
  readonly wait?: boolean
}

/** Told by a {@link ConsoleConnection}, in order; nothing after `closed`. */
export interface ConsoleListener {
  message(message: ConsoleMessage): void
  /** Console output, verbatim; the bytes are the listener's. */
  output(bytes: Uint8Array): void
  /** Unsent input fell below the mark after {@link ConsoleConnection.send} had said false. */
  drained(): void
  /** Once; the connection is over, for this reason. */
  closed(error: VspcError): void
}

/** One attachment to one port. */
export interface ConsoleConnection {
  /** Sends input. False: hold back more until `drained`. */
  send(bytes: Uint8Array): boolean
  /** Input that the socket has not taken yet. */
  readonly unsentBytes: number
  request(request: ConsoleRequest): void
  /** Stops reading the socket: the server then feeds this console from history. */
  setPaused(paused: boolean): void
  /** Gives what was sent time to leave, then closes. The listener hears nothing more. */
  close(): Promise<void>
}

export type OpenConsole = (target: ConsoleTarget, listener: ConsoleListener) => ConsoleConnection

/** Subprotocol of design.md 4.1; text frames are JSON control messages, binary frames console bytes. */
const SUBPROTOCOL = 'vspc.v1'

/** Opens consoles over WebSocket. @param clock watches for a connection that died without a word. */
export function webSocketConsoles(address: ServerAddress, clock: Clock): OpenConsole {
  return (target, listener) => new WebSocketConsole(address, target, listener, clock)
}

export function consoleUrl(address: ServerAddress, target: ConsoleTarget): string {
  const query = new URLSearchParams({ mode: target.mode })
  if (target.from !== null) query.set('from', String(target.from))
  if (target.force) query.set('force', '1')
  if (target.wait) query.set('wait', '1')
  const scheme = address.url.protocol === 'https:' ? 'wss:' : 'ws:'
  const path = endpointPath(address, `/api/v1/ports/${portSegment(target.port)}/console`)
  return `${scheme}//${address.url.host}${path}?${query}`
}

class WebSocketConsole implements ConsoleConnection {
  readonly #address: ServerAddress
  readonly #clock: Clock
  readonly #socket: WebSocket
  #listener: ConsoleListener | null
  /** Why it ended, as far as known before the socket says so. */
  #reason: VspcError | null = null
  #paused = false
  #holdingBack = false
  #heardAt: number
  #watch: Timer | null = null

  constructor(address: ServerAddress, target: ConsoleTarget, listener: ConsoleListener, clock: Clock) {
    this.#address = address
    this.#listener = listener
    this.#clock = clock
    this.#heardAt = clock.now()
    this.#socket = new WebSocket(consoleUrl(address, target), [SUBPROTOCOL], {
      headers: requestHeaders(address),
      handshakeTimeout: TIMING.answerMs,
      perMessageDeflate: false,
      ...tlsOptionsOf(address),
    })
    this.#socket.on('open', () => this.#watchSilence())
    this.#socket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary))
    this.#socket.on('ping', () => {
      this.#heardAt = this.#clock.now()
    })
    this.#socket.on('unexpected-response', (request, response) => {
      void readProblem(address, response.statusCode ?? 0, response).then(
        (problem) => this.#fail(problem),
        (error) => this.#fail(unreachable(address, error as Error)),
      )
      response.once('close', () => request.destroy())
    })
    this.#socket.on('error', (error: Error & { code?: string }) => {
      // ws's own words for a handshake that is not the one asked for carry no code of the system.
      const wrongHandshake =
        this.#socket.readyState !== WebSocket.OPEN && !error.code && /server|Sec-/i.test(error.message)
      this.#reason ??= wrongHandshake ? notOurs(address, error.message, error) : unreachable(address, error)
    })
    this.#socket.on('close', (code, reason) => this.#closed(code, reason))
  }

  send(bytes: Uint8Array): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return true
    this.#socket.send(bytes, { binary: true }, this.#sent)
    this.#holdingBack = this.#socket.bufferedAmount > TIMING.unsentInputBytes
    return !this.#holdingBack
  }

  get unsentBytes(): number {
    return this.#socket.readyState === WebSocket.OPEN ? this.#socket.bufferedAmount : 0
  }

  request(request: ConsoleRequest): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request))
  }

  setPaused(paused: boolean): void {
    this.#paused = paused
    if (paused) {
      this.#socket.pause()
    } else {
      this.#heardAt = this.#clock.now()
      this.#socket.resume()
    }
  }

  close(): Promise<void> {
    this.#listener = null
    this.#watch?.cancel()
    return new Promise((resolve) => {
      if (this.#socket.readyState === WebSocket.CLOSED) {
        resolve()
        return
      }
      const cut = this.#clock.after(TIMING.closeMs, () => this.#socket.terminate())
      this.#socket.once('close', () => {
        cut.cancel()
        resolve()
      })
      // Before the handshake is done there is nothing to close gracefully.
      if (this.#socket.readyState === WebSocket.CONNECTING) {
        this.#socket.terminate()
        return
      }
      this.#socket.close(1000)
      // The answer to the close stands behind output that nobody wants any more.
      this.#socket.resume()
    })
  }

  readonly #sent = (): void => {
    if (!this.#holdingBack || this.#socket.bufferedAmount > TIMING.unsentInputBytes / 2) return
    this.#holdingBack = false
    this.#listener?.drained()
  }

  #received(data: Buffer, isBinary: boolean): void {
    this.#heardAt = this.#clock.now()
    if (isBinary) {
      this.#listener?.output(data)
      return
    }
    const message = parseConsoleMessage(data.toString('utf8'))
    if (message === 'broken') this.#fail(notOurs(this.#address, 'a text frame is no control message'))
    else if (message !== 'unknown') this.#listener?.message(message)
  }

  #fail(error: VspcError): void {
    this.#reason ??= error
    this.#socket.terminate()
  }

  #closed(code: number, reason: Buffer): void {
    this.#watch?.cancel()
    const listener = this.#listener
    this.#listener = null
    const { origin } = this.#address.url
    // 1006 stands for no close frame at all: the connection broke. RFC 6455 section 7.1.5.
    const words = cleanText(reason) || `WebSocket code ${code}`
    const text = code === 1006 ? `the connection to ${origin} is lost` : `${origin} closed the connection (${words})`
    listener?.closed(this.#reason ?? new VspcError('VSPC_SERVER_UNREACHABLE', text))
  }

  /** While we do not read, silence says nothing. */
  #watchSilence(): void {
    this.#watch = this.#clock.after(TIMING.deadConnectionMs / 3, () => {
      if (!this.#paused && this.#clock.now() - this.#heardAt > TIMING.deadConnectionMs) {
        const text = `nothing heard from ${this.#address.url.origin} for ${TIMING.deadConnectionMs / 1000} s`
        this.#fail(new VspcError('VSPC_SERVER_UNREACHABLE', text))
        return
      }
      this.#watchSilence()
    })
  }
}
