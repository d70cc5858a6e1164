/** What the API tells of following the appliance, as JSON Schema. The compiler checks it against the types. */
import { type ApplianceEvent, type ApplianceInfo, MAX_WRONG_VMS, type PlanInfo } from './appliance-view.ts'

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }
const integer = { type: 'integer', minimum: 0 }
const time = { type: 'string', description: 'ISO 8601.' }

/** A property for each of the type, all of them required. */
function object<Content>(properties: { readonly [Name in keyof Required<Content>]: object }, more: object = {}) {
  return { type: 'object', properties, required: Object.keys(properties), ...more }
}

function orNull(ref: string, description: string) {
  return { anyOf: [{ $ref: ref }, { type: 'null' }], description }
}

const VM_STATES = [
  'queued',
  'working',
  'waiting',
  'stuck',
  'right',
  'cannot',
] satisfies ApplianceInfo['vms'][0]['state'][]

const HostSchema = object<NonNullable<ApplianceInfo['host']>>(
  {
    name: { ...text, description: 'As in the inventory.' },
    managementIps: {
      type: 'array',
      items: text,
      description: 'The preferred first; empty where the user may not see them.',
    },
  },
  { $id: 'Host', description: 'An ESXi host.' },
)

const CountsSchema = object<ApplianceInfo['counts']>(
  {
    vms: { ...integer, description: 'All of them.' },
    queued: { ...integer, description: 'Wait for their turn.' },
    working: { ...integer, description: 'Are being changed.' },
    waiting: { ...integer, description: 'Have failed, and are tried again soon.' },
    stuck: { ...integer, description: 'Have failed often, or for a reason that lasts; are tried again now and then.' },
    right: integer,
    cannot: { ...integer, description: 'There is nothing in them that could be changed.' },
  },
  { $id: 'RepointCounts', description: 'VMs whose serial ports follow the appliance, by state.' },
)

const ApplianceSchema = object<ApplianceInfo>(
  {
    tracking: { type: 'boolean', description: 'False: not configured, and all else is empty.' },
    vm: orNull('ApplianceVm#', "The appliance's own VM; null until it was found."),
    host: orNull('Host#', 'Where it is, as far as known.'),
    since: { ...textOrNull, description: 'ISO 8601, when it was seen there first.' },
    moves: { ...integer, description: 'Since the server was started.' },
    reachable: { type: 'boolean', description: 'The vSphere API answers, and lets us in.' },
    trouble: {
      ...object<NonNullable<ApplianceInfo['trouble']>>({ message: text, since: time }),
      type: ['object', 'null'],
      description: 'What is wrong, the one thing that has lasted longest; it is tried again by itself.',
    },
    proxyURI: { ...textOrNull, description: 'What VMs are pointed at; null while there is no address for the host.' },
    settled: { type: 'boolean', description: 'Every VM is right, cannot be changed, or is stuck.' },
    counts: { $ref: 'RepointCounts#' },
    nextHopsOpen: { ...integer, description: 'Peer relays that have not heard of the move.' },
    vms: {
      type: 'array',
      maxItems: MAX_WRONG_VMS,
      description: 'VMs that are not right, those first that somebody has to look at; counts tells how many there are.',
      items: object<ApplianceInfo['vms'][0]>({
        name: text,
        uuid: { ...textOrNull, description: 'Instance UUID.' },
        state: { type: 'string', enum: VM_STATES },
        reason: { ...textOrNull, description: 'Null while nothing has failed.' },
        attempts: { ...integer, description: 'That failed, in a row.' },
      }),
    },
  },
  { $id: 'Appliance', description: 'Where the appliance is, and how far VMs have followed.' },
)

const PlanSchema = object<PlanInfo>(
  {
    at: { ...time, description: 'ISO 8601, when vCenter answered.' },
    host: text,
    proxyURI: { ...text, description: 'What VMs would be pointed at.' },
    nextHops: {
      description: 'What peer relays would be told, or why nothing.',
      oneOf: [
        { type: 'array', items: object<{ peer: string; endpoint: string }>({ peer: text, endpoint: text }) },
        object<{ problem: string }>({ problem: text }),
      ],
    },
    steps: {
      type: 'array',
      description: 'Every port that is meant, by VM name.',
      items: object<PlanInfo['steps'][0]>({
        vm: text,
        uuid: { ...textOrNull, description: 'Instance UUID.' },
        port: { ...textOrNull, description: 'Label; null where it is about the whole VM.' },
        do: { type: 'string', enum: ['change', 'keep', 'cannot'] satisfies PlanInfo['steps'][0]['do'][] },
        why: text,
        from: { ...textOrNull, description: 'proxyURI now.' },
        to: { ...textOrNull, description: 'proxyURI afterwards; null where nothing changes.' },
      }),
    },
  },
  { $id: 'RepointPlan', description: 'What would be changed now.' },
)

const VmSchema = object<NonNullable<ApplianceInfo['vm']>>(
  { name: text, uuid: { ...textOrNull, description: 'Instance UUID.' } },
  { $id: 'ApplianceVm', description: 'A VM of the inventory.' },
)

export const APPLIANCE_SCHEMAS: readonly object[] = [HostSchema, VmSchema, CountsSchema, ApplianceSchema, PlanSchema]

type Described<Event extends { type: string }> = {
  readonly [Type in Event['type']]: { readonly [Name in Exclude<keyof Extract<Event, { type: Type }>, 'type'>]: object }
}

const vm = { $ref: 'ApplianceVm#' }

const EVENTS: Described<ApplianceEvent> = {
  'appliance-moved': { at: time, from: orNull('Host#', 'Null: the first place known.'), to: { $ref: 'Host#' } },
  'appliance-trouble': { at: time, message: text },
  'appliance-well': { at: time },
  'vm-repointed': {
    at: time,
    vm,
    ports: {
      type: 'array',
      items: object<{ port: string; why: string; from: string | null; to: string | null }>({
        port: text,
        why: text,
        from: textOrNull,
        to: textOrNull,
      }),
    },
  },
  'vm-repoint-failed': {
    at: time,
    vm,
    message: text,
    attempts: integer,
    again: { type: 'boolean', description: 'It is tried again by itself.' },
  },
  'repoint-settled': {
    at: time,
    host: text,
    proxyURI: text,
    counts: { $ref: 'RepointCounts#' },
    changed: { ...integer, description: 'VMs changed since the move.' },
    ms: { ...integer, description: 'Since the move.' },
  },
  'next-hop-set': { at: time, peer: text, endpoint: text },
  'next-hop-failed': { at: time, peer: text, endpoint: text, message: text, attempts: integer },
}

/** For the description of events. */
export const APPLIANCE_EVENTS: readonly object[] = Object.entries(EVENTS).map(([type, properties]) => ({
  type: 'object',
  properties: { type: { const: type }, ...properties },
  required: ['type', ...Object.keys(properties)],
}))
