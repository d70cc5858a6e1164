/** Many VMs on many hosts: connects them, moves them about, follows a script, counts. */
import { type Clock, errorMessage, systemClock, type Timer, VspcError } from '../base/index.ts'
import type { MigrateOptions, MigrationResult, SimHost } from './migration.ts'
import { Random } from './random.ts'
import { matchesVm, type SimStep } from './script.ts'
import { scriptBytes, sendStep } from './script-bytes.ts'
import type { SimVm } from './sim-vm.ts'
import type { SimulationOptions, SimulationStatistics } from './simulation-types.ts'
import { makeHost, makeVm } from './simulation-vms.ts'
import { VmotionStatistics } from './statistics.ts'
import { describeTarget, type SimTarget } from './target.ts'
import { Tickers } from './ticker.ts'

/** A VM that has no WILL-PROXY by then is counted as not attached; it stays connected. */
const ATTACH_LIMIT_MS = 10_000
/** Steps of the random vMotion timer; a rate above 100/s starts several at once. */
const RATE_STEP_MS = 10
const MAX_SAMPLES = 10

/** Starts a simulation at once; see {@link Simulation.started}. */
export function simulate(options: SimulationOptions): Simulation {
  return new Simulation(options)
}

export class Simulation {
  readonly hosts: readonly SimHost[]
  readonly vms: readonly SimVm[]
  /**
   * Resolves when every VM has been tried once.
   * Rejects with VSPC_SERVER_UNREACHABLE when not even the first one gets a connection; the simulation is stopped then.
   */
  readonly started: Promise<void>
  readonly #options: SimulationOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #vmotions = new VmotionStatistics()
  readonly #timers = new Set<Timer>()
  readonly #running = new Set<Promise<void>>()
  #stopping: Promise<void> | null = null

