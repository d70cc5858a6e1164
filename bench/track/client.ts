/** The tracker and the re-pointing, as `vspc track` has them, in a process of their own; and who moves the appliance. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { systemClock } from '../../src/base/index.ts'
import { type Endpoint, parseEndpoint } from '../../src/transport/index.ts'
import {
  ApplianceHost,
  fillProxyTemplate,
  type HostPlace,
  parseProxyTemplate,
  Retargeter,
  type VmPorts,
} from '../../src/vmotion/index.ts'
import {
  addSerialPort,
  connect,
  list,
  type ManagedRef,
  node,
  readSerialPorts,
  reconfigureVm,
  refElement,
  taskOf,
  VsphereInventory,
  type VsphereSession,
} from '../../src/vsphere/index.ts'
import { serveWorks } from '../worker.ts'
import { PASSWORD, USER } from './vcsim.ts'

const APPLIANCE = 'DC0_C0_RP0_VM0'
const NOTHING_MORE = { folders: false, resourcePools: false, customValues: false }
const TEMPLATE = parseProxyTemplate('telnet://{host}:13370')

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

interface Setup {
  readonly url: string
  readonly pin: string
  readonly dial: Endpoint | null
}

let setup: Setup | null = null
let driver: VsphereSession | null = null
let own: ManagedRef | null = null
let hosts: ManagedRef[] = []
let at = 0
let calls = 0
let inventory: VsphereInventory | null = null
let retargeter: Retargeter | null = null
let follower: ApplianceHost | null = null
/** Every address the same, so that moves change nothing. */
let constant = false
let onMove = (): void => {}

function some<T>(value: T | null): T {
  if (value === null) throw new Error('not prepared')
  return value
}

async function open(counted: boolean): Promise<VsphereSession> {
  const { url, pin, dial } = some(setup)
  const session = await connect({ url, pin, dial: counted ? dial : null, user: USER, password: () => PASSWORD })
  if (!counted) return session
  const call = session.call.bind(session)
  session.call = (...all) => {
    calls++
    return call(...all)
  }
  return session
}

async function relocate(): Promise<void> {
  const session = some(driver)
  at = (at + 1) % hosts.length
  const spec = node('spec', [refElement('host', hosts[at] as ManagedRef)])
  await session.tasks.wait(taskOf(await session.call(some(own), 'RelocateVM_Task', [spec])), 'relocate')
}

/** Until all is in line for the next move. */
async function moved(): Promise<{ toldMs: number; ms: number }> {
  const began = performance.now()
  const told = new Promise<number>((resolve) => {
    onMove = () => resolve(performance.now() - began)
  })
  await relocate()
  const toldMs = await told
  const { counts } = await some(retargeter).whenSettled()
  if (counts.right !== counts.vms) throw new Error(`not all right: ${JSON.stringify(counts)}`)
  return { toldMs, ms: performance.now() - began }
}

function memory(): { heap: number; rss: number } {
  collect()
  collect()
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, rss }
}

export const clientWorks = {
  /** One connected port on every VM. */
  async prepare({ url, pin, way }: { url: string; pin: string; way: number }) {
    setup = { url, pin, dial: parseEndpoint(`tcp://127.0.0.1:${way}`, 'dial', 'plain') }
    driver = await open(false)
    const session = driver
    const vms = await list(session, 'VirtualMachine', ['name'])
    own = vms.find(({ properties }) => properties.get('name')?.text === APPLIANCE)?.ref ?? null
    const found = await list(session, 'HostSystem', ['name'])
    hosts = found.filter(({ properties }) => properties.get('name')?.text.startsWith('DC0_C0_')).map(({ ref }) => ref)
    const queue = [...vms]
    const proxyURI = 'telnet://old.example:13370'
    const device = addSerialPort({ serviceURI: 'vspc', direction: 'client', proxyURI })
    const worker = async (): Promise<void> => {
      for (let vm = queue.pop(); vm !== undefined; vm = queue.pop()) {
        await reconfigureVm(session, vm.ref, { devices: [device] })
      }
    }
    await Promise.all(Array.from({ length: 8 }, worker))
  },
  /** Follows the appliance, and brings all into line for the first time. */
  async follow() {
    inventory = new VsphereInventory({ connect: () => open(true) })
    retargeter = new Retargeter({
      inventory,
      selects: ({ name }: VmPorts) => name !== APPLIANCE,
      wanted: NOTHING_MORE,
      choice: {},
      proxyURI: (place: HostPlace) =>
        constant ? { uri: 'telnet://relay.example:13370' } : fillProxyTemplate(TEMPLATE, place),
      clock: systemClock,
      random: Math.random,
    })
    const pointed = retargeter
    follower = new ApplianceHost({
      inventory,
      selector: APPLIANCE,
      clock: systemClock,
      random: Math.random,
      onMove: ({ to }) => {
        pointed.point(to)
        onMove()
      },
    })
    const first = new Promise<void>((resolve) => {
      onMove = resolve
    })
    follower.start()
    await first
    await retargeter.whenSettled()
  },
  /** One move, all VMs changed. */
  async move() {
    calls = 0
    const { toldMs, ms } = await moved()
    return { toldMs, ms, calls }
  },
  /** Many moves that change nothing: news, a look where the appliance is, a listing of all VMs each time. */
  async updates({ count }: { count: number }) {
    constant = true
    for (let warm = 0; warm < 5; warm++) await moved()
    const before = memory()
    calls = 0
    const began = performance.now()
    for (let update = 0; update < count; update++) await moved()
    const ms = performance.now() - began
    const after = memory()
    constant = false
    return { before, after, ms: ms / count, calls: calls / count }
  },
  /** @param only read the ports of so many VMs; null = of all, in one go. */
  async listing({ only }: { only: number | null }) {
    const vms = await list(some(driver), 'VirtualMachine', ['name'])
    const wanted = new Set(vms.slice(0, only ?? 0).map(({ ref }) => ref.value))
    const options = {
      signal: new AbortController().signal,
      ...(only === null ? {} : { only: ({ id }: VmPorts) => wanted.has(id) }),
    }
    calls = 0
    const began = performance.now()
    const found = await some(inventory).listVms(NOTHING_MORE, options)
    return { ms: performance.now() - began, calls, vms: found.length }
  },
  /** Ports that name the host where the appliance is, as the simulator has them. */
  async right() {
    const found = await list(some(driver), 'VirtualMachine', ['name', 'config.hardware.device'])
    const place = some(follower).status.host?.name
    return found.filter(({ properties }) => {
      const [port] = readSerialPorts(properties.get('config.hardware.device'))
      return port?.connected && port.backing.kind === 'uri' && port.backing.proxyURI === `telnet://${place}:13370`
    }).length
  },
  async close() {
    some(follower).stop()
    await some(retargeter).stop()
    await some(inventory).close()
    await some(driver).close()
  },
}

serveWorks(clientWorks)
