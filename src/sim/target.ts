/** Where a simulated host connects to, and the socket that gets it there. */
import { readFileSync } from 'node:fs'
import { connect as netConnect, type Socket } from 'node:net'
import { type ConnectionOptions, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { errorMessage, VspcError } from '../base/index.ts'

/** What the host checks about the proxy's certificate: nothing unless told, as ESX does without `#verify`. */
export interface SimTls {
  /** PEM of the CA that must have signed the certificate; turns on verification. */
  readonly ca?: string | Buffer
  /** Hex of the certificate's SHA-256 (64 digits) or SHA-1 (40), colons and a `sha256:` or `sha1:` prefix allowed. */
  readonly pin?: string
  /** Name sent as SNI and, with `ca`, required in the certificate. */
  readonly servername?: string
}

export type SimTarget = ({ readonly host: string; readonly port: number } | { readonly path: string }) & {
  readonly tls?: SimTls
}

/**
 * Parses `tcp://host:port`, `tls://host:port?ca=FILE&pin=sha256:HEX&servername=NAME` or `unix:///path`; `telnet://` and
 * `telnets://`, as one writes a proxyURI, mean tcp and tls.
 * @throws VspcError VSPC_ENDPOINT_SYNTAX, _SCHEME, _PORT, _PARAMETER; VSPC_TLS_FILES when `ca` cannot be read.
 */
export function parseSimTarget(uri: string): SimTarget {
  const match = /^([a-z0-9+.-]+):\/\/(.*)$/i.exec(uri)
  if (!match) throw new VspcError('VSPC_ENDPOINT_SYNTAX', `"${uri}" is not a URI: try tcp://127.0.0.1:13370`)
  const scheme = (match[1] as string).toLowerCase()
  const rest = match[2] as string
  if (scheme === 'unix') {
    if (!rest.startsWith('/')) {
      throw new VspcError(
        'VSPC_ENDPOINT_SYNTAX',
        `"${uri}": a unix URI needs an absolute path, as in unix:///run/vspc.sock`,
      )
    }
    return { path: decodeURIComponent(rest) }
  }
  const secure = scheme === 'tls' || scheme === 'telnets'
  if (!secure && scheme !== 'tcp' && scheme !== 'telnet') {
    throw new VspcError('VSPC_ENDPOINT_SCHEME', `"${uri}": unknown scheme "${scheme}"; accepted: tcp, tls, unix`)
  }
  const [authority = '', query = ''] = splitOnce(rest, '?')
  const address = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]]+)):(\d+)\/?$/.exec(authority)
  const host = address?.[1] ?? address?.[2]
  if (!address || !host) {
    throw new VspcError('VSPC_ENDPOINT_SYNTAX', `"${uri}": expected ${scheme}://HOST:PORT (IPv6 in brackets)`)
  }
  const port = Number(address[3])
  if (port < 1 || port > 65_535) {
    throw new VspcError('VSPC_ENDPOINT_PORT', `"${uri}": port ${address[3]} is not in 1-65535`)
  }
  if (secure) return { host, port, tls: parseTls(uri, query) }
  if (query) throw new VspcError('VSPC_ENDPOINT_PARAMETER', `"${uri}": ${scheme} takes no parameters here`)
  return { host, port }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}

function parseTls(uri: string, query: string): SimTls {
  const tls: { ca?: Buffer; pin?: string; servername?: string } = {}
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === 'servername') tls.servername = value
    else if (name === 'ca') tls.ca = readCa(uri, value)
    else if (name === 'pin') {
      normalizePin(value)
      tls.pin = value
    } else {
      throw new VspcError(
        'VSPC_ENDPOINT_PARAMETER',
        `"${uri}": unknown parameter "${name}"; accepted: ca, pin, servername`,
      )
    }
  }
  return tls
}

function readCa(uri: string, file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new VspcError('VSPC_TLS_FILES', `"${uri}": cannot read ca "${file}": ${errorMessage(cause)}`, { cause })
  }
}

/** Upper-case hex without colons, and which digest its length means. */
function normalizePin(pin: string): { hex: string; digest: 'sha1' | 'sha256' } {
  const hex = pin
    .replace(/^sha(1|256):/i, '')
    .replace(/:/g, '')
    .toUpperCase()
  if (/^[0-9A-F]{64}$/.test(hex)) return { hex, digest: 'sha256' }
  if (/^[0-9A-F]{40}$/.test(hex)) return { hex, digest: 'sha1' }
  throw new VspcError('VSPC_ENDPOINT_PARAMETER', `pin "${pin}" is neither 64 (SHA-256) nor 40 (SHA-1) hex digits`)
}

/**
 * Begins to connect; the caller listens for `connect` (or `secureConnect`) and owns the socket. Half-open allowed.
 * `noDelay` off is what ESX does: it leaves Nagle's algorithm on [seen].
 */
export function openSocket(target: SimTarget, localAddress: string | undefined, noDelay: boolean): Socket {
  if ('path' in target && !target.tls) return netConnect({ path: target.path, allowHalfOpen: true })
  const where =
    'path' in target
      ? { path: target.path }
      : { host: target.host, port: target.port, noDelay, ...(localAddress ? { localAddress } : {}) }
  if (!target.tls) return netConnect({ ...(where as { host: string; port: number }), allowHalfOpen: true })
  // allowHalfOpen is documented for tls.connect, and missing in its types.
  const options = { ...where, allowHalfOpen: true, ...tlsOptions(target.tls) }
  return tlsConnect(options)
}

/** Turns a connected plain socket into TLS, as after the AUTHENTICATION upgrade. */
export function upgradeSocket(socket: Socket, tls: SimTls): TLSSocket {
  return tlsConnect({ socket, ...tlsOptions(tls) })
}

function tlsOptions(tls: SimTls): ConnectionOptions {
  return {
    rejectUnauthorized: tls.ca !== undefined,
    ...(tls.ca !== undefined ? { ca: tls.ca } : {}),
    ...(tls.servername !== undefined ? { servername: tls.servername } : {}),
  }
}

/** @throws VspcError VSPC_TLS_PIN_MISMATCH unless the peer's certificate has the pinned fingerprint. */
export function checkPin(socket: TLSSocket, tls: SimTls): void {
  if (tls.pin === undefined) return
  const { hex, digest } = normalizePin(tls.pin)
  const certificate = socket.getPeerX509Certificate()
  const fingerprint = digest === 'sha256' ? certificate?.fingerprint256 : certificate?.fingerprint
  if (fingerprint?.replaceAll(':', '') === hex) return
  throw new VspcError(
    'VSPC_TLS_PIN_MISMATCH',
    `the proxy's certificate has ${digest} ${fingerprint ?? '(none)'}, pinned is ${hex}`,
  )
}

/** `127.0.0.1:13370`, `unix:/run/x.sock`; for messages. */
export function describeTarget(target: SimTarget): string {
  const where = 'path' in target ? `unix:${target.path}` : `${target.host}:${target.port}`
  return target.tls ? `${where} (TLS)` : where
}
