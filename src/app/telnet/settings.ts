/** The section `telnet`: where people reach consoles with a Telnet client. */
import { errorMessage, VspcError } from '../../base/index.ts'
import { formatHostPort } from '../../transport/index.ts'
import { type HttpAddress, parseHttpAddress } from '../http-address.ts'
import { DEFAULT_ESCAPE, type EscapeSequence, formatEscape } from './escape.ts'

/** As it stands in a file. */
export interface TelnetSettings {
  ports?: string
  menu?: string
  notices?: boolean
  binary?: boolean
  escape?: string
  portEscape?: string
  cert?: string
  key?: string
}

/** TCP ports of one loopback address, `first` to `last`. */
export interface TelnetRange {
  readonly host: string
  readonly first: number
  readonly last: number
}

export interface TelnetConfig {
  /** Null: none. */
  readonly ports: TelnetRange | null
  readonly menu: HttpAddress | null
  readonly notices: boolean
  /** Offer BINARY, and not only agree to it. */
  readonly binary: boolean
  /** What begins a command at consoles opened from the menu; null: nothing does. */
  readonly escape: EscapeSequence | null
  /** The same at a serial port's own TCP port. */
  readonly portEscape: EscapeSequence | null
  /** PEM files. Null: no TLS. */
  readonly cert: string | null
  readonly key: string | null
}

/** Nobody is let in. */
export const NO_TELNET: TelnetConfig = {
  ports: null,
  menu: null,
  notices: true,
  binary: true,
  escape: DEFAULT_ESCAPE,
  portEscape: null,
  cert: null,
  key: null,
}

/** What one source of settings says; undefined where it says nothing. */
export type TelnetLayer = { readonly [Name in keyof TelnetConfig]: TelnetConfig[Name] | undefined }

export const TELNET_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description:
    'Consoles for Telnet clients, see docs/telnet.md. On loopback only, unless there are `access`, `cert` and `key`. ' +
    'Default: none.',
  properties: {
    ports: {
      type: 'string',
      description:
        'TCP ports to give to serial ports, one each and for good: `FIRST-LAST`, or `HOST:FIRST-LAST` with another ' +
        'address than 127.0.0.1. Flag `--telnet`.',
      accepts: '"FIRST-LAST", such as 13400-13999, or "off"',
    },
    menu: {
      type: 'string',
      description: 'Where all serial ports can be chosen from: `HOST:PORT`. Flag `--telnet-menu`.',
      accepts: '"HOST:PORT", such as 127.0.0.1:13399, or "off"',
    },
    notices: {
      type: 'boolean',
      default: true,
      description:
        'Say in lines that begin with `[vspc]` who is attached to what, and what happens to the VM. `false`: nothing ' +
        "but the VM's output, for programs.",
    },
    binary: {
      type: 'boolean',
      default: true,
      description:
        'Offer BINARY (RFC 856) in both directions, so that clients pass all 8 bits. `false`: only where the client asks ' +
        'for it; for clients that then send Enter as two characters.',
    },
    escape: {
      type: 'string',
      default: formatEscape(DEFAULT_ESCAPE),
      description:
        'Begins a command at a console opened from the menu, such as `^Ec ?` for help: a control key, then another key. ' +
        '`off`: there are none, and all that is typed goes to the VM.',
      accepts: 'a control key and another one, such as "^Ec", or "off"',
    },
    portEscape: {
      type: 'string',
      default: 'off',
      description: "The same at a serial port's own TCP port, where all bytes pass unless this is set.",
      accepts: 'a control key and another one, such as "^Ec", or "off"',
    },
    cert: {
      type: 'string',
      description:
        'Certificate (PEM file) for Telnet over TLS, of both kinds of TCP port; with it and `access` they may be on other ' +
        'addresses than loopback. Read again at SIGHUP. Default: no TLS.',
    },
    key: { type: 'string', description: "The certificate's key (PEM file)." },
  },
} as const

const RANGE_ACCEPTED = 'accepted is "FIRST-LAST" or "HOST:FIRST-LAST", such as 13400-13999, or "off"'

/** @throws VspcError VSPC_CONFIG_INVALID. */
export function parseTelnetPorts(text: string): TelnetRange | null {
  if (text === 'off') return null
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?([0-9]{1,5})-([0-9]{1,5})$/.exec(text)
  const [first, last] = [Number(match?.[2]), Number(match?.[3])]
  if (!match || first < 1 || last > 65_535) {
    throw new VspcError('VSPC_CONFIG_INVALID', `telnet ports "${text}" are not a range of TCP ports; ${RANGE_ACCEPTED}`)
  }
  if (first > last) {
    throw new VspcError('VSPC_CONFIG_INVALID', `telnet ports "${text}" end before they begin; ${RANGE_ACCEPTED}`)
  }
  const { host } = parseAddress(`${match[1] ?? '127.0.0.1'}:${first}`, text, 'ports')
  return { host, first, last }
}

/** @throws VspcError VSPC_CONFIG_INVALID. */
export function parseTelnetMenu(text: string): HttpAddress | null {
  return text === 'off' ? null : parseAddress(text, text, 'menu')
}

/** Addresses are those of HTTP; whether others may reach them is decided in binding.ts. */
function parseAddress(address: string, text: string, what: 'ports' | 'menu'): HttpAddress {
  let parsed: HttpAddress | null
  try {
    parsed = parseHttpAddress(address)
  } catch (error) {
    const message = errorMessage(error).replace(/^http "[^"]*"/, `telnet ${what} "${text}"`)
    throw new VspcError('VSPC_CONFIG_INVALID', message, { cause: error })
  }
  if (parsed === null) throw new VspcError('VSPC_CONFIG_INVALID', `telnet ${what} "${text}" has no port`)
  return parsed
}

/** Earlier layers count more; null when nothing is to be opened. */
export function layTelnet(layers: readonly (TelnetLayer | undefined)[]): TelnetConfig | null {
  const first = <Name extends keyof TelnetConfig>(name: Name): TelnetConfig[Name] | undefined =>
    layers.find((layer) => layer?.[name] !== undefined)?.[name]
  const ports = first('ports') ?? null
  const menu = first('menu') ?? null
  if (ports === null && menu === null) return null
  return {
    ports,
    menu,
    notices: first('notices') ?? NO_TELNET.notices,
    binary: first('binary') ?? NO_TELNET.binary,
    escape: orDefault(first('escape'), NO_TELNET.escape),
    portEscape: orDefault(first('portEscape'), NO_TELNET.portEscape),
    cert: first('cert') ?? null,
    key: first('key') ?? null,
  }
}

/** Null is a value. */
function orDefault<Value>(value: Value | undefined, byDefault: Value): Value {
  return value === undefined ? byDefault : value
}

/** As it would stand in a file. */
export function telnetSettings({ ports, menu, notices, binary, cert, key, ...keys }: TelnetConfig): TelnetSettings {
  return {
    ports: ports === null ? 'off' : rangeText(ports),
    menu: menu === null ? 'off' : formatHostPort(menu.host, menu.tcpPort),
    notices,
    binary,
    escape: formatEscape(keys.escape),
    portEscape: formatEscape(keys.portEscape),
    ...(cert === null ? {} : { cert }),
    ...(key === null ? {} : { key }),
  }
}

export function rangeText({ host, first, last }: TelnetRange): string {
  return `${formatHostPort(host, first)}-${last}`
}
