/**
 * Brings the serial ports of all selected VMs to the relay on the appliance's host, and keeps them there.
 *
 * It works by comparing, not by orders: each VM is looked at, planned for the target that counts *now*, changed, read
 * back and looked at again, until there is nothing left to do. So a second move needs no undoing, a change whose outcome
 * nobody knows is found out about, and doing it again does nothing. A VM is in the hands of one worker at a time.
 *
 * Between the two steps of a change a port is disconnected. Such ports come first, and are brought to their end also
 * when everything else stops: when there is no address to point at, and when the whole is stopped.
 */
import { Backoff, type Timer } from '../base/index.ts'
import { samePlace } from './appliance-machine.ts'
import { type Failure, failureOf, type HostPlace, type VmName, type VmPorts } from './inventory.ts'
import { InventoryCalls } from './inventory-calls.ts'
import { NextHopPushes } from './next-hop-push.ts'
import { byName, type CannotStep, planVm, type RetargetStep } from './retarget.ts'
import { RETARGET_TIMES, type RetargetEvent, type RetargetSummary, type RetargetTimes } from './retarget-events.ts'
import type { RetargeterOptions, RetargetStatus, RetargetVmStatus } from './retarget-options.ts'
import { type GenerationTarget, RetargetPasses } from './retarget-pass.ts'
import { countStates, RetargetQueue, type TrackedVm, trackedVm } from './retarget-queue.ts'
import { RetargetSlots } from './retarget-slots.ts'

/** The owner calls `stop` at the end. Nothing happens before the first `point`. */
export class Retargeter {
  readonly #options: RetargeterOptions
  readonly #times: RetargetTimes
  readonly #pushes: NextHopPushes | null
  readonly #vms = new Map<string, TrackedVm>()
  readonly #queue = new RetargetQueue()
  readonly #calls: InventoryCalls
  readonly #passes: RetargetPasses
  readonly #slots: RetargetSlots
  readonly #changed = new Set<string>()
  readonly #listBackoff: Backoff
  #target: GenerationTarget | null = null
  /** The same, or the one before where there is no address: what was disconnected is pointed at it. */
  #aim: GenerationTarget | null = null
  #generation = 0
  /** Who may begin: once peer relays were told, VMs that are disconnected; once VMs were listed, all. */
  #gate: 'nobody' | 'half-done' | 'all' = 'nobody'
  #listed = false
  #listing: Promise<void> | null = null
  #listTimer: Timer | null = null
  #settled: RetargetSummary | null = null
  #stopping = false
  /** The grace of stopping is over. */
  #ended = false
  #awaitSettled: ((summary: RetargetSummary) => void)[] = []
  #awaitIdle: (() => void)[] = []

