import { afterEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../src/base/index.ts'
import {
  type HostPlace,
  type RetargetEvent,
  Retargeter,
  type RetargetTimes,
  readPlan,
  type VmPorts,
} from '../../src/vmotion/index.ts'
import {
  failure,
  flush,
  InventoryDouble,
  NextHopDouble,
  pass,
  place,
  port,
  proxyOf,
  seeded,
  vm,
} from './inventory-double.ts'

const started: Retargeter[] = []
afterEach(async () => {
  for (const one of started.splice(0)) {
    const stopped = one.stop(0)
    await flush()
    void stopped
  }
})

interface SetUp {
  readonly vms?: readonly VmPorts[]
  readonly times?: Partial<RetargetTimes>
  readonly peers?: readonly string[]
  readonly random?: () => number
}

function setUp({ vms = [], times = {}, peers, random = () => 1 }: SetUp = {}) {
  const clock = new ManualClock()
  const inventory = new InventoryDouble(clock)
  inventory.add(...vms)
  const pusher = peers === undefined ? null : new NextHopDouble(clock, peers)
  const events: RetargetEvent[] = []
  const options = {
    inventory,
    selects: ({ name }: VmPorts) => name.startsWith('web'),
    wanted: { folders: false, resourcePools: false, customValues: false },
    choice: {},
    proxyURI: (to: HostPlace) => (to.name.startsWith('esx') ? { uri: proxyOf(to) } : { problem: 'no relay there' }),
  }
  const retargeter = new Retargeter({
    ...options,
    clock,
    random,
    pusher,
    times,
    onEvent: (event) => events.push(event),
  })
  started.push(retargeter)
  const told = (kind: RetargetEvent['kind']) => events.filter((event) => event.kind === kind)
  return { clock, inventory, pusher: pusher as NextHopDouble, events, told, retargeter, options }
}

const fleet = (count: number, proxyURI = proxyOf(place(1))) =>
  Array.from({ length: count }, (_, n) => vm(n + 1, [port(9000, proxyURI)]))

/** What the ports of all VMs say that are not as they should be. */
function wrong(inventory: InventoryDouble, to: HostPlace, except: ReadonlySet<string> = new Set()): string[] {
  return [...inventory.vms.values()]
    .filter(({ id, name }) => !except.has(id) && name.startsWith('web'))
    .flatMap(({ id, poweredOn, ports }) =>
      ports
        .filter(({ backing, connected }) => {
          if (backing.kind !== 'uri' || backing.proxyURI === null) return false
          return backing.proxyURI !== proxyOf(to) || (poweredOn && !connected)
        })
        .map(({ key, backing, connected }) => `${id}/${key} ${JSON.stringify(backing)} ${connected}`),
    )
}

describe('one move', () => {
  test('200 VMs: each disconnected, pointed and read back once, eight at a time', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(200) })
    retargeter.point(place(2))
    const settled = retargeter.whenSettled()
    await pass(clock, 1_000, 1)
    expect(await settled).toMatchObject({ changed: 200, proxyURI: proxyOf(place(2)), counts: { vms: 200, right: 200 } })
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.broken).toEqual([])
    expect(inventory.most).toBe(8)
    expect(['list', 'disconnect', 'point', 'read'].map((op) => inventory.count(op as 'list'))).toEqual([
      1, 200, 200, 200,
    ])
    expect(told('settled')).toHaveLength(1)
    expect(retargeter.status).toMatchObject({ settled: true, place: place(2) })
  })

  test('what is right already is left alone, and the same place again only looks', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(20, proxyOf(place(2))) })
    retargeter.point(place(2))
    await pass(clock, 100)
    retargeter.point(place(2))
    await pass(clock, 100)
    expect(inventory.calls.map(({ op }) => op)).toEqual(['list', 'list'])
    expect((await retargeter.whenSettled()).changed).toBe(0)
  })

  test('VMs that are not selected are never touched; one that appears later is found, one that goes forgotten', async () => {
    const other = vm(9, [port(9000, proxyOf(place(1)))], { name: 'db9' })
    const { clock, inventory, retargeter, told } = setUp({ vms: [...fleet(2), other], times: { resyncMs: 10_000 } })
    retargeter.point(place(2))
    await pass(clock, 1_000)
    inventory.add(vm(5, [port(9000, proxyOf(place(1)))]))
    inventory.vms.delete('vm-1')
    await pass(clock, 11_000)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.vms.get('vm-9')).toEqual(other)
    expect(told('forgotten')).toHaveLength(1)
    expect(retargeter.vms().map(({ vm: name }) => name)).toEqual(['web2', 'web5'])
  })

  test('a plan changes nothing, and is told with reasons', async () => {
    const { clock, inventory, options } = setUp({ vms: fleet(3) })
    const plan = readPlan(options, place(2), new AbortController().signal)
    await pass(clock, 50)
    expect((await plan).map((step) => step.why)).toEqual(['elsewhere', 'elsewhere', 'elsewhere'])
    expect(inventory.calls).toHaveLength(1)
    await expect(readPlan(options, { ...place(2), name: 'x' }, new AbortController().signal)).rejects.toThrow(
      'no relay',
    )
  })

  test('a host without relay: nothing is changed until there is one', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(3) })
    retargeter.point({ ...place(2), name: 'unknown' })
    await pass(clock, 20_000)
    expect(inventory.calls).toEqual([])
    expect(told('no-target')).toHaveLength(1)
    retargeter.point(place(3))
    await pass(clock, 500)
    expect(wrong(inventory, place(3))).toEqual([])
  })

  test('VMs that are off get their backing, and no connection', async () => {
    const { clock, inventory, retargeter } = setUp({
      vms: [vm(1, [port(9000, proxyOf(place(1)), { connected: false })], { poweredOn: false })],
    })
    retargeter.point(place(2))
    await pass(clock, 500)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.count('disconnect')).toBe(0)
    expect(inventory.vms.get('vm-1')?.ports[0]?.connected).toBe(false)
  })
})

