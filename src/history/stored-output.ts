/**
 * Reads a port's files without the store they belong to: in a thread of its own, which may wait for the disk. They may
 * be compressed or deleted at any time, but never change: a byte that is read is the one of its offset.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { type Archive, MAX_TRAILER_BYTES, parseTrailer } from './archive.ts'
import { diskErrorCode, OPEN_READ } from './disk.ts'
import type { StoredFile } from './history.ts'
import { archiveName, indexName, segmentName } from './port-file.ts'
import { type Marks, parseIndex } from './times.ts'

const NOTHING = Buffer.alloc(0)
/** As much as a part of a compressed file has. */
const PIECE_BYTES = 262_144
/** Of an index; a full file has less. */
const MAX_INDEX_BYTES = 16 << 20

/** One file, plain or compressed. */
export class StoredOutput {
  readonly #fd: number
  readonly #start: number
  readonly #archive: Archive | null
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_BYTES)

  private constructor(fd: number, start: number, archive: Archive | null) {
    this.#fd = fd
    this.#start = start
    this.#archive = archive
  }

  /**
   * The file of `folder` that begins at `start`; null when it is not there.
   * @throws Error as node:fs, or when it is damaged.
   */
  static open(folder: string, start: number): StoredOutput | null {
    // Compressed between the one try and the other, it is found under its new name.
    const plain = openFile(join(folder, segmentName(start)))
    const fd = plain ?? openFile(join(folder, archiveName(start)))
    if (fd === null) return null
    try {
      return new StoredOutput(fd, start, plain === null ? readArchive(fd) : null)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /**
   * Bytes from `offset` on, valid until the next call; none at the end of the file.
   * @throws Error when they cannot be read.
   */
  read(offset: number): Buffer {
    const at = offset - this.#start
    if (this.#archive !== null) return this.#expand(this.#archive, at)
    return this.#buffer.subarray(0, readSync(this.#fd, this.#buffer, 0, PIECE_BYTES, at))
  }

  /** Where the bytes after those at `offset`, which cannot be read, may be readable again. */
  after(offset: number): number {
    const part = this.#archive?.memberBytes ?? PIECE_BYTES
    return offset + part - ((offset - this.#start) % part)
  }

  close(): void {
    closeSync(this.#fd)
  }

  #expand({ memberBytes, plainBytes, places }: Archive, at: number): Buffer {
    if (at >= plainBytes) return NOTHING
    const index = Math.floor(at / memberBytes)
    const begin = places[index] ?? 0
    const packed = readPart(this.#fd, begin, (places[index + 1] ?? begin) - begin)
    return gunzipSync(packed, { maxOutputLength: memberBytes }).subarray(at % memberBytes)
  }
}

/** When the output in a file came, as far as its index says. @throws Error when that cannot be read. */
export function storedMarks(folder: string, { start, end }: StoredFile): Pick<Marks, 'offsets' | 'times'> {
  const fd = openFile(join(folder, indexName(start)))
  if (fd === null) return { offsets: [], times: [] }
  try {
    const bytes = readPart(fd, 0, Math.min(fstatSync(fd).size, MAX_INDEX_BYTES))
    return parseIndex(bytes, start, end)
  } finally {
    closeSync(fd)
  }
}

/** Null when there is none. */
function openFile(path: string): number | null {
  try {
    return openSync(path, OPEN_READ)
  } catch (error) {
    if (diskErrorCode(error) === 'ENOENT') return null
    throw error
  }
}

function readArchive(fd: number): Archive {
  const { size } = fstatSync(fd)
  const length = Math.min(size, MAX_TRAILER_BYTES)
  const archive = parseTrailer(readPart(fd, size - length, length), size)
  if (archive === null) throw new Error('it is damaged, or was not compressed by vspc')
  return archive
}

function readPart(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length)
  const read = readSync(fd, bytes, 0, length, at)
  if (read < length) throw new Error('it is cut off')
  return bytes
}
