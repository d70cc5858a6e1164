import type { Clock, Timer } from '../base/index.ts'
import type { DiskHistory } from './disk-history.ts'

/** Readers of compressed files that get along without doing the same work again. */
const MEMBERS = 8
/** Nobody reads any more: memory is given back. */
const REST_MS = 10_000

interface Member {
  readonly port: DiskHistory
  /** Offset of its first byte. */
  readonly start: number
  readonly bytes: Uint8Array
}

/** The parts of compressed files that were read last. */
export class MemberCache {
  readonly #clock: Clock
  /** The one used last is the last. */
  readonly #members: Member[] = []
  #timer: Timer | null = null
  #used = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get(port: DiskHistory, start: number): Uint8Array | null {
    const index = this.#members.findIndex((member) => member.port === port && member.start === start)
    const [member] = index < 0 ? [] : this.#members.splice(index, 1)
    if (member === undefined) return null
    this.#members.push(member)
    this.#used = true
    return member.bytes
  }

  put(port: DiskHistory, start: number, bytes: Uint8Array): void {
    if (this.#members.length === MEMBERS) this.#members.shift()
    this.#members.push({ port, start, bytes })
    this.#used = true
    this.#timer ??= this.#clock.after(REST_MS, this.#look)
  }

  clear(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#members.length = 0
  }

  readonly #look = (): void => {
    this.#timer = null
    if (this.#used) this.#timer = this.#clock.after(REST_MS, this.#look)
    else this.clear()
    this.#used = false
  }
}