describe('a second move', () => {
  test('while VMs are re-pointed: nobody is pointed at the old host any more, and none twice at one', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(60) })
    inventory.delayMs = () => 20
    retargeter.point(place(2))
    await pass(clock, 150)
    const at = clock.now()
    retargeter.point(place(3))
    await pass(clock, 5_000)
    expect(wrong(inventory, place(3))).toEqual([])
    const late = inventory.calls.filter(
      ({ op, at: when, to }) => op === 'point' && when > at && to !== proxyOf(place(3)),
    )
    expect(late).toEqual([])
    expect(inventory.calls.filter(({ to }) => to === proxyOf(place(3)))).toHaveLength(60)
    // Whoever was disconnected for the first move is not disconnected again for the second.
    const first = inventory.calls.filter(({ to }) => to === proxyOf(place(2))).length
    expect(inventory.count('disconnect')).toBe(60 + first)
    expect(inventory.broken).toEqual([])
    expect(inventory.most).toBe(8)
  })

  test('back to where it was: who was only disconnected is connected, the others are not touched', async () => {
    const vms = fleet(10).map((one) => ({ ...one, ports: one.ports.map((p) => ({ ...p, startConnected: false })) }))
    const { clock, inventory, retargeter } = setUp({ vms })
    inventory.delayMs = () => 20
    retargeter.point(place(2))
    await pass(clock, 30)
    expect(inventory.count('disconnect')).toBe(8)
    retargeter.point(place(1))
    await pass(clock, 2_000)
    expect(wrong(inventory, place(1))).toEqual([])
    expect([inventory.count('disconnect'), inventory.count('point')]).toEqual([8, 8])
    expect(retargeter.status).toMatchObject({ settled: true, counts: { right: 10 } })
  })
})

