/** Waits for connects that libuv cannot watch: one poll(2) now and then for all of them. */
import type { VsockLibc } from './vsock-libc.ts'

/** A connect over a vSocket takes no network: most have ended at the first look. */
const FIRST_LOOK_MS = 1
const MAX_PAUSE_MS = 32

export class ConnectWatch {
  readonly #libc: Pick<VsockLibc, 'connectEnded'>
  readonly #waiting = new Map<number, () => void>()
  #pauseMs = FIRST_LOOK_MS
  #timer: NodeJS.Timeout | null = null

  constructor(libc: Pick<VsockLibc, 'connectEnded'>) {
    this.#libc = libc
  }

  /** Calls `ended` once, when the connect of `fd` has ended, unless that is deleted before. */
  add(fd: number, ended: () => void): void {
    this.#waiting.set(fd, ended)
    if (this.#timer !== null && this.#pauseMs === FIRST_LOOK_MS) return
    this.#pauseMs = FIRST_LOOK_MS
    this.#schedule()
  }

  delete(fd: number): void {
    if (this.#waiting.delete(fd) && this.#waiting.size === 0) this.#stop()
  }

  /** Not the clock of the product: this stands for what the system would tell of itself, and keeps the process alive as that does. */
  #schedule(): void {
    this.#stop()
    this.#timer = setTimeout(this.#look, this.#pauseMs)
  }

  #stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  readonly #look = (): void => {
    this.#timer = null
    for (const fd of this.#libc.connectEnded([...this.#waiting.keys()])) {
      const ended = this.#waiting.get(fd)
      this.#waiting.delete(fd)
      ended?.()
    }
    if (this.#waiting.size === 0 || this.#timer !== null) return
    this.#pauseMs = Math.min(MAX_PAUSE_MS, this.#pauseMs * 2)
    this.#schedule()
  }
}
