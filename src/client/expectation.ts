import { type Clock, type ErrorCode, type Timer, VspcError } from '../base/index.ts'
import type { ConsoleEncoding } from './console-text.ts'
import { type Match, Matcher } from './matcher.ts'

export interface ExpectOptions {
  /** Milliseconds until VSPC_WAIT_TIMEOUT; may be infinite. Default 30,000. */
  readonly timeoutMs?: number
  /** Output that ends the wait with VSPC_EXPECT_FAILED. */
  readonly failOn?: readonly (string | RegExp)[]
  /** Ends the wait with VSPC_PORT_OFFLINE when the VM is offline. Default false: it may come back. */
  readonly failOffline?: boolean
  /** Default `utf8`. */
  readonly encoding?: ConsoleEncoding
  /** Leaves terminal control sequences (colours, cursor moves, titles) out before matching. Default true. */
  readonly stripAnsi?: boolean
  /** How far back a match may begin, in characters, 1 to 1,000,000. Default 65,536. */
  readonly windowChars?: number
  /** Pause in the output after which a line without an end, such as a prompt, is tried. Milliseconds, default 50. */
  readonly quietMs?: number
  /** Aborting it rejects with its reason. */
  readonly signal?: AbortSignal
}

/** What an `expect` found. Offsets count the port's output, as everywhere; control sequences may lie between them. */
export interface ExpectMatch {
  /** Which of the patterns. */
  readonly index: number
  readonly text: string
  /** Capture groups from 1 on; undefined for those that took no part. */
  readonly groups: readonly (string | undefined)[]
  readonly named: { readonly [name: string]: string | undefined }
  /** Of its first byte. */
  readonly startOffset: number
  /** After its last byte: where the next `expect` goes on. */
  readonly endOffset: number
}

/** An `expect` that ended otherwise; `code` says how, `seen` what the console showed last and nobody has taken. */
export class ExpectError extends VspcError {
  override name = 'ExpectError'
  readonly seen: Uint8Array
  /** What matched, with VSPC_EXPECT_FAILED. */
  readonly match: ExpectMatch | null

  constructor(
    code: ErrorCode,
    message: string,
    seen: Uint8Array,
    match: ExpectMatch | null = null,
    options?: { cause?: unknown },
  ) {
    super(code, message, options)
    this.seen = seen
    this.match = match
  }
}

export const EXPECT_DEFAULTS = { timeoutMs: 30_000, windowChars: 65_536, quietMs: 50 } as const
const MAX_WINDOW_CHARS = 1_000_000
/** Longer ones overflow a timer (2^31 - 1 ms), which Node would turn into 1 ms. */
const MAX_TIMER_MS = 2_147_483_647
/** An open line is tried at the latest after this many pauses' worth of output that never pauses. */
const MAX_QUIETS = 10

/** One running `expect`: gets the output, decides when a pause is a pause, and calls `done` once. */
export class Expectation {
  readonly #matcher: Matcher
  readonly #clock: Clock
  readonly #quietMs: number
  readonly #done: (match: Match | null) => void
  readonly #deadline: Timer | null
  #quiet: Timer | null = null
  #lastAt = 0
  /** Since when the end of the text has been waiting to be tried. */
  #openAt = 0
  #over = false

  /** @param done told the match, or null when the time is up. */
  constructor(
    patterns: readonly (string | RegExp)[],
    options: ExpectOptions,
    clock: Clock,
    done: (match: Match | null) => void,
  ) {
    const { timeoutMs, windowChars, quietMs } = checked(patterns, options)
    this.#matcher = new Matcher({
      patterns,
      failOn: options.failOn ?? [],
      encoding: options.encoding ?? 'utf8',
      strip: options.stripAnsi ?? true,
      windowChars,
    })
    this.#clock = clock
    this.#quietMs = quietMs
    this.#done = done
    this.#deadline = timeoutMs > MAX_TIMER_MS ? null : clock.after(timeoutMs, () => this.#timeUp())
  }

  get over(): boolean {
    return this.#over
  }

  push(bytes: Uint8Array, position: number): void {
    if (this.#over) return
    const wasOpen = this.#matcher.open
    const match = this.#matcher.push(bytes, position)
    if (match) {
      this.#end(match)
      return
    }
    if (!this.#matcher.open) return
    this.#lastAt = this.#clock.now()
    if (!wasOpen) this.#openAt = this.#lastAt
    if (this.#quiet === null) this.#watch(this.#quietMs)
  }

  cancel(): void {
    this.#over = true
    this.#deadline?.cancel()
    this.#quiet?.cancel()
  }

  /** One timer for all chunks: it looks how long ago the last one was. */
  #watch(ms: number): void {
    this.#quiet = this.#clock.after(ms, () => {
      this.#quiet = null
      if (!this.#matcher.open) return
      const now = this.#clock.now()
      const left = Math.min(this.#lastAt + this.#quietMs, this.#openAt + MAX_QUIETS * this.#quietMs) - now
      if (left > 0) {
        this.#watch(left)
        return
      }
      const match = this.#matcher.settle()
      if (match) this.#end(match)
    })
  }

  /** There is no more to come: tries the end of the text. True when that matched. */
  settle(): boolean {
    const match = this.#over ? null : this.#matcher.settle()
    if (match) this.#end(match)
    return match !== null
  }

  #timeUp(): void {
    if (!this.settle()) this.#end(null)
  }

  #end(match: Match | null): void {
    this.cancel()
    this.#done(match)
  }
}

function checked(patterns: readonly unknown[], options: ExpectOptions) {
  const { timeoutMs, windowChars, quietMs } = { ...EXPECT_DEFAULTS, ...options }
  const bad =
    patterns.length === 0
      ? 'no pattern'
      : !(timeoutMs >= 0)
        ? 'timeoutMs must be 0 or more'
        : !(windowChars >= 1 && windowChars <= MAX_WINDOW_CHARS)
          ? `windowChars must be 1 to ${MAX_WINDOW_CHARS}`
          : !(quietMs >= 0 && quietMs <= 60_000)
            ? 'quietMs must be 0 to 60000'
            : null
  if (bad !== null) throw new VspcError('VSPC_USAGE', `expect: ${bad}`)
  return { timeoutMs, windowChars: Math.floor(windowChars), quietMs }
}
