/** A pending call; `cancel` after it ran, or twice, does nothing. */
export interface Timer {
  cancel(): void
}

/** The only source of time for everything that decides by time. Tests pass a {@link ManualClock}. */
export interface Clock {
  /** Monotonic milliseconds, fractional; for durations and deadlines, never for display. */
  now(): number
  /** Wall clock in milliseconds since 1970; for display, never for durations. */
  wall(): number
  /** Calls `run` once, `ms` from now. The pending timer does not keep the process alive. */
  after(ms: number, run: () => void): Timer
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    const handle = setTimeout(run, ms)
    handle.unref()
    return { cancel: () => clearTimeout(handle) }
  },
}

/** The system's clock, with timers that keep the process: for programs that live for nothing but what they wait for. */
export const liveClock: Clock = {
  now: systemClock.now,
  wall: systemClock.wall,
  after(ms, run) {
    const handle = setTimeout(run, ms)
    return { cancel: () => clearTimeout(handle) }
  },
}

/** A clock that moves only when told to. */
export class ManualClock implements Clock {
  #now = 0
  #pending: { at: number; order: number; run: () => void }[] = []
  #order = 0

  now(): number {
    return this.#now
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now
  }

  after(ms: number, run: () => void): Timer {
    const entry = { at: this.#now + ms, order: this.#order++, run }
    this.#pending.push(entry)
    return {
      cancel: () => {
        const index = this.#pending.indexOf(entry)
        if (index >= 0) this.#pending.splice(index, 1)
      },
    }
  }

  /** Timers not yet run or cancelled. */
  get pending(): number {
    return this.#pending.length
  }

  /** Moves time on by `ms`, running what falls due in order of its time. */
  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      let next: { at: number; order: number; run: () => void } | undefined
      for (const entry of this.#pending) {
        if (entry.at > until) continue
        if (!next || entry.at < next.at || (entry.at === next.at && entry.order < next.order)) next = entry
      }
      if (!next) break
      this.#pending.splice(this.#pending.indexOf(next), 1)
      this.#now = Math.max(this.#now, next.at)
      next.run()
    }
    this.#now = until
  }
}
