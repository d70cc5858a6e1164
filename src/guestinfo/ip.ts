/** IP addresses as text and as bytes. */

/** 4 or 16 bytes; null for what is no address. IPv6 with a zone is none: it means nothing outside its VM. */
export function parseIp(text: string): Uint8Array | null {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

/** @param bytes 4 or 16, else null; IPv4 mapped into IPv6, as Go keeps it, is shown as IPv4. IPv6 as in RFC 5952. */
export function formatIp(bytes: Uint8Array): string | null {
  if (bytes.length === 4) return [...bytes].join('.')
  if (bytes.length !== 16) return null
  if (isMapped(bytes)) return [...bytes.subarray(12)].join('.')
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  )
  let [at, length] = [0, 1]
  for (let i = 0; i < 8; i++) {
    let end = i
    while (end < 8 && groups[end] === '0') end++
    if (end - i > length) [at, length] = [i, end - i]
  }
  if (length < 2) return groups.join(':')
  return `${groups.slice(0, at).join(':')}::${groups.slice(at + length).join(':')}`
}

/** The one spelling of an address; null for what is none, or the unspecified one. */
export function cleanIp(text: string): string | null {
  const bytes = parseIp(text)
  return bytes === null || bytes.every((byte) => byte === 0) ? null : formatIp(bytes)
}

/** Bits of a mask; null for what is none. */
export function prefixOfMask(mask: Uint8Array): number | null {
  const bits = Array.from(mask, (byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.length === 32 || bits.length === 128) && /^1*0*$/.test(bits) ? bits.replaceAll('0', '').length : null
}

/** @param bytes 4 or 16. @param prefix at most 8 times as much. */
export function maskOfPrefix(bytes: number, prefix: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * i))) & 0xff)
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) return null
  return Uint8Array.from(parts, Number)
}

function parseIpv6(text: string): Uint8Array | null {
  if (text.length > 45) return null
  let written = text
  const tail = /^(.*:)(\d[\d.]*\.[\d.]*)$/.exec(text)
  if (tail) {
    const four = parseIpv4(tail[2] ?? '')
    if (four === null) return null
    const [a = 0, b = 0, c = 0, d = 0] = four
    written = `${tail[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  }
  const halves = written.split('::')
  if (halves.length > 2) return null
  const [left = [], right = []] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const missing = 8 - left.length - right.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null
  const groups = [...left, ...Array.from({ length: missing }, () => '0'), ...right]
  if (!groups.every((group) => /^[\da-f]{1,4}$/i.test(group))) return null
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  )
}
