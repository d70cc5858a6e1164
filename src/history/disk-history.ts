import { encodeDirName } from './dir-name.ts'
import type { DiskStore } from './disk-store.ts'
import type { OpenFile } from './file-cache.ts'
import type { History, HistoryOwner, Load, LoadResult } from './history.ts'
import { Description, formatPortFile } from './port-file.ts'
import type { ScannedPort } from './scan.ts'
import { type Place, Segments } from './segments.ts'
import { type Marks, Times } from './times.ts'
import { type Step, Work } from './work.ts'

/** How long a file may be written to unseen: somebody may have deleted it, or cut it, to make room. */
const CHECK_EVERY_S = 2

/**
 * The history of one port on disk: `<dir>/ports/<name>/<first offset>.log`, one file after the other.
 *
 * It decides what there is to do; slots of the writer and the loader do it. While nothing goes on it is this object
 * alone: no descriptor, no timer, no buffer.
 */
export class DiskHistory implements History {
  readonly store: DiskStore
  readonly owner: HistoryOwner
  id: string
  /** Of its folder, as it is on disk or will be made. */
  dirName: string
  /** Set while the folder has to get another name. */
  movingTo: string | null = null
  /** The last segment, while it is open for writing. */
  file: OpenFile | null = null
  work: Work | null = null
  readonly segments: Segments
  /** When its output came; null while nothing has. */
  times: Times | null = null
  hasFolder: boolean
  removed = false
  /** Moving, removing or describing failed: that is tried again later, and does not hold up the bytes. */
  choresDeferred = false
  #tailWanted = false
  readonly description: Description
  /** When the file was last known to be ours and whole. In seconds: a small integer costs no object. */
  #checkedAt = -CHECK_EVERY_S
  /** Below it everything that was not lost is in the files. */
  #written: number
  #visible: number
  #next: number

  constructor(store: DiskStore, id: string, dirName: string, owner: HistoryOwner, scanned: ScannedPort | null) {
    const next = scanned?.next ?? 0
    this.store = store
    this.id = id
    this.owner = owner
    this.dirName = dirName
    this.hasFolder = scanned !== null
    this.description = new Description(scanned?.metaFingerprint ?? null)
    this.segments = new Segments(scanned)
    this.#written = next
    this.#visible = next
    this.#next = next
  }

  // History

  get start(): number {
    if (this.segments.first >= 0) return this.segments.first
    return this.work?.backlog.start ?? this.#visible
  }

  get next(): number {
    return this.#next
  }

  get visible(): number {
    return this.#visible
  }

  append(bytes: Uint8Array): boolean {
    const { store } = this
    const start = this.#next
    if (bytes.length === 0 || this.removed) return true
    this.#next += bytes.length
    if (store.closed) {
      store.dropped(this, bytes.length)
      this.#showAll()
      return true
    }
    this.work ??= new Work(store.totals)
    this.times ??= new Times()
    const { work, times } = this
    // What is gathered for one write came within moments.
    const look = work.activity !== 'gathering' || start >= times.lookAt
    if (look && times.add(start, store.clock.wall())) store.times.marked(this)
    const { backlog } = work
    backlog.append(bytes, start)
    if (work.activity === 'idle') store.writer.enqueue(this, work)
    else if (work.activity === 'gathering') store.writer.gather(this, work)
    if (work.late) this.#showAll()
    else if (work.waitingSince < 0 && work.activity !== 'gathering') store.lateness.wait(this)
    const { totals, limits } = store
    if (backlog.pendingCost > limits.historyPendingBytes || totals.pending > limits.historyPendingTotalBytes) {
      store.relieve(this)
    }
    const behind =
      backlog.pendingCost > limits.historyPendingBytes / 4 || totals.pending > limits.historyPendingTotalBytes / 2
    if (!behind || this.removed || !store.pauses.begin(this, work)) return true
    store.writer.promote(this)
    return false
  }

