/** A VM and its console, with everything both have said and heard: what exactly-once is judged by. */
import { type Clock, type Timer, VspcError } from '../../base/index.ts'
import { ByteLog, findBytes } from '../byte-log.ts'
import { patternBytes } from '../guest.ts'
import type { SimConnection } from '../sim-connection.ts'
import type { SimVm } from '../sim-vm.ts'
import { concatBytes, toBytes } from '../wire.ts'
import type { CheckConsoles, ConsoleLink } from './console.ts'
import { judgeStream } from './judge-stream.ts'
import type { Someone, Stage } from './stage.ts'
import { violations } from './variant.ts'

/** Bytes each side says at each step of a scenario: more than one round of all 256 values. */
export const STEP_BYTES = 700
/** The one VM behind a console that cannot choose: always the same, so that a server lists it as known. */
const SINGLE = { name: 'vspc-check', uuid: Uint8Array.from({ length: 16 }, (_, n) => (n * 29 + 0x76) & 0xff) } as const

/** One end of a line: what it has said since its start marker, and what it has heard since the other's. */
class Tape {
  readonly heard = new ByteLog()
  readonly #clock: Clock
  #closed: string | null = null
  #poke: (() => void) | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  data(bytes: Uint8Array): void {
    this.heard.append(bytes)
    this.#poke?.()
  }

  closed(why: string): void {
    this.#closed = why
    this.#poke?.()
  }

  /** Resolves with the offset behind `marker`; -1 when it did not come in time. */
  hear(marker: Uint8Array, limitMs: number): Promise<number> {
    const find = () => {
      const at = findBytes(this.heard.bytes, marker)
      return at < 0 ? -1 : at + marker.length
    }
    return new Promise((resolve) => {
      let timer: Timer | null = null
      const attempt = () => {
        const at = find()
        if (at < 0 && this.#closed === null) return
        timer?.cancel()
        this.#poke = null
        resolve(at)
      }
      this.#poke = attempt
      timer = this.#clock.after(limitMs, () => {
        this.#poke = null
        resolve(find())
      })
      attempt()
    })
  }
}

/** A VM and its console, and everything both have said. */
export class Line {
  readonly vm: SimVm
  readonly #stage: Stage
  readonly #link: ConsoleLink
  readonly #tape: Tape
  readonly #run: string
  readonly #printed = new ByteLog()
  readonly #typed = new ByteLog()
  #printedFrom = 0
  #typedFrom = 0

  private constructor(stage: Stage, vm: SimVm, link: ConsoleLink, tape: Tape) {
    this.vm = vm
    this.#stage = stage
    this.#link = link
    this.#tape = tape
    this.#run = Buffer.from(stage.random(4)).toString('hex')
  }

  /** @throws VspcError VSPC_SIM_EXPECT when nothing gets through in one direction. */
  static async open(stage: Stage, someone: Someone, redialMs = 20): Promise<Line> {
    const consoles = consolesOf(stage)
    const vm = await stage.boot({ name: someone.vm.name, identity: someone.identity, redialMs })
    const tape = new Tape(stage.settings.clock)
    const link = await consoles.attach(someone.vm, tape)
    const line = new Line(stage, vm, link, tape)
    await line.#start()
    return line
  }

  /** Markers both ways: what a server greets with, or remembers, lies before them. */
  async #start(): Promise<void> {
    const { limitMs } = this.#stage.settings
    const marker = this.#marker('start')
    this.vm.print(marker)
    this.#printedFrom = await this.#tape.hear(marker, limitMs)
    if (this.#printedFrom < 0) throw new VspcError('VSPC_SIM_EXPECT', 'the console gets nothing from the VM')
    this.#link.write(marker)
    this.#typedFrom = await this.vm.expectInput(marker, { timeoutMs: limitMs }).catch(() => {
      throw new VspcError('VSPC_SIM_EXPECT', 'the VM gets nothing from the console')
    })
  }

  #marker(what: string): Uint8Array {
    return toBytes(`[check ${this.#run} ${what}]`)
  }

  print(): void {
    const bytes = patternBytes(this.#printed.length, STEP_BYTES)
    this.#printed.append(bytes)
    this.vm.print(bytes)
  }

  type(length = STEP_BYTES): void {
    const bytes = patternBytes(this.#typed.length, length)
    this.#typed.append(bytes)
    this.#link.write(bytes)
  }

  /** Whether everything typed so far reaches the VM without another byte from either end. */
  async released(): Promise<string[]> {
    const typed = this.#typed.bytes
    const arrived = await this.vm
      .expectInput(typed.subarray(-STEP_BYTES), { timeoutMs: this.#stage.settings.limitMs })
      .catch(() => null)
    return arrived === null ? ['input typed while the guest stood still is not released at once'] : []
  }

  /** Both ends speak. */
  speak(): void {
    this.print()
    this.type()
  }

  /** The console types while the guest stands still, and its server gets time to do something wrong with it. */
  readonly typeMeanwhile = (): Promise<void> => {
    this.type()
    return this.#stage.quiet()
  }

  /** Both directions on another connection of the same VM. */
  async through(connection: SimConnection, limitMs: number): Promise<string[]> {
    const marker = this.#marker('again')
    connection.data(marker)
    const faults: string[] = []
    if ((await this.#tape.hear(marker, limitMs)) < 0) faults.push('the console gets nothing from the new connection')
    this.#link.write(marker)
    const typed = await connection.expectData(marker, { timeoutMs: limitMs }).then(
      () => true,
      () => false,
    )
    if (!typed) faults.push('the new connection gets nothing from the console')
    return faults
  }

  /** Compares what the console hears after the start, up to a last marker on `connection`, with `wanted`. */
  async heardExactly(wanted: Uint8Array, connection: SimConnection): Promise<string[]> {
    const marker = this.#marker('end')
    connection.data(marker)
    await this.#tape.hear(marker, this.#stage.settings.limitMs)
    const heard = this.#tape.heard.bytes.subarray(this.#printedFrom)
    return judgeStream('VM to console', concatBytes(wanted, marker), heard)
  }

  close(): Promise<void> {
    return this.#link.close()
  }

  /** Waits for what is under way, then compares; closes the console. */
  async end(): Promise<{ faults: string[]; bytes: number }> {
    const { limitMs } = this.#stage.settings
    const marker = this.#marker('end')
    this.vm.print(marker)
    this.#link.write(marker)
    const [, inputEnd] = await Promise.all([
      this.#tape.hear(marker, limitMs),
      this.vm.expectInput(marker, { timeoutMs: limitMs }).catch(() => null),
    ])
    await this.#stage.quiet()
    await this.#link.close()
    const printed = concatBytes(this.#printed.bytes, marker)
    const typed = concatBytes(this.#typed.bytes, marker)
    const faults = [
      ...judgeStream('VM to console', printed, this.#tape.heard.bytes.subarray(this.#printedFrom)),
      ...judgeStream('console to VM', typed, this.vm.input.subarray(this.#typedFrom)),
      ...violations(this.vm),
    ]
    if (inputEnd === null && faults.length === 0) faults.push('console to VM: the end is missing')
    return { faults, bytes: printed.length + typed.length }
  }
}

function consolesOf(stage: Stage): CheckConsoles {
  const { consoles } = stage.settings
  if (consoles === null) throw new VspcError('VSPC_SIM_STATE', 'a console check without consoles')
  return consoles
}

export function consoleVm(stage: Stage): Someone {
  return consolesOf(stage).single ? stage.named(SINGLE.name, SINGLE.uuid) : stage.someone()
}
