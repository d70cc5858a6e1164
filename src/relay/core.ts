/** What all parts of one relay share. */
import type { Duplex } from 'node:stream'
import { type Clock, type Logger, systemClock } from '../base/index.ts'
import { dial, type LinkTable, listen, probeLink } from '../transport/index.ts'
import type { RelayLimits } from './limits.ts'
import type { NextHops } from './next-hops.ts'
import type { ProblemLog } from './problem-log.ts'
import type { Room } from './room.ts'

/** Where streams come from and go to; tests put others in. */
export interface RelayTransport {
  readonly dial: typeof dial
  readonly listen: typeof listen
}

export interface RelayDeps {
  readonly log: Logger
  readonly clock?: Clock
  /** From 0 to 1. */
  readonly random?: () => number
  readonly transport?: RelayTransport
  /** Has a resumable stream find out at once whether its connection is still there. */
  readonly probe?: (socket: Duplex) => void
}

export interface RelayCore {
  readonly log: Logger
  readonly clock: Clock
  readonly random: () => number
  readonly transport: RelayTransport
  readonly probe: (socket: Duplex) => void
  /** The same object for good: a reload changes it in place. */
  readonly limits: RelayLimits
  readonly problems: ProblemLog
  readonly hops: NextHops
  readonly room: Room
  /** Resumable streams of all listeners: they may come back by another one, or by one opened anew. */
  readonly links: LinkTable
  /** Resumable streams that were dialled. */
  readonly dialledLinks: LinkTable
}

export const DEFAULT_DEPS = {
  clock: systemClock,
  random: Math.random,
  transport: { dial, listen },
  probe: probeLink,
} as const satisfies Partial<RelayDeps>
