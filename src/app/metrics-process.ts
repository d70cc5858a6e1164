/** Metrics of the process and its log. */
import { statfs } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import { Counter, Histogram, type Registry } from 'prom-client'
import { openFileLimit } from '../transport/index.ts'
import type { LogCounts } from './logger.ts'
import { DELAY_BUCKETS, LoopWatch } from './loop-watch.ts'
import { metricReaders } from './metric-readers.ts'
import { openFiles } from './open-files.ts'

/** The names that Prometheus' client libraries agree on. */
export function addProcessMetrics(registry: Registry): void {
  const { gauge, counter } = metricReaders(registry)
  counter('process_cpu_seconds_total', 'User and system CPU time.', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss())
  const maxFiles = openFileLimit()
  if (maxFiles !== null) {
    gauge('process_max_fds', 'Open files allowed.', () => openFileLimit() ?? maxFiles)
    gauge('process_open_fds', 'Open files.', async () => (await openFiles()) ?? Number.NaN)
  }
  gauge('process_start_time_seconds', 'Start of the process, since 1970.', () => performance.timeOrigin / 1000)
  gauge('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', () => process.memoryUsage().heapUsed)
  gauge('nodejs_external_memory_bytes', 'Memory outside of the heap.', () => process.memoryUsage().external)
}

export function addLogMetrics(registry: Registry, log: { readonly counts: LogCounts }): void {
  new Counter({
    name: 'vspc_log_lines_total',
    help: 'Lines logged, by level.',
    labelNames: ['level'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [level, lines] of Object.entries(log.counts.lines)) this.inc({ level }, lines)
    },
  })
  new Counter({
    name: 'vspc_log_lines_missing_total',
    help: 'Lines not logged: the same came too often (repeated), or whoever reads the log did not keep up (slow_reader).',
    labelNames: ['reason'],
    registers: [registry],
    collect() {
      this.reset()
      this.inc({ reason: 'repeated' }, log.counts.leftOut)
      this.inc({ reason: 'slow_reader' }, log.counts.dropped)
    },
  })
}

/** @param path where history is on disk. */
export function addDiskMetrics(registry: Registry, path: string): void {
  metricReaders(registry).gauge(
    'vspc_history_disk_free_bytes',
    'Room left where history is, for this user.',
    async () => {
      try {
        const { bavail, bsize } = await statfs(path)
        return bavail * bsize
      } catch {
        // Gone, or not mounted any more: that is told elsewhere, and all other metrics are still wanted.
        return Number.NaN
      }
    },
  )
}

/** The owner starts it, once all is up (a start is slow, and nobody waits), and stops it. */
export function watchLoop(registry: Registry): LoopWatch {
  const histogram = new Histogram({
    name: 'vspc_event_loop_delay_seconds',
    help: 'How much later than planned the event loop ran, looked at every 50 ms.',
    buckets: [...DELAY_BUCKETS],
    registers: [registry],
  })
  const loop = new LoopWatch((seconds) => histogram.observe(seconds))
  const { gauge, counter } = metricReaders(registry)
  gauge(
    'vspc_event_loop_delay_recent_max_seconds',
    'The longest of the last one or two minutes.',
    () => loop.recent.maxMs / 1_000,
  )
  counter(
    'vspc_event_loop_busy_seconds_total',
    'Time that the event loop was busy: its rate is the busy share.',
    () => performance.eventLoopUtilization().active / 1_000,
  )
  counter('vspc_clock_jumps_total', 'Times that the wall clock jumped by a second or more.', () => loop.jumps)
  return loop
}
