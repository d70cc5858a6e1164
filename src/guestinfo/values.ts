/**
 * What a value looks like under way.
 *
 * Setting an empty value deletes the key, so VIC writes `<nil>` for it. [doc] XML (the API's side) loses control
 * characters, a shell's tools trim blanks, and the tool ends its output with a line feed: what would not arrive as it is
 * travels as `vspc-base64:` and the base64 of its UTF-8. Every text has exactly one form, and plain words stay readable.
 */
import { VspcError } from '../base/index.ts'
import { GUESTINFO_LIMITS } from './limits.ts'

/** An empty value, VIC's way. */
export const NIL = '<nil>'
const BASE64 = 'vspc-base64:'

/** Line feeds and tabs inside a value arrive; at its ends, and other control characters anywhere, they may not. */
const FRAGILE = /^\s|\s$|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\ufffe\uffff]/

/** @param text any, but for halves of surrogate pairs, which become U+FFFD. */
export function encodeValue(text: string): string {
  if (text === '') return NIL
  if (text !== NIL && !text.startsWith(BASE64) && !FRAGILE.test(text)) {
    return /[\ud800-\udfff]/.test(text) ? new TextDecoder().decode(new TextEncoder().encode(text)) : text
  }
  return BASE64 + toBase64(new TextEncoder().encode(text))
}

/** The text that {@link encodeValue} was given; what has another form than ours is returned as it is. */
export function decodeValue(value: string): string {
  if (value === NIL) return ''
  if (!value.startsWith(BASE64)) return value
  const bytes = fromBase64(value.slice(BASE64.length))
  if (bytes === null) return value
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    // Not UTF-8: not of our making.
    return value
  }
}

/** What an `info-get` sends. */
export function getMessage(key: string): string {
  return `info-get ${key}`
}

/**
 * What an `info-set` sends. The first blank ends the key, all after the second belongs to the value.
 * @param value encoded.
 * @throws VspcError VSPC_GUESTINFO_TOO_LONG naming the key and the sizes, never the value.
 */
export function setMessage(key: string, value: string): string {
  const message = `info-set ${key} ${value}`
  const bytes = utf8Length(message)
  const most = GUESTINFO_LIMITS.maxMessageBytes
  if (bytes > most) {
    const room = most - utf8Length(message.slice(0, message.length - value.length))
    const text = `the value for ${key} takes ${utf8Length(value)} bytes; one message to the host has room for ${room}: split it over several keys`
    throw new VspcError('VSPC_GUESTINFO_TOO_LONG', text)
  }
  return message
}

/** Bytes of a text as UTF-8, without making them. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) continue
    // Each half of a pair counts 2, a half alone becomes U+FFFD and counts 3.
    const paired =
      (unit >= 0xd800 && unit < 0xdc00 && isLow(text.charCodeAt(i + 1))) ||
      (isLow(unit) && i > 0 && isHigh(text.charCodeAt(i - 1)))
    bytes += unit < 0x800 || paired ? 1 : 2
  }
  return bytes
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000

export function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let i = 0; i < bytes.length; i += 8_192) binary += String.fromCharCode(...bytes.subarray(i, i + 8_192))
  return btoa(binary)
}

/** Null for what is no base64 with its padding, or not the one way to write it. */
export function fromBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  return toBase64(bytes) === text ? bytes : null
}
