import type { Clock, Timer } from '../base/index.ts'
import { type DiskError, describeDiskError, diskErrorCode } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import { ReadyQueue } from './ready-queue.ts'
import type { Work } from './work.ts'
import { WriteSlot } from './write-slot.ts'

/**
 * Operations under way at once. More than the thread pool has threads, so that these need not wait for the event loop
 * between two writes: with many busy ports, one turn of it may take milliseconds.
 */
const SLOTS = 16
/** A port whose operation failed waits this long, then twice as long, ... */
const RETRY_MIN_MS = 100
const RETRY_MAX_MS = 5_000
/** Ports tried again at a time: on a disk that fails, the rest wait for one of them to succeed. */
const RETRIES_AT_ONCE = 64

/** The rate of writes is looked at this often, unless `historyGatherMs` says otherwise. */
const TICK_MS = 10
/**
 * Memory for what is gathered, shared by those that gather; what each may have at least and at most. Large writes are
 * worth their memory: waking up a thread for one costs as much as writing a hundred KiB.
 */
const GATHER_TOTAL_BYTES = 24 << 20
const GATHER_MIN_BYTES = 262_144
const GATHER_MAX_BYTES = 458_752

/** Who is written next, by which slot, and what happens when that fails. */
export class Writer {
  readonly #store: DiskStore
  readonly #clock: Clock
  readonly #defer: (run: () => void) => void
  readonly #free: WriteSlot[]
  readonly #queue = new ReadyQueue()
  #scheduled = false
  /** Every port that is not idle. */
  readonly busy = new Set<DiskHistory>()
  readonly failed = new Set<DiskHistory>()
  /** The one that waits longest first. */
  readonly #gathering = new Set<DiskHistory>()
  #gatherTimer: Timer | null = null
  #tickAt = 0
  #tickWrites = 0
  readonly #deferred = new Set<DiskHistory>()
  #retryTimer: Timer | null = null
  #choresTimer: Timer | null = null

  /** @param defer runs its argument soon, when what is to be read by now has been read: that makes larger writes. */
  constructor(store: DiskStore, clock: Clock, defer: (run: () => void) => void) {
    this.#store = store
    this.#clock = clock
    this.#defer = defer
    this.#free = Array.from({ length: SLOTS }, () => new WriteSlot(store, this))
  }

  /**
   * There is something to write. Bytes that nobody follows wait a moment for more: to wake up a thread costs more than
   * to write a line.
   */
  enqueue(port: DiskHistory, work: Work): void {
    if (this.busy.size === 0) this.#store.pauses.progress()
    this.busy.add(port)
    const wait = this.#tooMany() || this.#store.limits.historyGatherMs > 0
    if (wait && this.#mayWait(port, work)) this.#startGathering(port, work)
    else this.#ready(port, work)
  }

  #mayWait(port: DiskHistory, work: Work): boolean {
    return !work.late && !port.followed && !port.wantsChores && !this.#store.hurried && this.#mayGather(work)
  }

