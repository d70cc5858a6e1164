/** Who is who: VMs that share a UUID, an appliance that is registered anew, a vCenter that gives old ids to other VMs. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  connect,
  findVm,
  leaf,
  list,
  type ManagedRef,
  node,
  refElement,
  retrieveOne,
  taskOf,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { describeWithPeers } from '../support/peers.ts'
import { VCSIM_PASSWORD, VCSIM_USER, Vcsim } from '../support/vcsim.ts'
import { addPorts, clusterHosts, portsOfAll, relocate } from '../support/vcsim-fleet.ts'
import { FaultyVcenter, Following, proxyOf } from './vsphere-support.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const TIMES = { callMs: 3_000, retryMinMs: 10, retryMaxMs: 100, slowMs: 200 } as const

describeWithPeers(['vcsim', 'openssl'], 'who is who', () => {
  let vcenter: FaultyVcenter

  beforeAll(async () => {
    vcenter = await FaultyVcenter.start(12)
    await portsOnAll(vcenter.direct)
  })
  afterAll(() => vcenter?.stop())
  afterEach(() => vcenter.tidy())

  async function portsOnAll(session: VsphereSession): Promise<void> {
    const refs = (await list(session, 'VirtualMachine', ['name'])).map(({ ref }) => ref)
    await addPorts(session, refs, () => ({ serviceURI: 'vspc', direction: 'client', proxyURI: 'telnet://old:13370' }))
  }

  const done = async (on: ManagedRef, method: string, ...args: Parameters<VsphereSession['call']>[2] & object) =>
    vcenter.direct.tasks.wait(taskOf(await vcenter.direct.call(on, method, args)), method)
  const setBiosUuid = (vm: ManagedRef, uuid: string) => done(vm, 'ReconfigVM_Task', node('spec', [leaf('uuid', uuid)]))

  test('a clone with the BIOS UUID of the appliance: told, not guessed; once it is gone the appliance is followed', async () => {
    const own = await findVm(vcenter.direct, APPLIANCE)
    const clone = await findVm(vcenter.direct, 'DC0_H0_VM1')
    await setBiosUuid(clone.ref, own.biosUuid ?? '')
    const { troubles, moves, until, retargeter } = new Following(vcenter, own.biosUuid ?? '', TIMES, APPLIANCE)
    await until(() => troubles.length > 0)
    expect(troubles[0]).toMatchObject({ kind: 'refused', message: expect.stringContaining('by its instance UUID') })
    expect(moves).toEqual([])
    expect(vcenter.proxy.count('ReconfigVM_Task')).toBe(0)
    await setBiosUuid(clone.ref, clone.biosUuid ?? '')
    await until(() => retargeter.status.settled)
    expect(moves).toHaveLength(1)
  })

  test('a clone that appears later changes nothing, also not when the appliance has to be looked for again', async () => {
    const own = await findVm(vcenter.direct, APPLIANCE)
    const { troubles, moves, until, follower, settledAt } = new Following(vcenter, own.biosUuid ?? '', TIMES, APPLIANCE)
    await until(() => moves.length === 1)
    const clone = await findVm(vcenter.direct, 'DC0_H0_VM1')
    await setBiosUuid(clone.ref, own.biosUuid ?? '')
    // Off, taken from the inventory, and registered anew: another id, the same instance UUID.
    const about = await retrieveOne(vcenter.direct, own.ref, ['config.files.vmPathName', 'parent', 'resourcePool'])
    const text = (path: string) => about?.properties.get(path)?.text ?? ''
    const there = (await clusterHosts(vcenter.direct)).find(({ name }) => name !== moves[0])!
    await done(own.ref, 'PowerOffVM_Task')
    await vcenter.direct.call(own.ref, 'UnregisterVM')
    await until(() => troubles.some(({ kind }) => kind === 'gone'))
    await done(
      { type: 'Folder', value: text('parent') },
      'RegisterVM_Task',
      leaf('path', text('config.files.vmPathName')),
      leaf('name', APPLIANCE),
      leaf('asTemplate', false),
      refElement('pool', { type: 'ResourcePool', value: text('resourcePool') }),
      refElement('host', there.ref),
    )
    await until(settledAt(there.name))
    expect(moves).toEqual([moves[0], there.name])
    expect(follower.status.vm?.id).not.toBe(own.ref.value)
    expect(follower.status.vm?.instanceUuid).toBe(own.instanceUuid)
    // It is followed as before.
    await relocate(vcenter.direct, (await findVm(vcenter.direct, APPLIANCE)).ref, (await hostNamed(moves[0]!)).ref)
    await until(settledAt(moves[0]!))
    expect(moves).toHaveLength(3)
    await setBiosUuid(clone.ref, clone.biosUuid ?? '')
  })

  const hostNamed = async (name: string) => (await clusterHosts(vcenter.direct)).find((host) => host.name === name)!

  test('a vCenter set up anew gives the ids to other VMs: nobody but the appliance is followed, nobody else changed', async () => {
    const { certificate, proxy } = vcenter
    const own = await findVm(vcenter.direct, 'DC0_C0_RP0_VM1')
    const following = new Following(vcenter, own.name, TIMES)
    const { moves, until, follower, retargeter } = following
    await until(() => retargeter.status.settled)
    const second = await Vcsim.start({ vms: 12, hosts: 6, cert: certificate.cert, key: certificate.key })
    vcenter.later(() => second.stop())
    const user = { user: VCSIM_USER, password: () => VCSIM_PASSWORD, pin: certificate.sha256 }
    const anew = await connect({ url: second.url, ...user })
    vcenter.later(() => anew.close())
    await portsOnAll(anew)
    const same = await findVm(anew, own.name)
    const other = await retrieveOne(anew, own.ref, ['name'])
    expect(other?.properties.get('name')?.text).toMatch(/^DC0_H0_/)
    expect([same.instanceUuid, same.ref.value === own.ref.value]).toEqual([own.instanceUuid, false])
    moves.length = 0
    proxy.upstream = second.tcpPort
    proxy.cut()
    await until(() => follower.status.vm?.id === same.ref.value && follower.status.trouble === null)
    const host = follower.status.host?.name ?? ''
    retargeter.check()
    const proxies = async () => {
      const ports = await portsOfAll(anew)
      return [...ports].map(([name, [port]]) => [name, port?.backing.kind === 'uri' ? port.backing.proxyURI : null])
    }
    const names = (await proxies()).map(([name]) => name)
    await expect
      .poll(proxies, { timeout: 10_000 })
      .toEqual(names.map((name) => [name, name === own.name ? 'telnet://old:13370' : proxyOf(host)]))
    // Not the lone host, on which the VM with the appliance's old id runs.
    expect(moves.filter((name) => !name.startsWith('DC0_C0_'))).toEqual([])
  })
})
