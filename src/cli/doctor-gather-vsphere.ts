/** What `vspc doctor` finds out from vSphere. Whatever cannot be read is left open, and the rest goes on. */
import { ownSerial } from '../appliance/index.ts'
import { cleanText, silentLogger, VspcError } from '../base/index.ts'
import {
  type About,
  faultError,
  findVm,
  hostOfVm,
  type ManagedRef,
  type ReadOptions,
  readFirewall,
  readHostConnection,
  readHosts,
  readSerialPorts,
  readServerTime,
  readSetting,
  retrieveOne,
  type VsphereSession,
} from '../vsphere/index.ts'
import {
  type ApplianceFacts,
  type Asked,
  ask,
  type Facts,
  type HostFacts,
  type ProxyFacts,
  type VmFacts,
  type VsphereFacts,
} from './doctor-facts.ts'
import { gatherProxy } from './doctor-gather-local.ts'
import { liveClock } from './live-clock.ts'
import { proxyHost } from './point-uris.ts'
import { connectVsphere, passwordFileWarning, type VsphereAccess } from './vsphere-options.ts'

export interface VsphereInputs {
  /** Null: not given. */
  readonly access: Asked<VsphereAccess> | null
  /** Null: none to look at. */
  readonly vm: string | null
  /** The VM that the server runs in; null: this one, if it is one. */
  readonly appliance: string | null
}

type FromVsphere = Pick<Facts, 'vsphere' | 'vm' | 'appliance'>

/** For all of it. */
const VSPHERE_MS = 30_000
const PERSIST_SETTING = 'config.vpxd.SerialPort.PersistNetworkBacking'

export async function gatherVsphere({ access, vm, appliance }: VsphereInputs): Promise<FromVsphere> {
  if (access === null) return { vsphere: null, vm: null, appliance: null }
  if (!access.ok) return { vsphere: access, vm: null, appliance: null }
  const deadline = new AbortController()
  const timer = liveClock.after(VSPHERE_MS, () => {
    const text = `${access.value.url} has not answered within ${VSPHERE_MS / 1_000} s`
    deadline.abort(new VspcError('VSPC_VSPHERE_UNREACHABLE', text))
  })
  const options = { signal: deadline.signal }
  try {
    const connected = await ask(() => connectVsphere(access.value, { ...options, clock: liveClock, log: silentLogger }))
    if (!connected.ok) return { vsphere: connected, vm: null, appliance: null }
    const session = connected.value
    try {
      const [vsphere, vmFacts, applianceFacts] = await Promise.all([
        vsphereFacts(session, access.value, options),
        vm === null ? null : ask(() => readVm(session, vm, options)),
        readAppliance(session, appliance, options),
      ])
      return { vsphere: { ok: true, value: vsphere }, vm: vmFacts, appliance: applianceFacts }
    } finally {
      await session.close()
    }
  } finally {
    timer.cancel()
  }
}

async function vsphereFacts(
  session: VsphereSession,
  access: VsphereAccess,
  options: ReadOptions,
): Promise<VsphereFacts> {
  const { about } = session
  const [clock, persistBacking] = await Promise.all([
    ask(() => compareClocks(session, options)),
    ask(() => readSetting(session, PERSIST_SETTING, options)),
  ])
  return {
    url: session.url,
    user: access.user,
    product: productOf(about),
    isVcenter: about.isVcenter,
    passwordWarning: passwordFileWarning(access),
    clock,
    persistBacking,
  }
}

function productOf({ name, version }: About): string {
  return cleanText(`${name} ${version}`, 100)
}

async function compareClocks(
  session: VsphereSession,
  options: ReadOptions,
): Promise<{ aheadMs: number; tookMs: number }> {
  const [before, from] = [liveClock.wall(), liveClock.now()]
  const there = await readServerTime(session, options)
  const tookMs = liveClock.now() - from
  return { aheadMs: there - (before + tookMs / 2), tookMs }
}

const PROPERTIES = ['runtime.powerState', 'config.hardware.device']

async function readVm(session: VsphereSession, selector: string, options: ReadOptions): Promise<VmFacts> {
  const { ref, name, instanceUuid, biosUuid } = await findVm(session, selector, options)
  const found = await retrieveOne(session, ref, PROPERTIES, options)
  const shown = cleanText(name, 100)
  if (found === null) throw new VspcError('VSPC_VSPHERE_NOT_FOUND', `VM ${shown} is no longer there`)
  for (const path of PROPERTIES) {
    const fault = found.missing.get(path)
    if (fault !== undefined) {
      throw faultError({ name: fault, message: '', detail: null }, `cannot read ${path} of ${shown}`)
    }
  }
  const ports = readSerialPorts(found.properties.get('config.hardware.device'))
  const uris = ports.flatMap(({ backing }) =>
    backing.kind === 'uri' && backing.proxyURI !== null ? [backing.proxyURI] : [],
  )
  const [host, proxies] = await Promise.all([ask(() => readHost(session, ref, options)), readProxies(uris)])
  return {
    name,
    instanceUuid,
    biosUuid,
    power: found.properties.get('runtime.powerState')?.text ?? 'unknown',
    ports,
    host,
    proxies,
  }
}

async function readProxies(uris: readonly string[]): Promise<Map<string, ProxyFacts>> {
  const facts = await Promise.all(
    [...new Set(uris)].map(async (uri) => {
      const place = proxyHost(uri)
      return place === null ? [] : [[uri, await gatherProxy(place.host, place.tcpPort)] as const]
    }),
  )
  return new Map(facts.flat())
}

async function readHost(session: VsphereSession, vm: ManagedRef, options: ReadOptions): Promise<HostFacts | null> {
  const ref = await hostOfVm(session, vm, options)
  if (ref === null) return null
  const [infos, connection, firewall] = await Promise.all([
    readHosts(session, [ref], options),
    ask(() => readHostConnection(session, ref, options)),
    ask(() => readFirewall(session, ref, options)),
  ])
  const [info] = infos
  return { name: info?.name ?? ref.value, managementIps: info?.managementIps ?? [], connection, firewall }
}

async function readAppliance(
  session: VsphereSession,
  named: string | null,
  options: ReadOptions,
): Promise<Asked<ApplianceFacts | null> | null> {
  const selector = named ?? ownSelector()
  if (selector === null) return null
  return ask(async () => {
    const { ref, name } = await findVm(session, selector, options)
    const host = await hostOfVm(session, ref, options)
    const [info] = host === null ? [] : await readHosts(session, [host], options)
    return info === undefined ? null : { vm: name, host: info.name, managementIps: info.managementIps }
  })
}

function ownSelector(): string | null {
  try {
    return ownSerial('')
  } catch {
    // No VM of VMware's, or one that only tells root.
    return null
  }
}
