import type { Timer } from '../base/index.ts'
import type { Server } from '../vspc/index.ts'
import type { WsConsole } from './ws-console.ts'

/** Parts of the interval: ten thousand pings at once would be felt. */
const SLOTS = 16

/** Pings every console once in `limits.pingMs`, a few at a time, with one timer for all. */
export class ConsolePings {
  readonly #server: Server
  readonly #slots: readonly Set<WsConsole>[] = Array.from({ length: SLOTS }, () => new Set<WsConsole>())
  #next = 0
  #due = 0
  #count = 0
  #timer: Timer | null = null

  constructor(server: Server) {
    this.#server = server
  }

  /** From now on; the returned function ends it. */
  add(console: WsConsole): () => void {
    const slot = this.#slots[this.#next] as Set<WsConsole>
    this.#next = (this.#next + 1) % SLOTS
    slot.add(console)
    this.#count++
    if (this.#timer === null) this.#arm()
    return () => {
      if (!slot.delete(console)) return
      this.#count--
      if (this.#count > 0) return
      this.#timer?.cancel()
      this.#timer = null
    }
  }

  #arm(): void {
    const { clock, limits } = this.#server
    this.#timer = clock.after(limits.pingMs / SLOTS, () => {
      this.#arm()
      this.#due = (this.#due + 1) % SLOTS
      for (const console of this.#slots[this.#due] as Set<WsConsole>) console.ping()
    })
  }
}
