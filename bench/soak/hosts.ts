/** The simulated hosts of an endurance run, in a process of their own. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  canonicalUuid,
  MIGRATION_FAILURES,
  type MigrationResult,
  Random,
  type SimHost,
  SimVm,
  SOURCE_FINS,
  simUuid,
} from '../../src/sim/index.ts'
import { percentile } from '../statistics.ts'
import { serveWorks } from '../worker.ts'
import { MortalGuest, type SoakGuest, SteadyGuest } from './guests.ts'

export interface HostsParameters {
  readonly tcpPort: number
  readonly vms: number
  /** Of them, VMs on hosts that die now and then. */
  readonly mortal: number
  /** Of the others, VMs that print 100 times a second instead of once. */
  readonly fast: number
  readonly vmotionsPerSecond: number
  /** Of the vMotions, how many go wrong in one of the simulator's ways. */
  readonly failing: number
  /** Between two deaths of a host. */
  readonly deathEveryMs: number
}

export interface VmRecord {
  readonly id: string
  readonly kind: 'steady' | 'fast' | 'mortal'
}

export interface HostsStatistics {
  readonly vmotions: { readonly [outcome: string]: number }
  readonly unexpected: readonly string[]
  readonly goaheadMs: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly deaths: number
  readonly resets: number
  readonly violations: readonly string[]
  readonly lostInputBytes: number
}

export interface VmTotals {
  readonly id: string
  readonly kind: VmRecord['kind']
  readonly bytesOut: number
  readonly inputBytes: number
  readonly inputFaults: number
  readonly resets: number
}

interface Member extends VmRecord {
  readonly vm: SimVm
  readonly guest: SoakGuest
  resets: number
  /** What its vMotions were made to be, the last ones. */
  history: string
  /** Not to be moved before that time. */
  restsUntil: number
}

const HOSTS = 8
const SEED = 4
const TICK_MS = 10
const CONNECTS_AT_ONCE = 64
const FAST_CHUNK_BYTES = 2_080
const STEADY_CHUNK_BYTES = 260
const MAX_AT_ONCE = 100
/** What a real host would wait for; shorter, so that a run sees many of each. */
const LIMIT_MS = 1_500
const REST_MS = 2_000

class Hosts {
  readonly #parameters: HostsParameters
  readonly #random = new Random(SEED)
  readonly #members: Member[] = []
  readonly #timers: NodeJS.Timeout[] = []
  readonly #outcomes: Record<string, number> = {}
  readonly #unexpected: string[] = []
  readonly #goaheadMs: number[] = []
  #hosts: SimHost[] = []
  #mortalHosts: SimHost[] = []
  #running = 0
  #deaths = 0

  constructor(parameters: HostsParameters) {
    this.#parameters = parameters
    const host = (index: number): SimHost => ({ name: `esx-${index + 1}`, localAddress: `127.0.9.${index + 1}` })
    this.#hosts = Array.from({ length: HOSTS }, (_, index) => host(index))
    this.#mortalHosts = Array.from({ length: HOSTS }, (_, index) => host(HOSTS + index))
    for (let index = 0; index < parameters.vms; index++) this.#members.push(this.#member(index))
  }

