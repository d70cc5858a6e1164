/**
 * One virtual serial port: which connection it runs on, who is attached, and the bytes in between.
 *
 * Output goes connection -> history -> consoles, which are cursors into it; there is no other queue. Input goes consoles -> one bounded queue
 * -> connection; a vMotion only stops that queue from being pumped, so what was accepted is neither lost nor doubled.
 * Who owns the port is decided by the handover table alone; this file performs what it says.
 *
 * An idle port is one small object: consoles, queues and timers exist only while they are needed.
 */
import { errorMessage, type Timer, VspcError } from '../base/index.ts'
import type { History, HistoryOwner, PortMeta } from '../history/index.ts'
import type { LineSettings } from '../telnet/index.ts'
import { type Cookie, drawSecret, Handover, type HandoverOwner, type HandoverReport } from '../vmotion/index.ts'
import { connectedMs } from './connected-time.ts'
import type { Console } from './console.ts'
import type { Core } from './core.ts'
import { portId, type VmIdentity } from './identity.ts'
import { type AttachOptions, PortConsoles } from './port-consoles.ts'
import { learnIdentity } from './port-identity.ts'
import { portInfo, portMeta } from './port-info.ts'
import { InputQueue } from './port-input.ts'
import { DestinationOutput } from './port-output.ts'
import { reportHandover } from './port-reports.ts'
import { Succession } from './succession.ts'
import type { ConsoleClient, ConsoleMessage, PortEventType, PortState } from './types.ts'
import type { VmSession } from './vm-session.ts'

const NO_CONSOLES: readonly Console[] = []
const NO_SESSIONS: readonly VmSession[] = []
let lastSerial = 0

export class Port implements HandoverOwner<VmSession>, HistoryOwner {
  readonly core: Core
  readonly history: History
  readonly serial = ++lastSerial
  readonly handover: Handover<VmSession>
  vmKey: string
  readonly label: string | null
  name = ''
  vcUuid: string | null = null
  biosUuid: string | null = null
  locationUuid: string | null = null
  serviceURI: string | null = null
  direction: 'server' | 'client' | null = null
  /** Changes when offsets begin anew: when a port was forgotten and came again. */
  readonly epoch: string
  line: LineSettings | null = null
  /** The TCP port for Telnet clients: set by who listens there. */
  telnetPort: number | null = null
  bytesToVm = 0
  vmotions = 0
  /** Wall clock, ms; 0 = never. */
  lastOutputAt = 0
  /** Monotonic, ms. */
  offlineSince = 0
  /** The last connection: what `vspc ports` shows while offline. */
  lastSession: VmSession | null = null
  #held = false
  #consoles: PortConsoles | null = null
  #input: InputQueue | null = null
  #destinationOutput: DestinationOutput<VmSession> | null = null
  #succession: Succession | null = null
  /** Connections that wait for the disk. */
  #paused = NO_SESSIONS
  /** Of a vMotion: until input has drained, then until it is over. */
  #timer: Timer | null = null
  #beganAt = 0
  #goaheadAt = 0

  /** @param epoch of the history that is there from before; null = none is. */
  constructor(core: Core, vmKey: string, label: string | null, epoch: string | null = null) {
    this.core = core
    this.vmKey = vmKey
    this.label = label
    this.epoch = epoch ?? `${core.epoch}-${this.serial}`
    this.history = core.histories.open(this.id, this)
    this.handover = new Handover<VmSession>(this)
  }

  get id(): string {
    return portId(this.vmKey, this.label)
  }

  /** For people: `vm1`, `vm1/com2`, or the id while the name is unknown. */
  get displayName(): string {
    if (this.name === '') return this.id
    return this.label === null ? this.name : `${this.name}/${this.label}`
  }

  get state(): PortState {
    const state = this.handover.state
    if (state === 'OFFLINE') return 'offline'
    return state === 'STEADY' || state === 'RESUMED' ? 'online' : 'migrating'
  }

  // Connections

  /** A connection that introduced itself as this port. The newest wins. */
  attachSession(session: VmSession): void {
    const former = this.handover.source
    this.#flushTail()
    if (this.#succession !== null || session.link !== null || (former !== null && former.link !== null)) {
      this.#succession ??= new Succession(this)
      this.#succession.join(session)
    }
    // Without connection when it should have said which VM it is: the VM has made another one since.
    if (former !== null && session.link !== null && session.order < former.order) {
      session.retire('superseded')
      return
    }
    if (former !== null) this.core.counters.takeovers++
    this.lastSession = session
    this.handover.attach(session)
    this.core.cameOnline(this)
  }

