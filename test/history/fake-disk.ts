import type { BigIntStats, Stats } from 'node:fs'
import { dirname } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { DiskError, FileStats, HistoryFs } from '../../src/history/disk.ts'
import { OPEN_NEW } from '../../src/history/disk.ts'
import type { ScanFs } from '../../src/history/scan.ts'

interface FakeFile {
  bytes: Uint8Array
  size: number
}

export type OpKind =
  | 'open'
  | 'close'
  | 'fstat'
  | 'write'
  | 'read'
  | 'mkdir'
  | 'rename'
  | 'writeFile'
  | 'rm'
  | 'fsync'
  | 'ftruncate'
  | 'futimes'
  | 'compress'
  | 'expand'

/** Something handed to the thread pool that has not ended yet. */
export interface Op {
  readonly kind: OpKind
  readonly path: string
  /** Of a write. */
  readonly bytes: number
  /** Applies it and calls back; with an error code, only the latter. @param part of a write: bytes that get through. */
  readonly end: (code?: string, part?: number) => void
  /** A crash: what of a write may have got through. */
  readonly crash: (part: number) => void
}

export function diskError(code: string, path: string): DiskError {
  return Object.assign(new Error(`${code}: made up, '${path}'`), { code, path })
}

/**
 * A disk in memory on which nothing happens until the test says so: every operation waits in `ops` until its `end` is
 * called. What was open stays usable when it is renamed or deleted, as on a real one.
 */
export class FakeDisk implements HistoryFs, ScanFs {
  ops: Op[] = []
  readonly files = new Map<string, FakeFile>()
  readonly folders = new Set<string>(['/', '/ports'])
  readonly #open = new Map<number, { file: FakeFile; path: string }>()
  #nextFd = 3
  maxOpen = 0
  /** Bytes of all files together. */
  capacity = Number.POSITIVE_INFINITY
  /** Compressed files that were deleted. */
  deletedArchives = 0
  /** Of all files. */
  mtime = 1_700_000_000_000
  #generation = 0

  get openFiles(): number {
    return this.#open.size
  }

  /** Everything of the process is gone; the files are as they are, writes under way in part. */
  crash(part: (bytes: number) => number): void {
    for (const op of this.ops) op.crash(part(op.bytes))
    this.ops = []
    this.#open.clear()
    this.#generation++
  }

  /** Ends everything under way, and what follows from it, without a fault. */
  settle(): void {
    for (let op = this.ops[0]; op !== undefined; op = this.ops[0]) op.end()
  }

  content(path: string): Uint8Array | null {
    const file = this.files.get(path)
    return file === undefined ? null : file.bytes.subarray(0, file.size)
  }

