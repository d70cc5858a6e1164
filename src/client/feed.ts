import { type Clock, CODES, cleanMessage, type ErrorCode, type Timer, VspcError } from '../base/index.ts'
import type { ConsoleMessage, ConsoleMode, ConsoleRequest } from '../vspc/index.ts'
import type { ConsoleConnection, ConsoleListener, ConsoleTarget, OpenConsole } from './console-connection.ts'
import type { Attached } from './console-message.ts'
import { TIMING } from './timing.ts'

/** Told by a {@link ConsoleFeed}; nothing after `ended`. */
export interface FeedListener {
  output(bytes: Uint8Array): void
  /** Attached; `again` after a loss. */
  attached(message: Attached, again: boolean): void
  /** Control messages that the feed does not deal with itself. */
  message(message: ConsoleMessage): void
  /** `bytes` of output before `offset` are lost. */
  gap(bytes: number, offset: number): void
  /** The connection is lost; reconnecting. Once per loss. */
  lost(error: VspcError): void
  /** The server answers again, but cannot attach us yet. At most once per reason and loss. */
  waiting(error: VspcError): void
  /** The server counts from a new beginning: what follows is its output from there on. */
  restarted(): void
  /** Writing was refused after a loss; reading goes on. */
  demoted(error: VspcError): void
  drained(): void
  /** Over for good. */
  ended(error: VspcError): void
}

/** What a failure means once we have been attached. Everything not listed ends the feed. */
const AFTER_LOSS: { readonly [code in ErrorCode]?: 'retry' | 'demote' | 'restart' } = {
  VSPC_SERVER_UNREACHABLE: 'retry',
  VSPC_SERVER_STOPPING: 'retry',
  VSPC_SERVER_STARTING: 'retry',
  VSPC_CONSOLE_STALLED: 'retry',
  // The server is back and the VM's host is not yet, or our old connection still counts.
  VSPC_PORT_NOT_FOUND: 'retry',
  VSPC_CONSOLE_TOO_MANY: 'retry',
  VSPC_CONSOLE_BUSY: 'demote',
  // An offset beyond the server's end: it counts anew.
  VSPC_REQUEST_INVALID: 'restart',
}

/**
 * A console that outlives its connection: after a loss it reconnects and goes on at the offset it had reached, so that
 * output is neither lost nor doubled. Input is never kept for later: see {@link ConsoleFeed.send}.
 *
 * The first attachment has to succeed; its failure ends the feed.
 */
export class ConsoleFeed {
  readonly #open: OpenConsole
  readonly #clock: Clock
  readonly #random: () => number
  readonly #listener: FeedListener
  #target: ConsoleTarget
  #connection: ConsoleConnection | null = null
  /** Ignores what a superseded connection still says. */
  #generation = 0
  #isAttached = false
  #everAttached = false
  #attachedAt = 0
  #offset: number | null = null
  #mode: ConsoleMode = 'read'
  #epoch: string | undefined
  #paused = false
  #failures = 0
  #retry: Timer | null = null
  #told = new Set<ErrorCode>()
  #refusal: VspcError | null = null
  #over = false

  /** @param random 0 to 1, for jitter. */
  constructor(target: ConsoleTarget, open: OpenConsole, listener: FeedListener, clock: Clock, random: () => number) {
    this.#target = target
    this.#open = open
    this.#listener = listener
    this.#clock = clock
    this.#random = random
  }

  start(): void {
    this.#connect()
  }

  get attached(): boolean {
    return this.#isAttached
  }

  /** Offset of the next byte of output; null before the first attachment. */
  get offset(): number | null {
    return this.#offset
  }

  /** The port by its id, once known. */
  get port(): string {
    return this.#target.port
  }

  /** Input that the server's socket has not taken yet. */
  get unsentBytes(): number {
    return this.#connection?.unsentBytes ?? 0
  }