  /** VMOTION-BEGIN on `session`. Always answered: whatever fails in here ends in NOTNOW. */
  begin(session: VmSession, sequence: Uint8Array): void {
    this.#beganAt = this.core.clock.now()
    this.#flushTail()
    this.#succession?.flush()
    const grantable = !this.core.stopping && sequence.length <= this.core.limits.maxSequenceBytes
    if (!this.handover.begin(session, sequence, grantable)) session.send({ kind: 'VMOTION-NOTNOW', sequence })
  }

  /** A connection is gone, or has said FIN. */
  sessionClosed(session: VmSession): void {
    if (this.#destinationOutput?.tailOf === session) this.#flushTail()
    this.handover.closed(session)
    this.#succession?.ended(session)
  }

  /** What the VM's connection says about itself after it was attached. */
  learn(identity: VmIdentity): void {
    learnIdentity(this, identity)
  }

  // Output: VM to consoles

  /** Serial data from one of the port's connections: its source, its destination, or one that is leaving. */
  output(session: VmSession, bytes: Uint8Array): void {
    const handover = this.handover
    if (this.#succession?.output(session, bytes)) return
    if (session === handover.source) {
      if (handover.state === 'HELD') {
        handover.sourceData(this.core.clock.now() - this.#goaheadAt > this.core.limits.resumeAfterMs)
      }
      const waiting = this.#destinationOutput
      if (waiting === null || waiting.tailOf === null) this.deliver(bytes, session)
      else if (waiting.push(bytes)) this.#flushTail()
    } else if (session === handover.destination) {
      handover.destinationData(this.#ofDestination().push(bytes))
    } else {
      this.#outputOfFormer(session, bytes)
    }
  }

  /** Superseded or moved away: what it sent before is still output. Data much later prove that it is another port. */
  #outputOfFormer(session: VmSession, bytes: Uint8Array): void {
    const { clock, limits } = this.core
    const since = session.supersededAt
    const passed = Math.min(clock.now() - since, connectedMs(session.link) ?? 0)
    // One that we have ended already could run no port: nothing can be sent on it.
    if (since > 0 && session.reachable && passed > limits.takeoverGraceMs / 2) {
      this.core.park(this, session).output(session, bytes)
    } else {
      this.deliver(bytes, session)
    }
  }

  #ofDestination(): DestinationOutput<VmSession> {
    const { destinationOutputBytes } = this.core.limits
    this.#destinationOutput ??= new DestinationOutput(destinationOutputBytes, (held) => this.deliver(held, null))
    return this.#destinationOutput
  }

  /** @param from is asked to wait if the disk is behind; null = nobody can. */
  deliver(bytes: Uint8Array, from: VmSession | null): void {
    this.lastOutputAt = this.core.clock.wall()
    this.core.counters.bytesFromVm += bytes.length
    this.core.watch?.output(this.serial, this.history.next, bytes)
    if (this.history.append(bytes) || from === null) return
    from.pauseReading()
    this.#paused = [...this.#paused, from]
  }

  lineEnded(): void {
    this.#succession = null
  }

  // HistoryOwner

  describe(): PortMeta {
    return portMeta(this)
  }

  historyVisible(): void {
    this.#consoles?.catchUp()
  }

  historyDrained(): void {
    for (const session of this.#paused) session.resumeReading()
    this.#paused = NO_SESSIONS
  }

  /** After COMPLETE: the old source has ended, or waited long enough for; the new one's first bytes follow. */
  #flushTail(): void {
    if (this.#destinationOutput !== null && this.#destinationOutput.tailOf !== null) this.#flushWaiting()
  }

  #flushWaiting(): void {
    const waiting = this.#destinationOutput
    this.#destinationOutput = null
    waiting?.flush()
  }

  // Input: consoles to VM

  /** Bytes for the VM, which nobody may change afterwards. Never dropped: when the queue is full, consoles are paused. */
  input(bytes: Uint8Array): void {
    const source = this.handover.source
    const direct =
      !this.#held && this.#input === null && source?.writable && bytes.length <= this.core.limits.vmSocketBytes
    if (direct) {
      this.#send(source, bytes)
      return
    }
    this.#input ??= new InputQueue(this.core.limits)
    if (this.#input.push(bytes)) this.#consoles?.setInputPaused(true)
    this.pump()
  }

  /** Moves queued input to the source while it takes it. Called when its socket has drained. */
  pump(): void {
    const queue = this.#input
    const source = this.handover.source
    if (queue === null || source === null || this.#held) return
    const resumed = queue.pump(source, (to, piece) => this.#send(to, piece))
    if (queue.byteLength === 0) this.#input = null
    if (resumed) this.#consoles?.setInputPaused(false)
  }

  /** The source's socket took everything. */
  sessionDrained(session: VmSession): void {
    if (session !== this.handover.source) return
    if (!this.handover.drained()) this.pump()
  }

  /** @throws VspcError VSPC_BREAK_UNSUPPORTED when the connection has no way to carry one. */
  sendBreak(): void {
    const source = this.handover.source
    if (source === null || this.#held) {
      throw new VspcError(
        'VSPC_BREAK_UNSUPPORTED',
        'no break while the VM is offline or moving; try again when it is online',
      )
    }
    source.sendBreak()
  }

  #send(source: VmSession, bytes: Uint8Array): void {
    this.bytesToVm += bytes.length
    this.core.counters.bytesToVm += bytes.length
    source.sendInput(bytes)
  }

  // Consoles

  get consoles(): readonly Console[] {
    return this.#consoles?.list ?? NO_CONSOLES
  }

  /**
   * Attaches a console. From `from` on, what is in memory and the transport takes is sent before this returns.
   * @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY, VSPC_ACCESS_DENIED.
   */
  attachConsole(client: ConsoleClient, options: AttachOptions): Console {
    this.#consoles ??= new PortConsoles(this)
    return this.#consoles.attach(client, options, this.#input?.full ?? false)
  }

  /** Null while there are none. */
  get consoleGroup(): PortConsoles | null {
    return this.#consoles
  }

  consolesGone(): void {
    this.#consoles = null
  }

  tellConsoles(message: ConsoleMessage): void {
    this.#consoles?.tell(message)
  }

  // HandoverOwner: what the table decides

  hold(): void {
    this.#held = true
  }

  release(to: VmSession): void {
    this.#held = false
    this.lastSession = to
    this.pump()
  }

  startDrain(source: VmSession): void {
    this.disarm()
    if (source.drained) this.handover.drained()
    else this.#timer = this.core.clock.after(this.core.limits.goaheadMs, () => this.handover.drainTimeout())
  }

  openCookie(sequence: Uint8Array): Cookie<unknown> {
    return this.core.cookies.open(this, sequence, drawSecret(this.core.random))
  }

  failed(error: unknown): void {
    this.core.counters.internalErrors++
    this.core.log.error(
      { port: this.id, error: errorMessage(error) },
      'no vMotion secret could be made: answered NOTNOW',
    )
  }

  closeCookie(cookie: Cookie<unknown>): void {
    this.core.cookies.close(cookie as Cookie<Port>)
  }

  sendGoahead(source: VmSession, cookie: Cookie<unknown>): void {
    source.send({ kind: 'VMOTION-GOAHEAD', sequence: cookie.sequence, secret: cookie.secret })
    this.#goaheadAt = this.core.clock.now()
    this.core.observeGoahead(this.#goaheadAt - this.#beganAt)
  }

  sendNotNow(source: VmSession, sequence: Uint8Array): void {
    source.send({ kind: 'VMOTION-NOTNOW', sequence })
    this.core.observeGoahead(this.core.clock.now() - this.#beganAt)
  }

  sendPeerOk(destination: VmSession, sequence: Uint8Array): void {
    destination.send({ kind: 'VMOTION-PEER-OK', sequence })
  }

  retire(session: VmSession, why: 'moved' | 'superseded'): void {
    session.retire(why)
  }

  drop(destination: VmSession): void {
    destination.close('its vMotion was given up')
  }

  discardDestinationOutput(): void {
    if (this.#destinationOutput?.tailOf === null) this.#destinationOutput = null
  }

  promoted(source: VmSession, former: VmSession | null): void {
    source.becomeSource()
    const { limits, clock } = this.core
    if (former === null || former.ended || limits.sourceTailMs <= 0) this.#flushWaiting()
    // Two connections, no order between them: give the old one's last bytes a moment to arrive first.
    else this.#ofDestination().awaitTail(former, clock, limits.sourceTailMs, () => this.#flushTail())
  }

  armOrphan(): void {
    this.disarm()
    this.#timer = this.core.clock.after(this.core.limits.orphanMs, () => this.handover.orphanTimeout())
  }

  disarm(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  report(what: HandoverReport): void {
    if (what === 'complete' || what === 'implicit-complete') this.vmotions++
    if (what === 'offline') this.offlineSince = this.core.clock.now()
    reportHandover(this, what, this.core.clock.now() - this.#beganAt)
  }

  emitPort(type: PortEventType): void {
    this.core.emit((at) => ({ type, at, port: this.info() }))
  }

  info() {
    return portInfo(this)
  }

  /** Ends everything that hangs on the port; it is out of the table already. */
  dispose(reason: string): void {
    this.disarm()
    this.#destinationOutput?.stop()
    this.#succession?.stop()
    const cookie = this.handover.cookie
    if (cookie) this.closeCookie(cookie)
    this.#consoles?.closeAll(reason, 'VSPC_PORT_REMOVED')
    this.history.remove()
    this.historyDrained()
  }
}
