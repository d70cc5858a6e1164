/**
 * What has been seen of each VM, so that each thing is told once: pure.
 *
 * A {@link ResultLine} is one thing worth telling, and one line of the file of results. {@link observe} compares what a VM
 * says now with what was seen before and returns the lines that are new; {@link applyLine} adds one. Loading the file
 * applies the same lines in the same order, so what is known after a restart is what was known before it.
 *
 * A run of a process is known by its times: an exit with the same times is the same exit, however often it comes back
 * (with the VM's power, a restarted server, a reverted snapshot), and with another status it corrects the one before. A VM
 * that tells no times is believed to have ended again only when the value is another one than last time.
 */
import type { GuestReport } from './diff.ts'
import type { GuestinfoLimits } from './limits.ts'
import { formatRecord, type GuestRecord, type ProcessRecord, parseRecord, recordKey } from './records.ts'

export const RESULT_TYPES = ['address', 'address-gone', 'error', 'error-cleared', 'start', 'exit'] as const
export type ResultType = (typeof RESULT_TYPES)[number]

export interface ResultLine {
  /** Counts all lines of a store, from 1; never used twice. */
  readonly seq: number
  /** Wall clock, milliseconds: when it was seen. */
  readonly at: number
  /** Instance UUID, canonical. */
  readonly vm: string
  /** The VM's name then. */
  readonly vmName: string
  readonly type: ResultType
  /** Of the network, component or process. */
  readonly name: string
  /** The record as in its key; empty for what is gone. */
  readonly value: string
  /** An exit whose run was told before, with another status. */
  readonly corrected: boolean
}

export interface KeptRecord {
  readonly seq: number
  readonly at: number
  readonly value: string
  readonly corrected: boolean
}

export interface KeptProcess {
  /** What was told last. */
  readonly last: KeptRecord
  /** Oldest first; `last` is among them when it is an exit. */
  readonly exits: readonly KeptRecord[]
}

/** Never changed: a new one replaces it. */
export interface VmRecords {
  readonly vm: string
  readonly vmName: string
  readonly addresses: ReadonlyMap<string, KeptRecord>
  readonly errors: ReadonlyMap<string, KeptRecord>
  readonly processes: ReadonlyMap<string, KeptProcess>
  /** About what it takes in memory, and on disk. */
  readonly bytes: number
}

export type LedgerLimits = Pick<
  GuestinfoLimits,
  'maxKeptAddresses' | 'maxKeptErrors' | 'maxKeptProcesses' | 'maxKeptExits'
>

/** Who is observed, and what is known besides its keys. */
export interface Observed {
  readonly vm: string
  readonly vmName: string
  /** Null = not known. */
  readonly poweredOn: boolean | null
}

const RECORD_OVERHEAD = 120

export function noRecords(vm: string, vmName: string): VmRecords {
  return { vm, vmName, addresses: new Map(), errors: new Map(), processes: new Map(), bytes: 0 }
}

/**
 * What is new. `seq` is 0: whoever applies a line numbers it. Addresses and errors beyond the limits are left out.
 * @param report of at most half of `maxKeptProcesses` records of each kind and scheme.
 */
export function observe(
  known: VmRecords,
  { vm, vmName, poweredOn }: Observed,
  report: GuestReport,
  at: number,
  limits: LedgerLimits,
): ResultLine[] {
  const lines: ResultLine[] = []
  const add = (type: ResultType, name: string, value: string, corrected = false): void => {
    lines.push({ seq: 0, at, vm, vmName, type, name, value, corrected })
  }
  let addresses = known.addresses.size
  let errors = known.errors.size
  for (const name of known.addresses.keys()) {
    if (report.records.has(`address/${name}`)) continue
    add('address-gone', name, '')
    addresses--
  }
  // What a VM said last before it was switched off is the most telling: it is not taken back by the keys' vanishing.
  for (const name of poweredOn === false ? [] : known.errors.keys()) {
    if (report.records.has(`error/${name}`)) continue
    add('error-cleared', name, '')
    errors--
  }
  for (const record of report.records.values()) {
    const { kind, name } = record
    const value = formatRecord(record)[1]
    if (kind === 'process') {
      const news = processNews(known.processes.get(name), record, value)
      if (news !== null) add(news.type, name, value, news.corrected)
      continue
    }
    const before = (kind === 'address' ? known.addresses : known.errors).get(name)
    if (before?.value === value) continue
    const isNew = before === undefined
    if (
      kind === 'address' ? isNew && addresses++ >= limits.maxKeptAddresses : isNew && errors++ >= limits.maxKeptErrors
    ) {
      continue
    }
    add(kind, name, value)
  }
  return lines
}

/** `known` with one line more. */
export function applyLine(known: VmRecords, line: ResultLine, limits: LedgerLimits): VmRecords {
  const { type, name, seq, at, value, corrected } = line
  const record: KeptRecord = { seq, at, value, corrected }
  let { addresses, errors, processes } = known
  switch (type) {
    case 'address':
      addresses = put(addresses, name, record)
      break
    case 'address-gone':
      addresses = without(addresses, name)
      break
    case 'error':
      errors = put(errors, name, record)
      break
    case 'error-cleared':
      errors = without(errors, name)
      break
    case 'start':
    case 'exit':
      processes = putProcess(processes, name, withNews(processes.get(name), type, record, limits), limits)
      break
  }
  const changed = { ...known, vmName: line.vmName, addresses, errors, processes }
  return { ...changed, bytes: bytesOf(changed) }
}

