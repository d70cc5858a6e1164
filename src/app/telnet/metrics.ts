/** Metrics of Telnet access; only where it is configured. Its consoles are counted with all others. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { TelnetAccess } from './access.ts'

export function addTelnetMetrics(registry: Registry, access: TelnetAccess): void {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  }
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  }
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
