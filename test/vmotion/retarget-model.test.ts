/**
 * Random lives of a re-pointing: moves, also to hosts without relay; calls that fail, hang, or are made without an
 * answer; VMs that come, go, are switched off and on, or are renamed; stops at any moment. Whatever happened: nobody is
 * left disconnected, whoever is selected names the last host, and nobody was changed more often than there was reason to.
 */
import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import { type HostPlace, Retargeter, type VmName, type VmPorts } from '../../src/vmotion/index.ts'
import { failure, flush, InventoryDouble, pass, place, port, proxyOf, seeded, vm } from './inventory-double.ts'

const CODES = [
  'VSPC_VSPHERE_BUSY',
  'VSPC_VSPHERE_UNREACHABLE',
  'VSPC_VSPHERE_SESSION',
  'VSPC_VSPHERE_STATE',
  'VSPC_VSPHERE_LOGIN',
  'VSPC_TLS_PIN_MISMATCH',
] as const
const TIMES = { resyncMs: 20_000, slowMs: 10_000, retryMaxMs: 4_000, callMs: 3_000 }
/** Of a host that no relay is known for. */
const UNKNOWN: HostPlace = { ...place(9), name: 'strange' }

class Life {
  readonly clock = new ManualClock()
  readonly inventory = new InventoryDouble(this.clock)
  readonly retargeter: Retargeter
  /** Ports that are to be connected, whoever has disconnected them meanwhile. */
  readonly meant = new Set<string>()
  /** Reasons to change a VM, by its id: what the number of changes is held against. */
  readonly reasons = new Map<string, number>()
  readonly story: string[] = []
  /** VMs that somebody switched on or off: what was read of them may be out of date when they are changed. */
  readonly #switched = new Set<string>()
  /** The last place with a relay. */
  to: HostPlace | null = null
  troubled = true
  readonly #random: () => number
  #count = 0

