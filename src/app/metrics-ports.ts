/**
 * Metrics of single ports: off unless "maxMetricPorts" allows some. Each is five series, and a site has thousands of VMs:
 * those known longest have theirs, so that series do not come and go, and the rest are counted.
 */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Port, Server } from '../vspc/index.ts'
import { metricReaders } from './metric-readers.ts'

const LABELS = ['port', 'vm'] as const
type Labels = Record<(typeof LABELS)[number], string>

interface Spec {
  readonly kind: 'counter' | 'gauge'
  readonly name: string
  readonly help: string
  readonly read: (port: Port) => number
}

const SPECS: readonly Spec[] = [
  {
    kind: 'gauge',
    name: 'vspc_port_online',
    help: '1 while the VM is connected, while it migrates, too.',
    read: (port) => (port.state === 'offline' ? 0 : 1),
  },
  {
    kind: 'gauge',
    name: 'vspc_port_consoles',
    help: 'Consoles attached now.',
    read: (port) => port.consoles.length,
  },
  {
    kind: 'counter',
    name: 'vspc_port_received_bytes_total',
    help: 'Output of the VM; goes on over restarts where history is on disk.',
    read: (port) => port.info().bytesFromVm,
  },
  {
    kind: 'counter',
    name: 'vspc_port_sent_bytes_total',
    help: 'Input sent to the VM.',
    read: (port) => port.info().bytesToVm,
  },
  {
    kind: 'counter',
    name: 'vspc_port_vmotions_total',
    help: 'vMotions completed.',
    read: (port) => port.vmotions,
  },
]

export function addPortMetrics(registry: Registry, server: Server): void {
  const registers = [registry]
  const labelled = (): [Port, Labels][] => shown(server).map((port) => [port, { port: port.id, vm: port.displayName }])
  for (const { kind, name, help, read } of SPECS) {
    const options = { name, help, labelNames: LABELS, registers }
    if (kind === 'gauge') {
      new Gauge({
        ...options,
        collect() {
          this.reset()
          for (const [port, labels] of labelled()) this.set(labels, read(port))
        },
      })
    } else {
      new Counter({
        ...options,
        collect() {
          this.reset()
          for (const [port, labels] of labelled()) this.inc(labels, read(port))
        },
      })
    }
  }
  metricReaders(registry).gauge(
    'vspc_ports_without_metrics',
    'Ports without series of their own, because there are more than the limit maxMetricPorts.',
    () => Math.max(0, server.table.size - server.limits.maxMetricPorts),
  )
}

/** The table is in the order in which ports became known. */
function shown(server: Server): Port[] {
  const ports: Port[] = []
  const { maxMetricPorts } = server.limits
  if (maxMetricPorts === 0) return ports
  for (const port of server.table) {
    if (ports.length >= maxMetricPorts) break
    ports.push(port)
  }
  return ports
}
