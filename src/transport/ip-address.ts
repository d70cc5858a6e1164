/** IP addresses: text to bytes and back. Pure. */

/** The 4 or 16 bytes of an address as the system writes it, a zone left out; null for anything else. */
export function parseIpAddress(text: string): Uint8Array | null {
  const [address = ''] = text.split('%')
  return address.includes(':') ? parseIpv6(address) : parseIpv4(address)
}

function parseIpv4(text: string): Uint8Array | null {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return null
  const numbers = text.split('.').map(Number)
  return numbers.every((number) => number <= 255) ? Uint8Array.from(numbers) : null
}

function parseIpv6(text: string): Uint8Array | null {
  const dotted = text.slice(text.lastIndexOf(':') + 1)
  const tail = dotted.includes('.') ? parseIpv4(dotted) : null
  if (dotted.includes('.') && tail === null) return null
  const words = tail === null ? text : `${text.slice(0, -dotted.length)}${wordsOf(tail).join(':')}`
  const halves = words.split('::')
  if (halves.length > 2) return null
  const [before = [], after] = halves.map((half) => (half === '' ? [] : half.split(':')))
  const missing = 8 - before.length - (after?.length ?? 0)
  if (after === undefined ? missing !== 0 : missing < 1) return null
  const all = [...before, ...Array<string>(missing).fill('0'), ...(after ?? [])]
  if (!all.every((word) => /^[0-9a-fA-F]{1,4}$/.test(word))) return null
  return Uint8Array.from(all.map((word) => Number.parseInt(word, 16)).flatMap((value) => [value >> 8, value & 0xff]))
}

function wordsOf(bytes: Uint8Array): string[] {
  const words: string[] = []
  for (let at = 0; at < bytes.length; at += 2) {
    words.push((((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16))
  }
  return words
}

/** @param bytes 4 or 16 of them. IPv6 as RFC 5952 writes it, but that of an IPv4 address (::ffff:a.b.c.d) as IPv4. */
export function formatIpAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff
  if (mapped) return bytes.subarray(12).join('.')
  const words = wordsOf(bytes)
  const { start, length } = longestZeros(words)
  if (length < 2) return words.join(':')
  return `${words.slice(0, start).join(':')}::${words.slice(start + length).join(':')}`
}

function longestZeros(words: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let run = { start: 0, length: 0 }
  for (const [index, word] of words.entries()) {
    if (word !== '0') run = { start: index + 1, length: 0 }
    else run = { start: run.start, length: run.length + 1 }
    if (run.length > best.length) best = run
  }
  return best
}
