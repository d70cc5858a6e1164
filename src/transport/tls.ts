/** TLS: material from PEM files, the server's upgrade of an accepted stream, and the client's of a dialled one. */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Duplex } from 'node:stream'
import {
  connect,
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type SecureVersion,
  TLSSocket,
} from 'node:tls'
import { type Clock, errorMessage, VspcError } from '../base/index.ts'
import { type ByteStream, ignoreError } from './byte-stream.ts'
import { formatEndpoint, type TlsEndpoint, type TlsParameters, type TlsVersion } from './endpoint.ts'
import { overTls } from './peer.ts'

const VERSIONS: Record<TlsVersion, SecureVersion> = {
  '1.0': 'TLSv1',
  '1.1': 'TLSv1.1',
  '1.2': 'TLSv1.2',
  '1.3': 'TLSv1.3',
}

export interface ServerTlsContext {
  readonly context: SecureContext
  /** What peers will object to, such as an expired certificate: worth a log line, no reason not to start. */
  readonly warnings: readonly string[]
}

/**
 * Reads certificate and key of a listener.
 * @throws VspcError VSPC_TLS_FILES naming the file and what is wrong with it.
 */
export async function loadServerTls(tls: TlsParameters, wallMs: number): Promise<ServerTlsContext> {
  if (tls.cert === null || tls.key === null) {
    throw new VspcError(
      'VSPC_TLS_FILES',
      'a TLS listener needs a certificate and its key; give cert= and key= (PEM files)',
    )
  }
  const { options, certificate } = await loadKeyPair(tls.cert, tls.key)
  return {
    context: createContext({ ...options, ...versionOptions(tls.tlsMin) }, tls.cert),
    warnings: validityWarnings(certificate, tls.cert, wallMs),
  }
}

async function loadClientTls(tls: TlsParameters): Promise<SecureContext> {
  const options: SecureContextOptions = versionOptions(tls.tlsMin)
  if (tls.ca !== null) {
    const ca = await readPem(tls.ca, 'CA file')
    parseCertificate(ca, tls.ca)
    options.ca = ca
  }
  if (tls.cert !== null && tls.key !== null) Object.assign(options, (await loadKeyPair(tls.cert, tls.key)).options)
  return createContext(options, tls.ca ?? tls.cert ?? 'no file')
}

/** OpenSSL 3 does TLS 1.0 and 1.1 only at security level 0. Old ESXi hosts know nothing newer. */
function versionOptions(tlsMin: TlsVersion): SecureContextOptions {
  const minVersion = VERSIONS[tlsMin]
  return tlsMin === '1.0' || tlsMin === '1.1' ? { minVersion, ciphers: 'DEFAULT@SECLEVEL=0' } : { minVersion }
}

function createContext(options: SecureContextOptions, file: string): SecureContext {
  try {
    return createSecureContext(options)
  } catch (error) {
    throw new VspcError('VSPC_TLS_FILES', `${file} cannot be used for TLS: ${errorMessage(error)}`, { cause: error })
  }
}

async function loadKeyPair(certFile: string, keyFile: string) {
  const [cert, key] = await Promise.all([readPem(certFile, 'certificate'), readPem(keyFile, 'key')])
  const certificate = parseCertificate(cert, certFile)
  if (!certificate.checkPrivateKey(parseKey(key, keyFile))) {
    throw new VspcError(
      'VSPC_TLS_FILES',
      `the key ${keyFile} does not belong to the certificate ${certFile}; the certificate must be the first of its file`,
    )
  }
  return { options: { cert, key } satisfies SecureContextOptions, certificate }
}

async function readPem(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EACCES'
          ? 'this user may not read it'
          : code === 'EISDIR'
            ? 'it is a directory'
            : errorMessage(error)
    throw new VspcError('VSPC_TLS_FILES', `cannot read the ${what} ${file}: ${why}`, { cause: error })
  }
}

function parseCertificate(pem: string, file: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    const hint = pem.includes('PRIVATE KEY-----')
      ? 'it holds a private key; are cert= and key= swapped?'
      : 'it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)'
    throw new VspcError('VSPC_TLS_FILES', `cannot use ${file}: ${hint}`, { cause: error })
  }
}

