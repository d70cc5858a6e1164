/**
 * How often one address may fail to say who it is. Pure.
 *
 * A token bucket per source, in a table of bounded size: who was seen longest ago is forgotten first, and whose bucket has
 * filled up again at once. With more addresses than the table holds the limit can be got around. That is borne: it is there
 * against noise in logs and work for nothing; against guessing stand the 256 bits of a token.
 */
export interface FailureLimits {
  /** At once, from one source. */
  readonly burst: number
  /** Until one more is allowed. */
  readonly refillMs: number
  readonly maxSources: number
}

export const FAILURE_LIMITS: FailureLimits = { burst: 10, refillMs: 6_000, maxSources: 10_000 }

export class FailureLimit {
  readonly #limits: FailureLimits
  /** Oldest first. `left` failures at the time `at`. */
  readonly #sources = new Map<string, { left: number; at: number }>()

  constructor(limits: FailureLimits = FAILURE_LIMITS) {
    this.#limits = limits
  }

  get sources(): number {
    return this.#sources.size
  }

  /**
   * Counts a failure.
   * @param now monotonic milliseconds. @returns milliseconds until the next one is allowed if this one was one too many,
   * else 0.
   */
  failed(address: string, now: number): number {
    const key = sourceOf(address)
    const left = this.#left(key, now)
    this.#sources.delete(key)
    if (this.#sources.size >= this.#limits.maxSources) this.#forget(now)
    if (left < 1) {
      this.#sources.set(key, { left, at: now })
      return Math.ceil((1 - left) * this.#limits.refillMs)
    }
    this.#sources.set(key, { left: left - 1, at: now })
    return 0
  }

  /** Milliseconds until a failure of this source would be let pass again; 0 = it would now. Counts nothing. */
  blockedFor(address: string, now: number): number {
    const left = this.#left(sourceOf(address), now)
    return left < 1 ? Math.ceil((1 - left) * this.#limits.refillMs) : 0
  }

  #left(key: string, now: number): number {
    const { burst, refillMs } = this.#limits
    const source = this.#sources.get(key)
    if (source === undefined) return burst
    return Math.min(burst, source.left + Math.max(0, now - source.at) / refillMs)
  }

  /** The oldest, and those behind it that are as good as new. A few at a time: nobody waits for the whole table. */
  #forget(now: number): void {
    let looked = 0
    for (const key of this.#sources.keys()) {
      if (looked++ > 0 && (looked > 8 || this.#left(key, now) < this.#limits.burst)) return
      this.#sources.delete(key)
    }
  }
}

/**
 * What counts as one source: an IPv4 address; of IPv6 the network of 64 bits, since one customer has at least that many
 * addresses; anything else as it is.
 */
export function sourceOf(address: string): string {
  const [text = ''] = address.slice(0, 128).split('%')
  if (!text.includes(':') || !/^[0-9A-Fa-f:.]+$/.test(text)) return text
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text)?.[1]
  if (mapped !== undefined) return mapped
  const [before = '', after] = text.split('::')
  const words = before === '' ? [] : before.split(':')
  if (after !== undefined) {
    const tail = after === '' ? [] : after.split(':')
    while (words.length + tail.length < 8) words.push('0')
    words.push(...tail)
  }
  const network = words.slice(0, 4).map((word) => Number.parseInt(word, 16).toString(16))
  return `${network.join(':')}::/64`
}
