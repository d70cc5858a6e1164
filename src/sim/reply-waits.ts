import type { Clock, Timer } from '../base/index.ts'
import { OPTION } from './codes.ts'

/** What came of waiting for a suboption. `atMs` is the clock's reading when it was parsed. */
export type Reply =
  | { readonly kind: 'sub'; readonly code: number; readonly payload: Uint8Array; readonly atMs: number }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'closed' }

interface ReplyWait {
  readonly codes: readonly number[]
  readonly accept: ((payload: Uint8Array) => boolean) | undefined
  readonly resolve: (reply: Reply) => void
  timer: Timer | null
}

/** Waits for single suboptions of option 232; costs nothing while nobody waits. */
export class ReplyWaits {
  readonly #clock: Clock
  #waits: ReplyWait[] | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(codes: readonly number[], limitMs: number, accept?: (payload: Uint8Array) => boolean): Promise<Reply> {
    return new Promise((resolve) => {
      const wait: ReplyWait = { codes, accept, resolve, timer: null }
      wait.timer = this.#clock.after(limitMs, () => {
        this.#remove(wait)
        resolve({ kind: 'timeout' })
      })
      this.#waits ??= []
      this.#waits.push(wait)
    })
  }

  sub(option: number, payload: Uint8Array): void {
    if (this.#waits === null || option !== OPTION.VMWARE) return
    const code = payload[0]
    if (code === undefined) return
    const rest = payload.subarray(1)
    const wait = this.#waits.find((each) => each.codes.includes(code) && (each.accept?.(rest) ?? true))
    if (!wait) return
    this.#remove(wait)
    wait.timer?.cancel()
    wait.resolve({ kind: 'sub', code, payload: rest, atMs: this.#clock.now() })
  }

  close(): void {
    const waits = this.#waits ?? []
    this.#waits = null
    for (const wait of waits) {
      wait.timer?.cancel()
      wait.resolve({ kind: 'closed' })
    }
  }

  #remove(wait: ReplyWait): void {
    if (this.#waits === null) return
    this.#waits = this.#waits.filter((other) => other !== wait)
    if (this.#waits.length === 0) this.#waits = null
  }
}