  async start(): Promise<VmRecord[]> {
    const waiting = this.#members.values()
    const worker = async () => {
      for (const { vm } of waiting) await vm.powerOn()
    }
    await Promise.all(Array.from({ length: CONNECTS_AT_ONCE }, worker))
    this.#print()
    this.#repeat(this.#parameters.deathEveryMs, () => this.#killHost())
    const began = performance.now()
    let done = 0
    this.#repeat(TICK_MS, () => {
      const due = ((performance.now() - began) / 1000) * this.#parameters.vmotionsPerSecond
      for (; done < due; done++) if (this.#running < MAX_AT_ONCE) void this.#migrate()
    })
    return this.#members.map(({ id, kind }) => ({ id, kind }))
  }

  statistics(): HostsStatistics {
    // What a dying host does to its VMs is judged by the consoles alone.
    const steady = this.#members.filter(({ kind }) => kind !== 'mortal')
    return {
      vmotions: this.#outcomes,
      unexpected: this.#unexpected,
      goaheadMs: {
        p50: percentile(this.#goaheadMs, 0.5),
        p99: percentile(this.#goaheadMs, 0.99),
        max: percentile(this.#goaheadMs, 1),
      },
      deaths: this.#deaths,
      resets: this.#members.reduce((sum, { resets }) => sum + resets, 0),
      violations: steady.flatMap(({ vm }) => vm.violations).slice(0, 20),
      lostInputBytes: steady.reduce((sum, { vm }) => sum + vm.port(0).lostInputBytes, 0),
    }
  }

  /** No more vMotions and deaths; resolves when all is at rest and all VMs are attached. */
  async calm(): Promise<void> {
    for (const timer of this.#timers.slice(1)) clearInterval(timer)
    const settled = () => this.#running === 0 && this.#members.every(({ vm }) => vm.attached)
    for (let waited = 0; !settled() && waited < 30_000; waited += 100) await sleep(100)
  }

  /** Powers everything off. @returns what each VM has printed and read. */
  async finish(): Promise<VmTotals[]> {
    for (const timer of this.#timers) clearInterval(timer)
    await Promise.all(this.#members.map(({ vm }) => vm.powerOff('fin')))
    const totals = this.#members.map(({ id, kind, vm, guest, resets }) => ({
      id,
      kind,
      bytesOut: vm.port(0).bytesOut,
      inputBytes: guest instanceof SteadyGuest ? guest.inputBytes : 0,
      inputFaults: guest instanceof SteadyGuest ? guest.inputFaults : 0,
      resets,
    }))
    await Promise.all(this.#members.map(({ vm }) => vm.close()))
    return totals
  }

  #member(index: number): Member {
    const { mortal, fast, tcpPort } = this.#parameters
    const kind = index < mortal ? 'mortal' : index < mortal + fast ? 'fast' : 'steady'
    const hosts = kind === 'mortal' ? this.#mortalHosts : this.#hosts
    const guest =
      kind === 'mortal' ? new MortalGuest() : new SteadyGuest(kind === 'fast' ? FAST_CHUNK_BYTES : STEADY_CHUNK_BYTES)
    const uuid = simUuid('vc', SEED, index)
    const name = `soak-${index}`
    const vm = new SimVm({
      name,
      target: { host: '127.0.0.1', port: tcpPort },
      host: hosts[index % HOSTS] as SimHost,
      ports: [{ guest }],
      identity: { vcUuid: uuid, name },
      recordInput: false,
      redialMs: 500,
      connection: { record: false, noDelay: true },
      random: this.#random,
    })
    return { id: canonicalUuid(uuid), kind, vm, guest, resets: 0, history: '', restsUntil: 0 }
  }

  /** Fast ones at every tick, the others once a second, spread over it. */
  #print(): void {
    const slow = this.#members.filter(({ kind }) => kind !== 'fast')
    const fast = this.#members.filter(({ kind }) => kind === 'fast')
    const began = performance.now()
    let done = 0
    this.#repeat(TICK_MS, () => {
      for (const { guest } of fast) guest.print()
      for (const due = ((performance.now() - began) / 1000) * slow.length; done < due; done++) {
        slow[done % slow.length]?.guest.print()
      }
    })
  }

  #repeat(everyMs: number, run: () => void): void {
    this.#timers.push(setInterval(run, everyMs))
  }

  #killHost(): void {
    const host = this.#mortalHosts[this.#deaths++ % HOSTS]
    for (const member of this.#members) {
      if (member.kind !== 'mortal' || member.vm.host !== host) continue
      member.resets++
      for (const port of member.vm.ports) port.drop()
    }
  }

  async #migrate(): Promise<void> {
    const member = this.#members[this.#random.below(this.#members.length)] as Member
    const { vm, kind } = member
    if (!vm.attached || vm.migrating || performance.now() < member.restsUntil) return
    const hosts = kind === 'mortal' ? this.#mortalHosts : this.#hosts
    const others = hosts.filter((host) => host !== vm.host)
    const fails = this.#random.below(1000) < this.#parameters.failing * 1000
    // One that goes wrong keeps its source until it did: a source that has sent FIN cannot say ABORT.
    const how = fails
      ? { failure: MIGRATION_FAILURES[this.#random.below(MIGRATION_FAILURES.length)] }
      : { sourceFin: SOURCE_FINS[this.#random.below(SOURCE_FINS.length)] }
    this.#running++
    member.history = `${member.history.slice(-100)} ${how.failure ?? how.sourceFin}`
    try {
      const result = await vm.migrate({
        to: others[this.#random.below(others.length)] as SimHost,
        ...how,
        goaheadLimitMs: LIMIT_MS,
        peerOkLimitMs: 10_000,
      })
      this.#count(member, result)
      // Only its output shows the server that it runs.
      if (how.failure === 'complete-missing') member.restsUntil = performance.now() + REST_MS
    } finally {
      this.#running--
    }
  }

  #count({ kind, vm, history }: Member, result: MigrationResult): void {
    this.#outcomes[result.outcome] = (this.#outcomes[result.outcome] ?? 0) + 1
    if (result.goaheadMs !== null) this.#goaheadMs.push(result.goaheadMs)
    const { asExpected, outcome, reason } = result
    if (asExpected || kind === 'mortal' || outcome === 'not-connected' || this.#unexpected.length >= 20) return
    this.#unexpected.push(`${vm.name}: ${outcome}: ${reason}; after${history}`)
  }
}

let hosts: Hosts | null = null

function theHosts(): Hosts {
  if (hosts === null) throw new Error('not started')
  return hosts
}

export const hostsWorks = {
  start: (parameters: HostsParameters) => {
    hosts = new Hosts(parameters)
    return hosts.start()
  },
  statistics: async () => theHosts().statistics(),
  calm: () => theHosts().calm(),
  finish: () => theHosts().finish(),
}

serveWorks(hostsWorks)
