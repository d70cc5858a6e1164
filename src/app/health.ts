/** Looks at the server itself, each time it is asked; nothing here is looked at on its own. */
import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import type { CaptureRecorder } from '../capture/index.ts'
import type { HistoryProblem } from '../history/index.ts'
import { type CertificateFacts, openFileLimit } from '../transport/index.ts'
import type { PortState, Server } from '../vspc/index.ts'
import type { ApplianceTracker } from './appliance.ts'
import { hostInfo, isoTime, shown } from './appliance-view.ts'
import type { Config } from './config.ts'
import type { GuestinfoFollower } from './guestinfo.ts'
import { type DiskInfo, type HealthInfo, refusalInfo, type TroubleInfo } from './health-view.ts'
import { certificateInfo, listenerInfo } from './listener-info.ts'
import type { AppLogger } from './logger.ts'
import type { LoopWatch } from './loop-watch.ts'
import { openFiles } from './open-files.ts'
import type { Readiness } from './routes-health.ts'

/** What is wrong with history just now. */
export class HistoryTroubles {
  readonly #open = new Map<string, TroubleInfo>()

  take({ kind, state, code, message }: HistoryProblem, wall: number): void {
    const key = `${kind} ${code}`
    if (state === 'ended') this.#open.delete(key)
    else this.#open.set(key, { kind, code, message: shown(message), since: isoTime(wall) })
  }

  get open(): TroubleInfo[] {
    return [...this.#open.values()]
  }
}

export interface HealthSources {
  readonly version: string
  readonly config: () => Pick<Config, 'history' | 'dataDir'>
  readonly readiness: () => Readiness
  readonly server: Server
  readonly http: { readonly url: string; readonly certificate: CertificateFacts | null } | null
  readonly loop: LoopWatch
  readonly troubles: HistoryTroubles
  readonly recorder: CaptureRecorder | null
  readonly tracker: ApplianceTracker | null
  readonly guestinfo: GuestinfoFollower | null
  readonly log: AppLogger
}

export async function readHealth(sources: HealthSources): Promise<HealthInfo> {
  const { server, loop } = sources
  const { counters, limits, clock } = server
  const { dataDir } = sources.config()
  const [open, disk] = await Promise.all([openFiles(), server.histories.persistent ? lookAtDisk(dataDir) : null])
  const memory = process.memoryUsage()
  const jump = loop.lastJump
  return {
    at: isoTime(clock.wall()),
    version: sources.version,
    node: process.versions.node,
    startedAt: isoTime(performance.timeOrigin),
    state: sources.readiness(),
    listeners: server.listeners.map(({ endpoint, certificate }) => listenerInfo(endpoint, certificate)),
    http: httpHealth(sources),
    serviceUris: [...server.serviceUris],
    ports: portCounts(server),
    connections: { open: server.connections, max: limits.maxConnections },
    openFiles: { open, max: openFileLimit() },
    memory: { rssBytes: memory.rss, heapBytes: memory.heapUsed },
    eventLoop: loop.recent,
    clock: {
      jumps: loop.jumps,
      lastAt: jump === null ? null : isoTime(jump.at),
      lastByMs: jump?.byMs ?? null,
    },
    refusals: { counts: { ...server.refusals.counts }, recent: server.refusals.recent.map(refusalInfo) },
    vmotions: {
      open: server.cookies.size,
      completed: counters.vmotionsCompleted + counters.vmotionsImplicit,
      aborted: counters.vmotionsAborted,
      refused: counters.vmotionsRefused,
      timedOut: counters.vmotionsTimedOut,
    },
    history: historyHealth(sources, disk),
    lost: {
      historyBytes: server.histories.counters.droppedBytes,
      consoleBytes: counters.consoleGapBytes,
      preAttachBytes: counters.preAttachBytesDropped,
      captureBytes: sources.recorder?.stats.droppedBytes ?? null,
      logLines: sources.log.counts.dropped,
      internalErrors: counters.internalErrors,
    },
    ...fromVsphere(sources),
  }
}

function httpHealth({ http }: HealthSources): HealthInfo['http'] {
  if (http === null) return null
  const { url, certificate } = http
  return { url, certificate: certificate === null ? null : certificateInfo(certificate) }
}

function portCounts(server: Server): Record<PortState, number> {
  const counts: Record<PortState, number> = { online: 0, offline: 0, migrating: 0 }
  for (const port of server.table) counts[port.state]++
  return counts
}

function historyHealth({ server, config, troubles }: HealthSources, disk: DiskInfo | null): HealthInfo['history'] {
  const { histories, limits } = server
  return {
    wanted: config().history,
    persistent: histories.persistent,
    usedBytes: histories.gauges.diskBytes,
    budgetBytes: limits.historyTotalBytes,
    pendingBytes: histories.gauges.pendingBytes,
    troubledPorts: histories.gauges.troubledPorts,
    troubles: troubles.open,
    disk,
  }
}

async function lookAtDisk(path: string): Promise<DiskInfo> {
  const [room, writable] = await Promise.all([
    statfs(path).catch(() => null),
    access(path, constants.W_OK | constants.X_OK).then(
      () => true,
      () => false,
    ),
  ])
  // File systems that make inodes as they are needed say 0 of both.
  const freeFiles = room === null || room.files === 0 ? null : room.ffree
  return { path, freeBytes: room === null ? null : room.bavail * room.bsize, freeFiles, writable }
}

function fromVsphere({ tracker, guestinfo }: HealthSources): Pick<HealthInfo, 'vsphere' | 'appliance' | 'guestinfo'> {
  const tracking = tracker?.status ?? null
  const collecting = guestinfo?.status ?? null
  const trouble = tracking?.trouble?.failure.message ?? collecting?.trouble?.message ?? null
  const reachable = tracking?.reachable ?? collecting?.state === 'following'
  return {
    vsphere:
      tracking === null && collecting === null
        ? null
        : { reachable, trouble: trouble === null ? null : shown(trouble) },
    appliance:
      tracking === null
        ? null
        : {
            host: tracking.host === null ? null : hostInfo(tracking.host).name,
            settled: tracking.retarget.settled,
            stuckVms: tracking.retarget.counts.stuck,
            nextHopsOpen: tracking.retarget.nextHopsOpen,
          },
    guestinfo:
      collecting === null
        ? null
        : {
            following: collecting.state === 'following',
            trouble: collecting.trouble === null ? null : shown(collecting.trouble.message),
          },
  }
}
