import { join } from 'node:path'
import { type DiskError, diskErrorCode, FILE_MODE, type FileStats, FOLDER_MODE, OPEN_APPEND, OPEN_NEW } from './disk.ts'
import type { DiskHistory } from './disk-history.ts'
import type { DiskStore } from './disk-store.ts'
import type { OpenFile } from './file-cache.ts'
import { IndexWriter } from './index-writer.ts'
import { PORT_FILE, PORT_FILE_DRAFT, segmentName } from './port-file.ts'
import type { Work } from './work.ts'
import type { Writer } from './writer.ts'

/** About this much in one write. Large writes cost the kernel less, but what is in one is shown when all of it is. */
const WRITE_BYTES = 1 << 20

/**
 * One operation at a time on the disk, for one port: what the port's `nextStep` says, up to and including one write. A
 * slot whose operation never ends is lost, with its port; the others go on.
 *
 * Its callbacks are made once: nothing is allocated per write but what node:fs does.
 */
export class WriteSlot {
  readonly #store: DiskStore
  readonly #writer: Writer
  #port: DiskHistory | null = null
  #work: Work | null = null
  #path = ''
  #name = ''
  #text = ''
  #segment = 0
  #isNew = false
  #fd = -1
  #file: OpenFile | null = null
  #startedAt = 0
  #asked = 0
  readonly #views: Uint8Array[] = []
  #index: IndexWriter | null = null

  constructor(store: DiskStore, writer: Writer) {
    this.#store = store
    this.#writer = writer
  }

  /** `work` is the port's. Ends with `Writer.done`. */
  start(port: DiskHistory, work: Work): void {
    this.#port = port
    this.#work = work
    this.#advance(port, work)
  }

