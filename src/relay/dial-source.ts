import { Backoff, errorMessage, type Timer, VspcError } from '../base/index.ts'
import type { ByteStream } from '../transport/index.ts'
import type { RelayCore } from './core.ts'
import { ignoreError } from './held.ts'
import { formatHop, type Hop } from './plan.ts'
import type { RouteCounters } from './route-counters.ts'
import { Target } from './target.ts'

/** A stream that lasted this long was a good one: the next dial starts with the shortest pause. */
const GOOD_AFTER_MS = 5_000

/** The first side of a route that dials both: one stream at a time is kept up, and dialled again when it is gone. */
export class DialSource {
  readonly #core: RelayCore
  readonly #route: string
  readonly #hop: Hop
  readonly #counters: RouteCounters
  readonly #dialled: (stream: ByteStream) => void
  readonly #target: Target
  readonly #backoff: Backoff
  #dialling: AbortController | null = null
  #timer: Timer | null = null
  #connectedAt = 0
  #retired = false

  /** @param dialled takes ownership. */
  constructor(
    core: RelayCore,
    route: string,
    hop: Hop,
    counters: RouteCounters,
    dialled: (stream: ByteStream) => void,
  ) {
    this.#core = core
    this.#route = route
    this.#hop = hop
    this.#counters = counters
    this.#dialled = dialled
    this.#target = new Target(core.hops, hop)
    this.#backoff = new Backoff(core.limits, core.random)
  }

  start(): void {
    this.#timer?.cancel()
    this.#timer = null
    const abort = new AbortController()
    this.#dialling = abort
    this.#connect(abort.signal).then(
      (stream) => {
        this.#dialling = null
        this.#succeeded(stream)
      },
      (error: unknown) => {
        this.#dialling = null
        if (this.#retired) return
        if (abort.signal.aborted) this.start()
        else this.#failed(error)
      },
    )
  }

  retire(): void {
    this.#retired = true
    this.#timer?.cancel()
    this.#dialling?.abort(new VspcError('VSPC_SERVER_STOPPING', 'the route is closed'))
  }

  /** Waits no longer for the old one. */
  hopChanged(): void {
    this.#backoff.reset()
    if (this.#dialling !== null) this.#dialling.abort(new VspcError('VSPC_TRANSPORT_DIAL', 'the next hop was changed'))
    else if (this.#timer !== null) this.start()
  }

  async #connect(signal: AbortSignal): Promise<ByteStream> {
    const { limits, clock, transport, dialledLinks: links } = this.#core
    const nextHop = this.#target.nextHop()
    return transport.dial(this.#target.now(), {
      signal,
      timeoutMs: limits.dialMs,
      keepAliveMs: limits.keepAliveMs,
      clock,
      limits,
      links,
      ...(nextHop === undefined ? {} : { nextHop }),
    })
  }

  #succeeded(stream: ByteStream): void {
    const { socket } = stream
    socket.on('error', ignoreError)
    if (this.#retired) {
      socket.destroy()
      return
    }
    this.#connectedAt = this.#core.clock.now()
    this.#core.problems.forget(`dial first ${this.#route}`)
    if (socket.closed) queueMicrotask(() => this.#lost())
    else socket.once('close', () => this.#lost())
    this.#dialled(stream)
  }

  #lost(): void {
    if (this.#core.clock.now() - this.#connectedAt >= GOOD_AFTER_MS) this.#backoff.reset()
    this.#again()
  }

  #failed(error: unknown): void {
    const reason = errorMessage(error)
    this.#counters.dialFailures++
    this.#counters.lastError = { message: reason, at: this.#core.clock.wall() }
    this.#core.problems.warn(
      `dial first ${this.#route}`,
      { route: this.#route, to: formatHop(this.#hop), reason },
      'dial failed; it is dialled again, with growing pauses',
    )
    this.#again()
  }

  #again(): void {
    if (this.#retired) return
    this.#timer?.cancel()
    this.#timer = this.#core.clock.after(this.#backoff.next(), () => this.start())
  }
}
