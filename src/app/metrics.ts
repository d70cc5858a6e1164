/** Metrics for Prometheus. Everything is read when it is asked for; nothing is counted twice, nothing per VM. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { HistoryCounters, HistoryGauges, HistoryStore } from '../history/index.ts'
import type { CertificateFacts } from '../transport/index.ts'
import {
  type ConsoleMode,
  type Counters,
  type Port,
  REFUSAL_REASONS,
  type Server,
  type VmotionResult,
} from '../vspc/index.ts'
import { listenerInfo } from './listener-info.ts'
import type { LogCounts } from './logger.ts'
import type { LoopWatch } from './loop-watch.ts'
import { metricReaders } from './metric-readers.ts'
import { addPortMetrics } from './metrics-ports.ts'
import { addLogMetrics, addProcessMetrics, watchLoop } from './metrics-process.ts'

type CounterSpec = readonly [name: string, help: string, labels?: Readonly<Record<string, string>>]

/** Every counter of the concentrator: a new one does not compile until it stands here. */
const COUNTERS: { readonly [name in keyof Counters]: CounterSpec } = {
  connectionsAccepted: ['vspc_vm_connections_accepted_total', 'VM connections accepted or dialled.'],
  connectionsRefused: ['vspc_vm_connections_refused_total', 'VM connections refused: stopping, or maxConnections.'],
  connectionsClosed: ['vspc_vm_connections_closed_total', 'VM connections that have ended.'],
  negotiationTimeouts: ['vspc_negotiation_timeouts_total', 'VM connections that did not negotiate in time.'],
  notVmwarePeers: ['vspc_not_vmware_peers_total', 'Peers without the VMware extension on a VMware listener.'],
  wontProxy: ['vspc_wont_proxy_total', 'Requests for a serviceURI that is not ours.'],
  unknownPeers: ['vspc_vmotion_unknown_peers_total', 'vMotion destinations with an unknown sequence or secret.'],
  tlsFailures: ['vspc_tls_failures_total', 'TLS handshakes that failed.'],
  listenerProblems: ['vspc_listener_problems_total', 'Connections that could not be accepted, certificate warnings.'],
  dialFailures: ['vspc_dial_failures_total', 'Outgoing connections that failed.'],
  takeovers: ['vspc_takeovers_total', 'Connections superseded by a newer one of the same port.'],
  bytesFromVm: ['vspc_vm_received_bytes_total', 'Console bytes received from VMs.'],
  bytesToVm: ['vspc_vm_sent_bytes_total', 'Console bytes sent to VMs.'],
  consoleBytes: ['vspc_console_sent_bytes_total', 'Bytes sent to consoles.'],
  consoleGapBytes: ['vspc_console_gap_bytes_total', 'Bytes that consoles missed: history no longer held them.'],
  preAttachBytesDropped: [
    'vspc_pre_attach_dropped_bytes_total',
    'Bytes that came before the port was known, beyond the cap.',
  ],
  telnetAnomalies: ['vspc_telnet_anomalies_total', 'Oddities in telnet framing and negotiation.'],
  suboptionAnomalies: ['vspc_suboption_anomalies_total', 'VMware suboptions that could not be read.'],
  unknownSuboptions: ['vspc_unknown_suboptions_total', 'VMware suboptions of unknown kind.'],
  vmotionsBegun: ['vspc_vmotions_begun_total', 'vMotions begun.'],
  vmotionsCompleted: ['vspc_vmotions_total', 'vMotions ended, by result.', { result: 'completed' }],
  vmotionsImplicit: ['vspc_vmotions_total', 'vMotions ended, by result.', { result: 'implicit' }],
  vmotionsAborted: ['vspc_vmotions_total', 'vMotions ended, by result.', { result: 'aborted' }],
  vmotionsRefused: ['vspc_vmotions_total', 'vMotions ended, by result.', { result: 'refused' }],
  vmotionsTimedOut: ['vspc_vmotions_total', 'vMotions ended, by result.', { result: 'timed_out' }],
  consolesAttached: ['vspc_consoles_attached_total', 'Consoles attached.'],
  consolesRefused: ['vspc_consoles_refused_total', 'Consoles refused: busy, or maxConsolesPerPort.'],
  splicesDialled: ['vspc_forward_connections_total', 'Connections that joined a port to a program.', { role: 'dial' }],
  splicesAccepted: [
    'vspc_forward_connections_total',
    'Connections that joined a port to a program.',
    { role: 'listen' },
  ],
  splicesRefused: ['vspc_forward_refused_total', 'Programs turned away: another is there, or the VM is not.'],
  splicesTooSlow: ['vspc_forward_too_slow_total', 'Programs disconnected because history no longer held their output.'],
  internalErrors: ['vspc_internal_errors_total', 'Faults of this program. Please report them.'],
}

