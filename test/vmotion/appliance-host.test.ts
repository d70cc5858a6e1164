import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  APPLIANCE_TRANSITIONS,
  ApplianceHost,
  ApplianceMachine,
  type ApplianceMove,
  type ApplianceTimer,
  type Failure,
  type HostPlace,
  type VmName,
} from '../../src/vmotion/index.ts'
import { failure, flush, InventoryDouble, pass, place } from './inventory-double.ts'

const SELF: VmName = { id: 'vm-1', name: 'appliance', instanceUuid: '50000000-0000-4000-8000-000000000001' }
const DOWN: Failure = { kind: 'transient', message: 'down' }
const GONE: Failure = { kind: 'gone', message: 'gone' }

/** The machine with the smallest owner that can be asked whether something is under way. */
class World {
  readonly moves: ApplianceMove[] = []
  readonly faults: string[] = []
  readonly timers = new Set<ApplianceTimer>()
  host: HostPlace | null = place(1)
  searching = false
  feed = false
  /** The host that the feed has yet to tell. */
  news = false
  reading = false
  /** What the machine was told last: part of what decides what it does next. */
  heard: string | null | undefined
  answer: string | null | undefined
  readonly machine = new ApplianceMachine({
    search: () => {
      if (this.searching || this.reading) this.faults.push('two searches')
      this.searching = true
    },
    openFeed: () => {
      if (this.feed) this.faults.push('two feeds')
      this.feed = true
      this.news = true
      this.heard = undefined
    },
    closeFeed: () => {
      this.feed = false
      this.news = false
    },
    read: () => {
      if (this.searching || this.reading) this.faults.push('two readings')
      this.reading = true
    },
    dropRead: () => {
      this.reading = false
      this.searching = false
    },
    arm: (timer) => this.timers.add(timer),
    disarm: () => this.timers.clear(),
    moved: (move) => {
      if (move.from?.id === move.to.id) this.faults.push('announced twice')
      if (move.from !== (this.moves.at(-1)?.to ?? null)) this.faults.push('a move from elsewhere')
      this.moves.push(move)
    },
    trouble: () => {},
    well: () => {},
  })

