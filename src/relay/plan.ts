/** What a relay is to do, as data: its configuration, checked and in final form. */
import { type Endpoint, formatEndpoint } from '../transport/index.ts'
import type { RelayLimits } from './limits.ts'
import type { RelayLogLevel } from './logger.ts'

/** Where to dial: a place, or a name for one that can be changed while running. */
export type Hop =
  | { readonly kind: 'endpoint'; readonly endpoint: Endpoint }
  | { readonly kind: 'next-hop'; readonly name: string }

export type Side =
  | { readonly role: 'listen'; readonly endpoint: Endpoint }
  | { readonly role: 'dial'; readonly hop: Hop }

/** What to do with a stream while the other side is away. */
export const WHEN_AWAY = ['hold', 'refuse'] as const
export type WhenAway = (typeof WHEN_AWAY)[number]

/** One pair of endpoints. A listening side comes first where only one listens. */
export interface RoutePlan {
  readonly name: string
  readonly sides: readonly [Side, Side]
  readonly whenAway: WhenAway
  /** Null: as many as the relay may have in all. */
  readonly maxStreams: number | null
  /** Announced of streams that say nothing themselves; `{peer}` stands for where the stream comes from. */
  readonly vmName: string | null
  readonly label: string | null
}

export interface RelayPlan {
  /** As given; null when there is none. */
  readonly file: string | null
  /** Relative paths that come by the control endpoint are relative to this. */
  readonly directory: string
  readonly routes: readonly RoutePlan[]
  readonly nextHops: ReadonlyMap<string, Endpoint>
  readonly control: Endpoint | null
  readonly trustedProxies: readonly string[]
  readonly stateFile: string | null
  readonly logLevel: RelayLogLevel
  readonly limits: RelayLimits
}

export const HOP_PREFIX = 'next-hop:'

export function formatHop(hop: Hop): string {
  return hop.kind === 'endpoint' ? formatEndpoint(hop.endpoint) : `${HOP_PREFIX}${hop.name}`
}

export function formatSide(side: Side): string {
  return side.role === 'listen' ? formatEndpoint(side.endpoint) : formatHop(side.hop)
}

/** Equal texts mean equal routes. */
export function routeKey(route: RoutePlan): string {
  const sides = route.sides.map((side) => `${side.role} ${formatSide(side)}`)
  return JSON.stringify([route.name, ...sides, route.whenAway, route.maxStreams, route.vmName, route.label])
}
