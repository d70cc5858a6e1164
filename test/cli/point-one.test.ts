/** One VM's turn of `vspc point`, against a server that is strict where the simulator is lenient. */
import { describe, expect, test } from 'vitest'
import { type Clock, VspcError } from '../../src/base/index.ts'
import { type PointWork, pointVm } from '../../src/cli/point-one.ts'
import { wantedPort } from '../../src/cli/point-plan.ts'
import {
  childOf,
  type Element,
  faultError,
  leaf,
  type ManagedRef,
  node,
  readSerialPorts,
  refElement,
  textOf,
  type VsphereSession,
} from '../../src/vsphere/index.ts'

const VM: ManagedRef = { type: 'VirtualMachine', value: 'vm-7' }
const SELECTED = { ref: VM, name: 'web1', instanceUuid: null }
const WANTED = wantedPort({ serviceUri: 'telnet://vspc', proxyUri: 'telnet://new:1', direction: 'server' })

interface Port {
  key: number
  serviceURI: string
  direction: string
  proxyURI: string
  connected: boolean
  startConnected: boolean
  status: string
}

const OLD: Port = {
  key: 9000,
  serviceURI: 'old',
  direction: 'client',
  proxyURI: 'telnet://old:1',
  connected: true,
  startConnected: true,
  status: 'ok',
}

function device({ key, serviceURI, direction, proxyURI, connected, startConnected, status }: Port): Element {
  const backing = [leaf('serviceURI', serviceURI), leaf('direction', direction), leaf('proxyURI', proxyURI)]
  const flags = [leaf('startConnected', startConnected), leaf('connected', connected), leaf('status', status)]
  return node(
    'VirtualDevice',
    [
      leaf('key', key),
      node('deviceInfo', [leaf('label', `Serial port ${key - 8_999}`)]),
      node('backing', backing, 'VirtualSerialPortURIBackingInfo'),
      node('connectable', flags),
    ],
    'VirtualSerialPort',
  )
}

/** As vCenter: no backing of a connected port changes, and nothing is added to a VM that is on. */
class StrictServer {
  readonly log: string[] = []
  poweredOn = true
  ports: Port[] = [{ ...OLD }]
  /** Of a port that has been connected, look by look; the last one stays. */
  statuses = ['ok']
  /** Taken one for each change: the fault it fails with. */
  faults: (string | null)[] = []
  gone = false

  get session(): VsphereSession {
    const made = {
      url: 'https://vc/sdk',
      content: { propertyCollector: { type: 'PropertyCollector', value: 'pc' } },
      limits: { pageObjects: 100, taskMs: 1_000 },
      closing: new AbortController().signal,
      epoch: 1,
      call: async (_ref: ManagedRef, method: string, args: readonly (Element | null)[]) =>
        method === 'RetrievePropertiesEx' ? this.#retrieve() : this.#reconfigure(args),
      tasks: { wait: async () => null },
    }
    return made as unknown as VsphereSession
  }

