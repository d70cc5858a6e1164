import type { ConsoleMode } from './types.ts'

/** `shared`: any number of writers at once. `single`: one writer; further ones need force. */
export type WriterPolicy = 'shared' | 'single'

export interface ModeHolder {
  readonly mode: ConsoleMode
}

/** `demote`: consoles that have to become readers first. `busy`: who is in the way. */
export type ModeDecision<Holder> = { granted: true; demote: Holder[] } | { granted: false; busy: Holder[] }

/**
 * May a console have `mode` while `others` hold theirs? Pure.
 *
 * read: always. write: unless somebody has it exclusively, or policy allows a single writer. exclusive: only without
 * other writers. Force turns those in the way into readers.
 */
export function decideMode<Holder extends ModeHolder>(
  mode: ConsoleMode,
  force: boolean,
  others: readonly Holder[],
  policy: WriterPolicy,
): ModeDecision<Holder> {
  const inTheWay = others.filter((other) => {
    if (mode === 'read' || other.mode === 'read') return false
    return mode === 'exclusive' || other.mode === 'exclusive' || policy === 'single'
  })
  if (inTheWay.length > 0 && !force) return { granted: false, busy: inTheWay }
  return { granted: true, demote: inTheWay }
}
