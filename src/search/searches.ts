import { Worker } from 'node:worker_threads'
import {
  type Clock,
  endedWithin,
  errorMessage,
  type Limits,
  type Logger,
  type Timer,
  VspcError,
} from '../base/index.ts'
import { TextPattern } from '../pattern/index.ts'
import {
  type Found,
  type FromWorker,
  NOTHING_SEARCHED,
  type Piece,
  type SearchedPort,
  type SearchQuery,
  type SearchTotals,
  type ToWorker,
} from './types.ts'

/** Where the ports are. Each is asked for when its turn comes, so that it is as it is then. */
export interface SearchSource {
  /** For progress: how many ports there are, and how much output they hold, about. */
  readonly ports: number
  readonly bytes: number
  /** Null: there are no more. */
  next(): Promise<SearchedPort | null>
  /** The same port as it is by now; null when it is gone. */
  again(id: string, epoch: string): SearchedPort | null
  /** What memory holds of it. */
  load(id: string, epoch: string, offset: number): Promise<Piece>
}

/** Why a search ended before its end. */
export type SearchEnd = 'complete' | 'limit' | 'time'

/** Lines of JSON, or how far it is. */
export type SearchNews =
  | { readonly kind: 'found'; readonly text: string }
  | { readonly kind: 'progress'; readonly totals: SearchTotals }
  | { readonly kind: 'end'; readonly totals: SearchTotals; readonly end: SearchEnd }

/** Patterns and lines are bounded, so this is far more than is needed. */
const WORKER_LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 }

/** Tests run the sources, and Node 20 threads know JavaScript alone: they use what was built. */
const WORKER_FILE = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/search/search-worker.js' : './search-worker.js',
  import.meta.url,
)

/** A thread that waits for the disk does not end before that has answered. */
const END_MS = 1_000

export interface SearchesOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Read whenever they are needed. */
  limits(): Pick<Limits, 'maxSearches' | 'searchMs'>
}

export interface RunningSearch {
  /** As it is found; nothing is searched for that nobody reads. @throws VspcError VSPC_SEARCH_FAILED. */
  readonly news: AsyncGenerator<SearchNews, void, void>
  /** Gives it up. May be called more than once. */
  stop(): Promise<void>
}

/** Searches of history that are under way, a few at a time, each in a thread of its own. */
export class Searches {
  readonly #options: SearchesOptions
  readonly #running = new Set<Search>()
  #closed = false
  /** Only grow. */
  readonly counters = { begun: 0, refused: 0, bytes: 0 }

  constructor(options: SearchesOptions) {
    this.#options = options
  }

  get running(): number {
    return this.#running.size
  }

  /**
   * Begins a search, which takes one of few places until it is read to its end or stopped.
   * @throws VspcError VSPC_PATTERN, VSPC_SEARCH_BUSY.
   */
  start(query: SearchQuery, source: SearchSource): RunningSearch {
    new TextPattern(query.pattern, query)
    const { maxSearches } = this.#options.limits()
    if (this.#closed || this.#running.size >= maxSearches) {
      this.counters.refused++
      const why = this.#closed ? 'the server is stopping' : `${maxSearches} are under way ("maxSearches")`
      throw new VspcError('VSPC_SEARCH_BUSY', `history is not searched now: ${why}; try again later`)
    }
    this.counters.begun++
    const search: Search = new Search(query, source, this.#options, () => this.#running.delete(search))
    this.#running.add(search)
    const stop = async () => {
      this.#running.delete(search)
      await search.stop()
    }
    return { news: this.#read(search, stop), stop }
  }

  /** Ends all of them, as far as that is to be had within {@link END_MS}. */
  async close(): Promise<void> {
    this.#closed = true
    const ends = Promise.all([...this.#running].map((search) => search.stop()))
    await endedWithin(this.#options.clock, END_MS, ends)
  }

  async *#read(search: Search, stop: () => Promise<void>): AsyncGenerator<SearchNews, void, void> {
    let bytes = 0
    try {
      for await (const news of search.news()) {
        if (news.kind !== 'found') {
          this.counters.bytes += news.totals.bytes - bytes
          bytes = news.totals.bytes
        }
        yield news
      }
    } finally {
      await stop()
    }
  }
}

type Message = FromWorker | { readonly type: 'failed'; readonly reason: string } | { readonly type: 'time' }

class Search {
  readonly #source: SearchSource
  readonly #options: SearchesOptions
  readonly #worker: Worker
  /** The thread asks one thing at a time: there is its question at most, and why it ended. */
  readonly #messages: Message[] = []
  readonly #timer: Timer
  #wake: (() => void) | null = null
  #stopped = false

  /** @param timeUp its time is over: its thread ends then, whether or not somebody reads what it has found. */
  constructor(query: SearchQuery, source: SearchSource, options: SearchesOptions, timeUp: () => void) {
    this.#source = source
    this.#options = options
    this.#worker = new Worker(WORKER_FILE, {
      workerData: query,
      resourceLimits: WORKER_LIMITS,
      stdout: true,
      stderr: true,
      env: {},
    })
    this.#worker.unref()
    this.#timer = options.clock.after(options.limits().searchMs, () => {
      this.#got({ type: 'time' })
      void this.#worker.terminate()
      timeUp()
    })
    this.#worker.on('message', (message: FromWorker) => this.#got(message))
    this.#worker.on('error', (error) => this.#got({ type: 'failed', reason: errorMessage(error) }))
    this.#worker.on('exit', () => this.#got({ type: 'failed', reason: 'its thread ended' }))
  }

  async *news(): AsyncGenerator<SearchNews, void, void> {
    let totals: SearchTotals = NOTHING_SEARCHED
    for (;;) {
      const message = await this.#next()
      switch (message.type) {
        case 'next':
          this.#answer({ type: 'port', port: await this.#source.next() })
          break
        case 'again':
          this.#answer({ type: 'port', port: this.#source.again(message.port, message.epoch) })
          break
        case 'load':
          this.#answer({ type: 'piece', piece: await this.#source.load(message.port, message.epoch, message.offset) })
          break
        case 'found': {
          totals = message.totals
          const text = this.#valid(message.found)
          if (text !== '') yield { kind: 'found', text }
          yield { kind: 'progress', totals }
          // Only now: what nobody reads is not searched for.
          this.#answer({ type: 'taken' })
          break
        }
        case 'done':
          yield { kind: 'end', totals: message.totals, end: message.totals.truncated ? 'limit' : 'complete' }
          return
        case 'time':
          yield { kind: 'end', totals: { ...totals, truncated: true }, end: 'time' }
          return
        case 'failed':
          if (!this.#stopped) this.#options.log.warn({ reason: message.reason }, 'a search of history failed')
          throw new VspcError('VSPC_SEARCH_FAILED', `the search failed: ${message.reason}`)
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer.cancel()
    this.#got({ type: 'failed', reason: 'the server is stopping' })
    await this.#worker.terminate()
  }

  /** Of ports that were removed meanwhile, and may be there anew, offsets mean nothing any more. */
  #valid(found: readonly Found[]): string {
    let text = ''
    for (const one of found) if (this.#source.again(one.port, one.epoch) !== null) text += one.text
    return text
  }

  #answer(answer: ToWorker): void {
    if (!this.#stopped) this.#worker.postMessage(answer)
  }

  #got(message: Message): void {
    this.#messages.push(message)
    this.#wake?.()
  }

  async #next(): Promise<Message> {
    while (this.#messages.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#messages.shift() as Message
  }
}
