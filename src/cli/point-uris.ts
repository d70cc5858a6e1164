/**
 * The two URIs of a serial port with a vSPC, as whoever configures it should know them: what is wrong, what is odd, and
 * the label in the serviceURI. Pure; the label is read as the server reads it (tests hold both together).
 */
import { cleanText, VspcError } from '../base/index.ts'
import { proxyFault } from '../vmotion/index.ts'

const LABEL = /^[A-Za-z0-9._-]{1,64}$/
const LABEL_ACCEPTED = 'a label has 1 to 64 letters, digits, dots, dashes and underscores, such as com1'
const MAX_URI_LENGTH = 1_024

export const EXAMPLE_SERVICE_URI = 'telnet://vspc:13370'

/** What nobody could use in a serviceURI, or null. */
export function serviceUriFault(uri: string): string | null {
  if (uri.trim() === '') return 'it is empty'
  if (uri !== uri.trim()) return 'it begins or ends with white space, which the server would compare, too'
  if (/[\s\p{Cc}\p{Cs}]/u.test(uri)) return 'it holds white space or control characters'
  if (uri.length > MAX_URI_LENGTH) return `it is longer than ${MAX_URI_LENGTH} characters`
  return null
}

/** What works, but perhaps not as meant. */
export function serviceUriHints(uri: string): string[] {
  return /^[a-z][a-z0-9+.-]*:\/\/./i.test(uri)
    ? []
    : [`newer vSphere clients want a serviceURI that looks like a URL, such as ${EXAMPLE_SERVICE_URI}`]
}

/** As the server reads it: the argument `port`, or else the path. Null: none, or none that it takes. */
export function labelOfServiceUri(uri: string): string | null {
  const [beforeQuery, query] = splitOnce(uri, '?')
  const path = splitOnce(beforeQuery.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\//, ''), '/')[1] ?? ''
  const argument = portArgument(query ?? '')
  const fromQuery = argument === null ? null : validLabel(decodePercent(argument))
  return fromQuery ?? validLabel(path)
}

/**
 * The serviceURI with the label in it.
 * @throws VspcError VSPC_USAGE for what is no label, and for a URI that says another one already.
 */
export function withLabel(uri: string, label: string): string {
  if (validLabel(label) === null) {
    throw new VspcError('VSPC_USAGE', `--label: "${cleanText(label, 80)}" is none: ${LABEL_ACCEPTED}`)
  }
  if (labelOfServiceUri(uri) === label) return uri
  const [beforeQuery, query] = splitOnce(uri, '?')
  const other = portArgument(query ?? '') ?? labelOfServiceUri(uri)
  if (other !== null) {
    const text = `--service-uri "${cleanText(uri, 200)}" says the label "${cleanText(other, 80)}" already: leave out one of the two`
    throw new VspcError('VSPC_USAGE', text)
  }
  if (query !== undefined) return `${uri}${query === '' ? '' : '&'}port=${label}`
  const isBare = /^[a-z][a-z0-9+.-]*:\/\/[^/]*$/i.test(beforeQuery)
  return `${uri}${isBare ? '/' : ''}?port=${label}`
}

/** How the port is called in other commands. */
export function portAddress(vmName: string, label: string | null): string {
  return label === null ? vmName : `${vmName}/${label}`
}

/** What is wrong with a proxyURI, or null; more than its syntax. */
export function proxyUriFault(uri: string): string | null {
  const wrong = uri !== uri.trim() ? 'it begins or ends with white space' : proxyFault(uri)
  if (wrong !== null) return wrong
  const options = proxyOptions(uri)
  if (options.length > 0 && /^telnet:/i.test(uri)) {
    const names = options.map(([name]) => name).join(', ')
    return `with ${names} the host insists on TLS, which telnet:// has not: write telnets://`
  }
  return null
}

/** What works, but perhaps not as meant. */
export function proxyUriHints(uri: string): string[] {
  const hints: string[] = []
  for (const [name, value] of proxyOptions(uri)) {
    if (name === 'thumbprint' && !/^[0-9a-f]{2}(?::[0-9a-f]{2}){19}$/i.test(value)) {
      hints.push(
        'the thumbprint is not 20 hex pairs with colons between, as "openssl x509 -fingerprint -sha1" prints it',
      )
    }
  }
  const host = proxyHost(uri)?.host ?? ''
  if (/^(?:127\.[\d.]+|localhost|::1)$/i.test(host)) {
    hints.push(`${host} is the ESXi host itself: right only where a relay runs on every host`)
  }
  return hints
}

/** Where the host connects to. IPv6 without brackets. Null for a URI with faults. */
export function proxyHost(uri: string): { readonly host: string; readonly tcpPort: number } | null {
  if (proxyFault(uri) !== null) return null
  const [, host = '', tcpPort = ''] = /^[a-z]+:\/\/(\[[^\]]*\]|[^:/?#]*):(\d+)/i.exec(uri) ?? []
  return { host: host.replace(/^\[|\]$/g, ''), tcpPort: Number(tcpPort) }
}

function proxyOptions(uri: string): [name: string, value: string][] {
  const options = splitOnce(uri, '#')[1]
  if (options === undefined || options === '') return []
  return options.split('&').map((option) => {
    const [name, value = ''] = splitOnce(option, '=')
    return [name, value]
  })
}

function portArgument(query: string): string | null {
  for (const argument of query.split('&')) {
    const [name, value = ''] = splitOnce(argument, '=')
    if (name === 'port') return value
  }
  return null
}

function validLabel(text: string): string | null {
  return LABEL.test(text) ? text : null
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not percent-encoded after all: whether it is a label is seen next.
    return text
  }
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)]
}
