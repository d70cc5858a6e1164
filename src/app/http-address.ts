/** Where the HTTP server may listen. */
import { VspcError } from '../base/index.ts'

export interface HttpAddress {
  /** Loopback: `localhost` or an address, IPv6 without brackets. */
  readonly host: string
  /** 0 = any free one. */
  readonly tcpPort: number
}

const ACCEPTED = 'accepted is "HOST:PORT", such as 127.0.0.1:13371 or [::1]:13371, or "off"'

/**
 * Parses `HOST:PORT`, or `off` (null). As long as there is no authentication, whoever reaches the API may type into
 * every VM's console: so only loopback passes, and names other than localhost do not, since where they lead to may
 * change.
 * @throws VspcError VSPC_CONFIG_INVALID, or VSPC_HTTP_UNSAFE_BIND for an address others can reach.
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
  const safe = { host: written.replace(/^\[|\]$/g, '').toLowerCase(), tcpPort }
  if (written.startsWith('[')) {
    const canonical = URL.canParse(`http://${written}/`) ? new URL(`http://${written}/`).hostname : null
    if (canonical === null) {
      throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}": ${written} is not an IPv6 address; ${ACCEPTED}`)
    }
    if (canonical === '[::1]') return safe
    throw unsafe(text, tcpPort)
  }
  if (safe.host === 'localhost') return safe
  if (/^[0-9.]+$/.test(written)) {
    const parts = written.split('.')
    if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) {
      throw new VspcError('VSPC_CONFIG_INVALID', `http "${text}": ${written} is not an IPv4 address; ${ACCEPTED}`)
    }
    if (parts[0] === '127') return safe
    throw unsafe(text, tcpPort)
  }
  if (written === '*') throw unsafe(text, tcpPort)
  throw new VspcError(
    'VSPC_CONFIG_INVALID',
    `http "${text}": ${written} is a name, and where it leads to may change; write an address, such as 127.0.0.1:${tcpPort}`,
  )
}

function unsafe(text: string, tcpPort: number): VspcError {
  return new VspcError(
    'VSPC_HTTP_UNSAFE_BIND',
    `http "${text}" can be reached from other machines, and there is no authentication: anyone could type into the ` +
      `consoles; use 127.0.0.1:${tcpPort} (--http 127.0.0.1:${tcpPort}) and reach it over SSH ` +
      `(ssh -L ${tcpPort || 13371}:127.0.0.1:${tcpPort || 13371} THIS-HOST) or through a proxy that authenticates`,
  )
}