const HISTORY_COUNTERS: { readonly [name in keyof HistoryCounters]: CounterSpec } = {
  writtenBytes: ['vspc_history_written_bytes_total', 'Output of VMs written to history on disk.'],
  writes: ['vspc_history_writes_total', 'Write operations on history files.'],
  diskErrors: ['vspc_history_disk_errors_total', 'Operations on the data directory that failed, other than reads.'],
  droppedBytes: ['vspc_history_dropped_bytes_total', 'Output that never got to the disk: gaps in history.'],
  undurableBytes: ['vspc_history_undurable_bytes_total', 'Output shown before it was safe, because the disk was late.'],
  loads: ['vspc_history_loads_total', 'Pieces of history that readers asked for beyond what they found in memory.'],
  loadedBytes: ['vspc_history_loaded_bytes_total', 'Bytes given to them.'],
  loadErrors: ['vspc_history_load_errors_total', 'Reads of history files that failed.'],
  filesOpened: ['vspc_history_files_opened_total', 'History files opened.'],
  expiredBytes: ['vspc_history_expired_bytes_total', 'History deleted to make room, or because of its age.'],
}

const HISTORY_GAUGES: { readonly [name in keyof HistoryGauges]: readonly [name: string, help: string] } = {
  pendingBytes: ['vspc_history_pending_bytes', 'Memory of output not yet on disk.'],
  tailBytes: ['vspc_history_tail_bytes', 'Memory of output kept for consoles.'],
  openFiles: ['vspc_history_open_files', 'History files open now.'],
  troubledPorts: ['vspc_history_troubled_ports', 'Ports whose writes fail or take too long.'],
  diskBytes: ['vspc_history_disk_bytes', 'What history takes on the disk.'],
}

/** From 0.1 ms to the 5 s after which ESX gives up waiting by default. */
const GOAHEAD_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
/** A VM's memory is copied meanwhile: seconds, or minutes for a large one. */
const VMOTION_BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 600]
const VMOTION_RESULTS = ['completed', 'implicit', 'aborted', 'timed_out'] as const satisfies readonly VmotionResult[]

interface Shown {
  readonly url: string
  readonly certificate: CertificateFacts | null
}

/** The registry of one server. Nothing in it is shared with another one in the same process. */
export class Metrics {
  readonly registry = new Registry()
  readonly loop: LoopWatch
  readonly #readers = metricReaders(this.registry)
  readonly #goahead: Histogram
  #shown: () => Shown | null = () => null
  readonly #vmotions: Histogram<'result'>

