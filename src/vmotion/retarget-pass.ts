/** One VM's turn: looked at, planned, disconnected, pointed, and looked at again until there is nothing left to do. */
import { type Clock, VspcError } from '../base/index.ts'
import type { HostPlace, Inventory, PortChange, VmPorts } from './inventory.ts'
import type { InventoryCalls } from './inventory-calls.ts'
import {
  type ChangeStep,
  type HalfDone,
  halfDoneKey,
  planVm,
  type RetargetStep,
  type RetargetTarget,
} from './retarget.ts'
import type { TrackedVm } from './retarget-queue.ts'

export interface GenerationTarget extends RetargetTarget {
  /** From 1; grows with every move. */
  readonly generation: number
  readonly place: HostPlace
  /** Of the clock. */
  readonly since: number
}

export interface RetargetPassesOptions {
  readonly inventory: Inventory
  readonly calls: InventoryCalls
  readonly clock: Clock
  readonly freshMs: number
  /** Whether this target still is the one that counts. */
  readonly isCurrent: (target: GenerationTarget) => boolean
  /** Nothing is begun any more: only what was disconnected is pointed and connected. */
  readonly finishing: () => boolean
  readonly onChanged: (one: TrackedVm, steps: readonly ChangeStep[], target: GenerationTarget) => void
}

export class RetargetPasses {
  readonly #options: RetargetPassesOptions
  readonly #halfDone = new Set<string>()
  #touches = 0

  constructor(options: RetargetPassesOptions) {
    this.#options = options
  }

  /** Grows with every change that is begun or has ended: see {@link TrackedVm.touched}. */
  get touches(): number {
    return this.#touches
  }

  /** Ports that were disconnected, and not connected since. */
  get halfDone(): HalfDone {
    return this.#halfDone
  }

  isHalfDone(vm: VmPorts): boolean {
    return vm.ports.some((port) => this.#halfDone.has(halfDoneKey(vm, port)))
  }

  /** The VM is right, or gone. */
  forget(vm: VmPorts): void {
    for (const port of vm.ports) this.#halfDone.delete(halfDoneKey(vm, port))
  }

  /**
   * @returns what is right and what cannot be changed; null when another target counts now.
   * @throws what a call failed with; VSPC_VSPHERE_STATE when a change has no effect.
   */
  async pass(one: TrackedVm, target: GenerationTarget): Promise<RetargetStep[] | null> {
    const { isCurrent, finishing, onChanged } = this.#options
    for (;;) {
      await this.#refresh(one)
      if (!isCurrent(target)) return null
      const steps = planVm(one.vm, target, this.#halfDone)
      const wrong = steps.filter((step) => step.do === 'change')
      const changes = finishing() ? wrong.filter((step) => this.#isOpen(step)) : wrong
      if (changes.length === 0) return steps
      if (one.applied === target.generation) {
        one.applied = 0
        throw new VspcError('VSPC_VSPHERE_STATE', `was changed, and is not right all the same: ${wrongs(changes)}`)
      }
      await this.#disconnect(
        one,
        changes.filter(({ disconnect }) => disconnect),
      )
      // Not pointed at what is old already: the next turn does that once, and right.
      if (!isCurrent(target)) return null
      await this.#change(one, changes.map(pointing))
      one.applied = target.generation
      for (const { port } of changes) this.#halfDone.delete(halfDoneKey(one.vm, port))
      onChanged(one, changes, target)
    }
  }

  #isOpen({ vm, port }: ChangeStep): boolean {
    return !port.connected && this.#halfDone.has(halfDoneKey(vm, port))
  }

  async #refresh(one: TrackedVm): Promise<void> {
    const { inventory, clock, calls, freshMs } = this.#options
    const now = clock.now()
    if (one.readAt !== null && now - one.readAt <= freshMs) return
    one.vm = await calls.call(`reading VM ${one.vm.name}`, (signal) => inventory.readVm(one.vm, { signal }))
    one.readAt = now
  }

  async #disconnect(one: TrackedVm, steps: readonly ChangeStep[]): Promise<void> {
    if (steps.length === 0) return
    // Before it is: when the call fails, nobody knows.
    for (const { port } of steps) this.#halfDone.add(halfDoneKey(one.vm, port))
    await this.#change(
      one,
      steps.map(({ port }) => ({ port, connected: false })),
    )
  }

  /** Whatever comes of it, what was known of the VM no longer holds. */
  async #change(one: TrackedVm, changes: readonly PortChange[]): Promise<void> {
    const { inventory, calls } = this.#options
    one.readAt = null
    one.touched = ++this.#touches
    try {
      await calls.call(`changing VM ${one.vm.name}`, (signal) => inventory.changePorts(one.vm, changes, { signal }))
    } finally {
      one.touched = ++this.#touches
    }
  }
}

function pointing({ port, to, connect }: ChangeStep): PortChange {
  const { serviceURI, direction, proxyURI } = to
  return { port, backing: { serviceURI, direction, proxyURI }, ...(connect ? { connected: true } : {}) }
}

function wrongs(steps: readonly ChangeStep[]): string {
  const WORDS = { elsewhere: 'names another proxy', disconnected: 'is not connected', failed: 'fails to connect' }
  return steps.map(({ port, why }) => `${port.label || port.key} ${WORDS[why]}`).join(', ')
}
