import type { Clock, Timer } from '../base/index.ts'
import { TIMING } from './timing.ts'

/** What {@link Linger} has to know, and whom it tells. */
export interface LingerHost {
  /** False while the VM cannot answer but will: it is being moved, or we are reconnecting. */
  canAnswer(): boolean
  /** Input not yet on its way: as long as there is some, no quiet means anything. */
  unsentBytes(): number
  /** Once: the guest was quiet long enough, or never became quiet. */
  done(wasQuiet: boolean): void
}

/** Least pause between two looks at a VM that is being moved. */
const AWAY_MS = 20

/** Decides when piped use is over: the input has ended, and the guest has been quiet for a while. */
export class Linger {
  readonly #ms: number
  readonly #clock: Clock
  readonly #host: LingerHost
  #quietSince = 0
  /** Since when the VM is being moved. */
  #awaySince: number | null = null
  #quiet: Timer | null = null
  #cap: Timer | null = null

  /** @param ms how long the guest has to be quiet. */
  constructor(ms: number, clock: Clock, host: LingerHost) {
    this.#ms = ms
    this.#clock = clock
    this.#host = host
  }

  /** How long a guest that never becomes quiet is listened to. */
  get capMs(): number {
    return Math.max(TIMING.lingerCapMs, this.#ms)
  }

  /** The input has ended. */
  begin(): void {
    this.touch()
    this.#waitForQuiet(this.#ms)
    this.#waitForCap()
  }

  /** Something came: quiet counts from now. */
  touch(): void {
    this.#quietSince = this.#clock.now()
    if (this.#awaySince !== null) this.#awaySince = this.#quietSince
  }

  /** The VM's state is another one. Time in which it cannot answer does not count, so moves that never stop do no harm. */
  stateChanged(): void {
    const now = this.#clock.now()
    if (!this.#host.canAnswer()) {
      this.#awaySince ??= now
    } else if (this.#awaySince === null) {
      this.touch()
    } else {
      this.#quietSince += now - this.#awaySince
      this.#awaySince = null
    }
  }

  cancel(): void {
    this.#quiet?.cancel()
    this.#cap?.cancel()
  }

  #waitForQuiet(ms: number): void {
    this.#quiet = this.#clock.after(ms, () => {
      // It may be back without word of it: with the connection to the server.
      if (this.#awaySince !== null && this.#host.canAnswer()) this.stateChanged()
      const away = this.#awaySince !== null
      if ((!away && !this.#host.canAnswer()) || this.#host.unsentBytes() > 0) this.touch()
      const left = this.#quietSince + this.#ms - (this.#awaySince ?? this.#clock.now())
      if (left > 0) this.#waitForQuiet(away ? Math.max(left, AWAY_MS) : left)
      else this.#end(true)
    })
  }

  #waitForCap(): void {
    this.#cap = this.#clock.after(this.capMs, () => {
      if (this.#host.unsentBytes() > 0) this.#waitForCap()
      else this.#end(false)
    })
  }

  #end(wasQuiet: boolean): void {
    this.cancel()
    this.#host.done(wasQuiet)
  }
}