  /** @param log counts its lines; null: nobody does. */
  constructor(version: string, log: { readonly counts: LogCounts } | null = null) {
    const registers = [this.registry]
    this.#goahead = new Histogram({
      name: 'vspc_vmotion_goahead_seconds',
      help: 'From VMOTION-BEGIN to GOAHEAD or NOTNOW.',
      buckets: GOAHEAD_BUCKETS,
      registers,
    })
    this.#vmotions = new Histogram({
      name: 'vspc_vmotion_duration_seconds',
      help: 'From VMOTION-BEGIN to the end of the vMotion, by result.',
      labelNames: ['result'],
      buckets: VMOTION_BUCKETS,
      registers,
    })
    // What has not happened yet is 0, not unknown: a rate needs the step from there.
    for (const result of VMOTION_RESULTS) this.#vmotions.zero({ result })
    new Gauge({
      name: 'vspc_build_info',
      help: 'Always 1; the version is in the label.',
      labelNames: ['version', 'node'],
      registers,
    }).set({ version, node: process.version }, 1)
    addProcessMetrics(this.registry)
    if (log !== null) addLogMetrics(this.registry, log)
    this.loop = watchLoop(this.registry)
  }

  /** @param ms from VMOTION-BEGIN to the answer. */
  observeGoahead(ms: number): void {
    this.#goahead.observe(ms / 1000)
  }

  /** @param ms from VMOTION-BEGIN to the end. */
  observeVmotion(result: VmotionResult, ms: number): void {
    this.#vmotions.observe({ result }, ms / 1000)
  }

  /** Adds what is read from a server; once. */
  watch(server: Server): void {
    const names = Object.keys(COUNTERS) as (keyof Counters)[]
    for (const metric of new Set(names.map((name) => COUNTERS[name][0]))) {
      this.#addCounter(
        metric,
        names.filter((name) => COUNTERS[name][0] === metric),
        server.counters,
      )
    }
    this.#addRefusals(server)
    this.#addHistories(server.histories)
    this.#addPorts(server)
    this.#addCertificates(server)
    addPortMetrics(this.registry, server)
    this.#readers.gauge('vspc_vm_connections', 'VM connections open now.', () => server.connections)
    this.#readers.gauge(
      'vspc_vm_connections_limit',
      'VM connections that may be open: the limit maxConnections.',
      () => server.limits.maxConnections,
    )
    this.#readers.gauge('vspc_vmotions_open', 'vMotions begun and not ended.', () => server.cookies.size)
    this.#readers.gauge(
      'vspc_history_limit_bytes',
      'What history may take on the disk: the limit historyTotalBytes; 0 = as much as there is room.',
      () => server.limits.historyTotalBytes,
    )
  }

  /** Another one with a certificate: that of HTTPS. */
  alsoShows(shown: () => Shown | null): void {
    this.#shown = shown
  }

  /** Ends the measuring of the event loop. */
  close(): void {
    this.loop.stop()
  }

  #addCounter(metric: string, sources: readonly (keyof Counters)[], counters: Counters): void {
    const [, help, labels] = COUNTERS[sources[0] as keyof Counters]
    new Counter({
      name: metric,
      help,
      labelNames: Object.keys(labels ?? {}),
      registers: [this.registry],
      collect() {
        this.reset()
        for (const source of sources) this.inc({ ...COUNTERS[source][2] }, counters[source])
      },
    })
  }

  #addRefusals({ refusals }: Server): void {
    new Counter({
      name: 'vspc_vm_refusals_total',
      help: 'Connections that got no port, by reason; GET /api/v1/health tells which.',
      labelNames: ['reason'],
      registers: [this.registry],
      collect() {
        this.reset()
        for (const reason of REFUSAL_REASONS) this.inc({ reason }, refusals.counts[reason])
      },
    })
  }

  /** One series per listener that has one: as many as are configured. */
  #addCertificates(server: Server): void {
    const all = (): Shown[] => {
      const listeners = server.listeners.map(({ endpoint, certificate }) => {
        return { url: listenerInfo(endpoint, null).uri, certificate }
      })
      return [...listeners, this.#shown()].filter((one) => one !== null)
    }
    new Gauge({
      name: 'vspc_certificate_expiry_timestamp_seconds',
      help: 'When the certificate of a VM listener, or of HTTPS, runs out, since 1970.',
      labelNames: ['listener'],
      registers: [this.registry],
      collect() {
        this.reset()
        for (const { url, certificate } of all()) {
          if (certificate === null || Number.isNaN(certificate.validTo)) continue
          this.set({ listener: url }, certificate.validTo / 1000)
        }
      },
    })
  }

  #addHistories(histories: HistoryStore): void {
    for (const source of Object.keys(HISTORY_COUNTERS) as (keyof HistoryCounters)[]) {
      const [name, help] = HISTORY_COUNTERS[source]
      this.#readers.counter(name, help, () => histories.counters[source])
    }
    this.#readers.gauge('vspc_history_persistent', '1 if history is kept on disk, 0 if only in memory.', () =>
      histories.persistent ? 1 : 0,
    )
    for (const source of Object.keys(HISTORY_GAUGES) as (keyof HistoryGauges)[]) {
      const [name, help] = HISTORY_GAUGES[source]
      this.#readers.gauge(name, help, () => histories.gauges[source])
    }
  }

  #addPorts(server: Server): void {
    const registers = [this.registry]
    new Gauge({
      name: 'vspc_ports',
      help: 'Ports known now, by state.',
      labelNames: ['state'],
      registers,
      collect() {
        const counts: Record<Port['state'], number> = { online: 0, offline: 0, migrating: 0 }
        for (const port of server.table) counts[port.state]++
        for (const [state, count] of Object.entries(counts)) this.set({ state }, count)
      },
    })
    new Gauge({
      name: 'vspc_consoles',
      help: 'Consoles attached now, by mode.',
      labelNames: ['mode'],
      registers,
      collect() {
        const counts: Record<ConsoleMode, number> = { read: 0, write: 0, exclusive: 0 }
        for (const port of server.table) for (const console of port.consoles) counts[console.mode]++
        for (const [mode, count] of Object.entries(counts)) this.set({ mode }, count)
      },
    })
  }
}
