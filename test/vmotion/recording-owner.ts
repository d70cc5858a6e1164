import type { Cookie, HandoverEvent, HandoverOwner, HandoverReport, HandoverState } from '../../src/vmotion/index.ts'
import { Handover } from '../../src/vmotion/index.ts'

/** Sequences of the BEGINs in these tests: of the vMotion that is open, of the next one, of one that is refused. */
export const S1 = Uint8Array.of(1, 0xff, 1)
export const S2 = Uint8Array.of(2, 0xff, 2)
export const S3 = Uint8Array.of(3, 0xff, 3)

/** An owner that does nothing but write down what it was told, in order. Connections are single letters. */
export class RecordingOwner implements HandoverOwner<string> {
  readonly calls: string[] = []
  held = false
  drainsAtOnce = false
  secretFails = false
  orphanArmed = false
  drainArmed = false
  readonly open = new Set<Cookie<unknown>>()
  #secrets = 0

  hold(): void {
    this.held = true
    this.calls.push('hold')
  }

  release(to: string): void {
    this.held = false
    this.calls.push(`release ${to}`)
  }

  /** Set by whoever wants `drained` to come at once. */
  onDrain: () => void = () => {}

  startDrain(source: string): void {
    this.drainArmed = true
    this.calls.push(`drain ${source}`)
    if (this.drainsAtOnce) this.onDrain()
  }

  openCookie(sequence: Uint8Array): Cookie<unknown> {
    if (this.secretFails) throw new Error('no randomness')
    const cookie = { owner: this, sequence, secret: Uint8Array.of(++this.#secrets) }
    this.open.add(cookie)
    return cookie
  }

  failed(): void {
    this.calls.push('failed')
  }

  closeCookie(cookie: Cookie<unknown>): void {
    if (!this.open.delete(cookie)) throw new Error('closed a cookie that is not open')
    this.calls.push(`close ${cookie.sequence[0]}`)
  }

  sendGoahead(source: string, cookie: Cookie<unknown>): void {
    this.drainArmed = false
    this.calls.push(`GOAHEAD ${cookie.sequence[0]} ${source}`)
  }

  sendNotNow(source: string, sequence: Uint8Array): void {
    this.calls.push(`NOTNOW ${sequence[0]} ${source}`)
  }

  sendPeerOk(destination: string, sequence: Uint8Array): void {
    this.calls.push(`PEER-OK ${sequence[0]} ${destination}`)
  }

  retire(session: string, why: 'moved' | 'superseded'): void {
    this.calls.push(`retire ${session} ${why}`)
  }

  drop(destination: string): void {
    this.calls.push(`drop ${destination}`)
  }

  discardDestinationOutput(): void {
    this.calls.push('discard')
  }

  promoted(source: string, former: string | null): void {
    this.calls.push(`promoted ${source} after ${former ?? 'nobody'}`)
  }

  armOrphan(): void {
    this.orphanArmed = true
    this.calls.push('arm')
  }

  disarm(): void {
    this.orphanArmed = false
    this.drainArmed = false
    this.calls.push('disarm')
  }

  report(what: HandoverReport): void {
    this.calls.push(`(${what})`)
  }
}

/** A handover with its owner, and the letters of who plays what: A source, B destination, N a newcomer. */
export class Stage {
  readonly owner = new RecordingOwner()
  readonly handover = new Handover<string>(this.owner)

  constructor() {
    this.owner.onDrain = () => this.handover.drained()
  }

  /** As a fresh port gets there: A is the source, its BEGIN had sequence {@link S1}. */
  static at(state: HandoverState): Stage {
    const stage = new Stage()
    for (const event of ROUTES[state]) stage.fire(event, event === 'attach' ? 'A' : 'B', S1)
    stage.owner.calls.length = 0
    return stage
  }

  /**
   * Lets an event happen as the wire would: it goes through the method a port calls for it, whatever the state.
   * @param who the connection of `attach` and `destinationPeer`. @param sequence of `sourceBegin`.
   */
  fire(event: HandoverEvent, who = 'N', sequence = S2): boolean | undefined {
    const { handover } = this
    const source = handover.source ?? 'X'
    const destination = handover.destination ?? 'Y'
    switch (event) {
      case 'attach':
        return void handover.attach(who)
      case 'sourceBegin':
        return handover.begin(source, sequence, true)
      case 'sourceBeginAgain':
        return handover.begin(source, S1, true)
      case 'refuse':
        return handover.begin(source, S3, false)
      case 'drained':
        return handover.drained()
      case 'drainTimeout':
        this.owner.drainArmed = false
        return handover.drainTimeout()
      case 'destinationPeer': {
        const stale = { owner: null, sequence: S1, secret: S1 }
        return handover.peer(who, handover.cookie ?? stale)
      }
      case 'destinationComplete':
        return handover.complete(destination, S1)
      case 'destinationData':
        return handover.destinationData(false)
      case 'destinationOverflow':
        return handover.destinationData(true)
      case 'destinationClosed':
        return handover.closed(destination)
      case 'sourceDataLate':
        return void handover.sourceData(true)
      case 'sourceAbort':
        return handover.abort(source, false)
      case 'sourceClosed':
        return handover.closed(source)
      case 'retiredAbort':
        return handover.abort('R', true)
      case 'orphanTimeout':
        this.owner.orphanArmed = false
        return handover.orphanTimeout()
    }
  }

  /** `STATE source destination cookie input timers`, a dot for nobody and nothing. */
  describe(): string {
    const { handover, owner } = this
    const timers = `${owner.orphanArmed ? 'orphan' : ''}${owner.drainArmed ? 'drain' : ''}`
    return [
      handover.state,
      handover.source ?? '.',
      handover.destination ?? '.',
      handover.cookie?.sequence[0] ?? '.',
      owner.held ? 'held' : 'flows',
      timers || '.',
    ].join(' ')
  }
}

const ROUTES: Record<HandoverState, readonly HandoverEvent[]> = {
  OFFLINE: [],
  STEADY: ['attach'],
  DRAINING: ['attach', 'sourceBegin'],
  HELD: ['attach', 'sourceBegin', 'drained'],
  RESUMED: ['attach', 'sourceBegin', 'drained', 'sourceDataLate'],
  PEERED: ['attach', 'sourceBegin', 'drained', 'destinationPeer'],
  ORPHANED: ['attach', 'sourceBegin', 'drained', 'sourceClosed'],
  'PEERED-ORPHANED': ['attach', 'sourceBegin', 'drained', 'destinationPeer', 'sourceClosed'],
}
