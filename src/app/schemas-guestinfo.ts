/** What the API tells of the guestinfo of VMs, as JSON Schema. The compiler checks it against the types. */
import {
  type GuestAddress,
  type GuestError,
  type GuestExitInfo,
  type GuestinfoAnswer,
  type GuestinfoEvent,
  type GuestProcessInfo,
  type GuestVm,
  MAX_SHOWN_EXITS,
  type PortGuestinfo,
  type VmGuestinfoInfo,
} from './guestinfo-view.ts'

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }
const count = { type: 'integer', minimum: 0 }
const flag = { type: 'boolean' }
const time = { type: 'string', description: 'ISO 8601.' }
const seenAt = { type: 'string', description: 'ISO 8601, when it was seen to be so.' }

/** A property for each of the type, all of them required. */
function object<Content>(properties: { readonly [Name in keyof Required<Content>]: object }, more: object = {}) {
  return { type: 'object', properties, required: Object.keys(properties), ...more }
}

function list(ref: string, description: string) {
  return { type: 'array', items: { $ref: ref }, description }
}

const AddressSchema = object<GuestAddress>(
  {
    name: { ...text, description: 'Of the network or interface in the VM.' },
    address: { ...text, description: 'IPv4 or IPv6.' },
    prefix: { type: ['integer', 'null'], description: 'Bits; null where the VM does not say.' },
    gateway: textOrNull,
    dns: { type: 'array', items: text },
    seenAt,
  },
  { $id: 'GuestAddress', description: 'An address that a VM says it has.' },
)

const ErrorSchema = object<GuestError>(
  { name: { ...text, description: 'Of the component.' }, text, seenAt },
  { $id: 'GuestError', description: 'What a VM says is wrong in it. Stays after its power-off, until it is on again.' },
)

const PROCESS = {
  name: text,
  state: { type: 'string', enum: ['running', 'exited', 'failed'], description: '"failed": never started.' },
  exitCode: { type: ['integer', 'null'], description: 'Null while it runs, and where the VM does not say.' },
  startedAt: { ...textOrNull, description: 'ISO 8601, by the clock of the VM; null where it does not say.' },
  stoppedAt: { ...textOrNull, description: 'ISO 8601, by the clock of the VM; null where it does not say.' },
  error: { ...textOrNull, description: 'Why it could not be started.' },
  seenAt,
}

const ProcessSchema = object<GuestProcessInfo>(PROCESS, {
  $id: 'GuestProcess',
  description: 'A process in a VM, as it was last.',
})

const ExitSchema = object<GuestExitInfo>(
  { ...PROCESS, corrected: { ...flag, description: 'The VM had said something else of the same run before.' } },
  { $id: 'GuestExit', description: 'How a process ended.' },
)

const KNOWN = {
  seenAt: { ...textOrNull, description: 'ISO 8601, of the newest of all; null where all is gone.' },
  poweredOn: { type: ['boolean', 'null'], description: 'Null while that is not known.' },
  present: { ...flag, description: 'False: not in the inventory, or not read yet; what is known is from before.' },
  addresses: list('GuestAddress#', 'While the VM says so.'),
  errors: list('GuestError#', 'While the VM says so.'),
  processes: list('GuestProcess#', 'Each once, as it was last.'),
  exits: { ...list('GuestExit#', 'How processes ended, newest first.'), maxItems: MAX_SHOWN_EXITS },
}

const KnownSchema = object<PortGuestinfo>(KNOWN, {
  $id: 'PortGuestinfo',
  description: "What a port's VM has published about itself.",
})

const VmSchema = object<GuestVm>(
  { name: text, uuid: { ...text, description: 'Instance UUID.' } },
  { $id: 'GuestVm', description: 'A VM.' },
)

const ports = { type: 'array', items: text, description: 'Ids of its ports; empty where it has none here.' }

const VmGuestinfoSchema = object<VmGuestinfoInfo>(
  { vm: { $ref: 'GuestVm#' }, ports, ...KNOWN },
  { $id: 'VmGuestinfo', description: 'What a VM has published about itself.' },
)

const STATES = ['off', 'stopped', 'starting', 'following', 'trouble'] satisfies GuestinfoAnswer['state'][]

const GuestinfoSchema = object<GuestinfoAnswer>(
  {
    state: {
      type: 'string',
      enum: STATES,
      description: '"off": not configured. "trouble": it goes on by itself, what is known is from before.',
    },
    since: { ...textOrNull, description: 'ISO 8601, of the state.' },
    trouble: {
      ...object<NonNullable<GuestinfoAnswer['trouble']>>({ code: text, message: text }),
      type: ['object', 'null'],
      description: 'Why it is not followed, or nothing can be kept, just now.',
    },
    followed: { ...count, description: 'VMs in the inventory that are followed.' },
    unreadable: { ...count, description: 'Of those: without instance UUID, or whose keys the user may not read.' },
    unwritten: { ...count, description: 'Results that wait for the disk, and are told once they are on it.' },
    vms: list('VmGuestinfo#', 'Those of which something is known.'),
  },
  { $id: 'Guestinfo', description: 'What VMs have published about themselves.' },
)

export const GUESTINFO_SCHEMAS: readonly object[] = [
  AddressSchema,
  ErrorSchema,
  ProcessSchema,
  ExitSchema,
  KnownSchema,
  VmSchema,
  VmGuestinfoSchema,
  GuestinfoSchema,
]

const COMMON = {
  at: { ...time, description: 'ISO 8601, when it was seen.' },
  seq: { ...count, description: 'Counts what was kept; the same number means the same news.' },
  again: { ...flag, description: 'It may have been told before the server was restarted.' },
  vm: { $ref: 'GuestVm#' },
  ports,
}
const gone = { ...COMMON, name: text }

type Described<Event extends { type: string }> = {
  readonly [Type in Event['type']]: { readonly [Name in Exclude<keyof Extract<Event, { type: Type }>, 'type'>]: object }
}

const EVENTS: Described<GuestinfoEvent> = {
  'guest-address': { ...COMMON, record: { $ref: 'GuestAddress#' } },
  'guest-address-gone': gone,
  'guest-error': { ...COMMON, record: { $ref: 'GuestError#' } },
  'guest-error-cleared': gone,
  'guest-start': { ...COMMON, record: { $ref: 'GuestProcess#' } },
  'guest-exit': { ...COMMON, record: { $ref: 'GuestExit#' } },
}

/** For the description of events. */
export const GUESTINFO_EVENTS: readonly object[] = Object.entries(EVENTS).map(([type, properties]) => ({
  type: 'object',
  properties: { type: { const: type }, ...properties },
  required: ['type', ...Object.keys(properties)],
}))
