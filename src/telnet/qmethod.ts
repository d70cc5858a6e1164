/**
 * RFC 1143, the Q method: one table for both sides of an option.
 *
 * Theory: each option has two independent halves. For the half "them" the peer speaks WILL/WONT and we answer DO/DONT;
 * for the half "us" the peer speaks DO/DONT and we answer WILL/WONT. The machine is the same, so events and answers
 * are written as positive and negative. An answer is sent only when it changes or refuses something: a message that
 * confirms the current state is never answered, which is what makes loops impossible.
 *
 * Cell = [next state, answer to send, what to announce]. Where RFC 1143 calls the peer's message an error, the cell
 * holds its recovery.
 */

export type QState = 'NO' | 'YES' | 'WANTNO' | 'WANTNO-OPPOSITE' | 'WANTYES' | 'WANTYES-OPPOSITE'

export type QEvent =
  /** The peer says WILL (DO), and our policy accepts. */
  | 'POSITIVE_OK'
  /** The peer says WILL (DO), and our policy refuses. */
  | 'POSITIVE_NO'
  /** The peer says WONT (DONT). */
  | 'NEGATIVE'
  /** We want the half on. */
  | 'ASK_ON'
  /** We want the half off. */
  | 'ASK_OFF'

export type QCell = readonly [
  next: QState,
  answer: 'POSITIVE' | 'NEGATIVE' | null,
  announce: 'on' | 'off' | 'refused' | null,
]

export const Q_METHOD = {
  NO: {
    POSITIVE_OK: ['YES', 'POSITIVE', 'on'],
    POSITIVE_NO: ['NO', 'NEGATIVE', null],
    NEGATIVE: ['NO', null, null],
    ASK_ON: ['WANTYES', 'POSITIVE', null],
    ASK_OFF: ['NO', null, null],
  },
  YES: {
    POSITIVE_OK: ['YES', null, null],
    POSITIVE_NO: ['YES', null, null],
    NEGATIVE: ['NO', 'NEGATIVE', 'off'],
    ASK_ON: ['YES', null, null],
    ASK_OFF: ['WANTNO', 'NEGATIVE', null],
  },
  WANTNO: {
    // "Error: DONT answered by WILL": taken as a refusal to go on.
    POSITIVE_OK: ['NO', null, 'off'],
    POSITIVE_NO: ['NO', null, 'off'],
    NEGATIVE: ['NO', null, 'off'],
    ASK_ON: ['WANTNO-OPPOSITE', null, null],
    ASK_OFF: ['WANTNO', null, null],
  },
  'WANTNO-OPPOSITE': {
    POSITIVE_OK: ['YES', null, null],
    POSITIVE_NO: ['YES', null, null],
    NEGATIVE: ['WANTYES', 'POSITIVE', 'off'],
    ASK_ON: ['WANTNO-OPPOSITE', null, null],
    ASK_OFF: ['WANTNO', null, null],
  },
  WANTYES: {
    POSITIVE_OK: ['YES', null, 'on'],
    POSITIVE_NO: ['YES', null, 'on'],
    NEGATIVE: ['NO', null, 'refused'],
    ASK_ON: ['WANTYES', null, null],
    ASK_OFF: ['WANTYES-OPPOSITE', null, null],
  },
  'WANTYES-OPPOSITE': {
    // On for the moment it takes the peer to hear that we changed our mind.
    POSITIVE_OK: ['WANTNO', 'NEGATIVE', 'on'],
    POSITIVE_NO: ['WANTNO', 'NEGATIVE', 'on'],
    NEGATIVE: ['NO', null, 'refused'],
    ASK_ON: ['WANTYES', null, null],
    ASK_OFF: ['WANTYES-OPPOSITE', null, null],
  },
} as const satisfies Record<QState, Record<QEvent, QCell>>

/** One step of the machine. */
export function qStep(state: QState, event: QEvent): QCell {
  return Q_METHOD[state][event]
}
