/** What the appliance knows of VMs by their guestinfo, as its API and events show it. Pure. */
import { type KeptProcess, type KeptRecord, type ResultLine, recordOf, type VmRecords } from './ledger.ts'
import type { AddressRecord, ErrorRecord, ProcessRecord } from './records.ts'

export interface Seen {
  /** Wall clock, milliseconds: when it was seen to be so. */
  readonly seenAt: number
}

export interface GuestExit extends ProcessRecord, Seen {
  readonly state: 'exited' | 'failed'
  /** A correction of what the VM had said of the same run. */
  readonly corrected: boolean
}

export interface GuestProcess extends ProcessRecord, Seen {}

export interface VmGuestinfo {
  /** Instance UUID, canonical. */
  readonly uuid: string
  readonly biosUuid: string | null
  readonly name: string
  /** Null while it is not in the inventory, or the inventory has not been read. */
  readonly poweredOn: boolean | null
  /** False: not in the inventory any more, or not read yet; what is known of it is from before. */
  readonly present: boolean
  readonly addresses: readonly (AddressRecord & Seen)[]
  /** Stays after the VM was switched off, until it is on again. */
  readonly errors: readonly (ErrorRecord & Seen)[]
  /** Each process once, as it was last. */
  readonly processes: readonly GuestProcess[]
  /** The latest ends of all processes, newest first. */
  readonly exits: readonly GuestExit[]
  /** The newest of all times. */
  readonly seenAt: number
}

interface NewsOf extends Seen {
  /** Counts the news of one store; the same number means the same news. */
  readonly seq: number
  readonly vm: { readonly uuid: string; readonly name: string }
  /** It may have been told before the last restart of this process. */
  readonly again: boolean
}

export type CollectorNews = NewsOf &
  (
    | { readonly type: 'guest-address'; readonly record: AddressRecord }
    | { readonly type: 'guest-address-gone'; readonly name: string }
    | { readonly type: 'guest-error'; readonly record: ErrorRecord }
    | { readonly type: 'guest-error-cleared'; readonly name: string }
    | { readonly type: 'guest-start'; readonly record: ProcessRecord }
    | { readonly type: 'guest-exit'; readonly record: GuestExit }
  )

export type CollectorNewsType = CollectorNews['type']

/** A VM as the inventory has it just now. */
export interface PresentVm {
  readonly uuid: string
  readonly biosUuid: string | null
  readonly name: string
  readonly poweredOn: boolean | null
}

/** @param present null when the inventory does not have it, or has not been read. */
export function guestinfoOf(records: VmRecords, present: PresentVm | null): VmGuestinfo {
  const { vm, vmName, addresses, errors, processes } = records
  const newest = Math.max(0, ...[...times(records)])
  return {
    uuid: vm,
    biosUuid: present?.biosUuid ?? null,
    name: present?.name ?? vmName,
    poweredOn: present?.poweredOn ?? null,
    present: present !== null,
    addresses: [...addresses].flatMap(([name, kept]) => typed('address', name, kept)),
    errors: [...errors].flatMap(([name, kept]) => typed('error', name, kept)),
    processes: [...processes].flatMap(([name, { last }]) => typed('process', name, last)),
    exits: [...processes]
      .flatMap(([name, { exits }]) => exits.map((kept) => [name, kept] as const))
      .sort(([, a], [, b]) => b.seq - a.seq)
      .flatMap(([name, kept]) => exitOf(name, kept)),
    seenAt: newest,
  }
}

/** Null for what is no record: a file that was edited. */
export function newsOf(line: ResultLine, again: boolean): CollectorNews | null {
  const { seq, at, vm, vmName, type, name } = line
  const of = { seq, seenAt: at, again, vm: { uuid: vm, name: vmName } }
  switch (type) {
    case 'address-gone':
      return { ...of, type: 'guest-address-gone', name }
    case 'error-cleared':
      return { ...of, type: 'guest-error-cleared', name }
    case 'address':
    case 'error': {
      const record = recordOf(type, name, line.value)
      if (record?.kind === 'address') return { ...of, type: 'guest-address', record }
      return record?.kind === 'error' ? { ...of, type: 'guest-error', record } : null
    }
    case 'start': {
      const record = recordOf('process', name, line.value)
      return record?.kind === 'process' ? { ...of, type: 'guest-start', record } : null
    }
    case 'exit': {
      const [record] = exitOf(name, line)
      return record === undefined ? null : { ...of, type: 'guest-exit', record }
    }
  }
}

type Of<Kind> = Extract<AddressRecord | ErrorRecord | ProcessRecord, { kind: Kind }>

function typed<Kind extends 'address' | 'error' | 'process'>(
  kind: Kind,
  name: string,
  { value, at }: KeptRecord,
): (Of<Kind> & Seen)[] {
  const record = recordOf(kind, name, value)
  return record?.kind === kind ? [{ ...(record as Of<Kind>), seenAt: at }] : []
}

function exitOf(name: string, { value, at, corrected }: Pick<KeptRecord, 'value' | 'at' | 'corrected'>): GuestExit[] {
  const record = recordOf('process', name, value)
  if (record?.kind !== 'process' || record.state === 'running') return []
  return [{ ...record, state: record.state, seenAt: at, corrected }]
}

function* times({ addresses, errors, processes }: VmRecords): Generator<number, void, undefined> {
  for (const { at } of addresses.values()) yield at
  for (const { at } of errors.values()) yield at
  for (const { last } of processes.values() as Iterable<KeptProcess>) yield last.at
}
