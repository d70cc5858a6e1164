/**
 * One end of a resumable stream, as a table: what becomes of the stream, and of the connection ("leg") that carries it.
 *
 * Rules of the file: everything that decides about legs and about the end is here; positions and buffers are in
 * `machine.ts`. A cell is [next state, ...actions]; an absent cell means that the event has no business in that state:
 * of an owner it is ignored, of the peer it is a fault.
 */

export type LinkState =
  /** No leg. The dialler dials, the acceptor waits for its peer to come back. */
  | 'WAITING'
  /** Dialler only: HELLO sent, no WELCOME yet. */
  | 'GREETING'
  /** Frames flow. */
  | 'JOINED'
  /** Both directions are acknowledged to their ends and the peer was told; waiting to hear the same. */
  | 'CLOSING'
  | 'CLOSED'

export type LinkEvent =
  /** A leg to the peer is there (dialler). */
  | 'dialled'
  /** A leg from the peer, with its HELLO (acceptor). */
  | 'accepted'
  | 'welcomed'
  /** WELCOME says that the stream is not known, or not wanted. */
  | 'turnedAway'
  /** The leg broke, ended, or gives no sign of life. */
  | 'legLost'
  /** Both directions are acknowledged to their ends, on this leg. */
  | 'done'
  /** OVER, reason done. */
  | 'peerDone'
  /** OVER, any other reason. */
  | 'peerGone'
  /** The peer broke the protocol. */
  | 'fault'
  /** Our owner gives the stream up. */
  | 'abort'
  /** Without leg for too long, or not done in time after its owner left it. */
  | 'expired'

export type LinkAction =
  /** The leg at hand is closed at once: nothing on it counts any more. */
  | 'dropLeg'
  /** The leg at hand is closed once what was written to it is out. */
  | 'flushLeg'
  /** The leg of the event is the one from now on. */
  | 'takeLeg'
  | 'hello'
  | 'welcome'
  /** What the peer has not received is sent again, then what waits. */
  | 'replay'
  /** OVER, reason done. */
  | 'tellDone'
  /** OVER with the reason of the event. */
  | 'tellOver'
  /** Buffers are let go and the owner is told why it is over. */
  | 'close'

export type LinkCell = readonly [next: LinkState, ...actions: LinkAction[]]

/** A new leg while there is one: the peer knows better than we that the old one is dead. */
const REDIAL = ['GREETING', 'dropLeg', 'takeLeg', 'hello'] as const
const REJOIN = ['JOINED', 'dropLeg', 'takeLeg', 'welcome', 'replay'] as const
const LOSE = ['WAITING', 'dropLeg'] as const
const GIVE_UP = ['CLOSED', 'tellOver', 'flushLeg', 'close'] as const
const FLUSH = ['CLOSED', 'flushLeg', 'close'] as const

export const TRANSITIONS = {
  WAITING: {
    dialled: ['GREETING', 'takeLeg', 'hello'],
    accepted: ['JOINED', 'takeLeg', 'welcome', 'replay'],
    fault: ['CLOSED', 'close'],
    abort: ['CLOSED', 'close'],
    expired: ['CLOSED', 'close'],
  },
  GREETING: {
    dialled: REDIAL,
    welcomed: ['JOINED', 'replay'],
    turnedAway: FLUSH,
    legLost: LOSE,
    // It does not speak this protocol, so it is not told anything in it.
    fault: ['CLOSED', 'dropLeg', 'close'],
    abort: GIVE_UP,
    expired: GIVE_UP,
  },
  JOINED: {
    dialled: REDIAL,
    accepted: REJOIN,
    legLost: LOSE,
    done: ['CLOSING', 'tellDone'],
    peerGone: FLUSH,
    fault: GIVE_UP,
    abort: GIVE_UP,
    expired: GIVE_UP,
  },
  CLOSING: {
    dialled: REDIAL,
    accepted: REJOIN,
    // The peer may not have heard the last acknowledgement: it can still ask.
    legLost: LOSE,
    peerDone: FLUSH,
    peerGone: FLUSH,
    fault: ['CLOSED', 'dropLeg', 'close'],
    abort: FLUSH,
    expired: FLUSH,
  },
  CLOSED: {},
} as const satisfies Record<LinkState, Partial<Record<LinkEvent, LinkCell>>>

/** The cell for an event, or null when the event means nothing in this state. */
export function transition(state: LinkState, event: LinkEvent): LinkCell | null {
  const row: Partial<Record<LinkEvent, LinkCell>> = TRANSITIONS[state]
  return row[event] ?? null
}
