/** `port.json`: what is kept of a port beside its bytes. And the names of the files beside it. Pure but for a hash. */
import { createHash } from 'node:crypto'
import type { PortMeta } from './history.ts'

export const PORT_FILE = 'port.json'
/** Written first, then renamed: there is never half a port file. */
export const PORT_FILE_DRAFT = 'port.json.new'

const SEGMENT = /^(\d{20})\.log$/
/** Texts of ours are far shorter: what is longer was not written by us. */
const MAX_TEXT = 4096

/** Bytes from `start` on are in this file, without a hole; so the first offset after it follows from its size. */
export function segmentName(start: number): string {
  return `${String(start).padStart(20, '0')}.log`
}

/** Null for files that are no segments. */
export function parseSegmentName(name: string): number | null {
  const [, digits] = SEGMENT.exec(name) ?? []
  const start = Number(digits)
  // Half of what a number can count: room for what is still to come.
  return digits !== undefined && start <= Number.MAX_SAFE_INTEGER / 2 ? start : null
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

/** Stands for a text of which only needs to be known whether it changed. */
export function fingerprint(text: string): number {
  return createHash('sha256').update(text).digest().readUIntBE(0, 6)
}
