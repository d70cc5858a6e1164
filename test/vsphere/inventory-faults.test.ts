/** What the simulator cannot show of the inventory: lacking privileges, and tasks that a server has forgotten. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { failureOf, planRetarget, type VmName, type VmPorts } from '../../src/vmotion/index.ts'
import { connect, VsphereInventory } from '../../src/vsphere/index.ts'
import { type CertificateFiles, TestCertificates } from '../support/certificates.ts'
import { type Answerer, FakeVsphere } from './fake-vsphere.ts'

const VM: VmName = { id: 'vm-1', name: 'web1', instanceUuid: null }
const DEVICES =
  '<VirtualDevice xsi:type="VirtualSerialPort"><key>9000</key><deviceInfo><label>Serial port 1</label></deviceInfo>' +
  '<backing xsi:type="VirtualSerialPortURIBackingInfo"><serviceURI>s</serviceURI><direction>both</direction><proxyURI>telnet://a:1</proxyURI></backing>' +
  '<connectable><startConnected>true</startConnected><allowGuestControl>true</allowGuestControl><connected>true</connected><status>ok</status></connectable>' +
  '<yieldOnPoll>true</yieldOnPoll></VirtualDevice>'

let certificates: TestCertificates
let certificate: CertificateFiles
let fake: FakeVsphere
let inventory: VsphereInventory
/** Properties of each object, by its id and path; a text `fault:NAME` is a property that may not be read. */
let objects: Record<string, Record<string, string>> = {}
/** Objects that are not there. */
let gone: Set<string>

const some = () => ({ signal: new AbortController().signal })

const retrieve: Answerer = ({ body }) => {
  if (body.includes('currentSession')) return ''
  const ids = [...body.matchAll(/<obj type="(\w+)">([^<]+)</g)].map(([, type = '', id = '']) => ({ type, id }))
  if (ids.some(({ id }) => gone.has(id))) return 'fault:ManagedObjectNotFound'
  const asked = [...body.matchAll(/<pathSet>([^<]+)</g)].map(([, path = '']) => path)
  const found = ids.map(({ type, id }) => {
    const known = Object.entries(objects[id] ?? {}).filter(([path]) => asked.includes(path))
    const inside = known.map(([path, value]) => {
      const fault = /^fault:(\w+)$/.exec(value)?.[1]
      return fault === undefined
        ? `<propSet><name>${path}</name>${value}</propSet>`
        : `<missingSet><path>${path}</path><fault><fault xsi:type="${fault}"/><localizedMessage/></fault></missingSet>`
    })
    return `<objects><obj type="${type}">${id}</obj>${inside.join('')}</objects>`
  })
  return `<returnval>${found.join('')}</returnval>`
}

beforeAll(async () => {
  certificates = await TestCertificates.create()
  certificate = await certificates.selfSigned('good')
})
afterAll(() => certificates.remove())
beforeEach(async () => {
  fake = await FakeVsphere.start(certificate)
  fake.answers['RetrievePropertiesEx'] = retrieve
  gone = new Set()
  objects = {
    'vm-1': {
      name: '<val xsi:type="xsd:string">web1</val>',
      'runtime.host': '<val type="HostSystem" xsi:type="ManagedObjectReference">host-1</val>',
      'runtime.powerState': '<val xsi:type="VirtualMachinePowerState">poweredOn</val>',
      'config.hardware.device': `<val xsi:type="ArrayOfVirtualDevice">${DEVICES}</val>`,
    },
    'host-1': { name: '<val xsi:type="xsd:string">esx1</val>' },
  }
  inventory = new VsphereInventory({
    connect: (signal) =>
      connect({
        url: fake.url,
        user: 'u',
        password: () => 'p',
        pin: certificate.sha256,
        signal,
        limits: { taskMs: 5_000 },
      }),
  })
})
afterEach(async () => {
  await inventory.close()
  await fake.stop()
})

const ports: VmPorts = {
  ...VM,
  biosUuid: null,
  poweredOn: true,
  folder: '/DC/vm',
  resourcePool: '',
  customValues: new Map([['a', 'b']]),
  ports: [],
}

test('a host whose name may not be read is a lack of privileges, not a host of another name', async () => {
  expect(await inventory.readPlace(VM, some())).toEqual({ id: 'host-1', name: 'esx1', managementIps: [] })
  objects['host-1'] = { name: 'fault:NoPermission' }
  const refused = await inventory.readPlace(VM, some()).catch(failureOf)
  expect(refused).toEqual({ kind: 'permission', message: expect.stringContaining('host-1') })
  objects['vm-1'] = { 'runtime.host': 'fault:NoPermission' }
  expect(await inventory.readPlace(VM, some()).catch(failureOf)).toMatchObject({ kind: 'permission' })
})

