/** Every time and cap of the client side. Tests pass their own clock instead of changing these. */
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
  /** Nothing from the guest for this long after attaching earns one hint. */
  silentHintMs: 3_000,
  /** News of a move waits until the guest has printed nothing for this long. */
  moveNewsQuietMs: 250,
  /** Piped input: how long the guest has to be quiet after its end. */
  lingerMs: 1_000,
  /** Piped input: a guest that never becomes quiet is left after this. */
  lingerCapMs: 60_000,
  /** Between two looks for a port that `--wait` waits for. */
  waitPollMs: 500,
  /** Output that a stalled terminal still gets at the end. */
  flushMs: 500,
  /** Input sent and not yet taken by the server's socket; beyond it no more is read from the terminal. */
  unsentInputBytes: 262_144,
  /** What the replay key fetches, and how many lines of it are shown. */
  replayBytes: 16_384,
  replayLines: 20,
  /** First look back for `log -n`; each further one is eight times as far. */
  tailBytes: 65_536,
  /** An answer that is no stream (a list, a problem) may not be longer. */
  maxAnswerBytes: 256 << 20,
} as const
