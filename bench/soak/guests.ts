/** What runs in the VMs of an endurance run, and says whether their input came whole. */
import { type GuestMachine, patternBytes, patternFault, SilentGuest } from '../../src/sim/index.ts'

/** Prints when told to, unless its VM is frozen or its line is full. */
export abstract class SoakGuest extends SilentGuest {
  #machine: GuestMachine | null = null
  #stunned = false
  #full = false

  protected abstract next(): Uint8Array

  print(): void {
    if (this.#machine === null || this.#stunned || this.#full) return
    this.#full = !this.#machine.write(this.next())
  }

  override start(machine: GuestMachine): void {
    this.#machine = machine
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
    this.#machine = null
  }
}

/**
 * Prints the pattern, and expects it as input: all byte values, a function of the offset alone, so that nothing can be
 * lost, doubled or reordered unseen.
 */
export class SteadyGuest extends SoakGuest {
  inputBytes = 0
  inputFaults = 0
  readonly #chunkBytes: number
  #printed = 0

  constructor(chunkBytes: number) {
    super()
    this.#chunkBytes = chunkBytes
  }

  protected override next(): Uint8Array {
    const bytes = patternBytes(this.#printed, this.#chunkBytes)
    this.#printed += bytes.length
    return bytes
  }

  override input(bytes: Uint8Array): boolean {
    if (patternFault(bytes, this.inputBytes) >= 0) this.inputFaults++
    this.inputBytes += bytes.length
    return true
  }
}

const ENCODER = new TextEncoder()

/** Prints numbered lines: its host will die, and what was on the wire then may be missing, but only then. */
export class MortalGuest extends SoakGuest {
  #count = 0

  protected override next(): Uint8Array {
    return ENCODER.encode(`line ${++this.#count}\r\n`)
  }
}
