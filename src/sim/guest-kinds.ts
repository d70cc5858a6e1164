import { VspcError } from '../base/index.ts'
import { CounterGuest, type Guest, PatternGuest, silentGuest } from './guest.ts'
import { ShellGuest } from './guest-shell.ts'

export const GUEST_KINDS = ['echo', 'counter', 'pattern', 'silent'] as const
export type GuestKind = (typeof GUEST_KINDS)[number]

export interface GuestSpec {
  readonly kind: GuestKind
  /** Between two prints of `counter` (default 1000) and `pattern` (100). */
  readonly intervalMs?: number
}

export function createGuest(spec: GuestSpec): Guest {
  switch (spec.kind) {
    case 'echo':
      return new ShellGuest()
    case 'counter':
      return new CounterGuest(spec.intervalMs)
    case 'pattern':
      return new PatternGuest(spec.intervalMs)
    case 'silent':
      return silentGuest
  }
}

/**
 * Parses `echo,counter:250`: kinds in turn, each with an optional interval in milliseconds; `mixed` = all but pattern.
 * @throws VspcError VSPC_USAGE for anything else.
 */
export function parseGuests(text: string): GuestSpec[] {
  if (text === 'mixed') return [{ kind: 'echo' }, { kind: 'counter' }, { kind: 'silent' }]
  return text.split(',').map((word) => {
    const [name, interval] = word.trim().split(':', 2)
    const kind = GUEST_KINDS.find((known) => known === name)
    const intervalMs = interval === undefined ? undefined : Number(interval)
    if (!kind || (intervalMs !== undefined && !(intervalMs >= 1))) {
      const accepted = `${GUEST_KINDS.join(', ')} or mixed; counter and pattern take an interval, as in counter:250`
      throw new VspcError('VSPC_USAGE', `unknown guest "${word}"; accepted: ${accepted}`)
    }
    return intervalMs === undefined ? { kind } : { kind, intervalMs }
  })
}
