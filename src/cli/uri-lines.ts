/** What has to be pasted into vCenter, or into Nova, so that VMs find a listener. Pure. */
import type { ListenerInfo } from '../app/index.ts'
import { cleanText } from '../base/index.ts'
import { formatHostPort } from '../transport/index.ts'
import { EXAMPLE_SERVICE_URI } from './point-uris.ts'

/** Nova takes any text for its serviceURI; this one is what its documentation and earlier concentrators use. */
export const NOVA_SERVICE_URI = 'vmware-vspc'

export interface UriInputs {
  readonly listeners: readonly ListenerInfo[]
  /** Those that the server accepts; none = any. */
  readonly serviceUris: readonly string[]
  /** Under which ESXi hosts reach the listeners; null: not said. */
  readonly host: string | null
  /** What it may be when it is not said, first the likeliest. */
  readonly guesses: readonly string[]
  /** Ms since 1970. */
  readonly now: number
}

/** What a listener is for a VM. */
export interface ListenerUris {
  readonly listener: ListenerInfo
  /** As the proxyURI: with the certificate pinned, and without TLS. Null where it is not to be had. */
  readonly pinned: string | null
  readonly plain: string | null
  /** Of a listener without the VMware extension: the serviceURI, direction client. */
  readonly direct: string | null
  /** What is wrong with it, or why nothing leads there. */
  readonly notes: readonly string[]
}

export interface UriReport {
  readonly serviceURI: string
  /** The serviceURI of Nova, and the proxyURI to go with it; null where there is none. */
  readonly nova: { readonly serviceURI: string; readonly proxyURI: string } | null
  readonly listeners: readonly ListenerUris[]
}

const WILDCARD = /^(?:0\.0\.0\.0|::|\*)$/
const LOOPBACK = /^(?:127\.|localhost$|::1$)/
const SOON_MS = 30 * 86_400_000

export function uriReport(inputs: UriInputs): UriReport {
  const { serviceUris } = inputs
  const [first] = serviceUris
  // The one client wants something that looks like a URL, the other has its own word.
  const forVcenter = serviceUris.find((uri) => uri.includes('://')) ?? first ?? EXAMPLE_SERVICE_URI
  const forNova = serviceUris.find((uri) => uri === NOVA_SERVICE_URI) ?? first ?? NOVA_SERVICE_URI
  const listeners = inputs.listeners.map((listener) => listenerUris(listener, inputs))
  const best = listeners.find(({ pinned }) => pinned !== null) ?? listeners.find(({ plain }) => plain !== null)
  const proxyURI = best?.pinned ?? best?.plain ?? null
  return {
    serviceURI: forVcenter,
    nova: proxyURI === null ? null : { serviceURI: forNova, proxyURI },
    listeners,
  }
}

function listenerUris(listener: ListenerInfo, inputs: UriInputs): ListenerUris {
  const { tcpPort, protocol, tls, certificate } = listener
  const none = { listener, pinned: null, plain: null, direct: null }
  if (listener.host === null || tcpPort === null) {
    return { ...none, notes: ['ESXi hosts do not connect to such an endpoint; a relay does (docs/relay.md)'] }
  }
  if (listener.forRelays) {
    return { ...none, notes: ['for relays only: point VMs at the relay (docs/relay.md)'] }
  }
  const { host, notes } = hostOf(listener, inputs)
  const where = formatHostPort(host, tcpPort)
  const isTls = tls !== 'off'
  const all = [...notes, ...certificateNotes(listener, host, inputs.now)]
  if (protocol !== 'vmware') {
    const scheme = protocol === 'telnet' ? (isTls ? 'telnets' : 'telnet') : isTls ? 'ssl' : 'tcp'
    const direct = `${scheme}://${where}`
    return { ...none, direct, notes: ['direction client, without a concentrator: no vMotion', ...all] }
  }
  return {
    listener,
    pinned: isTls && certificate !== null ? `telnets://${where}#thumbprint=${certificate.sha1}` : null,
    plain: tls === 'only' ? null : `telnet://${where}`,
    direct: null,
    notes: all,
  }
}

