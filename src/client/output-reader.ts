import { type Clock, VspcError } from '../base/index.ts'
import { failedOn, isClosed, notInTime } from './console-errors.ts'
import { Expectation, ExpectError, type ExpectMatch, type ExpectOptions } from './expectation.ts'
import type { Match } from './matcher.ts'
import { Unread } from './unread.ts'

/** Held for someone to take; beyond it the server waits. */
export const UNREAD_BYTES = 1 << 20
/** What an `expect` that found nothing leaves for the next one. */
const LEFT_BYTES = 65_536

export interface OutputReaderParts {
  readonly clock: Clock
  /** What nobody takes is dropped. */
  readonly drop: boolean
  readonly onOutput: (bytes: Uint8Array) => Promise<unknown> | null
  /** Offset of the next byte to come. */
  readonly offset: () => number | null
  /** The VM's name while it is offline; null = it is not. */
  readonly offline: () => string | null
  /** What {@link OutputReader.wants} has changed. */
  readonly changed: () => void
}

/** A console's output, for whoever takes it first: one loop or one `expect` at a time. */
export class OutputReader {
  readonly #parts: OutputReaderParts
  /** Promises of `onOutput` that are pending. */
  #busy = 0
  readonly #unread = new Unread()
  #expectation: Expectation | null = null
  /** Ends the running `expect` for another reason than its own. */
  #interrupt: ((error: VspcError) => void) | null = null
  #failOffline = false
  /** Wakes whoever iterates. */
  #wake: (() => void) | null = null
  #iterating = false
  #ended: VspcError | null = null
  #closed = false

  constructor(parts: OutputReaderParts) {
    this.#parts = parts
  }

  /** May more come? @param most held for someone to take. */
  wants(most: number): boolean {
    const taken = this.#expectation !== null || this.#parts.drop
    return this.#busy === 0 && (taken || this.#unread.length <= most)
  }

  /** Of the next byte that nobody has taken yet. */
  get offset(): number {
    if (this.#unread.length === 0) return this.#parts.offset() ?? 0
    return this.#unread.offsetOf(this.#unread.next - this.#unread.length)
  }

  push(bytes: Uint8Array): void {
    const { onOutput, drop, offset, changed } = this.#parts
    const busy = onOutput(bytes)
    if (busy !== null) this.#waitFor(busy)
    if (drop && !this.#iterating && this.#expectation === null) return
    const position = this.#unread.next
    this.#unread.push(bytes, (offset() ?? bytes.length) - bytes.length)
    if (this.#expectation) {
      this.#expectation.push(bytes, position)
      if (this.#expectation) this.#unread.keepLast(UNREAD_BYTES)
    }
    this.#wakeReader()
    changed()
  }

  expect(patterns: readonly (string | RegExp)[], options: ExpectOptions): Promise<ExpectMatch> {
    return new Promise((resolve, reject) => {
      options.signal?.throwIfAborted()
      this.#claim()
      const aborted = () => end(options.signal?.reason as Error)
      const end = (error: Error | null, match?: ExpectMatch) => {
        this.#expectation?.cancel()
        this.#expectation = null
        this.#interrupt = null
        options.signal?.removeEventListener('abort', aborted)
        if (error) this.#unread.keepLast(LEFT_BYTES)
        this.#parts.changed()
        if (error) reject(error)
        else resolve(match as ExpectMatch)
      }
      const expectation = new Expectation(patterns, options, this.#parts.clock, (match) => {
        const failure = this.#failure(match, patterns, options)
        if (failure) end(failure)
        else if (match) end(null, this.#take(match))
      })
      options.signal?.addEventListener('abort', aborted, { once: true })
      this.#expectation = expectation
      this.#failOffline = options.failOffline ?? false
      this.#interrupt = (error) => {
        if (expectation.settle()) return
        end(new ExpectError(error.code, error.message, this.#unread.toBytes(), null, { cause: error }))
      }
      for (const { bytes, position } of this.#unread.chunks) {
        if (expectation.over) return
        expectation.push(bytes, position)
      }
      if (this.#ended) this.#interrupt?.(this.#ended)
      else this.stateChanged()
      this.#parts.changed()
    })
  }

  async *iterate(): AsyncGenerator<Uint8Array, void, void> {
    this.#claim()
    this.#iterating = true
    try {
      for (;;) {
        const bytes = this.#unread.shift()
        this.#parts.changed()
        if (bytes) yield bytes
        else if (this.#closed) return
        else if (this.#ended) throw this.#ended
        else
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
      }
    } finally {
      this.#iterating = false
    }
  }

  /** The VM is online, offline, moving. */
  stateChanged(): void {
    const name = this.#failOffline ? this.#parts.offline() : null
    if (name !== null) this.#interrupt?.(new VspcError('VSPC_PORT_OFFLINE', `${name} is offline`))
  }

  /** There will be no more. */
  end(error: VspcError): void {
    this.#ended = error
    this.#interrupt?.(error)
    this.#wakeReader()
  }

  /** Nobody wants more. */
  close(): void {
    this.#closed = true
    this.#interrupt?.(isClosed())
    this.#wakeReader()
  }

  #waitFor(busy: Promise<unknown>): void {
    this.#busy++
    this.#parts.changed()
    const done = () => {
      this.#busy--
      this.#parts.changed()
    }
    busy.then(done, done)
  }

  /** One reader at a time. */
  #claim(): void {
    if (this.#closed) throw isClosed()
    if (!this.#iterating && this.#expectation === null) return
    throw new VspcError('VSPC_USAGE', 'the output of this console is being read already: one expect or loop at a time')
  }

  #take(match: Match): ExpectMatch {
    const found = this.#shown(match)
    this.#unread.dropBefore(match.end)
    return found
  }

  #shown({ index, text, groups, named, start, end }: Match): ExpectMatch {
    const startOffset = this.#unread.offsetOf(start)
    return { index, text, groups, named, startOffset, endOffset: this.#unread.offsetOf(end) }
  }

  #failure(match: Match | null, patterns: readonly (string | RegExp)[], options: ExpectOptions): ExpectError | null {
    if (match !== null && !match.failed) return null
    const seen = this.#unread.toBytes()
    if (match) return failedOn(options.failOn?.[match.index] ?? '', seen, this.#shown(match))
    return notInTime(patterns, seen, this.#parts.offline())
  }

  #wakeReader(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }
}