  #advance(port: DiskHistory, work: Work): void {
    switch (port.nextStep()) {
      case 'remove':
        this.#remove(port, work)
        break
      case 'move':
        this.#move(port, work)
        break
      case 'make-folder':
        this.#makeFolder(port, work)
        break
      case 'new-segment':
        this.#open(port, true, port.pendingStart ?? 0)
        break
      case 'open':
        this.#open(port, false, port.segments.last)
        break
      case 'check':
        this.#check(port)
        break
      case 'write':
        this.#write(port, work)
        break
      case 'describe':
        this.#describe(port, work)
        break
      case 'index':
        if (port.times === null) break
        this.#index ??= new IndexWriter(this.#store)
        this.#index.start(port, port.times, this.#onIndexed)
        break
      case null:
        this.#finish(port)
        break
    }
  }

  #finish(port: DiskHistory): void {
    this.#port = null
    this.#work = null
    this.#writer.done(this, port)
  }

  /** The operation under way has ended: whose it was. */
  #ended(): { port: DiskHistory; work: Work } {
    // Set in `start`, and kept until `#finish`, which comes after the last operation.
    return { port: this.#port as DiskHistory, work: this.#work as Work }
  }

  #fail(port: DiskHistory, what: string, error: DiskError): void {
    // Of a port that is to go anyway, only the going matters.
    if (!port.removed) this.#writer.fail(port, what, this.#path, error)
    this.#finish(port)
  }

  // The folder

  #makeFolder(port: DiskHistory, work: Work): void {
    if (this.#waits(port, work, port.dirName)) return
    this.#path = this.#store.folderOf(port.dirName)
    this.#store.fs.mkdir(this.#path, { mode: FOLDER_MODE, recursive: true }, this.#onFolder)
  }

  readonly #onFolder = (error: DiskError | null, made?: string): void => {
    const { port, work } = this.#ended()
    if (error !== null) {
      this.#fail(port, 'make', error)
      return
    }
    if (made === undefined && this.#store.unreadable.has(port.dirName)) {
      this.#fail(port, 'use', diskErrorOf('EEXIST', 'it could not be read at start'))
      return
    }
    port.folderReady(made !== undefined)
    this.#advance(port, work)
  }

  /** The folder's name is still taken by a port that is being moved or removed. */
  #waits(port: DiskHistory, work: Work, dirName: string): boolean {
    if (!this.#store.upkeep.holds(port) && !this.#store.waitFor(dirName, port)) return false
    this.#block(port, work)
    return true
  }

  /** It is taken up again when it may go on. */
  #block(port: DiskHistory, work: Work): void {
    work.activity = 'blocked'
    this.#finish(port)
  }

  #move(port: DiskHistory, work: Work): void {
    this.#name = port.movingTo ?? port.dirName
    if (this.#waits(port, work, this.#name)) return
    this.#path = this.#store.folderOf(port.dirName)
    this.#store.fs.rename(this.#path, this.#store.folderOf(this.#name), this.#onMoved)
  }

  readonly #onMoved = (error: DiskError | null): void => {
    const { port, work } = this.#ended()
    if (error === null) port.moved(this.#name)
    // Then there is nothing to move: it is made anew under the other name.
    else if (diskErrorCode(error) === 'ENOENT') port.folderLost()
    else this.#writer.failChore(port, 'rename', this.#path, error)
    this.#advance(port, work)
  }

  /** Out of the way at once, so that the id can be used anew; deleted in its own time. */
  #remove(port: DiskHistory, work: Work): void {
    if (this.#store.upkeep.holds(port)) {
      this.#block(port, work)
      return
    }
    this.#store.files.forget(port)
    this.#path = this.#store.folderOf(port.dirName)
    this.#name = this.#store.nextRemovedName()
    this.#store.fs.rename(this.#path, this.#store.folderOf(this.#name), this.#onRemoved)
  }

  readonly #onRemoved = (error: DiskError | null): void => {
    const { port, work } = this.#ended()
    if (error === null || diskErrorCode(error) === 'ENOENT') {
      port.hasFolder = false
      this.#store.vacated(port.dirName, port)
      if (error === null) this.#store.deleteFolder(this.#name)
    } else {
      this.#writer.failChore(port, 'remove', this.#path, error)
    }
    this.#advance(port, work)
  }

  // The bytes

  #open(port: DiskHistory, isNew: boolean, segment: number): void {
    this.#isNew = isNew
    this.#segment = segment
    this.#path = join(this.#store.folderOf(port.dirName), segmentName(segment))
    this.#store.fs.open(this.#path, isNew ? OPEN_NEW : OPEN_APPEND, FILE_MODE, this.#onOpen)
  }

  readonly #onOpen = (error: DiskError | null, fd: number): void => {
    const { port, work } = this.#ended()
    const { files, counters } = this.#store
    if (error !== null) {
      const code = diskErrorCode(error)
      if (code === 'EEXIST') this.#store.fs.open(this.#path, OPEN_APPEND, FILE_MODE, this.#onFound)
      else {
        if (code === 'ENOENT' && !this.#isNew) {
          this.#segmentLost(port, work, error)
          return
        }
        if (code === 'ENOENT') port.folderLost()
        this.#fail(port, 'open', error)
      }
      return
    }
    counters.filesOpened++
    if (this.#isNew) {
      // The file before it is full: whoever reads it opens it again.
      if (port.file !== null) files.drop(port.file)
      port.segmentReady(this.#segment)
    }
    const file: OpenFile = { fd, port, segment: this.#segment, forAppend: true, packed: false, archive: null, users: 1 }
    files.add(file)
    files.release(file)
    this.#advance(port, work)
  }

  /** There is a file already where a new one should be: a try of ours that failed, if it is empty. */
  readonly #onFound = (error: DiskError | null, fd: number): void => {
    if (error !== null) {
      this.#fail(this.#ended().port, 'open', error)
      return
    }
    this.#fd = fd
    this.#store.fs.fstat(fd, this.#onFoundStats)
  }

  readonly #onFoundStats = (error: DiskError | null, stats: FileStats): void => {
    if (error === null && stats.isFile() && stats.size === 0) {
      this.#onOpen(null, this.#fd)
      return
    }
    this.#store.fs.close(this.#fd, () => {})
    this.#fail(this.#ended().port, 'make', error ?? diskErrorOf('EEXIST', 'there is another file'))
  }

  /** Whoever deletes or empties files to make room does not ask us: what goes on being written there would be lost. */
  #check(port: DiskHistory): void {
    const file = port.file as OpenFile
    this.#file = file
    this.#store.files.use(file)
    this.#store.fs.fstat(file.fd, this.#onChecked)
  }

  readonly #onChecked = (error: DiskError | null, stats: FileStats): void => {
    const { port, work } = this.#ended()
    const { files } = this.#store
    const file = this.#file as OpenFile
    this.#file = null
    files.release(file)
    const fault = error ?? faultOf(stats, port.written - file.segment)
    if (fault === null) {
      port.checked()
      this.#advance(port, work)
      return
    }
    files.drop(file)
    this.#path = join(this.#store.folderOf(port.dirName), segmentName(file.segment))
    if (error === null) this.#segmentLost(port, work, fault)
    else this.#fail(port, 'look at', error)
  }

  /** Somebody has deleted or cut it. The folder may be there or not: the next segment will tell. */
  #segmentLost(port: DiskHistory, work: Work, error: DiskError): void {
    this.#writer.report('go on with', this.#path, error)
    port.segmentLost()
    this.#advance(port, work)
  }

  #write(port: DiskHistory, work: Work): void {
    const { fs, files, clock, maxFileBytes } = this.#store
    const file = port.file as OpenFile
    const views = this.#views
    const from = port.written
    this.#asked = work.backlog.take(from, Math.min(WRITE_BYTES, port.segments.room(maxFileBytes, from)), views)
    files.use(file)
    this.#file = file
    this.#startedAt = clock.now()
    const position = from - file.segment
    const only = views[0] as Uint8Array
    if (views.length === 1) fs.write(file.fd, only, 0, only.length, position, this.#onWritten)
    else fs.writev(file.fd, views, position, this.#onWritten)
  }

  readonly #onWritten = (error: DiskError | null, bytes: number): void => {
    const { port, work } = this.#ended()
    const { files, counters, clock, limits } = this.#store
    const file = this.#file as OpenFile
    this.#views.length = 0
    this.#file = null
    files.release(file)
    counters.writes++
    if (port.removed) {
      this.#finish(port)
      return
    }
    if (error !== null || bytes === 0) {
      // Opened anew next time: it may be another file system by then.
      files.drop(file)
      this.#path = join(this.#store.folderOf(port.dirName), segmentName(file.segment))
      this.#fail(port, 'write', error ?? new Error('the disk took nothing'))
      return
    }
    work.partial = bytes < this.#asked
    const now = clock.now()
    port.wrote(bytes, now, now - this.#startedAt < limits.historyVisibleMs)
    this.#writer.succeed(work)
    this.#finish(port)
  }

  readonly #onIndexed = (error: DiskError | null, path: string): void => {
    const { port, work } = this.#ended()
    if (error === null) this.#store.times.done(port)
    else if (!port.removed) this.#writer.failChore(port, 'write', path, error)
    this.#advance(port, work)
  }

  // The port file

  #describe(port: DiskHistory, work: Work): void {
    const text = port.describe()
    if (!port.description.differs(text)) {
      port.description.written(text, text)
      this.#advance(port, work)
      return
    }
    this.#text = text
    this.#path = join(this.#store.folderOf(port.dirName), PORT_FILE_DRAFT)
    this.#draft(this.#onDraft)
  }

  #draft(done: (error: DiskError | null) => void): void {
    this.#store.fs.writeFile(this.#path, this.#text, { mode: FILE_MODE, flag: 'wx' }, done)
  }

  readonly #onDraft = (error: DiskError | null): void => {
    // Left by a crash, or a link to somewhere else.
    if (diskErrorCode(error) === 'EEXIST') this.#store.fs.rm(this.#path, { recursive: true, force: true }, this.#onFree)
    else this.#onDrafted(error)
  }

  readonly #onFree = (): void => this.#draft(this.#onDrafted)

  readonly #onDrafted = (error: DiskError | null): void => {
    const { port } = this.#ended()
    if (error !== null) {
      this.#undescribed(port, error)
      return
    }
    this.#store.fs.rename(this.#path, join(this.#path, '..', PORT_FILE), this.#onDescribed)
  }

  readonly #onDescribed = (error: DiskError | null): void => {
    const { port, work } = this.#ended()
    if (error !== null) {
      this.#undescribed(port, error)
      return
    }
    port.description.written(this.#text, port.describe())
    this.#advance(port, work)
  }

  #undescribed(port: DiskHistory, error: DiskError): void {
    this.#writer.failChore(port, 'write', this.#path, error)
    this.#advance(port, this.#ended().work)
  }
}

/** What is wrong with the file that is to be gone on with at `end`; null = nothing. */
function faultOf(stats: FileStats, end: number): DiskError | null {
  if (stats.nlink === 0) return diskErrorOf('ENOENT', 'it was deleted')
  if (stats.size < end) return new Error(`somebody has cut it to ${stats.size} bytes: history has a gap`)
  return null
}

function diskErrorOf(code: string, message: string): DiskError {
  return Object.assign(new Error(message), { code })
}
