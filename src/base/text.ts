/**
 * Text from the wire, made safe to show: decoded as UTF-8 with replacement, without control characters (C0, DEL, C1),
 * bidirectional overrides and line separators, at most `maxLength` UTF-16 units. VM names are chosen by whoever edits
 * the VM, and end up in terminals, log lines, pages and file names.
 */
export function cleanText(raw: Uint8Array | string, maxLength = 256): string {
  const text = typeof raw === 'string' ? raw : new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(raw)
  const clean = text
    .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g, '')
    .trim()
    .slice(0, maxLength)
  // Half a surrogate pair, cut here or sent so, would be an invalid string.
  return clean.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '')
}

/** A message of several lines from a server or the system, each line made safe by {@link cleanText}; empty ones left out. */
export function cleanMessage(text: string): string {
  return text
    .split('\n')
    .map((line) => cleanText(line, 2_000))
    .filter((line) => line !== '')
    .join('\n')
}

/** The candidate most like `word`, if any is like it at all: for "did you mean". */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Edits (a swap of neighbours counts as one) between two words, given up at `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swap = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? limit) + 1 : limit
      next.push(Math.min(substitute, swap, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    before = row
    row = next
  }
  return Math.min(row[b.length] as number, limit)
}