function parseKey(pem: string, file: string) {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    const hint = pem.includes('ENCRYPTED')
      ? 'the key is protected by a passphrase; store it without one, readable by this user only'
      : pem.includes('CERTIFICATE-----') && !pem.includes('PRIVATE KEY-----')
        ? 'it holds a certificate; are cert= and key= swapped?'
        : 'it holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)'
    throw new VspcError('VSPC_TLS_FILES', `cannot use ${file}: ${hint}`, { cause: error })
  }
}

function validityWarnings(certificate: X509Certificate, file: string, wallMs: number): string[] {
  if (Date.parse(certificate.validTo) < wallMs) return [`the certificate ${file} expired on ${certificate.validTo}`]
  if (Date.parse(certificate.validFrom) > wallMs)
    return [`the certificate ${file} is valid only from ${certificate.validFrom}`]
  return []
}

export interface TlsUpgradeOptions {
  readonly context: SecureContext
  /** Bytes the caller has read past the switch to TLS; they come first. The buffer passes to the socket. */
  readonly head?: Uint8Array
  readonly handshakeMs: number
  readonly clock: Clock
}

/**
 * Speaks TLS as the server on a stream that was plain so far. The caller has taken its data listener off, and uses only
 * the stream returned; on failure the old one is destroyed.
 * @throws VspcError VSPC_TLS_HANDSHAKE with the reason.
 */
export function upgradeServer(stream: ByteStream, options: TlsUpgradeOptions): Promise<ByteStream> {
  const raw = stream.socket
  raw.on('error', ignoreError)
  raw.pause()
  if (options.head !== undefined && options.head.length > 0) raw.unshift(options.head)
  const socket = new TLSSocket(raw as TlsCarrier, { isServer: true, secureContext: options.context })
  return handshake(socket, {
    doneEvent: 'secure',
    subject: '',
    handshakeMs: options.handshakeMs,
    clock: options.clock,
    finish: () => ({ socket, peer: overTls(stream.peer) }),
  })
}

/** Node's constructor takes any Duplex (its documentation says so), its type only net.Socket. */
type TlsCarrier = ConstructorParameters<typeof TLSSocket>[0]

/**
 * Speaks TLS as the client on a fresh connection to `endpoint`, and checks the peer's certificate before anything is
 * handed over: against the pin if there is one (then it alone decides), otherwise against CA and name.
 * @throws VspcError VSPC_TLS_FILES, VSPC_TLS_HANDSHAKE or VSPC_TLS_PIN_MISMATCH; the stream is destroyed.
 */
export async function upgradeClient(
  stream: ByteStream,
  endpoint: TlsEndpoint,
  options: { handshakeMs: number; clock: Clock; signal?: AbortSignal },
): Promise<ByteStream> {
  const raw = stream.socket
  raw.on('error', ignoreError)
  let secureContext: SecureContext
  try {
    secureContext = await loadClientTls(endpoint.tls)
    options.signal?.throwIfAborted()
  } catch (error) {
    raw.destroy()
    throw error
  }
  const { tls, host } = endpoint
  const name = tls.servername ?? host
  const isAddress = host.includes(':') || /^[0-9.]+$/.test(host)
  const socket = connect({
    socket: raw,
    secureContext,
    // Names the certificate is checked for; an address may not be sent as SNI (RFC 6066 section 3).
    host: name,
    ...(tls.servername !== null || !isAddress ? { servername: name } : {}),
    // Judged by hand below, because a pin overrules the CA.
    rejectUnauthorized: false,
  })
  const verify = (): ByteStream => {
    checkCertificate(socket, endpoint, name)
    return { socket, peer: overTls(stream.peer) }
  }
  return handshake(socket, {
    doneEvent: 'secureConnect',
    subject: `cannot reach ${formatEndpoint(endpoint)}: `,
    handshakeMs: options.handshakeMs,
    clock: options.clock,
    finish: verify,
    ...(options.signal ? { signal: options.signal } : {}),
  })
}

function checkCertificate(socket: TLSSocket, endpoint: TlsEndpoint, name: string): void {
  const der = socket.getPeerX509Certificate()?.raw
  const fingerprint = der === undefined ? 'none' : createHash('sha256').update(der).digest('hex')
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
  const reason = String(socket.authorizationError)
  const advice =
    reason === 'ERR_TLS_CERT_ALTNAME_INVALID'
      ? `it was not issued for ${name}; give the name it was issued for as servername=`
      : `it is not trusted (${reason}); ${ca === null ? 'give its CA as ca=FILE' : `it does not come from ${ca}`}`
  throw new VspcError(
    'VSPC_TLS_HANDSHAKE',
    `${uri}: the peer's certificate is refused: ${advice}, or, if it is the right one, pin=sha256:${fingerprint}`,
  )
}

