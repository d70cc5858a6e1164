/** Where the HTTP server may listen. */
import { VspcError } from '../base/index.ts'

export interface HttpAddress {
  /** `localhost` or an address, IPv6 without brackets. */
  readonly host: string
  /** 0 = any free one. */
  readonly tcpPort: number
}

const ACCEPTED = 'accepted is "HOST:PORT", such as 127.0.0.1:13371 or [::1]:13371, or "off"'

/**
 * Parses `HOST:PORT`, or `off` (null). Names other than localhost do not pass: where they lead to may change. Whether an
 * address that others can reach may be listened on is decided elsewhere (access/binding.ts).
 * @throws VspcError VSPC_CONFIG_INVALID.
 */
export function parseHttpAddress(text: string): HttpAddress | null {
  if (text === 'off') return null
  const match = /^(\[[^\]]*\]|[^:[\]]*):([0-9]{1,5})$/.exec(text)
  const tcpPort = Number(match?.[2])
  if (!match || tcpPort > 65_535) {
    const hint = /^https?:\/\//.test(text) ? '; leave out the scheme' : ''
    throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}" is not an address and port; ${ACCEPTED}${hint}`)
  }
  const written = match[1] ?? ''
  if (written === '') {
    throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}" has no host; ${ACCEPTED}`)
  }
  const address = { host: written.replace(/^\[|\]$/g, '').toLowerCase(), tcpPort }
  if (written.startsWith('[')) {
    if (canonicalIpv6(written) !== null) return address
    throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}": ${written} is not an IPv6 address; ${ACCEPTED}`)
  }
  if (address.host === 'localhost') return address
  if (written === '*') return { host: '0.0.0.0', tcpPort }
  if (/^[0-9.]+$/.test(written)) {
    const parts = written.split('.')
    if (parts.length === 4 && parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) {
      return address
    }
    throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}": ${written} is not an IPv4 address; ${ACCEPTED}`)
  }
  throw new VspcError(
    'VSPC_CONFIG_INVALID',
    `http "${text}": ${written} is a name, and where it leads to may change; write an address, such as 127.0.0.1:${tcpPort}`,
  )
}

/** Only this machine reaches it. */
export function isLoopbackAddress({ host }: HttpAddress): boolean {
  if (host === 'localhost' || /^127\./.test(host)) return true
  return host.includes(':') && canonicalIpv6(`[${host}]`) === '[::1]'
}

function canonicalIpv6(bracketed: string): string | null {
  return URL.canParse(`http://${bracketed}/`) ? new URL(`http://${bracketed}/`).hostname : null
}
