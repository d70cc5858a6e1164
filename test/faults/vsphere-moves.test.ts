/**
 * The appliance moves while vCenter, or what stands before it, fails in every way: the move is announced once, every VM
 * names the new host's relay in the end, no VM but those, no backing changes under a connected port, and nobody asks
 * without end.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { RetargetTimes } from '../../src/vmotion/index.ts'
import { hostOfVm, type ManagedRef } from '../../src/vsphere/index.ts'
import {
  answered,
  broken,
  cut,
  type Fault,
  type FaultProxy,
  type FaultRule,
  failedTask,
  type ProxiedCall,
  refused,
  rewritten,
  silence,
} from '../support/fault-proxy.ts'
import { describeWithPeers } from '../support/peers.ts'
import { addPorts, allVms, clusterHosts, portsOfAll, refsOf, relocate, type SimHost } from '../support/vcsim-fleet.ts'
import { FaultyVcenter, Following, proxyOf } from './vsphere-support.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const TIMES = {
  callMs: 3_000,
  retryMinMs: 10,
  retryMaxMs: 100,
  quickAttempts: 8,
  slowMs: 200,
  hangMs: 300,
} as const satisfies Partial<RetargetTimes>

describeWithPeers(['vcsim', 'openssl'], 'the appliance moves while vCenter fails', () => {
  let vcenter: FaultyVcenter
  let proxy: FaultProxy
  let own: ManagedRef
  let hosts: SimHost[]
  let fleet: { ref: ManagedRef; name: string }[]

  beforeAll(async () => {
    vcenter = await FaultyVcenter.start(12)
    proxy = vcenter.proxy
    const all = await allVms(vcenter.direct)
    await addPorts(
      vcenter.direct,
      all.map(({ ref }) => ref),
      () => ({ serviceURI: 'vspc', direction: 'client', proxyURI: 'telnet://old.example:13370' }),
    )
    own = (await refsOf(vcenter.direct, [APPLIANCE]))[0]!
    fleet = all.filter(({ name }) => name !== APPLIANCE)
    hosts = await clusterHosts(vcenter.direct)
  })
  afterAll(() => vcenter?.stop())
  afterEach(() => vcenter.tidy())

  /** Tracker and re-pointing through the proxy, settled at the appliance's place. */
  async function follow(more: Partial<RetargetTimes> = {}): Promise<Following> {
    const following = new Following(vcenter, APPLIANCE, { ...TIMES, ...more })
    await following.until(() => following.retargeter.status.settled)
    proxy.calls.length = 0
    following.moves.length = 0
    return following
  }

  async function moveAway(): Promise<string> {
    const here = (await hostOfVm(vcenter.direct, own))?.value
    const there = hosts.find(({ ref }) => ref.value !== here)!
    await relocate(vcenter.direct, own, there.ref)
    return there.name
  }

  /** What the simulator really has, and has seen. @param most changes of one VM. */
  async function check(host: string, most: number, except: ReadonlySet<string> = new Set()): Promise<void> {
    const ports = await portsOfAll(vcenter.direct)
    const wrong = fleet.filter(({ name }) => {
      const [port] = ports.get(name) ?? []
      const right = port?.backing.kind === 'uri' && port.backing.proxyURI === proxyOf(host) && port.connected
      return !right && !except.has(name)
    })
    expect(wrong.map(({ name }) => [name, ports.get(name)?.[0]?.backing, ports.get(name)?.[0]?.connected])).toEqual([])
    const others = new Set(proxy.passed('ReconfigVM_Task').map(({ self }) => self))
    for (const { ref } of fleet) others.delete(ref.value)
    expect([...others]).toEqual([])
    for (const { ref, name } of fleet) {
      const changes = proxy.passed('ReconfigVM_Task', ref.value)
      expect([name, changes.length <= most], `${changes.length} changes`).toEqual([name, true])
      let connected = true
      for (const { body } of changes) {
        const points = body.includes('<connected>true<')
        if (points) expect([name, connected]).toEqual([name, false])
        connected = points
      }
    }
  }

  const once = (method: string, after: number, times: number, fault: Fault): FaultRule => ({
    method,
    after,
    times,
    fault,
  })
  const taskReads = ({ method, body }: ProxiedCall) => method === 'RetrievePropertiesEx' && body.includes('info.state')
  const reads = ({ method, body }: ProxiedCall) => method === 'RetrievePropertiesEx' && !body.includes('info.state')

  test.each<[string, number, readonly FaultRule[]]>([
    ['no fault at all', 2, []],
    ['changes whose connection breaks before they are made', 2, [once('ReconfigVM_Task', 5, 12, broken('before'))]],
    // The first step may be made again, which does nothing.
    ['changes that are made and not answered', 3, [once('ReconfigVM_Task', 5, 12, broken('after'))]],
    ['half an answer to changes', 3, [once('ReconfigVM_Task', 3, 8, cut(0.6, 'content-length says more'))]],
    ['ConcurrentAccess', 2, [once('ReconfigVM_Task', 3, 20, refused('ConcurrentAccess'))]],
    ['TaskInProgress', 2, [once('ReconfigVM_Task', 3, 20, refused('TaskInProgress'))]],
    ['InvalidState', 2, [once('ReconfigVM_Task', 3, 10, refused('InvalidState'))]],
    ['faults that nobody knows', 2, [once('ReconfigVM_Task', 3, 10, refused('SystemError'))]],
    [
      'NotAuthenticated',
      2,
      [{ when: ({ method }) => method !== 'Login', after: 20, times: 15, fault: refused('NotAuthenticated') }],
    ],
    [
      'tasks that fail although they have changed the VM',
      4,
      [{ when: taskReads, after: 2, times: 3, fault: failedTask('GenericVmConfigFault') }],
    ],
    ['503 to all', 3, [{ after: 10, times: 30, fault: answered(503, 'starting', 'text/html') }]],
    ['500 with HTML to all', 3, [{ after: 15, times: 20, fault: answered(500, '<html>', 'text/html') }]],
    ['empty answers to all', 3, [{ after: 12, times: 20, fault: answered(200, '') }]],
    ['truncated readings that look whole', 2, [{ when: reads, times: 6, fault: cut(0.7, 'content-length fits') }]],
    ['truncated task states', 3, [{ when: taskReads, times: 6, fault: cut(0.7, 'chunks end') }]],
    ['every second call of all broken off', 6, [{ times: 60, when: every(2), fault: broken('before') }]],
    ['every third answer of all lost', 8, [{ times: 60, when: every(3), fault: broken('after') }]],
  ])('%s', async (_name, most, rules) => {
    const { moves, until, settledAt, retargeter } = await follow()
    const met = rules.map((rule) => proxy.inject(rule))
    const host = await moveAway()
    await until(settledAt(host))
    // Those that were refused are tried again a little later.
    await expect.poll(() => retargeter.status.counts.right, { timeout: 10_000 }).toBe(fleet.length)
    for (const rule of met) expect(rule.hits).toBeGreaterThan(0)
    expect(moves).toEqual([host])
    await check(host, most)
    // A move without faults takes some 150 calls.
    expect(proxy.calls.length).toBeLessThan(600)
  })

  test('nobody is let in for a time, and then the certificate is another one: told, waited for, and made good', async () => {
    const other = await vcenter.certificates.selfSigned(`other-${Math.random()}`)
    const { moves, until, settledAt, troubles, events, retargeter } = await follow()
    proxy.refuse()
    const host = await moveAway()
    await until(() => troubles.length > 0)
    expect(troubles.at(-1)).toMatchObject({ kind: 'transient' })
    proxy.heal()
    proxy.present(other)
    await until(() => troubles.some(({ message }) => message.includes(other.sha256)))
    const [seen, dialled] = [proxy.calls.length, proxy.connections]
    const began = performance.now()
    await expect.poll(() => proxy.connections - dialled, { timeout: 10_000 }).toBeGreaterThan(15)
    // One attempt at a time each for tracker, re-pointing and session, after a pause of 75 ms here.
    expect(proxy.connections - dialled).toBeLessThan(15 + (4 * (performance.now() - began)) / 75)
    expect(proxy.calls).toHaveLength(seen)
    proxy.present(vcenter.certificate)
    await until(settledAt(host))
    await expect.poll(() => retargeter.status.counts.right, { timeout: 10_000 }).toBe(fleet.length)
    expect(moves).toEqual([host])
    expect(events.filter(({ kind }) => kind === 'settled').length).toBeLessThanOrEqual(2)
    await check(host, 3)
  })

  test('VMs that hang, or refuse each change, keep none of the others waiting', async () => {
    const { moves, until, settledAt, retargeter } = await follow({ callMs: 10_000 })
    const [hanging, refusing] = [fleet.slice(0, 9), fleet.slice(9, 12)]
    const of = (some: typeof fleet) => (call: ProxiedCall) =>
      call.method === 'ReconfigVM_Task' && some.some(({ ref }) => ref.value === call.self)
    proxy.inject({ when: of(hanging), fault: silence() })
    proxy.inject({ when: of(refusing), fault: refused('InvalidDeviceSpec') })
    const host = await moveAway()
    const bad = new Set([...hanging, ...refusing].map(({ name }) => name))
    const others = () => retargeter.vms().filter(({ vm, state }) => !bad.has(vm) && state === 'right').length
    const began = performance.now()
    await until(() => retargeter.status.place?.name === host && others() === fleet.length - bad.size)
    // hangMs, not callMs, is what eight that hang cost the others.
    expect(performance.now() - began).toBeLessThan(8_000)
    await check(host, 2, bad)
    expect(proxy.passed('ReconfigVM_Task').filter((call) => of([...hanging, ...refusing])(call))).toEqual([])
    proxy.heal()
    proxy.cut()
    await until(settledAt(host))
    await expect.poll(() => retargeter.status.counts.right, { timeout: 10_000 }).toBe(fleet.length)
    expect(moves).toEqual([host])
    await check(host, 2)
  })

  test('a port that cannot connect is connected again, and one for which it is in vain is told and left in peace', async () => {
    const { until, settledAt, events, retargeter } = await follow({ slowMs: 60_000 })
    const [passing, lasting] = fleet
    const status = (id: string) =>
      rewritten((body) =>
        body.replace(/<objects\b.*?<\/objects>/gs, (object) =>
          object.includes(`>${id}<`)
            ? object.replace(
                /(<backing [^>]*VirtualSerialPortURIBackingInfo"[^>]*>.*?<connectable>)/s,
                '$1<status>unrecoverableError</status>',
              )
            : object,
        ),
      )
    const readsOf = (id: string) => (call: ProxiedCall) =>
      reads(call) && call.body.includes(`>${id}<`) && call.body.includes('config.hardware')
    const one = proxy.inject({ when: readsOf(passing!.ref.value), times: 2, fault: status(passing!.ref.value) })
    const two = proxy.inject({
      when: (call) => readsOf(lasting!.ref.value)(call) && !call.body.includes(`>${passing!.ref.value}<`),
      fault: status(lasting!.ref.value),
    })
    const host = await moveAway()
    await until(settledAt(host))
    expect(one.hits).toBe(2)
    expect(two.hits).toBeGreaterThan(2)
    expect(retargeter.vms().filter(({ state }) => state !== 'right')).toMatchObject([
      {
        vm: lasting!.name,
        state: 'stuck',
        failure: { kind: 'busy', message: expect.stringContaining('fails to connect') },
      },
    ])
    expect(events.filter((event) => event.kind === 'failed' && event.vm.name === passing!.name)).toHaveLength(1)
    // Each attempt connects it anew, up to the quick ones.
    await check(host, 2 * TIMES.quickAttempts + 2)
    expect(proxy.passed('ReconfigVM_Task', passing!.ref.value)).toHaveLength(4)
  })

  test('a second move in the middle of it all', async () => {
    const { moves, until, settledAt, events, retargeter } = await follow()
    proxy.inject({ method: 'ReconfigVM_Task', when: every(3), times: 40, fault: broken('after') })
    proxy.inject({ when: ({ method }) => method !== 'Login', after: 60, times: 10, fault: refused('NotAuthenticated') })
    const first = await moveAway()
    const changed = () => events.filter(({ kind }) => kind === 'changed').length
    const before = changed()
    await until(() => changed() >= before + 5)
    const second = await moveAway()
    await until(settledAt(second))
    await expect.poll(() => retargeter.status.counts.right, { timeout: 10_000 }).toBe(fleet.length)
    expect(moves).toEqual([first, second])
    await check(second, 8)
  })
})

/** True for every nth call. */
function every(n: number): () => boolean {
  let calls = 0
  return () => ++calls % n === 0
}
