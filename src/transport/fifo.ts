/** Pairs of named pipes: dial and listen. There is no connection: both open the pair and hand out the one stream it is. */
import { errorMessage, systemClock, type Timer, VspcError } from '../base/index.ts'
import { type ByteStream, ignoreError, type PeerInfo } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import type { FifoEndpoint } from './endpoint.ts'
import { createMissing, FifoPair, type PipeFile, removeUnused } from './fifo-pair.ts'
import { FifoStream } from './fifo-stream.ts'

const DEFAULT_MODE = 0o600

/** Before the next stream of a listener: an owner that closes each one at once must not keep the process busy. */
const REOPEN_MS = 100
/** The same when the pair cannot be opened. */
const RETRY_MS = 1_000

/** Of the timer that does nothing; the longest there is. */
const LONGEST_MS = 2 ** 31 - 1

/**
 * Opens a pair that exists. Succeeds whether or not a VM has it open, which cannot be known, and does not wait for one.
 * A pair may be open once in this process.
 * @throws VspcError VSPC_TRANSPORT_DIAL, or the signal's reason.
 */
export async function dialFifo(endpoint: FifoEndpoint, options: DialOptions): Promise<ByteStream> {
  options.signal?.throwIfAborted()
  const pair = await FifoPair.open(endpoint, 'dial', true)
  if (options.signal?.aborted) {
    pair.close()
    throw options.signal.reason
  }
  return { socket: streamOf(pair, options), peer: fifoPeer(endpoint) }
}

/**
 * Creates what is missing of the pair and hands out its stream, and another one whenever that was closed. Closing it
 * removes what it created once the last stream is closed, unless a VM has it open: that could not find its way back.
 */
export async function listenFifo(
  endpoint: FifoEndpoint,
  handlers: ListenHandlers,
  options: ListenOptions,
): Promise<Listening> {
  const listener = await FifoListener.start(endpoint, handlers, options)
  return { endpoint, certificate: null, close: () => listener.close(), reload: async () => {} }
}

class FifoListener {
  readonly #endpoint: FifoEndpoint
  readonly #handlers: ListenHandlers
  readonly #options: ListenOptions
  readonly #peer: PeerInfo
  /**
   * Open, and not read, as long as this listens: between two streams a program that only writes finds a reader, and what
   * it writes is kept.
   */
  #kept: FifoPair | null = null
  #created: PipeFile[] = []
  #stream: FifoStream | null = null
  #timer: Timer | null = null
  /** A listener keeps the process alive, and this one has no handle of the system that would. */
  readonly #alive = setInterval(() => {}, LONGEST_MS)
  #closed = false
  #opening: Promise<void> = Promise.resolve()
  #lastFailure = ''

  private constructor(endpoint: FifoEndpoint, handlers: ListenHandlers, options: ListenOptions) {
    this.#endpoint = endpoint
    this.#handlers = handlers
    this.#options = options
    this.#peer = fifoPeer(endpoint)
  }

  /** @throws VspcError VSPC_TRANSPORT_LISTEN. */
  static async start(endpoint: FifoEndpoint, handlers: ListenHandlers, options: ListenOptions): Promise<FifoListener> {
    const listener = new FifoListener(endpoint, handlers, options)
    try {
      await listener.#keep()
    } catch (error) {
      await listener.close()
      throw error
    }
    // Not before the caller has its listener.
    setImmediate(() => listener.#open())
    return listener
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    clearInterval(this.#alive)
    await this.#opening
    if (this.#stream === null) await this.#letGo()
  }

  /** Makes sure that the pair is there, and open. */
  async #keep(): Promise<void> {
    if (this.#kept !== null) {
      if (await this.#kept.isCurrent()) return
      this.#kept.close()
      this.#kept = null
    }
    const created = await createMissing(this.#endpoint, this.#endpoint.mode ?? DEFAULT_MODE)
    this.#created = [...this.#created.filter((old) => created.every(({ file }) => file !== old.file)), ...created]
    this.#kept = await FifoPair.open(this.#endpoint, 'listen', true)
  }

  async #letGo(): Promise<void> {
    this.#kept?.close()
    this.#kept = null
    await removeUnused(this.#created)
  }

  #open(): void {
    if (this.#closed) return
    this.#opening = this.#offer().catch((error: unknown) => {
      if (this.#closed) return
      this.#report(error)
      this.#openAfter(RETRY_MS)
    })
  }

  async #offer(): Promise<void> {
    await this.#keep()
    const pair = await FifoPair.open(this.#endpoint, 'listen', false)
    if (this.#closed || !this.#kept?.isSameAs(pair)) {
      pair.close()
      this.#openAfter(REOPEN_MS)
      return
    }
    this.#lastFailure = ''
    const stream = streamOf(pair, this.#options)
    this.#stream = stream
    stream.once('close', () => this.#streamClosed())
    this.#handlers.stream({ socket: stream, peer: this.#peer })
  }

  #openAfter(ms: number): void {
    if (!this.#closed) this.#timer = this.#options.clock.after(ms, () => this.#open())
  }

  #streamClosed(): void {
    this.#stream = null
    if (this.#closed) void this.#letGo()
    else this.#openAfter(REOPEN_MS)
  }

  /** Once for each kind of trouble, however often it is met. */
  #report(thrown: unknown): void {
    const message = errorMessage(thrown)
    if (message === this.#lastFailure) return
    this.#lastFailure = message
    const error =
      thrown instanceof VspcError ? thrown : new VspcError('VSPC_TRANSPORT_LISTEN', message, { cause: thrown })
    this.#handlers.problem({ kind: 'accept', peer: null, error })
  }
}

function streamOf(pair: FifoPair, { clock = systemClock }: Pick<DialOptions, 'clock'>): FifoStream {
  const stream = new FifoStream(pair, clock)
  stream.on('error', ignoreError)
  return stream
}

/** A pipe has no peer; its path says which VM's it is. */
function fifoPeer(endpoint: FifoEndpoint): PeerInfo {
  return { address: endpoint.path, display: `fifo:${endpoint.path}`, transport: 'fifo' }
}
