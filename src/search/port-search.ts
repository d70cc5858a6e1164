import { type StoredFile, StoredOutput, storedMarks } from '../history/index.ts'
import { LineCutter, plainText, type TextPattern } from '../pattern/index.ts'
import { Arrivals } from './arrivals.ts'
import { LineContext } from './line-context.ts'
import { PortRecords, type SkipReason } from './records.ts'
import type { Piece, SearchedPort, SearchQuery, SearchTotals } from './types.ts'

/** What a search needs of whoever has the ports. */
export interface SearchHost {
  /** The port as it is now; null when it is gone, or another one of that id. */
  again(port: SearchedPort): Promise<SearchedPort | null>
  /** What memory holds. */
  load(port: SearchedPort, offset: number): Promise<Piece>
  /** Called now and then: sends what was found, once there is enough of it, and waits until it is taken. */
  pause(): Promise<void>
}

const NO_MARKS = { offsets: [], times: [] }

/** Looks through one port, from its oldest byte to its newest; what it finds is added to `found` and `totals`. */
export class PortSearch {
  /** Lines of JSON. */
  readonly found: string[] = []
  readonly #query: SearchQuery
  readonly #pattern: TextPattern
  readonly #totals: SearchTotals
  readonly #host: SearchHost
  #port: SearchedPort
  readonly #records: PortRecords
  readonly #context: LineContext
  readonly #cutter = new LineCutter((lines, offset) => this.#search(lines, offset))
  #arrivals = new Arrivals(NO_MARKS, NO_MARKS, 0, null)
  #at: number
  /** Where to stop: an offset, once the time is reached. */
  #until: number
  #matches = 0
  #bytes = 0
  /** There may be more, which nobody wants. */
  #ended = false
  #skipped: { reason: SkipReason; bytes: number } | null = null

