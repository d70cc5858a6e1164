/**
 * Endpoint URIs to data. Pure: nothing is opened or resolved.
 *
 * The generic URL parser is no help here: it would fold hosts and paths of schemes it does not know, swallow
 * mistakes, and could not say what is wrong. So the text is taken apart by hand, and every mistake has its sentence.
 */
import { nearest } from '../base/index.ts'
import {
  type Endpoint,
  type EndpointRole,
  type EndpointUse,
  MAX_UNIX_PATH_BYTES,
  SCHEMES,
  type Scheme,
  type VsockEndpoint,
} from './endpoint.ts'
import { EndpointQuery } from './endpoint-query.ts'
import { EndpointText, isHostName, isIPv6, showable } from './endpoint-text.ts'

const FORMS: Record<Scheme, string> = {
  tcp: 'tcp://HOST:PORT',
  tls: 'tls://HOST:PORT',
  unix: 'unix:///PATH',
  fifo: 'fifo:///PATH',
  vsock: 'vsock://CID:PORT',
  hvsock: 'hvsock:///PATH:PORT',
}

/** Names of VMware's and of other worlds, and how the same is said here. */
const FOREIGN_SCHEMES: Record<string, string> = {
  telnet: 'use tcp:// (on a VM endpoint ?protocol=vmware, the default, or ?protocol=telnet says what is spoken)',
  telnets: 'use tls:// (on a VM endpoint ?protocol=vmware, the default, or ?protocol=telnet says what is spoken)',
  ssl: 'use tls://',
  'tcp+ssl': 'use tls://',
  http: 'use tcp://',
  https: 'use tls://',
  ws: 'use tcp://',
  wss: 'use tls://',
  file: 'use unix:// for a socket, fifo:// for a pipe',
  pipe: 'use fifo://',
}

/**
 * Parses an endpoint URI for one role and use; parameters that mean nothing there are refused, not ignored.
 * @throws VspcError VSPC_ENDPOINT_SYNTAX, _SCHEME, _PARAMETER, _PORT or _ROLE; the message quotes the URI (without
 * any password), says what is wrong and what is accepted.
 */
export function parseEndpoint(text: string, role: EndpointRole, use: EndpointUse): Endpoint {
  return new EndpointParser(text, role, use).parse()
}

class EndpointParser {
  readonly #uri: EndpointText

  constructor(text: string, role: EndpointRole, use: EndpointUse) {
    this.#uri = new EndpointText(text, role, use)
  }

