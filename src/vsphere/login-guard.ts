/** When a login that was refused may be tried again. */
import { createHash, randomBytes } from 'node:crypto'
import type { Clock } from '../base/index.ts'

/** Pauses double up to so many times the first one: half a minute becomes a quarter of an hour. */
const MOST = 32

interface Refusal {
  readonly digest: string
  readonly error: unknown
  readonly at: number
  /** In a row, of this password. */
  readonly times: number
}

/**
 * Directories lock an account after a few refusals within minutes (vCenter's own: five in three minutes [doc]). So a
 * password that was refused is tried again after pauses that grow; another one is tried at once. It is not kept itself.
 */
export class LoginGuard {
  readonly #clock: Clock
  readonly #pauseMs: number
  readonly #salt = randomBytes(16)
  #last: Refusal | null = null

  /** @param pauseMs the first pause. */
  constructor(clock: Clock, pauseMs: number) {
    this.#clock = clock
    this.#pauseMs = pauseMs
  }

  /** @throws what the last refusal was, while this password is not to be tried. */
  admit(password: string): void {
    const last = this.#last
    if (last === null || last.digest !== this.#digest(password)) return
    if (this.#clock.now() - last.at < this.#pauseMs * Math.min(MOST, 2 ** (last.times - 1))) throw last.error
  }

  refused(password: string, error: unknown): void {
    const digest = this.#digest(password)
    const times = this.#last?.digest === digest ? this.#last.times + 1 : 1
    this.#last = { digest, error, at: this.#clock.now(), times }
  }

  accepted(): void {
    this.#last = null
  }

  #digest(password: string): string {
    return createHash('sha256').update(this.#salt).update(password).digest('hex')
  }
}
