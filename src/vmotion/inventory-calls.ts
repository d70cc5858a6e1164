/** Calls with a deadline, and what their failures say of the server: while it is out of reach, few are made. */
import { type Backoff, type Clock, type Timer, VspcError } from '../base/index.ts'
import { failureOf } from './inventory.ts'
import { within } from './within.ts'

export interface InventoryCallsOptions {
  readonly clock: Clock
  readonly callMs: number
  readonly backoff: Backoff
  /** The pause is over: something may be tried. */
  readonly onTry: () => void
  /** A call has succeeded after some that did not reach the server. */
  readonly onBack: () => void
}

export class InventoryCalls {
  readonly #options: InventoryCallsOptions
  /** One controller for each call: a signal that many listen to is reported as a leak. */
  readonly #calls = new Set<AbortController>()
  #out = false
  #timer: Timer | null = null

  constructor(options: InventoryCallsOptions) {
    this.#options = options
  }

  /** The server was out of reach, and no call has succeeded since. */
  get out(): boolean {
    return this.#out
  }

  /** Nothing new should be begun now. */
  get paused(): boolean {
    return this.#timer !== null
  }

  /** @throws as the call; VSPC_VSPHERE_TASK_TIMEOUT, VSPC_SERVER_STOPPING. */
  async call<T>(doing: string, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock, callMs } = this.#options
    const calling = new AbortController()
    this.#calls.add(calling)
    try {
      const value = await within({ clock, signal: calling.signal, timeoutMs: callMs, doing }, call)
      this.#reached()
      return value
    } catch (error) {
      if (failureOf(error).kind === 'transient') this.#unreached()
      throw error
    } finally {
      this.#calls.delete(calling)
    }
  }

  /** Calls under way fail. */
  abort(): void {
    this.#timer?.cancel()
    this.#timer = null
    for (const call of this.#calls) call.abort(new VspcError('VSPC_SERVER_STOPPING', 'the re-pointing of VMs stops'))
  }

  #unreached(): void {
    this.#out = true
    this.#timer ??= this.#options.clock.after(this.#options.backoff.next(), () => {
      this.#timer = null
      this.#options.onTry()
    })
  }

  #reached(): void {
    if (!this.#out) return
    this.#out = false
    this.#timer?.cancel()
    this.#timer = null
    this.#options.backoff.reset()
    this.#options.onBack()
  }
}
