/** What histories need of the disk, and what its errors mean to people. */
import * as nodeFs from 'node:fs'
import { gunzip, gzip } from 'node:zlib'
import { errorMessage } from '../base/index.ts'

export type DiskError = NodeJS.ErrnoException

/** The part of node:fs that works in the thread pool. Tests pass slow and broken ones. */
export interface HistoryFs {
  open(path: string, flags: number, mode: number, done: (error: DiskError | null, fd: number) => void): void
  close(fd: number, done: (error?: DiskError | null) => void): void
  write(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: DiskError | null, written: number) => void,
  ): void
  writev(
    fd: number,
    views: readonly Uint8Array[],
    position: number,
    done: (error: DiskError | null, written: number) => void,
  ): void
  read(
    fd: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
    done: (error: DiskError | null, read: number) => void,
  ): void
  /** `made` is what was made first; undefined when the folder was there. */
  mkdir(
    path: string,
    options: { mode: number; recursive: true },
    done: (error: DiskError | null, made?: string) => void,
  ): void
  rename(from: string, to: string, done: (error: DiskError | null) => void): void
  fstat(fd: number, done: (error: DiskError | null, stats: FileStats) => void): void
  writeFile(
    path: string,
    text: string,
    options: { mode: number; flag: string },
    done: (error: DiskError | null) => void,
  ): void
  rm(path: string, options: { recursive: true; force: true }, done: (error: DiskError | null) => void): void
  ftruncate(fd: number, length: number, done: (error: DiskError | null) => void): void
  fsync(fd: number, done: (error: DiskError | null) => void): void
  /** Times in seconds. */
  futimes(fd: number, accessed: number, modified: number, done: (error: DiskError | null) => void): void
  /** To one gzip member. */
  compress(bytes: Uint8Array, done: (error: DiskError | null, compressed: Uint8Array) => void): void
  /** The reverse; fails if that is more than `maxBytes`. */
  expand(bytes: Uint8Array, maxBytes: number, done: (error: DiskError | null, plain: Uint8Array) => void): void
}

/** What is looked at of an open file. */
export interface FileStats {
  readonly size: number
  /** Names it has: 0 = it was deleted. */
  readonly nlink: number
  isFile(): boolean
}

export const systemFs: HistoryFs = {
  ...nodeFs,
  compress: (bytes, done) => gzip(bytes, { chunkSize: 65_536 }, done),
  expand: (bytes, maxBytes, done) => gunzip(bytes, { maxOutputLength: maxBytes, chunkSize: 65_536 }, done),
}

/** Console output may hold passwords: for the owner alone. */
export const FILE_MODE = 0o600
export const FOLDER_MODE = 0o700

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = nodeFs.constants
/** Whatever is in the place of a file: a pipe must not hold up a thread, a link not lead elsewhere. */
const SAFELY = O_NOFOLLOW | O_NONBLOCK
export const OPEN_READ = O_RDONLY | SAFELY
export const OPEN_APPEND = O_RDWR | SAFELY
/** What is there already is never overwritten: it may be history that could not be read at start. */
export const OPEN_NEW = O_RDWR | O_CREAT | O_EXCL | SAFELY

const ADVICE: { readonly [code: string]: string } = {
  ENOSPC: 'the disk is full: make room, or move the data directory',
  EDQUOT: 'the disk quota is used up: make room, or raise it',
  EIO: 'the disk reports errors: see the kernel log, and have it replaced',
  EROFS: 'the file system is read-only: after disk errors the kernel makes it so, see its log; then remount it',
  ENOENT: 'the folder is gone: it is made anew; whoever deleted it should not while the server runs',
  ENOTDIR: 'something else is in the place of the folder: move it away',
  EISDIR: 'a folder is in the place of the file: move it away',
  ELOOP: 'a symbolic link is in the place of the file: remove it',
  EACCES: 'the server may not write there: give folder and files to the user it runs as',
  EPERM: 'the system does not allow it: check owner, mount options and security modules',
  EEXIST:
    'a file that is none of this run is in the place of the next one, and left as it is: move it away; or restart the server, if it is history that could not be read when it started',
  EMFILE: 'the process has no file descriptors left: raise its limit (LimitNOFILE=), or lower "historyOpenFiles"',
  ENFILE: 'the system has no file descriptors left: raise fs.file-max',
  ESTALE: 'the network file system has lost the folder: remount it',
}

/** `cannot write /var/lib/...: the disk is full: make room ... (ENOSPC)`. */
export function describeDiskError(what: string, path: string, error: unknown): string {
  const code = diskErrorCode(error)
  const advice = code === null ? undefined : ADVICE[code]
  return `cannot ${what} ${path}: ${advice === undefined ? errorMessage(error) : `${advice} (${code})`}`
}

export function diskErrorCode(error: unknown): string | null {
  const code = error instanceof Error ? (error as DiskError).code : undefined
  return typeof code === 'string' ? code : null
}
