import type { Clock, Timer } from '../base/index.ts'
import { TIMING } from './timing.ts'

/**
 * Where the VM is, told without spoiling what the guest shows: not across the picture of a full-screen program, nor
 * into output that a vMotion has just cut in the middle. What is overtaken by newer news is not told at all.
 */
export class MoveNews {
  readonly #terminal: { readonly fullScreen: boolean }
  readonly #clock: Clock
  readonly #tell: (text: string) => void
  #untold = ''
  #printedAt = Number.NEGATIVE_INFINITY
  #timer: Timer | null = null

  constructor(terminal: { readonly fullScreen: boolean }, clock: Clock, tell: (text: string) => void) {
    this.#terminal = terminal
    this.#clock = clock
    this.#tell = tell
  }

  take(text: string): void {
    this.#untold = text
    this.#tellIfQuiet()
  }

  /** The guest has printed something. */
  printed(): void {
    this.#printedAt = this.#clock.now()
    if (this.#untold !== '') this.#tellIfQuiet()
  }

  #tellIfQuiet(): void {
    // Its end shows in output, so that is when to look again.
    if (this.#untold === '' || this.#terminal.fullScreen) return
    const waitMs = this.#printedAt + TIMING.moveNewsQuietMs - this.#clock.now()
    if (waitMs > 0) {
      this.#timer ??= this.#clock.after(waitMs, () => {
        this.#timer = null
        this.#tellIfQuiet()
      })
      return
    }
    const text = this.#untold
    this.#untold = ''
    this.#tell(text)
  }
}