  constructor(options: RetargeterOptions) {
    this.#options = options
    const { clock, random, pusher = null } = options
    this.#times = { ...RETARGET_TIMES, ...options.times }
    this.#listBackoff = this.#newBackoff()
    this.#calls = new InventoryCalls({
      clock,
      callMs: this.#times.callMs,
      backoff: this.#newBackoff(),
      onTry: () => this.#pump(),
      onBack: () => this.#back(),
    })
    this.#passes = new RetargetPasses({
      inventory: options.inventory,
      calls: this.#calls,
      clock,
      freshMs: this.#times.freshMs,
      isCurrent: (target) => target === this.#aim,
      finishing: () => this.#finishing,
      onChanged: ({ vm }, steps, target) => {
        if (target === this.#target) this.#changed.add(vm.id)
        this.#tell({ kind: 'changed', vm, steps })
      },
    })
    const { hangMs, mostAtOnce: most } = this.#times
    this.#slots = new RetargetSlots({ clock, hangMs, most, onFree: () => this.#pump() })
    const onEvent = (event: RetargetEvent): void => this.#tell(event)
    this.#pushes = pusher === null ? null : new NextHopPushes({ pusher, clock, random, times: this.#times, onEvent })
  }

  get status(): RetargetStatus {
    return {
      place: this.#target?.place ?? null,
      proxyURI: this.#target?.proxyURI ?? null,
      settled: this.#settled !== null,
      counts: countStates(this.#vms.values()),
      nextHopsOpen: this.#pushes?.open ?? 0,
    }
  }

  /** By name. */
  vms(): RetargetVmStatus[] {
    return [...this.#vms.values()]
      .sort((a, b) => byName(a.vm, b.vm))
      .map(({ vm, state, failure, attempts }) => ({
        vm: vm.name,
        uuid: vm.instanceUuid,
        state,
        failure,
        attempts,
      }))
  }

  /** The appliance is there now. Supersedes what is under way; the same place again only looks at all VMs again. */
  point(place: HostPlace): void {
    if (this.#stopping) return
    const filled = this.#options.proxyURI(place)
    const before = this.#target
    if (before !== null && 'uri' in filled && filled.uri === before.proxyURI && samePlace(place, before.place)) {
      this.check()
      return
    }
    const generation = ++this.#generation
    this.#gate = 'nobody'
    this.#listed = false
    this.#settled = null
    this.#changed.clear()
    this.#target = null
    if ('uri' in filled) {
      const { choice, clock } = this.#options
      this.#target = { generation, place, proxyURI: filled.uri, choice, since: clock.now() }
      this.#aim = this.#target
      this.#tell({ kind: 'target', place, proxyURI: filled.uri })
    } else {
      this.#tell({ kind: 'no-target', place, message: filled.problem })
    }
    for (const one of this.#vms.values()) if (one.state !== 'working') this.#enqueue(one)
    void this.#begin(generation, place)
  }

  /** Looks at all VMs again, without a move. */
  check(): void {
    if (this.#target !== null && !this.#stopping) void this.#list()
  }

  /** Resolves once every VM is right, cannot be changed, or is stuck; at once if that is so. */
  whenSettled(): Promise<RetargetSummary> {
    const settled = this.#settled
    return settled === null ? new Promise((resolve) => this.#awaitSettled.push(resolve)) : Promise.resolve(settled)
  }

  /**
   * Begins nothing more. Changes under way are brought to their end, those that have failed in the middle tried again,
   * so that no VM is left disconnected: to the address that counts now.
   * @returns those that may be disconnected all the same, because it did not work within `graceMs`.
   */
  async stop(graceMs: number = this.#times.callMs): Promise<readonly VmName[]> {
    this.#stopping = true
    this.#pushes?.cancel()
    this.#listTimer?.cancel()
    for (const one of this.#vms.values()) {
      if (one.state === 'working') continue
      this.#queue.remove(one)
      if (this.#passes.isHalfDone(one.vm)) this.#queue.add(one, true)
    }
    const grace = this.#options.clock.after(graceMs, () => this.#end())
    const idle = new Promise<void>((resolve) => this.#awaitIdle.push(resolve))
    this.#pump()
    await idle
    grace.cancel()
    this.#end()
    return [...this.#vms.values()].map(({ vm }) => vm).filter((vm) => this.#passes.isHalfDone(vm))
  }

  #end(): void {
    this.#ended = true
    this.#calls.abort()
    for (const one of this.#vms.values()) this.#queue.remove(one)
    this.#pump()
  }

  /** Peer relays first: no VM is pointed at a relay whose peers do not know the way yet, unless one cannot be told. */
  async #begin(generation: number, place: HostPlace): Promise<void> {
    const listed = this.#target === null ? null : this.#list()
    await this.#push(place)
    if (generation !== this.#generation) return
    this.#gate = 'half-done'
    this.#pump()
    await listed
    if (generation !== this.#generation || this.#target === null) return
    this.#gate = 'all'
    this.#pump()
  }

  async #push(place: HostPlace): Promise<void> {
    try {
      await this.#pushes?.push(place)
    } catch (error) {
      this.#tell({ kind: 'no-next-hop', place, failure: failureOf(error) })
    }
  }

  /** One attempt, shared by all who ask meanwhile. Never fails: it is tried again by itself. */
  #list(): Promise<void> {
    this.#listTimer?.cancel()
    this.#listTimer = null
    this.#listing ??= this.#listOnce().finally(() => {
      this.#listing = null
    })
    return this.#listing
  }

  async #listOnce(): Promise<void> {
    const { inventory, wanted, selects, clock } = this.#options
    const [touches, readAt] = [this.#passes.touches, clock.now()]
    let nextMs = this.#times.resyncMs
    try {
      const all = await this.#calls.call('listing VMs', (signal) =>
        inventory.listVms(wanted, { signal, only: selects }),
      )
      if (this.#stopping) return
      this.#listBackoff.reset()
      this.#merge(all.filter(selects), touches, readAt)
      this.#listed = true
      this.#tell({ kind: 'listed', counts: countStates(this.#vms.values()) })
    } catch (error) {
      if (this.#stopping) return
      nextMs = this.#listBackoff.next()
      this.#tell({ kind: 'list-failed', failure: failureOf(error), retryMs: nextMs })
    }
    this.#listTimer = clock.after(nextMs, () => void this.#list())
    this.#pump()
  }

  #merge(found: readonly VmPorts[], touches: number, readAt: number): void {
    const sorted = [...found].sort(byName)
    const gone = new Set(this.#vms.keys())
    for (const vm of sorted) {
      gone.delete(vm.id)
      const known = this.#vms.get(vm.id)
      if (known === undefined) {
        const one = trackedVm(vm, readAt, this.#newBackoff())
        this.#vms.set(vm.id, one)
        this.#review(one)
        continue
      }
      known.leaving = false
      // What was changed since the listing began is known better than it tells.
      if (known.state === 'working' || known.touched > touches) continue
      known.vm = vm
      known.readAt = readAt
      this.#review(known)
    }
    for (const id of gone) {
      const one = this.#vms.get(id)
      if (one === undefined || one.touched > touches) continue
      if (one.state === 'working' || this.#passes.isHalfDone(one.vm)) one.leaving = true
      else this.#forget(one)
    }
  }

  /** After a listing: queues what is not right. One that waits for another attempt goes on waiting. */
  #review(one: TrackedVm): void {
    const target = this.#target
    if (target === null) return
    const steps = planVm(one.vm, target, this.#passes.halfDone)
    if (!steps.some((step) => step.do === 'change')) this.#done(one, steps)
    else if (one.state === 'right' || one.state === 'cannot') this.#enqueue(one)
  }

  #enqueue(one: TrackedVm): void {
    one.attempts = 0
    one.applied = 0
    one.backoff.reset()
    this.#settled = null
    this.#queue.add(one, this.#passes.isHalfDone(one.vm))
  }

  #pump(): void {
    const may = (this.#gate !== 'nobody' || this.#stopping) && !this.#ended && !this.#calls.paused
    const all = this.#gate === 'all' && !this.#finishing
    const fits = (one: TrackedVm): boolean => all || this.#passes.isHalfDone(one.vm)
    // One is enough to find out whether the server is back.
    const allowed = this.#calls.out ? 1 : this.#times.concurrency
    while (may && this.#aim !== null && this.#slots.isFree(allowed)) {
      const one = this.#queue.take(this.#slots.isFreeForLater(allowed), fits)
      if (one === null) break
      const release = this.#slots.take(one.failures > 0)
      one.state = 'working'
      void this.#work(one, this.#aim).then(() => {
        release()
        this.#pump()
      })
    }
    if (this.#slots.running > 0) return
    this.#checkIdle()
    this.#checkSettled()
  }

  /** Nothing is begun: only what is disconnected is brought to its end. */
  get #finishing(): boolean {
    return this.#stopping || this.#target === null
  }

  #checkIdle(): void {
    const waits = ({ vm, state }: TrackedVm): boolean =>
      (state === 'queued' || state === 'waiting') && this.#passes.isHalfDone(vm)
    if (!this.#ended && [...this.#vms.values()].some(waits)) return
    for (const resolve of this.#awaitIdle.splice(0)) resolve()
  }

  /** Never fails. */
  async #work(one: TrackedVm, target: GenerationTarget): Promise<void> {
    try {
      const steps = await this.#passes.pass(one, target)
      if (steps === null) {
        this.#enqueue(one)
      } else if (target !== this.#target || steps.some((step) => step.do === 'change')) {
        // Only brought to an end.
        this.#passes.forget(one.vm)
        this.#enqueue(one)
      } else {
        this.#done(one, steps)
      }
    } catch (error) {
      this.#failed(one, failureOf(error), target)
    }
    if (one.leaving && this.#vms.has(one.vm.id) && !this.#passes.isHalfDone(one.vm)) this.#forget(one)
  }

  #done(one: TrackedVm, steps: readonly RetargetStep[]): void {
    this.#queue.remove(one)
    one.attempts = 0
    one.failures = 0
    one.failure = null
    one.applied = 0
    one.backoff.reset()
    this.#passes.forget(one.vm)
    const cannot = steps.filter((step): step is CannotStep => step.do === 'cannot')
    one.state = cannot.length > 0 ? 'cannot' : 'right'
    const text = cannot.map(({ message }) => message).join('; ')
    if (text !== one.cannot && text !== '') this.#tell({ kind: 'cannot', vm: one.vm, steps: cannot })
    one.cannot = text
  }

  #failed(one: TrackedVm, failure: Failure, target: GenerationTarget): void {
    if (failure.kind === 'gone') {
      this.#forget(one)
      return
    }
    one.failures++
    if (target !== this.#aim && !this.#ended) {
      this.#enqueue(one)
      return
    }
    one.attempts++
    one.failure = failure
    const { quickAttempts, slowMs } = this.#times
    // While the server is out of reach nobody is at fault: it is not the VM that is stuck.
    const soon = failure.kind === 'transient' || (failure.kind === 'busy' && one.attempts < quickAttempts)
    const retryMs = soon ? one.backoff.next() : slowMs * (0.5 + this.#options.random() / 2)
    one.state = soon ? 'waiting' : 'stuck'
    this.#tell({ kind: 'failed', vm: one.vm, failure, attempts: one.attempts, retryMs })
    const again = this.#stopping ? soon && !this.#ended && this.#passes.isHalfDone(one.vm) : true
    if (again) one.retry = this.#options.clock.after(retryMs, () => this.#retry(one))
  }

  #retry(one: TrackedVm): void {
    this.#queue.add(one, false)
    this.#pump()
  }

  #forget(one: TrackedVm): void {
    this.#queue.remove(one)
    this.#vms.delete(one.vm.id)
    this.#passes.forget(one.vm)
    this.#tell({ kind: 'forgotten', vm: one.vm })
  }

  /** What failed only because the server was out of reach need not wait any longer. */
  #back(): void {
    for (const one of this.#vms.values()) {
      const out = one.state === 'waiting' && one.failure?.kind === 'transient'
      if (out && one.attempts < this.#times.quickAttempts) this.#queue.add(one, false)
    }
    this.#pump()
  }

  #checkSettled(): void {
    const target = this.#target
    if (target === null || this.#gate !== 'all' || !this.#listed || this.#settled !== null || this.#stopping) return
    const counts = countStates(this.#vms.values())
    if (counts.queued + counts.working + counts.waiting > 0) return
    const { place, proxyURI, since } = target
    const ms = this.#options.clock.now() - since
    const summary = { place, proxyURI, counts, changed: this.#changed.size, ms }
    this.#settled = summary
    this.#tell({ kind: 'settled', summary })
    for (const resolve of this.#awaitSettled.splice(0)) resolve(summary)
  }

  #newBackoff(): Backoff {
    const { retryMinMs, retryMaxMs } = this.#times
    return new Backoff({ redialMinMs: retryMinMs, redialMaxMs: retryMaxMs }, this.#options.random)
  }

  #tell(event: RetargetEvent): void {
    this.#options.onEvent?.(event)
  }
}
