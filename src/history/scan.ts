/** Finds what earlier runs left in the data directory. At start only, so it may block; it does so in small portions. */
import * as nodeFs from 'node:fs'
import { join } from 'node:path'
import { decodeDirName, encodeDirName, isHashedDirName } from './dir-name.ts'
import { describeDiskError } from './disk.ts'
import type { PortMeta, StoredPort } from './history.ts'
import { fingerprint, metaOfId, PORT_FILE, parsePortFile, parseSegmentName, segmentName } from './port-file.ts'

/** A port's folder as it was found. */
export interface ScannedPort {
  readonly dirName: string
  /** Null when neither the folder's name nor its port file says. */
  readonly id: string | null
  readonly meta: PortMeta | null
  /** Of the port file; null when there is none that can be read. */
  readonly metaFingerprint: number | null
  /** Where the segments begin, in order. */
  readonly starts: readonly number[]
  readonly next: number
  readonly lastWriteAt: number
}

export interface ScanResult {
  readonly ports: Map<string, ScannedPort>
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
  const removed: string[] = []
  const ignored: string[] = []
  const scratch = new Uint8Array(MAX_FILE_BYTES)
  let turn = 0
  for (const name of fs.readdirSync(portsDir)) {
    if (name.startsWith(REMOVED_PREFIX)) removed.push(name)
    else if (decodeDirName(name) !== null || isHashedDirName(name)) {
      const port = scanPort(portsDir, name, fs, scratch, ignored)
      if (port !== null) ports.set(name, port)
    } else if (!name.startsWith('.')) ignored.push(`${name} (not made by us)`)
    if (++turn % PORTS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return { ports, removed, ignored }
}

/** The port as others see it; null when nobody knows which port it is. */
export function storedPort(port: ScannedPort): StoredPort | null {
  const { id, meta, starts, next, lastWriteAt } = port
  return id === null ? null : { id, meta: meta ?? metaOfId(id), start: starts[0] ?? next, next, lastWriteAt }
}

/** Null when the folder is none of ours, cannot be read, or holds nothing. */
function scanPort(
  portsDir: string,
  dirName: string,
  fs: ScanFs,
  scratch: Uint8Array,
  ignored: string[],
): ScannedPort | null {
  const dir = join(portsDir, dirName)
  let starts: number[]
  let end: { next: number; lastWriteAt: number } | null
  try {
    starts = segmentStarts(fs.readdirSync(dir))
    end = lastEnd(dir, starts, fs, (name) => ignored.push(`${dirName}/${name} (not a file)`))
  } catch (error) {
    // What is in it is not overwritten: see OPEN_NEW.
    ignored.push(`${dirName} (${describeDiskError('read', dir, error)})`)
    return null
  }
  if (end === null) return null
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
    starts,
    ...end,
  }
}

function segmentStarts(names: readonly string[]): number[] {
  const starts: number[] = []
  for (const name of names) {
    const start = parseSegmentName(name)
    if (start !== null) starts.push(start)
  }
  return starts.sort((a, b) => a - b)
}

/** Where the last segment ends. Takes what is no file out of `starts`; null when no segment is left. */
function lastEnd(
  dir: string,
  starts: number[],
  fs: ScanFs,
  ignore: (name: string) => void,
): { next: number; lastWriteAt: number } | null {
  for (let start = starts.at(-1); start !== undefined; start = starts.at(-1)) {
    const stat = fs.lstatSync(join(dir, segmentName(start)))
    if (stat.isFile()) return { next: start + stat.size, lastWriteAt: stat.mtimeMs }
    ignore(segmentName(start))
    starts.pop()
  }
  return null
}

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
