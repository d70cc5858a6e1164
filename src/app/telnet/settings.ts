/** The section `telnet`: where people reach consoles with a Telnet client. */
import { errorMessage, VspcError } from '../../base/index.ts'
import { formatHostPort } from '../../transport/index.ts'
import { type HttpAddress, isLoopbackAddress, parseHttpAddress } from '../http-address.ts'
import { DEFAULT_ESCAPE, type EscapeSequence, formatEscape } from './escape.ts'

/** As it stands in a file. */
export interface TelnetSettings {
  ports?: string
  menu?: string
  notices?: boolean
  binary?: boolean
  escape?: string
  portEscape?: string
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
}

/** Nobody is let in. */
export const NO_TELNET: TelnetConfig = {
  ports: null,
  menu: null,
  notices: true,
  binary: true,
  escape: DEFAULT_ESCAPE,
  portEscape: null,
}

/** What one source of settings says; undefined where it says nothing. */
export type TelnetLayer = { readonly [Name in keyof TelnetConfig]: TelnetConfig[Name] | undefined }

export const TELNET_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  description:
    'Consoles for Telnet clients, see docs/telnet.md. There is no authentication: loopback only. Default: none.',
  properties: {
    ports: {
      type: 'string',
      description:
        'TCP ports to give to serial ports, one each and for good: `FIRST-LAST`, or `HOST:FIRST-LAST` with another ' +
        'loopback address than 127.0.0.1. Flag `--telnet`.',
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
  const { host } = loopback(`${match[1] ?? '127.0.0.1'}:${first}`, text, 'ports')
  return { host, first, last }
}

/** @throws VspcError VSPC_CONFIG_INVALID. */
export function parseTelnetMenu(text: string): HttpAddress | null {
  return text === 'off' ? null : loopback(text, text, 'menu')
}

/** Addresses are those of HTTP; but nobody has to log in here, so that only this machine may reach it. */
function loopback(address: string, text: string, what: 'ports' | 'menu'): HttpAddress {
  let parsed: HttpAddress | null
  try {
    parsed = parseHttpAddress(address)
  } catch (error) {
    const message = errorMessage(error).replace(/^http "[^"]*"/, `telnet ${what} "${text}"`)
    throw new VspcError('VSPC_CONFIG_INVALID', message, { cause: error })
  }
  if (parsed === null) throw new VspcError('VSPC_CONFIG_INVALID', `telnet ${what} "${text}" has no port`)
  if (isLoopbackAddress(parsed)) return parsed
  throw new VspcError(
    'VSPC_CONFIG_INVALID',
    `telnet ${what} "${text}" can be reached from other machines, and there is no authentication: anyone could type ` +
      'into the consoles; use 127.0.0.1 and reach it over SSH (ssh -L)',
  )
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
  }
}

/** Null is a value. */
function orDefault<Value>(value: Value | undefined, byDefault: Value): Value {
  return value === undefined ? byDefault : value
}

/** As it would stand in a file. */
export function telnetSettings({ ports, menu, notices, binary, ...keys }: TelnetConfig): TelnetSettings {
  return {
    ports: ports === null ? 'off' : `${formatHostPort(ports.host, ports.first)}-${ports.last}`,
    menu: menu === null ? 'off' : formatHostPort(menu.host, menu.tcpPort),
    notices,
    binary,
    escape: formatEscape(keys.escape),
    portEscape: formatEscape(keys.portEscape),
  }
}
