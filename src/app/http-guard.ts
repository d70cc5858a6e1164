/**
 * What a request must not be: one that a web page of somebody else makes through the browser of whoever sits at this
 * machine. There is no authentication, so anything that reaches the loopback address would be obeyed.
 *
 * Two ways in are closed. A page may open a WebSocket to any address: so an Origin has to be our own. A name of the
 * attacker's may point to 127.0.0.1, which makes his page and us one origin (DNS rebinding): so a Host has to be a name
 * or address that always means this machine.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { cleanText } from '../base/index.ts'
import { ProblemError } from './problem.ts'

const LOOPBACK =
  /^(?:localhost|.+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])$/

/**
 * @param upgrade the request asks for a WebSocket.
 * @throws ProblemError 421 for a Host that is not ours, 403 for an Origin that is not.
 */
export function guardRequest(method: string, headers: IncomingHttpHeaders, upgrade: boolean): void {
  const { host, origin } = headers
  if (host !== undefined && !isLoopbackHost(host)) {
    throw new ProblemError(
      421,
      'VSPC_NOT_ALLOWED',
      `the Host header "${cleanText(host, 100)}" does not name this machine's loopback address: this server has no ` +
        'authentication and answers only as localhost, 127.0.0.1 or [::1]; a proxy in front of it has to send one of these',
    )
  }
  if (origin === undefined || (!upgrade && (method === 'GET' || method === 'HEAD'))) return
  if (sameOrigin(origin, host)) return
  throw new ProblemError(
    403,
    'VSPC_NOT_ALLOWED',
    `pages of "${cleanText(origin, 100)}" may not use this server (its own address is "${cleanText(host ?? '', 100)}"); ` +
      'programs send no Origin header',
  )
}

function isLoopbackHost(host: string): boolean {
  const url = parse(`http://${host}`)
  // What is more than host and port is no Host header.
  return (
    url !== null && url.pathname === '/' && url.username === '' && !/[/?#@\\]/.test(host) && LOOPBACK.test(url.hostname)
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
