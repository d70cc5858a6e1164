/**
 * One virtual serial port: which connection it runs on, who is attached, and the bytes in between.
 *
 * Output goes connection -> history -> consoles, at once and without a queue. Input goes consoles -> one bounded queue
 * -> connection; a vMotion only stops that queue from being pumped, so what was accepted is neither lost nor doubled.
 * Who owns the port is decided by the handover table alone; this file performs what it says.
 */
import { ByteQueue, errorMessage, type Timer, VspcError } from '../base/index.ts'
import type { LineSettings } from '../telnet/index.ts'
import { type Cookie, drawSecret, Handover, type HandoverOwner, type HandoverReport } from '../vmotion/index.ts'
import { decideMode } from './access.ts'
import { Console } from './console.ts'
import type { Core } from './core.ts'
import { type History, MemoryHistory } from './history.ts'
import { portId, type VmIdentity } from './identity.ts'
import { portInfo } from './port-info.ts'
import type { ConsoleClient, ConsoleMessage, ConsoleMode, PortEventType, PortState, VmotionEventType } from './types.ts'
import type { VmSession } from './vm-session.ts'

/** Data on a superseded connection this long after it was superseded prove a second port, not a late segment. */
const SECOND_PORT_AFTER_MS = 100

const NO_CONSOLES: readonly Console[] = []
let lastConsoleId = 0

export class Port implements HandoverOwner<VmSession> {
  readonly core: Core
  readonly history: History
  readonly handover: Handover<VmSession>
  vmKey: string
  readonly label: string | null
  name = ''
  vcUuid: string | null = null
  biosUuid: string | null = null
  locationUuid: string | null = null
  serviceURI: string | null = null
  direction: 'server' | 'client' | null = null
  line: LineSettings | null = null
  consoles: readonly Console[] = NO_CONSOLES
  bytesToVm = 0
  vmotions = 0
  /** Wall clock, ms; 0 = never. */
  lastOutputAt = 0
  offlineSince = 0
  /** The last connection: what `vspc ports` shows while offline. */
  lastSession: VmSession | null = null
  #held = false
  #input: ByteQueue | null = null
  #inputFull = false
  #destinationOutput: ByteQueue | null = null
  /** After COMPLETE: the old source whose last bytes go before the new one's first. */
  #tailOf: VmSession | null = null
  #drainTimer: Timer | null = null
  #orphanTimer: Timer | null = null
  #tailTimer: Timer | null = null
  #beganAt = 0
  #goaheadAt = 0

