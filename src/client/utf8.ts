/** How many bytes each character of UTF-8 takes, broken ones included, counted as the Encoding Standard decodes them. */

/**
 * Bytes that the decoder turns into one character at `at`: 1 to 4 for a whole one, fewer for a broken one, which
 * becomes U+FFFD. Encoding Standard, section 8.1.1.
 */
export function utf8SizeAt(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number
  const size = sizeByLead(lead)
  if (size === 1) return 1
  for (let taken = 1; taken < size; taken++) {
    const byte = bytes[at + taken]
    const [low, high] = taken === 1 ? secondByteRange(lead) : ANY_CONTINUATION
    if (byte === undefined || byte < low || byte > high) return taken
  }
  return size
}

/** Bytes taken by the first `units` UTF-16 units of the decoded text. Half a surrogate pair counts as the whole. */
export function utf8BytesOf(bytes: Uint8Array, units: number): number {
  let at = 0
  for (let left = units; left > 0 && at < bytes.length; ) {
    const size = utf8SizeAt(bytes, at)
    at += size
    left -= size === 4 ? 2 : 1
  }
  return at
}

/** Bytes at the end, 0 to 3, that may be the beginning of a character. */
export function utf8OpenTail(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] as number
    if (byte < 0x80) return 0
    if (byte >= 0xc0) return sizeByLead(byte) > back ? back : 0
  }
  return 0
}

/** 1 for what begins no longer character. */
function sizeByLead(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 1
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
}

const ANY_CONTINUATION = [0x80, 0xbf] as const

/** No overlong forms, no surrogates, nothing beyond U+10FFFF. */
function secondByteRange(lead: number): readonly [number, number] {
  if (lead === 0xe0) return [0xa0, 0xbf]
  if (lead === 0xed) return [0x80, 0x9f]
  if (lead === 0xf0) return [0x90, 0xbf]
  if (lead === 0xf4) return [0x80, 0x8f]
  return ANY_CONTINUATION
}
