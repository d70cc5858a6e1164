/**
 * Applies events to one port's handover: keeps the state, the connections and the open cookie, and tells its owner what
 * to do. No I/O, no clock, no randomness: those are the owner's, asked for through {@link HandoverOwner}.
 *
 * `Session` is whatever the owner calls a connection; it is only stored and compared.
 */
import { type Cookie, sameBytes } from './cookies.ts'
import { type HandoverAction, type HandoverEvent, type HandoverState, transition } from './states.ts'

/** How a vMotion, or a claim on the port, went. */
export type HandoverReport =
  | 'begin'
  | 'complete'
  | 'implicit-complete'
  | 'abort'
  | 'implicit-abort'
  | 'refused'
  | 'timeout'
  | 'online'
  | 'offline'

/** Performs what the table decides. Every method runs inside `apply`, in the order of the cell. */
export interface HandoverOwner<Session> {
  hold(): void
  /** `to` is the source from now on. */
  release(to: Session): void
  /** Calls `apply('drained')` at once or later, or `apply('drainTimeout')`. */
  startDrain(source: Session): void
  /** Draws a secret and registers the cookie. Throws when it cannot: the answer is then NOTNOW. */
  openCookie(sequence: Uint8Array): Cookie<unknown>
  /** `openCookie` threw. */
  failed(error: unknown): void
  closeCookie(cookie: Cookie<unknown>): void
  sendGoahead(source: Session, cookie: Cookie<unknown>): void
  sendNotNow(source: Session, sequence: Uint8Array): void
  sendPeerOk(destination: Session, sequence: Uint8Array): void
  /** The connection is no longer the port's source; what it has sent still counts. */
  retire(session: Session, why: 'moved' | 'superseded'): void
  /** Close a destination and discard what it sent. */
  drop(destination: Session): void
  /** A destination's held output is void. */
  discardDestinationOutput(): void
  /** The destination became the source: its held output follows what the old source still delivers. */
  promoted(source: Session, former: Session | null): void
  armOrphan(): void
  disarm(): void
  report(what: HandoverReport): void
}

const REPORTS: Partial<Record<HandoverAction, HandoverReport>> = {
  reportBegin: 'begin',
  reportComplete: 'complete',
  reportImplicitComplete: 'implicit-complete',
  reportAbort: 'abort',
  reportImplicitAbort: 'implicit-abort',
  reportRefused: 'refused',
  reportTimeout: 'timeout',
  reportOnline: 'online',
  reportOffline: 'offline',
}

export class Handover<Session> {
  readonly #owner: HandoverOwner<Session>
  #state: HandoverState = 'OFFLINE'
  #source: Session | null = null
  #destination: Session | null = null
  #cookie: Cookie<unknown> | null = null
  /** Of the BEGIN being drained. */
  #sequence: Uint8Array | null = null

  constructor(owner: HandoverOwner<Session>) {
    this.#owner = owner
  }

  get state(): HandoverState {
    return this.#state
  }

  /** The connection input goes to and output comes from. */
  get source(): Session | null {
    return this.#source
  }

  get destination(): Session | null {
    return this.#destination
  }

  get cookie(): Cookie<unknown> | null {
    return this.#cookie
  }

  /** A connection without a vMotion behind it claims the port: the newest wins. */
  attach(session: Session): void {
    this.#apply('attach', session)
  }