  #retrieve(): Element {
    for (const port of this.ports) {
      if (this.statuses.length > 1 && port.connected) port.status = this.statuses.shift() ?? 'ok'
      else if (port.connected) port.status = this.statuses[0] ?? 'ok'
    }
    const property = (name: string, val: Element): Element =>
      node('propSet', [leaf('name', name), { ...val, name: 'val' }])
    const objects = node('objects', [
      refElement('obj', VM),
      property('name', leaf('val', 'web1')),
      property('runtime.powerState', leaf('val', this.poweredOn ? 'poweredOn' : 'poweredOff')),
      property('config.hardware.device', node('val', this.ports.map(device))),
    ])
    return node('RetrievePropertiesExResponse', this.gone ? [] : [node('returnval', [objects])])
  }

  #reconfigure([spec]: readonly (Element | null)[]): Element {
    const change = childOf(spec, 'deviceChange')
    const operation = textOf(change, 'operation') ?? ''
    const given = childOf(change, 'device')
    const fault = this.faults.shift() ?? null
    if (operation === 'add') this.#add(given, fault)
    else this.#edit(given, fault)
    return node('ReconfigVM_TaskResponse', [refElement('returnval', { type: 'Task', value: 't' })])
  }

  #add(given: Element | null, fault: string | null): void {
    this.log.push('add')
    if (fault !== null || this.poweredOn) throw refusal(fault ?? 'InvalidPowerState')
    const backing = childOf(given, 'backing')
    this.ports.push({ ...OLD, ...fields(backing), key: 9000 + this.ports.length, connected: false })
  }

  #edit(given: Element | null, fault: string | null): void {
    const [now] = readSerialPorts(node('val', given === null ? [] : [{ ...given, name: 'VirtualDevice' }]))
    const port = this.ports.find(({ key }) => key === now?.key)
    const to = fields(childOf(given, 'backing'))
    if (now === undefined || port === undefined) throw refusal('InvalidDeviceSpec')
    const changed = (['serviceURI', 'direction', 'proxyURI'] as const).some((name) => port[name] !== to[name])
    this.log.push(`${changed ? `to ${to.proxyURI}, ` : ''}${now.connected ? 'connected' : 'disconnected'}`)
    if (fault !== null) throw refusal(fault)
    if (changed && port.connected) throw refusal('InvalidState')
    Object.assign(port, to, { connected: now.connected, startConnected: now.startConnected })
  }
}

function fields(backing: Element | null): Pick<Port, 'serviceURI' | 'direction' | 'proxyURI'> {
  const say = (name: string): string => textOf(backing, name) ?? ''
  return { serviceURI: say('serviceURI'), direction: say('direction'), proxyURI: say('proxyURI') }
}

function refusal(name: string): VspcError {
  if (name === 'away') return new VspcError('VSPC_VSPHERE_UNREACHABLE', 'connection refused')
  return faultError({ name, message: '', detail: null }, 'cannot change vm-7')
}

/** Its time passes at once. */
function fastClock(): Clock {
  let now = 0
  return {
    now: () => now,
    wall: () => now,
    after(ms, run) {
      const handle = setImmediate(() => {
        now += ms
        run()
      })
      return { cancel: () => clearImmediate(handle) }
    },
  }
}

function work(server: StrictServer, choice: PointWork['choice'] = { port: null, add: false }): PointWork {
  return { session: server.session, wanted: WANTED, choice, clock: fastClock(), signal: new AbortController().signal }
}

const isRight = { serviceURI: 'telnet://vspc', direction: 'server', proxyURI: 'telnet://new:1', connected: true }