function hostOf(
  { host, certificate }: ListenerInfo,
  { host: said, guesses }: UriInputs,
): { host: string; notes: string[] } {
  if (said !== null) return { host: said, notes: [] }
  if (host !== null && !WILDCARD.test(host)) {
    return {
      host,
      notes: LOOPBACK.test(host) ? ['no ESXi host reaches it there: it listens on loopback only'] : [],
    }
  }
  const named = certificate?.names.find((name) => !LOOPBACK.test(name) && !name.includes('*'))
  const guess = named ?? guesses.find((one) => !LOOPBACK.test(one)) ?? guesses[0] ?? 'CONCENTRATOR'
  const source = guess === named ? 'its certificate' : 'this machine'
  return { host: guess, notes: [`${guess} is what ${source} says: --host names what ESXi hosts call it`] }
}

function certificateNotes({ tls, certificate, asksForCertificate }: ListenerInfo, host: string, now: number): string[] {
  const notes: string[] = []
  if (asksForCertificate)
    notes.push('it asks for a certificate, which an ESXi host does not show: over TLS no VM gets in')
  if (tls === 'off' || certificate === null) return notes
  const left = Date.parse(certificate.validTo) - now
  if (left < 0) notes.push(`its certificate expired on ${dayOf(certificate.validTo)}`)
  else if (left < SOON_MS)
    notes.push(`its certificate expires on ${dayOf(certificate.validTo)}; a new one has another thumbprint`)
  if (certificate.names.length > 0 && !certificate.names.some((name) => isFor(name, host))) {
    notes.push(`its certificate is not for ${host}: a pinned thumbprint does not mind, #verify would`)
  }
  return notes
}

/** A wildcard stands for one label (RFC 6125). */
function isFor(name: string, host: string): boolean {
  const [a, b] = [name.toLowerCase(), host.toLowerCase()]
  if (a === b) return true
  return a.startsWith('*.') && b.includes('.') && a.slice(1) === b.slice(b.indexOf('.'))
}

function dayOf(time: string): string {
  return time.slice(0, 10)
}

const TLS_WORDS = { off: 'plain', only: 'TLS', beside: 'plain, and TLS by its first byte' } as const

export function formatUris({ serviceURI, listeners }: UriReport): string[] {
  return listeners.flatMap(({ listener, pinned, plain, direct, notes }, index) => {
    const { uri, tls, certificate, protocol } = listener
    const rows: [string, string][] = []
    if (certificate !== null) {
      const { subject, validTo, sha1, sha256 } = certificate
      rows.push(['certificate', `${subject}, until ${dayOf(validTo)}`], ['SHA-1', sha1], ['SHA-256', sha256])
    }
    if (protocol === 'vmware' && (pinned ?? plain) !== null) rows.push(['service URI', serviceURI])
    if (pinned !== null) rows.push(['proxy URI', pinned])
    if (plain !== null) rows.push([pinned === null ? 'proxy URI' : 'or, plain', plain])
    if (direct !== null) rows.push(['service URI', direct])
    for (const note of notes) rows.push(['note', note])
    return [
      ...(index === 0 ? [] : ['']),
      cleanText(`${uri} (${TLS_WORDS[tls]})`, 500),
      ...rows.map(([name, value]) => `  ${name.padEnd(11)}  ${cleanText(value, 2_000)}`),
    ]
  })
}

/** As it stands in nova.conf. */
export function formatNova({ serviceURI, proxyURI }: NonNullable<UriReport['nova']>): string[] {
  return [
    '[vmware]',
    `serial_port_service_uri = ${cleanText(serviceURI, 2_000)}`,
    `serial_port_proxy_uri = ${cleanText(proxyURI, 2_000)}`,
  ]
}
