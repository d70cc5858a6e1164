import { Backoff, errorMessage, type Timer, VspcError } from '../base/index.ts'
import { type ByteStream, dial, type Endpoint, formatEndpoint } from '../transport/index.ts'
import { type Core, fraction } from './core.ts'

/** A connection that lasted this long was a good one: the next dial starts with the shortest pause. */
const GOOD_AFTER_MS = 5_000

/**
 * Keeps one outgoing connection up: dials, hands the stream over, and dials again when told that it is gone. Reports a
 * failure once, and once more when it changes.
 */
export class Dialler {
  readonly #core: Core
  readonly #endpoint: Endpoint
  readonly #connected: (stream: ByteStream) => void
  readonly #fields: object
  readonly #backoff: Backoff
  readonly #stopping = new AbortController()
  #timer: Timer | null = null
  #connectedAt = 0
  #lastFailure = ''

  /**
   * @param connected takes ownership of the stream, and calls `lost` when it is gone.
   * @param fields for log lines, beside the endpoint: on whose behalf.
   */
  constructor(core: Core, endpoint: Endpoint, connected: (stream: ByteStream) => void, fields: object = {}) {
    this.#core = core
    this.#endpoint = endpoint
    this.#connected = connected
    this.#fields = fields
    this.#backoff = new Backoff(core.limits, () => fraction(core.random))
  }

  start(): void {
    this.#timer = null
    const { limits, clock } = this.#core
    dial(this.#endpoint, {
      signal: this.#stopping.signal,
      timeoutMs: limits.dialMs,
      keepAliveMs: limits.keepAliveMs,
      clock,
    }).then(
      (stream) => this.#succeeded(stream),
      (error: unknown) => this.#failed(error),
    )
  }

  /** The stream handed over last is gone. */
  lost(): void {
    if (this.#core.clock.now() - this.#connectedAt >= GOOD_AFTER_MS) this.#backoff.reset()
    this.#again()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#stopping.abort(new VspcError('VSPC_SERVER_STOPPING', 'the server is stopping'))
  }

  #succeeded(stream: ByteStream): void {
    if (this.#stopping.signal.aborted) {
      stream.socket.on('error', () => {})
      stream.socket.destroy()
      return
    }
    this.#connectedAt = this.#core.clock.now()
    this.#lastFailure = ''
    this.#core.log.info({ ...this.#fields, endpoint: formatEndpoint(this.#endpoint) }, 'dialled')
    this.#connected(stream)
  }

  #failed(error: unknown): void {
    if (this.#stopping.signal.aborted) return
    this.#core.counters.dialFailures++
    const reason = errorMessage(error)
    if (reason !== this.#lastFailure) {
      this.#core.log.warn(
        { ...this.#fields, endpoint: formatEndpoint(this.#endpoint), reason },
        'dial failed; retrying with growing pauses',
      )
    }
    this.#lastFailure = reason
    this.#again()
  }

  #again(): void {
    if (this.#stopping.signal.aborted) return
    this.#timer?.cancel()
    this.#timer = this.#core.clock.after(this.#backoff.next(), () => this.start())
  }
}