  read(offset: number, maxBytes: number): Uint8Array | null {
    return this.work?.backlog.read(offset, this.#visible, maxBytes) ?? null
  }

  load(offset: number, maxBytes: number, done: (result: LoadResult) => void): Load {
    return this.store.loader.load(this, offset, maxBytes, done)
  }

  marks(offset: number, done: (marks: Marks) => void): void {
    this.store.timeReader.marks(this, offset, done)
  }

  seekTime(wall: number, unknownToo: boolean, done: (offset: number) => void): void {
    this.store.timeReader.seek(this, wall, unknownToo, done)
  }

  settled(done: () => void): void {
    if (this.work === null || this.#visible >= this.#next) done()
    else {
      this.work.await(this.#next, done)
      this.store.writer.promote(this)
    }
  }

  keepTail(on: boolean): void {
    this.#tailWanted = on
    if (on) this.store.writer.promote(this)
    else this.evictTail(0)
  }

  metaChanged(): void {
    if (this.removed || (!this.description.dirty && !this.description.differs(this.describe()))) return
    this.description.dirty = true
    // A port that has said nothing is not worth a folder: it is described once it has.
    if (this.segments.first >= 0) this.wake()
  }

  rename(id: string): boolean {
    if (id === this.id || this.removed) return id === this.id
    const dirName = encodeDirName(id)
    if (!this.store.claim(dirName, this)) return false
    this.store.unclaim(this.movingTo ?? this.dirName, this)
    this.id = id
    this.description.dirty = true
    if (!this.hasFolder && (this.work === null || this.work.activity === 'idle')) {
      this.dirName = dirName
      return true
    }
    this.movingTo = dirName
    this.store.vacating(this.dirName, this)
    this.wake()
    return true
  }

  remove(): void {
    if (this.removed) return
    const { store, work } = this
    this.removed = true
    store.diskBytes -= this.diskBytes
    store.unclaim(this.movingTo ?? this.dirName, this)
    this.#endLate()
    store.lateness.end(this)
    store.tails.delete(this)
    store.times.done(this)
    if (work !== null) store.pauses.end(this, work)
    work?.backlog.clear()
    work?.shown(Number.POSITIVE_INFINITY)
    if (!this.hasFolder && (work === null || work.activity !== 'busy')) {
      store.writer.forget(this)
      return
    }
    store.vacating(this.dirName, this)
    store.writer.retry(this)
    this.wake()
  }

  // For the store

  get written(): number {
    return this.#written
  }

  /** Somebody waits for what is written. */
  get followed(): boolean {
    return this.#tailWanted || (this.work?.awaited ?? false)
  }

  /** Gives up waiting for the disk: what there is is shown, and what comes from now on at once. */
  becomeLate(): void {
    const { work, store } = this
    if (work === null) return
    store.lateness.end(this)
    if (!work.late) {
      work.late = true
      store.lateBegan()
    }
    this.#showAll()
  }

  /** The source need not wait any longer. */
  resume(): void {
    if (this.work !== null && this.store.pauses.end(this, this.work)) this.owner.historyDrained()
  }

  /** Gives up a piece that is not written yet, once those who follow live have seen it. @returns false: there is none. */
  dropOldest(evenNewest: boolean): boolean {
    this.becomeLate()
    const bytes = this.work?.backlog.dropOldest(this.#written, evenNewest) ?? 0
    if (bytes > 0) this.store.dropped(this, bytes)
    return bytes > 0
  }

  /** Keeps about `keep` of the tail. */
  evictTail(keep: number): void {
    const { work, store } = this
    if (work === null) return
    work.backlog.evict(keep)
    if (work.backlog.tailCost === 0) store.tails.delete(this)
    this.#rest()
  }

  /** Something is to be done that needs the disk. */
  wake(): void {
    this.work ??= new Work(this.store.totals)
    if (this.work.activity === 'idle') this.store.writer.enqueue(this, this.work)
    else this.store.writer.promote(this)
  }

  // For the writer

  /** Null when there is nothing to do, or nothing that can be done now. */
  nextStep(): Step | null {
    if (this.store.closed) return null
    if (this.removed) return this.hasFolder && !this.choresDeferred ? 'remove' : null
    if (this.movingTo !== null && (!this.hasFolder || this.movingTo === this.dirName)) this.moved(this.movingTo)
    if (this.movingTo !== null && !this.choresDeferred) return 'move'
    // Before its first byte: its offsets mean nothing without the epoch.
    if (this.description.dirty && !this.choresDeferred && this.segments.open && this.hasFolder) return 'describe'
    const from = this.pendingStart
    const { segments, store } = this
    const { historyFileMs } = store.limits
    const full = from !== null && segments.full(store.maxFileBytes, this.#written, historyFileMs, store.clock)
    if (this.times?.due(this.#written, full) && this.segments.open && !this.choresDeferred) return 'index'
    if (from === null) return null
    if (!this.hasFolder) return 'make-folder'
    if (!this.segments.open || from !== this.#written || full) return 'new-segment'
    if (this.file === null) return 'open'
    return this.store.second - this.#checkedAt < CHECK_EVERY_S ? 'write' : 'check'
  }

  /** Offset of the oldest byte that has to be written; null when there is none. */
  get pendingStart(): number | null {
    return this.work?.backlog.pendingStart(this.#written) ?? null
  }

  /** What its files take on the disk, going by what was written. */
  get diskBytes(): number {
    return this.segments.diskBytes(this.#written)
  }

  get wantsChores(): boolean {
    if (this.removed) return this.hasFolder
    const undescribed = this.description.dirty && this.segments.first >= 0
    return this.movingTo !== null || undescribed || this.times?.wanted === true
  }

  /** The folder is there. @param made it was not before, so there are no segments. */
  folderReady(made: boolean): void {
    this.hasFolder = true
    if (!made) return
    this.store.diskBytes -= this.diskBytes
    this.segments.clear()
    this.description.clear()
  }

  /** A segment that begins at `start` is there, and empty. */
  segmentReady(start: number): void {
    const { segments, store } = this
    segments.begin(start, this.#written)
    this.times?.begin(start)
    this.#written = start
    if (segments.closed.length > 0) store.upkeep.closed(this)
    this.checked()
  }

  /** The last segment's file is as we left it. */
  checked(): void {
    this.#checkedAt = this.store.second
  }

  /** The last segment is not as we left it, or gone: what comes next begins another one. */
  segmentLost(): void {
    this.segments.open = false
  }

  /** The folder has vanished. */
  folderLost(): void {
    this.segmentLost()
    this.hasFolder = false
  }

  /** The folder has its new name. */
  moved(to: string): void {
    const from = this.dirName
    this.dirName = to
    if (this.movingTo === to) this.movingTo = null
    this.store.vacated(from, this)
    this.store.upkeep.look()
    // Renamed again meanwhile: it moves on.
    if (this.movingTo !== null) this.store.vacating(to, this)
  }

  /** What the port file has to say. */
  describe(): string {
    return formatPortFile(this.id, this.owner.describe())
  }

  /** `bytes` more are with the operating system. @param prompt in time, going by when the write began. */
  wrote(bytes: number, now: number, prompt: boolean): void {
    const { work, store } = this
    if (work === null) return
    const { backlog } = work
    this.#written += bytes
    this.segments.lastWriteAt = store.clock.wall()
    store.wrote(bytes)
    backlog.landed()
    backlog.settle(this.#written)
    const moved = this.#written > this.#visible
    if (moved) this.#visible = this.#written
    const caughtUp = this.#visible >= this.#next
    if (work.late && (prompt || caughtUp)) this.#endLate()
    if (caughtUp) store.lateness.end(this)
    else if (!work.late) store.lateness.wait(this, now)
    // Those who follow take what they can before it leaves memory.
    if (moved) this.owner.historyVisible()
    work.shown(this.#visible)
    if (this.removed) return
    if (this.#tailWanted) {
      backlog.evict(store.limits.historyTailBytes)
      store.tails.delete(this)
      if (backlog.tailCost > 0) store.tails.add(this)
      store.trimTails()
    } else {
      backlog.evict(0)
    }
    store.pauses.progress(now)
    if (backlog.pendingCost <= store.limits.historyPendingBytes / 8) this.resume()
  }

  /** The writer has nothing more to do here for now. */
  idle(): void {
    if (this.work !== null) this.work.activity = 'idle'
    // What was still to be written may have been given up.
    if (this.pendingStart === null) {
      this.#endLate()
      this.resume()
    }
    // Making its folder had failed.
    if (this.removed && !this.hasFolder) this.store.vacated(this.dirName, this)
    this.#rest()
  }

  // For the loader

  /** The segment that holds `offset`, or would if it was not lost; null when no file can have it. */
  placeOf(offset: number): Place | null {
    return this.segments.placeOf(offset, this.#written)
  }

  #showAll(): void {
    const bytes = this.#next - this.#visible
    if (bytes === 0) return
    this.#visible = this.#next
    this.store.counters.undurableBytes += bytes
    this.owner.historyVisible()
    this.work?.shown(this.#visible)
  }

  #endLate(): void {
    if (this.work === null || !this.work.late) return
    this.work.late = false
    this.store.lateEnded()
  }

  /** Lets go of what only a port at work needs. */
  #rest(): void {
    if (this.work?.atRest === true) this.work = null
  }
}
