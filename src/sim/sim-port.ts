/**
 * One serial port of a simulated VM: its current connection, its guest, and what waits while the VM is frozen.
 *
 * Who gets console input, as on a real host: bytes before GOAHEAD go with the VM (or stay); bytes sent to the frozen
 * source after GOAHEAD are lost if the migration completes, and read if it does not; a destination takes nothing
 * before its COMPLETE. Whatever a proxy gets wrong here is counted in `lostInputBytes` and named in `violations`.
 */
import { ByteQueue, type Clock, type Timer, VspcError } from '../base/index.ts'
import type { Announcement } from './autopilot.ts'
import { ByteLog } from './byte-log.ts'
import { BRK, OPTION, SUB } from './codes.ts'
import type { Guest, GuestMachine } from './guest.ts'
import type { CloseInfo } from './host-socket.ts'
import type { PortHost } from './port-host.ts'
import type { SimConnection, SimConnectionHandler } from './sim-connection.ts'
import type { Ticker } from './ticker.ts'
import { startsWith } from './wire.ts'

/** `refused`: the proxy said WONT-PROXY; the link stays up, nothing flows. `waiting`: lost, about to dial again. */
export type SimPortState = 'off' | 'connecting' | 'attached' | 'refused' | 'waiting'

/** Output kept while there is no connection or the VM is frozen, before the guest is told to wait. */
const MAX_PENDING_BYTES = 65_536
const MAX_REDIAL_MS = 15_000

export class SimPort implements SimConnectionHandler, GuestMachine {
  /** From 0. */
  readonly index: number
  readonly announcement: Extract<Announcement, { kind: 'do-proxy' }>
  readonly guest: Guest
  /** The input the VM has read, over all its connections; empty unless recorded. */
  readonly inputLog = new ByteLog()
  state: SimPortState = 'off'
  connection: SimConnection | null = null
  bytesIn = 0
  bytesOut = 0
  lostInputBytes = 0
  breaks = 0
  reconnects = 0
  /** Sequence and secret of the last completed vMotion: dead, and good for a replay. */
  lastCookie: Uint8Array | null = null

  readonly #vm: PortHost
  #destination: SimConnection | null = null
  #onAnnounced: (() => void) | null = null
  #pending: ByteQueue | null = null
  #guestWaits = false
  #stunned = false
  /** Sequence of the BEGIN that waits for an answer; frozen = its GOAHEAD has been read. */
  #sequence: Uint8Array | null = null
  #frozen = false
  /** Read while stunned: before GOAHEAD, and after. */
  #held: ByteLog | null = null
  #late: ByteLog | null = null
  #redial: Timer | null = null
  #redialMs = 0

  constructor(vm: PortHost, index: number, announcement: Extract<Announcement, { kind: 'do-proxy' }>, guest: Guest) {
    this.#vm = vm
    this.index = index
    this.announcement = announcement
    this.guest = guest
  }

  // Power and connection

  powerOn(): void {
    if (this.state !== 'off') return
    this.#redialMs = this.#vm.redialMs
    this.dial()
    this.guest.start(this)
  }

  /** The VM closes the connections. */
  powerOff(): void {
    if (this.state === 'off') return
    this.state = 'off'
    this.#redial?.cancel()
    this.guest.stop()
    this.#pending = null
    this.#guestWaits = false
    this.endStun('stay')
    this.connection = null
    this.#destination = null
  }

  /** A fresh connection with DO-PROXY. */
  dial(): void {
    this.state = 'connecting'
    this.connection = this.#vm.connect(this, this.announcement)
  }

  /** Drops the link as a failing network does; the port dials again. */
  drop(): void {
    this.connection?.reset()
  }

  // GuestMachine

  get vmName(): string {
    return this.#vm.name
  }

  get hostName(): string {
    return this.#vm.hostName
  }

  get clock(): Clock {
    return this.#vm.clock
  }

  ticker(intervalMs: number): Ticker {
    return this.#vm.ticker(intervalMs)
  }

