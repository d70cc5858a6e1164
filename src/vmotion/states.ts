/**
 * The vMotion handover of one port, as a table: who owns the port, and what happens to input meanwhile.
 *
 * Rules of the file: everything that decides ownership is here; nothing here knows sockets, time or bytes. The source
 * (A) is the connection the port runs on, the destination (B) the one that proved the cookie with VMOTION-PEER.
 * A cell is [next state, ...actions]; an absent cell means the event has no business in that state: it is reported as
 * an anomaly and changes nothing.
 *
 * [doc] VMware's paper, vMotion sections; [seen] its capture for success, refusal, failure; the rows for lost
 * connections and late answers are ours [guess], written so that no state is a dead end.
 */

export type HandoverState =
  /** No connection. */
  | 'OFFLINE'
  /** A runs. */
  | 'STEADY'
  /** BEGIN seen; waiting until A's socket took what was already handed to it. Input is held. */
  | 'DRAINING'
  /** GOAHEAD sent, cookie open. Input is held. */
  | 'HELD'
  /** As HELD, but A went on without ABORT: input flows again, the cookie is still good. */
  | 'RESUMED'
  /** B has proved the cookie; A is still there. Input is held. */
  | 'PEERED'
  /** As HELD, but A is gone. */
  | 'ORPHANED'
  /** As PEERED, but A is gone. */
  | 'PEERED-ORPHANED'

export type HandoverEvent =
  /** A connection that introduced itself with DO-PROXY (or by configuration) claims the port. */
  | 'attach'
  /** BEGIN on A with a sequence that is not that of the open cookie. */
  | 'sourceBegin'
  /** BEGIN on A with the sequence of the open cookie (or of the BEGIN being drained). */
  | 'sourceBeginAgain'
  /** BEGIN on A that cannot be granted: the server stops, the sequence is too long, a handler failed. */
  | 'refuse'
  | 'drained'
  | 'drainTimeout'
  /** PEER with the port's cookie. */
  | 'destinationPeer'
  /** COMPLETE on B with the cookie's sequence. */
  | 'destinationComplete'
  | 'destinationData'
  /** B sends more output before COMPLETE than can be held. */
  | 'destinationOverflow'
  | 'destinationClosed'
  /** Serial data on A long after GOAHEAD. */
  | 'sourceDataLate'
  | 'sourceAbort'
  | 'sourceClosed'
  /** ABORT on a former source that is still connected. */
  | 'retiredAbort'
  /** T_orphan. */
  | 'orphanTimeout'

export type HandoverAction =
  /** From now on input goes to the hold buffer. */
  | 'hold'
  /** Held input goes to the current source, then input flows. */
  | 'release'
  /** Arms the drain limit and reports 'drained' as soon as A's socket took everything. */
  | 'startDrain'
  /** Makes the cookie (from sequence and a fresh secret), registers it, sends GOAHEAD. */
  | 'goahead'
  | 'goaheadAgain'
  | 'notnow'
  /** The cookie becomes useless. */
  | 'dropCookie'
  /** The connection of the event becomes the source. */
  | 'adopt'
  /** The source is no longer the port's: it may deliver what it has sent, then is closed. */
  | 'supersedeSource'
  /** The connection of the event becomes the destination; one that was it before is dropped. */
  | 'bindDestination'
  | 'peerOk'
  /** B is closed, its held output discarded. */
  | 'dropDestination'
  /** B is gone by itself; its held output is discarded. */
  | 'forgetDestination'
  /** B becomes the source; A retires: it may deliver what it has sent, then is closed. */
  | 'promote'
  /** The source is gone; the pointer to it is cleared. */
  | 'loseSource'
  | 'armOrphan'
  | 'disarm'
  | 'reportBegin'
  | 'reportComplete'
  | 'reportImplicitComplete'
  | 'reportAbort'
  | 'reportImplicitAbort'
  | 'reportRefused'
  | 'reportTimeout'
  | 'reportOnline'
  | 'reportOffline'

export type HandoverCell = readonly [next: HandoverState, ...actions: HandoverAction[]]

/** Leaving an open vMotion because another connection claims the port. */
const TAKE_OVER = ['dropCookie', 'disarm', 'supersedeSource', 'adopt', 'release', 'reportOnline'] as const
const TAKE_OVER_PEERED = ['dropDestination', ...TAKE_OVER] as const
const RECOVER = ['dropCookie', 'disarm', 'adopt', 'release', 'reportOnline'] as const
const COMPLETE = ['dropCookie', 'disarm', 'promote', 'release'] as const
const BACK_TO_SOURCE = ['dropCookie', 'disarm', 'release'] as const

