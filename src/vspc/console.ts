import { errorMessage, VspcError } from '../base/index.ts'
import type { Load, LoadResult } from '../history/index.ts'
import type { Port } from './port.ts'
import type { ConsoleClient, ConsoleInfo, ConsoleMode, ConsoleRequest } from './types.ts'

/** Fed to a lagging console at a time; more would only sit in its socket's buffer. */
const CATCH_UP_BYTES = 65_536

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
  readonly attachedAt: number
  mode: ConsoleMode
  readonly #port: Port
  readonly #client: ConsoleClient
  #cursor: number
  #blocked = false
  /** What comes next is being read. */
  #load: Load | null = null
  #inputPaused = false
  #detached = false

  /** Made by `Port.attachConsole` only. @param attachedAt wall clock, ms. */
  constructor(
    port: Port,
    client: ConsoleClient,
    init: { id: number; who: string; mode: ConsoleMode; cursor: number; attachedAt: number },
  ) {
    this.#port = port
    this.#client = client
    this.id = init.id
    this.who = init.who
    this.mode = init.mode
    this.#cursor = init.cursor
    this.attachedAt = init.attachedAt
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

  get info(): ConsoleInfo {
    return { id: this.id, who: this.who, mode: this.mode, attachedAt: new Date(this.attachedAt).toISOString() }
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
    if (this.mode === 'read') {
      this.notify({
        type: 'error',
        code: 'VSPC_CONSOLE_READ_ONLY',
        message: 'this console is attached for reading; its input was discarded. Ask for mode "write" first',
      })
      return
    }
    this.#port.input(bytes)
  }

  /** A control request. Failures are told to this console, never thrown. */
  request(request: ConsoleRequest): void {
    if (this.#detached) return
    try {
      if (request.type === 'mode') this.#port.setConsoleMode(this, request.mode, request.force ?? false)
      else if (request.type === 'break') this.#sendBreak()
      else this.notify({ type: 'consoles', consoles: this.#port.consoles.map((other) => other.info) })
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      this.notify({ type: 'error', code: error.code, message: error.message })
    }
  }

  #sendBreak(): void {
    if (this.mode === 'read') {
      throw new VspcError('VSPC_CONSOLE_READ_ONLY', 'a console attached for reading cannot send a break')
    }
    this.#port.sendBreak()
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
  detach(): void {
    if (this.#detached) return
    this.#detached = true
    // The port may be in the middle of delivering to all: this one gets nothing more.
    this.#blocked = true
    this.#load?.cancel()
    this.#port.removeConsole(this)
  }

  /** The port ends the console: says why, then has the transport closed. */
  close(reason: string, code?: string): void {
    if (this.#detached) return
    this.notify(code === undefined ? { type: 'detached', reason } : { type: 'detached', reason, code })
    if (this.#detached) return
    this.detach()
    this.#client.close(reason, code)
  }
}