  parse(): Endpoint {
    const text = this.#uri.text
    if (text.trim() === '') throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'it is empty', `write one of ${this.#forms()}`)
    if (/[\u0000-\u0020\u007f]|\p{Surrogate}/u.test(text)) {
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'it contains a space or control character', 'write a space as %20')
    }
    const scheme = this.#scheme()
    const rest = text.slice(text.indexOf('://') + 3)
    if (rest.includes('#')) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        'it has a fragment (#...), which means nothing here',
        'parameters follow a "?"; a "#" inside a value is written %23',
      )
    }
    const questionMark = rest.indexOf('?')
    const place = questionMark < 0 ? rest : rest.slice(0, questionMark)
    const query = new EndpointQuery(this.#uri, scheme, questionMark < 0 ? null : rest.slice(questionMark + 1))
    const vm = query.vm()
    const layers = query.layers()
    switch (scheme) {
      case 'tcp':
        return { scheme, ...this.#hostPort(scheme, place), tls: query.besideTls(), vm, layers }
      case 'tls':
        return { scheme, ...this.#hostPort(scheme, place), tls: query.tls(), vm, layers }
      case 'unix':
        return { scheme, path: this.#path(scheme, place), tls: query.besideTls(), vm, layers, ...query.mode() }
      case 'fifo':
        return { scheme, path: this.#path(scheme, place), vm, ...query.mode() }
      case 'vsock':
        return { scheme, ...this.#cidPort(place), vm, layers }
      case 'hvsock':
        return { scheme, ...this.#pathPort(place), vm, layers, ...query.mode() }
    }
  }

  #forms(): string {
    return SCHEMES.map((scheme) => FORMS[scheme]).join(', ')
  }

  #scheme(): Scheme {
    const text = this.#uri.text
    const separator = text.indexOf('://')
    if (separator < 0) {
      const start = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase()
      const known = SCHEMES.find((scheme) => scheme === start)
      const hint = known
        ? `"${known}:" is followed by two slashes, as in ${FORMS[known]}`
        : text.startsWith('/')
          ? `did you mean unix://${showable(text)}?`
          : /^[^/?@]+:[0-9]+([/?]|$)/.test(text)
            ? `did you mean tcp://${showable(text)}?`
            : `write one of ${this.#forms()}`
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'it has no scheme', hint)
    }
    const written = text.slice(0, separator).toLowerCase()
    const scheme = SCHEMES.find((candidate) => candidate === written)
    if (scheme) return scheme
    const foreign = FOREIGN_SCHEMES[written]
    const near = nearest(written, SCHEMES)
    const hint = foreign ?? (near ? `did you mean ${near}://?` : null)
    throw this.#uri.fail(
      'VSPC_ENDPOINT_SCHEME',
      written === '' ? 'nothing stands before "://"' : `scheme "${showable(written)}" is not known`,
      `accepted are ${this.#forms()}${hint ? `; ${hint}` : ''}`,
    )
  }

  #hostPort(scheme: 'tcp' | 'tls', place: string): { host: string; tcpPort: number } {
    const slash = place.indexOf('/')
    if (slash >= 0 && slash < place.length - 1) {
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'a path follows the port', `write ${FORMS[scheme]}`)
    }
    const authority = slash >= 0 ? place.slice(0, slash) : place
    if (authority.includes('@')) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        'it has user information (...@)',
        `streams have no log-in, write ${FORMS[scheme]}`,
      )
    }
    const match = /^(\[[^\]]*\]|[^:[\]]*)(?::([^:]*))?$/.exec(authority)
    if (!match) {
      const hint = authority.startsWith('[') ? 'the bracket of an IPv6 address is not closed' : 'too many colons'
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `"${showable(authority)}" is not HOST:PORT (${hint})`,
        `an IPv6 address stands in brackets, as in ${scheme}://[::1]:13370`,
      )
    }
    const host = this.#host(match[1] ?? '')
    return { host, tcpPort: this.#tcpPort(match[2], scheme, match[1] ?? '') }
  }

  #host(written: string): string {
    if (written === '' || written === '[]') {
      const hint =
        this.#uri.role === 'listen'
          ? 'listen on 127.0.0.1, or on every address with 0.0.0.0 or [::]'
          : 'write a name or address'
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'the host is missing', hint)
    }
    if (written.startsWith('[')) {
      // RFC 6874 writes the percent sign of a zone as %25; people write it bare.
      const address = written.slice(1, -1).replace('%25', '%')
      if (isIPv6(address)) return address.toLowerCase()
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `"${showable(written)}" is not an IPv6 address`,
        'brackets hold an IPv6 address, as in [::1]',
      )
    }
    if (written === '*') {
      const hint =
        this.#uri.role === 'listen' ? 'every address is 0.0.0.0 (IPv4) or [::] (IPv6)' : 'write a name or address'
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', '"*" is not a host', hint)
    }
    if (isHostName(written)) return written.toLowerCase()
    throw this.#uri.fail(
      'VSPC_ENDPOINT_SYNTAX',
      `"${showable(written)}" is neither a host name nor an address`,
      'names have letters, digits, "-", "_" and ".", IPv4 addresses four numbers up to 255, IPv6 addresses brackets',
    )
  }

  #tcpPort(written: string | undefined, scheme: 'tcp' | 'tls', host: string): number {
    const example = `${scheme}://${host}:13370`
    if (written === undefined || written === '') {
      throw this.#uri.fail('VSPC_ENDPOINT_PORT', 'the port is missing', `write it after the host, as in ${example}`)
    }
    return this.#number(written, 65_535)
  }

  /** A port number: decimal, 1 to `max`, or 0 for listeners. */
  #number(written: string, max: number): number {
    const lowest = this.#uri.role === 'listen' ? 0 : 1
    const range = `accepted is ${lowest} to ${max}${lowest === 0 ? ' (0 = any free one)' : ''}`
    if (!/^[0-9]+$/.test(written)) {
      throw this.#uri.fail('VSPC_ENDPOINT_PORT', `port "${showable(written)}" is not a number`, range)
    }
    const number = Number(written)
    if (number > max) throw this.#uri.fail('VSPC_ENDPOINT_PORT', `port ${showable(written)} is out of range`, range)
    if (number < lowest) {
      throw this.#uri.fail('VSPC_ENDPOINT_PORT', 'port 0 means "any free one", which cannot be dialled', range)
    }
    return number
  }

  #path(scheme: 'unix' | 'fifo' | 'hvsock', place: string): string {
    if (place === '' || place === '/') {
      throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'the path is missing', `write ${FORMS[scheme]}`)
    }
    if (!place.startsWith('/')) {
      const path = place.startsWith('.') ? '/ABSOLUTE/PATH' : `/${showable(place)}`
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `"${showable(place)}" is not an absolute path`,
        `write three slashes and the whole path, as in ${scheme}://${path}`,
      )
    }
    const path = this.#uri.decode(place, 'path')
    if (path.includes('\0')) throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'the path contains NUL', 'no path may')
    if (path.endsWith('/')) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        'the path ends with "/", so it names a directory',
        'name a file in it',
      )
    }
    const bytes = new TextEncoder().encode(path).length
    if (scheme !== 'fifo' && bytes > MAX_UNIX_PATH_BYTES) {
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `the path has ${bytes} bytes`,
        `the system takes at most ${MAX_UNIX_PATH_BYTES} for a socket: use a shorter directory`,
      )
    }
    return path
  }

  #cidPort(place: string): { cid: VsockEndpoint['cid']; vsockPort: number } {
    const accepted = `write ${FORMS.vsock}; CID is a number, any, host or local`
    const match = /^([^:/]*)(?::([^/]*))?\/?$/.exec(place)
    if (!match) throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', `"${showable(place)}" is not CID:PORT`, accepted)
    const written = (match[1] ?? '').toLowerCase()
    if (written === '') throw this.#uri.fail('VSPC_ENDPOINT_SYNTAX', 'the CID is missing', accepted)
    if (match[2] === undefined || match[2] === '') {
      throw this.#uri.fail('VSPC_ENDPOINT_PORT', 'the port is missing', accepted)
    }
    const vsockPort = this.#number(match[2], 0xffff_fffe)
    if (written === 'any' && this.#uri.role === 'dial') {
      throw this.#uri.fail('VSPC_ENDPOINT_ROLE', 'CID "any" cannot be dialled', 'dial a number, host or local')
    }
    if (written === 'any' || written === 'host' || written === 'local') return { cid: written, vsockPort }
    if (!/^[0-9]+$/.test(written) || Number(written) > 0xffff_fffe) {
      const near = nearest(written, ['any', 'host', 'local'])
      throw this.#uri.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `"${showable(written)}" is not a CID`,
        near ? `${accepted}; did you mean ${near}?` : accepted,
      )
    }
    return { cid: Number(written), vsockPort }
  }

  #pathPort(place: string): { path: string; vsockPort: number } {
    const colon = place.lastIndexOf(':')
    if (colon < 0 || colon === place.length - 1) {
      throw this.#uri.fail('VSPC_ENDPOINT_PORT', 'the port is missing', `write ${FORMS.hvsock}`)
    }
    const path = this.#path('hvsock', place.slice(0, colon))
    return { path, vsockPort: this.#number(place.slice(colon + 1), 0xffff_fffe) }
  }
}