describe('trouble', () => {
  test('VMs that cannot be changed block nobody, are reported, and tried again now and then', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(40) })
    const bad = new Set(['vm-1', 'vm-2', 'vm-3', 'vm-4', 'vm-5', 'vm-6', 'vm-7', 'vm-8', 'vm-9'])
    inventory.fails = (op, id) => (op === 'disconnect' && bad.has(id) ? failure('VSPC_VSPHERE_PERMISSION') : null)
    retargeter.point(place(2))
    await pass(clock, 500)
    expect(wrong(inventory, place(2), bad)).toEqual([])
    expect((await retargeter.whenSettled()).counts).toMatchObject({ right: 31, stuck: 9 })
    expect(told('failed')).toHaveLength(9)
    expect(retargeter.vms()[0]).toMatchObject({ vm: 'web1', state: 'stuck', failure: { kind: 'permission' } })
    await pass(clock, 600_000, 500)
    expect(inventory.count('disconnect')).toBeLessThan(40 + 9 * 12)
    inventory.fails = () => null
    await pass(clock, 61_000, 100)
    expect(wrong(inventory, place(2))).toEqual([])
  })

  test('VMs that hang cost the others their places for seconds, not until the deadline', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(60) })
    let calls = 0
    inventory.delayMs = () => (++calls >= 2 && calls <= 9 ? 1e9 : 1)
    retargeter.point(place(2))
    await pass(clock, 5_500)
    expect(inventory.count('point')).toBe(52)
    await pass(clock, 40_000)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.most).toBe(16)
  })

  test('a server that is slow with every VM gets no more than a few more to do, and none is given up', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(100) })
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 1 : 8_000)
    retargeter.point(place(2))
    await pass(clock, 200_000, 100)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.most).toBe(24)
    expect(told('failed')).toEqual([])
  })

  test('VMs that hang keep nobody waiting at the next move, whenever it comes', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(30), times: { callMs: 5_000 } })
    const bad = new Set(Array.from({ length: 10 }, (_, n) => `vm-${n + 1}`))
    inventory.delayMs = () => (bad.has(inventory.calls.at(-1)?.vm ?? '') ? 1e9 : 1)
    retargeter.point(place(2))
    await pass(clock, 30_000, 50)
    for (let move = 3; move < 12; move++) {
      retargeter.point(place(move))
      await pass(clock, 500)
      expect(wrong(inventory, place(move), bad)).toEqual([])
      await pass(clock, 3_300, 50)
    }
    expect(inventory.most).toBeLessThanOrEqual(24)
  })

  test('what is known of a VM that had to wait for long is read again: somebody may have changed it', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(3), times: { concurrency: 1 } })
    inventory.delayMs = () => 3_000
    retargeter.point(place(2))
    await pass(clock, 6_000)
    inventory.add(vm(3, [port(9000, proxyOf(place(2)))]))
    await pass(clock, 60_000, 100)
    expect(inventory.calls.filter(({ vm: id }) => id === 'vm-3').map(({ op }) => op)).toEqual(['read'])
  })

  test('a port that was connected by a call without answer is no longer ours to connect', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(1), times: { resyncMs: 10_000 } })
    let lost = 0
    inventory.fails = (op) => (op === 'point' && lost++ === 0 ? 'lost' : null)
    retargeter.point(place(2))
    await pass(clock, 5_000)
    inventory.add(vm(1, [port(9000, proxyOf(place(2)), { connected: false, startConnected: false })]))
    await pass(clock, 30_000, 100)
    expect(inventory.count('point')).toBe(1)
  })

  test('a VM that is no longer selected while it is changed is brought to its end, and forgotten', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(2) })
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 1 : 50)
    retargeter.point(place(2))
    await pass(clock, 70)
    const one = inventory.vms.get('vm-1') as VmPorts
    inventory.vms.set('vm-1', { ...one, name: 'db1' })
    retargeter.check()
    await pass(clock, 500)
    expect(retargeter.vms().map(({ vm: name }) => name)).toEqual(['web2'])
    expect(inventory.vms.get('vm-1')?.ports[0]?.connected).toBe(true)
  })

  test('another task on the VM: tried again soon, then less often', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(1) })
    inventory.fails = (op) => (op === 'disconnect' ? failure('VSPC_VSPHERE_BUSY') : null)
    retargeter.point(place(2))
    await pass(clock, 600_000, 100)
    const pauses = told('failed').map((event) => (event.kind === 'failed' ? Math.round(event.retryMs) : 0))
    expect(pauses.slice(0, 9)).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 60_000, 60_000])
    expect(pauses.length).toBeLessThan(20)
  })

  test('a server out of reach is asked by one call at a time, with growing pauses; then all goes on at once', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(100) })
    retargeter.point(place(1))
    await pass(clock, 100)
    inventory.fails = () => failure('VSPC_VSPHERE_UNREACHABLE')
    retargeter.point(place(2))
    await pass(clock, 600_000, 100)
    expect(inventory.calls.length).toBeLessThan(200)
    inventory.fails = () => null
    await pass(clock, 16_000, 10)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.count('point')).toBe(100)
  })

  test('an answer that is lost: the VM is looked at, and not changed again', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(1) })
    let lost = 0
    inventory.fails = (op) => (op === 'point' && lost++ === 0 ? 'lost' : null)
    retargeter.point(place(2))
    await pass(clock, 5_000)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(inventory.count('point')).toBe(1)
  })

  test('a change without effect is a failure, not an endless loop', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(1) })
    const apply = inventory.changePorts.bind(inventory)
    inventory.changePorts = (one, changes, options) =>
      apply(one, changes[0]?.backing === undefined ? changes : [], options)
    retargeter.point(place(2))
    await pass(clock, 120_000, 100)
    expect(inventory.calls.length).toBeLessThan(40)
    expect(told('failed')[0]).toMatchObject({ failure: { message: expect.stringContaining('names another proxy') } })
    expect(told('settled')).toHaveLength(1)
  })

  test('a listing that fails is tried again; VMs that are known do not wait for it', async () => {
    const { clock, inventory, retargeter, told } = setUp({ vms: fleet(10) })
    retargeter.point(place(1))
    await pass(clock, 100)
    inventory.fails = (op) => (op === 'list' ? failure('VSPC_VSPHERE_FAULT') : null)
    retargeter.point(place(2))
    await pass(clock, 1_000)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(told('settled')).toHaveLength(1)
    inventory.fails = () => null
    await pass(clock, 5_000)
    expect(told('settled')).toHaveLength(2)
  })

  test('a listing that began before a change and is answered after it has nothing changed again', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(20) })
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 1 : 20)
    retargeter.point(place(2))
    await pass(clock, 10)
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 1_000 : 20)
    retargeter.check()
    await pass(clock, 900)
    expect(wrong(inventory, place(2))).toEqual([])
    await pass(clock, 2_000)
    expect(inventory.count('list')).toBe(2)
    expect([inventory.count('disconnect'), inventory.count('point')]).toEqual([20, 20])
  })

  test('a VM that is deleted while it is changed is forgotten', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(2) })
    inventory.delayMs = () => 20
    retargeter.point(place(2))
    await pass(clock, 30)
    inventory.vms.delete('vm-1')
    await pass(clock, 1_000)
    expect(retargeter.vms().map(({ vm: name }) => name)).toEqual(['web2'])
    expect(retargeter.status.settled).toBe(true)
  })
})