  constructor(port: SearchedPort, query: SearchQuery, pattern: TextPattern, totals: SearchTotals, host: SearchHost) {
    this.#port = port
    this.#query = query
    this.#pattern = pattern
    this.#totals = totals
    this.#host = host
    this.#records = new PortRecords(port)
    this.#at = Math.max(port.start, query.start)
    this.#until = Math.min(port.end, query.end)
    this.#context = new LineContext(query.counts ? 0 : query.context, (bytes, offset, end) => {
      const time = this.#arrivals.timeOf(offset)
      this.found.push(this.#records.context({ offset, end, time, text: plainText(bytes) }))
    })
  }

  get port(): SearchedPort {
    return this.#port
  }

  async run(): Promise<void> {
    const since = this.#query.since
    let begun = since === null
    while (this.#going) {
      const file = this.#nextFile()
      if (file === null) break
      if (!begun && since !== null && file.lastWriteAt < since) {
        this.#at = file.end
        continue
      }
      const output = await this.#open(file)
      if (output === null) continue
      try {
        this.#arrivals = new Arrivals(marksOf(this.#port, file), this.#port.marks, file.end, this.#arrivals.lastTime)
        begun ||= this.#begin(since ?? 0, file.end)
        if (begun) await this.#read(output, file)
      } finally {
        output.close()
      }
    }
    await this.#memory(begun)
    this.#cutter.end()
    this.#finish()
  }

  get #going(): boolean {
    return this.#at < this.#until && !this.#ended
  }

  /** The file that holds `#at`, or else the next one. */
  #nextFile(): StoredFile | null {
    const { files } = this.#port
    const file = files?.files.find(({ end }) => end > this.#at) ?? null
    if (file !== null && file.start > this.#at) this.#lost(file.start)
    return file !== null && this.#going ? file : null
  }

  /** Null: it was skipped, or others are there now. */
  async #open(file: StoredFile): Promise<StoredOutput | null> {
    const folder = this.#port.files?.folder ?? ''
    try {
      const output = StoredOutput.open(folder, file.start)
      if (output !== null) return output
    } catch {
      // Damaged, or the disk fails: the store tells why in the log when somebody reads it there.
      this.#skip('unreadable', file.end)
      return null
    }
    // Moved with its port, deleted to make room, or by somebody else.
    const now = await this.#host.again(this.#port)
    if (now === null) {
      this.#skip('removed', this.#until)
      return null
    }
    const moved = now.files?.folder !== folder
    const there = now.files?.files.some(({ start }) => start === file.start) === true
    this.#port = now
    if (!there) this.#skip('removed', Math.max(file.end, now.start))
    else if (!moved) this.#skip('missing', file.end)
    return null
  }

  /** Goes to the first byte that came since then. @returns false: it is in none of these. */
  #begin(since: number, end: number): boolean {
    // Without times it is too much rather than too little.
    const first = this.#arrivals.known ? this.#arrivals.firstAt(since, this.#at) : this.#at
    this.#at = first ?? end
    return first !== null
  }

  /** Where what came in time ends, if that is before `end`. */
  #endOf(end: number): number {
    const { until } = this.#query
    const late = until === null ? null : this.#arrivals.firstAt(until + 1, this.#at)
    if (late !== null && late < this.#until) this.#until = late
    return Math.min(end, this.#until)
  }

  async #read(output: StoredOutput, file: StoredFile): Promise<void> {
    const end = this.#endOf(file.end)
    while (this.#at < end && !this.#ended) {
      let bytes: Buffer
      try {
        bytes = output.read(this.#at)
      } catch {
        this.#skip('unreadable', Math.min(end, output.after(this.#at)))
        continue
      }
      if (bytes.length === 0) this.#lost(end)
      else this.#take(bytes.subarray(0, end - this.#at))
      await this.#host.pause()
    }
  }

  /** What is in no file. */
  async #memory(begun: boolean): Promise<void> {
    if (!this.#going) return
    this.#arrivals = new Arrivals(NO_MARKS, this.#port.marks, Number.POSITIVE_INFINITY, this.#arrivals.lastTime)
    if (!begun && !this.#begin(this.#query.since ?? 0, this.#until)) return
    this.#endOf(this.#until)
    while (this.#going) {
      const piece = await this.#host.load(this.#port, this.#at)
      if (piece.kind === 'gone') this.#skip('removed', this.#until)
      else if (piece.kind === 'gap') this.#lost(piece.to)
      else this.#take(Buffer.from(piece.bytes.buffer, piece.bytes.byteOffset, piece.bytes.length))
      await this.#host.pause()
    }
  }

  #take(all: Buffer): void {
    const bytes = all.subarray(0, this.#until - this.#at)
    this.#bytes += bytes.length
    this.#totals.bytes += bytes.length
    const offset = this.#at
    this.#at += bytes.length
    this.#cutter.push(bytes, offset)
  }

  /** Nothing is held up to there. */
  #lost(to: number): void {
    const end = Math.min(Math.max(to, this.#at + 1), this.#until)
    this.#totals.lostBytes += end - this.#at
    this.#at = end
  }

  #skip(reason: SkipReason, to: number): void {
    const end = Math.min(to, this.#until)
    const bytes = Math.max(0, end - this.#at)
    this.#at = Math.max(this.#at, end)
    if (this.#skipped === null) this.#totals.skippedPorts++
    this.#totals.skippedBytes += bytes
    this.#skipped = { reason: this.#skipped?.reason ?? reason, bytes: (this.#skipped?.bytes ?? 0) + bytes }
  }

  #search(lines: Buffer, offset: number): void {
    if (this.#ended) return
    const { counts } = this.#query
    this.#context.begin(lines, offset)
    this.#pattern.scan(lines, (start, end, text) => {
      this.#matches++
      this.#totals.matches++
      if (!counts) {
        const next = this.#context.match(start, end)
        const line = { offset: offset + start, end: offset + next, time: this.#arrivals.timeOf(offset + start), text }
        this.found.push(this.#records.match(line, this.#pattern))
      }
      this.#ended = this.#enough
      return !this.#ended
    })
    this.#context.finish()
  }

  get #enough(): boolean {
    const { counts, limit, perPort } = this.#query
    if (!counts && this.#totals.matches >= limit) this.#totals.truncated = true
    return this.#totals.truncated || this.#matches >= perPort
  }

  #finish(): void {
    const [matches, bytes, skipped, truncated] = [this.#matches, this.#bytes, this.#skipped, this.#ended]
    this.#totals.ports++
    if (!this.#query.counts && matches === 0 && skipped === null) return
    this.found.push(this.#records.port({ matches, bytes, truncated, skipped }))
  }
}

/** Without times, a file is searched all the same. */
function marksOf({ files }: SearchedPort, file: StoredFile): { offsets: number[]; times: number[] } {
  try {
    const { offsets, times } = storedMarks(files?.folder ?? '', file)
    return { offsets: [...offsets], times: [...times] }
  } catch {
    return { offsets: [], times: [] }
  }
}
