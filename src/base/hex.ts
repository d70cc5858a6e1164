const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** `ff fb 25`: lower-case pairs, joined by `separator`. */
export function formatHex(bytes: Uint8Array, separator = ' '): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++) text += (i > 0 ? separator : '') + HEX[bytes[i] as number]
  return text
}

/** Bytes of hex text; white space anywhere is ignored, case too. Returns null for anything that is not whole pairs. */
export function parseHex(text: string): Uint8Array | null {
  const digits = text.replace(/\s+/g, '')
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits)) return null
  const bytes = new Uint8Array(digits.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)
  return bytes
}
