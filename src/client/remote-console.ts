import { type Clock, cleanText, type VspcError } from '../base/index.ts'
import type { ConsoleAction, ConsoleInfo, ConsoleMessage, ConsoleMode, PortState } from '../vspc/index.ts'
import type { OpenConsole } from './console-connection.ts'
import { inputMayBeLost, isClosed, notWritable, readOnlyGiven, refusal } from './console-errors.ts'
import type { Attached } from './console-message.ts'
import type { ConsoleNotice, ConsoleOptions } from './console-options.ts'
import type { ExpectMatch, ExpectOptions } from './expectation.ts'
import { ConsoleFeed, type FeedListener } from './feed.ts'
import { InputBarriers, notConnected } from './input-barriers.ts'
import { OutputReader, UNREAD_BYTES } from './output-reader.ts'
import { pacedPieces, type SendOptions } from './pacing.ts'
import { type ModeOptions, Turns } from './turns.ts'

/** `UNREAD_BYTES` while an answer is awaited that stands behind what the server and the network have buffered. */
const UNREAD_BEFORE_ANSWER_BYTES = 16 << 20

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
  readonly #onNotice: (notice: ConsoleNotice) => void
  readonly #output: OutputReader
  readonly #barriers: InputBarriers
  readonly #turns: Turns
  readonly #waits: boolean
  #attached: Attached | null = null
  #state: PortState = 'offline'
  #mode: ConsoleMode
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
    this.#onNotice = onNotice
    this.#output = new OutputReader({
      clock,
      drop: unread === 'drop',
      onOutput,
      offset: () => this.#feed.offset,
      offline: () => (this.#state === 'offline' ? this.#shownName : null),
      changed: () => this.#updatePause(),
    })
    this.#waits = options.waitMs !== undefined && mode !== 'read' && !force
    const target = { port, mode, force, wait: this.#waits, from: from === 'now' ? null : from }
    this.#feed = new ConsoleFeed(target, open, this.#listener(), clock, random)
    this.#barriers = new InputBarriers((request) => this.#feed.request(request))
    this.#turns = new Turns({
      clock,
      name: () => this.#shownName,
      mode: () => this.#mode,
      send: (request) => this.#feed.request(request),
      answered: () => this.consoles(),
    })
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
      const { waitMs = 0 } = options
      const granted = console.#mode === console.#asked || !console.#waits
      if (!granted) await console.request(console.#asked, signal ? { waitMs, signal } : { waitMs })
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

  /** Its number, as the others know it; another one after a loss. */
  get id(): number {
    return this.#attached?.console ?? 0
  }

  /** What may be asked for here. */
  get may(): readonly ConsoleAction[] {
    return this.#attached?.may ?? []
  }

  /** False while the connection is being made again. */
  get attached(): boolean {
    return this.#feed.attached
  }

  /** Offset of the next byte that nobody has taken yet. */
  get offset(): number {
    return this.#output.offset
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
  async flush(): Promise<void> {
    await this.consoles()
  }

  /** Who is attached, this console included; it alone without the right to know. Behind all that was sent before. */
  async consoles(): Promise<readonly ConsoleInfo[]> {
    if (this.#ended) throw this.#ended
    if (this.#closed) throw isClosed()
    const answered = this.#barriers.add()
    this.#updatePause()
    return answered
  }

  /**
   * Asks for another mode; resolves when this console has it.
   * @throws VspcError VSPC_CONSOLE_BUSY where somebody is in the way, VSPC_WAIT_TIMEOUT after `waitMs`, VSPC_ACCESS_DENIED.
   */
  request(mode: ConsoleMode, options: ModeOptions = {}): Promise<void> {
    return this.#turns.request(mode, options)
  }

  /**
   * Writes no longer: it is the turn of whoever waited longest, or of console `to`.
   * @throws VspcError VSPC_CONSOLE_NOT_WAITING when `to` has not asked for it.
   */
  yield(to?: number): Promise<void> {
    return this.#turns.ask(to === undefined ? { type: 'yield' } : { type: 'yield', to })
  }

  /** Says something to all consoles of the port: one line, cut to 500 characters. The VM hears nothing of it. */
  say(text: string): Promise<void> {
    return this.#turns.ask({ type: 'say', text })
  }

  /** Ends another console. @throws VspcError VSPC_CONSOLE_NOT_FOUND, VSPC_ACCESS_DENIED. */
  kick(console: number, reason = ''): Promise<void> {
    return this.#turns.ask({ type: 'kick', console, reason })
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
    return this.#output.expect(list, options)
  }

  /** Output in order, until {@link close} or the end of the port, which throws. The chunks are the caller's. */
  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    return this.#output.iterate()
  }

  /** Gives what was sent time to leave, then detaches. A running `expect` is rejected, an iteration ends. */
  async close(): Promise<void> {
    this.#closed = true
    this.#output.close()
    this.#barriers.fail(isClosed())
    this.#turns.fail(isClosed())
    this.#wakeSenders()
    await this.#feed.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #listener(): FeedListener {
    return {
      output: (bytes) => this.#output.push(bytes),
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
        this.#output.end(error)
        this.#barriers.fail(error)
        this.#turns.fail(error)
        this.#wakeSenders()
      },
    }
  }

  #attachedNow(message: Attached, again: boolean): void {
    this.#attached = message
    this.#state = message.state
    this.#mode = message.mode
    this.#turns.heard(message)
    if (again) {
      this.#onNotice({ type: 'attached-again' })
      this.#output.stateChanged()
      return
    }
    // A server may give less than was asked for instead of refusing.
    if (this.#asked !== 'read' && message.mode === 'read' && !this.#waits)
      this.#opened?.reject(readOnlyGiven(this.#shownName))
    this.#opened?.resolve()
  }

  #message(message: ConsoleMessage): void {
    if (message.type === 'consoles') {
      this.#barriers.passed(message.consoles)
      this.#updatePause()
      return
    }
    if (message.type === 'error') this.#barriers.refused(refusal(message))
    if (message.type === 'writer') this.#mode = message.mode
    this.#turns.heard(message)
    if (message.type === 'state') {
      this.#state = message.state
      this.#output.stateChanged()
    }
    if (message.type !== 'attached' && message.type !== 'gap' && message.type !== 'detached') this.#onNotice(message)
  }

  #checkWritable(): void {
    if (this.#ended) throw this.#ended
    if (this.#closed) throw isClosed()
    if (this.#mode !== 'read') return
    throw notWritable(this.#asked, this.#shownName)
  }

  get #shownName(): string {
    return this.name || this.port
  }

  #updatePause(): void {
    const limit = this.#barriers.pending ? UNREAD_BEFORE_ANSWER_BYTES : UNREAD_BYTES
    const most = this.#feed.isPaused ? limit / 2 : limit
    this.#feed.setPaused(!this.#closed && !this.#output.wants(most))
  }

  #wakeSenders(): void {
    for (const wake of this.#drained.splice(0)) wake()
  }
}
