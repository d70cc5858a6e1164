/** Tokens as they are kept, and who somebody with one is. Pure. */
import { cleanText, errorMessage } from '../base/index.ts'
import type { ConfigProblem, SettingPath, SettingsSource } from '../config/index.ts'
import type { Roles } from './access-config.ts'
import type { Grant } from './policy.ts'
import { parseSelector, type Selector } from './selector.ts'
import { isPrincipal, type Subject } from './subject.ts'

/** What is known of a token; never the token itself. */
export interface TokenRecord {
  readonly name: string
  /** Of the token's text: 64 lower-case hexadecimal digits. */
  readonly sha256: string
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  /** Where the roles count. */
  readonly ports: readonly string[]
  /** ISO 8601. */
  readonly created: string
  /** ISO 8601; null = never. */
  readonly expires: string | null
}

export const TOKEN_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/
export const TOKEN_NAME_ACCEPTS = 'a letter or digit, then up to 63 letters, digits, ".", "_", "@" and "-"'
const DIGEST = /^[0-9a-f]{64}$/
export const MAX_TOKENS = 2_000
const MAX_LIST = 100

const list = (what: string) => ({
  type: 'array',
  accepts: `a list of ${what}`,
  items: { type: 'string', accepts: what },
})

/** Of a file of tokens. */
export const TOKENS_SCHEMA = {
  type: 'object',
  properties: {
    version: { type: 'integer', minimum: 1, maximum: 1, accepts: '1' },
    tokens: {
      type: 'array',
      accepts: 'a list of tokens',
      items: {
        type: 'object',
        accepts: 'a token with "name", "sha256" and "created"',
        properties: {
          name: { type: 'string', accepts: TOKEN_NAME_ACCEPTS },
          sha256: { type: 'string', accepts: '64 hexadecimal digits, as "vspc token hash" prints them' },
          groups: list('names of groups'),
          roles: list('names of roles'),
          ports: list('selectors of ports'),
          created: { type: 'string', accepts: 'a time, such as "2030-01-31T12:00:00Z"' },
          expires: { type: 'string', accepts: 'a time, such as "2030-01-31T12:00:00Z"' },
        },
      },
    },
  },
} as const

type FittingToken = Partial<Record<'name' | 'sha256' | 'created' | 'expires', string>> &
  Partial<Record<'groups' | 'roles' | 'ports', (string | null)[]>>

/** Adds everything that is wrong to `problems`; the records are only to be used when there is nothing. */
export function readTokens(
  settings: { readonly version?: number; readonly tokens?: readonly (FittingToken | null)[] },
  source: SettingsSource,
  problems: ConfigProblem[],
): TokenRecord[] {
  const report = (path: SettingPath, message: string): void => {
    problems.push({ code: 'VSPC_CONFIG_INVALID', ...source.locate(path, 'value'), message })
  }
  // A file without it may be anything; an empty one is none of ours either, but half a one that was being written.
  if (settings.version === undefined) report([], 'this is no file of tokens: its first line is "version: 1"')
  const given = settings.tokens ?? []
  if (given.length > MAX_TOKENS) {
    report(['tokens'], `there are ${given.length} tokens; at most ${MAX_TOKENS} are accepted`)
    return []
  }
  const records: TokenRecord[] = []
  const names = new Map<string, number>()
  const digests = new Map<string, number>()
  for (const [index, token] of given.entries()) {
    const record = token === null ? null : readToken(token, (at, message) => report(['tokens', index, ...at], message))
    if (record === null) continue
    for (const [field, seen] of [['name', names] as const, ['sha256', digests] as const]) {
      const before = seen.get(record[field])
      seen.set(record[field], index)
      if (before === undefined) continue
      report(['tokens', index, field], `the ${field} of tokens[${before}] again: each token has its own`)
    }
    records.push(record)
  }
  return records
}

