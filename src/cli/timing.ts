/** Times and caps of the commands; those of the connection to a server are in client/timing.ts. Tests pass their own clock instead of changing these. */
export const TIMING = {
  /** A relay that does not answer its control socket within this is treated as stuck. */
  answerMs: 10_000,
  /** Nothing from the guest for this long after attaching earns one hint. */
  silentHintMs: 3_000,
  /** News of a move waits until the guest has printed nothing for this long. */
  moveNewsQuietMs: 250,
  /** Piped input: how long the guest has to be quiet after its end. */
  lingerMs: 1_000,
  /** Piped input: a guest that never becomes quiet is left after this. */
  lingerCapMs: 60_000,
  /** Output that a stalled terminal still gets at the end. */
  flushMs: 500,
  /** What the replay key fetches, and how many lines of it are shown. */
  replayBytes: 16_384,
  replayLines: 20,
  /** First look back for `log -n`; each further one is eight times as far. */
  tailBytes: 65_536,
} as const