describe('peer relays', () => {
  test('hear of the move before any VM is pointed', async () => {
    const { clock, inventory, pusher, retargeter } = setUp({ vms: fleet(10), peers: ['a', 'b'] })
    pusher.delayMs = () => 300
    retargeter.point(place(2))
    await pass(clock, 290)
    expect(inventory.count('disconnect')).toBe(0)
    await pass(clock, 500)
    expect([...pusher.hops.values()]).toEqual(['tls://esx2.example:13371', 'tls://esx2.example:13371'])
    expect(wrong(inventory, place(2))).toEqual([])
  })

  test('also when they had not all heard of the move before', async () => {
    const { clock, inventory, pusher, retargeter } = setUp({ vms: fleet(10), peers: ['a', 'b'] })
    pusher.delayMs = () => 300
    retargeter.point(place(2))
    await pass(clock, 100)
    retargeter.point(place(3))
    await pass(clock, 290)
    expect(inventory.count('disconnect')).toBe(0)
    await pass(clock, 500)
    expect(wrong(inventory, place(3))).toEqual([])
  })

  test('one that is away holds nothing up for longer than its deadline, and hears of it when it is back', async () => {
    const { clock, inventory, pusher, retargeter, told } = setUp({ vms: fleet(10), peers: ['a', 'b'] })
    pusher.delayMs = () => (pusher.attempts.at(-1)?.peer === 'a' ? 1e9 : 1)
    retargeter.point(place(2))
    await pass(clock, 4_000)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(retargeter.status.nextHopsOpen).toBe(1)
    await pass(clock, 600_000, 100)
    expect(pusher.attempts.length).toBeLessThan(50)
    pusher.delayMs = () => 1
    await pass(clock, 20_000, 100)
    expect(pusher.hops.get('a')).toBe('tls://esx2.example:13371')
    expect(retargeter.status.nextHopsOpen).toBe(0)
    expect(told('push-failed').length).toBeGreaterThan(3)
  })

  test('an older push never lands after a newer one', async () => {
    const { clock, pusher, retargeter } = setUp({ vms: fleet(1), peers: ['a'] })
    // It takes no notice of being aborted: what it was told lands late.
    pusher.push = ({ peer, endpoint }) =>
      new Promise((resolve) => {
        const ms = endpoint.includes('esx2') ? 1_000 : 1
        clock.after(ms, () => {
          pusher.hops.set(peer, endpoint)
          resolve()
        })
      })
    retargeter.point(place(2))
    await pass(clock, 50)
    retargeter.point(place(3))
    await pass(clock, 3_000)
    expect(pusher.hops.get('a')).toBe('tls://esx3.example:13371')
  })

  test('next hops that have no address for the host do not keep VMs from it', async () => {
    const { clock, inventory, pusher, retargeter, told } = setUp({ vms: fleet(1), peers: ['a'] })
    pusher.changes = () => {
      throw failure('VSPC_ENDPOINT_SYNTAX')
    }
    retargeter.point(place(2))
    await pass(clock, 500)
    expect(told('no-next-hop')).toHaveLength(1)
    expect(wrong(inventory, place(2))).toEqual([])
  })
})

