/** What TLS endpoints read from PEM files: certificate, key and CA, checked before they are used. */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext, type SecureContextOptions, type SecureVersion } from 'node:tls'
import { errorMessage, VspcError } from '../base/index.ts'
import type { TlsParameters, TlsVersion } from './endpoint.ts'
import type { ClientPolicy } from './tls-peer.ts'

const VERSIONS: Record<TlsVersion, SecureVersion> = {
  '1.0': 'TLSv1',
  '1.1': 'TLSv1.1',
  '1.2': 'TLSv1.2',
  '1.3': 'TLSv1.3',
}

export interface ServerTlsContext {
  readonly context: SecureContext
  /** What it is made of, for servers that make their own. */
  readonly options: SecureContextOptions
  /** What peers are shown. */
  readonly certificate: X509Certificate
  /** Null: peers need no certificate. */
  readonly clients: ClientPolicy | null
  /** What peers will object to, such as an expired certificate: worth a log line, no reason not to start. */
  readonly warnings: readonly string[]
}

/**
 * Reads certificate and key of a listener, and the CA of its peers.
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
  const warnings = validityWarnings(certificate, tls.cert, wallMs)
  const clients = tls.ca === null && tls.pin === null ? null : { ca: tls.ca, pin: tls.pin }
  const all: SecureContextOptions = { ...options, ...versionOptions(tls.tlsMin) }
  if (clients !== null) {
    // A resumed session would live on what was found in an earlier handshake, and TLS 1.2 could change the certificate
    // in the middle: every peer shows its own once, at the beginning.
    all.secureOptions = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION
    all.sessionIdContext = 'vspc'
  }
  if (tls.ca !== null) {
    const ca = await loadCa(tls.ca)
    all.ca = ca.pem
    warnings.push(...validityWarnings(ca.certificate, tls.ca, wallMs))
  }
  return { context: createContext(all, tls.cert), options: all, certificate, clients, warnings }
}

/** @throws VspcError VSPC_TLS_FILES. */
export async function loadClientTls(tls: TlsParameters): Promise<SecureContext> {
  const options: SecureContextOptions = versionOptions(tls.tlsMin)
  if (tls.ca !== null) {
    options.ca = (await loadCa(tls.ca)).pem
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

async function loadCa(file: string): Promise<{ pem: string; certificate: X509Certificate }> {
  const pem = await readPem(file, 'CA file')
  return { pem, certificate: parseCertificate(pem, file) }
}

/** @param what it is, for the error. @throws VspcError VSPC_TLS_FILES. */
export async function readPem(file: string, what: string): Promise<string> {
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

/** The first one. @throws VspcError VSPC_TLS_FILES. */
export function parseCertificate(pem: string, file: string): X509Certificate {
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
