/** Metrics of access control; only where it is configured. */
import type { Registry } from 'prom-client'
import { metricReaders } from '../metric-readers.ts'
import type { AccessControl } from './control.ts'

export function addAccessMetrics(registry: Registry, access: AccessControl): void {
  const { gauge, counter } = metricReaders(registry)
  const { audit, counters, attendance } = access
  if (audit !== null) {
    counter('vspc_audit_dropped_total', 'Lines of the audit log that were never written.', () => audit.dropped)
  }
  if (access.isOpen) return
  gauge('vspc_access_tokens', 'Tokens known now.', () => access.tokens)
  gauge(
    'vspc_access_attended',
    'Consoles and event streams open, whose rights are looked at again.',
    () => attendance.size,
  )
  counter(
    'vspc_access_failures_total',
    'Requests that showed what does not count: tokens, tickets, certificates.',
    () => counters.failures,
  )
  counter('vspc_access_limited_total', 'Of these, those answered with status 429.', () => counters.limited)
  counter('vspc_access_refused_total', 'Requests and actions that no rule allows.', () => counters.refused)
  counter('vspc_access_tickets_total', 'Tickets issued.', () => counters.tickets)
  counter('vspc_access_revoked_total', 'Consoles and streams ended because their right had.', () => counters.revoked)
}
