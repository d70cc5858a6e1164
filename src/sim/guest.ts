/** What runs inside a simulated VM, at the other end of its serial port. */
import type { Clock } from '../base/index.ts'
import type { Ticker } from './ticker.ts'

/** The machine a guest runs on: its serial port, as far as a guest can see it. */
export interface GuestMachine {
  /**
   * Prints. False: the line is full (the VM is frozen, or not connected), print nothing more until `Guest.drain`.
   * What is printed all the same is kept and sent later. The bytes must not change afterwards.
   */
  write(bytes: Uint8Array): boolean
  /** Tells the machine that a guest which returned false from `input` takes input again. */
  inputDrained(): void
  readonly vmName: string
  /** The simulated host the VM runs on right now. A real guest could not know; a demo wants to show it. */
  readonly hostName: string
  readonly clock: Clock
  /** Shared timer of that period, so that ten thousand printing guests do not need as many timers. */
  ticker(intervalMs: number): Ticker
}

/** Called by the machine; one guest object belongs to one serial port, except stateless ones. */
export interface Guest {
  /** Power on. */
  start(machine: GuestMachine): void
  /** Console input; a view, valid during the call. False: stop reading until `machine.inputDrained()`. */
  input(bytes: Uint8Array): boolean
  /** The line takes output again after `write` returned false. */
  drain(): void
  /** The VM is frozen for a vMotion: nothing may be computed until `resume`. */
  stun(): void
  resume(): void
  /** BREAK on the line. */
  break(): void
  /** Power off. */
  stop(): void
}

export type GuestFactory = () => Guest

/** A guest that does nothing; base of the others. */
export class SilentGuest implements Guest {
  start(_machine: GuestMachine): void {}
  input(_bytes: Uint8Array): boolean {
    return true
  }
  drain(): void {}
  stun(): void {}
  resume(): void {}
  break(): void {}
  stop(): void {}
}

/** One object for every silent VM: it has no state. */
export const silentGuest: Guest = new SilentGuest()

const ENCODER = new TextEncoder()

/** A guest that prints something at each tick of a shared timer, while it runs and the line takes it. */
abstract class PrintingGuest extends SilentGuest {
  readonly #intervalMs: number
  #machine: GuestMachine | null = null
  #stunned = false
  #full = false

  constructor(intervalMs: number) {
    super()
    this.#intervalMs = intervalMs
  }

  protected abstract next(): Uint8Array

  override start(machine: GuestMachine): void {
    this.#machine = machine
    machine.ticker(this.#intervalMs).add(this)
  }

  tick(): void {
    if (this.#machine === null || this.#stunned || this.#full) return
    this.#full = !this.#machine.write(this.next())
  }

  override drain(): void {
    this.#full = false
  }

  override stun(): void {
    this.#stunned = true
  }

  override resume(): void {
    this.#stunned = false
  }

  override stop(): void {
    this.#machine?.ticker(this.#intervalMs).delete(this)
    this.#machine = null
    this.#full = false
    this.#stunned = false
  }
}

/** Prints `000001`, `000002`, ... one a line; over 999999 it needs more digits. Goes on counting after a reboot. */
export class CounterGuest extends PrintingGuest {
  #count = 0

  constructor(intervalMs = 1_000) {
    super(intervalMs)
  }

  protected next(): Uint8Array {
    return ENCODER.encode(`${String(++this.#count).padStart(6, '0')}\r\n`)
  }
}

/** Prints {@link patternBytes}, `chunkBytes` at each tick. */
export class PatternGuest extends PrintingGuest {
  readonly #chunkBytes: number
  #offset = 0

  constructor(intervalMs = 100, chunkBytes = PATTERN_RECORD_BYTES) {
    super(intervalMs)
    this.#chunkBytes = chunkBytes
  }

  protected next(): Uint8Array {
    const bytes = patternBytes(this.#offset, this.#chunkBytes)
    this.#offset += bytes.length
    return bytes
  }
}

/** A pattern record: its number as 4 bytes big-endian, then all 256 byte values, beginning with the number's lowest. */
export const PATTERN_RECORD_BYTES = 260

/** Bytes `from` to `from + length` of the pattern: a function of the offset alone, so loss and doubling show. */
export function patternBytes(from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) {
    const number = Math.floor((from + i) / PATTERN_RECORD_BYTES)
    const within = (from + i) % PATTERN_RECORD_BYTES
    bytes[i] = within < 4 ? (number >>> (8 * (3 - within))) & 0xff : (number + within - 4) & 0xff
  }
  return bytes
}

/** Offset within `bytes` of the first byte that is not the pattern's, which is taken to begin at `from`; -1 if none. */
export function patternFault(bytes: Uint8Array, from = 0): number {
  const wanted = patternBytes(from, bytes.length)
  return bytes.findIndex((byte, at) => byte !== wanted[at])
}
