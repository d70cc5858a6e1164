import { join } from 'node:path'
import type { Clock, Timer } from '../base/index.ts'
import { Compressor, type CompressorHost } from './compressor.ts'
import { type DiskError, describeDiskError, diskErrorCode } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import { archiveName, indexName, namesOf, segmentName } from './port-file.ts'
import { bytesOf, type ClosedFile } from './segments.ts'

/** Ages and changed limits are looked at this often. */
const SWEEP_MS = 60_000
/** Where nothing can be deleted, the next look is after so many more bytes. */
const ALARM_STEP = 16 << 20
/** After compressing failed: a full disk, most likely. */
const RETRY_MS = 600_000

/**
 * What happens to files that are not appended to any more: after a while they are compressed, and the oldest are deleted
 * where history takes more room than it may. One after the other, whatever there is to do, and nothing that output or
 * readers wait for.
 *
 * What is deleted is out of the port's history before: a reader that comes too late is told of a gap, not of an error. A
 * crash in between leaves a file that the next start finds, and deletes.
 */
export class Upkeep implements CompressorHost {
  /** More bytes on the disk than this are worth a look. */
  alarmAt: number
  readonly #store: DiskStore
  readonly #clock: Clock
  readonly #defer: (run: () => void) => void
  /** Ports with closed files. */
  readonly #ports = new Set<DiskHistory>()
  /** Those of them to look at. */
  readonly #check = new Set<DiskHistory>()
  /** Its files are being worked on by name: its folder has to stay where it is. */
  #held: DiskHistory | null = null
  #waiting = false
  #path = ''
  readonly #names: string[] = []
  readonly #compressor: Compressor
  /** What the compressor waits for. */
  #wish: { readonly port: DiskHistory; readonly run: () => void } | null = null
  #compressing = false
  #compressAt = 0
  #attempt: ClosedFile | null = null
  /** Tried again when there is no other one left: a damaged file must not keep all others from being compressed. */
  #failed: ClosedFile[] = []
  #scheduled = false
  #timer: Timer | null = null

  constructor(store: DiskStore, clock: Clock, defer: (run: () => void) => void) {
    this.#store = store
    this.#clock = clock
    this.#defer = defer
    this.#compressor = new Compressor(store, clock, this)
    this.alarmAt = store.limits.historyTotalBytes || Number.POSITIVE_INFINITY
  }

  /** The port has another closed file. */
  closed(port: DiskHistory): void {
    this.#ports.add(port)
    this.#check.add(port)
    this.look()
    this.#timer ??= this.#clock.after(SWEEP_MS, this.#sweep)
  }

