/** Endpoints: where a byte stream comes from or goes to, as data and as canonical text. Pure. */

/** Who connects to whom. A role is not part of the URI: it comes from the flag or setting that the URI stands in. */
export type EndpointRole = 'listen' | 'dial'

/**
 * `vm`: at the other end is a virtual serial port (or its host). `relay`: bytes that are not looked into, but that may
 * be announced and resumed. `plain`: only the bytes.
 */
export type EndpointUse = 'vm' | 'relay' | 'plain'

export const VM_PROTOCOLS = ['vmware', 'telnet', 'raw'] as const
export type VmProtocol = (typeof VM_PROTOCOLS)[number]

export const TLS_VERSIONS = ['1.0', '1.1', '1.2', '1.3'] as const
export type TlsVersion = (typeof TLS_VERSIONS)[number]

/** What a VM endpoint says about the serial port behind it. */
export interface VmParameters {
  /** Null for a relay, which does not look. */
  readonly protocol: VmProtocol | null
  /** VM name, for streams that carry no identity. */
  readonly name: string | null
  /** Tells several ports of one VM apart; `[A-Za-z0-9._-]{1,64}`. */
  readonly label: string | null
}

/** What a connection carries around the stream itself; each is peeled off before anybody sees the stream. */
export interface Layers {
  /** A PROXY protocol v2 header comes first: sent by who dials, required by who listens. */
  readonly proxy: 'off' | 'v2'
  /** The stream survives its connections: docs/link.md. Both ends must say so. */
  readonly resume: 'off' | 'on'
}

export const NO_LAYERS: Layers = { proxy: 'off', resume: 'off' }

/**
 * Files are paths as written, not yet opened. A listener always has `cert` and `key`, a dialler both or neither. A
 * listener with `ca` or `pin` asks peers for a certificate, and takes no peer without a fitting one.
 */
export interface TlsParameters {
  readonly cert: string | null
  readonly key: string | null
  readonly ca: string | null
  /** SHA-256 of the DER certificate the peer must show: 64 lower-case hex digits. */
  readonly pin: string | null
  readonly servername: string | null
  readonly tlsMin: TlsVersion
}

export interface TcpEndpoint {
  readonly scheme: 'tcp'
  /** Name or address, lower case; IPv6 without brackets. */
  readonly host: string
  /** 0 (any free one) only when listening. */
  readonly tcpPort: number
  /** VM listeners only: TLS beside plain, told apart by the first byte. */
  readonly tls: TlsParameters | null
  /** Null for plain use. */
  readonly vm: VmParameters | null
  readonly layers: Layers
}

export interface TlsEndpoint {
  readonly scheme: 'tls'
  readonly host: string
  readonly tcpPort: number
  readonly tls: TlsParameters
  readonly vm: VmParameters | null
  readonly layers: Layers
}

export interface UnixEndpoint {
  readonly scheme: 'unix'
  /** Absolute, at most 107 bytes. */
  readonly path: string
  /** Permissions of what a listener creates; absent: the default, only this user. */
  readonly mode?: number
  readonly tls: TlsParameters | null
  readonly vm: VmParameters | null
  readonly layers: Layers
}

/** A pair of named pipes: `path`.in, which the VM reads, and `path`.out, which it writes (as QEMU names them). */
export interface FifoEndpoint {
  readonly scheme: 'fifo'
  readonly path: string
  /** As of Unix sockets. */
  readonly mode?: number
  readonly vm: VmParameters | null
}

export interface VsockEndpoint {
  readonly scheme: 'vsock'
  readonly cid: number | 'any' | 'host' | 'local'
  /** 32 bits, unlike TCP. */
  readonly vsockPort: number
  readonly vm: VmParameters | null
  readonly layers: Layers
}

export interface HvsockEndpoint {
  readonly scheme: 'hvsock'
  readonly path: string
  /** As of Unix sockets. */
  readonly mode?: number
  readonly vsockPort: number
  readonly vm: VmParameters | null
  readonly layers: Layers
}

