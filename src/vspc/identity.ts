/**
 * Who a serial port belongs to, from what the wire and the configuration say. Pure.
 *
 * Everything read here was typed by whoever edits the VM: lengths are capped, characters checked.
 */
import { cleanText } from '../base/index.ts'
import { sameBytes } from '../vmotion/index.ts'

const LABEL = /^[A-Za-z0-9._-]{1,64}$/
const SPACE = 0x20
const DASH = 0x2d

/**
 * The canonical form (lower case, 8-4-4-4-12) of a UUID in any spelling: VMware's hex pairs with one dash, upper or
 * lower case, with or without spaces and dashes. The byte order stays as written. Null unless it has 32 hex digits.
 */
export function canonicalUuid(text: Uint8Array | string): string | null {
  const usual = typeof text === 'string' ? null : usualUuid(text)
  if (usual !== null) return usual
  const raw = typeof text === 'string' ? text : latin1(text)
  if (raw.length > 128 || !/^[0-9A-Fa-f\s{}-]*$/.test(raw.replace(/\0+$/, ''))) return null
  const digits = raw.replace(/[^0-9A-Fa-f]/g, '').toLowerCase()
  if (digits.length !== 32) return null
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`
}

/** A UUID as ESX spells it, of hex digits, spaces and dashes: four of them in every handshake. Null: look closer. */
function usualUuid(text: Uint8Array): string | null {
  if (text.length > 64) return null
  const codes = new Uint8Array(36).fill(DASH)
  let at = 0
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] as number
    if (byte === SPACE || byte === DASH) continue
    const lower = byte >= 0x41 && byte <= 0x46 ? byte + 0x20 : byte
    const isHex = (lower >= 0x30 && lower <= 0x39) || (lower >= 0x61 && lower <= 0x66)
    if (!isHex || at === 36) return null
    codes[at++] = lower
    if (at === 8 || at === 13 || at === 18 || at === 23) at++
  }
  return at === 36 ? decodeUtf8(codes) : null
}

/** As `cleanText`, which it leaves all but plain ASCII to. */
export function nameText(raw: Uint8Array): string {
  const plain = raw.length <= 256 && raw[0] !== SPACE && raw[raw.length - 1] !== SPACE && raw.every(isPrintable)
  return (plain ? decodeUtf8(raw) : null) ?? cleanText(raw)
}

function isPrintable(byte: number): boolean {
  return byte >= SPACE && byte < 0x7f
}

/** What a serviceURI says to us. */
export interface ServiceUri {
  /** For logs and pages: decoded with replacement, cleaned, at most 512 characters. */
  readonly display: string
  /** The part that names the service: of `telnet://vSPC.py:13370/?port=a` it is `vSPC.py`. Compared exactly. */
  readonly name: string
  /** Which of the VM's ports this is, if the URI says so. */
  readonly label: string | null
}

/**
 * Reads `name`, `name?args`, `scheme://name[:port][/path][?args]`. The label is the argument `port`, or else what
 * follows the name as a path. Never fails: what cannot be read has no label and is its own name.
 */
export function parseServiceUri(raw: Uint8Array): ServiceUri {
  if (lastUri === null || !sameBytes(raw, lastUri.raw)) {
    lastUri = { raw: new Uint8Array(raw), parsed: readServiceUri(raw) }
  }
  return lastUri.parsed
}

/** Nearly all VMs of a concentrator name the same one. */
let lastUri: { readonly raw: Uint8Array; readonly parsed: ServiceUri } | null = null

function readServiceUri(raw: Uint8Array): ServiceUri {
  const text = decodeUtf8(raw) ?? latin1(raw)
  const [beforeQuery = '', query = ''] = splitOnce(text, '?')
  const rest = beforeQuery.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\//, '')
  const hasScheme = rest.length !== beforeQuery.length
  const [authority = '', path = ''] = splitOnce(rest, '/')
  const name = hasScheme ? authority.replace(/:\d*$/, '') : authority
  return { display: cleanText(raw, 512), name, label: labelOf(query) ?? validLabel(path) }
}

/**
 * Does a serviceURI belong to this concentrator?
 * @param accepted configured names or URIs; none = any.
 */
export function matchesService(uri: ServiceUri, accepted: readonly string[]): boolean {
  if (accepted.length === 0) return true
  return accepted.some((text) => parseServiceUri(new TextEncoder().encode(text)).name === uri.name)
}

/** What is known of a VM at some moment; fields stay null until learnt. */
export interface VmIdentity {
  vcUuid: string | null
  biosUuid: string | null
  locationUuid: string | null
  name: string
}

/** What is known of a VM whose connection says nothing. */
export const NOBODY: VmIdentity = { vcUuid: null, biosUuid: null, locationUuid: null, name: '' }

/** What the PROXY header of a relay says of a VM that says nothing itself: its UUID, in any spelling, or else its name. */
export function announcedIdentity(uniqueId: string): VmIdentity {
  const vcUuid = canonicalUuid(uniqueId)
  return vcUuid === null ? { ...NOBODY, name: cleanText(uniqueId) } : { ...NOBODY, vcUuid }
}

/**
 * The key of a VM: VC UUID, else BIOS UUID, else its name, else the address it comes from. The location UUID changes
 * when a VM moves and is never a key.
 */
export function vmKey(identity: VmIdentity, address: string): string {
  const uuid = identity.vcUuid ?? identity.biosUuid
  if (uuid !== null) return uuid
  return identity.name !== '' ? `name:${identity.name}` : `addr:${address}`
}

export function portId(key: string, label: string | null): string {
  return label === null ? key : `${key}:${label}`
}

export function validLabel(text: string): string | null {
  return LABEL.test(text) ? text : null
}

function labelOf(query: string): string | null {
  for (const argument of query.split('&')) {
    const [name, value = ''] = splitOnce(argument, '=')
    if (name === 'port') return validLabel(decodePercent(value))
  }
  return null
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Not percent-encoded after all: the label check decides.
    return text
  }
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    // Bytes that are not UTF-8 are compared raw.
    return null
  }
}

function latin1(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}
