/** What the concentrator tells of the guestinfo of VMs. Plain data; all text has been cleaned where it was taken. */
import type { CollectorNews, CollectorStatus, GuestExit, GuestProcess, VmGuestinfo } from '../guestinfo/index.ts'
import type { PortInfo } from '../vspc/index.ts'
import { isoTime, shown } from './appliance-view.ts'

/** Ends of processes that are shown of one VM, the newest; each process itself is shown as it was last. */
export const MAX_SHOWN_EXITS = 32

export interface GuestAddress {
  /** Of the network or interface in the VM. */
  name: string
  address: string
  prefix: number | null
  gateway: string | null
  dns: string[]
  /** ISO 8601, like all times here: when it was seen to be so. */
  seenAt: string
}

export interface GuestError {
  /** Of the component. */
  name: string
  text: string
  seenAt: string
}

export interface GuestProcessInfo {
  name: string
  state: 'running' | 'exited' | 'failed'
  exitCode: number | null
  /** By the clock of the VM. */
  startedAt: string | null
  stoppedAt: string | null
  error: string | null
  seenAt: string
}

export interface GuestExitInfo extends GuestProcessInfo {
  corrected: boolean
}

/** As shown with a port, as `guestinfo`. */
export interface PortGuestinfo {
  /** Of the newest; null where all that was known is gone. */
  seenAt: string | null
  poweredOn: boolean | null
  /** False: not in the inventory, or not read yet; what is known is from before. */
  present: boolean
  addresses: GuestAddress[]
  errors: GuestError[]
  processes: GuestProcessInfo[]
  /** Newest first; at most {@link MAX_SHOWN_EXITS}. */
  exits: GuestExitInfo[]
}

/** A port as the API shows it. `guestinfo`: absent where it is not followed, null while nothing is known of the VM. */
export type PortAnswer = PortInfo & { guestinfo?: PortGuestinfo | null }

export interface GuestVm {
  name: string
  /** Instance UUID. */
  uuid: string
}

export interface VmGuestinfoInfo extends PortGuestinfo {
  vm: GuestVm
  /** Ids of its ports that are known here. */
  ports: string[]
}

/** As shown by `GET /api/v1/guestinfo`, without `vms`. */
export interface GuestinfoState {
  state: 'off' | CollectorStatus['state']
  since: string | null
  trouble: { code: string; message: string } | null
  /** VMs in the inventory that are followed. */
  followed: number
  /** Of those: whose keys the user may not read. */
  unreadable: number
  /** Results that wait for the disk. */
  unwritten: number
}

export interface GuestinfoAnswer extends GuestinfoState {
  vms: VmGuestinfoInfo[]
}

interface EventOf {
  /** When it was seen. */
  at: string
  /** Counts; the same number means the same news. */
  seq: number
  /** It may have been told before the server was restarted. */
  again: boolean
  vm: GuestVm
  ports: string[]
}

/** `GET /api/v1/events` sends each as one server-sent event named by `type`. */
export type GuestinfoEvent = EventOf &
  (
    | { type: 'guest-address'; record: GuestAddress }
    | { type: 'guest-address-gone'; name: string }
    | { type: 'guest-error'; record: GuestError }
    | { type: 'guest-error-cleared'; name: string }
    | { type: 'guest-start'; record: GuestProcessInfo }
    | { type: 'guest-exit'; record: GuestExitInfo }
  )

export const GUESTINFO_OFF: GuestinfoState = {
  state: 'off',
  since: null,
  trouble: null,
  followed: 0,
  unreadable: 0,
  unwritten: 0,
}

export function guestinfoState({ state, since, trouble, vms, unreadableVms, store }: CollectorStatus): GuestinfoState {
  return {
    state,
    since: isoTime(since),
    trouble: trouble === null ? null : { code: trouble.code, message: shown(trouble.message) },
    followed: vms,
    unreadable: unreadableVms,
    unwritten: store?.pending ?? 0,
  }
}

export function portGuestinfo(known: VmGuestinfo): PortGuestinfo {
  const { seenAt, poweredOn, present, addresses, errors, processes, exits } = known
  return {
    seenAt: seenAt === 0 ? null : isoTime(seenAt),
    poweredOn,
    present,
    addresses: addresses.map(addressView),
    errors: errors.map(errorView),
    processes: processes.map(processView),
    exits: exits.slice(0, MAX_SHOWN_EXITS).map(exitView),
  }
}

export function vmGuestinfo(known: VmGuestinfo, ports: string[]): VmGuestinfoInfo {
  return { vm: { name: known.name, uuid: known.uuid }, ports, ...portGuestinfo(known) }
}

export function guestinfoEvent(news: CollectorNews, ports: string[]): GuestinfoEvent {
  const { seq, again, vm, seenAt } = news
  const of = { at: isoTime(seenAt), seq, again, vm: { ...vm }, ports }
  switch (news.type) {
    case 'guest-address':
      return { type: news.type, ...of, record: addressView({ ...news.record, seenAt }) }
    case 'guest-error':
      return { type: news.type, ...of, record: errorView({ ...news.record, seenAt }) }
    case 'guest-start':
      return { type: news.type, ...of, record: processView({ ...news.record, seenAt }) }
    case 'guest-exit':
      return { type: news.type, ...of, record: exitView(news.record) }
    case 'guest-address-gone':
    case 'guest-error-cleared':
      return { type: news.type, ...of, name: news.name }
  }
}

function addressView({ name, address, prefix, gateway, dns, seenAt }: VmGuestinfo['addresses'][number]): GuestAddress {
  return { name, address, prefix, gateway, dns: [...dns], seenAt: isoTime(seenAt) }
}

function errorView({ name, text, seenAt }: VmGuestinfo['errors'][number]): GuestError {
  return { name, text, seenAt: isoTime(seenAt) }
}

function processView(process: GuestProcess): GuestProcessInfo {
  const { name, state, exitCode, startedSeconds, stoppedSeconds, error, seenAt } = process
  return {
    name,
    state,
    exitCode,
    startedAt: startedSeconds === null ? null : isoTime(startedSeconds * 1_000),
    stoppedAt: stoppedSeconds === null ? null : isoTime(stoppedSeconds * 1_000),
    error,
    seenAt: isoTime(seenAt),
  }
}

function exitView(exit: GuestExit): GuestExitInfo {
  return { ...processView(exit), corrected: exit.corrected }
}