  /** VMOTION-BEGIN on `session`. Always answered if `session` is the source. @returns false when it is not. */
  begin(session: Session, sequence: Uint8Array, grantable: boolean): boolean {
    if (session !== this.#source) return false
    const open = this.#cookie?.sequence ?? (this.#state === 'DRAINING' ? this.#sequence : null)
    const again = open !== null && sameBytes(open, sequence)
    this.#sequence = sequence
    if (!grantable) return this.#apply('refuse', session)
    return this.#apply(again ? 'sourceBeginAgain' : 'sourceBegin', session)
  }

  /** VMOTION-PEER whose cookie is this port's. @returns false when it came too late. */
  peer(session: Session, cookie: Cookie<unknown>): boolean {
    if (cookie !== this.#cookie || session === this.#source) return false
    return this.#apply('destinationPeer', session)
  }

  /** VMOTION-COMPLETE on `session`. @returns false when it has no effect: wrong side, wrong sequence, repeated. */
  complete(session: Session, sequence: Uint8Array): boolean {
    if (session !== this.#destination || !this.#cookie || !sameBytes(this.#cookie.sequence, sequence)) return false
    return this.#apply('destinationComplete', session)
  }

  /** VMOTION-ABORT on `session`. @returns false when it has no effect: wrong side, or nothing to abort. */
  abort(session: Session, retired: boolean): boolean {
    if (session === this.#source) return this.#apply('sourceAbort', session)
    return retired && this.#source === null && this.#destination === null && this.#apply('retiredAbort', session)
  }

  closed(session: Session): boolean {
    if (session === this.#source) return this.#apply('sourceClosed', session)
    return session === this.#destination && this.#apply('destinationClosed', session)
  }

  /** A's socket took everything that was handed to it: GOAHEAD, or NOTNOW if no cookie can be made. */
  drained(): boolean {
    if (this.#state !== 'DRAINING' || this.#sequence === null) return false
    try {
      this.#cookie = this.#owner.openCookie(this.#sequence)
    } catch (error) {
      this.#owner.failed(error)
      return this.#apply('refuse', this.#source)
    }
    return this.#apply('drained', this.#source)
  }

  drainTimeout(): boolean {
    return this.#apply('drainTimeout', this.#source)
  }

  orphanTimeout(): boolean {
    return this.#apply('orphanTimeout', this.#source)
  }

  /** Serial data on the source, `late` = longer after GOAHEAD than a stunned VM can be silent. */
  sourceData(late: boolean): void {
    if (late && this.#state === 'HELD') this.#apply('sourceDataLate', this.#source)
  }

  /** Serial data on the destination. @returns true when that made it the source. */
  destinationData(overflow: boolean): boolean {
    if (this.#state === 'PEERED-ORPHANED') return this.#apply('destinationData', this.#destination)
    return overflow && this.#apply('destinationOverflow', this.#destination)
  }

  #apply(event: HandoverEvent, session: Session | null): boolean {
    const cell = transition(this.#state, event)
    if (cell === null) return false
    const [next, ...actions] = cell
    this.#state = next
    for (const action of actions) this.#perform(action, session)
    return true
  }

  #perform(action: HandoverAction, session: Session | null): void {
    const owner = this.#owner
    switch (action) {
      case 'hold':
        owner.hold()
        break
      case 'release':
        if (this.#source !== null) owner.release(this.#source)
        break
      case 'startDrain':
        if (this.#source !== null) owner.startDrain(this.#source)
        break
      case 'goahead':
      case 'goaheadAgain':
        if (this.#source !== null && this.#cookie) owner.sendGoahead(this.#source, this.#cookie)
        break
      case 'notnow':
        if (this.#source !== null && this.#sequence) owner.sendNotNow(this.#source, this.#sequence)
        break
      case 'dropCookie':
        if (this.#cookie) owner.closeCookie(this.#cookie)
        this.#cookie = null
        break
      case 'adopt':
        this.#source = session
        break
      case 'supersedeSource':
        if (this.#source !== null && this.#source !== session) owner.retire(this.#source, 'superseded')
        break
      case 'bindDestination':
        if (this.#destination !== null && this.#destination !== session) this.#dropDestination()
        this.#destination = session
        break
      case 'peerOk':
        if (session !== null && this.#cookie) owner.sendPeerOk(session, this.#cookie.sequence)
        break
      case 'dropDestination':
        this.#dropDestination()
        break
      case 'forgetDestination':
        this.#destination = null
        owner.discardDestinationOutput()
        break
      case 'promote':
        this.#promote()
        break
      case 'loseSource':
        this.#source = null
        break
      case 'armOrphan':
        owner.armOrphan()
        break
      case 'disarm':
        owner.disarm()
        break
      default: {
        const report = REPORTS[action]
        if (report) owner.report(report)
      }
    }
  }

  #dropDestination(): void {
    const destination = this.#destination
    this.#destination = null
    this.#owner.discardDestinationOutput()
    if (destination !== null) this.#owner.drop(destination)
  }

  #promote(): void {
    const former = this.#source
    const source = this.#destination
    if (source === null) return
    this.#source = source
    this.#destination = null
    if (former !== null) this.#owner.retire(former, 'moved')
    this.#owner.promoted(source, former)
  }
}
