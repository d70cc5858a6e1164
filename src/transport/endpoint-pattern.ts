/** Endpoint URIs with `*` in them: which endpoints may be dialled on behalf of a VM. Pure. */
import { cleanText, nearest, VspcError } from '../base/index.ts'
import { type Endpoint, SCHEMES, type TlsParameters } from './endpoint.ts'

/** Made by {@link parseEndpointPattern}. */
export interface EndpointPattern {
  /** As written. */
  readonly text: string
  readonly scheme: 'tcp' | 'tls' | 'unix'
  /** Host, or path for unix. */
  readonly place: RegExp
  readonly tcpPort: RegExp
}

const FORMS = 'tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH, with * in host, port or path for any characters'

/**
 * Parses a pattern such as `tcp://10.0.0.*:2379`.
 *
 * `*` alone is any host or port. Inside an address it stands for digits and dots only, so that `10.0.0.*` is never a
 * name such as 10.0.0.example.org; inside a name it stays within one label, inside a path within one directory.
 * @throws VspcError VSPC_ENDPOINT_SYNTAX, _SCHEME or _PORT.
 */
export function parseEndpointPattern(text: string): EndpointPattern {
  const shown = cleanText(text, 300)
  const match = /^([^:/]*):\/\/(.*)$/s.exec(text)
  if (!match) throw new VspcError('VSPC_ENDPOINT_SYNTAX', `pattern "${shown}": it has no scheme; write ${FORMS}`)
  const written = (match[1] ?? '').toLowerCase()
  const scheme = (['tcp', 'tls', 'unix'] as const).find((candidate) => candidate === written)
  if (!scheme) {
    const near = nearest(written, SCHEMES)
    const hint = near === null || near === written ? '' : `; did you mean ${near}://?`
    throw new VspcError(
      'VSPC_ENDPOINT_SCHEME',
      `pattern "${shown}": scheme "${cleanText(written)}" cannot be allowed; write ${FORMS}${hint}`,
    )
  }
  const rest = match[2] ?? ''
  if (/[\s?#@\u0000-\u001f]/.test(rest)) {
    throw new VspcError(
      'VSPC_ENDPOINT_SYNTAX',
      `pattern "${shown}": parameters, fragments, users and spaces mean nothing in a pattern; write ${FORMS}`,
    )
  }
  if (scheme === 'unix') {
    if (!rest.startsWith('/') || rest === '/') {
      throw new VspcError('VSPC_ENDPOINT_SYNTAX', `pattern "${shown}": the path is not absolute; write unix:///PATH`)
    }
    return { text, scheme, place: wildcard(rest, '[^/]*'), tcpPort: wildcard('0', '') }
  }
  const place = /^(\[[0-9a-fA-F:.*]+\]|[A-Za-z0-9._*-]+)(?::(.*))?$/.exec(rest.replace(/\/$/, ''))
  if (!place) throw new VspcError('VSPC_ENDPOINT_SYNTAX', `pattern "${shown}": it is not HOST:PORT; write ${FORMS}`)
  const port = place[2] ?? ''
  const isNumber = /^[0-9]+$/.test(port)
  if (!/^[0-9*]{1,16}$/.test(port) || (isNumber && (Number(port) < 1 || Number(port) > 65_535))) {
    throw new VspcError(
      'VSPC_ENDPOINT_PORT',
      `pattern "${shown}": ${port === '' ? 'the port is missing' : `port "${cleanText(port)}" is not usable`}; ` +
        'write a number from 1 to 65535, or * for any',
    )
  }
  const host = (place[1] ?? '').toLowerCase()
  return {
    text,
    scheme,
    place: wildcard(host.replace(/^\[(.*)\]$/, '$1'), hostWildcard(host)),
    tcpPort: wildcard(port, '[0-9]*'),
  }
}

function hostWildcard(host: string): string {
  if (/^\*+$/.test(host)) return '.*'
  if (host.startsWith('[')) return '[0-9a-f:.]*'
  return /^[0-9.*]+$/.test(host) ? '[0-9.]*' : '[^.]*'
}

/**
 * Compares text: names are not resolved, so an allowed address does not allow the name that leads to it. An endpoint
 * that names files of ours (certificate, key, CA) never matches: these URIs come from VMs.
 */
export function matchesEndpoint(pattern: EndpointPattern, endpoint: Endpoint): boolean {
  switch (endpoint.scheme) {
    case 'tcp':
    case 'tls':
      return (
        pattern.scheme === endpoint.scheme &&
        !namesFiles(endpoint.tls) &&
        pattern.place.test(endpoint.host) &&
        pattern.tcpPort.test(String(endpoint.tcpPort))
      )
    case 'unix':
      return (
        pattern.scheme === 'unix' &&
        !namesFiles(endpoint.tls) &&
        // A star that matched ".." would leave the directory that was allowed.
        !/\/\.{1,2}(\/|$)/.test(endpoint.path) &&
        pattern.place.test(endpoint.path)
      )
    case 'fifo':
    case 'vsock':
    case 'hvsock':
      return false
  }
}

function namesFiles(tls: TlsParameters | null): boolean {
  return tls !== null && (tls.cert !== null || tls.key !== null || tls.ca !== null)
}

function wildcard(text: string, any: string): RegExp {
  // Runs of stars are one: several would let a crafted name make matching slow.
  const parts = text.split(/\*+/).map((part) => part.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&'))
  return new RegExp(`^${parts.join(any)}$`)
}
