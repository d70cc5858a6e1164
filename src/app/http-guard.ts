/**
 * What a request must not be: one that a web page of somebody else makes through the browser of whoever sits there. On
 * loopback without access control anything would be obeyed; and with it a browser may show a certificate, or its login at
 * a proxy, without being asked.
 *
 * Three ways in are closed. A page may open a WebSocket to any address: so an Origin has to be our own. It may load images
 * and frames from any address: browsers say in `Sec-Fetch-Site` when they do (W3C Fetch Metadata). A name of the
 * attacker's may point to our address, which makes his page and us one origin (DNS rebinding): so a Host has to be a name
 * that is ours, or an address, which no name can be made to look like.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { cleanText, VspcError } from '../base/index.ts'
import { ProblemError } from './problem.ts'

const LOOPBACK =
  /^(?:localhost|.+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])$/
const MAX_NAME = 253

/** Under which names this server may be asked for, beside those of loopback. */
export class PublicNames {
  /** As in an Origin: `vspc.example.com`, `vspc.example.com:8443`. */
  readonly #origins: ReadonlySet<string>
  readonly #hosts: ReadonlySet<string>
  /** Names of certificates that stand for many: `.example.com` of `*.example.com`. */
  readonly #endings: readonly string[]
  readonly #anyAddress: boolean

  /**
   * @param configured checked by {@link parsePublicName}. @param certified DNS names of our certificate.
   * @param anyAddress other machines reach us: then our own addresses are many.
   */
  constructor(configured: readonly string[] = [], certified: readonly string[] = [], anyAddress = false) {
    const lower = certified.map((name) => name.toLowerCase())
    this.#origins = new Set(configured)
    this.#hosts = new Set([...configured.map((name) => parse(`http://${name}`)?.hostname ?? ''), ...lower])
    this.#endings = lower.filter((name) => name.startsWith('*.')).map((name) => name.slice(1))
    this.#anyAddress = anyAddress
  }

  /** @param hostname as `URL.hostname` has it. */
  hasHost(hostname: string): boolean {
    if (LOOPBACK.test(hostname) || this.#hosts.has(hostname)) return true
    if (this.#anyAddress && isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) return true
    const dot = hostname.indexOf('.')
    return dot > 0 && this.#endings.includes(hostname.slice(dot))
  }

  /** Behind a proxy that does not pass on the Host that the browser has asked for. */
  hasOrigin(origin: string): boolean {
    const url = parse(origin)
    return url !== null && /^https?:$/.test(url.protocol) && this.#origins.has(url.host)
  }
}

/** @throws VspcError VSPC_CONFIG_INVALID. */
export function parsePublicName(text: string): string {
  const url = /[/?#@\\\s*]/.test(text) || text.length > MAX_NAME ? null : parse(`http://${text}`)
  if (url !== null && url.hostname !== '' && url.pathname === '/') return url.host
  throw new VspcError(
    'VSPC_CONFIG_INVALID',
    `"${cleanText(text, 100)}" is no name of this server; accepted is a name as it stands in the browser's address, ` +
      'without https:// and path, such as vspc.example.com or vspc.example.com:8443',
  )
}

/**
 * @param upgrade the request asks for a WebSocket.
 * @throws ProblemError 421 for a Host that is not ours, 403 for an Origin that is not.
 */
export function guardRequest(
  method: string,
  headers: IncomingHttpHeaders,
  upgrade: boolean,
  names: PublicNames = new PublicNames(),
): void {
  const { host, origin } = headers
  if (host !== undefined && !isOurHost(host, names)) {
    throw new ProblemError(
      421,
      'VSPC_NOT_ALLOWED',
      `the Host header "${cleanText(host, 100)}" is no name of this server: it answers only as localhost, 127.0.0.1 or ` +
        '[::1], and under the names of its certificate and of --http-name (setting httpNames)',
    )
  }
  // An image, a frame, a script: its answer stays hidden from that page, but a search for it would cost us all the same.
  const { 'sec-fetch-site': site, 'sec-fetch-dest': destination } = headers
  if (site === 'cross-site' && destination !== 'document') throw foreignPage('another site', host)
  if (origin === undefined || (!upgrade && (method === 'GET' || method === 'HEAD'))) return
  if (sameOrigin(origin, host) || names.hasOrigin(origin)) return
  throw foreignPage(`"${cleanText(origin, 100)}"`, host)
}

function foreignPage(whose: string, host: string | undefined): ProblemError {
  return new ProblemError(
    403,
    'VSPC_NOT_ALLOWED',
    `pages of ${whose} may not use this server (its own address is "${cleanText(host ?? '', 100)}"; ` +
      'further ones are given as --http-name); programs send no Origin header',
  )
}

function isOurHost(host: string, names: PublicNames): boolean {
  const url = parse(`http://${host}`)
  // What is more than host and port is no Host header.
  return (
    url !== null && url.pathname === '/' && url.username === '' && !/[/?#@\\]/.test(host) && names.hasHost(url.hostname)
  )
}

function sameOrigin(origin: string, host: string | undefined): boolean {
  const ours = parse(origin)
  if (ours === null || host === undefined || !/^https?:$/.test(ours.protocol)) return false
  // The scheme is the origin's own: a proxy may have taken TLS off. A default port may be left out on either side.
  return ours.host === parse(`${ours.protocol}//${host}`)?.host
}

function parse(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

/** On every answer. Pages say more (see page.ts). */
export const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const
