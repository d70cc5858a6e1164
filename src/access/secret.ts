/**
 * Secrets that say what they are: a prefix that scanners of repositories and logs can look for, 256 random bits, and a
 * checksum, so that a mistyped or cut one is told from one that is not known, without asking anybody. Pure.
 *
 * 43 digits of base 62 hold 256 bits; 6 more the CRC-32 of all before them. Nothing in it ends a word: a double click takes
 * it whole, and it can stand in a header, a file name or a WebSocket subprotocol as it is.
 */
export const TOKEN_PREFIX = 'vspct_'
export const TICKET_PREFIX = 'vspck_'
export type SecretPrefix = typeof TOKEN_PREFIX | typeof TICKET_PREFIX

export const SECRET_BYTES = 32
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const BODY_DIGITS = 43
const CHECK_DIGITS = 6
const LENGTH = TOKEN_PREFIX.length + BODY_DIGITS + CHECK_DIGITS

/** @param bytes {@link SECRET_BYTES} of them, from the system's random source. */
export function formatSecret(prefix: SecretPrefix, bytes: Uint8Array): string {
  if (bytes.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes, not ${bytes.length}`)
  let number = 0n
  for (const byte of bytes) number = (number << 8n) | BigInt(byte)
  const text = prefix + digits(number, BODY_DIGITS)
  return text + checksum(text)
}

/** What is wrong with a text that should be such a secret, in words; null = nothing that can be seen. Never quotes it. */
export function secretFault(prefix: SecretPrefix, text: string): string | null {
  if (!text.startsWith(prefix)) return `it does not begin with ${prefix}`
  if (!/^[0-9A-Za-z]*$/.test(text.slice(prefix.length))) return 'it holds characters that none has'
  if (text.length !== LENGTH) return `it has ${text.length} characters, not ${LENGTH}: a part is missing or too much`
  if (checksum(text.slice(0, -CHECK_DIGITS)) !== text.slice(-CHECK_DIGITS)) {
    return 'its checksum is wrong: a character was changed'
  }
  return null
}

function digits(number: bigint, count: number): string {
  let text = ''
  for (let rest = number; text.length < count; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text
  return text
}

function checksum(text: string): string {
  return digits(BigInt(crc32(text)), CHECK_DIGITS)
}

/** CRC-32 (ISO 3309) of ASCII. Too rare to be worth a table. */
function crc32(text: string): number {
  let crc = 0xffff_ffff
  for (let at = 0; at < text.length; at++) {
    crc ^= text.charCodeAt(at)
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0)
  }
  return ~crc >>> 0
}
