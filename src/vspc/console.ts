import { errorMessage, VspcError } from '../base/index.ts'
import type { Load, LoadResult } from '../history/index.ts'
import type { Port } from './port.ts'
import {
  CONSOLE_ACTIONS,
  type ConsoleAction,
  type ConsoleClient,
  type ConsoleInfo,
  type ConsoleMode,
  type ConsolePermit,
  type ConsoleRequest,
  type ConsoleVia,
} from './types.ts'

/** Fed to a lagging console at a time; more would only sit in its socket's buffer. */
const CATCH_UP_BYTES = 65_536

/** All consoles of its port, as a console sees them. */
export interface ConsoleGroup {
  /** @throws VspcError what is to be told to the console. */
  request(console: Console, request: ConsoleRequest): void
  demote(console: Console, reason: string): void
  remove(console: Console, departure: Departure): void
}

/** Why a console is gone, for the others. */
export interface Departure {
  readonly reason: string
  /** Whose doing it is; null = of nobody who has a console here. */
  readonly by: Console | null
}

export interface ConsoleInit {
  readonly id: number
  readonly who: string
  readonly address: string | null
  readonly via: ConsoleVia
  readonly permit: ConsolePermit | null
  readonly mode: ConsoleMode
  readonly cursor: number
}

/**
 * A reader or writer attached to a port.
 *
 * It has no queue of its own: it is a cursor into the port's history. While its transport keeps up, it is fed from
 * memory as soon as output may be shown; when it does not, the cursor stays behind, and what is no longer in memory is
 * read from disk as it drains. So a slow console costs the memory of its transport's buffer, and hurts nobody else.
 */
export class Console {
  readonly id: number
  readonly who: string
  readonly via: ConsoleVia
  /** Wall clock, ms. */
  readonly attachedAt: number
  readonly #address: string | null
  readonly #permit: ConsolePermit | null
  readonly #port: Port
  readonly #group: ConsoleGroup
  readonly #client: ConsoleClient
  #mode: ConsoleMode
  /** In the queue, from 1; 0 = it does not wait. */
  #place = 0
  #waitingSince = 0
  #modeSince: number
  /** Monotonic, ms. */
  #lastInputAt: number | null = null
  #cursor: number
  #blocked = false
  /** What comes next is being read. */
  #load: Load | null = null
  #inputPaused = false
  #detached = false

  /** Made by `Port.attachConsole` only. */
  constructor(port: Port, group: ConsoleGroup, client: ConsoleClient, init: ConsoleInit) {
    const { clock } = port.core
    this.#port = port
    this.#group = group
    this.#client = client
    this.id = init.id
    this.who = init.who
    this.via = init.via
    this.#address = init.address
    this.#permit = init.permit
    this.#mode = init.mode
    this.#cursor = init.cursor
    this.#modeSince = clock.now()
    this.attachedAt = clock.wall()
  }

  get port(): Port {
    return this.#port
  }

  /** Offset of the next byte this console will get. */
  get offset(): number {
    return this.#cursor
  }

  get detached(): boolean {
    return this.#detached
  }

  get mode(): ConsoleMode {
    return this.#mode
  }

  /** Monotonic, ms: since when it stands in the queue. */
  get waitingSince(): number {
    return this.#waitingSince
  }