  constructor(core: Core, vmKey: string, label: string | null) {
    this.core = core
    this.vmKey = vmKey
    this.label = label
    this.history = new MemoryHistory(core.limits.historyBytes)
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
    if (this.handover.source !== null) this.core.counters.takeovers++
    if (this.#tailOf !== null) this.#flushDestinationOutput()
    this.lastSession = session
    this.handover.attach(session)
    this.core.cameOnline(this)
  }

  /** VMOTION-BEGIN on `session`. Always answered: whatever fails in here ends in NOTNOW. */
  begin(session: VmSession, sequence: Uint8Array): void {
    this.#beganAt = this.core.clock.now()
    if (this.#tailOf !== null) this.#flushDestinationOutput()
    const grantable = !this.core.stopping && sequence.length <= this.core.limits.maxSequenceBytes
    if (!this.handover.begin(session, sequence, grantable)) session.send({ kind: 'VMOTION-NOTNOW', sequence })
  }

  /** A connection is gone, or has said FIN. */
  sessionClosed(session: VmSession): void {
    if (this.#tailOf === session) this.#flushDestinationOutput()
    this.handover.closed(session)
  }

  /** What the VM's connection says about itself after it was attached. */
  learn(identity: VmIdentity): void {
    if (identity.name !== '' && identity.name !== this.name) {
      const renamed = this.name !== ''
      this.name = identity.name
      if (renamed) this.emitPort('port-renamed')
      this.tellConsoles({ type: 'renamed', name: this.displayName, port: this.id })
    }
    this.biosUuid ??= identity.biosUuid
    this.locationUuid = identity.locationUuid ?? this.locationUuid
    if (identity.vcUuid !== null && this.vcUuid !== null && identity.vcUuid !== this.vcUuid) {
      this.core.log.warn(
        { port: this.id, uuid: identity.vcUuid },
        'VM-VC-UUID changed on an attached port; the first one is kept',
      )
    } else if (identity.vcUuid !== null && this.vcUuid === null) {
      this.vcUuid = identity.vcUuid
      this.#rekey(identity.vcUuid)
    }
  }

  /** The UUID came after the port had to be named without it. */
  #rekey(key: string): void {
    const previousId = this.id
    const nextId = portId(key, this.label)
    if (key === this.vmKey) return
    if (this.core.table.get(nextId)) {
      this.core.log.warn({ port: previousId, uuid: key }, 'late VM-VC-UUID names another port; this one keeps its id')
      return
    }
    this.core.table.remove(this)
    this.vmKey = key
    this.core.table.add(this)
    this.core.log.info({ port: this.id, previousId }, 'port named by its UUID, which came late')
    this.core.emit((at) => ({ type: 'port-rekeyed', at, port: this.info(), previousId }))
    this.tellConsoles({ type: 'renamed', name: this.displayName, port: this.id })
  }

  // Output: VM to consoles

  /** Serial data from one of the port's connections: its source, its destination, or one that is leaving. */
  output(session: VmSession, bytes: Uint8Array): void {
    const handover = this.handover
    if (session === handover.source) {
      if (handover.state === 'HELD') {
        handover.sourceData(this.core.clock.now() - this.#goaheadAt > this.core.limits.resumeAfterMs)
      }
      if (this.#tailOf === null) this.#deliver(bytes)
      else this.#holdOutput(bytes)
    } else if (session === handover.destination) {
      const queued = (this.#destinationOutput?.byteLength ?? 0) + bytes.length
      this.#holdOutput(bytes)
      handover.destinationData(queued > this.core.limits.destinationOutputBytes)
    } else {
      // Superseded or moved away: what it has sent before is still output. Much later it is another port.
      const since = session.supersededAt
      if (since > 0 && this.core.clock.now() - since > SECOND_PORT_AFTER_MS) this.core.park(this, session)
      else this.#deliver(bytes)
    }
  }

  #deliver(bytes: Uint8Array): void {
    const history = this.history
    const start = history.next
    history.append(bytes)
    this.lastOutputAt = this.core.clock.wall()
    this.core.counters.bytesFromVm += bytes.length
    const consoles = this.consoles
    for (let i = 0; i < consoles.length; i++) (consoles[i] as Console).live(bytes, start)
  }

  #holdOutput(bytes: Uint8Array): void {
    this.#destinationOutput ??= new ByteQueue(this.core.limits.destinationOutputBytes)
    this.#destinationOutput.push(bytes)
    if (this.#tailOf !== null && this.#destinationOutput.full) this.#flushDestinationOutput()
  }

  #flushDestinationOutput(): void {
    this.#tailOf = null
    this.#tailTimer?.cancel()
    this.#tailTimer = null
    const queue = this.#destinationOutput
    this.#destinationOutput = null
    if (queue === null) return
    for (let piece = queue.shift(); piece !== null; piece = queue.shift()) this.#deliver(piece)
  }

  // Input: consoles to VM

  /** Bytes for the VM; the caller keeps them. Never dropped: when the queue is full, consoles are paused. */
  input(bytes: Uint8Array): void {
    const source = this.handover.source
    const queued = this.#input?.byteLength ?? 0
    if (
      !this.#held &&
      source !== null &&
      queued === 0 &&
      source.writable &&
      bytes.length <= this.core.limits.vmSocketBytes
    ) {
      this.#send(source, bytes)
      return
    }
    this.#input ??= new ByteQueue(this.core.limits.inputBytes, this.core.limits.inputPieces)
    this.#input.push(bytes)
    this.pump()
    if (this.#input?.full && !this.#inputFull) {
      this.#inputFull = true
      for (const console of this.consoles) console.setInputPaused(true)
    }
  }

  /** Moves queued input to the source while it takes it. Called when its socket has drained. */
  pump(): void {
    const queue = this.#input
    const source = this.handover.source
    if (queue === null || source === null || this.#held) return
    while (source.writable) {
      const piece = queue.shift(this.core.limits.vmSocketBytes)
      if (piece === null) break
      this.#send(source, piece)
    }
    if (this.#inputFull && queue.byteLength * 2 <= this.core.limits.inputBytes && !queue.full) {
      this.#inputFull = false
      for (const console of this.consoles) console.setInputPaused(false)
    }
    if (queue.byteLength === 0) this.#input = null
  }

  /** The source's socket took everything. */
  sessionDrained(session: VmSession): void {
    if (session !== this.handover.source) return
    if (this.handover.state === 'DRAINING') this.#drained()
    else this.pump()
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

  /**
   * Attaches a console. History from `from` on is sent before this returns, as far as the transport takes it.
   * @param from offset of the first byte wanted; negative = from the end; null = live only.
   * @throws VspcError VSPC_CONSOLE_BUSY, VSPC_CONSOLE_TOO_MANY.
   */
  attachConsole(
    client: ConsoleClient,
    options: { mode: ConsoleMode; from: number | null; who: string; force: boolean },
  ): Console {
    const { limits, counters, clock } = this.core
    if (this.consoles.length >= limits.maxConsolesPerPort) {
      counters.consolesRefused++
      throw new VspcError(
        'VSPC_CONSOLE_TOO_MANY',
        `${this.displayName} has ${this.consoles.length} consoles, the limit "maxConsolesPerPort"`,
      )
    }
    const demoted = this.#grant(options.mode, options.force, this.consoles)
    const { start, next } = this.history
    const wanted = options.from === null ? next : options.from < 0 ? Math.max(start, next + options.from) : options.from
    // An offset from before a restart may lie past the end: then the live end is where it goes on.
    const cursor = Math.min(wanted, next)
    const console = new Console(this, client, {
      id: ++lastConsoleId,
      who: options.who,
      mode: options.mode,
      cursor,
      attachedAt: clock.wall(),
    })
    this.consoles = [...this.consoles, console]
    counters.consolesAttached++
    client.notify({
      type: 'attached',
      port: this.id,
      name: this.displayName,
      mode: options.mode,
      offset: cursor,
      start,
      next,
      state: this.state,
      console: console.id,
    })
    if (this.#inputFull) console.setInputPaused(true)
    this.#demote(demoted, `${options.who} took over`)
    this.#tellWriters(`${options.who} attached`, console, options.mode !== 'read')
    this.core.emit((at) => ({ type: 'console-attached', at, port: this.info(), console: console.info }))
    console.catchUp()
    return console
  }

  /** @throws VspcError VSPC_CONSOLE_BUSY. */
  setConsoleMode(console: Console, mode: ConsoleMode, force: boolean): void {
    const others = this.consoles.filter((other) => other !== console)
    const demoted = this.#grant(mode, force, others)
    console.mode = mode
    this.#demote(demoted, `${console.who} took over`)
    this.#tellWriters(`${console.who} is now "${mode}"`, null, true)
  }

  removeConsole(console: Console): void {
    const { info } = console
    this.consoles = this.consoles.filter((other) => other !== console)
    if (this.consoles.length === 0) this.consoles = NO_CONSOLES
    this.core.emit((at) => ({ type: 'console-detached', at, port: this.info(), console: info }))
    if (info.mode !== 'read') this.#tellWriters(`${info.who} left`, null, true)
  }

  tellConsoles(message: ConsoleMessage): void {
    for (const console of this.consoles) console.notify(message)
  }

  #grant(mode: ConsoleMode, force: boolean, others: readonly Console[]): Console[] {
    const decision = decideMode(mode, force, others, this.core.writers)
    if (decision.granted) return decision.demote
    this.core.counters.consolesRefused++
    const holder = decision.busy[0] as Console
    const more = decision.busy.length > 1 ? ` and ${decision.busy.length - 1} more` : ''
    throw new VspcError(
      'VSPC_CONSOLE_BUSY',
      `${this.displayName} is held by ${holder.who} (mode "${holder.mode}")${more}; attach for reading, or take over with force`,
    )
  }

  #demote(consoles: Console[], reason: string): void {
    for (const console of consoles) {
      console.mode = 'read'
      console.notify({ type: 'writer', mode: 'read', writers: this.#writers(), reason })
    }
  }

  #tellWriters(reason: string, newcomer: Console | null, changed: boolean): void {
    if (newcomer !== null && this.consoles.length === 1) return
    const writers = this.#writers()
    for (const console of this.consoles) {
      if (changed || console === newcomer) console.notify({ type: 'writer', mode: console.mode, writers, reason })
    }
  }

  #writers() {
    return this.consoles.filter((console) => console.mode !== 'read').map((console) => console.info)
  }

  // HandoverOwner: what the table decides

  hold(): void {
    this.#held = true
  }

  release(to: VmSession): void {
    this.#held = false
    this.#drainTimer?.cancel()
    this.#drainTimer = null
    this.lastSession = to
    this.pump()
  }

  startDrain(source: VmSession): void {
    this.#drainTimer?.cancel()
    this.#drainTimer = null
    if (source.drained) {
      this.#drained()
      return
    }
    this.#drainTimer = this.core.clock.after(this.core.limits.goaheadMs, () => {
      this.#drainTimer = null
      this.handover.drainTimeout()
    })
  }

  #drained(): void {
    this.#drainTimer?.cancel()
    this.#drainTimer = null
    this.handover.drained()
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
    if (this.#tailOf === null) this.#destinationOutput = null
  }

  promoted(source: VmSession, former: VmSession | null): void {
    source.becomeSource()
    if (former === null || former.ended || this.core.limits.sourceTailMs === 0) {
      this.#flushDestinationOutput()
      return
    }
    // Two connections, no order between them: give the old one's last bytes a moment to arrive first.
    this.#tailOf = former
    this.#tailTimer = this.core.clock.after(this.core.limits.sourceTailMs, () => this.#flushDestinationOutput())
  }

  armOrphan(): void {
    this.#orphanTimer?.cancel()
    this.#orphanTimer = this.core.clock.after(this.core.limits.orphanMs, () => {
      this.#orphanTimer = null
      this.handover.orphanTimeout()
    })
  }

