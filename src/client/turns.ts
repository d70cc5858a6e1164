import { type Clock, cleanText, VspcError } from '../base/index.ts'
import type { ConsoleInfo, ConsoleMessage, ConsoleMode, ConsoleRequest } from '../vspc/index.ts'
import { notConnected } from './input-barriers.ts'

export interface ModeOptions {
  /** Turns those in the way into readers. */
  readonly force?: boolean
  /** Stands in the queue where somebody is in the way, for so long; may be infinite. Default: fails then. */
  readonly waitMs?: number
  /** Gives up waiting. */
  readonly signal?: AbortSignal
}

export interface TurnsParts {
  readonly clock: Clock
  readonly name: () => string
  readonly mode: () => ConsoleMode
  /** False: not connected. */
  readonly send: (request: ConsoleRequest) => boolean
  /** Everything sent before has been answered; rejects with what was refused of it. */
  readonly answered: () => Promise<readonly ConsoleInfo[]>
}

interface Waiter {
  readonly mode: ConsoleMode
  granted(): void
  failed(error: VspcError): void
}

/** What a console asks of the others at its port, and its place in the queue. */
export class Turns {
  readonly #parts: TurnsParts
  readonly #waiters = new Set<Waiter>()
  #queued = false
  #holders: readonly ConsoleInfo[] = []

  constructor(parts: TurnsParts) {
    this.#parts = parts
  }

  async request(mode: ConsoleMode, { force = false, waitMs, signal }: ModeOptions): Promise<void> {
    signal?.throwIfAborted()
    await this.ask({ type: 'mode', mode, force, wait: waitMs !== undefined })
    if (this.#parts.mode() === mode) return
    if (!this.#queued) throw this.#notHad(mode, null)
    await this.#wait(mode, waitMs ?? 0, signal)
  }

  /** Resolves once the server has done it; rejects with its refusal. */
  async ask(request: ConsoleRequest): Promise<void> {
    if (!this.#parts.send(request)) throw notConnected()
    await this.#parts.answered()
  }

  /** Everything the server says, after `mode` has taken it in. */
  heard(message: ConsoleMessage): void {
    if (message.type === 'queued') {
      this.#queued = message.position > 0
      this.#holders = message.holders
      // Where it is its turn the mode follows at once, before the answer.
      if (!this.#queued && this.#waiters.size > 0) this.#lookAgain(message.reason ?? '')
    } else if (message.type === 'writer' || message.type === 'attached') {
      for (const waiter of this.#waiters) if (waiter.mode === message.mode) waiter.granted()
    }
  }

  fail(error: VspcError): void {
    for (const waiter of this.#waiters) waiter.failed(error)
  }

  #lookAgain(reason: string): void {
    const look = () => {
      if (this.#queued) return
      for (const waiter of this.#waiters) waiter.failed(this.#notHad(waiter.mode, reason))
    }
    // Without a connection it is asked for again once there is one.
    this.#parts.answered().then(look, () => {})
  }

  #wait(mode: ConsoleMode, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock, send } = this.#parts
    return new Promise((resolve, reject) => {
      const end = (error: unknown) => {
        this.#waiters.delete(waiter)
        timer?.cancel()
        signal?.removeEventListener('abort', aborted)
        if (error === null) resolve()
        else reject(error as Error)
      }
      const giveUp = (error: unknown) => {
        send({ type: 'cancel' })
        end(error)
      }
      const aborted = () => giveUp(signal?.reason)
      const waiter = { mode, granted: () => end(null), failed: end }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', aborted, { once: true })
      const timer = Number.isFinite(waitMs) ? clock.after(waitMs, () => giveUp(this.#notInTime(mode, waitMs))) : null
      // While the server had not answered yet.
      if (signal?.aborted) aborted()
    })
  }

  get #heldBy(): string {
    const names = this.#holders.map(({ who }) => cleanText(who)).join(', ')
    return names === '' ? 'somebody else' : names
  }

  #notInTime(mode: ConsoleMode, waitMs: number): VspcError {
    const text = `${this.#parts.name()} is still held by ${this.#heldBy} after ${waitMs / 1_000} s: mode "${mode}" was not to be had`
    return new VspcError('VSPC_WAIT_TIMEOUT', text)
  }

  #notHad(mode: ConsoleMode, reason: string | null): VspcError {
    const why = reason ? `: ${cleanText(reason)}` : ''
    return new VspcError('VSPC_CONSOLE_BUSY', `${this.#parts.name()}: mode "${mode}" was not to be had${why}`)
  }
}
