import { type Clock, systemClock } from '../base/index.ts'

/** The system's clock, whose timers keep the process: a command that waits for one has nothing else to live for. */
export const liveClock: Clock = {
  now: systemClock.now,
  wall: systemClock.wall,
  after(ms, run) {
    const handle = setTimeout(run, ms)
    return { cancel: () => clearTimeout(handle) }
  },
}