  #startGathering(port: DiskHistory, work: Work): void {
    work.activity = 'gathering'
    this.#store.lateness.end(port)
    this.#gathering.add(port)
    this.#gatherTimer ??= this.#clock.after(this.#tickMs, this.#gathered)
  }

  /** More has come for a port that gathers. */
  gather(port: DiskHistory, work: Work): void {
    if (!this.#mayGather(work)) this.promote(port)
  }

  /** A port that gathers has its turn now. */
  promote(port: DiskHistory): void {
    const { work } = port
    if (work?.activity !== 'gathering') return
    this.#gathering.delete(port)
    this.#ready(port, work)
    if (!work.late && !port.removed) this.#store.lateness.wait(port)
  }

  /** What was gathered has its turn now. */
  hurry(): void {
    for (const port of this.#gathering) this.promote(port)
  }

  #mayGather(work: Work): boolean {
    return work.pausedSince < 0 && work.backlog.pendingCost < this.#gatherBytes
  }

  /** Counts one more write. */
  #tooMany(): boolean {
    const now = this.#clock.now()
    if (now - this.#tickAt >= this.#tickMs) {
      this.#tickAt = now
      this.#tickWrites = 0
    }
    return ++this.#tickWrites > this.#perTick
  }

  get #gatherBytes(): number {
    const share = GATHER_TOTAL_BYTES / (this.#gathering.size + 1)
    return Math.max(GATHER_MIN_BYTES, Math.min(GATHER_MAX_BYTES, share))
  }

  get #tickMs(): number {
    return this.#store.limits.historyGatherMs || TICK_MS
  }

  get #perTick(): number {
    return (this.#store.limits.historyWritesPerSecond * this.#tickMs) / 1000
  }

  readonly #gathered = (): void => {
    this.#gatherTimer = null
    this.#tickAt = this.#clock.now()
    this.#tickWrites = 0
    for (const port of this.#gathering) {
      if (++this.#tickWrites > this.#perTick) break
      this.promote(port)
    }
    if (this.#gathering.size > 0) this.#gatherTimer = this.#clock.after(this.#tickMs, this.#gathered)
  }

  #ready(port: DiskHistory, work: Work): void {
    work.activity = 'queued'
    this.#queue.push(port, work)
    if (this.#scheduled || this.#free.length === 0) return
    this.#scheduled = true
    this.#defer(this.#run)
  }

  /** The slot is free again. */
  done(slot: WriteSlot, port: DiskHistory): void {
    this.#free.push(slot)
    const { work } = port
    if (work?.activity === 'busy') {
      const step = port.nextStep()
      if (step === null) this.#idle(port)
      // It has gone on while it was written: it is likely to go on still.
      else if (step === 'write' && !work.partial && this.#mayWait(port, work)) this.#startGathering(port, work)
      else this.enqueue(port, work)
    }
    if (this.#queue.empty || this.#scheduled) return
    this.#scheduled = true
    this.#defer(this.#run)
  }

  /** The port could not be written: its bytes are kept, as many as may be, and it is tried again later. */
  fail(port: DiskHistory, what: string, path: string, error: DiskError): void {
    const { work } = port
    if (work === null) return
    const code = this.report(what, path, error)
    work.backlog.landed()
    work.activity = 'failed'
    work.failureCode = code
    work.failures++
    work.retryAt = this.#clock.now() + Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (work.failures - 1))
    this.failed.add(port)
    this.#scheduleRetry()
    port.becomeLate()
    port.resume()
  }

  /** Something about the port other than its bytes failed: they are not held up by it. */
  failChore(port: DiskHistory, what: string, path: string, error: DiskError): void {
    this.report(what, path, error)
    port.choresDeferred = true
    this.#deferred.add(port)
    this.#choresTimer ??= this.#clock.after(RETRY_MAX_MS, this.#retryChores)
  }

  /** The port was written. If it had failed, the disk works again: the others need not wait for their time. */
  succeed(work: Work): void {
    if (work.failures === 0) return
    work.failures = 0
    work.failureCode = null
    for (const port of this.failed) this.retry(port)
  }

  /** Takes a port that failed or was blocked up again. */
  retry(port: DiskHistory): void {
    const { work } = port
    if (work === null || (work.activity !== 'failed' && work.activity !== 'blocked')) return
    this.failed.delete(port)
    this.#ready(port, work)
  }

  /** There is nothing more to be done for a port that was removed. */
  forget(port: DiskHistory): void {
    const activity = port.work?.activity
    if (activity !== 'failed' && activity !== 'blocked' && activity !== 'gathering') return
    this.failed.delete(port)
    this.#gathering.delete(port)
    this.#idle(port)
  }

  stop(): void {
    this.#retryTimer?.cancel()
    this.#choresTimer?.cancel()
    this.#gatherTimer?.cancel()
    this.#retryTimer = null
    this.#choresTimer = null
  }

  #idle(port: DiskHistory): void {
    this.busy.delete(port)
    port.idle()
    if (this.busy.size > 0) return
    this.#store.totals.rest()
    this.#store.flushed()
  }

  readonly #run = (): void => {
    this.#scheduled = false
    while (this.#free.length > 0) {
      const port = this.#queue.shift()
      if (port === null) return
      const { work } = port
      if (work === null) continue
      const slot = this.#free.pop() as WriteSlot
      work.activity = 'busy'
      slot.start(port, work)
    }
  }

  /** Counts it, and tells of it if it is new. @returns the system's code. */
  report(what: string, path: string, error: DiskError): string | null {
    const store = this.#store
    const code = diskErrorCode(error)
    store.counters.diskErrors++
    if (code === 'EMFILE' || code === 'ENFILE') store.files.forgetAll()
    store.troubles.seen(
      'write',
      code,
      () => ({ path, message: `history: ${describeDiskError(what, path, error)}` }),
      () => this.#failing(code),
    )
    return code
  }

  #failing(code: string | null): boolean {
    for (const port of this.failed) if (port.work?.failureCode === code) return true
    return this.#deferred.size > 0
  }

  #scheduleRetry(): void {
    this.#retryTimer ??= this.#clock.after(RETRY_MIN_MS, this.#retry)
  }

  readonly #retry = (): void => {
    this.#retryTimer = null
    const now = this.#clock.now()
    let left = RETRIES_AT_ONCE
    for (const port of this.failed) {
      if ((port.work?.retryAt ?? 0) > now) continue
      if (left-- === 0) break
      this.retry(port)
    }
    if (this.failed.size > 0) this.#scheduleRetry()
  }

  readonly #retryChores = (): void => {
    this.#choresTimer = null
    const ports = [...this.#deferred]
    this.#deferred.clear()
    for (const port of ports) {
      port.choresDeferred = false
      if (port.wantsChores) port.wake()
    }
  }
}