describe('one VM', () => {
  test('a connected port is disconnected, then changed and connected in one', async () => {
    const server = new StrictServer()
    const { step, port, fault } = await pointVm(work(server), SELECTED)
    expect([step.do, port?.status, fault]).toEqual(['change', 'ok', null])
    expect(server.log).toEqual(['disconnected', 'to telnet://new:1, connected'])
    expect(server.ports).toEqual([expect.objectContaining(isRight)])
    expect((await pointVm(work(server), SELECTED)).step.do).toBe('keep')
    expect(server.log).toHaveLength(2)
  })

  test('a server that is busy is asked again, and a port cut meanwhile is not cut twice', async () => {
    const server = new StrictServer()
    server.faults = ['TaskInProgress', null, 'ConcurrentAccess', 'TaskInProgress']
    expect((await pointVm(work(server), SELECTED)).fault).toBeNull()
    const last = 'to telnet://new:1, connected'
    expect(server.log).toEqual(['disconnected', 'disconnected', last, last, last])
    expect(server.ports).toEqual([expect.objectContaining(isRight)])
  })

  test('one that stays busy is given up, and the port is connected again as it was', async () => {
    const server = new StrictServer()
    server.faults = [null, ...Array.from({ length: 5 }, () => 'TaskInProgress')]
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_BUSY',
      message: expect.stringContaining('Serial port 1 was disconnected for the change: it is connected as before'),
    })
    expect(server.ports).toEqual([OLD])
  })

  test('a change that is refused leaves the port connected as it was, or says that it does not', async () => {
    const server = new StrictServer()
    server.faults = [null, 'NoPermission']
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_PERMISSION',
      message: expect.stringContaining('it is connected as before'),
    })
    expect(server.ports).toEqual([OLD])
    server.faults = [null, 'NoPermission', 'NoPermission']
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({
      message: expect.stringMatching(/it is left DISCONNECTED \(.*NoPermission/),
    })
    expect(server.ports).toEqual([{ ...OLD, connected: false }])
  })

  test('a server that restarts while a port is cut is waited for, and the port is not left disconnected', async () => {
    const server = new StrictServer()
    server.faults = [null, ...Array.from({ length: 20 }, () => 'away')]
    expect((await pointVm(work(server), SELECTED)).fault).toBeNull()
    expect(server.ports).toEqual([expect.objectContaining(isRight)])
  })

  test('one that stays away is given up, and it is said that the port is left disconnected', async () => {
    const server = new StrictServer()
    server.faults = [null, ...Array.from({ length: 2_000 }, () => 'away')]
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_UNREACHABLE',
      message: expect.stringMatching(/it is left DISCONNECTED/),
    })
    expect(server.faults.length).toBeGreaterThan(1_800)
  })

  test('adding to a VM that is on says what is in the way; off, the port is there afterwards', async () => {
    const server = new StrictServer()
    server.ports = []
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({
      code: 'VSPC_VSPHERE_STATE',
      message: expect.stringContaining('only to a VM that is off, and this one is on: switch it off first'),
    })
    server.poweredOn = false
    const { step, port, fault } = await pointVm(work(server), SELECTED)
    expect([step.do, port?.key, fault]).toEqual(['add', 9000, null])
    const another = await pointVm(work(server, { port: null, add: true }), SELECTED)
    expect([another.port?.key, server.ports.length]).toEqual([9001, 2])
  })

  test('"untried" is waited for, and what the host gives up is a fault', async () => {
    const server = new StrictServer()
    // The first look is the one before the change.
    server.statuses = ['ok', 'untried', 'untried', 'ok']
    expect(await pointVm(work(server), SELECTED)).toMatchObject({ port: { status: 'ok' }, fault: null })
    const hopeless = new StrictServer()
    hopeless.statuses = ['ok', 'unrecoverableError']
    expect((await pointVm(work(hopeless), SELECTED)).fault).toContain('unrecoverableError')
    const slow = new StrictServer()
    slow.statuses = ['untried']
    expect(await pointVm(work(slow), SELECTED)).toMatchObject({ port: { status: 'untried' }, fault: null })
  })

  test('what the server says is believed only when it reads so afterwards', async () => {
    const server = new StrictServer()
    server.poweredOn = false
    const { session } = server
    const call = session.call.bind(session)
    // Says yes, and does nothing.
    session.call = (ref, method, args, options) =>
      method === 'ReconfigVM_Task'
        ? Promise.resolve(node('ReconfigVM_TaskResponse', [refElement('returnval', { type: 'Task', value: 't' })]))
        : call(ref, method, args, options)
    const changed = await pointVm({ ...work(server), session }, SELECTED)
    expect(changed.fault).toBe('the server says that it is done, but the port reads otherwise')
    server.ports = []
    const added = await pointVm({ ...work(server), session }, SELECTED)
    expect(added.fault).toBe('the server says that it is done, but the port is not there')
  })

  test('a VM that went away is told as such', async () => {
    const server = new StrictServer()
    server.gone = true
    await expect(pointVm(work(server), SELECTED)).rejects.toMatchObject({ code: 'VSPC_VSPHERE_NOT_FOUND' })
  })

  test('who gives up waiting is not kept by a pause', async () => {
    const server = new StrictServer()
    server.faults = ['TaskInProgress']
    const stop = new AbortController()
    const clock: Clock = { ...fastClock(), after: () => ({ cancel: () => {} }) }
    const running = pointVm({ ...work(server), clock, signal: stop.signal }, SELECTED)
    setImmediate(() => stop.abort(new VspcError('VSPC_SERVER_STOPPING', 'stop')))
    await expect(running).rejects.toMatchObject({ code: 'VSPC_SERVER_STOPPING' })
  })
})
