/** Whoever asks for something, once it is known who that is. Pure. */
import { cleanText } from '../base/index.ts'
import type { Grant } from './policy.ts'

/** What said who it is. */
export type Via = 'token' | 'certificate' | 'proxy' | 'anonymous'

export interface Subject {
  /** Null: nobody said who. */
  readonly user: string | null
  readonly groups: readonly string[]
  readonly via: Via
  /** Rights that came with a token, beside those that the rules give. */
  readonly grants: readonly Grant[]
  /** Of a token: what it is looked up by, so that one that was removed can be told from one that is still good. */
  readonly credential: string | null
}

export const ANONYMOUS: Subject = { user: null, groups: [], via: 'anonymous', grants: [], credential: null }

export const MAX_GROUPS = 256
const MAX_NAME_UNITS = 128

/**
 * Names of users and groups: what shows as it is, on one line. No comma: two headers of one name arrive joined by one, and
 * lists of groups are split at it.
 */
export function isPrincipal(text: string): boolean {
  return text !== '' && text.length <= MAX_NAME_UNITS && !text.includes(',') && cleanText(text, MAX_NAME_UNITS) === text
}
