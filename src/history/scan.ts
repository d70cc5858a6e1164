/** Finds what earlier runs left in the data directory. At start only, so it may block; it does so in small portions. */
import * as nodeFs from 'node:fs'
import { join } from 'node:path'
import { MAX_TRAILER_BYTES, parseTrailer } from './archive.ts'
import { decodeDirName, encodeDirName, isHashedDirName } from './dir-name.ts'
import { describeDiskError } from './disk.ts'
import type { PortMeta, StoredPort } from './history.ts'
import {
  archiveName,
  type FileName,
  fingerprint,
  indexName,
  metaOfId,
  PORT_FILE,
  parseFileName,
  parsePortFile,
  segmentName,
} from './port-file.ts'
import type { ClosedFile, FoundFiles } from './segments.ts'

/** A port's folder as it was found. */
export interface ScannedPort extends FoundFiles {
  readonly dirName: string
  /** Null when neither the folder's name nor its port file says. */
  readonly id: string | null
  readonly meta: PortMeta | null
  /** Of the port file; null when there is none that can be read. */
  readonly metaFingerprint: number | null
}

export interface ScanResult {
  readonly ports: Map<string, ScannedPort>
  /** Folders that hold what could not be read. */
  readonly unreadable: ReadonlySet<string>
  /** What is left as it is, and why: not made by us, or nothing that can be read. */
  readonly ignored: readonly string[]
  /** Folders of removed ports that are still to be deleted. */
  readonly removed: readonly string[]
}

/** What a scan needs of node:fs. */
export type ScanFs = Pick<typeof nodeFs, 'readdirSync' | 'lstatSync' | 'openSync' | 'readSync' | 'closeSync'>

/** A removed port's folder is renamed to this and a number before it is deleted. */
export const REMOVED_PREFIX = '.removed-'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = nodeFs.constants
/** Between them the event loop gets its turn. */
const PORTS_PER_TURN = 200
/** Of a port file; ours have a few hundred bytes. */
const MAX_FILE_BYTES = 16_384

