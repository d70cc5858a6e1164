/** Which addresses Telnet may listen on, given who has to show who they are. Pure. */
import { formatHostPort } from '../../transport/index.ts'
import { openRule } from '../access/binding.ts'
import type { AccessConfig } from '../access/settings.ts'
import { isLoopbackAddress } from '../http-address.ts'
import { rangeText, type TelnetConfig } from './settings.ts'

export interface TelnetFault {
  readonly setting: 'ports' | 'menu' | 'cert' | 'key'
  readonly message: string
}

/** Others reach it: then everybody has to show who they are, and what they show must not be readable on the way. */
export function telnetFaults(telnet: TelnetConfig, access: AccessConfig | null): TelnetFault[] {
  const { ports, menu, cert, key } = telnet
  if (cert !== null && key === null)
    return [{ setting: 'cert', message: 'telnet.cert needs its key: give telnet.key, too' }]
  if (cert === null && key !== null) {
    return [{ setting: 'key', message: 'telnet.key needs its certificate: give telnet.cert, too' }]
  }
  const faults: TelnetFault[] = []
  const local = 'use 127.0.0.1 and reach it over SSH (ssh -L)'
  const look = (setting: 'ports' | 'menu', host: string, text: string): void => {
    if (isLoopbackAddress({ host, tcpPort: 0 })) return
    const where = `telnet ${setting} "${text}" can be reached from other machines`
    const why = whyNot(access, cert)
    if (why !== null) faults.push({ setting, message: `${where}, and ${why}; or ${local}` })
  }
  if (ports !== null) look('ports', ports.host, rangeText(ports))
  if (menu !== null) look('menu', menu.host, formatHostPort(menu.host, menu.tcpPort))
  return faults
}

function whyNot(access: AccessConfig | null, cert: string | null): string | null {
  if (access === null) {
    return 'nothing says who may use it: anyone could type into the consoles. Give a file of tokens (--tokens FILE, made by "vspc token add") or a section "access", and telnet.cert and telnet.key'
  }
  if (cert === null) {
    return 'tokens and all that is typed could be read on the way: give telnet.cert and telnet.key'
  }
  const rule = openRule(access)
  return rule === null
    ? null
    : `${rule} gives anyone more than to read: that takes "authenticated", or names, in its "who"`
}
