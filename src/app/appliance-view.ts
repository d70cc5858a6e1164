/** What the concentrator tells of following its own appliance. Plain data; what vCenter says of names is cleaned. */
import type { PlanReport, TrackedVmInfo, TrackingStatus } from '../appliance/index.ts'
import { cleanText } from '../base/index.ts'
import {
  type HostPlace,
  type NextHopChange,
  type RetargetCounts,
  type RetargetStep,
  type StepInfo,
  stepInfo,
  type VmName,
} from '../vmotion/index.ts'

/** VMs that are not right and are shown one by one; the counts tell how many there are. */
export const MAX_WRONG_VMS = 100
const MAX_TEXT = 500

export interface HostInfo {
  /** As in the inventory. */
  name: string
  managementIps: string[]
}

export interface VmRef {
  name: string
  uuid: string | null
}

export interface WrongVmInfo extends VmRef {
  state: TrackedVmInfo['state']
  reason: string | null
  attempts: number
}

/** As shown by `GET /api/v1/appliance`. */
export interface ApplianceInfo {
  tracking: boolean
  vm: VmRef | null
  host: HostInfo | null
  /** ISO 8601. */
  since: string | null
  moves: number
  reachable: boolean
  trouble: { message: string; since: string } | null
  proxyURI: string | null
  settled: boolean
  counts: RetargetCounts
  nextHopsOpen: number
  /** At most {@link MAX_WRONG_VMS}. */
  vms: WrongVmInfo[]
}

/** As shown by `GET /api/v1/appliance/plan`, and by `vspc track --plan --json`. */
export interface PlanInfo {
  /** ISO 8601. */
  at: string
  host: string
  proxyURI: string
  nextHops: NextHopChange[] | { problem: string }
  steps: StepInfo[]
}

export interface RepointedPort {
  port: string
  why: string
  from: string | null
  to: string | null
}

/** `GET /api/v1/events` sends each as one server-sent event named by `type`. `at` is ISO 8601. */
export type ApplianceEvent =
  /** `from`: null for the first place known. */
  | { type: 'appliance-moved'; at: string; from: HostInfo | null; to: HostInfo }
  | { type: 'appliance-trouble'; at: string; message: string }
  | { type: 'appliance-well'; at: string }
  | { type: 'vm-repointed'; at: string; vm: VmRef; ports: RepointedPort[] }
  /** `again`: it is tried again by itself. */
  | { type: 'vm-repoint-failed'; at: string; vm: VmRef; message: string; attempts: number; again: boolean }
  | {
      type: 'repoint-settled'
      at: string
      host: string
      proxyURI: string
      counts: RetargetCounts
      changed: number
      ms: number
    }
  | { type: 'next-hop-set'; at: string; peer: string; endpoint: string }
  | { type: 'next-hop-failed'; at: string; peer: string; endpoint: string; message: string; attempts: number }

const NO_VMS: RetargetCounts = { vms: 0, queued: 0, working: 0, waiting: 0, stuck: 0, right: 0, cannot: 0 }

export const NOT_TRACKING: ApplianceInfo = {
  tracking: false,
  vm: null,
  host: null,
  since: null,
  moves: 0,
  reachable: false,
  trouble: null,
  proxyURI: null,
  settled: false,
  counts: NO_VMS,
  nextHopsOpen: 0,
  vms: [],
}

export function applianceInfo(status: TrackingStatus, wrong: readonly TrackedVmInfo[]): ApplianceInfo {
  const { vm, host, since, moves, reachable, trouble, retarget } = status
  return {
    tracking: true,
    vm: vm === null ? null : vmRef(vm),
    host: host === null ? null : hostInfo(host),
    since: since === null ? null : isoTime(since),
    moves,
    reachable,
    trouble: trouble === null ? null : { message: shown(trouble.failure.message), since: isoTime(trouble.since) },
    proxyURI: retarget.proxyURI,
    settled: retarget.settled,
    counts: retarget.counts,
    nextHopsOpen: retarget.nextHopsOpen,
    vms: [...wrong].sort(byNeed).slice(0, MAX_WRONG_VMS).map(wrongVm),
  }
}

export function planInfo({ place, proxyURI, nextHops, steps }: PlanReport, atMs: number): PlanInfo {
  return {
    at: isoTime(atMs),
    host: hostInfo(place).name,
    proxyURI,
    nextHops: 'problem' in nextHops ? { problem: shown(nextHops.problem) } : [...nextHops],
    steps: steps.map(stepView),
  }
}

export function hostInfo({ name, managementIps }: HostPlace): HostInfo {
  return { name: cleanText(name), managementIps: managementIps.map((ip) => cleanText(ip, 60)) }
}

export function vmRef({ name, instanceUuid }: VmName): VmRef {
  return { name: cleanText(name), uuid: instanceUuid === null ? null : cleanText(instanceUuid, 60) }
}

export function repointedPort(step: RetargetStep): RepointedPort {
  const { port, why, from, to } = stepView(step)
  return { port: port ?? '', why, from, to }
}

export function shown(message: string): string {
  return cleanText(message, MAX_TEXT)
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

function stepView(step: RetargetStep): StepInfo {
  const { vm, uuid, port, why, from, to, ...same } = stepInfo(step)
  return {
    ...same,
    vm: cleanText(vm),
    uuid: clean(uuid),
    port: clean(port),
    why: shown(why),
    from: clean(from),
    to: clean(to),
  }
}

function clean(text: string | null): string | null {
  return text === null ? null : shown(text)
}

function wrongVm({ vm, uuid, state, reason, attempts }: TrackedVmInfo): WrongVmInfo {
  return { name: cleanText(vm), uuid: clean(uuid), state, reason: clean(reason), attempts }
}

/** Those that somebody has to look at first. */
const NEED: Readonly<Record<TrackedVmInfo['state'], number>> = {
  stuck: 0,
  cannot: 1,
  waiting: 2,
  working: 3,
  queued: 4,
  right: 5,
}

function byNeed(a: TrackedVmInfo, b: TrackedVmInfo): number {
  return NEED[a.state] - NEED[b.state]
}
