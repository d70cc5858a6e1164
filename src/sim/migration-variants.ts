/** What can go differently in a simulated vMotion, as data; `migration.ts` acts it out. */

/** When the source's FIN leaves. The capture has it a microsecond before COMPLETE, on another connection. */
export const SOURCE_FINS = ['before-peer', 'after-peer', 'before-complete', 'after-complete'] as const
export type SourceFin = (typeof SOURCE_FINS)[number]

/**
 * `completed`: the VM runs at its destination. `refused`: NOTNOW. `timeout`: no answer to BEGIN in time; the VM goes on
 * in place without ABORT. `aborted`: ABORT was sent. `resumed`: went on in place on purpose, without ABORT.
 * `lost`: the source's connection is gone and nothing took over; the VM dials afresh. `not-connected`: never began.
 */
export type MigrationOutcome = 'completed' | 'refused' | 'timeout' | 'aborted' | 'resumed' | 'lost' | 'not-connected'

export interface Variant {
  readonly help: string
  /** What a correct proxy makes of it. */
  readonly expected: MigrationOutcome
  /** A second BEGIN before going on. */
  readonly beginAgain?: 'same' | 'new'
  readonly onGoahead?: 'abort' | 'ignore' | 'lose-source' | 'complete-on-source'
  /** Changes the cookie that PEER shows; a correct proxy stays silent. `last` is that of the last success. */
  readonly peer?: (cookie: Uint8Array, last: Uint8Array | null) => Uint8Array
  /** The source has sent ABORT before PEER comes. */
  readonly abortBeforePeer?: boolean
  readonly onPeerOk?:
    | 'abort'
    | 'drop-then-abort'
    | 'drop-then-second'
    | 'second'
    | 'abort-on-destination'
    | 'wrong-complete'
  readonly complete?: 'twice' | 'never'
}

const changedLast = (cookie: Uint8Array): Uint8Array => {
  const changed = cookie.slice()
  const last = changed.length - 1
  changed[last] = (changed[last] ?? 0) ^ 1
  return changed
}

const extended = (cookie: Uint8Array): Uint8Array => {
  const longer = new Uint8Array(cookie.length + 1)
  longer.set(cookie)
  return longer
}

export const VARIANTS = {
  'abort-after-goahead': { help: 'ABORT, no destination', expected: 'aborted', onGoahead: 'abort' },
  'abort-after-peer-ok': { help: 'ABORT once the destination was accepted', expected: 'aborted', onPeerOk: 'abort' },
  'goahead-late': {
    help: 'GOAHEAD is taken as too late: the VM goes on in place, no ABORT',
    expected: 'resumed',
    onGoahead: 'ignore',
  },
  'begin-again': { help: 'BEGIN twice, same sequence', expected: 'completed', beginAgain: 'same' },
  'begin-new': { help: 'BEGIN again with a new sequence', expected: 'completed', beginAgain: 'new' },
  'source-lost': {
    help: 'the source host dies after GOAHEAD, no destination',
    expected: 'lost',
    onGoahead: 'lose-source',
  },
  'destination-lost': { help: 'the destination drops, then ABORT', expected: 'aborted', onPeerOk: 'drop-then-abort' },
  'destination-drop': {
    help: 'the destination drops, a second one takes over with the same cookie',
    expected: 'completed',
    onPeerOk: 'drop-then-second',
  },
  'peer-twice': { help: 'a second destination while the first is up', expected: 'completed', onPeerOk: 'second' },
  'peer-wrong': { help: 'PEER with a wrong secret', expected: 'aborted', peer: changedLast },
  'peer-truncated': { help: 'PEER one byte short', expected: 'aborted', peer: (cookie) => cookie.slice(0, -1) },
  'peer-extended': { help: 'PEER one byte long', expected: 'aborted', peer: extended },
  'peer-replayed': {
    help: 'PEER with the cookie of the last successful vMotion',
    expected: 'aborted',
    peer: (cookie, last) => last ?? changedLast(cookie),
  },
  'peer-late': {
    help: 'PEER with the right cookie, after ABORT',
    expected: 'aborted',
    abortBeforePeer: true,
    peer: (cookie) => cookie,
  },
  'complete-on-source': {
    help: 'COMPLETE on the source first',
    expected: 'completed',
    onGoahead: 'complete-on-source',
  },
  'abort-on-destination': {
    help: 'ABORT on the destination first',
    expected: 'completed',
    onPeerOk: 'abort-on-destination',
  },
  'complete-wrong': { help: 'COMPLETE with another sequence first', expected: 'completed', onPeerOk: 'wrong-complete' },
  'complete-twice': { help: 'COMPLETE twice', expected: 'completed', complete: 'twice' },
  'complete-missing': {
    help: 'no COMPLETE: the source is gone and the destination speaks',
    expected: 'completed',
    complete: 'never',
  },
} as const satisfies Record<string, Variant>

export type MigrationFailure = keyof typeof VARIANTS

export const MIGRATION_FAILURES = Object.keys(VARIANTS) as MigrationFailure[]

export const NO_VARIANT: Variant = { help: '', expected: 'completed' }
