/** Telling peer relays their new next hop: before VMs are re-pointed, and again until each has heard it. */
import { Backoff, type Clock, pause, VspcError } from '../base/index.ts'
import { type Failure, failureOf, type HostPlace } from './inventory.ts'
import { within } from './within.ts'

/** A next hop of a peer relay, and where it is to lead from now on. */
export interface NextHopChange {
  /** Names relay and next hop; unique, for people. */
  readonly peer: string
  readonly endpoint: string
}

/** What the tracker needs of peer relays. */
export interface NextHopPusher {
  /** Pure. @throws VspcError when there is no such endpoint for the host; then nothing is pushed. */
  changes(place: HostPlace): readonly NextHopChange[]
  /** Setting what is set already is no failure. Aborting makes it fail soon. */
  push(change: NextHopChange, options: { readonly signal: AbortSignal }): Promise<void>
}

export interface PushTimes {
  readonly pushMs: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
}

export type PushEvent =
  | { readonly kind: 'pushed'; readonly change: NextHopChange }
  | {
      readonly kind: 'push-failed'
      readonly change: NextHopChange
      readonly failure: Failure
      readonly attempts: number
      readonly retryMs: number
    }

export interface NextHopPushesOptions {
  readonly pusher: NextHopPusher
  readonly clock: Clock
  readonly random: () => number
  readonly times: PushTimes
  readonly onEvent: (event: PushEvent) => void
}

export class NextHopPushes {
  readonly #options: NextHopPushesOptions
  /** By peer: settles when its last call has. A later one must not be overtaken by an earlier one. */
  readonly #last = new Map<string, Promise<void>>()
  /** One for each peer. */
  #current: AbortController[] = []
  #open = 0

  constructor(options: NextHopPushesOptions) {
    this.#options = options
  }

  /** Peers that have not heard it yet. */
  get open(): number {
    return this.#open
  }

  /**
   * Supersedes what is under way. Resolves when every peer was tried once; those that failed are tried again until it
   * works, or until the next call. @throws VspcError as {@link NextHopPusher.changes}.
   */
  async push(place: HostPlace): Promise<void> {
    this.cancel()
    const changes = this.#options.pusher.changes(place)
    this.#open = changes.length
    this.#current = changes.map(() => new AbortController())
    await Promise.all(this.#current.map((current, at) => this.#first(changes[at] as NextHopChange, current)))
  }

  cancel(): void {
    for (const current of this.#current) current.abort(new VspcError('VSPC_SERVER_STOPPING', 'superseded'))
    this.#current = []
    this.#open = 0
  }

  /** Resolves after the first attempt. Never fails. */
  async #first(change: NextHopChange, current: AbortController): Promise<void> {
    const { retryMinMs, retryMaxMs } = this.#options.times
    const backoff = new Backoff({ redialMinMs: retryMinMs, redialMaxMs: retryMaxMs }, this.#options.random)
    const retryMs = await this.#attempt(change, current, backoff, 1)
    if (retryMs !== null) void this.#again(change, current, backoff, retryMs)
  }

  async #again(change: NextHopChange, current: AbortController, backoff: Backoff, firstMs: number): Promise<void> {
    let retryMs: number | null = firstMs
    for (let attempts = 2; retryMs !== null; attempts++) {
      try {
        await pause(this.#options.clock, retryMs, current.signal)
      } catch {
        // Superseded.
        return
      }
      retryMs = await this.#attempt(change, current, backoff, attempts)
    }
  }

  /** @returns milliseconds until the next attempt; null = none. */
  async #attempt(
    change: NextHopChange,
    current: AbortController,
    backoff: Backoff,
    attempts: number,
  ): Promise<number | null> {
    const { clock, times, onEvent } = this.#options
    const doing = `telling ${change.peer} its next hop`
    try {
      await within({ clock, signal: current.signal, timeoutMs: times.pushMs, doing }, (signal) =>
        this.#inTurn(change, signal),
      )
      if (current.signal.aborted) return null
      this.#open--
      onEvent({ kind: 'pushed', change })
      return null
    } catch (error) {
      if (current.signal.aborted) return null
      const retryMs = backoff.next()
      onEvent({ kind: 'push-failed', change, failure: failureOf(error), attempts, retryMs })
      return retryMs
    }
  }

  #inTurn(change: NextHopChange, signal: AbortSignal): Promise<void> {
    const before = this.#last.get(change.peer) ?? Promise.resolve()
    const mine = before.then(() => {
      signal.throwIfAborted()
      return this.#options.pusher.push(change, { signal })
    })
    this.#last.set(
      change.peer,
      mine.catch(() => {}),
    )
    return mine
  }
}
