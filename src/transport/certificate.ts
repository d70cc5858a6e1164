/** What a listener shows of itself in TLS, as those who have to trust it see it. */
import type { X509Certificate } from 'node:crypto'
import { parseCertificate, readPem } from './tls-files.ts'

/** Of one certificate; texts as OpenSSL gives them, not cleaned. */
export interface CertificateFacts {
  /** Common name, or the whole subject on one line where there is none. */
  readonly subject: string
  readonly issuer: string
  /** By its own key: nobody has signed it but itself. */
  readonly selfSigned: boolean
  /** DNS names and addresses that it is for. */
  readonly names: readonly string[]
  /** Ms since 1970. */
  readonly validFrom: number
  readonly validTo: number
  /** Of the DER form: hex pairs with colons between, as `#thumbprint=` of a proxyURI takes SHA-1. */
  readonly sha1: string
  readonly sha256: string
}

export function certificateFacts(certificate: X509Certificate): CertificateFacts {
  const { subject, issuer, validFrom, validTo, fingerprint, fingerprint256 } = certificate
  return {
    subject: commonName(subject),
    issuer: commonName(issuer),
    selfSigned: subject === issuer && certificate.verify(certificate.publicKey),
    names: alternativeNames(certificate.subjectAltName ?? ''),
    validFrom: Date.parse(validFrom),
    validTo: Date.parse(validTo),
    sha1: fingerprint,
    sha256: fingerprint256,
  }
}

/** The first certificate of a PEM file. @throws VspcError VSPC_TLS_FILES. */
export async function readCertificate(file: string): Promise<CertificateFacts> {
  return certificateFacts(parseCertificate(await readPem(file, 'certificate'), file))
}

/** An attribute a line: `CN=vspc.example.com`. */
function commonName(name: string): string {
  return /^CN=(.*)$/m.exec(name)?.[1] ?? name.replaceAll('\n', ', ')
}

/** From `DNS:localhost, IP Address:127.0.0.1`; what is quoted there has characters that no name has. */
function alternativeNames(text: string): string[] {
  return [...text.matchAll(/(?:^|, )(?:DNS|IP Address):([^,"]+)/g)].map(([, name = '']) => name)
}
