/** The check of the host's firewall, as far as the API shows it. Pure. */
import type { FirewallRuleset } from '../vsphere/index.ts'
import { networkPorts, vmOf } from './doctor-checks-port.ts'
import { knownPorts } from './doctor-checks-seen.ts'
import type { Facts, HostFacts, VmFacts } from './doctor-facts.ts'
import { fail, note, ok, type Said, warn } from './doctor-finding.ts'

/** Rule sets of ESXi's firewall: with a proxy, and without. */
const WITH_PROXY = 'vSPC'
const WITHOUT_PROXY = 'remoteSerialPort'

export function firewall(facts: Facts): Said[] | null {
  const vm = vmOf(facts)
  const host = vm?.host.ok ? vm.host.value : null
  if (vm === null || host === null) return null
  const network = networkPorts(vm)
  const needed = [
    ...(network.some(({ backing }) => backing.proxyURI !== null) ? [WITH_PROXY] : []),
    ...(network.some(({ backing }) => backing.proxyURI === null) ? [WITHOUT_PROXY] : []),
  ]
  return needed.map((key) => {
    const comes = key === WITH_PROXY && knownPorts(facts).some(({ state }) => state !== 'offline')
    return ruleset(host, key, key === WITH_PROXY ? proxyAddresses(vm) : [], comes)
  })
}

/** @param comes a port of that VM is online all the same. */
function ruleset({ name, firewall }: HostFacts, key: string, to: readonly string[], comes: boolean): Said {
  const look = `look yourself: esxcli network firewall ruleset list --ruleset-id ${key}`
  if (!firewall.ok) return note(`the firewall of ${name} is not known: ${firewall.message}`, look)
  if (firewall.value === null) return note(`${name} does not tell of its firewall`, look)
  const found = firewall.value.find((one) => one.key === key)
  if (found === undefined) return note(`the firewall of ${name} names no rule set ${key}`, look)
  if (!found.enabled) {
    const next = `on every host that may run the VM: esxcli network firewall ruleset set --ruleset-id ${key} --enabled true`
    if (comes)
      return warn(`rule set ${key} of ${name} is off, although the VM is online: by a relay on the host?`, next)
    return fail(`rule set ${key} of ${name} is off: the host may not connect`, next)
  }
  return limited(found, name, to) ?? ok(`rule set ${key} of ${name} is on`)
}

/** Networks are left to people: only plain addresses are compared. */
function limited({ key, allowed }: FirewallRuleset, host: string, to: readonly string[]): Said | null {
  if (allowed === null || allowed.some((one) => one.includes('/')) || to.length === 0) return null
  if (to.some((address) => allowed.includes(address))) return null
  const next = 'allow the address of the proxyURI there, or all'
  return warn(`rule set ${key} of ${host} allows only ${allowed.join(', ') || 'nobody'}, not ${to.join(', ')}`, next)
}

function proxyAddresses({ proxies }: VmFacts): string[] {
  return [...proxies.values()].flatMap(({ addresses }) => (addresses.ok ? addresses.value : []))
}
