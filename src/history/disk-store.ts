import { join } from 'node:path'
import { type Clock, type Limits, VspcError } from '../base/index.ts'
import { BacklogTotals } from './blocks.ts'
import { encodeDirName } from './dir-name.ts'
import { describeDiskError, diskErrorCode, type HistoryFs } from './disk.ts'
import { DiskHistory } from './disk-history.ts'
import { FileCache } from './file-cache.ts'
import type { History, HistoryGauges, HistoryOwner, HistoryProblem, HistoryStore, StoredPort } from './history.ts'
import { Lateness } from './lateness.ts'
import { Loader } from './loader.ts'
import type { DirLock } from './lock.ts'
import { Pauses } from './pauses.ts'
import { portFiles } from './port-files.ts'
import { REMOVED_PREFIX, type ScanResult, storedPort } from './scan.ts'
import { maxFileBytes } from './segments.ts'
import { TimeKeeper } from './time-keeper.ts'
import { TimeReader } from './time-reader.ts'
import { Troubles } from './troubles.ts'
import { Upkeep } from './upkeep.ts'
import { Writer } from './writer.ts'

export interface DiskStoreParts {
  /** Where the ports' folders are. */
  readonly portsDir: string
  readonly limits: Limits
  readonly clock: Clock
  readonly fs: HistoryFs
  /** Runs its argument soon, once. */
  readonly defer: (run: () => void) => void
  readonly onProblem: (problem: HistoryProblem) => void
  readonly scan: ScanResult
  readonly lock: DirLock | null
}

/** What closing waits for marks of arrival times. */
const MARKS_MS = 1_000

/** As long as nobody notices that it fires. */
const KEEP_ALIVE_MS = 60_000

