/** Which ports a right is for. Pure. */
import { cleanText, VspcError } from '../base/index.ts'
import { type Glob, parseGlob } from './glob.ts'

/** What is known of a port when a right is decided on. Name and UUID are what its VM says of itself. */
export interface PortFacts {
  readonly id: string
  /** Empty while unknown. */
  readonly name: string
  /** Canonical, of the key: the VC UUID, or the BIOS UUID of a VM that has told no other. */
  readonly uuid: string | null
  /** As `PortInfo.host`; of the last connection while offline. */
  readonly host: string | null
}

export type Selector =
  | { readonly kind: 'all' }
  | { readonly kind: 'name'; readonly glob: Glob }
  | { readonly kind: 'uuid'; readonly uuid: string }
  | { readonly kind: 'host'; readonly glob: Glob }

export const SELECTOR_ACCEPTS = '"*", a pattern of VM names (web*, name:web*), uuid:UUID or host:PATTERN'

/** @throws VspcError VSPC_CONFIG_INVALID quoting `text`. */
export function parseSelector(text: string): Selector {
  if (text === '*') return { kind: 'all' }
  const [, kind, rest = ''] = /^([A-Za-z]+):(.*)$/su.exec(text) ?? []
  switch (kind) {
    case undefined:
      return { kind: 'name', glob: parseGlob(text) }
    case 'name':
      return { kind: 'name', glob: parseGlob(rest) }
    case 'host':
      return { kind: 'host', glob: parseGlob(rest) }
    case 'uuid': {
      const digits = rest.replace(/[\s{}-]/g, '').toLowerCase()
      if (!/^[0-9a-f]{32}$/.test(digits)) throw notASelector(text, 'a UUID has 32 hexadecimal digits')
      return { kind: 'uuid', uuid: digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') }
    }
    default:
      throw notASelector(text, `for a name that begins so write name:${cleanText(text, 60)}`)
  }
}

export function formatSelector(selector: Selector): string {
  switch (selector.kind) {
    case 'all':
      return '*'
    case 'uuid':
      return `uuid:${selector.uuid}`
    case 'name':
    case 'host':
      return `${selector.kind}:${selector.glob.text}`
  }
}

/** @param port null = what is about the whole server: only what is for all ports is for that. */
export function selects(selector: Selector, port: PortFacts | null): boolean {
  if (selector.kind === 'all') return true
  if (port === null) return false
  switch (selector.kind) {
    case 'uuid':
      return port.uuid === selector.uuid
    case 'name':
      // What has no name yet fits no pattern: it may turn out to be anything.
      return port.name !== '' && selector.glob.matches(port.name)
    case 'host':
      return port.host !== null && selector.glob.matches(port.host)
  }
}

function notASelector(text: string, hint: string): VspcError {
  return new VspcError(
    'VSPC_CONFIG_INVALID',
    `"${cleanText(text, 100)}" selects no ports; accepted is ${SELECTOR_ACCEPTS}; ${hint}`,
  )
}
