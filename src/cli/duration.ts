import { VspcError } from '../base/index.ts'

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Longer ones overflow a timer (2^31 - 1 ms), which Node would turn into 1 ms. */
export const MAX_DURATION_MS = 2_147_483_647

/**
 * Milliseconds of `10s`, `500ms`, `2m`, `1.5h`, `1d`; a bare `0` needs no unit.
 * @throws VspcError VSPC_USAGE naming `what` and quoting the text.
 */
export function parseDuration(text: string, what: string): number {
  if (text === '0') return 0
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  const unit = match?.[2] as keyof typeof UNIT_MS | undefined
  if (!match || !unit) {
    const hint = /^\d+(\.\d+)?$/.test(text)
      ? `a unit is missing: ${text}s, ${text}ms, ...`
      : 'write 500ms, 10s, 2m or 1h'
    throw new VspcError('VSPC_USAGE', `${what}: "${text}" is not a duration: ${hint}`)
  }
  const ms = Math.round(Number(match[1]) * UNIT_MS[unit])
  if (ms > MAX_DURATION_MS) {
    throw new VspcError('VSPC_USAGE', `${what}: "${text}" is too long: at most 24d`)
  }
  return ms
}
