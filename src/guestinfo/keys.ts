/**
 * Which keys there are, and what a guest may do with them.
 *
 * A guest sees keys that begin with `guestinfo.`, and may write those without a slash. [doc] VMware's Integrated
 * Containers (VIC) built its scheme on that: `guestinfo.vice.` and then one separator throughout, `.` where the guest
 * writes and `/` where it only reads; `sessions|ID` is one entry of a map or list, `Args~` all of a list of plain values
 * joined by `|`, and suffixes say more: `@secret` (encrypted), `@non-persistent` (gone after the VM's power-off). [other]
 */
import { VspcError } from '../base/index.ts'
import { GUESTINFO_LIMITS } from './limits.ts'

/** What a guest sees begins so. */
export const GUEST_PREFIX = 'guestinfo.'
const VIC_PREFIX = 'guestinfo.vice.'
const VIC_SUFFIXES = ['secret', 'non-persistent'] as const

/** Printable ASCII but for what a .vmx file or a command line gives a meaning: space, `"`, `=`, `\`. */
const KEY = /^[!#-<>-[\]-~]+$/

/** @throws VspcError VSPC_GUESTINFO_KEY saying what is wrong; the key is quoted, as it is no secret. */
export function checkKey(key: string): void {
  if (key === '') throw new VspcError('VSPC_GUESTINFO_KEY', 'the key is empty; keys look like guestinfo.NAME')
  if (key.length > GUESTINFO_LIMITS.maxKeyLength) {
    const text = `the key has ${key.length} characters; ${GUESTINFO_LIMITS.maxKeyLength} are accepted`
    throw new VspcError('VSPC_GUESTINFO_KEY', text)
  }
  if (!KEY.test(key)) {
    const text = `the key ${JSON.stringify(key)} holds characters that a key cannot have: only printable ASCII is accepted, without space, ", = and \\`
    throw new VspcError('VSPC_GUESTINFO_KEY', text)
  }
}

/** As {@link checkKey}, for what a guest reads. @throws VspcError VSPC_GUESTINFO_KEY. */
export function checkGuestKey(key: string): void {
  checkKey(key)
  if (isHiddenFromGuest(key) || key === GUEST_PREFIX) {
    const meant = key === GUEST_PREFIX ? `${GUEST_PREFIX}NAME` : `${GUEST_PREFIX}${key}`
    const text = `"${key}" is no key that a guest sees: those begin with ${GUEST_PREFIX}; did you mean ${meant}?`
    throw new VspcError('VSPC_GUESTINFO_KEY', text)
  }
}

/** As {@link checkGuestKey}, for what a guest writes. @throws also VspcError VSPC_GUESTINFO_READ_ONLY. */
export function checkWritableKey(key: string): void {
  checkGuestKey(key)
  if (isReadOnlyToGuest(key)) {
    const text = `the key "${key}" has a slash: guests may read it, only the vSphere API may change it`
    throw new VspcError('VSPC_GUESTINFO_READ_ONLY', text)
  }
}

export function isHiddenFromGuest(key: string): boolean {
  return !key.startsWith(GUEST_PREFIX)
}

export function isReadOnlyToGuest(key: string): boolean {
  return key.includes('/')
}

export function isSecret(key: string): boolean {
  return key.split('@').indexOf('secret') > 0
}

/** A key of VIC's scheme, taken apart. */
export interface VicKey {
  /** `hidden` keys are the appliance's own: guests do not see them. */
  readonly access: 'read-write' | 'read-only' | 'hidden'
  readonly steps: readonly VicStep[]
  readonly secret: boolean
  readonly nonPersistent: boolean
}

export interface VicStep {
  readonly name: string
  /** Which entry of a map or list; null for what is neither, and for the list of keys of a map or the count of a list. */
  readonly entry: string | null
  /** All of a list of plain values, joined by `|`. */
  readonly list: boolean
}

/**
 * Takes a key of VIC's scheme apart; null for others. Names with a dot inside (networks, sessions) come out as several
 * steps where the guest may write, since VIC's keys do not tell them apart: {@link vicField} does, for known fields.
 */
export function parseVicKey(key: string): VicKey | null {
  const [path = '', ...suffixes] = key.split('@')
  if (suffixes.some((suffix) => !VIC_SUFFIXES.includes(suffix as (typeof VIC_SUFFIXES)[number]))) return null
  const flags = { secret: suffixes.includes('secret'), nonPersistent: suffixes.includes('non-persistent') }
  if (suffixes.length !== Number(flags.secret) + Number(flags.nonPersistent)) return null
  if (path.startsWith(VIC_PREFIX)) {
    const separator = path[VIC_PREFIX.length]
    if (separator !== '.' && separator !== '/') return null
    const steps = parseSteps(path.slice(VIC_PREFIX.length + 1), separator)
    return steps && { access: separator === '.' ? 'read-write' : 'read-only', steps, ...flags }
  }
  // A hidden key is a bare path; a name of one step is any key of vSphere's own.
  if (!isHiddenFromGuest(path) || !path.includes('/') || flags.nonPersistent) return null
  const steps = parseSteps(path, '/')
  return steps && { access: 'hidden', steps, ...flags }
}

export function formatVicKey({ access, steps, secret, nonPersistent }: VicKey): string {
  const separator = access === 'read-write' ? '.' : '/'
  const path = steps
    .map(({ name, entry, list }) => `${name}${entry === null ? '' : `|${entry}`}${list ? '~' : ''}`)
    .join(separator)
  const suffix = `${secret ? '@secret' : ''}${nonPersistent ? '@non-persistent' : ''}`
  return `${access === 'hidden' ? '' : `${VIC_PREFIX}${separator}`}${path}${suffix}`
}

function parseSteps(path: string, separator: string): VicStep[] | null {
  const steps = path.split(separator).map((text): VicStep => {
    const list = text.endsWith('~')
    const [name = '', ...entry] = (list ? text.slice(0, -1) : text).split('|')
    return { name, entry: entry.length === 0 ? null : entry.join('|'), list }
  })
  return steps.some(({ name, entry }) => name === '' || entry === '') ? null : steps
}

/** One field of one entry of a map that the guest writes: `sessions|ID.status`. */
export interface VicField {
  /** What stands before the map: empty in containers, `init` in VIC's own appliance. */
  readonly within: string
  readonly map: string
  readonly entry: string
  readonly field: string
}

/**
 * Finds which of `fields` of which entry a key names; null when none. An entry's name may have dots, so the known field
 * at the end decides. @param fields none of which may end in a dot and another one.
 */
export function vicField(key: string, maps: readonly string[], fields: readonly string[]): VicField | null {
  const [path = '', suffix] = key.split('@')
  if (!path.startsWith(`${VIC_PREFIX}.`) || suffix === 'secret' || path.includes('/')) return null
  const rest = path.slice(VIC_PREFIX.length + 1)
  const bar = rest.indexOf('|')
  if (bar < 0) return null
  const before = rest.slice(0, bar)
  const dot = before.lastIndexOf('.')
  const map = before.slice(dot + 1)
  if (!maps.includes(map)) return null
  const after = rest.slice(bar + 1)
  const field = fields.find((name) => after.endsWith(`.${name}`))
  if (field === undefined) return null
  const entry = after.slice(0, -field.length - 1)
  return entry === '' ? null : { within: before.slice(0, Math.max(dot, 0)), map, entry, field }
}