test('stop brings to its end what was begun, and begins nothing', async () => {
  const { clock, inventory, retargeter } = setUp({ vms: fleet(20) })
  let calls = 0
  inventory.delayMs = () => 20 * (1 + (calls++ % 5))
  retargeter.point(place(2))
  await pass(clock, 40)
  let connected: boolean[] = []
  void retargeter.stop().then(() => {
    connected = [...inventory.vms.values()].map(({ ports }) => ports[0]?.connected ?? false)
  })
  await pass(clock, 1_000)
  expect(connected).toEqual(Array(20).fill(true))
  expect([inventory.count('disconnect'), inventory.count('point')]).toEqual([8, 8])
  expect(clock.pending).toBe(0)
})

describe('a VM that is disconnected in the middle of a change', () => {
  const mine = { startConnected: false }
  const half = () => [vm(1, [port(9000, proxyOf(place(1)), mine)])]

  test('a stop and a move at once: it is connected, to the new address', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: half() })
    inventory.delayMs = () => 20
    retargeter.point(place(2))
    await pass(clock, 30)
    expect(inventory.count('disconnect')).toBe(1)
    retargeter.point(place(3))
    let left: unknown = null
    void retargeter.stop().then((vms) => {
      left = vms
    })
    await pass(clock, 500)
    expect(left).toEqual([])
    expect(wrong(inventory, place(3))).toEqual([])
    expect([inventory.count('disconnect'), inventory.count('point')]).toEqual([1, 1])
    expect(clock.pending).toBe(0)
  })

  test('a stop while it waits for another attempt: that is made at once', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: half(), times: { retryMinMs: 10_000 } })
    inventory.fails = (op) => (op === 'point' ? failure('VSPC_VSPHERE_BUSY') : null)
    retargeter.point(place(2))
    await pass(clock, 100)
    inventory.fails = () => null
    void retargeter.stop()
    await pass(clock, 200)
    expect(wrong(inventory, place(2))).toEqual([])
    expect(clock.pending).toBe(0)
  })

  test('a move to a host without relay: it is connected to the one before, and nobody else is touched', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: [...half(), ...fleet(20).slice(1)] })
    inventory.delayMs = () => 20
    retargeter.point(place(2))
    await pass(clock, 30)
    const begun = inventory.count('disconnect')
    retargeter.point({ ...place(3), name: 'strange' })
    await pass(clock, 60_000, 50)
    expect([inventory.count('disconnect'), inventory.count('point')]).toEqual([begun, begun])
    expect([...inventory.vms.values()].filter(({ ports }) => !ports[0]?.connected)).toEqual([])
    expect(retargeter.status.settled).toBe(false)
    retargeter.point(place(3))
    await pass(clock, 1_000)
    expect(wrong(inventory, place(3))).toEqual([])
  })

  test('it is no longer selected: it is brought to its end before it is forgotten', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: half() })
    inventory.fails = (op) => (op === 'point' ? failure('VSPC_VSPHERE_BUSY') : null)
    retargeter.point(place(2))
    await pass(clock, 100)
    inventory.vms.set('vm-1', { ...(inventory.vms.get('vm-1') as VmPorts), name: 'db1' })
    retargeter.check()
    await pass(clock, 100)
    expect(retargeter.vms()).toHaveLength(1)
    inventory.fails = () => null
    await pass(clock, 5_000)
    expect(inventory.vms.get('vm-1')?.ports[0]).toMatchObject({ connected: true })
    expect(retargeter.vms()).toEqual([])
  })

  test('it does not wait for a listing that takes its time', async () => {
    const { clock, inventory, retargeter } = setUp({ vms: [...half(), ...fleet(20).slice(1)] })
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 1 : 20)
    retargeter.point(place(2))
    await pass(clock, 10)
    inventory.delayMs = () => (inventory.calls.at(-1)?.op === 'list' ? 20_000 : 20)
    retargeter.point(place(3))
    await pass(clock, 1_000)
    const open = [...inventory.vms.values()].filter(({ ports }) => !ports[0]?.connected)
    expect(open).toEqual([])
  })

  test('after a crash between the steps the next start finds it, unless it starts disconnected and points right', async () => {
    const cut = { connected: false }
    const vms = [
      vm(1, [port(9000, proxyOf(place(1)), cut)]),
      vm(2, [port(9000, proxyOf(place(1)), { ...cut, ...mine })]),
      vm(3, [port(9000, proxyOf(place(2)), cut)]),
      vm(4, [port(9000, proxyOf(place(2)), { ...cut, ...mine })]),
    ]
    const { clock, inventory, retargeter } = setUp({ vms })
    retargeter.point(place(2))
    await pass(clock, 500)
    expect([...inventory.vms.values()].map(({ ports }) => ports[0]?.connected)).toEqual([true, true, true, false])
  })
})

