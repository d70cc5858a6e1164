/**
 * How often the same message is logged. Whoever can connect can make us write a line, and ten thousand of them a second:
 * that hides what matters, and a journal with a limit of its own then drops lines of others. What is left out is counted,
 * and told with the message it was.
 */
import { performance } from 'node:perf_hooks'

interface Rate {
  /** Lines at once. */
  readonly burst: number
  readonly perSecond: number
}

/** Enough for a rack of hosts with the same mistake. */
const USUAL: Rate = { burst: 200, perSecond: 10 }
/** About ports: all of a large site may come back at once, and each is news. */
const OF_PORTS: Rate = { burst: 20_000, perSecond: 200 }
/** Texts are ours, so they are few; beyond this they share one limit. */
const MAX_MESSAGES = 500
/** From the first line that is left out until that is told. */
const TELL_MS = 5_000

interface Bucket {
  readonly rate: Rate
  readonly message: string
  tokens: number
  /** Monotonic ms. */
  filledAt: number
  leftOut: number
}

export interface LogLimitOptions {
  /** Tells what was left out; not limited itself. */
  readonly tell: (message: string, count: number) => void
  /** Monotonic, ms. */
  readonly now?: () => number
  readonly after?: (ms: number, run: () => void) => void
}

export class LogLimit {
  /** Lines left out so far. */
  leftOut = 0
  readonly #tell: (message: string, count: number) => void
  readonly #now: () => number
  readonly #after: (ms: number, run: () => void) => void
  readonly #buckets = new Map<string, Bucket>()
  #telling = false

  constructor({ tell, now = () => performance.now(), after = later }: LogLimitOptions) {
    this.#tell = tell
    this.#now = now
    this.#after = after
  }

  /** @param fields of the line: those of ports name one. */
  allows(fields: object, message: string): boolean {
    const bucket = this.#buckets.get(message) ?? this.#make(fields, message)
    // The clock is only looked at when it matters.
    if (bucket.tokens < 1) refill(bucket, this.#now())
    if (bucket.tokens >= 1) {
      bucket.tokens--
      return true
    }
    this.leftOut++
    bucket.leftOut++
    if (!this.#telling) {
      this.#telling = true
      this.#after(TELL_MS, () => this.#tellAll())
    }
    return false
  }

  #make(fields: object, message: string): Bucket {
    const rate = 'port' in fields ? OF_PORTS : USUAL
    const isFull = this.#buckets.size >= MAX_MESSAGES
    const key = isFull ? 'other messages' : message
    const known = this.#buckets.get(key)
    if (known !== undefined) return known
    const bucket = { rate, message: key, tokens: rate.burst, filledAt: this.#now(), leftOut: 0 }
    this.#buckets.set(key, bucket)
    return bucket
  }

  #tellAll(): void {
    this.#telling = false
    for (const bucket of this.#buckets.values()) {
      if (bucket.leftOut === 0) continue
      this.#tell(bucket.message, bucket.leftOut)
      bucket.leftOut = 0
    }
  }
}

function refill(bucket: Bucket, now: number): void {
  const { burst, perSecond } = bucket.rate
  bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.filledAt) / 1_000) * perSecond)
  bucket.filledAt = now
}

function later(ms: number, run: () => void): void {
  setTimeout(run, ms).unref()
}
