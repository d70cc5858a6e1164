/** From a VM's keys to what is new. The API gives all of them at every change, and a guest is not told at all. [doc] */
import { GUESTINFO_LIMITS, type GuestinfoLimits } from './limits.ts'
import { formatRecord, type GuestRecord, parseRecord } from './records.ts'
import { utf8Length } from './values.ts'
import { parseVicRecords } from './vic.ts'

/** A VM's keys and values as they are on the wire, at one moment. */
export type GuestSnapshot = ReadonlyMap<string, string>

/** Null = the key is not there. */
export interface GuestChange {
  readonly key: string
  readonly before: string | null
  readonly after: string | null
}

/**
 * Takes what is in bounds of what a VM has. Its owner, or whoever runs in it, may fill it with anything.
 * @param wanted which keys; by default those that a guest sees.
 * @returns also the number of keys that were wanted and left out.
 */
export function takeSnapshot(
  entries: Iterable<readonly [key: string, value: string]>,
  wanted: (key: string) => boolean = (key) => key.startsWith('guestinfo.'),
  limits: Pick<GuestinfoLimits, 'maxSnapshotKeys' | 'maxSnapshotBytes'> = GUESTINFO_LIMITS,
): { snapshot: GuestSnapshot; dropped: number } {
  const snapshot = new Map<string, string>()
  let bytes = 0
  let dropped = 0
  for (const [key, value] of entries) {
    if (!wanted(key)) continue
    const size = utf8Length(key) + utf8Length(value)
    const replaced = snapshot.get(key)
    const growth = replaced === undefined ? size : utf8Length(value) - utf8Length(replaced)
    const isNew = replaced === undefined
    if ((isNew && snapshot.size >= limits.maxSnapshotKeys) || bytes + growth > limits.maxSnapshotBytes) {
      dropped++
      continue
    }
    bytes += growth
    snapshot.set(key, value)
  }
  return { snapshot, dropped }
}

/** What changed, in the order of the keys. */
export function diffSnapshots(before: GuestSnapshot, after: GuestSnapshot): GuestChange[] {
  const changes: GuestChange[] = []
  for (const [key, value] of after) {
    const old = before.get(key) ?? null
    if (old !== value) changes.push({ key, before: old, after: value })
  }
  for (const [key, value] of before) {
    if (!after.has(key)) changes.push({ key, before: value, after: null })
  }
  return changes.sort((a, b) => (a.key < b.key ? -1 : 1))
}

/** `before` with `changes` made. */
export function applyChanges(before: GuestSnapshot, changes: readonly GuestChange[]): GuestSnapshot {
  const after = new Map(before)
  for (const { key, after: value } of changes) {
    if (value === null) after.delete(key)
    else after.set(key, value)
  }
  return after
}

/** All that a VM says about itself, by `kind/name`; where two schemes say the same, ours counts. */
export interface GuestReport {
  readonly records: ReadonlyMap<string, GuestRecord>
  /** Keys of our scheme whose values are no records. */
  readonly strange: readonly string[]
}

/** @param maxRecords of each kind and scheme; more are left out. */
export function reportOf(snapshot: GuestSnapshot, maxRecords: number = GUESTINFO_LIMITS.maxRecords): GuestReport {
  const records = new Map<string, GuestRecord>()
  const strange: string[] = []
  for (const record of parseVicRecords(snapshot, maxRecords)) records.set(recordId(record), record)
  const counts = { address: 0, error: 0, process: 0 }
  for (const [key, value] of snapshot) {
    const record = parseRecord(key, value)
    if (record === null) continue
    if (record === 'strange') {
      if (strange.length < maxRecords) strange.push(key)
    } else if (counts[record.kind]++ < maxRecords) {
      records.set(recordId(record), record)
    }
  }
  return { records, strange }
}

export function recordId({ kind, name }: Pick<GuestRecord, 'kind' | 'name'>): string {
  return `${kind}/${name}`
}

/** What is worth an event. An exit is told once per run: two runs differ in when they began, ended or how. */
export type GuestNews =
  | { readonly type: 'address'; readonly record: Extract<GuestRecord, { kind: 'address' }> }
  | { readonly type: 'address-gone'; readonly name: string }
  | { readonly type: 'error'; readonly record: Extract<GuestRecord, { kind: 'error' }> }
  | { readonly type: 'error-cleared'; readonly name: string }
  | { readonly type: 'process'; readonly record: Extract<GuestRecord, { kind: 'process' }> }

/**
 * What `after` says that `before` did not. That a process's record is gone is no news: its keys vanish with the VM's
 * power, what was seen stays true.
 */
export function guestNews(before: GuestReport, after: GuestReport): GuestNews[] {
  const news: GuestNews[] = []
  for (const [id, record] of after.records) {
    const old = before.records.get(id)
    if (old !== undefined && sameRecord(old, record)) continue
    if (record.kind === 'address') news.push({ type: 'address', record })
    else if (record.kind === 'error') news.push({ type: 'error', record })
    else news.push({ type: 'process', record })
  }
  for (const [id, { kind, name }] of before.records) {
    if (after.records.has(id)) continue
    if (kind === 'address') news.push({ type: 'address-gone', name })
    else if (kind === 'error') news.push({ type: 'error-cleared', name })
  }
  return news
}

/** A record has one way to be written, whichever scheme it came from. */
function sameRecord(a: GuestRecord, b: GuestRecord): boolean {
  return formatRecord(a)[1] === formatRecord(b)[1]
}