  write(bytes: Uint8Array): boolean {
    if (this.state === 'off') return true
    if (this.#live) {
      this.bytesOut += bytes.length
      const taken = this.connection?.data(bytes) ?? false
      if (!taken) this.#guestWaits = true
      return taken
    }
    this.#pending ??= new ByteQueue(MAX_PENDING_BYTES)
    this.#pending.push(bytes)
    if (this.#pending.full) this.#guestWaits = true
    return !this.#pending.full
  }

  inputDrained(): void {
    this.connection?.resumeReading()
  }

  // vMotion, driven by migration.ts

  get stunned(): boolean {
    return this.#stunned
  }

  /** BEGIN is about to be sent: the guest stops, output waits. */
  stun(sequence: Uint8Array): void {
    this.#sequence = sequence
    if (this.#stunned) return
    this.#stunned = true
    this.#frozen = false
    this.guest.stun()
  }

  /**
   * The connection that will take over; its data count as violations until `endStun('move')`. `onAnnounced` is called
   * when its PEER has been written, or when it closed.
   */
  setDestination(destination: SimConnection | null, onAnnounced: (() => void) | null = null): void {
    this.#destination = destination
    this.#onAnnounced = onAnnounced
  }

  /** `move`: COMPLETE was just sent on the destination; `stay`: the VM goes on at its source. */
  endStun(how: 'move' | 'stay'): void {
    if (!this.#stunned) return
    this.#stunned = false
    this.#frozen = false
    this.#sequence = null
    const late = this.#late
    const held = this.#held
    this.#late = null
    this.#held = null
    if (how === 'move' && this.#destination) {
      this.connection = this.#destination
      this.#destination = null
      this.state = 'attached'
      if (late) this.#lost(late.length, 'sent to the frozen source after GOAHEAD')
    }
    if (this.state === 'off') return
    if (held) this.#deliver(held.bytes)
    if (late && how === 'stay') this.#deliver(late.bytes)
    this.guest.resume()
    this.#flush()
    if (this.connection?.canSend !== true) this.#scheduleRedial()
  }

  // SimConnectionHandler

  data(connection: SimConnection, bytes: Uint8Array): void {
    if (connection === this.connection) {
      if (!this.#stunned) this.#deliver(bytes)
      else if (this.#frozen) this.#late = appended(this.#late, bytes)
      else this.#held = appended(this.#held, bytes)
    } else if (connection === this.#destination) this.#lost(bytes.length, 'sent to the destination before COMPLETE')
    else this.#lost(bytes.length, 'sent to a connection the VM has left')
  }

  sub(connection: SimConnection, option: number, payload: Uint8Array): void {
    if (option !== OPTION.VMWARE || connection !== this.connection) return
    const code = payload[0]
    if (code === SUB.VMOTION_GOAHEAD && this.#sequence && startsWith(payload.subarray(1), this.#sequence)) {
      this.#frozen = true
    } else if (code === SUB.WILL_PROXY && this.state === 'connecting') {
      this.state = 'attached'
      this.#redialMs = this.#vm.redialMs
      this.#flush()
      this.#vm.portState(this, null)
    } else if (code === SUB.WONT_PROXY) {
      this.state = 'refused'
      this.#vm.portState(this, new VspcError('VSPC_SIM_EXPECT', `${this.#vm.name}: the proxy answered WONT-PROXY`))
    }
  }

  command(connection: SimConnection, command: number): void {
    if (command !== BRK || connection !== this.connection) return
    this.breaks++
    this.guest.break()
  }

  writable(connection: SimConnection): void {
    if (connection === this.connection && this.#live) this.#releaseGuest()
  }

  announced(connection: SimConnection): void {
    if (connection === this.#destination) this.#onAnnounced?.()
  }

  closed(connection: SimConnection, info: CloseInfo): void {
    this.#vm.gone(connection)
    if (connection === this.#destination) this.#onAnnounced?.()
    if (connection === this.#destination) this.#destination = null
    if (connection !== this.connection || this.state === 'off') return
    const wasConnecting = this.state === 'connecting'
    this.connection = null
    // A frozen VM leaves it to the migration to say where it goes on.
    if (!this.#stunned) this.#scheduleRedial()
    this.#vm.portState(this, info.error ?? closedError(this.#vm.name, info, wasConnecting))
  }

  get #live(): boolean {
    return this.state === 'attached' && !this.#stunned && this.connection !== null
  }

  #deliver(bytes: Uint8Array): void {
    this.bytesIn += bytes.length
    if (this.#vm.recordInput) {
      this.inputLog.append(bytes)
      this.#vm.changed(this)
    }
    if (!this.guest.input(bytes)) this.connection?.pauseReading()
  }

  #lost(bytes: number, how: string): void {
    this.lostInputBytes += bytes
    this.#vm.violation(this, `${bytes} input bytes ${how}`)
  }

  #flush(): void {
    if (!this.#live) return
    const pending = this.#pending
    this.#pending = null
    let taken = true
    for (let piece = pending?.shift() ?? null; piece !== null; piece = pending?.shift() ?? null) {
      this.bytesOut += piece.length
      taken = this.connection?.data(piece) ?? false
    }
    if (taken) this.#releaseGuest()
  }

  #releaseGuest(): void {
    if (!this.#guestWaits) return
    this.#guestWaits = false
    this.guest.drain()
  }

  #scheduleRedial(): void {
    this.connection = null
    this.state = 'waiting'
    if (this.#redialMs <= 0) return
    this.reconnects++
    this.#redial?.cancel()
    this.#redial = this.#vm.clock.after(this.#redialMs, () => this.dial())
    this.#redialMs = Math.min(this.#redialMs * 2, MAX_REDIAL_MS)
  }
}

function appended(log: ByteLog | null, bytes: Uint8Array): ByteLog {
  const kept = log ?? new ByteLog()
  kept.append(bytes)
  return kept
}

function closedError(name: string, info: CloseInfo, connecting: boolean): VspcError {
  const when = connecting ? 'before WILL-PROXY' : 'while attached'
  return new VspcError('VSPC_SIM_EXPECT', `${name}: connection ended ${when} (${info.how})`)
}
