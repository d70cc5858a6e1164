/**
 * Timers and caps of a relay: those of the table for all that mean something to it, and three of its own. Configurable
 * one by one in the `limits:` section of its configuration file; docs/relay.md lists them.
 */
import { LIMITS } from '../base/index.ts'

export const RELAY_LIMITS = {
  relayHoldMs: {
    default: 60_000,
    min: 0,
    max: 3_600_000,
    why: 'a stream whose other side is away is held so long (an appliance that restarts needs less), then closed',
  },
  relayHeld: {
    default: 1_024,
    min: 0,
    max: 1_000_000,
    why: 'streams of one route held at once while its other side is away; each may keep 64 KiB that were read already',
  },
  maxStreams: {
    default: 20_000,
    min: 1,
    max: 1_000_000,
    why: 'streams at once, joined or held, of the whole relay; each takes two file descriptors',
  },
  dialMs: LIMITS.dialMs,
  redialMinMs: LIMITS.redialMinMs,
  redialMaxMs: LIMITS.redialMaxMs,
  closeMs: LIMITS.closeMs,
  drainMs: LIMITS.drainMs,
  keepAliveMs: LIMITS.keepAliveMs,
  firstByteMs: LIMITS.firstByteMs,
  tlsHandshakeMs: LIMITS.tlsHandshakeMs,
  proxyHeaderMs: LIMITS.proxyHeaderMs,
  resumeMs: LIMITS.resumeMs,
  resumeBytes: LIMITS.resumeBytes,
  resumePingMs: LIMITS.resumePingMs,
  resumeDeadMs: LIMITS.resumeDeadMs,
  maxResumable: LIMITS.maxResumable,
} as const satisfies Record<string, { default: number; min: number; max: number; why: string }>

export type RelayLimitName = keyof typeof RELAY_LIMITS
export type RelayLimits = { [name in RelayLimitName]: number }

/** The defaults with `overrides` on top. Ranges are checked where configuration is read, not here. */
export function relayLimitsWith(overrides: Partial<RelayLimits> = {}): RelayLimits {
  const limits = {} as RelayLimits
  for (const name of Object.keys(RELAY_LIMITS) as RelayLimitName[]) {
    limits[name] = overrides[name] ?? RELAY_LIMITS[name].default
  }
  return limits
}
