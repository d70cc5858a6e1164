import type { SimIdentity } from './identity.ts'

/** How simulated VMs answer who they are: as asked, or in one of the ways that hosts and old VMs have. */
export const IDENTITY_KINDS = [
  'normal',
  'late',
  'volunteered',
  'silent',
  'unknown',
  'empty',
  'not-utf8',
  'mixed',
] as const
export type IdentityKind = (typeof IDENTITY_KINDS)[number]

const LATE_MS = 1_000

/** `identity` as a VM of that kind tells it; `index` chooses among the kinds for `mixed`. */
export function identityOf(kind: IdentityKind, identity: SimIdentity, index: number): SimIdentity {
  switch (kind) {
    case 'mixed':
      return identityOf(IDENTITY_KINDS[index % (IDENTITY_KINDS.length - 1)] ?? 'normal', identity, index)
    case 'normal':
      return identity
    case 'late':
      return withEach(identity, (value) => ({ value, delayMs: LATE_MS }))
    case 'volunteered':
      return withEach(identity, (value) => ({ value, volunteer: true }))
    case 'silent':
      return withEach(identity, () => ({ value: null, how: 'silent' }))
    case 'unknown':
      return withEach(identity, () => ({ value: null, how: 'unknown' }))
    case 'empty':
      return withEach(identity, () => '')
    case 'not-utf8':
      return { ...identity, name: Uint8Array.of(0xff, 0xfe, 0x41, index & 0xff) }
  }
}

type Answer = SimIdentity[keyof SimIdentity]

/** The items are bare text, as the simulation makes them. */
function withEach(identity: SimIdentity, change: (value: string) => Answer): SimIdentity {
  const changed = Object.entries(identity).map(([item, value]) => [item, change(String(value))] as const)
  return Object.fromEntries(changed) as SimIdentity
}
