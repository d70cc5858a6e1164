/**
 * Who stays: consoles and streams that are open, looked at again when rules or tokens change, and every few seconds, since
 * rights end by time and go by names and hosts that change.
 */
import type { ServerResponse } from 'node:http'
import type { Clock, Timer } from '../../base/index.ts'
import type { Console } from '../../vspc/index.ts'
import type { AccessCounters } from './control.ts'
import { factsOf, type Visitor } from './visitor.ts'

/** Looked at at a time: some microseconds each. */
const SLICE = 500
const LOOK_MS = 2_000

/** Something open that somebody has a right to, or no longer. */
export interface Attendant {
  /** Looks again. @returns true when it was ended, or became less. */
  review(): boolean
}

/** Ends a console whose holder may no longer read there, and takes the keyboard from one who may no longer write. */
export function reviewConsole(console: Console, visitor: Visitor): boolean {
  if (console.detached) return false
  const permit = visitor.permit(console.port)
  if (!permit.may('read')) {
    const why = visitor.counts ? 'may no longer read this port' : 'is no longer known here: what was shown has ended'
    visitor.record('console.read', factsOf(console.port), false, `console ${console.id}: ${why}`)
    console.close(`${visitor.who} ${why}`, visitor.counts ? 'VSPC_ACCESS_DENIED' : 'VSPC_ACCESS_LOGIN')
    return true
  }
  const { mode, waiting } = console.info
  if ((mode === 'read' && waiting === null) || permit.may('write')) return false
  visitor.record('console.write', factsOf(console.port), false, `console ${console.id}: may no longer write`)
  console.demote(`${visitor.who} may no longer write here`)
  return true
}

/** An answer that takes long: broken off, so that it shows as cut, once `may` says no. */
export function streamOf(response: ServerResponse, may: () => boolean): Attendant {
  return {
    review() {
      if (response.destroyed || response.writableFinished || may()) return false
      response.destroy()
      return true
    },
  }
}

export class Attendance {
  readonly #clock: Clock
  readonly #counters: AccessCounters
  readonly #all = new Set<Attendant>()
  #timer: Timer | null = null
  #reviewing: Iterator<Attendant> | null = null
  #closed = false

  constructor(clock: Clock, counters: AccessCounters) {
    this.#clock = clock
    this.#counters = counters
  }

  get size(): number {
    return this.#all.size
  }

  /** The returned function ends it. */
  add(attendant: Attendant): () => void {
    this.#all.add(attendant)
    if (this.#timer === null) this.#schedule()
    return () => {
      this.#all.delete(attendant)
    }
  }

  /** Looks at all again, a slice per turn of the event loop. */
  review(): void {
    if (this.#closed || this.#all.size === 0) return
    const isRunning = this.#reviewing !== null
    // From the beginning: those looked at already were looked at by older rules.
    this.#reviewing = this.#all.values()
    if (!isRunning) this.#slice()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = null
    this.#all.clear()
  }

  #slice(): void {
    for (let looked = 0; looked < SLICE; looked++) {
      const next = this.#reviewing?.next()
      if (next === undefined || next.done === true) {
        this.#reviewing = null
        return
      }
      if (next.value.review()) this.#counters.revoked++
    }
    setImmediate(() => this.#slice())
  }

  #schedule(): void {
    if (this.#closed) return
    this.#timer = this.#clock.after(LOOK_MS, () => {
      this.#timer = null
      this.review()
      if (this.#all.size > 0) this.#schedule()
    })
  }
}