/** Looks through `portsDir`. @throws when `portsDir` cannot be read. */
export async function scanPorts(portsDir: string, fs: ScanFs = nodeFs): Promise<ScanResult> {
  const ports = new Map<string, ScannedPort>()
  const unreadable = new Set<string>()
  const removed: string[] = []
  const ignored: string[] = []
  const scratch = new Uint8Array(MAX_FILE_BYTES)
  let turn = 0
  for (const name of fs.readdirSync(portsDir)) {
    if (name.startsWith(REMOVED_PREFIX)) removed.push(name)
    else if (decodeDirName(name) !== null || isHashedDirName(name)) {
      const port = scanPort(portsDir, name, fs, scratch, ignored, unreadable)
      if (port !== null) ports.set(name, port)
    } else if (!name.startsWith('.')) ignored.push(`${name} (not made by us)`)
    if (++turn % PORTS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return { ports, unreadable, removed, ignored }
}

/** The port as others see it; null when nobody knows which port it is. */
export function storedPort(port: ScannedPort): StoredPort | null {
  const { id, meta, closed, last, next, lastWriteAt } = port
  const start = closed[0]?.start ?? last
  return id === null ? null : { id, meta: meta ?? metaOfId(id), start, next, lastWriteAt }
}

/** Null when the folder is none of ours, cannot be read, or holds nothing. */
function scanPort(
  portsDir: string,
  dirName: string,
  fs: ScanFs,
  scratch: Uint8Array,
  ignored: string[],
  unreadable: Set<string>,
): ScannedPort | null {
  const dir = join(portsDir, dirName)
  let files: FoundFiles | null
  try {
    files = findFiles(dir, fs, (name) => ignored.push(`${dirName}/${name} (not a file)`))
  } catch (error) {
    // What is in it is not overwritten, nor gone on with: it will be there for the next start.
    unreadable.add(dirName)
    ignored.push(`${dirName} (${describeDiskError('read', dir, error)})`)
    return null
  }
  if (files === null) return null
  const text = readText(join(dir, PORT_FILE), fs, scratch)
  const file = text === null ? null : parsePortFile(text)
  // The folder's name decides: a crash may have come between the renaming of a port and its file.
  const trusted = file !== null && encodeDirName(file.id) === dirName ? file : null
  if (trusted === null) ignored.push(`${dirName}/${PORT_FILE} (none that fits: written anew)`)
  return {
    dirName,
    id: trusted?.id ?? decodeDirName(dirName),
    meta: trusted?.meta ?? null,
    metaFingerprint: trusted === null || text === null ? null : fingerprint(text),
    ...files,
  }
}

/**
 * The segments of a port's folder; null when there is none.
 * @throws when it cannot be told where the last one ends.
 */
function findFiles(dir: string, fs: ScanFs, ignore: (name: string) => void): FoundFiles | null {
  const kinds = new Map<number, FileName['kind'][]>()
  const names = new Set(fs.readdirSync(dir))
  for (const name of names) {
    const file = parseFileName(name)
    if (file !== null) kinds.set(file.start, [...(kinds.get(file.start) ?? []), file.kind])
  }
  const found: ClosedFile[] = []
  for (const start of [...kinds.keys()].sort((a, b) => a - b)) {
    const there = kinds.get(start) as FileName['kind'][]
    // With both, a crash came before the plain one was deleted, or somebody else has made the other one.
    const packed = !there.includes('plain')
    if (packed && !there.includes('archive')) continue
    const name = packed ? archiveName(start) : segmentName(start)
    const stat = fs.lstatSync(join(dir, name))
    if (!stat.isFile()) ignore(name)
    else {
      const leftovers = there.length > 1
      const { size: diskBytes, mtimeMs: lastWriteAt } = stat
      const index = indexName(start)
      const indexBytes = names.has(index) ? fs.lstatSync(join(dir, index)).size : 0
      found.push({ start, diskBytes, indexBytes, lastWriteAt, packed, stuck: false, leftovers })
    }
  }
  const last = found.at(-1)
  if (last === undefined) return null
  const { start, diskBytes, indexBytes: lastIndexBytes, lastWriteAt } = last
  if (last.packed) {
    return { closed: found, last: -1, lastIndexBytes: 0, next: start + plainBytes(dir, last, fs), lastWriteAt }
  }
  found.pop()
  const closed = found.length === 0 ? NONE : found
  return { closed, last: start, lastIndexBytes, next: start + diskBytes, lastWriteAt }
}

/** Of a compressed file, before it was compressed. */
function plainBytes(dir: string, { start, diskBytes }: ClosedFile, fs: ScanFs): number {
  const path = join(dir, archiveName(start))
  const fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const length = Math.min(diskBytes, MAX_TRAILER_BYTES)
    const tail = new Uint8Array(length)
    const read = fs.readSync(fd, tail, 0, length, diskBytes - length)
    const archive = read === length ? parseTrailer(tail, diskBytes) : null
    if (archive === null) throw new Error(`${path} is damaged, or was not compressed by vspc: try gunzip`)
    return archive.plainBytes
  } finally {
    fs.closeSync(fd)
  }
}

const NONE: readonly ClosedFile[] = []

/** Null when there is no such file, or none that we could have written. */
function readText(path: string, fs: ScanFs, scratch: Uint8Array): string | null {
  let fd: number
  try {
    // A pipe or a link put there must neither hold us up nor lead elsewhere.
    fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch {
    // The bytes are worth having without it.
    return null
  }
  try {
    const length = fs.readSync(fd, scratch, 0, scratch.length, 0)
    return length === scratch.length ? null : new TextDecoder().decode(scratch.subarray(0, length))
  } catch {
    // As above: a folder, a disk error.
    return null
  } finally {
    fs.closeSync(fd)
  }
}
