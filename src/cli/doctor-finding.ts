/** What a check of `vspc doctor` says. Pure. */

/** `note`: neither good nor bad, or not known. */
export type Level = 'ok' | 'note' | 'warn' | 'fail'

export const SECTIONS = ['machine', 'server', 'vsphere', 'vm'] as const
export type Section = (typeof SECTIONS)[number]

export interface Said {
  readonly level: Level
  readonly message: string
  /** What it is about, where a check speaks of several things: a port. */
  readonly about?: string
  /** What to do about it. */
  readonly next?: string
}

export interface Finding {
  /** Stable; a heading of docs/doctor.md. */
  readonly id: string
  readonly section: Section
  readonly level: Level
  readonly about: string | null
  readonly message: string
  readonly next: string | null
}

export interface Check<Facts> {
  readonly id: string
  readonly section: Section
  /** Nothing to say: null, or none. */
  readonly run: (facts: Facts) => Said | readonly Said[] | null
}

export const ok = (message: string, about?: string): Said => said('ok', message, null, about)
export const note = (message: string, next: string | null = null, about?: string): Said =>
  said('note', message, next, about)
/** @param next null where the message says it already. */
export const warn = (message: string, next: string | null, about?: string): Said => said('warn', message, next, about)
export const fail = (message: string, next: string | null, about?: string): Said => said('fail', message, next, about)

function said(level: Level, message: string, next: string | null, about: string | undefined): Said {
  return { level, message, ...(about === undefined ? {} : { about }), ...(next === null ? {} : { next }) }
}

export function runChecks<Facts>(checks: readonly Check<Facts>[], facts: Facts): Finding[] {
  return checks.flatMap(({ id, section, run }) => {
    const result = run(facts)
    const all = result === null ? [] : 'level' in result ? [result] : result
    return all.map(({ level, message, about = null, next = null }) => ({ id, section, level, about, message, next }))
  })
}