interface Handshake {
  readonly doneEvent: 'secure' | 'secureConnect'
  /** Begins the messages of errors. */
  readonly subject: string
  readonly handshakeMs: number
  readonly clock: Clock
  /** Judges the peer; what it throws fails the handshake. */
  readonly finish: () => ByteStream
  readonly signal?: AbortSignal
}

/** Waits for the end of a handshake. Whatever fails destroys the socket, which takes the raw one along. */
function handshake(socket: TLSSocket, plan: Handshake): Promise<ByteStream> {
  const { doneEvent, subject, handshakeMs, clock, finish, signal } = plan
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      timer.cancel()
      socket.off(doneEvent, onDone)
      socket.off('error', onError)
      socket.off('_tlsError', onError)
      socket.off('end', onClose)
      socket.off('close', onClose)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.on('error', ignoreError)
      socket.destroy()
      reject(error)
    }
    const onDone = (): void => {
      settle()
      socket.on('error', destroyOnTlsError)
      socket.on('_tlsError', destroyOnTlsError)
      try {
        resolve(finish())
      } catch (error) {
        fail(error)
      }
    }
    const onError = (error: Error): void => fail(handshakeError(subject, error))
    const onClose = (): void => fail(handshakeError(subject, null))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(handshakeMs, () =>
      fail(new VspcError('VSPC_TLS_HANDSHAKE', `${subject}TLS handshake not finished within ${handshakeMs} ms`)),
    )
    socket.on(doneEvent, onDone)
    socket.on('error', onError)
    // Node emits errors of a handshake under this name first, and on a server-side socket under no other.
    socket.on('_tlsError', onError)
    // Half-open sockets do not close by themselves when the peer leaves in the middle.
    socket.on('end', onClose)
    socket.on('close', onClose)
    signal?.addEventListener('abort', onAbort)
  })
}

/**
 * After the handshake a broken record shows as `_tlsError` (server side) or as an `error` that closes nothing (client
 * side): the owner would wait for a `close` that never comes. So the socket is destroyed here.
 */
function destroyOnTlsError(this: Duplex, error: Error): void {
  this.destroy(error)
}

const HANDSHAKE_REASONS: [pattern: RegExp, reason: string][] = [
  [
    /WRONG_VERSION_NUMBER|HTTP_REQUEST|UNKNOWN_PROTOCOL|PACKET_LENGTH|BAD_RECORD_TYPE/,
    'the peer does not speak TLS here',
  ],
  [
    /UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|VERSION_TOO_LOW|NO_PROTOCOLS_AVAILABLE|INSUFFICIENT_SECURITY/,
    'no common TLS version; old hosts need a lower tlsMin=',
  ],
  [/NO_SHARED_CIPHER|HANDSHAKE_FAILURE/, 'no common cipher or version; old hosts need a lower tlsMin='],
  [/ALERT_UNKNOWN_CA|CERTIFICATE_UNKNOWN|BAD_CERTIFICATE|CERTIFICATE_EXPIRED/, 'the peer refuses our certificate'],
  [/CERTIFICATE_REQUIRED/, 'the peer wants a certificate from us; give cert= and key='],
  [/ECONNRESET|EPIPE/, 'the peer closed the connection'],
]

function handshakeError(subject: string, error: Error | null): VspcError {
  if (error === null) {
    return new VspcError('VSPC_TLS_HANDSHAKE', `${subject}TLS handshake failed: the peer closed the connection`)
  }
  const code = String((error as NodeJS.ErrnoException).code ?? '')
  const searched = `${code} ${error.message}`.toUpperCase().replaceAll(' ', '_')
  const known = HANDSHAKE_REASONS.find(([pattern]) => pattern.test(searched))?.[1]
  const detail = code || error.message
  return new VspcError(
    'VSPC_TLS_HANDSHAKE',
    `${subject}TLS handshake failed: ${known ? `${known} (${detail})` : detail}`,
    {
      cause: error,
    },
  )
}