  /** Sends input. 'held': sent, but wait for `drained`. 'dropped': not attached, and never sent later. */
  send(bytes: Uint8Array): 'sent' | 'held' | 'dropped' {
    if (!this.#isAttached || !this.#connection) return 'dropped'
    return this.#connection.send(bytes) ? 'sent' : 'held'
  }

  /** False when not attached. */
  request(request: ConsoleRequest): boolean {
    if (!this.#isAttached || !this.#connection) return false
    this.#connection.request(request)
    return true
  }

  get isPaused(): boolean {
    return this.#paused
  }

  setPaused(paused: boolean): void {
    if (this.#paused === paused) return
    this.#paused = paused
    this.#connection?.setPaused(paused)
  }

  /** Ends it from this side; the listener hears nothing more. */
  async close(): Promise<void> {
    this.#over = true
    this.#generation++
    this.#retry?.cancel()
    this.#isAttached = false
    await this.#connection?.close()
  }

  #connect(): void {
    const generation = ++this.#generation
    const current = () => generation === this.#generation
    this.#refusal = null
    const listener: ConsoleListener = {
      message: (message) => {
        if (current()) this.#received(message)
      },
      output: (bytes) => {
        if (!current()) return
        this.#offset = (this.#offset ?? 0) + bytes.length
        this.#listener.output(bytes)
      },
      drained: () => {
        if (current()) this.#listener.drained()
      },
      closed: (error) => {
        if (current()) this.#closed(this.#refusal ?? error)
      },
    }
    this.#connection = this.#open(this.#target, listener)
    if (this.#paused) this.#connection.setPaused(true)
  }

  #received(message: ConsoleMessage): void {
    switch (message.type) {
      case 'attached':
        this.#attachedNow(message)
        return
      case 'gap':
        this.#reach(message.offset)
        return
      case 'renamed':
        this.#target = { ...this.#target, port: message.port }
        break
      case 'writer':
        this.#mode = message.mode
        if (!this.#target.wait) this.#target = { ...this.#target, mode: message.mode }
        break
      case 'queued':
        // After a loss it stands in the queue again, at its end.
        this.#target = {
          ...this.#target,
          mode: message.position > 0 ? message.mode : this.#mode,
          wait: message.position > 0,
        }
        break
      case 'detached':
        // A code of a newer server, or none, counts as a loss that may be retried.
        this.#refusal = new VspcError(knownCode(message.code, 'VSPC_SERVER_UNREACHABLE'), cleanMessage(message.reason))
        return
      case 'error':
        // Before the attachment it says why there will be none.
        if (!this.#isAttached) {
          this.#refusal = new VspcError(knownCode(message.code, 'VSPC_SERVER_ANSWER'), cleanMessage(message.message))
          return
        }
        break
      default:
        break
    }
    this.#listener.message(message)
  }

  #attachedNow(message: Attached): void {
    const again = this.#everAttached
    const otherCount = this.#epoch !== undefined && message.epoch !== undefined && message.epoch !== this.#epoch
    this.#epoch = message.epoch
    if (again && this.#offset !== null && (otherCount || message.next < this.#offset)) {
      // Counted anew, or fewer bytes than we have seen: this history began after ours ended. All of it is news.
      this.#listener.restarted()
      this.#offset = message.offset
      if (message.offset > message.start) {
        this.#reopenFrom(message.start)
        return
      }
    }
    this.#isAttached = true
    this.#everAttached = true
    this.#attachedAt = this.#clock.now()
    this.#told.clear()
    if (this.#offset === null && (this.#target.from ?? -1) >= 0) this.#offset = this.#target.from
    if (this.#offset === null) this.#offset = message.offset
    this.#mode = message.mode
    this.#target = { ...this.#target, port: message.port, force: false, from: null }
    if (this.#target.wait && message.mode === this.#target.mode) this.#target = { ...this.#target, wait: false }
    this.#listener.attached(message, again)
    this.#reach(message.offset)
  }

  /** The next byte is that of `offset`; what lies between is lost. */
  #reach(offset: number): void {
    const missing = offset - (this.#offset ?? offset)
    this.#offset = offset
    if (missing > 0) this.#listener.gap(missing, offset)
  }

  #reopenFrom(offset: number): void {
    this.#offset = offset
    this.#target = { ...this.#target, from: offset }
    const old = this.#connection
    this.#connect()
    void old?.close()
  }

  #closed(error: VspcError): void {
    if (this.#over) return
    const wasAttached = this.#isAttached
    this.#isAttached = false
    this.#connection = null
    const action = this.#everAttached ? (AFTER_LOSS[error.code] ?? 'end') : 'end'
    // Taken from us while we were attached is no leftover of our own; offset 0 cannot be beyond any end.
    if (action === 'end' || (wasAttached && action !== 'retry') || (action === 'restart' && this.#offset === 0)) {
      this.#over = true
      this.#listener.ended(error)
      return
    }
    if (wasAttached) {
      if (this.#clock.now() - this.#attachedAt >= TIMING.steadyMs) this.#failures = 0
      this.#listener.lost(error)
    } else if (action === 'demote') {
      this.#listener.demoted(error)
      this.#target = { ...this.#target, mode: 'read' }
    } else if (action === 'restart') {
      this.#listener.restarted()
      this.#offset = 0
    } else if (error.code !== 'VSPC_SERVER_UNREACHABLE' && !this.#told.has(error.code)) {
      this.#told.add(error.code)
      this.#listener.waiting(error)
    }
    this.#target = { ...this.#target, from: this.#offset }
    const pause = Math.min(TIMING.reconnectMaxMs, TIMING.reconnectMinMs * 2 ** this.#failures)
    this.#failures = Math.min(this.#failures + 1, 16)
    this.#retry = this.#clock.after(pause * (0.5 + this.#random() / 2), () => this.#connect())
  }
}

/** The code if it is one of ours: servers may be newer. */
export function knownCode(code: string | undefined, otherwise: ErrorCode): ErrorCode {
  return code !== undefined && Object.hasOwn(CODES, code) ? (code as ErrorCode) : otherwise
}
