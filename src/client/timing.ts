/** Times and caps of whoever speaks to a server. Tests pass their own clock instead of changing these. */
export const TIMING = {
  /** A server that does not answer within this is treated as unreachable. */
  answerMs: 10_000,
  /** Pause before the first reconnect; doubles up to the next line, with jitter so that consoles do not come in step. */
  reconnectMinMs: 250,
  reconnectMaxMs: 5_000,
  /** A connection that lasted this long was a good one: the next pause starts small again. */
  steadyMs: 5_000,
  /** The server pings every 15 s: three missed and the connection is dead, whatever TCP believes. */
  deadConnectionMs: 45_000,
  /** A close that the server does not answer within this is cut. */
  closeMs: 1_000,
  /** Between two looks for a port that is waited for. */
  waitPollMs: 500,
  /** Input sent and not yet taken by the server's socket; beyond it the producer has to wait. */
  unsentInputBytes: 262_144,
  /** An answer that is no stream (a list, a problem) may not be longer. */
  maxAnswerBytes: 256 << 20,
} as const