function readToken(token: FittingToken, report: (at: SettingPath, message: string) => void): TokenRecord | null {
  const { name, sha256, created, expires, groups = [], roles = [], ports = ['*'] } = token
  if (name === undefined || sha256 === undefined || created === undefined) {
    report([], 'a token has "name", "sha256" and "created"')
    return null
  }
  if (!TOKEN_NAME.test(name)) report(['name'], `"${cleanText(name, 64)}" is no name; accepted is ${TOKEN_NAME_ACCEPTS}`)
  // Never quoted: whoever writes by hand may have put the token itself there.
  if (!DIGEST.test(sha256)) report(['sha256'], 'this is no SHA-256: write what "vspc token hash" prints')
  for (const [field, time] of Object.entries({ created, expires })) {
    if (time !== undefined && !isTime(time)) {
      report([field], `"${cleanText(time, 64)}" is no time; accepted is one such as 2030-01-31T12:00:00Z`)
    }
  }
  for (const [field, items] of Object.entries({ groups, roles, ports })) {
    if (items.length > MAX_LIST) report([field], `${items.length} are too many: at most ${MAX_LIST}`)
  }
  for (const [at, group] of groups.entries()) {
    if (group !== null && !isPrincipal(group)) report(['groups', at], `"${cleanText(group, 64)}" is no name of a group`)
  }
  for (const [at, text] of ports.entries()) {
    if (text === null) continue
    try {
      parseSelector(text)
    } catch (error) {
      report(['ports', at], errorMessage(error))
    }
  }
  const texts = (items: readonly (string | null)[]) => items.filter((item) => item !== null)
  return {
    name,
    sha256,
    groups: texts(groups),
    roles: texts(roles),
    ports: texts(ports),
    created,
    expires: expires ?? null,
  }
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?Z$/

/** In UTC alone: a local one would mean another time elsewhere. */
function isTime(text: string): boolean {
  return TIME.test(text) && !Number.isNaN(timeOf(text))
}

/** Milliseconds since 1970. By hand, for the pure: the day counted by the civil calendar from 1 March of year 0. */
export function timeOf(text: string): number {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = text.split(/[-T:Z]/).map(Number)
  const lengths = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  if (day < 1 || day > (lengths[month - 1] ?? 0) || hour > 23 || minute > 59 || second >= 60) return Number.NaN
  const years = month > 2 ? year : year - 1
  const days = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  const leaps = Math.floor(years / 4) - Math.floor(years / 100) + Math.floor(years / 400)
  return (((years * 365 + leaps + days - 719_468) * 24 + hour) * 60 + minute) * 60_000 + Math.round(second * 1000)
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
}

export type TokenMatch =
  | { readonly kind: 'valid'; readonly subject: Subject }
  | { readonly kind: 'expired'; readonly name: string }
  | { readonly kind: 'unknown' }

/**
 * Tokens by the SHA-256 of their text.
 *
 * The time that a look into the table takes may tell something of the digest, but nothing of the token: who guesses does not
 * choose the digest, and from one that nearly fits no way leads back to a text. So there is no secret comparison to time.
 */
export class TokenTable {
  readonly #byDigest = new Map<string, { readonly name: string; readonly expires: number; readonly subject: Subject }>()
  /** Roles that tokens name and that do not exist: `token ci: role nightwatch`. They give nothing. */
  readonly unknownRoles: readonly string[]

  constructor(records: readonly TokenRecord[], roles: Roles) {
    const unknown: string[] = []
    for (const record of records) {
      const { name, sha256, expires } = record
      for (const role of record.roles) if (!roles.has(role)) unknown.push(`token ${name}: role ${cleanText(role, 64)}`)
      const until = expires === null ? Number.POSITIVE_INFINITY : timeOf(expires)
      this.#byDigest.set(sha256, { name, expires: until, subject: subjectOf(record, roles) })
    }
    this.unknownRoles = unknown
  }

  get size(): number {
    return this.#byDigest.size
  }

  /** @param digest SHA-256 of what was shown, as in {@link TokenRecord.sha256}. @param wall milliseconds since 1970. */
  find(digest: string, wall: number): TokenMatch {
    const found = this.#byDigest.get(digest)
    if (found === undefined) return { kind: 'unknown' }
    // A clock that says nothing lets nobody in.
    return wall < found.expires ? { kind: 'valid', subject: found.subject } : { kind: 'expired', name: found.name }
  }

  /** Who that is now, with the rights that the token has now; null when it no longer counts. Others are who they were. */
  current(subject: Subject, wall: number): Subject | null {
    if (subject.credential === null) return subject
    const match = this.find(subject.credential, wall)
    return match.kind === 'valid' ? match.subject : null
  }
}

function subjectOf(record: TokenRecord, roles: Roles): Subject {
  const { name, sha256, groups } = record
  const capabilities = record.roles.flatMap((role) => roles.get(role) ?? [])
  const ports: Selector[] = record.ports.map(parseSelector)
  const grants: Grant[] = capabilities.length === 0 ? [] : [{ capabilities, ports, source: `token ${name}` }]
  return { user: name, groups, via: 'token', grants, credential: sha256 }
}
