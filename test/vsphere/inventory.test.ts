/** The inventory over the vSphere API, against the simulator: following one VM, and re-pointing all others. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { systemClock, VspcError } from '../../src/base/index.ts'
import {
  ApplianceHost,
  fillProxyTemplate,
  type HostPlace,
  type InventoryOptions,
  type PortChange,
  parseProxyTemplate,
  type RetargetEvent,
  Retargeter,
  readPlan,
  type VmName,
  type VmPorts,
} from '../../src/vmotion/index.ts'
import {
  type ConnectOptions,
  connect,
  editSerialPort,
  leaf,
  refElement,
  retrieveOne,
  type SerialPort,
  taskOf,
  VsphereInventory,
  type VsphereInventoryOptions,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, allVms, clusterHosts, portsOfAll, refsOf, relocate } from '../support/vcsim-fleet.ts'
import { seeded } from '../vmotion/inventory-double.ts'

const NOTHING_MORE = { folders: false, resourcePools: false, customValues: false }
const OLD = 'telnet://old.example:13370'
const backing = (proxyURI: string | null) => ({ serviceURI: 'vspc', direction: 'client', proxyURI }) as const

/** Keeps what was changed, and notices a backing that changes under a connected port. */
class WatchedInventory extends VsphereInventory {
  readonly changes: { vm: string; disconnect: boolean; proxyURI: string | null }[] = []
  readonly wrong: string[] = []
  readonly #disconnected = new Set<string>()
  #changing = 0
  most = 0

