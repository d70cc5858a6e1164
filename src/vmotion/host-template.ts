/** From the appliance's host to the address of the relay there: templates, and the table of relays. Pure. */
import { cleanText, nearest, VspcError } from '../base/index.ts'
import type { HostPlace } from './inventory.ts'

const PLACEHOLDERS = ['host', 'ip', 'relay'] as const

/** Addresses of relays by the host's name or one of its addresses. */
export type RelayTable = ReadonlyMap<string, string>

/** Made by {@link parseHostTemplate}. */
export interface HostTemplate {
  readonly text: string
}

export type Filled = { readonly uri: string } | { readonly problem: string }

/**
 * A URI with `{host}` (the name in the inventory), `{ip}` (its first management address) or `{relay}` (from the table).
 * @throws VspcError VSPC_ENDPOINT_SYNTAX, quoting the text.
 */
export function parseHostTemplate(text: string): HostTemplate {
  for (const [whole, name = ''] of text.matchAll(/\{([^{}]*)\}|[{}]/g)) {
    if (PLACEHOLDERS.some((known) => known === name)) continue
    const near = nearest(name, PLACEHOLDERS)
    throw syntax(
      text,
      `"${cleanText(whole, 40)}" is no placeholder`,
      `placeholders are {host}, {ip} and {relay}${near === null ? '' : `; did you mean {${near}}?`}`,
    )
  }
  return { text }
}

/** As {@link parseHostTemplate}, for what vSphere takes as a proxyURI: `telnet://` or `telnets://`, host, port, options. */
export function parseProxyTemplate(text: string): HostTemplate {
  const template = parseHostTemplate(text)
  const sample = text.replace(/\{[a-z]+\}/g, 'x')
  const wrong = proxyFault(sample)
  if (wrong !== null) throw syntax(text, wrong, PROXY_ACCEPTED)
  return template
}

const PROXY_ACCEPTED = 'write telnet://HOST:PORT or telnets://HOST:PORT, such as telnet://{host}:13370'
/** Behind `#`, joined by `&`. */
const PROXY_OPTIONS = ['thumbprint', 'certificate', 'peerName', 'verify', 'cipherList']

/** What is wrong with a proxyURI, or null. */
export function proxyFault(uri: string): string | null {
  const match = /^([a-z]+):\/\/([^/?#]*)([^#]*)(?:#(.*))?$/is.exec(uri)
  if (!match) return 'it is no URI'
  const [, scheme = '', authority = '', rest = '', options] = match
  if (!/^telnets?$/i.test(scheme)) return `the scheme "${cleanText(scheme, 20)}" is neither telnet nor telnets`
  if (authority.includes('@')) return 'a proxyURI has no user'
  if (rest !== '' && rest !== '/') return `"${cleanText(rest, 60)}" behind the port is not possible`
  const [, host = '', port = ''] = /^(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[\w.-]*):(\d+)$/i.exec(authority) ?? []
  if (host === '') return 'host and port are not HOST:PORT'
  if (Number(port) < 1 || Number(port) > 65_535) return `port ${cleanText(port, 20)} is not between 1 and 65535`
  for (const option of options === undefined ? [] : options.split('&')) {
    const name = option.split('=', 1)[0] ?? ''
    if (!PROXY_OPTIONS.includes(name))
      return `the option "${cleanText(name, 40)}" is none of ${PROXY_OPTIONS.join(', ')}`
  }
  return null
}

/** The URI for a host, or why there is none. What comes from the inventory is checked before it becomes part of it. */
export function fillTemplate({ text }: HostTemplate, place: HostPlace, relays: RelayTable = new Map()): Filled {
  const shown = cleanText(place.name, 100)
  let problem: string | null = null
  const uri = text.replace(/\{([a-z]+)\}/g, (_whole, name: string) => {
    const value = name === 'host' ? place.name : name === 'ip' ? place.managementIps[0] : relayOf(place, relays)
    if (value === undefined) {
      problem ??=
        name === 'ip'
          ? `the management address of host ${shown} is not known`
          : `the table of relays has no line for host ${shown}`
      return ''
    }
    // Relays of the table may come with a port.
    if (/^[\w.-]+$/.test(value) || (name === 'relay' && /^(?:[\w.-]+|\[[0-9a-f:.]+\]):\d+$/i.test(value))) return value
    if (/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(value)) return `[${value}]`
    if (/^\[[0-9a-f:.]+\]$/i.test(value)) return value
    problem ??= `"${cleanText(value, 100)}" of host ${shown} is no address`
    return ''
  })
  return problem === null ? { uri } : { problem }
}

/** As {@link fillTemplate}, checked to be a proxyURI. */
export function fillProxyTemplate(template: HostTemplate, place: HostPlace, relays: RelayTable = new Map()): Filled {
  const filled = fillTemplate(template, place, relays)
  if ('problem' in filled) return filled
  const wrong = proxyFault(filled.uri)
  return wrong === null ? filled : { problem: `"${cleanText(filled.uri, 200)}": ${wrong}` }
}

function relayOf(place: HostPlace, relays: RelayTable): string | undefined {
  for (const key of [place.name, ...place.managementIps]) {
    const found = relays.get(key)
    if (found !== undefined) return found
  }
  const name = place.name.toLowerCase()
  for (const [key, relay] of relays) if (key.toLowerCase() === name) return relay
  return undefined
}

function syntax(text: string, wrong: string, accepted: string): VspcError {
  return new VspcError('VSPC_ENDPOINT_SYNTAX', `"${cleanText(text, 300)}": ${wrong}; ${accepted}`)
}
