import { type Clock, type Timer, VspcError } from '../base/index.ts'

/** How long a simulator waits for something unless told: far above any healthy answer, below a test's own limit. */
export const DEFAULT_WAIT_MS = 5_000

interface Wait {
  attempt(): boolean
  fail(why: string): void
}

/**
 * Pending expectations over state that only grows. Nothing polls: whoever changes the state calls `poke`, which runs
 * each pending attempt once, in the order the waits began.
 */
export class Waiting {
  #waits: Wait[] = []
  readonly #clock: Clock
  #over: string | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Resolves with the first result of `attempt` that is not undefined, tried now and on every `poke`.
   * Rejects with VSPC_SIM_EXPECT after `timeoutMs` or on `end`; `dump` then adds what did arrive.
   */
  wait<T>(what: string, attempt: () => T | undefined, timeoutMs: number, dump: () => string): Promise<T> {
    const now = attempt()
    if (now !== undefined) return Promise.resolve(now)
    const failure = (why: string) => new VspcError('VSPC_SIM_EXPECT', `expected ${what}: ${why}\n${dump()}`)
    if (this.#over !== null) return Promise.reject(failure(this.#over))
    return new Promise<T>((resolve, reject) => {
      let timer: Timer | null = null
      const wait: Wait = {
        attempt: () => {
          const result = attempt()
          if (result === undefined) return false
          timer?.cancel()
          resolve(result)
          return true
        },
        fail: (why) => {
          timer?.cancel()
          reject(failure(why))
        },
      }
      this.#waits.push(wait)
      timer = this.#clock.after(timeoutMs, () => {
        this.#waits = this.#waits.filter((other) => other !== wait)
        wait.fail(`nothing like it within ${timeoutMs} ms`)
      })
    })
  }

  /** The state changed. */
  poke(): void {
    if (this.#waits.length === 0) return
    this.#waits = this.#waits.filter((wait) => !wait.attempt())
  }

  /** Nothing will change any more: fails what is pending, and what is asked later and not already true. */
  end(why: string): void {
    this.#over = why
    const pending = this.#waits
    this.#waits = []
    for (const wait of pending) wait.fail(why)
  }
}