  constructor(seed: number) {
    this.#random = seeded(seed)
    const rate = this.#random() * 0.4
    this.inventory.delayMs = () => (this.troubled && this.#random() < 0.03 ? 1e9 : 1 + this.pick(60))
    this.inventory.fails = (op, id) => {
      if (!this.troubled || this.#random() > rate) return null
      this.reason(id)
      if (this.#random() < 0.2) return 'lost'
      return op === 'list' ? failure('VSPC_VSPHERE_FAULT') : failure(CODES[this.pick(CODES.length)] ?? CODES[0])
    }
    this.retargeter = new Retargeter({
      inventory: this.inventory,
      selects: ({ name }) => name.startsWith('web'),
      wanted: { folders: false, resourcePools: false, customValues: false },
      choice: {},
      proxyURI: (to) => (to.name.startsWith('esx') ? { uri: proxyOf(to) } : { problem: 'no relay there' }),
      clock: this.clock,
      random: this.#random,
      times: { ...TIMES, concurrency: 1 + this.pick(4) },
    })
    for (let n = this.pick(12); n >= 0; n--) this.appear()
  }

  pick(n: number): number {
    return Math.floor(this.#random() * n)
  }

  reason(id: string): void {
    this.reasons.set(id, (this.reasons.get(id) ?? 0) + 1)
  }

  appear(): void {
    const n = ++this.#count
    const on = this.#random() < 0.8
    const ports = Array.from({ length: 1 + this.pick(2) }, (_, at) => {
      const startConnected = this.#random() < 0.7
      return port(9000 + at, proxyOf(place(1 + this.pick(3))), { startConnected, connected: on && this.pick(8) > 0 })
    })
    this.inventory.add(vm(n, ports, { poweredOn: on }))
    for (const { key, connected } of ports) if (connected) this.meant.add(`vm-${n}/${key}`)
    this.reason(`vm-${n}`)
  }

  /** Somebody else does something to a VM. */
  #outside(change: (one: VmPorts) => VmPorts | null): void {
    const all = [...this.inventory.vms.values()]
    const one = all[this.pick(all.length)]
    if (one === undefined) return
    const changed = change(one)
    this.reason(one.id)
    if (changed === null) this.inventory.vms.delete(one.id)
    else this.inventory.vms.set(one.id, changed)
  }

  #power(one: VmPorts): VmPorts {
    const poweredOn = !one.poweredOn
    this.#switched.add(one.id)
    const ports = one.ports.map((now) => ({ ...now, connected: poweredOn && now.startConnected }))
    for (const { key, connected } of ports) {
      if (connected) this.meant.add(`${one.id}/${key}`)
      else this.meant.delete(`${one.id}/${key}`)
    }
    return { ...one, poweredOn, ports }
  }

  move(to: HostPlace): void {
    if (to !== UNKNOWN) this.to = to
    for (const id of this.inventory.vms.keys()) this.reason(id)
    this.retargeter.point(to)
  }

  step(): void {
    const events: [string, () => void][] = [
      ['move', () => this.move(place(1 + this.pick(3)))],
      ['move', () => this.move(place(1 + this.pick(3)))],
      ['no relay', () => this.move(UNKNOWN)],
      ['appears', () => this.appear()],
      ['vanishes', () => this.#outside(() => null)],
      ['power', () => this.#outside((one) => this.#power(one))],
      [
        'renamed',
        () => this.#outside((one) => ({ ...one, name: one.name.startsWith('web') ? `db${one.id}` : `web${one.id}` })),
      ],
      ['look', () => this.retargeter.check()],
      ['trouble', () => (this.troubled = !this.troubled)],
    ]
    const [name, run] = events[this.pick(events.length)]!
    this.story.push(`${Math.round(this.clock.now())} ${name}`)
    run()
  }

  async live(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      this.step()
      await pass(this.clock, this.pick(this.#random() < 0.6 ? 120 : 5_000))
    }
  }

  /** Ports that should be connected and are not. */
  cut(): string[] {
    return [...this.inventory.vms.values()].flatMap(({ id, poweredOn, ports }) =>
      ports
        .filter(({ key, connected }) => poweredOn && !connected && this.meant.has(`${id}/${key}`))
        .map(({ key }) => `${id}/${key}`),
    )
  }

  elsewhere(): string[] {
    const { to } = this
    if (to === null) return []
    return [...this.inventory.vms.values()]
      .filter(({ name, ports }) => name.startsWith('web') && ports.some((one) => proxy(one) !== proxyOf(to)))
      .map(({ id }) => id)
  }

  checkChanges(): void {
    expect(this.inventory.broken.filter((text) => !this.#switched.has(text.split(':', 1)[0] ?? ''))).toEqual([])
    const made = new Map<string, number>()
    for (const { op, vm: id } of this.inventory.calls) {
      if (op === 'point') made.set(id, (made.get(id) ?? 0) + 1)
    }
    for (const [id, count] of made) expect([id, count <= 2 * (this.reasons.get(id) ?? 0)]).toEqual([id, true])
  }
}

const proxy = ({ backing }: VmPorts['ports'][number]) => (backing.kind === 'uri' ? backing.proxyURI : null)

const seeds = Array.from({ length: 60 }, (_, seed) => [seed + 1] as const)

describe('a random life', () => {
  test.each(seeds)('that quietens down: all name the last host, nobody is cut off (seed %i)', async (seed) => {
    const life = new Life(seed)
    await life.live(25)
    life.troubled = false
    life.move(place(1 + life.pick(3)))
    await pass(life.clock, 40_000, 20)
    const told = life.story.join(', ')
    expect(life.elsewhere(), told).toEqual([])
    expect(life.cut(), told).toEqual([])
    expect(life.retargeter.status.settled).toBe(true)
    life.checkChanges()
    // Then nobody is touched any more.
    const quiet = life.clock.now()
    await pass(life.clock, 45_000, 50)
    expect(life.inventory.count('point', quiet + 1) + life.inventory.count('disconnect', quiet + 1)).toBe(0)
  })

  test.each(seeds)('that is stopped at any moment: nobody is cut off, and it ends in time (seed %i)', async (seed) => {
    const life = new Life(1_000 + seed)
    await life.live(life.pick(20))
    life.move(place(1 + life.pick(3)))
    await pass(life.clock, life.pick(200), 1)
    if (life.pick(2) === 0) life.move(life.pick(3) === 0 ? UNKNOWN : place(1 + life.pick(3)))
    life.troubled = false
    let left: readonly VmName[] | null = null
    const begun = life.inventory.calls.length
    void life.retargeter.stop(20_000).then((vms) => {
      left = vms
    })
    await pass(life.clock, 21_000, 10)
    const told = life.story.join(', ')
    expect(left, told).toEqual([])
    expect(life.cut(), told).toEqual([])
    // Nobody is disconnected by one that stops.
    const late = life.inventory.calls.slice(begun).filter(({ op }) => op === 'disconnect')
    expect(late).toEqual([])
    expect(life.clock.pending).toBe(0)
    life.checkChanges()
  })

  test('that is stopped while nothing works: it ends at its deadline, and names who is left disconnected', async () => {
    const life = new Life(7)
    life.troubled = false
    life.inventory.vms.clear()
    life.inventory.add(vm(1, [port(9000, proxyOf(place(1)))]), vm(2, [port(9000, proxyOf(place(1)))]))
    life.inventory.fails = (op, id) => (op === 'point' && id === 'vm-1' ? failure('VSPC_VSPHERE_UNREACHABLE') : null)
    life.inventory.delayMs = () => 10
    life.move(place(2))
    await pass(life.clock, 100)
    let left: readonly VmName[] | null = null
    void life.retargeter.stop(5_000).then((vms) => {
      left = vms
    })
    await pass(life.clock, 4_900)
    expect(left).toBeNull()
    await pass(life.clock, 200)
    expect((left ?? []).map(({ name }: VmName) => name)).toEqual(['web1'])
    await flush()
    expect(life.clock.pending).toBe(0)
    expect(life.inventory.count('point')).toBeLessThan(20)
  })
})
