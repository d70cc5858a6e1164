/**
 * Following the appliance's own VM, as a table: when to look for it, to read where it is, and to begin anew.
 *
 * Rules of the file: a feed of news only says *when* to look; where the appliance is, is only what was read. So a
 * feed may repeat itself, come late or be deaf. Whether a place that was read is a move is decided in one place, by
 * comparison with the last one announced. A cell is [next state, ...actions]; an absent cell means that the event is
 * out of date: it changes nothing.
 */

export type ApplianceState =
  | 'STOPPED'
  /** Looking for the appliance's VM. */
  | 'SEARCHING'
  /** It was not found, or not for certain: a pause until the next search. */
  | 'UNKNOWN'
  /** The feed is open and has not said anything yet. */
  | 'JOINING'
  /** News: a moment's pause, in which a VM that is moved to and fro may come to rest. */
  | 'SETTLING'
  /** Reading where it is, because of news. */
  | 'READING'
  /** The feed is open; where it is, is known. */
  | 'FOLLOWING'
  /** As FOLLOWING, and reading where it is although there was no news. */
  | 'CHECKING'
  /** The server is out of reach, or does not answer: a pause until the next attempt. The last known place stands. */
  | 'LOST'

export type ApplianceEvent =
  | 'start'
  | 'stop'
  | 'found'
  /** No VM, several, or no answer. */
  | 'notFound'
  /** The feed names the host of the place that was read last. */
  | 'toldSame'
  | 'toldOther'
  | 'feedFailed'
  /** The feed, or a reading, says that the VM is not there. */
  | 'gone'
  | 'settled'
  /** A place was read. */
  | 'read'
  /** As `read`, but it is not what the feed said last. */
  | 'readUntold'
  | 'readFailed'
  | 'resync'
  | 'retry'

export type ApplianceAction =
  | 'search'
  /** The VM of the event is the appliance. */
  | 'adopt'
  /** The next search begins with what is remembered of the VM. */
  | 'forget'
  | 'openFeed'
  | 'closeFeed'
  | 'read'
  /** A reading under way counts no more. */
  | 'dropRead'
  /** The place of the event is compared with the last one; a difference is announced. */
  | 'compare'
  | 'armSettle'
  | 'armResync'
  /** After a pause that grows, unless all was well for a time. */
  | 'armRetry'
  /** All three timers. */
  | 'disarm'
  /** What is wrong becomes known. */
  | 'trouble'
  /** Nothing is wrong any more. */
  | 'well'

export type ApplianceCell = readonly [next: ApplianceState, ...actions: ApplianceAction[]]

const STOP = ['STOPPED', 'disarm', 'dropRead', 'closeFeed'] as const
const LOSE = ['LOST', 'disarm', 'dropRead', 'closeFeed', 'trouble', 'armRetry'] as const
const VANISH = ['UNKNOWN', 'disarm', 'dropRead', 'closeFeed', 'forget', 'trouble', 'armRetry'] as const

export const APPLIANCE_TRANSITIONS = {
  STOPPED: {
    start: ['SEARCHING', 'search'],
  },
  SEARCHING: {
    found: ['JOINING', 'adopt', 'openFeed', 'armResync'],
    notFound: ['UNKNOWN', 'trouble', 'armRetry'],
    stop: ['STOPPED', 'dropRead'],
  },
  UNKNOWN: {
    retry: ['SEARCHING', 'search'],
    stop: STOP,
  },
  JOINING: {
    // Even if it is the place known from before: it is read, for what is known of the host may have changed.
    toldSame: ['READING', 'read'],
    toldOther: ['READING', 'read'],
    // A feed that opens and is silent.
    resync: ['CHECKING', 'read'],
    feedFailed: LOSE,
    gone: VANISH,
    stop: STOP,
  },
  SETTLING: {
    toldSame: ['SETTLING'],
    toldOther: ['SETTLING'],
    settled: ['READING', 'read'],
    resync: ['SETTLING', 'armResync'],
    feedFailed: LOSE,
    gone: VANISH,
    stop: STOP,
  },
  READING: {
    toldSame: ['READING'],
    // What is read may be older than these news.
    toldOther: ['SETTLING', 'dropRead', 'armSettle'],
    read: ['FOLLOWING', 'well', 'compare', 'armResync'],
    // It moved on meanwhile, or the answer is older than the news: look again, soon.
    readUntold: ['FOLLOWING', 'well', 'compare', 'armResync', 'armRetry'],
    resync: ['READING', 'armResync'],
    readFailed: LOSE,
    feedFailed: LOSE,
    gone: VANISH,
    stop: STOP,
  },
  FOLLOWING: {
    toldSame: ['FOLLOWING'],
    toldOther: ['SETTLING', 'armSettle'],
    resync: ['CHECKING', 'read'],
    retry: ['CHECKING', 'read'],
    feedFailed: LOSE,
    gone: VANISH,
    stop: STOP,
  },
  CHECKING: {
    toldSame: ['CHECKING'],
    toldOther: ['SETTLING', 'dropRead', 'armSettle', 'armResync'],
    read: ['FOLLOWING', 'well', 'compare', 'armResync'],
    // The feed is deaf: its session was ended, and the server leaves it hanging.
    readUntold: ['JOINING', 'well', 'compare', 'closeFeed', 'openFeed', 'armResync'],
    readFailed: LOSE,
    feedFailed: LOSE,
    gone: VANISH,
    stop: STOP,
  },
  LOST: {
    retry: ['JOINING', 'openFeed', 'armResync'],
    stop: STOP,
  },
} as const satisfies Record<ApplianceState, Partial<Record<ApplianceEvent, ApplianceCell>>>

/** The cell for an event, or null when the event means nothing in this state. */
export function applianceTransition(state: ApplianceState, event: ApplianceEvent): ApplianceCell | null {
  const row: Partial<Record<ApplianceEvent, ApplianceCell>> = APPLIANCE_TRANSITIONS[state]
  return row[event] ?? null
}