/** All histories of a data directory, and what they share. */
export class DiskStore implements HistoryStore {
  readonly persistent = true
  limits: Limits
  readonly clock: Clock
  readonly fs: HistoryFs
  readonly totals = new BacklogTotals()
  readonly counters = {
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
  readonly files: FileCache
  readonly writer: Writer
  readonly loader: Loader
  readonly lateness: Lateness
  readonly pauses: Pauses
  readonly troubles: Troubles
  readonly upkeep: Upkeep
  readonly times: TimeKeeper
  readonly timeReader: TimeReader
  readonly defer: (run: () => void) => void
  /** Ports with a tail, the one that was quiet longest first. */
  readonly tails = new Set<DiskHistory>()
  /** What the files of all ports take on the disk, going by what was written. */
  diskBytes = 0
  /** Nothing is written any more. */
  closed = false
  onTaken?: () => void
  readonly #portsDir: string
  readonly #lock: DirLock | null
  /** Found at start and not opened yet, by folder. */
  readonly #scanned: ScanResult['ports']
  /** Open ones, by the folder they have or will have. */
  readonly #ports = new Map<string, DiskHistory>()
  /** Folders that will be gone: whose they are, and who waits for the name. */
  readonly #vacating = new Map<string, { readonly by: DiskHistory; waiting: DiskHistory | null }>()
  /** Folders whose history could not be read: nothing may be added to it. */
  readonly unreadable: ReadonlySet<string>
  readonly #toDelete: string[]
  #deleting = false
  #removed = 0
  readonly #runId: string
  #latePorts = 0
  readonly #flushing = new Set<() => void>()

  constructor(parts: DiskStoreParts) {
    const { portsDir, limits, clock, fs, defer, onProblem, scan, lock } = parts
    this.#portsDir = portsDir
    this.limits = limits
    this.clock = clock
    this.fs = fs
    this.#scanned = scan.ports
    this.unreadable = scan.unreadable
    this.#toDelete = [...scan.removed]
    this.#runId = Math.trunc(clock.wall()).toString(36)
    this.#lock = lock
    this.troubles = new Troubles(clock, onProblem)
    this.files = new FileCache(
      fs,
      () => this.limits.historyOpenFiles,
      (error) => {
        this.counters.diskErrors++
        const code = diskErrorCode(error)
        const message = () => `history: ${describeDiskError('close a file in', portsDir, error)}`
        this.troubles.seen('write', code, () => ({ path: portsDir, message: message() }))
      },
    )
    this.lateness = new Lateness(clock, () => this.limits.historyVisibleMs)
    this.pauses = new Pauses(clock)
    this.writer = new Writer(this, clock, defer)
    this.loader = new Loader(this, defer)
    this.defer = defer
    this.times = new TimeKeeper(clock)
    this.timeReader = new TimeReader(this, clock)
    this.upkeep = new Upkeep(this, clock, defer)
    if (lock !== null) lock.events = { lost: (loss, path) => this.#lockLost(loss, path), regained: () => {} }
    this.#deleteNext()
  }

  // HistoryStore

  get gauges(): HistoryGauges {
    const { pending, tail } = this.totals
    const { diskBytes, files } = this
    return { pendingBytes: pending, tailBytes: tail, openFiles: files.size, troubledPorts: this.#latePorts, diskBytes }
  }

  *stored(): Iterable<StoredPort> {
    for (const scanned of this.#scanned.values()) {
      const port = storedPort(scanned)
      if (port !== null) yield port
    }
  }

  /** @throws VspcError VSPC_INTERNAL when it is open already. */
  open(id: string, owner: HistoryOwner): History {
    const dirName = encodeDirName(id)
    if (this.#ports.has(dirName)) throw new VspcError('VSPC_INTERNAL', `the history of port ${id} is open already`)
    const port = new DiskHistory(this, id, dirName, owner, this.#scanned.get(dirName) ?? null)
    this.#scanned.delete(dirName)
    this.#ports.set(dirName, port)
    this.diskBytes += port.diskBytes
    if (port.segments.closed.length > 0) this.upkeep.closed(port)
    return port
  }

  filesOf(id: string): ReturnType<HistoryStore['filesOf']> {
    return portFiles(this.#ports.get(encodeDirName(id)))
  }

  release(view: Uint8Array): void {
    this.totals.giveBack(view)
  }

  async flush(timeoutMs: number): Promise<boolean> {
    if (this.writer.busy.size === 0) return true
    return new Promise<boolean>((resolve) => {
      // The clock's timers keep no process alive, but this one has to wait, also for a disk that is tried again later.
      // An interval: a second timer of the same length could end first, and the process with it.
      const alive = setInterval(() => {}, KEEP_ALIVE_MS)
      const timer = this.clock.after(timeoutMs, () => {
        clearInterval(alive)
        this.#flushing.delete(done)
        resolve(false)
      })
      const done = () => {
        clearInterval(alive)
        timer.cancel()
        resolve(true)
      }
      this.#flushing.add(done)
      this.writer.hurry()
    })
  }

  async close(timeoutMs: number): Promise<boolean> {
    if (this.closed) return true
    const flushed = await this.flush(timeoutMs)
    // When what came last, if the disk still works.
    this.times.hurry()
    if (flushed) await this.flush(Math.min(timeoutMs, MARKS_MS))
    this.closed = true
    this.times.stop()
    this.timeReader.clear()
    this.lateness.stop()
    this.pauses.endAll()
    this.writer.stop()
    this.upkeep.stop()
    this.loader.members.clear()
    this.troubles.stop()
    this.files.forgetAll()
    if (this.#lock !== null) await this.#within(timeoutMs, this.#lock.release())
    return flushed
  }

  /** For its parts */

  /** Monotonic. In whole seconds, which need no object to be kept. */
  get second(): number {
    return Math.trunc(this.clock.now() / 1000)
  }

  /** About how large a file may become. */
  get maxFileBytes(): number {
    return maxFileBytes(this.limits, this.#ports.size)
  }

  /** `bytes` more are with the operating system. */
  wrote(bytes: number): void {
    this.counters.writtenBytes += bytes
    this.diskBytes += bytes
    if (this.diskBytes > this.upkeep.alarmAt) this.upkeep.look()
  }

  folderOf(dirName: string): string {
    return join(this.#portsDir, dirName)
  }

  /** Somebody waits until everything is written. */
  get hurried(): boolean {
    return this.#flushing.size > 0
  }

  /** Everything is written. */
  flushed(): void {
    for (const done of this.#flushing) done()
    this.#flushing.clear()
  }

  lateBegan(): void {
    this.#latePorts++
    const message = () =>
      `history: ${this.#portsDir} takes longer than ${this.limits.historyVisibleMs} ms ("historyVisibleMs") or fails; ` +
      'output is shown before it is safe: a crash now would lose it'
    this.troubles.seen(
      'late',
      null,
      () => ({ path: this.#portsDir, message: message() }),
      () => this.#latePorts > 0,
    )
  }

  lateEnded(): void {
    this.#latePorts--
  }

  /** `bytes` of `port` will never be in its files. */
  dropped(port: DiskHistory, bytes: number): void {
    this.counters.droppedBytes += bytes
    if (this.closed) return
    const message = () =>
      `history: ${this.#portsDir} is slower than the VMs ("historyPendingBytes", "historyPendingTotalBytes"); ` +
      `port ${port.id} is the first to have a gap in its history`
    this.troubles.seen('dropped', null, () => ({ path: this.#portsDir, message: message() }))
  }

  /** All files together take too much, and none of them may be deleted. */
  overBudget(): void {
    const message = () =>
      `history: ${this.#portsDir} takes more than "historyTotalBytes", and only files that are still in use: ` +
      'the newest of each port is never deleted. Remove ports, or allow for more'
    this.troubles.seen(
      'budget',
      null,
      () => ({ path: this.#portsDir, message: message() }),
      () => this.diskBytes > this.limits.historyTotalBytes && this.limits.historyTotalBytes > 0,
    )
  }

  /** Memory for what is pending is used up: `port`, or the ports that have more than their share, lose their oldest. */
  relieve(port: DiskHistory): void {
    const { totals, limits } = this
    const { busy } = this.writer
    while ((port.work?.backlog.pendingCost ?? 0) > limits.historyPendingBytes && port.dropOldest(false)) {}
    const max = limits.historyPendingTotalBytes
    if (totals.pending <= max) return
    const share = max / busy.size
    let left = busy.size
    for (const victim of busy) {
      if (left-- === 0) return
      // To the end: the next search begins with the others.
      busy.delete(victim)
      busy.add(victim)
      while ((victim.work?.backlog.pendingCost ?? 0) > share && victim.dropOldest(true)) {
        if (totals.pending <= max) return
      }
    }
  }

  trimTails(): void {
    const max = this.limits.historyTailTotalBytes
    if (this.totals.tail <= max) return
    for (const port of this.tails) {
      port.evictTail(0)
      if (this.totals.tail <= max) return
    }
  }

  // Names of folders

  /** The folder's name is `port`'s from now on. @returns false when it is another's. */
  claim(dirName: string, port: DiskHistory): boolean {
    const holder = this.#ports.get(dirName)
    if (this.#scanned.has(dirName) || (holder !== undefined && holder !== port)) return false
    this.#ports.set(dirName, port)
    return true
  }

  unclaim(dirName: string, port: DiskHistory): void {
    if (this.#ports.get(dirName) === port) this.#ports.delete(dirName)
  }

  /** `by` is going to move or remove the folder of this name. */
  vacating(dirName: string, by: DiskHistory): void {
    if (!this.#vacating.has(dirName)) this.#vacating.set(dirName, { by, waiting: null })
  }

  /** It is gone, if it was `by` who had to see to that. */
  vacated(dirName: string, by: DiskHistory): void {
    const entry = this.#vacating.get(dirName)
    if (entry?.by !== by) return
    this.#vacating.delete(dirName)
    if (entry.waiting !== null) this.writer.retry(entry.waiting)
  }

  /** @returns true when `port` has to wait for the name; it is taken up again when its turn comes. */
  waitFor(dirName: string, port: DiskHistory): boolean {
    const entry = this.#vacating.get(dirName)
    if (entry === undefined || entry.by === port) return false
    entry.waiting = port
    return true
  }

  // Deleting

  nextRemovedName(): string {
    return `${REMOVED_PREFIX}${this.#runId}-${++this.#removed}`
  }

  /** One at a time: it is never urgent. */
  deleteFolder(dirName: string): void {
    this.#toDelete.push(dirName)
    this.#deleteNext()
  }

  #deleteNext(): void {
    const dirName = this.#toDelete[0]
    if (dirName === undefined || this.#deleting) return
    this.#deleting = true
    this.fs.rm(this.folderOf(dirName), { recursive: true, force: true }, this.#onDeleted)
  }

  readonly #onDeleted = (error: Error | null): void => {
    this.#deleting = false
    const path = this.folderOf(this.#toDelete.shift() ?? '')
    if (error !== null && !this.closed) {
      // The next start tries again.
      this.counters.diskErrors++
      const message = `history: ${describeDiskError('delete', path, error)}`
      this.troubles.seen('write', diskErrorCode(error), () => ({ path, message }))
    }
    if (!this.closed) this.#deleteNext()
  }

  // The lock

  #lockLost(loss: 'removed' | 'taken', path: string): void {
    // What was open may be files without a name by now: opening them anew will tell.
    this.files.forgetAll()
    const what =
      loss === 'removed'
        ? 'is gone: was the data directory deleted? It is made anew'
        : 'is held by another server now: nothing is written any more. Stop one of the two, then restart the other'
    if (loss === 'taken') {
      this.closed = true
      this.pauses.endAll()
      this.onTaken?.()
    }
    this.troubles.seen('lock', null, () => ({ path, message: `history: the lock ${path} ${what}` }))
  }

  async #within(timeoutMs: number, done: Promise<void>): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.clock.after(timeoutMs, resolve)
      void done.then(() => {
        timer.cancel()
        resolve()
      })
    })
  }
}