  disarm(): void {
    this.#drainTimer?.cancel()
    this.#drainTimer = null
    this.#orphanTimer?.cancel()
    this.#orphanTimer = null
  }

  report(what: HandoverReport): void {
    const { counters, log } = this.core
    const fields = { port: this.id, vm: this.name, host: this.lastSession?.peer.address ?? null }
    switch (what) {
      case 'begin':
        counters.vmotionsBegun++
        log.info(fields, 'vMotion begins')
        this.#reportVmotion('vmotion-begin', 'VMOTION-BEGIN')
        break
      case 'complete':
      case 'implicit-complete': {
        this.vmotions++
        if (what === 'complete') counters.vmotionsCompleted++
        else counters.vmotionsImplicit++
        const reason =
          what === 'complete'
            ? 'VMOTION-COMPLETE'
            : 'no COMPLETE, but the source is gone and the destination proved its secret'
        log.info(fields, `vMotion complete: ${reason}`)
        this.#reportVmotion('vmotion-complete', reason)
        break
      }
      case 'abort':
      case 'implicit-abort': {
        counters.vmotionsAborted++
        const reason = what === 'abort' ? 'VMOTION-ABORT' : 'no ABORT, but the VM runs on at its source'
        log.info(fields, `vMotion aborted: ${reason}`)
        this.#reportVmotion('vmotion-abort', reason)
        break
      }
      case 'refused':
        counters.vmotionsRefused++
        log.warn(fields, 'vMotion refused: NOTNOW')
        this.#reportVmotion(
          'vmotion-refused',
          this.core.stopping ? 'the server is stopping' : 'input could not be drained in time',
        )
        break
      case 'timeout':
        counters.vmotionsTimedOut++
        log.warn(fields, 'vMotion given up: neither COMPLETE nor ABORT came')
        this.#reportVmotion('vmotion-timeout', 'neither COMPLETE nor ABORT came')
        break
      case 'online':
        log.info(fields, 'port online')
        this.emitPort('port-online')
        this.#tellState('connected')
        break
      case 'offline':
        this.offlineSince = this.core.clock.now()
        log.info(fields, 'port offline')
        this.emitPort('port-offline')
        this.#tellState('the host closed the connection')
        break
    }
  }

  emitPort(type: PortEventType): void {
    this.core.emit((at) => ({ type, at, port: this.info() }))
  }

  #reportVmotion(type: VmotionEventType, reason: string): void {
    this.core.emit((at) => ({ type, at, port: this.info(), reason }))
    this.#tellState(reason)
  }

  #tellState(reason: string): void {
    if (this.consoles.length === 0) return
    this.tellConsoles({ type: 'state', state: this.state, host: this.lastSession?.peer.address ?? null, reason })
  }

  info() {
    return portInfo(this)
  }

  /** Ends everything that hangs on the port; it is out of the table already. */
  dispose(reason: string): void {
    this.disarm()
    this.#tailTimer?.cancel()
    const cookie = this.handover.cookie
    if (cookie) this.closeCookie(cookie)
    for (const console of this.consoles) console.close(reason, 'VSPC_PORT_REMOVED')
  }
}
