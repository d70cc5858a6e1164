/** What happened on one route so far. */
export interface RouteCounters {
  /** Streams that came (of a route that only dials: that were dialled). */
  accepted: number
  joined: number
  /** Closed for want of room, or because the other side was away and streams are not held. */
  refused: number
  /** Held until their time was up. */
  expired: number
  dialFailures: number
  bytesForward: number
  bytesBack: number
  /** `at` in milliseconds since 1970. */
  lastError: { message: string; at: number } | null
}

export function newCounters(): RouteCounters {
  return {
    accepted: 0,
    joined: 0,
    refused: 0,
    expired: 0,
    dialFailures: 0,
    bytesForward: 0,
    bytesBack: 0,
    lastError: null,
  }
}
