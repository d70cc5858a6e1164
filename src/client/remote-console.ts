import { type Clock, cleanText, VspcError } from '../base/index.ts'
import type { ConsoleMessage, ConsoleMode, PortState } from '../vspc/index.ts'
import type { OpenConsole } from './console-connection.ts'
import { failedOn, inputMayBeLost, isClosed, notInTime, notWritable, readOnlyGiven, refusal } from './console-errors.ts'
import type { Attached } from './console-message.ts'
import type { ConsoleNotice, ConsoleOptions } from './console-options.ts'
import { Expectation, ExpectError, type ExpectMatch, type ExpectOptions } from './expectation.ts'
import { ConsoleFeed, type FeedListener } from './feed.ts'
import { InputBarriers, notConnected } from './input-barriers.ts'
import type { Match } from './matcher.ts'
import { pacedPieces, type SendOptions } from './pacing.ts'
import { Unread } from './unread.ts'

/** Held for someone to take; beyond it the server waits. */
const UNREAD_BYTES = 1 << 20
/** The same while an answer is awaited that stands behind what the server and the network have buffered. */
const UNREAD_BEFORE_ANSWER_BYTES = 16 << 20
/** What an `expect` that found nothing leaves for the next one. */
const LEFT_BYTES = 65_536

/**
 * A console attached to a port of a server: an iterable of its output, and a way to type.
 *
 * It survives restarts of the server: it attaches again and goes on at the offset it had reached, so that output is
 * neither lost nor doubled. Input is never kept for later: while there is no connection, sending fails.
 *
 * Output belongs to whoever takes it first: one `for await` or one `expect` at a time. Whoever opened it closes it.
 */
export class RemoteConsole implements AsyncIterable<Uint8Array> {
  readonly #clock: Clock
  readonly #feed: ConsoleFeed
  readonly #asked: ConsoleMode
  readonly #drop: boolean
  readonly #onNotice: (notice: ConsoleNotice) => void
  readonly #onOutput: (bytes: Uint8Array) => Promise<unknown> | null
  /** Promises of `onOutput` that are pending. */
  #busy = 0
  readonly #unread = new Unread()
  readonly #barriers: InputBarriers
  #attached: Attached | null = null
  #state: PortState = 'offline'
  #mode: ConsoleMode
  #expectation: Expectation | null = null
  /** Ends the running `expect` for another reason than its own. */
  #interrupt: ((error: VspcError) => void) | null = null
  #failOffline = false
  /** Wakes whoever iterates. */
  #wake: (() => void) | null = null
  #iterating = false
  /** Wakes whoever sends. */
  #drained: (() => void)[] = []
  #ended: VspcError | null = null
  #closed = false
  #opened: { resolve: () => void; reject: (error: Error) => void } | null = null

  private constructor(port: string, options: ConsoleOptions, open: OpenConsole, clock: Clock, random: () => number) {
    const {
      mode = 'read',
      from = 'now',
      force = false,
      unread = 'keep',
      onNotice = () => {},
      onOutput = () => null,
    } = options
    this.#clock = clock
    this.#asked = mode
    this.#mode = mode
    this.#drop = unread === 'drop'
    this.#onNotice = onNotice
    this.#onOutput = onOutput
    const target = { port, mode, force, from: from === 'now' ? null : from }
    this.#feed = new ConsoleFeed(target, open, this.#listener(), clock, random)
    this.#barriers = new InputBarriers((request) => this.#feed.request(request))
  }

  /** Made by `VspcClient.console`. Resolves once attached; otherwise everything is closed again. */
  static async open(
    port: string,
    options: ConsoleOptions,
    parts: { open: OpenConsole; clock: Clock; random: () => number },
  ): Promise<RemoteConsole> {
    const { signal } = options
    signal?.throwIfAborted()
    const console = new RemoteConsole(port, options, parts.open, parts.clock, parts.random)
    const aborted = () => console.#opened?.reject(signal?.reason as Error)
    try {
      await new Promise<void>((resolve, reject) => {
        console.#opened = { resolve, reject }
        signal?.addEventListener('abort', aborted, { once: true })
        console.#feed.start()
      })
    } catch (error) {
      await console.close()
      throw error
    } finally {
      console.#opened = null
      signal?.removeEventListener('abort', aborted)
    }
    return console
  }

  /** The port's id. */
  get port(): string {
    return this.#feed.port
  }

