/** The parameters of an endpoint URI. Pure. */
import { cleanText, nearest, type VspcError } from '../base/index.ts'
import {
  DEFAULT_TLS_MIN,
  LAYER_PARAMETERS,
  type Layers,
  PARAMETERS,
  type Parameter,
  type Scheme,
  TLS_PARAMETERS,
  TLS_VERSIONS,
  type TlsParameters,
  VM_PARAMETERS,
  VM_PROTOCOLS,
  type VmParameters,
} from './endpoint.ts'
import { type EndpointText, isHostName, showable } from './endpoint-text.ts'

const MAX_NAME_LENGTH = 255

/** What follows the "?" of a URI, checked against what means something for its scheme, role and use. */
export class EndpointQuery {
  readonly #uri: EndpointText
  readonly #values: Map<Parameter, string>

  /** @param query null when there is no "?". @throws VspcError VSPC_ENDPOINT_PARAMETER, _ROLE or _SYNTAX, as do the others. */
  constructor(uri: EndpointText, scheme: Scheme, query: string | null) {
    this.#uri = uri
    this.#values = this.#query(scheme, query)
  }

  /** The parameters that mean something for `scheme` in our role and use. */
  #accepted(scheme: Scheme): Parameter[] {
    const { role, use } = this.#uri
    const accepted: Parameter[] = use === 'vm' ? [...VM_PARAMETERS] : use === 'relay' ? ['name', 'label'] : []
    if (scheme === 'tls') {
      accepted.push(...TLS_PARAMETERS.filter((name) => role === 'dial' || name !== 'servername'))
    } else if ((scheme === 'tcp' || scheme === 'unix') && role === 'listen' && use === 'vm') {
      accepted.push('cert', 'key', 'tlsMin')
    }
    if (role === 'listen' && (scheme === 'unix' || scheme === 'fifo' || scheme === 'hvsock')) accepted.push('mode')
    // Pipes have no beginning at which a header could stand.
    if (use === 'plain' || scheme === 'fifo') return accepted
    accepted.push(...LAYER_PARAMETERS.filter((name) => name === 'resume' || use === 'relay' || role === 'listen'))
    return accepted
  }

  #query(scheme: Scheme, query: string | null): Map<Parameter, string> {
    const values = new Map<Parameter, string>()
    if (query === null || query === '') return values
    const accepted = this.#accepted(scheme)
    const list = accepted.length > 0 ? `accepted here: ${accepted.join(', ')}` : 'none are accepted here'
    for (const piece of query.split('&')) {
      const equals = piece.indexOf('=')
      const written = this.#uri.decode(equals < 0 ? piece : piece.slice(0, equals), 'parameter')
      if (written === '') {
        throw this.#uri.fail('VSPC_ENDPOINT_PARAMETER', 'a parameter has no name', `write name=value; ${list}`)
      }
      const name = PARAMETERS.find((candidate) => candidate === written)
      if (!name) {
        const near = nearest(written, accepted)
        throw this.#uri.fail(
          'VSPC_ENDPOINT_PARAMETER',
          `parameter "${showable(written)}" is not known`,
          near ? `${list}; did you mean ${near}?` : list,
        )
      }
      if (!accepted.includes(name)) throw this.#refuse(name, scheme, list)
      if (values.has(name)) {
        throw this.#uri.fail('VSPC_ENDPOINT_PARAMETER', `parameter ${name} is given twice`, 'give it once')
      }
      const value = equals < 0 ? '' : this.#uri.decode(piece.slice(equals + 1), `parameter ${name}`)
      if (value === '') {
        throw this.#uri.fail(
          'VSPC_ENDPOINT_PARAMETER',
          `parameter ${name} has no value`,
          `write ${name}=VALUE or leave it out`,
        )
      }
      if (/[\u0000-\u001f\u007f]/.test(value)) {
        throw this.#uri.fail(
          'VSPC_ENDPOINT_PARAMETER',
          `parameter ${name} holds a control character`,
          'use printable text',
        )
      }
      values.set(name, value)
    }
    return values
  }

  /** A known parameter in the wrong place: say where it belongs. */
  #refuse(name: Parameter, scheme: Scheme, list: string): VspcError {
    const isVm = (VM_PARAMETERS as readonly string[]).includes(name)
    const isLayer = (LAYER_PARAMETERS as readonly string[]).includes(name)
    const why =
      name === 'mode'
        ? 'it is for what a listener creates in the file system'
        : isVm
          ? this.#uri.use === 'relay'
            ? 'a relay does not look into what it passes on'
            : 'it describes a virtual serial port, which this endpoint does not lead to'
          : isLayer
            ? scheme === 'fifo'
              ? 'pipes have no connections'
              : 'only relays send it, and listeners for VMs take it'
            : scheme === 'tls'
              ? 'it is for dialling, and this endpoint listens'
              : scheme === 'tcp' && (this.#uri.role === 'dial' || this.#uri.use === 'plain')
                ? 'TLS has its own scheme, tls://'
                : scheme === 'tcp' || scheme === 'unix'
                  ? 'it is about TLS, and means nothing for this endpoint'
                  : `${scheme}:// has no TLS`
    return this.#uri.fail('VSPC_ENDPOINT_ROLE', `parameter ${name} makes no sense here: ${why}`, list)
  }

  /** Null for plain use. */
  vm(): VmParameters | null {
    if (this.#uri.use === 'plain') return null
    if (this.#uri.use === 'relay' && !this.#values.has('name') && !this.#values.has('label')) return null
    const name = this.#values.get('name') ?? null
    if (name !== null && (name.length > MAX_NAME_LENGTH || cleanText(name, MAX_NAME_LENGTH) !== name)) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_PARAMETER',
        'parameter name is not a usable VM name',
        `accepted are 1 to ${MAX_NAME_LENGTH} visible characters, without spaces around them`,
      )
    }
    const label = this.#values.get('label') ?? null
    if (label !== null && !/^[A-Za-z0-9._-]{1,64}$/.test(label)) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_PARAMETER',
        `label "${showable(label)}" is not usable`,
        'accepted are 1 to 64 of A-Z a-z 0-9 . _ -',
      )
    }
    const protocol = this.#uri.use === 'relay' ? null : this.#oneOf('protocol', VM_PROTOCOLS, 'vmware')
    return { protocol, name, label }
  }

  /** Nothing where it is not said. */
  mode(): { mode?: number } {
    const written = this.#values.get('mode')
    if (written === undefined) return {}
    if (/^0?[0-7]{3}$/.test(written)) return { mode: Number.parseInt(written, 8) }
    throw this.#uri.fail(
      'VSPC_ENDPOINT_PARAMETER',
      `mode "${showable(written)}" is not usable`,
      'accepted are permissions as three octal digits, such as 660',
    )
  }

  layers(): Layers {
    return {
      proxy: this.#oneOf('proxy', ['off', 'v2'], 'off'),
      resume: this.#oneOf('resume', ['off', 'on'], 'off'),
    }
  }

  #oneOf<T extends string>(name: Parameter, values: readonly T[], ifAbsent: T): T {
    const written = this.#values.get(name)
    if (written === undefined) return ifAbsent
    const value = values.find((candidate) => candidate === written)
    if (value !== undefined) return value
    const near = nearest(written, values)
    throw this.#uri.fail(
      'VSPC_ENDPOINT_PARAMETER',
      `${name} "${showable(written)}" is not known`,
      `accepted are ${values.join(', ')}${near ? `; did you mean ${near}?` : ''}`,
    )
  }

  /** TLS parameters of a tcp: or unix: VM listener, which serves plain too; null when it is plain only. */
  besideTls(): TlsParameters | null {
    if (!TLS_PARAMETERS.some((name) => this.#values.has(name))) return null
    return this.tls()
  }

  /** TLS parameters of a tls: endpoint. */
  tls(): TlsParameters {
    const cert = this.#values.get('cert') ?? null
    const key = this.#values.get('key') ?? null
    if (this.#uri.role === 'listen' && cert === null && key === null) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_PARAMETER',
        'a TLS listener needs a certificate and its key',
        'add cert=FILE&key=FILE (PEM files)',
      )
    }
    if ((cert === null) !== (key === null)) {
      const missing = cert === null ? 'cert' : 'key'
      throw this.#uri.fail(
        'VSPC_ENDPOINT_PARAMETER',
        `${missing} is missing`,
        'cert=FILE and key=FILE go together (PEM files)',
      )
    }
    return {
      cert,
      key,
      ca: this.#values.get('ca') ?? null,
      pin: this.#pin(this.#values.get('pin')),
      servername: this.#servername(this.#values.get('servername')),
      tlsMin: this.#oneOf('tlsMin', TLS_VERSIONS, DEFAULT_TLS_MIN),
    }
  }

  #pin(written: string | undefined): string | null {
    if (written === undefined) return null
    // openssl prints fingerprints with colons.
    const digits = /^sha256:(.*)$/i.exec(written)?.[1]?.replaceAll(':', '')
    if (digits !== undefined && /^[0-9a-fA-F]{64}$/.test(digits)) return digits.toLowerCase()
    throw this.#uri.fail(
      'VSPC_ENDPOINT_PARAMETER',
      `pin "${showable(written)}" is not a fingerprint`,
      'accepted is sha256: and the 64 hex digits of "openssl x509 -noout -fingerprint -sha256 -in CERT"',
    )
  }

  #servername(written: string | undefined): string | null {
    if (written === undefined) return null
    if (isHostName(written) && !/^[0-9.]+$/.test(written)) return written.toLowerCase()
    throw this.#uri.fail(
      'VSPC_ENDPOINT_PARAMETER',
      `servername "${showable(written)}" is not a host name`,
      'accepted is the name the certificate was issued for (TLS knows no addresses here)',
    )
  }
}