  /** There may be something to do. */
  look(): void {
    if (this.#scheduled || this.#held !== null) return
    this.#scheduled = true
    this.#defer(this.#run)
  }

  /** @returns true when the port's folder must not move now; the writer is told when it may. */
  holds(port: DiskHistory): boolean {
    if (this.#held !== port) return false
    this.#waiting = true
    return true
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#run()
  }

  // For the compressor

  acquire(port: DiskHistory, run: () => void): void {
    this.#wish = { port, run }
    this.look()
  }

  release(): void {
    if (!this.#compressing) return
    this.#compressing = false
    this.#letGo()
  }

  compressed(error: DiskError | null, path: string): void {
    if (error !== null && !this.#store.closed) {
      if (diskErrorCode(error) !== 'ENOENT') {
        this.#compressAt = this.#clock.now() + RETRY_MS
        if (this.#attempt !== null) this.#failed.push(this.#attempt)
      }
      this.#store.counters.diskErrors++
      const message = `history: ${describeDiskError('compress', path, error)}`
      this.#store.troubles.seen('write', diskErrorCode(error), () => ({ path, message }))
    }
    this.look()
  }

  readonly #sweep = (): void => {
    this.#timer = null
    for (const port of this.#ports) this.#check.add(port)
    if (this.#ports.size > 0) this.#timer = this.#clock.after(SWEEP_MS, this.#sweep)
    this.look()
  }

  readonly #run = (): void => {
    this.#scheduled = false
    if (this.#held !== null) return
    const wish = this.#wish
    if (wish !== null && (this.#store.closed || !awayFromHome(wish.port))) {
      this.#wish = null
      this.#compressing = true
      this.#held = wish.port
      wish.run()
      return
    }
    if (this.#store.closed) return
    const port = this.#overdue() ?? this.#oldest()
    if (port !== null) this.#deleteFirst(port)
    else if (!this.#compressor.busy && this.#clock.now() >= this.#compressAt) this.#compressNext()
  }

  #compressNext(): void {
    const ms = this.#store.limits.historyCompressMs
    if (ms === 0) return
    const wall = this.#clock.wall() - ms
    for (const port of this.#ports) {
      const file = atHome(port) ? port.segments.unpacked(wall) : null
      if (file === null) continue
      file.stuck = true
      this.#attempt = file
      this.#compressor.start(port, file)
      return
    }
    if (this.#failed.length === 0) return
    for (const file of this.#failed) file.stuck = false
    this.#failed = []
    this.#compressNext()
  }

  /** A port with a file that is too old, or one too many. */
  #overdue(): DiskHistory | null {
    const { limits, maxFileBytes } = this.#store
    const wall = this.#clock.wall()
    for (const port of this.#check) {
      if (atHome(port) && port.segments.overdue(limits, maxFileBytes, wall)) return port
      this.#check.delete(port)
      if (port.removed || port.segments.closed.length === 0) this.#ports.delete(port)
    }
    return null
  }

  /** If all together take too much: the port with the file that was written longest ago. */
  #oldest(): DiskHistory | null {
    const { diskBytes, limits } = this.#store
    const max = limits.historyTotalBytes || Number.POSITIVE_INFINITY
    this.alarmAt = max
    if (diskBytes <= max) return null
    let oldest: DiskHistory | null = null
    let oldestAt = Number.POSITIVE_INFINITY
    for (const port of this.#ports) {
      const at = port.segments.closed[0]?.lastWriteAt ?? Number.POSITIVE_INFINITY
      if (at >= oldestAt || !atHome(port)) continue
      oldest = port
      oldestAt = at
    }
    if (oldest !== null) return oldest
    this.alarmAt = diskBytes + ALARM_STEP
    this.#store.overBudget()
    return null
  }

  #deleteFirst(port: DiskHistory): void {
    const file = port.segments.dropFirst()
    if (file === null) return
    const { files, counters } = this.#store
    this.#store.diskBytes -= bytesOf(file)
    counters.expiredBytes += file.diskBytes
    files.dropSegment(port, file.start)
    this.#held = port
    this.#names.push(indexName(file.start), ...(file.leftovers ? namesOf(file.start) : [nameOf(file)]))
    this.#deleteNext(port)
  }

  #deleteNext(port: DiskHistory): void {
    this.#path = join(this.#store.folderOf(port.dirName), this.#names.pop() ?? '')
    this.#store.fs.rm(this.#path, { recursive: true, force: true }, this.#onDeleted)
  }

  readonly #onDeleted = (error: DiskError | null): void => {
    const { counters, troubles } = this.#store
    if (error !== null && !this.#store.closed) {
      // It is out of history all the same; the next start tries again.
      counters.diskErrors++
      const path = this.#path
      const message = `history: ${describeDiskError('delete', path, error)}`
      troubles.seen('write', diskErrorCode(error), () => ({ path, message }))
    }
    if (this.#names.length > 0 && this.#held !== null) this.#deleteNext(this.#held)
    else this.#letGo()
  }

  #letGo(): void {
    const port = this.#held
    this.#held = null
    if (this.#waiting && port !== null) {
      this.#waiting = false
      this.#store.writer.retry(port)
    }
    this.look()
  }
}

function nameOf(file: ClosedFile): string {
  return file.packed ? archiveName(file.start) : segmentName(file.start)
}

/** Its folder is where it is said to be, and stays there. */
function atHome(port: DiskHistory): boolean {
  return !port.removed && !awayFromHome(port)
}

/** Its folder is on the move: where it is is not known. One that is removed is nobody's concern. */
function awayFromHome(port: DiskHistory): boolean {
  return port.movingTo !== null && !port.removed
}