  /** Everything that can happen now. */
  possible(): Map<string, () => void> {
    const { machine } = this
    const all = new Map<string, () => void>()
    all.set(machine.state === 'STOPPED' ? 'start' : 'stop', () =>
      machine.state === 'STOPPED' ? machine.start() : machine.stop(),
    )
    for (const n of [1, 2]) {
      if (this.host?.id === place(n).id) continue
      all.set(`move ${n}`, () => {
        this.host = place(n)
        this.news = this.feed
      })
      // A feed that is deaf.
      all.set(`move ${n} untold`, () => {
        this.host = place(n)
      })
    }
    if (this.host !== null) all.set('no host', () => this.#lose())
    if (this.searching) {
      all.set('found', () => this.#searched(() => machine.found(SELF)))
      all.set('not found', () => this.#searched(() => machine.notFound(GONE)))
    }
    if (this.feed) {
      all.set('told', () => this.told())
      all.set('feed failed', () => this.#feedEnds(DOWN))
      all.set('feed gone', () => this.#feedEnds(GONE))
    }
    if (this.reading) {
      all.set('read', () => this.#read(this.host))
      all.set('read older', () => this.#read(place(1)))
      all.set('read failed', () => this.#answered(() => machine.readFailed(DOWN)))
      all.set('read gone', () => this.#answered(() => machine.readFailed(GONE)))
    }
    for (const timer of this.timers) all.set(timer, () => this.due(timer))
    return all
  }

  #lose(): void {
    this.host = null
    this.news = this.feed
  }

  told(): void {
    this.news = false
    this.heard = this.host?.id ?? null
    this.machine.told(this.heard)
  }

  due(timer: ApplianceTimer): void {
    this.timers.delete(timer)
    this.machine.due(timer)
  }

  #searched(then: () => void): void {
    this.searching = false
    then()
  }

  #feedEnds(why: Failure): void {
    this.feed = false
    this.news = false
    this.machine.feedFailed(why)
  }

  #read(found: HostPlace | null): void {
    this.answer = found?.id ?? null
    this.#answered(() => this.machine.read(found))
  }

  #answered(then: () => void): void {
    this.reading = false
    then()
  }

  check(): void {
    const { state } = this.machine
    const followed = ['JOINING', 'SETTLING', 'READING', 'FOLLOWING', 'CHECKING'].includes(state)
    if (this.feed !== followed) this.faults.push(`${state} ${followed ? 'without' : 'with'} a feed`)
    if (this.reading !== (state === 'READING' || state === 'CHECKING')) this.faults.push(`${state}: reading wrong`)
    if (this.searching !== (state === 'SEARCHING')) this.faults.push(`${state}: searching wrong`)
    const pending = this.searching || this.reading || this.timers.size > 0
    if (pending === (state === 'STOPPED')) this.faults.push(`${state} ${pending ? 'does something' : 'is a dead end'}`)
    if (state === 'SETTLING' && !this.timers.has('settle')) this.faults.push('nothing ends SETTLING')
    if (['JOINING', 'FOLLOWING'].includes(state) && !this.timers.has('resync'))
      this.faults.push(`${state} never resyncs`)
  }

  key(): string {
    const { state, announced, vm, trouble } = this.machine
    const flags = [this.searching, this.feed, this.news, this.reading].map(Number).join('')
    const known = [announced?.id, vm?.id, trouble?.message, this.heard, this.answer, this.host?.id]
    return [state, ...known, flags, [...this.timers].sort()].join(' ')
  }

  /** Everything answers from now on, truthfully: does it get to know where the appliance is? */
  calm(): void {
    const { machine } = this
    this.host ??= place(2)
    if (machine.state === 'STOPPED') machine.start()
    for (let step = 0; step < 12; step++) {
      if (this.searching) this.#searched(() => machine.found(SELF))
      else if (this.reading) this.#read(this.host)
      else if (this.news) this.told()
      else {
        const timer = (['settle', 'retry', 'resync'] as const).find((one) => this.timers.has(one))
        if (timer !== undefined) this.due(timer)
      }
    }
    if (machine.announced?.id !== this.host.id) this.faults.push(`it is not known that it is on ${this.host.name}`)
  }
}

describe('the table', () => {
  test('every sequence of events: one feed, one reading, no dead end, nothing announced twice, and the truth in the end', () => {
    const seen = new Set<string>()
    const open: string[][] = [[]]
    const replay = (path: readonly string[]): World => {
      const world = new World()
      for (const step of path) world.possible().get(step)?.()
      return world
    }
    for (let path = open.shift(); path !== undefined; path = open.shift()) {
      const world = replay(path)
      world.check()
      expect(world.faults, path.join(' > ')).toEqual([])
      if (path.length > 0 && seen.has(world.key())) continue
      seen.add(world.key())
      const calm = replay(path)
      calm.calm()
      expect(calm.faults, `${path.join(' > ')} > calm`).toEqual([])
      for (const step of world.possible().keys()) open.push([...path, step])
    }
    expect(seen.size).toBeGreaterThan(500)
  })

  test('every state can be reached, and stopped from', () => {
    for (const [state, row] of Object.entries(APPLIANCE_TRANSITIONS)) {
      if (state !== 'STOPPED') expect(row).toHaveProperty('stop')
    }
    const targets = Object.values(APPLIANCE_TRANSITIONS).flatMap((row) => Object.values(row).map(([next]) => next))
    expect(new Set(targets)).toEqual(new Set(Object.keys(APPLIANCE_TRANSITIONS)))
  })
})

function follow(selector = 'appliance') {
  const clock = new ManualClock()
  const inventory = new InventoryDouble(clock)
  inventory.names = [SELF]
  const moves: string[] = []
  const troubles: string[] = []
  const tracker = new ApplianceHost({
    inventory,
    selector,
    clock,
    random: () => 1,
    times: { resyncMs: 60_000 },
    onMove: ({ from, to }) => moves.push(`${from?.name ?? '-'} > ${to.name}`),
    onTrouble: ({ kind, message }) => troubles.push(`${kind}: ${message}`),
    onWell: () => troubles.push('well'),
  })
  tracker.start()
  return { clock, inventory, moves, troubles, tracker }
}

describe('over an inventory', () => {
  test('the first place and each move are announced once, however often the feed repeats them', async () => {
    const { clock, inventory, moves, tracker } = follow()
    await pass(clock, 500)
    inventory.tell('host-1')
    inventory.move(place(2))
    inventory.tell('host-2')
    await pass(clock, 500)
    inventory.tell('host-2')
    await pass(clock, 130_000, 100)
    expect(moves).toEqual(['- > esx1.example', 'esx1.example > esx2.example'])
    expect(tracker.status).toMatchObject({ state: 'FOLLOWING', vm: SELF, host: place(2), moves: 1, trouble: null })
    expect(tracker.status.since).toBeGreaterThan(clock.wall() - 131_000)
    expect(inventory.count('place')).toBeLessThan(8)
    tracker.stop()
    await flush()
    expect([clock.pending, inventory.feeds.size]).toEqual([0, 0])
  })

  test('a VM that is moved to and fro within a moment has not moved', async () => {
    const { clock, inventory, moves } = follow()
    await pass(clock, 500)
    for (let i = 0; i < 5; i++) for (const n of [2, 1]) inventory.move(place(n))
    await pass(clock, 1_000)
    expect(moves).toHaveLength(1)
  })

  test('a host that flaps for good is announced as it is, not put off for ever', async () => {
    const { clock, inventory, moves } = follow()
    await pass(clock, 500)
    for (let i = 0; i < 40; i++) {
      inventory.move(place(2 + (i % 2)))
      await pass(clock, 10 * (1 + (i % 5)))
    }
    expect(moves.length).toBeGreaterThan(2)
    expect(moves.length).toBeLessThan(20)
    await pass(clock, 1_000)
    expect(moves.at(-1)).toMatch(/ > esx3\.example$/)
  })

  test('a reading that is older than the news announces nothing', async () => {
    const { clock, inventory, moves } = follow()
    await pass(clock, 500)
    inventory.delayMs = () => 50
    inventory.move(place(2))
    await pass(clock, 130)
    inventory.move(place(3))
    await pass(clock, 1_000)
    expect(moves).toEqual(['- > esx1.example', 'esx1.example > esx3.example'])
  })

  test('a feed that ends with an error is opened again after a pause, and a move meanwhile is not missed', async () => {
    const { clock, inventory, moves, troubles } = follow()
    await pass(clock, 500)
    inventory.breakFeeds(failure('VSPC_VSPHERE_SESSION'))
    await flush()
    inventory.host = place(2)
    expect(inventory.feeds.size).toBe(0)
    await pass(clock, 2_000)
    expect(moves).toEqual(['- > esx1.example', 'esx1.example > esx2.example'])
    expect(troubles).toEqual(['transient: injected VSPC_VSPHERE_SESSION', 'well'])
  })

  test('pauses grow while the feed keeps failing, and are short again after it was well for a time', async () => {
    const { clock, inventory } = follow()
    const pauseMs = async () => {
      inventory.breakFeeds(failure('VSPC_VSPHERE_SESSION'))
      await flush()
      const at = clock.now()
      while (inventory.feeds.size === 0) await pass(clock, 10)
      return clock.now() - at
    }
    await pass(clock, 500)
    expect([await pauseMs(), await pauseMs(), await pauseMs()]).toEqual([500, 1_000, 2_000])
    await pass(clock, 20_000)
    expect(await pauseMs()).toBe(500)
  })

  test('a server that is away for an hour is asked now and then, and told of once', async () => {
    const { clock, inventory, moves, troubles } = follow()
    await pass(clock, 500)
    inventory.fails = () => failure('VSPC_VSPHERE_UNREACHABLE')
    inventory.breakFeeds(failure('VSPC_VSPHERE_UNREACHABLE'))
    const calls = inventory.calls.length
    await pass(clock, 3_600_000, 1_000)
    expect(inventory.calls.length - calls).toBeLessThan(260)
    inventory.fails = () => null
    inventory.host = place(2)
    await pass(clock, 16_000, 100)
    expect(moves).toHaveLength(2)
    expect(troubles).toEqual(['transient: injected VSPC_VSPHERE_UNREACHABLE', 'well'])
  })

  test('a feed that is deaf hides a move no longer than until the next look, and is replaced', async () => {
    const { clock, inventory, moves } = follow()
    await pass(clock, 500)
    inventory.deafen()
    inventory.move(place(2))
    await pass(clock, 61_000, 100)
    expect(moves).toHaveLength(2)
    inventory.move(place(3))
    await pass(clock, 500)
    expect(moves).toHaveLength(3)
    expect(inventory.feeds.size).toBe(1)
  })

  test('a call that is never answered is given up', async () => {
    const { clock, inventory, moves, troubles } = follow()
    await pass(clock, 500)
    inventory.delayMs = () => 1e9
    inventory.move(place(2))
    await pass(clock, 60_200, 100)
    expect(troubles.at(-1)).toContain('no answer within 60000 ms')
    inventory.delayMs = () => 1
    await pass(clock, 2_000)
    expect(moves).toHaveLength(2)
  })

  test('a VM that is not there is looked for until it is', async () => {
    const { clock, inventory, moves, troubles, tracker } = follow()
    inventory.names = []
    await pass(clock, 100_000, 100)
    expect(tracker.status.state).toBe('UNKNOWN')
    expect(inventory.count('find')).toBeLessThan(15)
    inventory.names = [SELF]
    await pass(clock, 16_000, 100)
    expect(moves).toEqual(['- > esx1.example'])
    expect(troubles).toEqual(["gone: the appliance's VM 'appliance' is not there, or the user may not see it", 'well'])
  })

  test('of several VMs with that name none is followed', async () => {
    const { clock, inventory, moves, troubles } = follow()
    inventory.names = [SELF, { ...SELF, id: 'vm-2', instanceUuid: null }]
    await pass(clock, 5_000)
    expect(moves).toEqual([])
    expect(troubles).toEqual(["refused: 'appliance' means 2 VMs; name the appliance by its instance UUID"])
  })

  test('a VM that is registered anew is found by its UUID, though a clone has taken its name', async () => {
    const { clock, inventory, moves, tracker } = follow()
    await pass(clock, 500)
    const clone = { ...SELF, id: 'vm-8', instanceUuid: '50000000-0000-4000-8000-000000000008' }
    inventory.names = [clone, { ...SELF, id: 'vm-9', name: 'renamed' }]
    inventory.breakFeeds(failure('VSPC_VSPHERE_NOT_FOUND'))
    inventory.host = place(2)
    await pass(clock, 3_000)
    expect(tracker.status.vm?.id).toBe('vm-9')
    expect(moves).toHaveLength(2)
  })

  test('a VM without host is no move; its host afterwards is, if it is another', async () => {
    const { clock, inventory, moves, troubles } = follow()
    await pass(clock, 500)
    inventory.move(null)
    await pass(clock, 500)
    expect(troubles).toEqual(["busy: the appliance's VM has no host just now"])
    inventory.move(place(1))
    await pass(clock, 500)
    expect(moves).toHaveLength(1)
    expect(troubles.at(-1)).toBe('well')
    inventory.move(null)
    inventory.move(place(2))
    await pass(clock, 500)
    expect(moves).toHaveLength(2)
  })

  test('a host that is renamed, or has another address, is told', async () => {
    const { clock, inventory, moves } = follow()
    await pass(clock, 500)
    inventory.host = { ...place(1), managementIps: ['198.51.100.1'] }
    await pass(clock, 61_000, 100)
    expect(moves).toHaveLength(2)
  })

  test('after stop nothing is told, whatever was under way', async () => {
    const { clock, inventory, moves, tracker } = follow()
    inventory.delayMs = () => 100
    await pass(clock, 50)
    expect(tracker.status.state).toBe('READING')
    tracker.stop()
    await pass(clock, 5_000)
    expect([moves, clock.pending, inventory.feeds.size]).toEqual([[], 0, 0])
  })
})