export type Endpoint = TcpEndpoint | TlsEndpoint | UnixEndpoint | FifoEndpoint | VsockEndpoint | HvsockEndpoint
export type Scheme = Endpoint['scheme']

export const SCHEMES = ['tcp', 'tls', 'unix', 'fifo', 'vsock', 'hvsock'] as const satisfies readonly Scheme[]

export const VM_PARAMETERS = ['protocol', 'name', 'label'] as const
export const TLS_PARAMETERS = ['cert', 'key', 'ca', 'pin', 'servername', 'tlsMin'] as const
export const LAYER_PARAMETERS = ['proxy', 'resume'] as const
export const PARAMETERS = [...VM_PARAMETERS, ...TLS_PARAMETERS, ...LAYER_PARAMETERS, 'mode'] as const
export type Parameter = (typeof PARAMETERS)[number]

/** sun_path of Linux is 108 bytes, the last of them NUL. */
export const MAX_UNIX_PATH_BYTES = 107

export const DEFAULT_TLS_MIN: TlsVersion = '1.2'

/** Pipes have none: they have no beginning at which anything could stand. */
export function layersOf(endpoint: Endpoint): Layers {
  return endpoint.scheme === 'fifo' ? NO_LAYERS : endpoint.layers
}

/** The canonical text: `parseEndpoint` of it gives an equal endpoint. Parameters with default values are left out. */
export function formatEndpoint(endpoint: Endpoint): string {
  switch (endpoint.scheme) {
    case 'tcp':
    case 'tls':
      return `${endpoint.scheme}://${formatHostPort(endpoint.host, endpoint.tcpPort)}${formatQuery(endpoint.vm, endpoint.tls, endpoint.layers)}`
    case 'unix':
      return `unix://${percentEncode(endpoint.path)}${formatQuery(endpoint.vm, endpoint.tls, endpoint.layers, endpoint.mode)}`
    case 'fifo':
      return `fifo://${percentEncode(endpoint.path)}${formatQuery(endpoint.vm, null, NO_LAYERS, endpoint.mode)}`
    case 'vsock':
      return `vsock://${endpoint.cid}:${endpoint.vsockPort}${formatQuery(endpoint.vm, null, endpoint.layers)}`
    case 'hvsock':
      return `hvsock://${percentEncode(endpoint.path)}:${endpoint.vsockPort}${formatQuery(endpoint.vm, null, endpoint.layers, endpoint.mode)}`
  }
}

/** `10.0.0.7:23`, `[fe80::1]:23`. */
export function formatHostPort(host: string, tcpPort: number): string {
  return host.includes(':') ? `[${host}]:${tcpPort}` : `${host}:${tcpPort}`
}

function formatQuery(vm: VmParameters | null, tls: TlsParameters | null, layers: Layers, mode?: number): string {
  const values: Record<Parameter, string | null> = {
    protocol: vm?.protocol == null || vm.protocol === 'vmware' ? null : vm.protocol,
    name: vm?.name ?? null,
    label: vm?.label ?? null,
    cert: tls?.cert ?? null,
    key: tls?.key ?? null,
    ca: tls?.ca ?? null,
    pin: tls?.pin == null ? null : `sha256:${tls.pin}`,
    servername: tls?.servername ?? null,
    tlsMin: tls === null || tls.tlsMin === DEFAULT_TLS_MIN ? null : tls.tlsMin,
    proxy: layers.proxy === 'off' ? null : layers.proxy,
    resume: layers.resume === 'off' ? null : layers.resume,
    mode: mode === undefined ? null : mode.toString(8).padStart(4, '0'),
  }
  const parts: string[] = []
  for (const name of PARAMETERS) {
    const value = values[name]
    if (value !== null) parts.push(`${name}=${percentEncode(value)}`)
  }
  return parts.length > 0 ? `?${parts.join('&')}` : ''
}

/** Percent-encoded, but `/` and `:` stay readable: neither separates anything where this is used. */
function percentEncode(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%3A', ':')
}
