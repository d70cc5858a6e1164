/** What a host says of itself beyond its name: whether it is connected, and its firewall. And the server's clock. */
import { VspcError } from '../base/index.ts'
import { asRef, childOf, childrenOf, type Element, flagOf, type ManagedRef, textOf } from './element.ts'
import { faultError } from './faults.ts'
import { type ReadOptions, retrieveOne } from './properties.ts'
import { SERVICE_INSTANCE } from './service-content.ts'
import type { VsphereSession } from './session.ts'

export interface FirewallRuleset {
  /** `vSPC`, `remoteSerialPort`. */
  readonly key: string
  /** In the server's language. */
  readonly label: string
  readonly enabled: boolean
  /** Addresses and networks (`10.0.0.0/8`) that it is limited to; null: all. */
  readonly allowed: readonly string[] | null
}

/**
 * The rule sets of a host's firewall; null where the host has no firewall, or does not tell.
 * @throws VspcError VSPC_VSPHERE_PERMISSION where the user may not see it, and as `retrieve`.
 */
export async function readFirewall(
  session: VsphereSession,
  host: ManagedRef,
  options: ReadOptions = {},
): Promise<FirewallRuleset[] | null> {
  const system = asRef(await readProperty(session, host, 'configManager.firewallSystem', options))
  if (system === null) return null
  const info = await readProperty(session, system, 'firewallInfo', options)
  return info === null ? null : childrenOf(info, 'ruleset').map(ruleset)
}

function ruleset(element: Element): FirewallRuleset {
  const hosts = childOf(element, 'allowedHosts')
  // Older hosts know no such limit.
  const limited = flagOf(hosts, 'allIp') === false
  const networks = childrenOf(hosts, 'ipNetwork').map(
    (one) => `${textOf(one, 'network')}/${textOf(one, 'prefixLength')}`,
  )
  return {
    key: textOf(element, 'key') ?? '',
    label: textOf(element, 'label') ?? '',
    enabled: flagOf(element, 'enabled') ?? false,
    allowed: limited ? [...childrenOf(hosts, 'ipAddress').map(({ text }) => text), ...networks] : null,
  }
}

/** `connected`, `disconnected`, `notResponding`; null = not told. As the server sees the host. */
export async function readHostConnection(
  session: VsphereSession,
  host: ManagedRef,
  options: ReadOptions = {},
): Promise<string | null> {
  return (await readProperty(session, host, 'runtime.connectionState', options))?.text ?? null
}

/** What time it is at the server: milliseconds since 1970. @throws VspcError VSPC_VSPHERE_ANSWER, and as `call`. */
export async function readServerTime(session: VsphereSession, options: ReadOptions = {}): Promise<number> {
  const answer = await session.call(SERVICE_INSTANCE, 'CurrentTime', [], { ...options, repeatable: true })
  const ms = Date.parse(textOf(answer, 'returnval') ?? '')
  if (Number.isNaN(ms)) throw new VspcError('VSPC_VSPHERE_ANSWER', `${session.url} does not say what time it is`)
  return ms
}

/** Null where it is unset, or the object gone. @throws what the server says of one that it does not give out. */
async function readProperty(
  session: VsphereSession,
  ref: ManagedRef,
  path: string,
  options: ReadOptions,
): Promise<Element | null> {
  const found = await retrieveOne(session, ref, [path], options)
  const fault = found?.missing.get(path)
  if (fault !== undefined) throw faultError({ name: fault, message: '', detail: null }, `cannot read ${path}`)
  return found?.properties.get(path) ?? null
}
