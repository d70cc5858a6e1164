/** People at consoles: they come, look at old output, type, leave, come back where they were. */
import { setTimeout as sleep } from 'node:timers/promises'
import { patternBytes, Random } from '../../src/sim/index.ts'
import { addressOf } from '../raw-vm.ts'
import type { VmRecord } from './hosts.ts'
import { JudgedConsole, type Judgement } from './judged-console.ts'

export interface CrowdOptions {
  readonly httpPort: number
  readonly vms: readonly VmRecord[]
  /** Consoles at a time. */
  readonly consoles: number
  /** Besides, on VMs that print fast: consoles that stop reading, for longer than any socket has room for. */
  readonly stuck: number
}

const SEED = 7
const SHORTEST_MS = 300
const LONGEST_MS = 12_000
const TYPE_EVERY_MS = 150
const LAST_BYTES = -5_000
/** Of a stuck console. Not so long that it counts as dead: pings are answered only by who reads. */
const STUCK_MS = 30_000
const READING_MS = 3_000
const STEP_MS = 100

export class Crowd {
  readonly judgement: Judgement = { bytes: 0, gapBytes: 0, faults: [] }
  /** What was typed to each VM, bytes. */
  readonly typed = new Map<string, number>()
  attachments = 0
  readonly #options: CrowdOptions
  readonly #random = new Random(SEED)
  /** One at a time types to a VM, so that the order of its input is known. */
  readonly #writing = new Set<string>()
  readonly #fast: readonly VmRecord[]
  #stuck: JudgedConsole[] = []
  #visits: Promise<void>[] = []
  #leaving = false

  constructor(options: CrowdOptions) {
    this.#options = options
    this.#fast = options.vms.filter(({ kind }) => kind === 'fast')
  }

  async start(): Promise<void> {
    for (const vm of this.#fast.slice(0, this.#options.stuck)) {
      const console = this.#console(vm, { mode: 'read', from: null, read: false })
      await console.attached()
      this.#stuck.push(console)
      void this.#getStuck(console)
    }
    this.#visits = Array.from({ length: this.#options.consoles }, () => this.#visitor())
  }

  get typedBytes(): number {
    return [...this.typed.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Everybody leaves, but for those that get stuck. */
  async leave(): Promise<void> {
    this.#leaving = true
    await Promise.all(this.#visits)
  }

  /** The others read what there is, and leave. @param nextOf the live end of a VM's history. */
  async readOn(nextOf: (id: string) => number): Promise<void> {
    for (const console of this.#stuck) console.resume()
    const behind = () => this.#stuck.filter((console) => console.offset < nextOf(console.vm.id))
    for (let waited = 0; behind().length > 0 && waited < 60_000; waited += 50) await sleep(50)
    for (const { vm, offset } of behind()) {
      this.judgement.faults.push(`${vm.id}: a stuck console got no further than ${offset} of ${nextOf(vm.id)}`)
    }
    await Promise.all(this.#stuck.map((console) => console.close()))
  }

  async #getStuck(console: JudgedConsole): Promise<void> {
    while (!this.#leaving) {
      await this.#stay(STUCK_MS)
      console.resume()
      await this.#stay(READING_MS)
      if (!this.#leaving) console.pause()
    }
  }

  async #stay(forMs: number): Promise<void> {
    const until = performance.now() + forMs
    while (performance.now() < until && !this.#leaving) await sleep(STEP_MS)
  }

  async #visitor(): Promise<void> {
    let resume: JudgedConsole | null = null
    while (!this.#leaving) {
      try {
        resume = await this.#visit(resume)
      } catch (error) {
        this.judgement.faults.push(error instanceof Error ? error.message : String(error))
        await sleep(LONGEST_MS)
      }
    }
  }

  /** @param before a console that has just left: this one goes on where it was. @returns the next one's, at times. */
  async #visit(before: JudgedConsole | null): Promise<JudgedConsole | null> {
    const vm = before?.vm ?? this.#anyVm()
    const from = before?.offset ?? [null, LAST_BYTES, LAST_BYTES * 10][this.#random.below(3)] ?? null
    const types = vm.kind !== 'mortal' && this.#random.below(2) === 0 && !this.#writing.has(vm.id)
    if (types) this.#writing.add(vm.id)
    try {
      const console = this.#console(vm, { mode: types ? 'write' : 'read', from, read: true })
      await console.attached()
      const until = performance.now() + SHORTEST_MS + this.#random.below(LONGEST_MS - SHORTEST_MS)
      const pauses = this.#random.below(8) === 0
      if (pauses) console.pause()
      while (performance.now() < until && !this.#leaving) {
        if (types) this.#type(console)
        await sleep(types ? TYPE_EVERY_MS : SHORTEST_MS)
      }
      await console.close()
      return this.#random.below(3) === 0 && console.offset >= 0 ? console : null
    } finally {
      if (types) this.#writing.delete(vm.id)
    }
  }

  #type(console: JudgedConsole): void {
    const { id } = console.vm
    const typed = this.typed.get(id) ?? 0
    const bytes = patternBytes(typed, 1 + this.#random.below(100))
    console.type(bytes)
    this.typed.set(id, typed + bytes.length)
  }

  #console(vm: VmRecord, options: { mode: 'read' | 'write'; from: number | null; read: boolean }): JudgedConsole {
    this.attachments++
    return new JudgedConsole(vm, this.#options.httpPort, addressOf(this.attachments), options, this.judgement)
  }

  #anyVm(): VmRecord {
    const { vms } = this.#options
    const crowd = this.#random.below(5) === 0 && this.#fast.length > 0 ? this.#fast : vms
    return crowd[this.#random.below(crowd.length)] as VmRecord
  }
}
