/** What is told of a VM listener: where it is, and what it shows of itself. Nothing of it is secret. */
import { cleanText } from '../base/index.ts'
import { type CertificateFacts, type Endpoint, formatEndpoint, layersOf, type Scheme } from '../transport/index.ts'

export interface CertificateInfo {
  /** Common name, or the whole subject. */
  subject: string
  issuer: string
  selfSigned: boolean
  names: string[]
  /** ISO 8601. */
  validFrom: string
  validTo: string
  /** Hex pairs with colons between. */
  sha1: string
  sha256: string
}

export interface ListenerInfo {
  /** Without parameters: those may name files. */
  uri: string
  scheme: Scheme
  /** Null unless hosts reach it over TCP. IPv6 without brackets. */
  host: string | null
  tcpPort: number | null
  protocol: 'vmware' | 'telnet' | 'raw'
  /** `beside`: plain and TLS, told apart by the first byte. */
  tls: 'off' | 'only' | 'beside'
  /** It takes streams from relays, not from hosts: they begin with a PROXY header, or can be resumed. */
  forRelays: boolean
  /** It asks peers for a certificate, which ESXi hosts have none to show of. */
  asksForCertificate: boolean
  certificate: CertificateInfo | null
}

/** @param certificate null without TLS, or where it cannot be read. */
export function listenerInfo(endpoint: Endpoint, certificate: CertificateFacts | null): ListenerInfo {
  const { scheme } = endpoint
  const isTcp = scheme === 'tcp' || scheme === 'tls'
  const tls = 'tls' in endpoint ? endpoint.tls : null
  const layers = layersOf(endpoint)
  return {
    uri: formatEndpoint(endpoint).split('?')[0] ?? '',
    scheme,
    host: isTcp ? endpoint.host : null,
    tcpPort: isTcp ? endpoint.tcpPort : null,
    protocol: endpoint.vm?.protocol ?? 'raw',
    tls: tls === null ? 'off' : scheme === 'tls' ? 'only' : 'beside',
    forRelays: layers.proxy !== 'off' || layers.resume !== 'off',
    asksForCertificate: tls !== null && (tls.ca !== null || tls.pin !== null),
    certificate: certificate === null ? null : certificateInfo(certificate),
  }
}

export function certificateInfo({ subject, issuer, selfSigned, names, ...rest }: CertificateFacts): CertificateInfo {
  const { validFrom, validTo, sha1, sha256 } = rest
  return {
    subject: cleanText(subject),
    issuer: cleanText(issuer),
    selfSigned,
    names: names.slice(0, 100).map((name) => cleanText(name)),
    validFrom: isoTime(validFrom),
    validTo: isoTime(validTo),
    sha1,
    sha256,
  }
}

/** A certificate may say any time. */
function isoTime(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}
