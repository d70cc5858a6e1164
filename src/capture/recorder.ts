/**
 * Records what goes over VM connections into capture files: `vspc serve --capture DIR`.
 *
 * Plan: the data path only formats a line and puts it on a list; one writer takes whole batches from the list. When
 * the disk is slower than the VMs, the list reaches its cap, and further records are dropped and counted in a gap
 * line: nothing here waits, throws, or grows. A file that reaches its size is followed by another one, in which each
 * stream that goes on is announced again. After a disk error recording pauses, then tries a new file.
 */
import {
  type Clock,
  type ConnectionTap,
  errorMessage,
  LIMITS,
  systemClock,
  type Tap,
  type TapConnection,
  VspcError,
} from '../base/index.ts'
import { type CaptureDisk, CaptureWriter, makeCaptureFolder, systemDisk } from './capture-writer.ts'
import { formatCaptureRecord } from './format.ts'
import { Sequences } from './sequences.ts'
import { type LineSink, StreamRecorder } from './stream-recorder.ts'

export interface RecorderOptions {
  /** Made if it is not there. */
  readonly dir: string
  /** Who records, for the header: program and version. */
  readonly source?: string
  /** Zeros in the place of vMotion secrets. */
  readonly redact?: boolean
  /** A file is followed by the next one at this size. */
  readonly maxFileBytes?: number
  /** Files of this recorder that are kept; older ones of its own are deleted. */
  readonly maxFiles?: number
  /** Recorded and not yet on disk. */
  readonly maxPendingBytes?: number
  /** Called for the first disk error only; all are counted in {@link CaptureRecorder.stats}. Must not throw. */
  readonly onError?: (error: VspcError) => void
  readonly clock?: Clock
  readonly disk?: CaptureDisk
  readonly pid?: number
}

export interface RecorderStats {
  /** The file in hand. */
  readonly path: string | null
  readonly files: number
  readonly records: number
  readonly droppedRecords: number
  /** Bytes of VM connections in them, not of the file. */
  readonly droppedBytes: number
  readonly diskErrors: number
  readonly pendingBytes: number
}

/** Between a disk error and the next try. */
const RETRY_MS = 10_000
/** One write at most, so that a file ends near its cap. */
const BATCH_BYTES = 262_144
/** In the list of pending lines: go on in a new file. */
const NEXT_FILE = ''

/**
 * Opens the first file.
 * @throws VspcError VSPC_CAPTURE_WRITE when folder or file cannot be made: better at the start than silently later.
 */
export async function openRecorder(options: RecorderOptions): Promise<CaptureRecorder> {
  const clock = options.clock ?? systemClock
  const writer = new CaptureWriter({
    dir: options.dir,
    startedAt: clock.wall(),
    pid: options.pid ?? process.pid,
    source: options.source ?? 'vspc',
    maxFiles: options.maxFiles ?? LIMITS.captureFiles.default,
    disk: options.disk ?? systemDisk,
  })
  try {
    await makeCaptureFolder(options.dir)
    await writer.next()
  } catch (cause) {
    throw writeError(options.dir, cause)
  }
  return new CaptureRecorder(options, clock, writer)
}

export class CaptureRecorder implements Tap, LineSink {
  readonly #options: RecorderOptions
  readonly #clock: Clock
  readonly #writer: CaptureWriter
  readonly #start: number
  readonly #maxFileBytes: number
  readonly #maxPendingBytes: number
  readonly #sequences: Sequences | null
  #pending: string[] = []
  /** Of #pending and of the batch being written. */
  #pendingBytes = 0
  /** Of the file that the next line goes to, and its number. */
  #fileBytes = 0
  #fileNumber = 0
  #streams = 0
  #records = 0
  #gap = { records: 0, bytes: 0 }
  #dropped = { records: 0, bytes: 0 }
  #diskErrors = 0
  #paused = false
  #closed = false
  #writing: Promise<void> | null = null

  constructor(options: RecorderOptions, clock: Clock, writer: CaptureWriter) {
    this.#options = options
    this.#clock = clock
    this.#writer = writer
    this.#start = clock.now()
    this.#maxFileBytes = options.maxFileBytes ?? LIMITS.captureFileBytes.default
    this.#maxPendingBytes = options.maxPendingBytes ?? LIMITS.capturePendingBytes.default
    this.#sequences = options.redact ? new Sequences() : null
  }

  get stats(): RecorderStats {
    return {
      path: this.#writer.path,
      files: this.#writer.count,
      records: this.#records,
      droppedRecords: this.#dropped.records,
      droppedBytes: this.#dropped.bytes,
      diskErrors: this.#diskErrors,
      pendingBytes: this.#pendingBytes,
    }
  }