export const TRANSITIONS = {
  OFFLINE: {
    attach: ['STEADY', 'adopt', 'release', 'reportOnline'],
    // COMPLETE was seen, B is gone, and the old source says it never left.
    retiredAbort: ['STEADY', 'adopt', 'release', 'reportOnline'],
  },
  STEADY: {
    attach: ['STEADY', 'supersedeSource', 'adopt', 'release', 'reportOnline'],
    sourceBegin: ['DRAINING', 'hold', 'startDrain'],
    refuse: ['STEADY', 'notnow', 'reportRefused'],
    sourceClosed: ['OFFLINE', 'loseSource', 'reportOffline'],
  },
  DRAINING: {
    // The old source waits stunned for an answer, however short it has to live.
    attach: ['STEADY', 'notnow', 'disarm', 'supersedeSource', 'adopt', 'release', 'reportOnline'],
    // The older BEGIN stays without an answer: its NOTNOW could be taken for one to the newer.
    sourceBegin: ['DRAINING', 'startDrain'],
    sourceBeginAgain: ['DRAINING'],
    refuse: ['STEADY', 'disarm', 'notnow', 'release', 'reportRefused'],
    // Reported after the answer is out: nothing a reader of events does may delay it.
    drained: ['HELD', 'goahead', 'armOrphan', 'reportBegin'],
    drainTimeout: ['STEADY', 'notnow', 'release', 'reportRefused'],
    sourceAbort: ['STEADY', 'disarm', 'release', 'reportAbort'],
    sourceClosed: ['OFFLINE', 'disarm', 'loseSource', 'reportOffline'],
  },
  HELD: {
    attach: ['STEADY', ...TAKE_OVER],
    sourceBegin: ['DRAINING', 'dropCookie', 'disarm', 'startDrain'],
    sourceBeginAgain: ['HELD', 'goaheadAgain'],
    refuse: ['STEADY', 'notnow', ...BACK_TO_SOURCE, 'reportRefused'],
    destinationPeer: ['PEERED', 'bindDestination', 'peerOk', 'armOrphan'],
    sourceDataLate: ['RESUMED', 'release', 'reportImplicitAbort'],
    sourceAbort: ['STEADY', ...BACK_TO_SOURCE, 'reportAbort'],
    sourceClosed: ['ORPHANED', 'loseSource', 'armOrphan'],
    orphanTimeout: ['STEADY', ...BACK_TO_SOURCE, 'reportTimeout'],
  },
  RESUMED: {
    attach: ['STEADY', ...TAKE_OVER],
    sourceBegin: ['DRAINING', 'dropCookie', 'disarm', 'hold', 'startDrain'],
    sourceBeginAgain: ['DRAINING', 'dropCookie', 'disarm', 'hold', 'startDrain'],
    refuse: ['STEADY', 'notnow', 'dropCookie', 'disarm', 'reportRefused'],
    destinationPeer: ['PEERED', 'hold', 'bindDestination', 'peerOk', 'armOrphan'],
    sourceAbort: ['STEADY', 'dropCookie', 'disarm'],
    sourceClosed: ['ORPHANED', 'hold', 'loseSource', 'armOrphan'],
    orphanTimeout: ['STEADY', 'dropCookie'],
  },
  PEERED: {
    attach: ['STEADY', ...TAKE_OVER_PEERED],
    sourceBegin: ['DRAINING', 'dropDestination', 'dropCookie', 'disarm', 'startDrain'],
    sourceBeginAgain: ['PEERED', 'goaheadAgain'],
    refuse: ['STEADY', 'dropDestination', 'notnow', ...BACK_TO_SOURCE, 'reportRefused'],
    destinationPeer: ['PEERED', 'bindDestination', 'peerOk', 'armOrphan'],
    destinationComplete: ['STEADY', ...COMPLETE, 'reportComplete'],
    destinationOverflow: ['STEADY', ...COMPLETE, 'reportImplicitComplete'],
    destinationClosed: ['HELD', 'forgetDestination', 'armOrphan'],
    sourceAbort: ['STEADY', 'dropDestination', ...BACK_TO_SOURCE, 'reportAbort'],
    sourceClosed: ['PEERED-ORPHANED', 'loseSource', 'armOrphan'],
    // A is still connected, so it was never torn down: the VM did not leave.
    orphanTimeout: ['STEADY', 'dropDestination', ...BACK_TO_SOURCE, 'reportTimeout'],
  },
  ORPHANED: {
    attach: ['STEADY', ...RECOVER],
    destinationPeer: ['PEERED-ORPHANED', 'bindDestination', 'peerOk', 'armOrphan'],
    orphanTimeout: ['OFFLINE', 'dropCookie', 'reportTimeout', 'reportOffline'],
  },
  'PEERED-ORPHANED': {
    attach: ['STEADY', 'dropDestination', ...RECOVER],
    destinationPeer: ['PEERED-ORPHANED', 'bindDestination', 'peerOk', 'armOrphan'],
    destinationComplete: ['STEADY', ...COMPLETE, 'reportComplete'],
    // A is gone and B has proved the secret: nobody else can be the VM.
    destinationData: ['STEADY', ...COMPLETE, 'reportImplicitComplete'],
    destinationOverflow: ['STEADY', ...COMPLETE, 'reportImplicitComplete'],
    destinationClosed: ['ORPHANED', 'forgetDestination', 'armOrphan'],
    orphanTimeout: ['STEADY', ...COMPLETE, 'reportImplicitComplete'],
  },
} as const satisfies Record<HandoverState, Partial<Record<HandoverEvent, HandoverCell>>>

/** The cell for an event, or null when the event means nothing in this state. */
export function transition(state: HandoverState, event: HandoverEvent): HandoverCell | null {
  const row: Partial<Record<HandoverEvent, HandoverCell>> = TRANSITIONS[state]
  return row[event] ?? null
}
