/** The recorder's files: named, opened one after the other, written in batches, the oldest thrown away. SHELL. */
import { mkdir, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type CaptureHeader, formatCaptureHeader } from './format.ts'

/** An open file; tests pass slow and broken ones. */
export interface CaptureFile {
  write(text: string): Promise<void>
  close(): Promise<void>
}

export interface CaptureDisk {
  /** @throws when the file exists already (`EEXIST`) or cannot be made. */
  create(path: string): Promise<CaptureFile>
  remove(path: string): Promise<void>
}

/** Console output and, without redaction, secrets are in there: for the owner alone. */
const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

export const systemDisk: CaptureDisk = {
  async create(path) {
    const handle = await open(path, 'wx', FILE_MODE)
    return {
      write: async (text) => {
        await handle.writeFile(text)
      },
      close: () => handle.close(),
    }
  },
  remove: unlink,
}

export async function makeCaptureFolder(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: FOLDER_MODE })
}

export interface CaptureWriterOptions {
  readonly dir: string
  /** Milliseconds since 1970, for the name and the header. */
  readonly startedAt: number
  readonly pid: number
  readonly source: string
  /** Files of this writer that are kept. */
  readonly maxFiles: number
  readonly disk: CaptureDisk
}

/** Writes one file after the other. Not re-entrant: the caller waits for each call. */
export class CaptureWriter {
  readonly #options: CaptureWriterOptions
  readonly #header: CaptureHeader
  #file: CaptureFile | null = null
  /** Names of our files still there, oldest first. */
  readonly #names: string[] = []
  #count = 0
  #name: string | null = null

  constructor(options: CaptureWriterOptions) {
    this.#options = options
    this.#header = { source: options.source, started: new Date(options.startedAt).toISOString() }
  }

  /** Path of the newest file; null before the first. */
  get path(): string | null {
    return this.#name === null ? null : join(this.#options.dir, this.#name)
  }

  get count(): number {
    return this.#count
  }

  /** Closes the file in hand, opens the next one and writes its header. */
  async next(): Promise<void> {
    await this.close()
    const previous = this.#name
    const { name, file } = await this.#create()
    this.#file = file
    this.#name = name
    this.#names.push(name)
    await file.write(formatCaptureHeader(previous === null ? this.#header : { ...this.#header, continues: previous }))
    while (this.#names.length > this.#options.maxFiles) {
      const oldest = this.#names.shift()
      if (oldest !== undefined) await this.#options.disk.remove(join(this.#options.dir, oldest))
    }
  }

  async write(text: string): Promise<void> {
    await this.#file?.write(text)
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }

  /** Time and process id make the name, never anything from the wire. */
  async #create(): Promise<{ name: string; file: CaptureFile }> {
    const { startedAt, pid, dir, disk } = this.#options
    const time = new Date(startedAt).toISOString().replace(/[-:]|\.\d+/g, '')
    for (;;) {
      this.#count++
      const name = `vspc-${time}-${pid}${this.#count === 1 ? '' : `-${this.#count}`}.jsonl`
      try {
        return { name, file: await disk.create(join(dir, name)) }
      } catch (error) {
        // A process of the same id in the same second, in a container say: take the next number.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }
}
