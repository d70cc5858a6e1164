/** Deadlines of peers whose stream survives its connections: without one they can do nothing, and hear nothing. */
import type { Clock, Timer } from '../base/index.ts'
import type { LinkInfo } from '../transport/index.ts'

/** Milliseconds; null = without connection just now. A plain stream ends with its connection, so it always has one. */
export function connectedMs(link: LinkInfo | null): number | null {
  return link === null ? Number.POSITIVE_INFINITY : link.connectedMs
}

/** Calls `run` when the peer has had `ms` in one piece. */
export function afterConnected(clock: Clock, link: LinkInfo | null, ms: number, run: () => void): Timer {
  if (link === null) return clock.after(ms, run)
  let timer: Timer
  const wait = (forMs: number): void => {
    timer = clock.after(forMs, () => {
      const left = ms - (link.connectedMs ?? 0)
      if (left > 0) wait(left)
      else run()
    })
  }
  wait(ms)
  return { cancel: () => timer.cancel() }
}
