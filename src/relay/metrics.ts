/** The relay's figures in the text format of Prometheus. */
import type { RouteStatus } from './route.ts'

export interface RelayFigures {
  readonly routes: readonly RouteStatus[]
  readonly retiredStreams: number
  readonly room: { readonly taken: number; readonly max: number }
}

type Kind = 'gauge' | 'counter'
type Sample = readonly [labels: string, value: number]

export function formatMetrics({ routes, retiredStreams, room }: RelayFigures): string {
  const each = (value: (route: RouteStatus) => number): Sample[] =>
    routes.map((route) => [label('route', route.name), value(route)])
  const lines = [
    ...metric(
      'vspc_relay_streams',
      'gauge',
      'Streams joined now.',
      each((route) => route.streams),
    ),
    ...metric(
      'vspc_relay_held',
      'gauge',
      'Streams that wait for their other side.',
      each((route) => route.held),
    ),
    ...metric(
      'vspc_relay_away',
      'gauge',
      '1 while the dialled side is away.',
      each((route) => Number(route.away)),
    ),
    ...metric(
      'vspc_relay_accepted_total',
      'counter',
      'Streams that came.',
      each((route) => route.accepted),
    ),
    ...metric(
      'vspc_relay_joined_total',
      'counter',
      'Streams that were joined.',
      each((route) => route.joined),
    ),
    ...metric(
      'vspc_relay_refused_total',
      'counter',
      'Streams closed at once.',
      each((route) => route.refused),
    ),
    ...metric(
      'vspc_relay_expired_total',
      'counter',
      'Streams held too long.',
      each((route) => route.expired),
    ),
    ...metric(
      'vspc_relay_dial_failures_total',
      'counter',
      'Failed dials.',
      each((route) => route.dialFailures),
    ),
    ...metric(
      'vspc_relay_bytes_total',
      'counter',
      'Bytes read, from the first side (forward) and from the second (back).',
      routes.flatMap((route): Sample[] => [
        [`${label('route', route.name)},direction="forward"`, route.bytesForward],
        [`${label('route', route.name)},direction="back"`, route.bytesBack],
      ]),
    ),
    ...metric('vspc_relay_retired_streams', 'gauge', 'Streams of routes no longer configured.', [['', retiredStreams]]),
    ...metric('vspc_relay_all_streams', 'gauge', 'Streams of all routes, joined or held.', [['', room.taken]]),
    ...metric('vspc_relay_max_streams', 'gauge', 'limits.maxStreams.', [['', room.max]]),
    ...metric('process_resident_memory_bytes', 'gauge', 'Resident memory.', [['', process.memoryUsage.rss()]]),
    ...metric('process_cpu_seconds_total', 'counter', 'CPU time, user and system.', [['', cpuSeconds()]]),
  ]
  return `${lines.join('\n')}\n`
}

function metric(name: string, kind: Kind, help: string, samples: readonly Sample[]): string[] {
  if (samples.length === 0) return []
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${kind}`,
    ...samples.map(([labels, value]) => `${name}${labels === '' ? '' : `{${labels}}`} ${value}`),
  ]
}

/** Names of routes are of harmless characters only. */
function label(name: string, value: string): string {
  return `${name}="${value}"`
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
