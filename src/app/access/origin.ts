/** Where a request comes from, and what its connection shows. */
import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP, type Server, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { CertificateFacts } from '../../access/index.ts'
import { cleanText } from '../../base/index.ts'
import type { PeerInfo, TrustedSources } from '../../transport/index.ts'
import { authorityOf } from './https.ts'

export interface Origin {
  /** Of the other end; what a trusted proxy says of it. */
  readonly address: string
  /** `10.0.0.7:51342`, as far as known. */
  readonly display: string
  readonly fromTrustedProxy: boolean
  /** That proxy itself. */
  readonly proxy?: PeerInfo
  /** Verified; null: none was shown, or asked for. */
  readonly certificate: ShownCertificate | null
  /** One was shown that does not count: why, in words of ours or of OpenSSL's. */
  readonly certificateFault: string | null
}

export interface ShownCertificate extends CertificateFacts {
  /** Milliseconds since 1970. */
  readonly until: number
  /** What the CA was that it was verified by, as {@link AccessControl.useAuthority} has it. */
  readonly authority?: string | undefined
}

/** A certificate is read once for all requests of its connection. */
type Shown = Pick<Origin, 'certificate' | 'certificateFault'>
const shownBy = new WeakMap<Socket, Shown>()

/** @param proxies null: nobody's word is believed. */
export function originOf({ socket, headers }: IncomingMessage, proxies: TrustedSources | null): Origin {
  const { address, display } = addressOf(socket)
  const fromTrustedProxy = isTrusted(proxies, address, socket)
  const forwarded = fromTrustedProxy ? forwardedFor(headers['x-forwarded-for'], proxies, socket) : null
  return {
    address: forwarded ?? address,
    display: forwarded ?? display,
    fromTrustedProxy,
    ...(fromTrustedProxy ? { proxy: peerOf(address) } : {}),
    ...certificateOf(socket),
  }
}

function addressOf(socket: Socket): { address: string; display: string } {
  const { remoteAddress, remotePort } = socket
  if (remoteAddress === undefined) {
    const nobody = isUnix(socket) ? 'unix' : 'gone'
    return { address: nobody, display: nobody }
  }
  const plain = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(remoteAddress)?.[1] ?? remoteAddress
  return { address: plain, display: plain.includes(':') ? `[${plain}]:${remotePort}` : `${plain}:${remotePort}` }
}

function isTrusted(proxies: TrustedSources | null, address: string, socket: Socket): boolean {
  if (proxies === null) return false
  const isIp = isIP(address) !== 0
  if (!isIp && !isUnix(socket)) return false
  return proxies.trusts(peerOf(address), false)
}

function peerOf(address: string): PeerInfo {
  return { address, display: address, transport: isIP(address) !== 0 ? 'tcp' : 'unix' }
}

/**
 * By what it was accepted on. That the peer has no address says nothing: nor has one that sent a request and was gone
 * (RST) before anybody asked, and what it sent is heard all the same.
 */
function isUnix(socket: Socket): boolean {
  const { server } = socket as Socket & { readonly server?: Server | null }
  return typeof server?.address() === 'string'
}

/** Each proxy adds whom it was called by at the end: the last one that is no proxy of ours counts. */
function forwardedFor(
  header: string | readonly string[] | undefined,
  proxies: TrustedSources | null,
  socket: Socket,
): string | null {
  if (header === undefined) return null
  const entries = (typeof header === 'string' ? header : header.join(',')).split(',').map((one) => one.trim())
  for (const entry of entries.reverse()) {
    const plain = entry.replace(/^\[([^\]]*)\](?::\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1')
    // From here on anybody may have written it.
    if (isIP(plain) === 0) return null
    if (!isTrusted(proxies, plain, socket)) return plain
  }
  return null
}

function certificateOf(socket: Socket): Shown {
  if (!(socket instanceof TLSSocket)) return { certificate: null, certificateFault: null }
  const known = shownBy.get(socket)
  if (known !== undefined) return known
  const shown = readCertificate(socket)
  shownBy.set(socket, shown)
  return shown
}

function readCertificate(socket: TLSSocket): Shown {
  const shown = socket.getPeerX509Certificate() as X509Certificate | undefined
  if (shown === undefined) return { certificate: null, certificateFault: null }
  if (!socket.authorized) {
    const why = socket.authorizationError as Error | string | undefined
    const text = typeof why === 'string' ? why : (why?.message ?? 'it is not trusted')
    return { certificate: null, certificateFault: cleanText(text, 100) }
  }
  const { subject, subjectAltName, validTo } = shown
  return {
    certificate: {
      subject,
      subjectAltName: subjectAltName ?? null,
      until: Date.parse(validTo),
      authority: authorityOf(socket),
    },
    certificateFault: null,
  }
}
