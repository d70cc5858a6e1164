/** Histories that end with the process. */
import { type Clock, type Limits, systemClock, VspcError } from '../base/index.ts'
import { Backlog } from './backlog.ts'
import { BacklogTotals } from './blocks.ts'
import type {
  History,
  HistoryCounters,
  HistoryGauges,
  HistoryOwner,
  HistoryStore,
  Load,
  LoadResult,
  StoredPort,
} from './history.ts'
import { countBelow, type Marks, NO_MARKS, Times } from './times.ts'

const NO_PORTS: readonly StoredPort[] = []

/**
 * What is appended is visible at once. Keeps the last `historyBytes` of each port; or, `keep` being "followed", the last
 * `historyTailBytes` of those that somebody follows, and nothing of the others.
 */
export class MemoryHistoryStore implements HistoryStore {
  readonly persistent = false
  readonly keep: 'all' | 'followed'
  limits: Limits
  readonly totals = new BacklogTotals()
  readonly counters: HistoryCounters = {
    writtenBytes: 0,
    writes: 0,
    diskErrors: 0,
    droppedBytes: 0,
    undurableBytes: 0,
    loads: 0,
    loadedBytes: 0,
    loadErrors: 0,
    filesOpened: 0,
    expiredBytes: 0,
  }
  readonly ids = new Set<string>()

  readonly clock: Clock

  constructor(limits: Limits, keep: 'all' | 'followed' = 'all', clock: Clock = systemClock) {
    this.limits = limits
    this.keep = keep
    this.clock = clock
  }

  get gauges(): HistoryGauges {
    return { pendingBytes: 0, tailBytes: this.totals.tail, openFiles: 0, troubledPorts: 0, diskBytes: 0 }
  }

  stored(): Iterable<StoredPort> {
    return NO_PORTS
  }

  open(id: string, owner: HistoryOwner): History {
    this.ids.add(id)
    return new MemoryHistory(this, id, owner)
  }

  filesOf(): null {
    return null
  }

  release(view: Uint8Array): void {
    this.totals.giveBack(view)
  }

  flush(): Promise<boolean> {
    return Promise.resolve(true)
  }

  close(): Promise<boolean> {
    return Promise.resolve(true)
  }
}

/**
 * The end of what a port has said. Costs nothing while empty, and about what it holds otherwise; `start` moves on by
 * whole pieces, so up to one piece more may be held.
 */
class MemoryHistory implements History {
  readonly #store: MemoryHistoryStore
  readonly #owner: HistoryOwner
  #id: string
  #backlog: Backlog | null = null
  #next = 0
  #removed = false
  #followed = false
  readonly #times = new Times()

  constructor(store: MemoryHistoryStore, id: string, owner: HistoryOwner) {
    this.#store = store
    this.#id = id
    this.#owner = owner
  }

  get start(): number {
    return this.#backlog?.start ?? this.#next
  }

  get next(): number {
    return this.#next
  }

  get visible(): number {
    return this.#next
  }

  append(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || this.#removed) return true
    const { keep, limits } = this.#store
    if (keep === 'followed' && !this.#followed) {
      this.#next += bytes.length
      return true
    }
    this.#backlog ??= new Backlog(this.#store.totals)
    const backlog = this.#backlog
    this.#times.add(this.#next, this.#store.clock.wall())
    backlog.append(bytes, this.#next)
    this.#next += bytes.length
    backlog.settle(this.#next)
    this.#owner.historyVisible()
    backlog.evict(keep === 'all' ? limits.historyBytes : limits.historyTailBytes)
    // Now and then: the oldest marks cost little.
    if (this.#times.offsets.length % 64 === 0) this.#times.trim(this.start)
    return true
  }

  read(offset: number, maxBytes: number): Uint8Array | null {
    return this.#backlog?.read(offset, this.#next, maxBytes) ?? null
  }

  load(offset: number, maxBytes: number, done: (result: LoadResult) => void): Load {
    const load = {
      cancelled: false,
      cancel() {
        load.cancelled = true
      },
    }
    setImmediate(() => {
      if (!load.cancelled) done(this.#found(offset, maxBytes))
    })
    return load
  }

  #found(offset: number, maxBytes: number): LoadResult {
    if (this.#removed) return { kind: 'failed', error: removedError(), to: this.#next }
    if (offset >= this.#next) return { kind: 'end' }
    const bytes = this.read(offset, maxBytes)
    return bytes === null ? { kind: 'gap', to: this.start } : { kind: 'bytes', bytes }
  }

  marks(offset: number, done: (marks: Marks) => void): void {
    setImmediate(() => {
      const { offsets, times } = this.#times
      const from = Math.max(0, countBelow(offsets, offset + 1) - 1)
      done({ ...NO_MARKS, offsets: offsets.slice(from), times: times.slice(from) })
    })
  }

  seekTime(wall: number, unknownToo: boolean, done: (offset: number) => void): void {
    setImmediate(() => {
      const { offsets, times } = this.#times
      const found = offsets[times.findIndex((time) => time >= wall)]
      if (unknownToo && offsets.length === 0) done(this.start)
      else done(found === undefined ? this.#next : Math.max(this.start, found))
    })
  }

  settled(done: () => void): void {
    done()
  }

  keepTail(on: boolean): void {
    this.#followed = on
    if (on || this.#store.keep === 'all') return
    this.#backlog?.clear()
    this.#backlog = null
  }

  metaChanged(): void {}

  rename(id: string): boolean {
    if (this.#store.ids.has(id)) return id === this.#id
    this.#store.ids.delete(this.#id)
    this.#store.ids.add(id)
    this.#id = id
    return true
  }

  remove(): void {
    this.#removed = true
    this.#store.ids.delete(this.#id)
    this.#backlog?.clear()
    this.#backlog = null
  }
}

/** What loads of a history that was removed end with. */
export function removedError(): VspcError {
  return new VspcError('VSPC_PORT_REMOVED', 'the port was removed, and its history with it')
}