  /** Monotonic, ms: its last input, or when it got its mode. */
  get activeAt(): number {
    return Math.max(this.#modeSince, this.#lastInputAt ?? 0)
  }

  get info(): ConsoleInfo {
    const { clock } = this.#port.core
    return {
      id: this.id,
      who: this.who,
      ...(this.#address === null ? {} : { address: this.#address }),
      via: this.via,
      mode: this.#mode,
      attachedAt: new Date(this.attachedAt).toISOString(),
      lastInputAt:
        this.#lastInputAt === null ? null : new Date(clock.wall() - (clock.now() - this.#lastInputAt)).toISOString(),
      waiting: this.#place === 0 ? null : this.#place,
    }
  }

  /** What its holder may ask for. */
  get allowed(): ConsoleAction[] {
    return CONSOLE_ACTIONS.filter((action) => this.may(action))
  }

  may(action: ConsoleAction): boolean {
    return this.#permit?.may(action) ?? true
  }

  /** @throws VspcError VSPC_ACCESS_DENIED. */
  check(action: ConsoleAction, detail?: string): void {
    this.#permit?.check(action, detail)
  }

  /** By the arbiter only. @param now monotonic, ms. */
  changeMode(mode: ConsoleMode, now: number): void {
    this.#mode = mode
    this.#modeSince = now
  }

  /** By the arbiter only. @param place from 1; 0 = out of the queue. @param since monotonic, ms; null = as before. */
  changePlace(place: number, since: number | null): void {
    if (since !== null) this.#waitingSince = since
    this.#place = place
  }

  /** The transport has room again. */
  drained(): void {
    if (this.#detached) return
    this.#blocked = false
    this.catchUp()
  }

  /** Feeds from history until the transport is full, the live end is reached, or the disk has to be asked. */
  catchUp(): void {
    const history = this.#port.history
    while (!this.#blocked && this.#load === null && this.#cursor < history.visible) {
      if (this.#cursor < history.start) {
        this.#skip(history.start)
        continue
      }
      const piece = history.read(this.#cursor, CATCH_UP_BYTES)
      if (piece === null) {
        this.#load = history.load(this.#cursor, CATCH_UP_BYTES, this.#loaded)
        return
      }
      this.#cursor += piece.length
      this.#output(piece)
    }
  }

  readonly #loaded = (result: LoadResult): void => {
    this.#load = null
    if (result.kind === 'bytes') {
      this.#cursor += result.bytes.length
      this.#output(result.bytes)
    } else if (result.kind === 'gap') {
      this.#skip(result.to)
    } else if (result.kind === 'failed') {
      this.notify({ type: 'error', code: result.error.code, message: result.error.message })
      this.#skip(result.to)
    }
    this.catchUp()
  }

  /** Nothing is held before `to`. */
  #skip(to: number): void {
    const bytes = to - this.#cursor
    this.#cursor = to
    this.#port.core.counters.consoleGapBytes += bytes
    this.notify({ type: 'gap', bytes, offset: to })
  }

  #output(bytes: Uint8Array): void {
    try {
      if (!this.#client.output(bytes)) this.#blocked = true
    } catch (error) {
      this.#failed(error)
    }
  }

  /** A transport that throws has a bug. It costs itself its console, never the VM its connection. */
  #failed(error: unknown): void {
    const { counters, log } = this.#port.core
    counters.internalErrors++
    log.error({ port: this.#port.id, console: this.id, error: errorMessage(error) }, 'console failed; detached')
    this.detach()
    try {
      this.#client.close('internal error')
    } catch (again) {
      log.error({ console: this.id, error: errorMessage(again) }, 'console failed; it could not be closed either')
    }
  }

  /** Input from the transport: `bytes` that nobody changes afterwards. In read mode it is refused, not dropped silently. */
  write(bytes: Uint8Array): void {
    if (this.#detached) return
    if (this.#mode === 'read') {
      this.notify({
        type: 'error',
        code: 'VSPC_CONSOLE_READ_ONLY',
        message: 'this console is attached for reading; its input was discarded. Ask for mode "write" first',
      })
      return
    }
    this.#lastInputAt = this.#port.core.clock.now()
    this.#port.input(bytes)
  }

  /** A control request. Failures are told to this console, never thrown. */
  request(request: ConsoleRequest): void {
    if (this.#detached) return
    try {
      this.#group.request(this, request)
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      this.notify({ type: 'error', code: error.code, message: error.message })
    }
  }

  /** Its holder may write no longer: it goes on as a reader, and gives up its place in the queue. */
  demote(reason: string): void {
    if (!this.#detached) this.#group.demote(this, reason)
  }

  notify(message: Parameters<ConsoleClient['notify']>[0]): void {
    if (this.#detached) return
    try {
      this.#client.notify(message)
    } catch (error) {
      this.#failed(error)
    }
  }

  setInputPaused(paused: boolean): void {
    if (this.#inputPaused === paused || this.#detached) return
    this.#inputPaused = paused
    try {
      this.#client.setInputPaused(paused)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** The transport is gone, or wants to go. */
  detach(departure: Departure = { reason: `${this.who} left`, by: this }): void {
    if (this.#detached) return
    this.#detached = true
    // The port may be in the middle of delivering to all: this one gets nothing more.
    this.#blocked = true
    this.#load?.cancel()
    this.#group.remove(this, departure)
  }

  /** The port ends the console: says why, then has the transport closed. */
  close(reason: string, code?: string, departure?: Departure): void {
    if (this.#detached) return
    this.notify(code === undefined ? { type: 'detached', reason } : { type: 'detached', reason, code })
    if (this.#detached) return
    this.detach(departure)
    this.#client.close(reason, code)
  }
}
