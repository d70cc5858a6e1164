/** Metrics of the alert rules: by rule, which are few and named by the operator; nothing per VM. */
import { Counter, type Registry } from 'prom-client'
import type { Alerts } from './alerts.ts'
import { metricReaders } from './metric-readers.ts'

export function addAlertMetrics(registry: Registry, alerts: Alerts): void {
  new Counter({
    name: 'vspc_alerts_total',
    help: 'Alerts told, by rule.',
    labelNames: ['rule'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [rule, told] of alerts.counters.byRule) this.inc({ rule }, told)
    },
  })
  const { counter } = metricReaders(registry)
  counter('vspc_alerts_suppressed_total', 'Matches of alert rules that were not told: too many of them.', () => {
    return alerts.counters.suppressed
  })
  counter('vspc_alerts_looked_at_bytes_total', 'Output of VMs given to the alert rules.', () => {
    return alerts.counters.lookedAtBytes
  })
  counter('vspc_alerts_skipped_bytes_total', 'Output not held against the alert rules: they were behind.', () => {
    return alerts.counters.skippedBytes
  })
  counter('vspc_alerts_failures_total', 'Times that the thread of the alert rules failed or got stuck.', () => {
    return alerts.counters.failures
  })
}