test('a server that cannot be trusted, or lets nobody in, is asked by one call at a time, not for each VM', async () => {
  for (const code of ['VSPC_TLS_PIN_MISMATCH', 'VSPC_TLS_PEER_REFUSED', 'VSPC_VSPHERE_LOGIN'] as const) {
    const { clock, inventory, retargeter } = setUp({ vms: fleet(200) })
    retargeter.point(place(1))
    await pass(clock, 100)
    inventory.fails = () => failure(code)
    retargeter.point(place(2))
    await pass(clock, 600_000, 100)
    expect(inventory.calls.length).toBeLessThan(200)
    inventory.fails = () => null
    await pass(clock, 16_000, 10)
    expect(wrong(inventory, place(2))).toEqual([])
  }
})

describe('any moves, any failures, any delays', () => {
  const CODES = [
    'VSPC_VSPHERE_BUSY',
    'VSPC_VSPHERE_UNREACHABLE',
    'VSPC_VSPHERE_SESSION',
    'VSPC_VSPHERE_STATE',
    'VSPC_VSPHERE_FAULT',
  ] as const

  test.each(Array.from({ length: 24 }, (_, seed) => [seed + 1]))('seed %i', async (seed) => {
    const random = seeded(seed)
    const pick = (n: number) => Math.floor(random() * n)
    const count = 1 + pick(30)
    const vms = Array.from({ length: count }, (_, n) => {
      const off = random() < 0.15
      const ports = Array.from({ length: 1 + pick(2) }, (_, p) =>
        port(9000 + p, proxyOf(place(1 + pick(3))), { connected: !off && random() < 0.9 }),
      )
      return vm(n + 1, ports, { poweredOn: !off })
    })
    const concurrency = 1 + pick(8)
    const [callMs, mostAtOnce] = [4_000, concurrency + 4]
    const times = { resyncMs: 20_000, slowMs: 10_000, retryMaxMs: 5_000, callMs, concurrency, mostAtOnce }
    const { clock, inventory, pusher, retargeter, told } = setUp({ vms, times, random, peers: ['a', 'b'] })
    const never = new Set(vms.filter(() => random() < 0.1).map(({ id }) => id))
    const rate = random() * 0.4
    let troubled = true
    inventory.delayMs = () => (troubled && random() < 0.02 ? 1e9 : 1 + pick(60))
    inventory.fails = (op, id) => {
      if (op === 'point' && never.has(id)) return failure('VSPC_VSPHERE_PERMISSION')
      if (!troubled || random() > rate) return null
      return random() < 0.2 ? 'lost' : failure(CODES[pick(CODES.length)] ?? 'VSPC_VSPHERE_BUSY')
    }
    pusher.fails = () => (troubled && random() < rate ? failure('VSPC_TRANSPORT_DIAL') : null)
    let to = place(1)
    for (let move = 0; move < 1 + pick(8); move++) {
      to = place(1 + pick(3))
      retargeter.point(to)
      await pass(clock, pick(random() < 0.5 ? 300 : 6_000))
    }
    troubled = false
    await pass(clock, 60_000, 20)
    expect(wrong(inventory, to, never)).toEqual([])
    expect(inventory.broken).toEqual([])
    expect(inventory.most).toBeLessThanOrEqual(mostAtOnce)
    expect([...pusher.hops.values()].every((hop) => hop.includes(to.name))).toBe(true)
    expect(told('settled').length).toBeGreaterThan(0)
    expect(retargeter.status.settled).toBe(true)
    // Nobody but those who cannot be changed is touched any more.
    const quiet = clock.now()
    await pass(clock, 45_000, 50)
    const later = inventory.calls.filter(({ at, op }) => at > quiet && (op === 'point' || op === 'disconnect'))
    expect(later.filter(({ vm: id }) => !never.has(id))).toEqual([])
    expect(later.length).toBeLessThanOrEqual(never.size * 20)
  })
})