  /** @throws VspcError VSPC_SIM_SCRIPT for steps that no VM or host matches, VSPC_SIM_STATE without a target. */
  constructor(options: SimulationOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = new Random(options.seed ?? 1)
    const [target] = options.targets
    if (!target) throw new VspcError('VSPC_SIM_STATE', 'a simulation needs at least one target')
    this.hosts = Array.from({ length: options.hosts ?? 2 }, (_, index) => makeHost(index, options.targets))
    const { hosts } = this
    const shared = { hosts, clock: this.#clock, random: this.#random, tickers: new Tickers(this.#clock) }
    this.vms = Array.from({ length: options.vms ?? 10 }, (_, index) => makeVm(index, options, shared))
    this.#checkScript()
    this.started = this.#start(target)
    // Whoever awaits it gets the failure; nobody has to.
    this.started.catch(() => {})
    options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  statistics(): SimulationStatistics {
    let ports = 0
    let portsAttached = 0
    let portsRefused = 0
    let reconnects = 0
    let bytesFromVms = 0
    let bytesToVms = 0
    let lostInputBytes = 0
    let violations = 0
    const violationSamples: string[] = []
    for (const vm of this.vms) {
      violations += vm.violations.length
      for (const text of vm.violations) if (violationSamples.length < MAX_SAMPLES) violationSamples.push(text)
      for (const port of vm.ports) {
        ports++
        if (port.state === 'attached') portsAttached++
        if (port.state === 'refused') portsRefused++
        reconnects += port.reconnects
        bytesFromVms += port.bytesOut
        bytesToVms += port.bytesIn
        lostInputBytes += port.lostInputBytes
      }
    }
    return {
      hosts: this.hosts.length,
      vms: this.vms.length,
      ports,
      portsAttached,
      portsRefused,
      reconnects,
      vmotions: this.#vmotions.counts(),
      goaheadMs: this.#vmotions.goahead.summary(),
      stunnedMs: this.#vmotions.stunned.summary(),
      bytesFromVms,
      bytesToVms,
      lostInputBytes,
      violations,
      violationSamples,
    }
  }

  /** A VM by name. @throws VspcError VSPC_SIM_STATE when there is none. */
  vm(name: string): SimVm {
    const vm = this.vms.find((each) => each.name === name)
    if (vm) return vm
    throw new VspcError('VSPC_SIM_STATE', `there is no simulated VM "${name}"`)
  }

  /** Moves a VM, to another host at random unless told, and counts the result. */
  async migrate(vm: SimVm, options: Partial<MigrateOptions> = {}): Promise<MigrationResult> {
    this.#vmotions.running++
    try {
      const result = await vm.migrate({ ...options, to: options.to ?? this.#otherHost(vm) })
      this.#vmotions.add(result)
      // What the power-off cuts short is no news.
      if (this.#stopping === null) this.#options.onEvent?.({ type: 'vmotion', vm: vm.name, result })
      return result
    } finally {
      this.#vmotions.running--
    }
  }

  /** Powers everything off and resolves when all connections are gone. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  readonly #onAbort = (): void => {
    void this.stop()
  }

  async #stop(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    await Promise.all(this.vms.map((vm) => vm.powerOff()))
    await Promise.all(this.vms.map((vm) => vm.close()))
    await Promise.all(this.#running)
  }

  async #start(target: SimTarget): Promise<void> {
    if (this.#options.signal?.aborted) {
      await this.stop()
      return
    }
    const [first, ...others] = this.vms
    if (!first) return
    const failure = await this.#attach(first)
    if (failure && UNREACHABLE.has(failure.code)) {
      await this.stop()
      const what = `cannot connect to ${describeTarget(target)}: ${failure.message}`
      throw new VspcError('VSPC_SERVER_UNREACHABLE', what, { cause: failure })
    }
    this.#schedule()
    const waiting = others.values()
    const workers = Array.from({ length: this.#options.connectsAtOnce ?? 64 }, async () => {
      for (const vm of waiting) if (this.#stopping === null) await this.#attach(vm)
    })
    await Promise.all(workers)
  }

  /** Powers a VM on; the failure of its first attempt, if it failed. */
  async #attach(vm: SimVm): Promise<VspcError | null> {
    let timer: Timer | null = null
    const limit = new Promise<never>((_, reject) => {
      const late = new VspcError('VSPC_SIM_EXPECT', `${vm.name}: no WILL-PROXY within ${ATTACH_LIMIT_MS} ms`)
      timer = this.#clock.after(ATTACH_LIMIT_MS, () => reject(late))
    })
    try {
      await Promise.race([vm.powerOn(), limit])
      return null
    } catch (error) {
      const failure = error instanceof VspcError ? error : new VspcError('VSPC_SIM_STATE', errorMessage(error))
      if (this.#stopping === null) this.#note(vm.name, failure.message)
      return failure
    } finally {
      ;(timer as Timer | null)?.cancel()
    }
  }

  #schedule(): void {
    for (const step of this.#options.script ?? []) this.#scheduleStep(step, step.at * 1_000)
    const rate = this.#options.vmotionsPerSecond ?? 0
    if (rate > 0) this.#scheduleVmotions(rate, this.#clock.now(), 0)
  }

  #after(ms: number, run: () => void): void {
    const timer = this.#clock.after(ms, () => {
      this.#timers.delete(timer)
      run()
    })
    this.#timers.add(timer)
  }

  /** Starts what is due since `startedAt`; `done` vMotions of the rate have been started or skipped. */
  #scheduleVmotions(rate: number, startedAt: number, done: number): void {
    this.#after(Math.max(RATE_STEP_MS, 1_000 / rate / 2), () => {
      const due = Math.floor(((this.#clock.now() - startedAt) * rate) / 1_000)
      const atOnce = this.#options.maxVmotionsAtOnce ?? 50
      for (let n = done; n < due && this.#vmotions.running < atOnce; n++) {
        const vm = this.#anyMovable()
        if (vm) this.#track(this.migrate(vm, { stunMs: this.#options.stunMs }).then(() => {}))
      }
      this.#scheduleVmotions(rate, startedAt, due)
    })
  }

  #anyMovable(): SimVm | null {
    for (let attempt = 0; attempt < 16; attempt++) {
      const vm = this.vms[this.#random.below(this.vms.length)]
      if (vm?.attached && !vm.migrating) return vm
    }
    return null
  }

  #otherHost(vm: SimVm): SimHost {
    const others = this.hosts.filter((host) => host.name !== vm.host.name)
    // One host: a storage vMotion, from the same address.
    return others[this.#random.below(others.length)] ?? vm.host
  }

  #scheduleStep(step: SimStep, afterMs: number): void {
    this.#after(afterMs, () => {
      for (const vm of this.vms) {
        if (matchesVm(step.vm, vm.name)) this.#track(this.#perform(step, vm))
      }
      if (step.every !== undefined) this.#scheduleStep(step, step.every * 1_000)
    })
  }

  async #perform(step: SimStep, vm: SimVm): Promise<void> {
    switch (step.do) {
      case 'migrate': {
        const to = this.hosts.find((host) => host.name === step.to)
        const { sourceFin, stunMs, goaheadLimitMs, peerOkLimitMs, failure } = step
        const sequence = step.sequence === undefined ? undefined : scriptBytes(step.sequence)
        const how = { sourceFin, stunMs, goaheadLimitMs, peerOkLimitMs, failure, sequence }
        await this.migrate(vm, { ...(to ? { to } : {}), ...how })
        return
      }
      case 'power-on':
        await vm.powerOn()
        return
      case 'power-off':
        await vm.powerOff(step.how)
        return
      case 'drop':
        for (const port of vm.ports) port.drop()
        return
      case 'print':
        vm.print(step.text, step.port)
        return
      case 'rename':
        vm.rename(step.name)
        return
      case 'send':
      case 'suboption':
        sendStep(step, vm)
        return
      case 'stall': {
        const { connection } = vm.port(step.port ?? 0)
        connection?.pauseReading()
        this.#after(step.ms, () => connection?.resumeReading())
      }
    }
  }

  /** Keeps a background task's failure from going unnoticed. */
  #track(task: Promise<void>): void {
    const noted = task.catch((error: unknown) => this.#note('', errorMessage(error)))
    this.#running.add(noted)
    void noted.then(() => this.#running.delete(noted))
  }

  #note(vm: string, text: string): void {
    this.#options.onEvent?.({ type: 'note', vm, text })
  }

  #checkScript(): void {
    for (const step of this.#options.script ?? []) {
      if (!this.vms.some((vm) => matchesVm(step.vm, vm.name))) {
        const known = `${this.vms[0]?.name} to ${this.vms[this.vms.length - 1]?.name}`
        throw new VspcError('VSPC_SIM_SCRIPT', `${step.where}: no VM matches "${step.vm}"; there are ${known}`)
      }
      if (step.do === 'migrate' && step.to !== undefined && !this.hosts.some((host) => host.name === step.to)) {
        const known = this.hosts.map((host) => host.name).join(', ')
        throw new VspcError('VSPC_SIM_SCRIPT', `${step.where}: there is no host "${step.to}"; there are ${known}`)
      }
    }
  }
}

const UNREACHABLE: ReadonlySet<string> = new Set([
  'VSPC_TRANSPORT_DIAL',
  'VSPC_TRANSPORT_DIAL_TIMEOUT',
  'VSPC_TLS_HANDSHAKE',
  'VSPC_TLS_PIN_MISMATCH',
])