  #used(): number {
    let used = 0
    for (const file of this.files.values()) used += file.size
    return used
  }

  #start(
    kind: OpKind,
    path: string,
    bytes: number,
    run: (part: number) => void,
    fail: (error: DiskError) => void,
    crash: (part: number) => void = () => {},
  ): void {
    const generation = this.#generation
    const op: Op = {
      kind,
      path,
      bytes,
      crash,
      end: (code, part = bytes) => {
        this.ops.splice(this.ops.indexOf(op), 1)
        if (generation !== this.#generation) return
        if (code === undefined) run(part)
        else fail(diskError(code, path))
      },
    }
    this.ops.push(op)
  }

  open(path: string, flags: number, _mode: number, done: (error: DiskError | null, fd: number) => void): void {
    const fail = (error: DiskError) => done(error, -1)
    this.#start(
      'open',
      path,
      0,
      () => {
        let file = this.files.get(path)
        if (!this.folders.has(dirname(path))) {
          fail(diskError('ENOENT', path))
          return
        }
        if (flags === OPEN_NEW) {
          if (file !== undefined) {
            fail(diskError('EEXIST', path))
            return
          }
          file = { bytes: new Uint8Array(64), size: 0 }
          this.files.set(path, file)
        }
        if (file === undefined) {
          fail(diskError('ENOENT', path))
          return
        }
        const fd = this.#nextFd++
        this.#open.set(fd, { file, path })
        this.maxOpen = Math.max(this.maxOpen, this.#open.size)
        done(null, fd)
      },
      fail,
    )
  }

  close(fd: number, done: (error?: DiskError | null) => void): void {
    const { path } = this.#file(fd)
    this.#start(
      'close',
      path,
      0,
      () => {
        this.#file(fd)
        this.#open.delete(fd)
        done(null)
      },
      (error) => {
        this.#open.delete(fd)
        done(error)
      },
    )
  }

  /** Any use of a descriptor that is not open is a fault of the code under test. */
  #file(fd: number): { file: FakeFile; path: string } {
    const open = this.#open.get(fd)
    if (open === undefined) throw new Error(`descriptor ${fd} is not open`)
    return open
  }

  write(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: DiskError | null, written: number) => void,
  ): void {
    this.#write(fd, [bytes.subarray(offset, offset + length)], position, done)
  }

  writev(
    fd: number,
    views: readonly Uint8Array[],
    position: number,
    done: (error: DiskError | null, written: number) => void,
  ): void {
    this.#write(fd, [...views], position, done)
  }

  #write(
    fd: number,
    views: readonly Uint8Array[],
    position: number,
    done: (error: DiskError | null, written: number) => void,
  ): void {
    const total = views.reduce((sum, view) => sum + view.length, 0)
    const { file, path } = this.#file(fd)
    // What the kernel would see while the call lasts: a caller that changes it meanwhile is at fault.
    const before = views.map((view) => view.slice())
    const put = (part: number) => {
      this.#file(fd)
      if (views.some((view, i) => view.some((byte, at) => byte !== before[i]?.[at]))) {
        throw new Error('bytes changed while they were being written')
      }
      const endless = this.capacity === Number.POSITIVE_INFINITY
      const room = endless ? total : Math.max(0, this.capacity - this.#used() + Math.max(0, file.size - position))
      const length = Math.min(part, total, room)
      if (position > file.size) throw new Error(`a write at ${position} leaves a hole behind ${file.size} in ${path}`)
      if (position + length > file.bytes.length) {
        const larger = new Uint8Array(Math.max(position + length, file.bytes.length * 2))
        larger.set(file.bytes.subarray(0, file.size))
        file.bytes = larger
      }
      let at = position
      for (const view of views) {
        const piece = view.subarray(0, Math.max(0, position + length - at))
        file.bytes.set(piece, at)
        at += piece.length
      }
      file.size = Math.max(file.size, position + length)
      return length
    }
    this.#start(
      'write',
      path,
      total,
      (part) => {
        const length = put(part)
        if (length === 0 && total > 0) done(diskError('ENOSPC', path), 0)
        else done(null, length)
      },
      (error) => done(error, 0),
      (part) => put(part),
    )
  }

  read(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: DiskError | null, read: number) => void,
  ): void {
    const { file, path } = this.#file(fd)
    this.#start(
      'read',
      path,
      length,
      (part) => {
        this.#file(fd)
        const found = file.bytes.subarray(position, Math.min(file.size, position + Math.min(length, part)))
        bytes.set(found, offset)
        done(null, found.length)
      },
      (error) => done(error, 0),
    )
  }

  fstat(fd: number, done: (error: DiskError | null, stats: FileStats) => void): void {
    const { file, path } = this.#file(fd)
    const stats = () => ({
      size: file.size,
      nlink: [...this.files.values()].includes(file) ? 1 : 0,
      isFile: () => true,
    })
    this.#start(
      'fstat',
      path,
      0,
      () => done(null, stats()),
      (error) => done(error, stats()),
    )
  }

  mkdir(
    path: string,
    _options: { mode: number; recursive: true },
    done: (error: DiskError | null, made?: string) => void,
  ): void {
    this.#start(
      'mkdir',
      path,
      0,
      () => {
        if (this.files.has(path)) {
          done(diskError('EEXIST', path))
          return
        }
        const made = !this.folders.has(path)
        for (let folder = path; folder !== '/'; folder = dirname(folder)) this.folders.add(folder)
        if (made) done(null, path)
        else done(null)
      },
      done,
    )
  }

  rename(from: string, to: string, done: (error: DiskError | null) => void): void {
    this.#start('rename', from, 0, () => done(this.#rename(from, to)), done)
  }

  #rename(from: string, to: string): DiskError | null {
    const file = this.files.get(from)
    if (file !== undefined) {
      this.files.delete(from)
      this.files.set(to, file)
      return null
    }
    if (!this.folders.has(from)) return diskError('ENOENT', from)
    if (this.#under(to).length > 0) return diskError('ENOTEMPTY', to)
    this.folders.delete(from)
    this.folders.add(to)
    for (const [path, moved] of this.#under(from)) {
      this.files.delete(path)
      this.files.set(to + path.slice(from.length), moved)
    }
    return null
  }

  #under(folder: string): [string, FakeFile][] {
    return [...this.files].filter(([path]) => path.startsWith(`${folder}/`))
  }

  writeFile(
    path: string,
    text: string,
    _options: { mode: number; flag: string },
    done: (error: DiskError | null) => void,
  ): void {
    this.#start(
      'writeFile',
      path,
      text.length,
      (part) => {
        if (this.files.has(path)) {
          done(diskError('EEXIST', path))
          return
        }
        if (!this.folders.has(dirname(path))) {
          done(diskError('ENOENT', path))
          return
        }
        const bytes = new TextEncoder().encode(text).subarray(0, part)
        this.files.set(path, { bytes, size: bytes.length })
        done(null)
      },
      done,
      (part) => {
        if (this.folders.has(dirname(path))) {
          this.files.set(path, { bytes: new TextEncoder().encode(text), size: part })
        }
      },
    )
  }

  rm(path: string, _options: { recursive: true; force: true }, done: (error: DiskError | null) => void): void {
    this.#start(
      'rm',
      path,
      0,
      () => {
        this.vanish(path)
        if (this.files.delete(path) && path.endsWith('.gz')) this.deletedArchives++
        done(null)
      },
      done,
    )
  }

  ftruncate(fd: number, length: number, done: (error: DiskError | null) => void): void {
    const { file, path } = this.#file(fd)
    const run = () => {
      file.size = Math.min(file.size, length)
      done(null)
    }
    this.#start('ftruncate', path, 0, run, done)
  }

  fsync(fd: number, done: (error: DiskError | null) => void): void {
    this.#start('fsync', this.#file(fd).path, 0, () => done(null), done)
  }

  futimes(fd: number, _accessed: number, _modified: number, done: (error: DiskError | null) => void): void {
    this.#start('futimes', this.#file(fd).path, 0, () => done(null), done)
  }

  compress(bytes: Uint8Array, done: (error: DiskError | null, compressed: Uint8Array) => void): void {
    const run = () => done(null, gzipSync(bytes, { level: 1 }))
    this.#start('compress', '', 0, run, (error) => done(error, new Uint8Array(0)))
  }

  expand(bytes: Uint8Array, maxBytes: number, done: (error: DiskError | null, plain: Uint8Array) => void): void {
    const fail = (error: DiskError) => done(error, new Uint8Array(0))
    const run = () => {
      let plain: Uint8Array
      try {
        plain = gunzipSync(bytes, { maxOutputLength: maxBytes })
      } catch (error) {
        fail(error as DiskError)
        return
      }
      done(null, plain)
    }
    this.#start('expand', '', 0, run, fail)
  }

  /** Deletes a folder at once. */
  vanish(folder: string): void {
    this.folders.delete(folder)
    for (const [path] of this.#under(folder)) this.files.delete(path)
  }

  // ScanFs, as far as it is used

  readdirSync: ScanFs['readdirSync'] = ((folder: string) => {
    if (!this.folders.has(folder)) throw diskError('ENOTDIR', folder)
    const names = new Set<string>()
    for (const path of [...this.folders, ...this.files.keys()]) {
      if (path !== '/' && dirname(path) === folder) names.add(path.slice(folder.length + 1))
    }
    return [...names]
  }) as never

  lstatSync: ScanFs['lstatSync'] = ((path: string) => {
    const file = this.files.get(path)
    if (file === undefined) throw diskError('ENOENT', path)
    return { isFile: () => true, size: file.size, mtimeMs: this.mtime } as Stats & BigIntStats
  }) as never

  openSync: ScanFs['openSync'] = (path) => {
    const file = this.files.get(String(path))
    if (file === undefined) throw diskError('ENOENT', String(path))
    const fd = this.#nextFd++
    this.#open.set(fd, { file, path: String(path) })
    return fd
  }

  readSync: ScanFs['readSync'] = ((fd: number, bytes: Uint8Array, _at: number, length: number, from: number) => {
    const { file } = this.#file(fd)
    const found = file.bytes.subarray(from, Math.min(file.size, from + length))
    bytes.set(found)
    return found.length
  }) as never

  closeSync(fd: number): void {
    this.#open.delete(fd)
  }
}
