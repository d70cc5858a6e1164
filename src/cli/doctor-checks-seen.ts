/** Checks of the way between a port's host and the server: where the proxyURI leads to, and what the server has seen. Pure. */
import type { PortInfo } from '../app/index.ts'
import { type NetworkPort, networkPorts, vmOf } from './doctor-checks-port.ts'
import type { Facts, ProxyFacts, VmFacts } from './doctor-facts.ts'
import { type Check, fail, note, ok, type Said, warn } from './doctor-finding.ts'
import { portName } from './point-plan.ts'
import { labelOfServiceUri } from './point-uris.ts'

export const SEEN_CHECKS: readonly Check<Facts>[] = [
  {
    id: 'proxy-address',
    section: 'vm',
    run: (facts) => eachProxy(facts, (proxy, uri) => proxyAddress(facts, proxy, uri)),
  },
  {
    id: 'proxy-reachable',
    section: 'vm',
    run: (facts) =>
      eachProxy(facts, ({ reached }, uri) => {
        if (reached.ok) return ok('takes connections from here', uri)
        const next = 'is the server or relay running there? (the host may see it otherwise)'
        return warn(`takes no connections from here: ${reached.message}`, next, uri)
      }),
  },
  { id: 'seen', section: 'vm', run: seen },
  { id: 'seen-host', section: 'vm', run: seenHost },
]

function eachProxy(facts: Facts, run: (proxy: ProxyFacts, uri: string) => Said): Said[] {
  const vm = vmOf(facts)
  return vm === null ? [] : [...vm.proxies].map(([uri, proxy]) => run(proxy, uri))
}

function proxyAddress({ local, appliance }: Facts, { host, addresses }: ProxyFacts, uri: string): Said {
  if (!addresses.ok) {
    const next = 'write an address, or see that the hosts know the name'
    return warn(`${host} is not known here: ${addresses.message}`, next, uri)
  }
  const found = addresses.value
  if (found.some((address) => local.addresses.includes(address))) return ok('leads to this machine', uri)
  const here = appliance?.ok ? appliance.value : null
  if (here !== null) {
    const own = [here.host.toLowerCase(), ...here.managementIps]
    if ([host.toLowerCase(), ...found].some((one) => own.includes(one))) {
      return ok(`is ${here.host}, where the appliance ${here.vm} runs`, uri)
    }
    const shown = [here.host, ...here.managementIps].join(', ')
    return warn(
      `is not the host of the appliance ${here.vm}, which runs on ${shown}`,
      "where a relay on its host is meant: 'vspc track --once' points the ports there",
      uri,
    )
  }
  const why = appliance !== null && !appliance.ok ? ` (${appliance.message})` : ''
  if (found.length > 0 && found.every((address) => /^(?:127\.|::1$)/.test(address))) {
    return note(`is loopback: whichever host the VM runs on${why}`, null, uri)
  }
  const next = '--appliance VM names the VM of the server, to compare with its host'
  return note(`leads to ${found.join(', ')}, which is not this machine${why}`, next, uri)
}

/** The ports of the VM that the server knows. */
export function knownPorts({ server, vm, wanted }: Facts): PortInfo[] {
  if (!server.ports.ok) return []
  const all = server.ports.value
  if (vm?.ok) {
    const { instanceUuid, biosUuid, name } = vm.value
    const uuids = [instanceUuid, biosUuid].flatMap((uuid) => uuid?.toLowerCase() ?? [])
    return all.filter((port) => (port.vm.uuid === null ? port.vm.name === name : uuids.includes(port.vm.uuid)))
  }
  const digits = wanted?.replace(/[\s-]/g, '').toLowerCase()
  return all.filter((port) => port.vm.name === wanted || port.vm.uuid?.replaceAll('-', '') === digits)
}

function proxied(vm: VmFacts): NetworkPort[] {
  return networkPorts(vm).filter(({ backing }) => backing.proxyURI !== null)
}

function seen(facts: Facts): Said[] | null {
  const { server, wanted } = facts
  if (wanted === null || (facts.vm !== null && !facts.vm.ok)) return null
  if (!server.ports.ok) return [note('the server was not asked, so what it has seen of the VM is not known')]
  const ports = knownPorts(facts)
  const vm = vmOf(facts)
  if (vm === null) {
    if (ports.length > 0) return ports.map((port) => seenPort(port, false, port.id))
    return [warn(`the server at ${server.url} knows no VM of this name or UUID`, 'give vSphere, too, to learn why')]
  }
  return proxied(vm).map((port) => {
    const label = labelOfServiceUri(port.backing.serviceURI)
    const should = vm.power === 'poweredOn' && port.connected
    const found = ports.find((one) => one.label === label)
    if (found !== undefined) return seenPort(found, should, portName(port))
    const others = ports.map((one) => one.id).join(', ')
    const message = `the server at ${server.url} has not seen this port${others === '' ? '' : `, only ${others}`}`
    return should ? fail(message, NEXT_UNSEEN, portName(port)) : note(message, null, portName(port))
  })
}

const NEXT_UNSEEN =
  "does the proxyURI lead to it? then the host's firewall and licence, then the server's log (WONT-PROXY: it refuses the serviceURI)"

/** @param should be online. */
function seenPort({ id, state, host, connectedAt, bytesFromVm }: PortInfo, should: boolean, about: string): Said {
  if (state !== 'offline') {
    const since = connectedAt === null ? '' : ` since ${connectedAt}`
    const sent = bytesFromVm === 0 ? 'it has printed nothing yet' : `${bytesFromVm} bytes from the VM so far`
    return ok(`the server has it ${state}${since}, from ${host ?? 'an unknown address'}; ${sent}`, about)
  }
  const message = `the server knows it as ${id}, but it is offline (last from ${host ?? 'an unknown address'})`
  return should ? fail(message, NEXT_UNSEEN, about) : note(message, null, about)
}

/** Whether the way from that host is open at all. */
function seenHost(facts: Facts): Said[] | null {
  const vm = vmOf(facts)
  const host = vm?.host.ok ? vm.host.value : null
  const { server } = facts
  if (vm === null || host === null || !server.ports.ok || proxied(vm).length === 0) return null
  const online = server.ports.value.filter(({ state }) => state !== 'offline')
  const own = knownPorts(facts).filter(({ state }) => state !== 'offline')
  const [first] = own
  if (first !== undefined) {
    if (first.host !== null && host.managementIps.includes(first.host))
      return [ok(`it comes from ${first.host}, its host`)]
    const shown = host.managementIps.join(', ') || 'unknown'
    return [
      note(
        `it comes from ${first.host ?? 'an unknown address'}; the management address of its host is ${shown}: a relay, NAT, or another interface`,
      ),
    ]
  }
  const same = online.filter((port) => port.host !== null && host.managementIps.includes(port.host)).length
  if (same > 0)
    return [
      note(`${same} other ports are online from ${host.name}: network, firewall and licence of that host are well`),
    ]
  if (vm.power !== 'poweredOn') return null
  const what =
    online.length === 0
      ? 'no port is online at all'
      : `of ${online.length} ports that are online none comes from ${host.name}`
  return [warn(what, 'begin with that host: its firewall, its licence, and whether it reaches the server')]
}
