/**
 * A port's folder from its id and back.
 *
 * Ids are made of what editors of VMs typed. A folder's name has lower-case letters, digits, `-`, `.` (not first), `+`
 * for `:`, and `=hh` for every other byte of the id's UTF-8; so it never leaves its folder, and differs from those of
 * other ids also where case does not count. What gets too long is `==` and a hash, and the id is read from the port's
 * file.
 */
import { createHash } from 'node:crypto'

const MAX_BYTES = 120
const HASHED = /^==[0-9a-f]{64}$/
const LONE_SURROGATE = /\p{Surrogate}/u
const PLAIN = /^[a-z0-9-][a-z0-9.-]*$/

export function encodeDirName(id: string): string {
  // As nearly all are: no second string.
  if (id.length <= MAX_BYTES && PLAIN.test(id)) return id
  // A lone surrogate has no UTF-8: two ids could get one name.
  if (id === '' || id.length > MAX_BYTES || LONE_SURROGATE.test(id)) return hashedName(id)
  // Joined, not added up: that would be kept as a chain of all its parts.
  const name = Array.from(new TextEncoder().encode(id), (byte, i) => nameOf(byte, i === 0)).join('')
  return name.length > MAX_BYTES ? hashedName(id) : name
}

/** The id of a folder's name; null when it is hashed or not one of ours. */
export function decodeDirName(name: string): string | null {
  if (!/^(?:[a-z0-9+.-]|=[0-9a-f]{2})+$/.test(name)) return null
  const bytes: number[] = []
  for (const [part] of name.matchAll(/=..|./g)) {
    if (part === '+') bytes.push(0x3a)
    else bytes.push(part.length === 1 ? part.charCodeAt(0) : Number.parseInt(part.slice(1), 16))
  }
  const id = new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes))
  return encodeDirName(id) === name ? id : null
}

export function isHashedDirName(name: string): boolean {
  return HASHED.test(name)
}

function hashedName(id: string): string {
  return `==${createHash('sha256').update(Buffer.from(id, 'utf16le')).digest('hex')}`
}

function nameOf(byte: number, first: boolean): string {
  const character = String.fromCharCode(byte)
  if (character === ':') return '+'
  if (/[a-z0-9-]/.test(character) || (character === '.' && !first)) return character
  return `=${byte.toString(16).padStart(2, '0')}`
}