/** The lines that lead to these records again, in the order of their numbers. */
export function linesOf(records: VmRecords): ResultLine[] {
  const lines: ResultLine[] = []
  const { vm, vmName, addresses, errors, processes } = records
  const add = (type: ResultType, name: string, record: KeptRecord): void => {
    lines.push({ ...record, vm, vmName, type, name })
  }
  for (const [name, record] of addresses) add('address', name, record)
  for (const [name, record] of errors) add('error', name, record)
  for (const [name, { last, exits }] of processes) {
    for (const exit of exits) add('exit', name, exit)
    if (!exits.includes(last)) add('start', name, last)
  }
  return lines.sort((a, b) => a.seq - b.seq)
}

/** Half of what is kept of processes, the latest ones, and nothing of them where there is only one; see store limits. */
export function halve(records: VmRecords): VmRecords | null {
  const kept = [...records.processes].sort(([, a], [, b]) => b.last.seq - a.last.seq)
  const half = kept.slice(0, Math.floor(kept.length / 2))
  if (half.length === 0) return null
  const processes = new Map(
    half.map(([name, { last, exits }]) => [name, { last, exits: exits.filter((e) => e === last) }]),
  )
  const changed = { ...records, processes }
  return { ...changed, bytes: bytesOf(changed) }
}

/** The record of a line or of what is kept; null when it is none (any more): a file may have been edited. */
export function recordOf(kind: GuestRecord['kind'], name: string, value: string): GuestRecord | null {
  const record = parseRecord(recordKey({ kind, name }), value)
  return record === 'strange' ? null : record
}

function processNews(
  known: KeptProcess | undefined,
  record: ProcessRecord,
  value: string,
): { type: 'start' | 'exit'; corrected: boolean } | null {
  if (known?.last.value === value) return null
  if (record.state === 'running') return { type: 'start', corrected: false }
  if (!hasTimes(record)) return { type: 'exit', corrected: false }
  if (known?.exits.some((exit) => exit.value === value)) return null
  return { type: 'exit', corrected: known?.exits.some((exit) => isSameRun(exit, record)) === true }
}

/** The exit that one corrects gives way to it. */
function withNews(
  known: KeptProcess | undefined,
  type: 'start' | 'exit',
  record: KeptRecord,
  limits: LedgerLimits,
): KeptProcess {
  const before = known?.exits ?? []
  if (type === 'start') return { last: record, exits: before }
  const others = record.corrected ? before.filter((exit) => !isSameRunAs(exit, record)) : before
  return { last: record, exits: [...others, record].slice(-limits.maxKeptExits) }
}

function isSameRunAs(exit: KeptRecord, other: KeptRecord): boolean {
  const record = recordOf('process', 'x', other.value)
  return record?.kind === 'process' && isSameRun(exit, record)
}

function isSameRun(exit: KeptRecord, record: ProcessRecord): boolean {
  const known = recordOf('process', 'x', exit.value)
  return (
    known?.kind === 'process' &&
    hasTimes(known) &&
    known.startedSeconds === record.startedSeconds &&
    known.stoppedSeconds === record.stoppedSeconds
  )
}

function hasTimes({ startedSeconds, stoppedSeconds }: ProcessRecord): boolean {
  return startedSeconds !== null || stoppedSeconds !== null
}

function put<T>(map: ReadonlyMap<string, T>, name: string, value: T): ReadonlyMap<string, T> {
  return new Map(map).set(name, value)
}

function without<T>(map: ReadonlyMap<string, T>, name: string): ReadonlyMap<string, T> {
  const left = new Map(map)
  left.delete(name)
  return left
}

/** The one that was heard of longest ago gives way. */
function putProcess(
  map: ReadonlyMap<string, KeptProcess>,
  name: string,
  process: KeptProcess,
  limits: LedgerLimits,
): ReadonlyMap<string, KeptProcess> {
  const left = new Map(map)
  // At the end: the order is that of the last news.
  left.delete(name)
  left.set(name, process)
  for (const oldest of left.keys()) {
    if (left.size <= limits.maxKeptProcesses) break
    left.delete(oldest)
  }
  return left
}

function bytesOf({ vmName, addresses, errors, processes }: Omit<VmRecords, 'bytes'>): number {
  let bytes = RECORD_OVERHEAD + vmName.length
  const add = (name: string, { value }: KeptRecord): void => {
    bytes += RECORD_OVERHEAD + 2 * vmName.length + name.length + value.length
  }
  for (const [name, record] of addresses) add(name, record)
  for (const [name, record] of errors) add(name, record)
  for (const [name, { last, exits }] of processes) {
    add(name, last)
    for (const exit of exits) add(name, exit)
  }
  return bytes
}
