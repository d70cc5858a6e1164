/** Metrics of following the appliance; only where it is configured. */
import { Gauge, type Registry } from 'prom-client'
import type { ApplianceTracker } from './appliance.ts'
import { hostInfo } from './appliance-view.ts'
import { metricReaders } from './metric-readers.ts'

export function addApplianceMetrics(registry: Registry, tracker: ApplianceTracker): void {
  const registers = [registry]
  const { gauge, counter } = metricReaders(registry)
  new Gauge({
    name: 'vspc_appliance_host_info',
    help: 'Always 1; the host that the appliance runs on is in the label.',
    labelNames: ['host'],
    registers,
    collect() {
      this.reset()
      const { host } = tracker.status
      if (host !== null) this.set({ host: hostInfo(host).name }, 1)
    },
  })
  gauge(
    'vspc_appliance_host_since_timestamp_seconds',
    'When it was seen there first, since 1970; 0 while unknown.',
    () => {
      return (tracker.status.since ?? 0) / 1_000
    },
  )
  counter('vspc_appliance_moves_total', 'Moves of the appliance to another host.', () => tracker.status.moves)
  gauge('vspc_appliance_trouble', '1 while following the appliance meets with trouble.', () => {
    return tracker.status.trouble === null ? 0 : 1
  })
  gauge('vspc_vcenter_reachable', '1 while the vSphere API answers and lets us in.', () => {
    return tracker.status.reachable ? 1 : 0
  })
  new Gauge({
    name: 'vspc_repoint_vms',
    help: 'VMs whose serial ports follow the appliance, by state.',
    labelNames: ['state'],
    registers,
    collect() {
      const { vms: _all, ...states } = tracker.status.retarget.counts
      for (const [state, count] of Object.entries(states)) this.set({ state }, count)
    },
  })
  counter('vspc_repoint_changes_total', 'VMs re-pointed.', () => tracker.counters.changed)
  counter(
    'vspc_repoint_failures_total',
    'Attempts to list or re-point VMs, or to tell a peer relay, that failed.',
    () => {
      return tracker.counters.failed
    },
  )
  gauge('vspc_next_hops_open', 'Peer relays that have not heard where the appliance is.', () => {
    return tracker.status.retarget.nextHopsOpen
  })
}
