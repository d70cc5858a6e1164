/** Is the certificate that a peer shows the one that it has to show? Both for listeners and for dialled endpoints. */
import { createHash, type X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { cleanText, VspcError } from '../base/index.ts'
import { formatEndpoint, type TlsEndpoint } from './endpoint.ts'

/** What a listener asks of its peers: with a pin that alone decides, else the chain must come from the CA. */
export interface ClientPolicy {
  /** The file, for messages: its certificates are in the context. */
  readonly ca: string | null
  /** SHA-256 of the DER certificate: 64 lower-case hex digits. */
  readonly pin: string | null
}

const MAX_SUBJECT_LENGTH = 200

/**
 * Judges a peer of ours that is a TLS client, after its handshake: OpenSSL has seen to it that the certificate is its
 * own, Node leaves the rest to us.
 * @throws VspcError VSPC_TLS_PEER_REFUSED.
 */
export function checkClient(socket: TLSSocket, { ca, pin }: ClientPolicy): void {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) throw noClientCertificate()
  if (pin !== null) {
    const shown = fingerprintOf(certificate)
    if (shown === pin) return
    throw refused(`it shows sha256:${shown} (${subjectOf(certificate)}), which is not the pinned one`)
  }
  const code = verifyError(socket)
  if (code === null) return
  const fault =
    faultOf(code, certificate) ?? `it does not come from ${ca ?? 'the CA of this listener'} (${cleanText(code, 64)})`
  throw refused(`${fault}; it is sha256:${fingerprintOf(certificate)} (${subjectOf(certificate)})`)
}

export function noClientCertificate(cause?: unknown): VspcError {
  return new VspcError(
    'VSPC_TLS_PEER_REFUSED',
    'the peer shows no certificate, and this listener wants one; give the peer cert= and key=',
    { cause },
  )
}

function refused(why: string): VspcError {
  return new VspcError('VSPC_TLS_PEER_REFUSED', `the peer's certificate is refused: ${why}`)
}

/**
 * What OpenSSL found wrong with the peer's chain; null = nothing. Node tells only sockets of its own `tls.Server`, as
 * `authorized`; what it asks for that is asked here. Should it be gone one day, nobody is let in.
 */
function verifyError(socket: TLSSocket): string | null {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle !== 'object' || handle === null || !('verifyError' in handle)) return 'not verified'
  const verify = (handle as { verifyError: unknown }).verifyError
  if (typeof verify !== 'function') return 'not verified'
  const error: unknown = verify.call(handle)
  // Undefined when nothing was verified.
  if (error === null) return null
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : 'not verified'
}

/**
 * Judges the server that we dialled: against the pin if there is one (then it alone decides), otherwise against CA and
 * name.
 * @param name what the certificate must have been issued for.
 * @throws VspcError VSPC_TLS_HANDSHAKE or VSPC_TLS_PIN_MISMATCH.
 */
export function checkServer(socket: TLSSocket, endpoint: TlsEndpoint, name: string): void {
  const certificate = socket.getPeerX509Certificate()
  const fingerprint = certificate === undefined ? 'none' : fingerprintOf(certificate)
  const { pin, ca } = endpoint.tls
  const uri = formatEndpoint(endpoint)
  if (pin !== null) {
    if (fingerprint === pin) return
    throw new VspcError(
      'VSPC_TLS_PIN_MISMATCH',
      `${uri}: the peer shows certificate sha256:${fingerprint}, which is not the pinned one; ` +
        'if the certificate was renewed change pin=, otherwise somebody stands in between',
    )
  }
  if (socket.authorized) return
  const code = String(socket.authorizationError)
  const advice =
    code === 'ERR_TLS_CERT_ALTNAME_INVALID'
      ? `it was not issued for ${name}; give the name it was issued for as servername=`
      : (certificate && faultOf(code, certificate)) ||
        `it is not trusted (${code}); ${ca === null ? 'give its CA as ca=FILE' : `it does not come from ${ca}`}`
  throw new VspcError(
    'VSPC_TLS_HANDSHAKE',
    `${uri}: the peer's certificate is refused: ${advice}, or, if it is the right one, pin=sha256:${fingerprint}`,
  )
}

/** What is wrong with the certificate itself; null = it is where it comes from. */
function faultOf(code: string, certificate: X509Certificate): string | null {
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return Date.parse(certificate.validTo) < Date.now()
        ? `it expired on ${certificate.validTo}`
        : 'a certificate of its chain has expired'
    case 'CERT_NOT_YET_VALID':
      return Date.parse(certificate.validFrom) > Date.now()
        ? `it is valid only from ${certificate.validFrom}; is the time of day right here?`
        : 'a certificate of its chain is not valid yet; is the time of day right here?'
    case 'INVALID_PURPOSE':
      return 'it was not issued for this use (extended key usage)'
    default:
      return null
  }
}

function fingerprintOf(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex')
}

/** One line; whoever made the certificate chose the words. */
function subjectOf(certificate: X509Certificate): string {
  return cleanText(certificate.subject?.replaceAll('\n', ', ') ?? '', MAX_SUBJECT_LENGTH) || 'no subject'
}
