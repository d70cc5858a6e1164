/** How the server itself is, as `GET /api/v1/health` tells it. Plain data; texts from elsewhere are cleaned. */
import type { HistoryProblem } from '../history/index.ts'
import type { PortState, Refusal, RefusalReason } from '../vspc/index.ts'
import { isoTime } from './appliance-view.ts'
import type { CertificateInfo, ListenerInfo } from './listener-info.ts'
import type { Readiness } from './routes-health.ts'

export interface RefusalInfo {
  reason: RefusalReason
  peer: string | null
  detail: string
  count: number
  /** ISO 8601. */
  firstAt: string
  lastAt: string
}

export interface TroubleInfo {
  kind: HistoryProblem['kind']
  code: string | null
  message: string
  since: string
}

export interface DiskInfo {
  path: string
  /** For this user; null where the system does not tell. */
  freeBytes: number | null
  freeFiles: number | null
  writable: boolean
}

export interface HealthInfo {
  at: string
  version: string
  /** Of Node. */
  node: string
  startedAt: string
  state: Readiness
  listeners: ListenerInfo[]
  /** Null: off. */
  http: { url: string; certificate: CertificateInfo | null } | null
  /** Empty: any. */
  serviceUris: string[]
  ports: { [state in PortState]: number }
  connections: { open: number; max: number }
  /** Null where the system does not tell. */
  openFiles: { open: number | null; max: number | null }
  memory: { rssBytes: number; heapBytes: number }
  /** Of the last one or two minutes. */
  eventLoop: { p50Ms: number; p99Ms: number; maxMs: number }
  /** Of the wall clock, since the start. */
  clock: { jumps: number; lastAt: string | null; lastByMs: number | null }
  refusals: { counts: { [reason in RefusalReason]: number }; recent: RefusalInfo[] }
  vmotions: { open: number; completed: number; aborted: number; refused: number; timedOut: number }
  history: {
    /** As configured. */
    wanted: 'disk' | 'memory' | 'off'
    /** Outlives the process. */
    persistent: boolean
    usedBytes: number
    /** 0 = as much as there is room. */
    budgetBytes: number
    /** In memory, not yet on disk. */
    pendingBytes: number
    /** Ports whose writes fail or are late. */
    troubledPorts: number
    troubles: TroubleInfo[]
    /** Null unless it is kept on disk. */
    disk: DiskInfo | null
  }
  /** What was lost or left out, since the start. */
  lost: {
    historyBytes: number
    consoleBytes: number
    preAttachBytes: number
    /** Null: nothing is recorded. */
    captureBytes: number | null
    logLines: number
    internalErrors: number
  }
  /** Null: nobody needs it. */
  vsphere: { reachable: boolean; trouble: string | null } | null
  /** Null: the appliance is not followed. */
  appliance: { host: string | null; settled: boolean; stuckVms: number; nextHopsOpen: number } | null
  /** Null: it is not followed. */
  guestinfo: { following: boolean; trouble: string | null } | null
}

export function refusalInfo({ firstAt, lastAt, ...same }: Refusal): RefusalInfo {
  return { ...same, firstAt: isoTime(firstAt), lastAt: isoTime(lastAt) }
}