  /** The VM's name when it was attached; chosen by whoever edits the VM, made safe to show. */
  get name(): string {
    return cleanText(this.#attached?.name ?? '')
  }

  get state(): PortState {
    return this.#state
  }

  /** What this console may do now: someone may have taken the port over. */
  get mode(): ConsoleMode {
    return this.#mode
  }

  /** False while the connection is being made again. */
  get attached(): boolean {
    return this.#feed.attached
  }

  /** Offset of the next byte that nobody has taken yet. */
  get offset(): number {
    if (this.#unread.length === 0) return this.#feed.offset ?? 0
    return this.#unread.offsetOf(this.#unread.next - this.#unread.length)
  }

  /**
   * Sends input: text as UTF-8, bytes as they are. Resolves when all of it is on its way and there is room for more;
   * {@link flush} says when the server has it. Nothing is added: Enter is `\r`. One at a time, or pieces mix.
   * @throws VspcError VSPC_SERVER_UNREACHABLE without a connection (some of it may have been sent),
   * VSPC_CONSOLE_READ_ONLY when attached for reading, VSPC_CONSOLE_BUSY when someone took the port over.
   */
  async send(input: string | Uint8Array, options: SendOptions = {}): Promise<void> {
    const bytes = typeof input === 'string' ? Buffer.from(input, 'utf8') : input
    for (const { piece, pauseMs } of pacedPieces(bytes, options)) {
      options.signal?.throwIfAborted()
      this.#checkWritable()
      const result = this.#feed.send(piece)
      if (result === 'dropped') throw notConnected()
      if (result === 'held') await new Promise<void>((resolve) => this.#drained.push(resolve))
      if (pauseMs > 0) await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve))
    }
  }

  /**
   * Sends a break, behind what was sent before. Resolves when the server has done it.
   * @throws VspcError VSPC_BREAK_UNSUPPORTED on a stream without breaks (protocol `raw`); otherwise as {@link send}.
   */
  async break(): Promise<void> {
    this.#checkWritable()
    if (!this.#feed.request({ type: 'break' })) throw notConnected()
    await this.flush()
  }

  /**
   * Resolves when the server has accepted all input sent so far, in which it may be slowed down by the VM. Past 16 MiB of
   * output that nobody takes meanwhile the answer is not read either, unless `unread` is `drop`.
   * @throws VspcError what the server refused the input with; VSPC_SERVER_UNREACHABLE when the connection was lost
   * before: the VM may not have got all of it.
   */
  flush(): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended)
    if (this.#closed) return Promise.reject(isClosed())
    const answered = this.#barriers.add()
    this.#updatePause()
    return answered
  }

  /**
   * Waits for output that matches, from the first byte that nobody has taken yet, and takes all up to the end of the
   * match. When patterns are tried: at each line end, after 4,096 characters without one, and when the output pauses
   * for `quietMs`; so the result does not depend on how the network cuts the output. Regular expressions run on this
   * process's only thread: one that backtracks without end blocks it, deadline and all.
   *
   * @param patterns strings are searched for as they are; of several the first to match counts.
   * @throws ExpectError VSPC_WAIT_TIMEOUT, VSPC_EXPECT_FAILED, VSPC_PORT_OFFLINE, or why the console ended
   * (VSPC_PORT_REMOVED, ...). The output then stays for the next one to take: the last 64 KiB of it.
   */
  expect(patterns: string | RegExp | readonly (string | RegExp)[], options: ExpectOptions = {}): Promise<ExpectMatch> {
    const list = Array.isArray(patterns) ? (patterns as readonly (string | RegExp)[]) : [patterns as string | RegExp]
    return new Promise((resolve, reject) => {
      options.signal?.throwIfAborted()
      this.#claim()
      const aborted = () => end(options.signal?.reason as Error)
      const end = (error: Error | null, match?: ExpectMatch) => {
        this.#expectation?.cancel()
        this.#expectation = null
        this.#interrupt = null
        options.signal?.removeEventListener('abort', aborted)
        if (error) this.#unread.keepLast(LEFT_BYTES)
        this.#updatePause()
        if (error) reject(error)
        else resolve(match as ExpectMatch)
      }
      const expectation = new Expectation(list, options, this.#clock, (match) => {
        const failure = this.#failure(match, list, options)
        if (failure) end(failure)
        else if (match) end(null, this.#take(match))
      })
      options.signal?.addEventListener('abort', aborted, { once: true })
      this.#expectation = expectation
      this.#failOffline = options.failOffline ?? false
      this.#interrupt = (error) => {
        if (expectation.settle()) return
        end(new ExpectError(error.code, error.message, this.#unread.toBytes(), null, { cause: error }))
      }
      for (const { bytes, position } of this.#unread.chunks) {
        if (expectation.over) return
        expectation.push(bytes, position)
      }
      if (this.#ended) this.#interrupt?.(this.#ended)
      else this.#checkOffline()
      this.#updatePause()
    })
  }

  /** Output in order, until {@link close} or the end of the port, which throws. The chunks are the caller's. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    this.#claim()
    this.#iterating = true
    try {
      for (;;) {
        const bytes = this.#unread.shift()
        this.#updatePause()
        if (bytes) yield bytes
        else if (this.#closed) return
        else if (this.#ended) throw this.#ended
        else
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
      }
    } finally {
      this.#iterating = false
    }
  }

  /** Gives what was sent time to leave, then detaches. A running `expect` is rejected, an iteration ends. */
  async close(): Promise<void> {
    this.#closed = true
    this.#interrupt?.(isClosed())
    this.#barriers.fail(isClosed())
    this.#wakeAll()
    await this.#feed.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #listener(): FeedListener {
    return {
      output: (bytes) => this.#output(bytes),
      attached: (message, again) => this.#attachedNow(message, again),
      message: (message) => this.#message(message),
      gap: (bytes, offset) => this.#onNotice({ type: 'gap', bytes, offset }),
      lost: (error) => {
        this.#barriers.fail(inputMayBeLost(error))
        this.#wakeSenders()
        this.#onNotice({ type: 'lost', error })
      },
      waiting: (error) => this.#onNotice({ type: 'waiting', error }),
      restarted: () => this.#onNotice({ type: 'restarted' }),
      demoted: (error) => {
        this.#mode = 'read'
        this.#onNotice({ type: 'demoted', error })
      },
      drained: () => this.#wakeSenders(),
      ended: (error) => {
        this.#ended = error
        this.#opened?.reject(error)
        this.#interrupt?.(error)
        this.#barriers.fail(error)
        this.#wakeAll()
      },
    }
  }

  #output(bytes: Uint8Array): void {
    const busy = this.#onOutput(bytes)
    if (busy !== null) this.#waitFor(busy)
    if (this.#drop && !this.#iterating && this.#expectation === null) return
    const position = this.#unread.next
    this.#unread.push(bytes, (this.#feed.offset ?? bytes.length) - bytes.length)
    if (this.#expectation) {
      this.#expectation.push(bytes, position)
      if (this.#expectation) this.#unread.keepLast(UNREAD_BYTES)
    }
    this.#wakeReader()
    this.#updatePause()
  }

  #waitFor(busy: Promise<unknown>): void {
    this.#busy++
    this.#updatePause()
    const done = () => {
      this.#busy--
      this.#updatePause()
    }
    busy.then(done, done)
  }

  #attachedNow(message: Attached, again: boolean): void {
    this.#attached = message
    this.#state = message.state
    this.#mode = message.mode
    if (again) {
      this.#onNotice({ type: 'attached-again' })
      this.#checkOffline()
      return
    }
    // A server may give less than was asked for instead of refusing.
    if (this.#asked !== 'read' && message.mode === 'read') this.#opened?.reject(readOnlyGiven(this.#shownName))
    this.#opened?.resolve()
  }

  #message(message: ConsoleMessage): void {
    if (message.type === 'consoles') {
      this.#barriers.passed()
      this.#updatePause()
      return
    }
    if (message.type === 'error') this.#barriers.refused(refusal(message))
    if (message.type === 'writer') this.#mode = message.mode
    if (message.type === 'state') {
      this.#state = message.state
      this.#checkOffline()
    }
    if (message.type !== 'attached' && message.type !== 'gap' && message.type !== 'detached') this.#onNotice(message)
  }

  #checkOffline(): void {
    if (!this.#failOffline || this.#state !== 'offline') return
    this.#interrupt?.(new VspcError('VSPC_PORT_OFFLINE', `${this.#shownName} is offline`))
  }

  #checkWritable(): void {
    if (this.#ended) throw this.#ended
    if (this.#closed) throw isClosed()
    if (this.#mode !== 'read') return
    throw notWritable(this.#asked, this.#shownName)
  }

  /** One reader at a time. */
  #claim(): void {
    if (this.#closed) throw isClosed()
    if (!this.#iterating && this.#expectation === null) return
    throw new VspcError('VSPC_USAGE', 'the output of this console is being read already: one expect or loop at a time')
  }

  get #shownName(): string {
    return this.name || this.port
  }

  #take(match: Match): ExpectMatch {
    const found = this.#shown(match)
    this.#unread.dropBefore(match.end)
    return found
  }

  #shown({ index, text, groups, named, start, end }: Match): ExpectMatch {
    const startOffset = this.#unread.offsetOf(start)
    return { index, text, groups, named, startOffset, endOffset: this.#unread.offsetOf(end) }
  }

  #failure(match: Match | null, patterns: readonly (string | RegExp)[], options: ExpectOptions): ExpectError | null {
    if (match !== null && !match.failed) return null
    const seen = this.#unread.toBytes()
    if (match) return failedOn(options.failOn?.[match.index] ?? '', seen, this.#shown(match))
    return notInTime(patterns, seen, this.#state === 'offline' ? this.#shownName : null)
  }

  #updatePause(): void {
    const taken = this.#expectation !== null || this.#drop
    const limit = this.#barriers.pending ? UNREAD_BEFORE_ANSWER_BYTES : UNREAD_BYTES
    const most = this.#feed.isPaused ? limit / 2 : limit
    this.#feed.setPaused(!this.#closed && (this.#busy > 0 || (!taken && this.#unread.length > most)))
  }

  #wakeAll(): void {
    this.#wakeReader()
    this.#wakeSenders()
  }

  #wakeReader(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  #wakeSenders(): void {
    for (const wake of this.#drained.splice(0)) wake()
  }
}
