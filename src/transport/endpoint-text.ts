/** The URI under the parser's hands: whose it is, and how to complain about it. Pure. */
import { cleanText, type ErrorCode, VspcError } from '../base/index.ts'
import type { EndpointRole, EndpointUse } from './endpoint.ts'

export class EndpointText {
  readonly text: string
  readonly role: EndpointRole
  readonly use: EndpointUse

  constructor(text: string, role: EndpointRole, use: EndpointUse) {
    this.text = text
    this.role = role
    this.use = use
  }

  fail(code: ErrorCode, wrong: string, accepted: string): VspcError {
    return new VspcError(code, `endpoint "${showable(this.text)}": ${wrong}; ${accepted}`)
  }

  decode(text: string, what: string): string {
    try {
      return decodeURIComponent(text)
    } catch {
      // decodeURIComponent says only "URI malformed".
      throw this.fail(
        'VSPC_ENDPOINT_SYNTAX',
        `${what} "${showable(text)}" has a broken percent escape`,
        'a "%" is written %25, other bytes as % and two hex digits of UTF-8',
      )
    }
  }
}

/** The URI as it may be shown: no password, no control characters, no novel. */
export function showable(text: string): string {
  return cleanText(text.replace(/^([^/]*:\/\/)[^/?#]*@/, '$1...@'), 300)
}

/** IPv6 without brackets, optionally with a zone (`fe80::1%eth0`). */
export function isIPv6(text: string): boolean {
  const zone = text.indexOf('%')
  if (zone >= 0 && !/^[A-Za-z0-9._-]+$/.test(text.slice(zone + 1))) return false
  const address = zone >= 0 ? text.slice(0, zone) : text
  return /^[0-9a-fA-F:.]+$/.test(address) && address.includes(':') && URL.canParse(`http://[${address}]/`)
}

/** A DNS name or dotted IPv4 address. What looks like an IPv4 address has to be one. */
export function isHostName(text: string): boolean {
  if (/^[0-9.]+$/.test(text)) {
    const parts = text.split('.')
    return parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)
  }
  return (
    text.length <= 253 && text.split('.').every((part) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(part))
  )
}