test('a VM without host, and a host that has just been removed, have no place', async () => {
  objects['vm-1'] = {}
  expect(await inventory.readPlace(VM, some())).toBeNull()
  objects['vm-1'] = { 'runtime.host': '<val type="HostSystem">host-1</val>' }
  gone.add('host-1')
  expect(await inventory.readPlace(VM, some())).toBeNull()
  gone.add('vm-1')
  expect(await inventory.readPlace(VM, some()).catch(failureOf)).toMatchObject({ kind: 'gone' })
})

test('an edit hands the device back whole, the odd direction included; other facts stay those of the listing', async () => {
  fake.answers['ReconfigVM_Task'] = () => '<returnval type="Task">task-1</returnval>'
  objects['task-1'] = { 'info.state': '<val xsi:type="TaskInfoState">success</val>' }
  const vm = await inventory.readVm(ports, some())
  expect(vm).toMatchObject({ folder: '/DC/vm', poweredOn: true, ports: [{ key: 9000, status: 'ok' }] })
  expect([...vm.customValues]).toEqual([['a', 'b']])
  const [port] = vm.ports
  const backing = { serviceURI: 's', direction: 'both', proxyURI: 'telnet://b:1' }
  await inventory.changePorts(vm, [{ port: port!, backing, connected: true }], some())
  const sent = fake.calls.find(({ method }) => method === 'ReconfigVM_Task')?.body ?? ''
  for (const part of ['<direction>both<', '<proxyURI>telnet://b:1<', '<label>Serial port 1<', '<yieldOnPoll>true<']) {
    expect(sent).toContain(part)
  }
})

test('a server that restarts forgets its tasks: the VM is looked at again, not taken for gone', async () => {
  fake.answers['ReconfigVM_Task'] = () => '<returnval type="Task">task-1</returnval>'
  gone.add('task-1')
  const vm = await inventory.readVm(ports, some())
  const change = () => inventory.changePorts(vm, [{ port: vm.ports[0]!, connected: false }], some()).catch(failureOf)
  expect(await change()).toMatchObject({ kind: 'busy' })
  // A file that the change needs is not the VM either.
  gone.delete('task-1')
  objects['task-1'] = {
    'info.state': '<val xsi:type="TaskInfoState">error</val>',
    'info.error':
      '<val xsi:type="LocalizedMethodFault"><fault xsi:type="NotFound"/><localizedMessage>no</localizedMessage></val>',
  }
  expect(await change()).toMatchObject({ kind: 'busy' })
  gone.add('vm-1')
  expect(await change()).toMatchObject({ kind: 'gone' })
})

test.each([
  ['TaskInProgress', 'busy'],
  ['ConcurrentAccess', 'busy'],
  ['InvalidPowerState', 'busy'],
  ['NoPermission', 'permission'],
  ['InvalidDeviceSpec', 'refused'],
])('a change that the server refuses with %s is %s', async (fault, kind) => {
  fake.answers['ReconfigVM_Task'] = () => `fault:${fault}`
  const vm = await inventory.readVm(ports, some())
  const failure = await inventory.changePorts(vm, [{ port: vm.ports[0]!, connected: false }], some()).catch(failureOf)
  expect(failure).toMatchObject({ kind })
  expect(fake.count('ReconfigVM_Task')).toBe(1)
})

test('a connection that breaks in the middle of a change: nobody knows, and it is not made twice', async () => {
  fake.answers['ReconfigVM_Task'] = ({ response }) => {
    response.destroy()
    return null
  }
  const vm = await inventory.readVm(ports, some())
  const failure = await inventory.changePorts(vm, [{ port: vm.ports[0]!, connected: false }], some()).catch(failureOf)
  expect(failure).toMatchObject({ kind: 'transient' })
  expect(fake.count('ReconfigVM_Task')).toBe(1)
})

test.each([
  ['config.hardware.device', 'fault:NoPermission', 'permission'],
  ['runtime.powerState', 'fault:NoPermission', 'permission'],
  ['config.hardware.device', '', 'busy'],
])(
  'a VM whose %s is not told (%s) is neither one without serial ports nor one that is off',
  async (path, value, kind) => {
    const before = await inventory.readVm(ports, some())
    const known = objects['vm-1'] as Record<string, string>
    if (value === '') delete known[path]
    else known[path] = value
    expect(await inventory.readVm(before, some()).catch(failureOf)).toMatchObject({ kind, message: /web1/ })
    fake.answers['CreateContainerView'] = () => '<returnval type="ContainerView">view-1</returnval>'
    fake.answers['DestroyView'] = () => ''
    fake.answers['RetrievePropertiesEx'] = (call) => {
      const body = call.body.replace('<obj type="ContainerView">view-1<', '<obj type="VirtualMachine">vm-1<')
      return retrieve({ ...call, body })
    }
    const facts = { folders: false, resourcePools: false, customValues: false }
    for (const only of [undefined, () => true]) {
      const [listed] = await inventory.listVms(facts, { ...some(), ...(only === undefined ? {} : { only }) })
      expect(planRetarget([listed as VmPorts], { proxyURI: 'telnet://b:1', choice: {} })).toMatchObject([
        { do: 'cannot', why: 'unreadable', message: expect.stringContaining(path) },
      ])
    }
  },
)