  override async changePorts(vm: VmPorts, changes: readonly PortChange[], options: InventoryOptions): Promise<void> {
    this.most = Math.max(this.most, ++this.#changing)
    for (const change of changes) {
      const port = `${vm.name}/${change.port.key}`
      if (change.connected === false) this.#disconnected.add(port)
      if (change.backing !== undefined && !this.#disconnected.has(port)) this.wrong.push(port)
      if (change.connected === true) this.#disconnected.delete(port)
      this.changes.push({
        vm: vm.name,
        disconnect: change.backing === undefined,
        proxyURI: change.backing?.proxyURI ?? null,
      })
    }
    try {
      await super.changePorts(vm, changes, options)
    } finally {
      this.#changing--
    }
  }
}

describeWithPeers(['vcsim', 'openssl'], 'the inventory and vcsim', () => {
  let certificates: TestCertificates
  let certificate: CertificateFiles
  let sim: Vcsim
  let session: VsphereSession
  const open: (() => unknown)[] = []
  const never = () => new AbortController().signal
  const some = () => ({ signal: never() })

  beforeAll(async () => {
    certificates = await TestCertificates.create()
    certificate = await certificates.selfSigned('vcenter')
    sim = await Vcsim.start({ vms: 3, cert: certificate.cert, key: certificate.key })
    session = await newSession()
  })
  afterAll(async () => {
    await session?.close()
    await sim?.stop()
    await certificates?.remove()
  })
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close()
  })

  function newSession(options: Partial<ConnectOptions> = {}): Promise<VsphereSession> {
    const password = () => VCSIM_PASSWORD
    return connect({ url: sim.url, user: VCSIM_USER, password, pin: certificate.sha256, ...options })
  }

  function newInventory(
    options: Partial<ConnectOptions> = {},
    more: Partial<VsphereInventoryOptions> = {},
  ): WatchedInventory {
    const inventory = new WatchedInventory({ connect: (signal) => newSession({ signal, ...options }), ...more })
    open.push(() => inventory.close())
    return inventory
  }

  async function theVm(inventory: VsphereInventory, name: string): Promise<VmName> {
    const [vm] = await inventory.findVms(name, some())
    if (vm === undefined) throw new Error(`no ${name}`)
    return vm
  }

  async function listed(inventory: VsphereInventory, name: string, wanted = NOTHING_MORE): Promise<VmPorts> {
    const vm = (await inventory.listVms(wanted, some())).find((one) => one.name === name)
    if (vm === undefined) throw new Error(`no ${name}`)
    return vm
  }

  test('a VM, its host, and its place in the inventory', async () => {
    const inventory = newInventory()
    const vm = await theVm(inventory, '/DC0/vm/DC0_C0_RP0_VM0')
    expect(vm).toMatchObject({ name: 'DC0_C0_RP0_VM0', instanceUuid: expect.stringMatching(/^[0-9a-f-]{36}$/) })
    expect(await inventory.findVms('nobody', some())).toEqual([])
    expect(await inventory.readPlace(vm, some())).toEqual({
      id: expect.stringMatching(/^host-/),
      name: expect.stringMatching(/^DC0_C0_H\d$/),
      managementIps: ['127.0.0.1'],
    })
    const all = { folders: true, resourcePools: true, customValues: true }
    expect(await listed(inventory, 'DC0_C0_RP0_VM0', all)).toMatchObject({
      ...vm,
      poweredOn: true,
      folder: '/DC0/vm',
      resourcePool: '/DC0/host/DC0_C0/Resources',
    })
    expect(await listed(inventory, 'DC0_C0_RP0_VM0')).toMatchObject({ folder: '', resourcePool: '' })
    await expect(inventory.readPlace({ ...vm, id: 'vm-99999' }, some())).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_NOT_FOUND',
    })
  })

  test('custom values by name; templates are left out', async () => {
    const [ref] = await refsOf(session, ['DC0_H0_VM0'])
    const manager = session.content.customFieldsManager!
    const added = await session.call(manager, 'AddCustomFieldDef', [leaf('name', 'vspc')])
    const key = Number(added.children[0]?.children.find(({ name }) => name === 'key')?.text)
    await session.call(manager, 'SetField', [refElement('entity', ref!), leaf('key', key), leaf('value', 'yes')])
    const inventory = newInventory()
    const vm = await listed(inventory, 'DC0_H0_VM0', { ...NOTHING_MORE, customValues: true })
    expect([...vm.customValues]).toEqual([['vspc', 'yes']])
    const [template] = await refsOf(session, ['DC0_H0_VM1'])
    const off = await session.call(template!, 'PowerOffVM_Task')
    await session.tasks.wait(taskOf(off), 'switch off')
    expect(await listed(inventory, 'DC0_H0_VM1')).toMatchObject({ poweredOn: false })
    await session.call(template!, 'MarkAsTemplate')
    const names = (await inventory.listVms(NOTHING_MORE, some())).map(({ name }) => name)
    expect(names).not.toContain('DC0_H0_VM1')
    expect(names).toHaveLength(5)
  })

  test('devices are read only of VMs that are meant: a vCenter with thousands is not read whole for a few', async () => {
    const proxy = await FaultProxy.start(sim.tcpPort, certificate)
    open.push(() => proxy.stop())
    const [ref] = await refsOf(session, ['DC0_H0_VM2'])
    await addPorts(session, [ref!], () => backing(OLD))
    const inventory = newInventory({ url: proxy.url })
    const asked: string[] = []
    const only = (vm: VmPorts) => {
      asked.push(`${vm.name} in ${vm.folder}, ${vm.ports.length} ports`)
      return vm.name === 'DC0_H0_VM2' || vm.name === 'nobody'
    }
    const found = await inventory.listVms({ ...NOTHING_MORE, folders: true }, { ...some(), only })
    expect(found.map(({ name, folder, poweredOn, ports }) => [name, folder, poweredOn, ports.length])).toEqual([
      ['DC0_H0_VM2', '/DC0/vm', true, 1],
    ])
    expect(asked).toContain('DC0_H0_VM0 in /DC0/vm, 0 ports')
    const devices = proxy.calls.filter(({ body }) => body.includes('config.hardware.device'))
    expect(devices.map(({ body }) => [...body.matchAll(/<obj type="(\w+)">([\w-]+)</g)].map(([, , id]) => id))).toEqual(
      [[ref!.value]],
    )
    // Its ports can be changed as if all had been read at once.
    await inventory.changePorts(found[0]!, [{ port: found[0]!.ports[0]!, connected: false }], some())
    expect(await inventory.listVms(NOTHING_MORE, { ...some(), only: () => false })).toEqual([])
  })

  test('the backing of one port changes and nothing else of it, nor of its neighbours', async () => {
    const [ref] = await refsOf(session, ['DC0_C0_RP0_VM1'])
    await addPorts(session, [ref!, ref!], () => backing(OLD))
    const inventory = newInventory()
    const before = (await portsOfAll(session)).get('DC0_C0_RP0_VM1') ?? []
    const vm = await listed(inventory, 'DC0_C0_RP0_VM1')
    const [one, two] = vm.ports
    expect(vm.ports.map(({ backing: { kind } }) => kind)).toEqual(['uri', 'uri'])
    await inventory.changePorts(vm, [{ port: one!, connected: false }], some())
    const target = 'telnet://esx2:13370'
    await inventory.changePorts(vm, [{ port: one!, backing: backing(target), connected: true }], some())
    const after = (await portsOfAll(session)).get('DC0_C0_RP0_VM1') ?? []
    expect(after.map(({ device }) => device)).toEqual([
      editedAsPlanned(before[0]!, target),
      before.find(({ key }) => key === two!.key)?.device,
    ])
    expect((await inventory.readVm(vm, some())).ports[0]?.backing).toEqual({ kind: 'uri', ...backing(target) })
    // What was not read here cannot be echoed whole.
    const copied = { ...one! }
    await expect(inventory.changePorts(vm, [{ port: copied, connected: false }], some())).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_STATE',
    })
  })

  test('a VM that is gone is gone for each call; a change that is refused is not', async () => {
    const [ref] = await refsOf(session, ['DC0_C0_RP0_VM2'])
    await addPorts(session, [ref!], () => backing(OLD))
    const inventory = newInventory()
    const vm = await listed(inventory, 'DC0_C0_RP0_VM2')
    const following = inventory.followPlace(vm, some())
    expect((await following.next()).value).toMatch(/^host-/)
    const off = await session.call(ref!, 'PowerOffVM_Task')
    await session.tasks.wait(taskOf(off), 'switch off')
    await session.call(ref!, 'UnregisterVM')
    const gone = { code: 'VSPC_VSPHERE_NOT_FOUND', message: expect.stringContaining('DC0_C0_RP0_VM2') }
    await expect(following.next()).rejects.toMatchObject(gone)
    await expect(inventory.followPlace(vm, some()).next()).rejects.toMatchObject({ code: gone.code })
    await expect(inventory.readVm(vm, some())).rejects.toMatchObject(gone)
    const [port] = vm.ports
    const change = VsphereInventory.prototype.changePorts.bind(inventory)
    await expect(change(vm, [{ port: port!, connected: false }], some())).rejects.toMatchObject(gone)
  })

  test('moves are told; a call that is aborted ends with the reason', async () => {
    const inventory = newInventory()
    const [vm, [ref], hosts] = [
      await theVm(inventory, 'DC0_C0_RP0_VM0'),
      await refsOf(session, ['DC0_C0_RP0_VM0']),
      await clusterHosts(session),
    ]
    const stop = new AbortController()
    const following = inventory.followPlace(vm, { signal: stop.signal })
    const first = (await following.next()).value
    const other = hosts.find(({ ref: { value } }) => value !== first)
    const next = following.next()
    await relocate(session, ref!, other!.ref)
    expect((await next).value).toBe(other!.ref.value)
    expect(await inventory.readPlace(vm, some())).toMatchObject({ id: other!.ref.value, name: other!.name })
    const over = new VspcError('VSPC_USAGE', 'over')
    const waiting = following.next()
    stop.abort(over)
    await expect(waiting).rejects.toBe(over)
    await expect(inventory.findVms('x', { signal: stop.signal })).rejects.toBe(over)
  })

  test('a refused login is not tried again at once; a server that was away is', async () => {
    let logins = 0
    const wrong = newInventory({
      password: () => {
        logins++
        return 'wrong'
      },
    })
    for (let i = 0; i < 5; i++) {
      await expect(wrong.findVms('x', some())).rejects.toMatchObject({ code: 'VSPC_VSPHERE_LOGIN' })
    }
    expect(logins).toBe(1)
    let attempts = 0
    const away = new VsphereInventory({
      connect: () => {
        if (++attempts > 2) return newSession()
        return Promise.reject(new VspcError('VSPC_VSPHERE_UNREACHABLE', 'away'))
      },
    })
    open.push(() => away.close())
    const both = await Promise.allSettled([away.findVms('x', some()), away.findVms('y', some())])
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(attempts).toBe(1)
    await expect(away.findVms('x', some())).rejects.toMatchObject({ code: 'VSPC_VSPHERE_UNREACHABLE' })
    expect(await away.findVms('x', some())).toEqual([])
    await away.close()
    await expect(away.findVms('x', some())).rejects.toMatchObject({ code: 'VSPC_VSPHERE_SESSION' })
  })

  test('200 VMs follow the appliance over ten moves, some in the middle of re-pointing; none is left behind', async () => {
    // The simulator itself takes seconds to make so many.
    const big = await Vcsim.start({ vms: 101, cert: certificate.cert, key: certificate.key })
    open.push(() => big.stop())
    const setup = await newSession({ url: big.url })
    open.push(() => setup.close())
    const appliance = 'DC0_C0_RP0_VM0'
    const [own] = await refsOf(setup, [appliance])
    const all = await allVms(setup)
    await addPorts(
      setup,
      all.map(({ ref }) => ref),
      () => backing(OLD),
    )
    // Some that are not to be touched: no proxy, disconnected by hand, two ports.
    const bystanders = all.filter(({ name }) => name !== appliance).slice(0, 1)
    await addPorts(
      setup,
      bystanders.map(({ ref }) => ref),
      () => backing(null),
    )
    const before = await portsOfAll(setup)
    const hosts = await clusterHosts(setup)
    const random = seeded(5)

    const inventory = newInventory({ url: big.url })
    const template = parseProxyTemplate('telnet://{host}:13370')
    const events: RetargetEvent[] = []
    let wake = (): void => {}
    const options = {
      inventory,
      selects: (vm: VmPorts) => vm.id !== own!.value,
      wanted: NOTHING_MORE,
      choice: {},
      proxyURI: (place: HostPlace) => fillProxyTemplate(template, place),
      clock: systemClock,
      random,
      onEvent: (event: RetargetEvent) => {
        events.push(event)
        wake()
      },
    }
    const plan = await readPlan(
      options,
      (await inventory.readPlace(await theVm(inventory, appliance), some()))!,
      never(),
    )
    expect(plan.filter((step) => step.do === 'change')).toHaveLength(201)
    const retargeter = new Retargeter(options)
    open.push(() => retargeter.stop())
    const follower = new ApplianceHost({
      inventory,
      selector: appliance,
      clock: systemClock,
      random,
      times: { settleMs: 5 },
      onMove: ({ to }) => retargeter.point(to),
    })
    open.push(() => follower.stop())
    const until = async (test: () => boolean): Promise<void> => {
      while (!test()) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    const changed = () => events.filter(({ kind }) => kind === 'changed').length
    const settledAt = (name: string) =>
      events.some((event) => event.kind === 'settled' && event.summary.place.name === name) &&
      retargeter.status.settled &&
      retargeter.status.place?.name === name
    follower.start()
    await until(() => retargeter.status.settled)
    const first = retargeter.status.place?.name
    expect(changed()).toBe(201)
    let at = hosts.findIndex(({ name }) => name === first)
    let last = first ?? ''
    for (let move = 0; move < 10; move++) {
      at = (at + 1 + Math.floor(random() * (hosts.length - 1))) % hosts.length
      const host = hosts[at]!
      const seen = changed()
      await relocate(setup, own!, host.ref)
      last = host.name
      // Every third one only settles; the others are overtaken after some VMs.
      if (move % 3 === 2) await until(() => settledAt(last))
      else await until(() => changed() >= seen + Math.floor(random() * 150) || settledAt(last))
    }
    await until(() => settledAt(last))
    expect(inventory.wrong).toEqual([])
    expect(inventory.most).toBeLessThanOrEqual(8)
    expect(follower.status.host?.name).toBe(last)
    expect(retargeter.status.counts).toMatchObject({ vms: 201, right: 201 })
    const after = await portsOfAll(setup)
    expect(after.get(appliance)?.map(({ device }) => device)).toEqual(
      before.get(appliance)?.map(({ device }) => device),
    )
    const target = `telnet://${last}:13370`
    for (const { name } of all) {
      if (name === appliance) continue
      const planned = before
        .get(name)
        ?.map((port) => (proxyOf(port) === null ? port.device : editedAsPlanned(port, target)))
      expect([name, after.get(name)?.map(({ device }) => device)]).toEqual([name, planned])
    }
    expect(await readPlan(options, follower.status.host!, never())).not.toContainEqual(
      expect.objectContaining({ do: 'change' }),
    )
  }, 90_000)

  test('a session that an administrator ends in the middle loses nobody', async () => {
    const inventory = newInventory({ limits: { keepAliveMs: 100, retryMinMs: 10 } })
    const vm = await theVm(inventory, 'DC0_C0_RP0_VM0')
    const following = inventory.followPlace(vm, some())
    const first = (await following.next()).value
    const theirs = await inventory.session(some())
    const { sessionManager } = session.content
    const key = await currentKey(theirs)
    const next = following.next()
    await session.call(sessionManager, 'TerminateSession', [leaf('sessionId', key)])
    expect(await next).toEqual({ done: false, value: first })
    expect(theirs.epoch).toBeGreaterThan(1)
    expect(await inventory.readPlace(vm, some())).toMatchObject({ id: first })
  })
})

function proxyOf({ backing: its }: SerialPort): string | null {
  return its.kind === 'uri' ? its.proxyURI : null
}

/** The device as it was, with another proxyURI. */
function editedAsPlanned(port: SerialPort, proxyURI: string): unknown {
  const its = port.backing
  if (its.kind !== 'uri') throw new Error('no URI')
  const edit = editSerialPort(port, {
    backing: { serviceURI: its.serviceURI, direction: 'client', proxyURI },
    connected: true,
  })
  return edit.children.find(({ name }) => name === 'device') && withName(edit.children[1]!, port.device.name)
}

function withName<T extends { name: string }>(element: T, name: string): T {
  return { ...element, name }
}

async function currentKey(session: VsphereSession): Promise<string> {
  const found = await retrieveOne(session, session.content.sessionManager, ['currentSession'])
  const key = found?.properties.get('currentSession')?.children.find(({ name }) => name === 'key')
  return key?.text ?? ''
}
