/**
 * How near this process is to its limit of open files.
 *
 * A listener that runs out of descriptors fails in silence: libuv takes each connection with a descriptor it keeps for
 * this, closes it, and Node is told nothing (seen, Node 20.20); hosts dial again at once, for ever. So connections are
 * refused a little before: that can be counted and logged, and consoles, history and whoever looks into the matter
 * still find a descriptor.
 */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Clock } from '../base/index.ts'

/** `vm`: connections of hosts, the first to be refused. `operator`: those of people, who may have come to help. */
export type DescriptorUse = 'vm' | 'operator'

/** The limit may be changed while we run (prlimit); it is looked up again at most this often, by accepted connections. */
const LOOK_UP_MS = 1_000

/** How many of `limit` a connection must leave free. */
function keptFree(use: DescriptorUse, limit: number): number {
  const forOperators = Math.min(16, Math.ceil(limit / 64))
  // A part of the table, but not much of a large one: 19,500 VMs have to fit into 20,000.
  return use === 'operator' ? forOperators : forOperators + Math.min(112, Math.ceil(limit / 16))
}

export class DescriptorWatch {
  readonly #use: DescriptorUse
  readonly #clock: Pick<Clock, 'now'>
  #limit: number
  #lookedUpAt: number

  constructor(use: DescriptorUse, clock: Pick<Clock, 'now'>) {
    this.#use = use
    this.#clock = clock
    this.#limit = openFileLimit() ?? Number.POSITIVE_INFINITY
    this.#lookedUpAt = clock.now()
  }

  /**
   * Null when there is room for `socket`, which has just been accepted; otherwise why there is none, in words. Always
   * null where the limit cannot be known (only Linux tells it).
   */
  shortage(socket: Socket): string | null {
    if (this.#clock.now() - this.#lookedUpAt >= LOOK_UP_MS) this.#lookUp()
    const limit = this.#limit
    // The system gives out the lowest number that is free, so this one says how many are taken.
    const taken = descriptorOf(socket)
    if (taken < limit - keptFree(this.#use, limit)) return null
    return `${taken} of ${limit} are taken, the last ones are kept for ${this.#use === 'vm' ? 'consoles and files' : 'files'}`
  }

  #lookUp(): void {
    this.#lookedUpAt = this.#clock.now()
    // Unknown now means that there is no descriptor to read it with: the old one is still right.
    this.#limit = openFileLimit() ?? this.#limit
  }
}

/** Soft limit of open files of this process; null where it cannot be known. */
export function openFileLimit(): number | null {
  let text: string
  try {
    text = readFileSync('/proc/self/limits', 'latin1')
  } catch {
    // No such file on other systems.
    return null
  }
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1]
  return soft === undefined || soft === 'unlimited' ? null : Number(soft)
}

/** -1 when it has none, or the system has no numbers for them. */
function descriptorOf(socket: Socket): number {
  return (socket as { _handle?: { fd?: number } | null })._handle?.fd ?? -1
}