  open(connection: TapConnection): ConnectionTap | null {
    if (this.#closed) return null
    return new StreamRecorder(this, this.#streams++, connection, this.#sequences)
  }

  /**
   * Writes what is pending and closes the file; taps still open record nothing more. Never rejects, and returns after
   * `timeoutMs` in any case: a disk that hangs must not keep the server from stopping.
   */
  async close(timeoutMs: number = LIMITS.drainMs.default): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (!this.#paused) this.#appendGap()
    if (this.#pending.length > 0) this.#writing ??= this.#write()
    await new Promise<void>((resolve) => {
      const deadline = this.#clock.after(timeoutMs, resolve)
      void this.#finish().then(() => {
        deadline.cancel()
        resolve()
      })
    })
  }

  fileNumber(): number {
    if (this.#fileBytes >= this.#maxFileBytes) this.#nextFile()
    return this.#fileNumber
  }

  time(): number {
    return (this.#clock.now() - this.#start) / 1000
  }

  put(line: string, bytes: number): boolean {
    if (this.#closed) return false
    if (this.#paused || this.#pendingBytes + line.length > this.#maxPendingBytes) {
      this.#lost(1, bytes)
      return false
    }
    this.#appendGap()
    this.#records++
    this.#append(line)
    this.#writing ??= this.#write()
    return true
  }

  #append(line: string): void {
    this.#pending.push(line)
    this.#pendingBytes += line.length
    this.#fileBytes += line.length
  }

  #appendGap(): void {
    if (this.#gap.records === 0) return
    this.#append(formatCaptureRecord({ kind: 'gap', t: this.time(), ...this.#gap }))
    this.#gap = { records: 0, bytes: 0 }
  }

  #lost(records: number, bytes: number): void {
    this.#gap.records += records
    this.#gap.bytes += bytes
    this.#dropped.records += records
    this.#dropped.bytes += bytes
  }

  #lostLine(line: string): void {
    const gap = /^\{"t":[\d.]+,"gap":\{"records":(\d+),"bytes":(\d+)\}/.exec(line)
    if (gap) {
      // What it tells of was counted when it was dropped; it still has to be told.
      this.#gap.records += Number(gap[1])
      this.#gap.bytes += Number(gap[2])
    } else {
      this.#lost(1, (/"hex":"([^"]*)"/.exec(line)?.[1]?.length ?? 0) / 2)
    }
  }

  #nextFile(): void {
    this.#pending.push(NEXT_FILE)
    this.#fileBytes = 0
    this.#fileNumber++
  }

  /** Runs while there is something to write; never rejects. */
  async #write(): Promise<void> {
    let batch: string[] = []
    try {
      while (this.#pending.length > 0) {
        batch = this.#takeBatch()
        if (batch.length === 0) await this.#writer.next()
        else await this.#writer.write(batch.join(''))
        for (const line of batch) this.#pendingBytes -= line.length
      }
    } catch (error) {
      this.#failed(error, batch)
    } finally {
      this.#writing = null
    }
  }

  async #finish(): Promise<void> {
    await this.#writing
    try {
      await this.#writer.close()
    } catch (error) {
      this.#failed(error, [])
    }
  }

  /** Lines up to the next file change; none when that is next. */
  #takeBatch(): string[] {
    const lines: string[] = []
    let length = 0
    let taken = 0
    for (const line of this.#pending) {
      if (line === NEXT_FILE && lines.length > 0) break
      taken++
      if (line === NEXT_FILE) break
      lines.push(line)
      length += line.length
      if (length >= BATCH_BYTES) break
    }
    this.#pending = this.#pending.slice(taken)
    return lines
  }

  /** The batch in hand and all that is pending are lost: they are counted, and recording pauses. */
  #failed(cause: unknown, batch: readonly string[]): void {
    this.#diskErrors++
    for (const line of [...batch, ...this.#pending]) if (line !== NEXT_FILE) this.#lostLine(line)
    this.#pending = []
    this.#pendingBytes = 0
    if (this.#diskErrors === 1) this.#options.onError?.(writeError(this.#options.dir, cause))
    if (this.#closed || this.#paused) return
    this.#paused = true
    this.#clock.after(RETRY_MS, () => {
      this.#paused = false
      this.#nextFile()
    })
  }
}

function writeError(dir: string, cause: unknown): VspcError {
  const text = `cannot record to ${dir}: ${errorMessage(cause)}`
  return new VspcError('VSPC_CAPTURE_WRITE', text, { cause })
}
