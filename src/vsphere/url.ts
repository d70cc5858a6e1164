/** The address of a vSphere API. Pure. */
import { VspcError } from '../base/index.ts'
import { formatHostPort } from '../transport/index.ts'

export interface VsphereUrl {
  /** Name or address, lower case; IPv6 without brackets. */
  readonly host: string
  readonly tcpPort: number
  /** `/sdk`. */
  readonly path: string
}

const MAX_URL_LENGTH = 2_000

/**
 * `https://HOST[:PORT][/PATH]`; without a path it is that of the SOAP API. Only https: passwords go over it.
 * @throws VspcError VSPC_VSPHERE_URL; it does not quote what looks like a password.
 */
export function parseVsphereUrl(text: string): VsphereUrl {
  let url: URL
  try {
    url = new URL(text.length > MAX_URL_LENGTH ? '' : text)
  } catch (error) {
    throw refused('it is no URL', error)
  }
  if (url.username !== '' || url.password !== '') throw refused('user and password do not belong into it')
  if (url.protocol !== 'https:') throw refused(`it begins with ${url.protocol}//`)
  if (url.hostname === '') throw refused('it names no host')
  if (url.search !== '' || url.hash !== '') throw refused('nothing belongs behind the path')
  const path = url.pathname === '/' ? '/sdk' : url.pathname
  return { host: url.hostname.replace(/^\[|\]$/g, ''), tcpPort: url.port === '' ? 443 : Number(url.port), path }
}

export function formatVsphereUrl({ host, tcpPort, path }: VsphereUrl): string {
  return `https://${tcpPort === 443 ? formatHostPort(host, 443).slice(0, -4) : formatHostPort(host, tcpPort)}${path}`
}

function refused(why: string, cause?: unknown): VspcError {
  return new VspcError('VSPC_VSPHERE_URL', `cannot use the URL of the vSphere API: ${why}; write https://HOST/sdk`, {
    // The URL parser's error quotes the text.
    cause: cause instanceof Error ? cause.name : cause,
  })
}
