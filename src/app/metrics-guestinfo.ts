/** Metrics of following what VMs publish; only where it is configured, and nothing per VM. */
import { Counter, type Registry } from 'prom-client'
import type { CollectorStatus } from '../guestinfo/index.ts'
import type { GuestinfoFollower } from './guestinfo.ts'
import { metricReaders } from './metric-readers.ts'

type Read = (status: CollectorStatus) => number

const GAUGES: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['vspc_guestinfo_following', '1 while vCenter tells what VMs publish.', ({ state }) => Number(state === 'following')],
  ['vspc_guestinfo_vms', 'VMs in the inventory that are followed.', ({ vms }) => vms],
  ['vspc_guestinfo_unreadable_vms', 'Of those: keys that the user may not read.', (status) => status.unreadableVms],
  ['vspc_guestinfo_known_vms', 'VMs of which something is kept.', ({ store }) => store?.keptVms ?? 0],
  ['vspc_guestinfo_kept_bytes', 'Memory of what is kept.', ({ store }) => store?.keptBytes ?? 0],
  ['vspc_guestinfo_file_bytes', 'Size of the file of results.', ({ store }) => store?.fileBytes ?? 0],
  ['vspc_guestinfo_unwritten_results', 'Results that wait for the disk.', ({ store }) => store?.pending ?? 0],
  ['vspc_guestinfo_store_trouble', '1 while results cannot be written.', ({ store }) => Number(store?.trouble != null)],
]

const COUNTERS: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['vspc_guestinfo_left_out_total', 'Results left out because the disk did not keep up.', (one) => leftOut(one)],
  ['vspc_guestinfo_beginnings_total', 'Times that vCenter told all VMs anew.', ({ beginnings }) => beginnings],
]

export function addGuestinfoMetrics(registry: Registry, follower: GuestinfoFollower): void {
  new Counter({
    name: 'vspc_guestinfo_results_total',
    help: 'What VMs published, kept and told, by type.',
    labelNames: ['type'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [type, told] of Object.entries(follower.status.news)) this.inc({ type }, told)
    },
  })
  const { gauge, counter } = metricReaders(registry)
  for (const [name, help, read] of GAUGES) gauge(name, help, () => read(follower.status))
  for (const [name, help, read] of COUNTERS) counter(name, help, () => read(follower.status))
}

function leftOut({ store }: CollectorStatus): number {
  return store?.leftOut ?? 0
}
