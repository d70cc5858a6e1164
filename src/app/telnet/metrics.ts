/** Metrics of Telnet access; only where it is configured. Its consoles are counted with all others. */
import type { Registry } from 'prom-client'
import { metricReaders } from '../metric-readers.ts'
import type { TelnetAccess } from './access.ts'

export function addTelnetMetrics(registry: Registry, access: TelnetAccess): void {
  const { gauge, counter } = metricReaders(registry)
  gauge(
    'vspc_telnet_connections',
    'Telnet clients connected now, on the menu or at a console.',
    () => access.connections,
  )
  gauge('vspc_telnet_ports', 'Serial ports with a TCP port open.', () => access.openPorts)
  counter('vspc_telnet_connections_total', 'Telnet clients accepted.', () => access.counters.accepted)
  counter(
    'vspc_telnet_refused_total',
    'Telnet clients refused: stopping, or maxTelnetConnections.',
    () => access.counters.refused,
  )
}
