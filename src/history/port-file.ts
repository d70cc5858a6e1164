/** `port.json`: what is kept of a port beside its bytes. And the names of the files beside it. Pure but for a hash. */
import { createHash } from 'node:crypto'
import type { PortMeta } from './history.ts'

export const PORT_FILE = 'port.json'
/** Written first, then renamed: there is never half a port file. */
export const PORT_FILE_DRAFT = 'port.json.new'

const FILE = /^(?:(\d{20})(\.log|\.log\.gz)|\.(\d{20})\.log\.gz\.new)$/
/** Texts of ours are far shorter: what is longer was not written by us. */
const MAX_TEXT = 4096

/** Bytes from `start` on are in this file, without a hole; so the first offset after it follows from its size. */
export function segmentName(start: number): string {
  return `${String(start).padStart(20, '0')}.log`
}

/** The same, compressed: see archive.ts. */
export function archiveName(start: number): string {
  return `${segmentName(start)}.gz`
}

/** When what is in it came: see times.ts. */
export function indexName(start: number): string {
  return `${String(start).padStart(20, '0')}.idx`
}

/** While it is being made: hidden from `PORT/*`. */
export function draftName(start: number): string {
  return `.${archiveName(start)}.new`
}

/** What else there may be of a file after a crash. */
export function namesOf(start: number): readonly string[] {
  return [segmentName(start), archiveName(start), draftName(start)]
}

export interface FileName {
  readonly start: number
  readonly kind: 'plain' | 'archive' | 'draft'
}

/** Null for files that are no segments. */
export function parseFileName(name: string): FileName | null {
  const [, digits, ending, draft] = FILE.exec(name) ?? []
  const start = Number(digits ?? draft)
  // Half of what a number can count: room for what is still to come.
  if (!(start <= Number.MAX_SAFE_INTEGER / 2)) return null
  return { start, kind: ending === undefined ? 'draft' : ending === '.log' ? 'plain' : 'archive' }
}

export function formatPortFile(id: string, meta: PortMeta): string {
  const { vmKey, label, epoch, name, vcUuid, biosUuid, serviceURI, direction } = meta
  const file = { 'vspc-port': 1, id, vmKey, label, epoch, name, vcUuid, biosUuid, serviceURI, direction }
  return `${JSON.stringify(file, null, 1)}\n`
}

/** Null for anything that we did not write: half a file, another version. */
export function parsePortFile(text: string): { id: string; meta: PortMeta } | null {
  let file: Record<string, unknown>
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed !== 'object' || parsed === null) return null
    file = parsed as Record<string, unknown>
  } catch {
    // A crash of the machine can leave an empty file or half of one.
    return null
  }
  const string = (name: string) => {
    const value = file[name]
    return typeof value === 'string' && value.length <= MAX_TEXT ? value : null
  }
  const id = string('id')
  const vmKey = string('vmKey')
  if (file['vspc-port'] !== 1 || id === null || vmKey === null) return null
  const direction = string('direction')
  return {
    id,
    meta: {
      vmKey,
      label: string('label'),
      epoch: string('epoch'),
      name: string('name') ?? '',
      vcUuid: string('vcUuid'),
      biosUuid: string('biosUuid'),
      serviceURI: string('serviceURI'),
      direction: direction === 'server' || direction === 'client' ? direction : null,
    },
  }
}

/** For a port whose file is lost: what its id says. */
export function metaOfId(id: string): PortMeta {
  const [, uuid, label] = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?::(.+))?$/.exec(id) ?? []
  return {
    vmKey: uuid ?? id,
    label: label ?? null,
    epoch: null,
    name: '',
    vcUuid: null,
    biosUuid: null,
    serviceURI: null,
    direction: null,
  }
}

/** What a port's file says, and whether it has to be written. */
export class Description {
  /** It may say something else than it should. */
  dirty: boolean
  /** Of the file on disk; -1 = there is none. */
  #fingerprint: number

  constructor(found: number | null) {
    this.#fingerprint = found ?? -1
    this.dirty = found === null
  }

  /** The file on disk says something else. */
  differs(text: string): boolean {
    return fingerprint(text) !== this.#fingerprint
  }

  /** @param now what it should say by now. */
  written(text: string, now: string): void {
    this.#fingerprint = fingerprint(text)
    this.dirty = this.differs(now)
  }

  /** The file is gone. */
  clear(): void {
    this.#fingerprint = -1
    this.dirty = true
  }
}

/** Stands for a text of which only needs to be known whether it changed. */
export function fingerprint(text: string): number {
  return createHash('sha256').update(text).digest().readUIntBE(0, 6)
}
