/**
 * A small seeded generator (sfc32), for tests only: the same seed gives the same run on every machine. Not the
 * simulator's, so that what is fuzzed and who fuzzes share nothing.
 */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number) {
    this.#a = seed | 0
    this.#b = Math.imul(seed, 0x9e3779b1) | 0
    this.#c = 0x5eed5eed
    for (let i = 0; i < 12; i++) this.uint32()
  }

  /** 0 to 2^32 - 1. */
  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (this.#c << 21) | (this.#c >>> 11)
    this.#c = (this.#c + sum) | 0
    return sum >>> 0
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.uint32() / 0x1_0000_0000) * limit)
  }

  /** `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  byte(): number {
    return this.uint32() & 0xff
  }

  bytes(count: number): number[] {
    return Array.from({ length: count }, () => this.byte())
  }

  /** Mostly small, now and then up to `high`. */
  size(high: number): number {
    return this.below(Math.min(high, this.pick([2, 8, 32, 200, high])) + 1)
  }
}
