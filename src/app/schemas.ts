/**
 * What goes over HTTP, as JSON Schema: it checks requests, serializes answers, and is published in /openapi.json.
 * That the schemas and the types of `vspc/` say the same is checked by the compiler, at the end of this file.
 */
import { type Static, Type } from 'typebox'
import { CODES } from '../base/index.ts'
import { SCHEMES } from '../transport/index.ts'
import {
  CONSOLE_ACTIONS,
  type ConsoleInfo,
  type ConsoleMessage,
  type ConsoleMode,
  type ConsoleRequest,
  type ConsoleVia,
  type PortInfo,
  type ServerEvent,
} from '../vspc/index.ts'
import type { PortAnswer, PortGuestinfo } from './guestinfo-view.ts'
import { ALERT_SCHEMAS } from './schemas-alerts.ts'
import { APPLIANCE_EVENTS, APPLIANCE_SCHEMAS } from './schemas-appliance.ts'
import { GUESTINFO_EVENTS, GUESTINFO_SCHEMAS } from './schemas-guestinfo.ts'
import { HEALTH_SCHEMAS } from './schemas-health.ts'

/** Offsets are exact: 2^53 bytes are more than any VM sends. */
const MAX_OFFSET = Number.MAX_SAFE_INTEGER

/** `type` as a list, which the serializer turns into plain code; `anyOf` would cost a validation per value. */
function nullableText(description: string) {
  return Type.Unsafe<string | null>({ type: ['string', 'null'], description })
}

function nullableEnum<const Value extends string>(values: readonly Value[], description: string) {
  return Type.Unsafe<Value | null>({ type: ['string', 'null'], enum: [...values, null], description })
}

function choice<const Value extends string>(values: readonly Value[], options: { description?: string } = {}) {
  return Type.Unsafe<Value>({ type: 'string', enum: [...values], ...options })
}

function count(description: string) {
  return Type.Integer({ minimum: 0, description })
}

const STATES = ['online', 'offline', 'migrating'] as const
export const CONSOLE_MODES = ['read', 'write', 'exclusive'] as const satisfies readonly ConsoleMode[]
const CONSOLE_VIAS = ['websocket', 'telnet', 'forward'] as const satisfies readonly ConsoleVia[]

export const PortInfoSchema = Type.Object(
  {
    id: Type.String({
      description:
        'Canonical lower-case UUID, plus ":LABEL" when labelled; "name:NAME" or "addr:ADDRESS" where no UUID is known.',
    }),
    vm: Type.Object({
      name: Type.String({ description: 'For display: not unique, can change, empty while unknown.' }),
      uuid: nullableText('VC UUID, else BIOS UUID; lower case, 8-4-4-4-12.'),

      biosUuid: Type.Optional(Type.String()),
      locationUuid: Type.Optional(Type.String({ description: 'Changes when the VM moves: never a key.' })),
    }),
    label: nullableText("Tells several ports of one VM apart; null for a VM's only one."),
    state: choice(STATES, { description: '"migrating": between VMOTION-BEGIN and COMPLETE or ABORT.' }),
    host: nullableText('Address of the host or relay the port is, or was last, connected from.'),
    transport: nullableEnum([...SCHEMES], 'Of that connection.'),
    direction: nullableEnum(['server', 'client'], 'As the VM is configured; null where the stream does not say.'),
    serviceURI: nullableText('As the VM is configured, cleaned.'),
    consoles: count('Attached consoles.'),
    bytesFromVm: count('Every byte the VM ever sent; the offset of the next one.'),
    bytesToVm: count('Every byte sent to the VM.'),
    connectedAt: nullableText('ISO 8601, of the current connection; null while offline.'),
    vmotions: count('Completed vMotions.'),
    historyStart: count('Oldest offset that history still holds.'),
    protocol: choice(['vmware', 'telnet', 'raw']),
    line: Type.Unsafe<PortInfo['line']>({
      type: ['object', 'null'],
      description: 'As set over COM-PORT (RFC 2217); null while the VM has not said.',
      properties: {
        baud: { type: 'integer' },
        dataSize: { type: 'integer' },
        parity: { type: 'string' },
        stopSize: { type: 'string' },
      },
      required: ['baud', 'dataSize', 'parity', 'stopSize'],
    }),
    lastOutputAt: nullableText("ISO 8601, of the VM's last output; null before the first."),
    guestinfo: Type.Optional(
      Type.Unsafe<PortGuestinfo | null>({
        anyOf: [{ $ref: 'PortGuestinfo#' }, { type: 'null' }],
        description:
          'What the VM has published; null while nothing is known of it. Not there where guestinfo is not followed, ' +
          'and in events.',
      }),
    ),
    telnetPort: Type.Optional(Type.Integer({ description: 'TCP port for Telnet clients; only where there is one.' })),
  },
  { $id: 'Port', description: "A VM's virtual serial port." },
)

export const ConsoleInfoSchema = Type.Object(
  {
    id: Type.Integer(),
    who: Type.String({ description: 'Who, as far as known: a user, or an address.' }),
    address: Type.Optional(Type.String({ description: 'Where it comes from, when "who" is a user.' })),
    via: choice(CONSOLE_VIAS, { description: '"forward": a program at the other end of the line.' }),
    mode: choice(CONSOLE_MODES),
    attachedAt: Type.String({ description: 'ISO 8601.' }),
    lastInputAt: nullableText('ISO 8601; null before its first input.'),
    waiting: Type.Unsafe<number | null>({
      type: ['integer', 'null'],
      description: 'Its place in the queue, from 1; null while it does not wait.',
    }),
  },
  { $id: 'ConsoleInfo', description: 'An attached console.' },
)

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: '"urn:vspc:error:" and the code.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What is wrong and, where there is one, the fix.' }),
    code: Type.Unsafe<keyof typeof CODES>({ type: 'string', enum: Object.keys(CODES) }),
    instance: Type.String({ description: 'Path of the request.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          in: Type.String({ description: 'query, path, headers or body.' }),
          pointer: Type.String({ description: 'JSON pointer to the parameter.' }),
          detail: Type.String(),
        }),
        { description: 'Which parameters are wrong.' },
      ),
    ),
  },
  { $id: 'Problem', description: 'RFC 9457 problem details.' },
)
export type Problem = Static<typeof ProblemSchema>

export const PortParams = Type.Object({
  id: Type.String({
    minLength: 1,
    description: "Port id, VM name, NAME/LABEL, UUID in any spelling, or a unique prefix of one; percent-encode '/'.",
  }),
})
export type PortParams = Static<typeof PortParams>

export const ConsoleParams = Type.Object({
  id: PortParams.properties.id,
  console: Type.Integer({ minimum: 0, description: 'Number of the console, as listed.' }),
})
export type ConsoleParams = Static<typeof ConsoleParams>

export const KickQuery = Type.Object(
  { reason: Type.Optional(Type.String({ description: 'Told to it, and to the others.' })) },
  { additionalProperties: false },
)
export type KickQuery = Static<typeof KickQuery>

export const MessageBody = Type.Object({ text: Type.String({ minLength: 1 }) }, { additionalProperties: false })
export type MessageBody = Static<typeof MessageBody>

export const LogQuery = Type.Object(
  {
    start: Type.Optional(
      Type.Integer({
        minimum: -MAX_OFFSET,
        maximum: MAX_OFFSET,
        description: 'Offset of the first byte wanted; negative counts from the end. Default: the oldest byte held.',
      }),
    ),
    end: Type.Optional(
      Type.Integer({ minimum: 0, maximum: MAX_OFFSET, description: 'Offset to stop before. Default: the end.' }),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_OFFSET, description: 'At most this many bytes.' })),
    since: Type.Optional(
      Type.String({
        maxLength: 64,
        description: 'Only what came then or later: ISO 8601, ms since 1970, or negative: so many ms ago.',
      }),
    ),
    until: Type.Optional(Type.String({ maxLength: 64, description: 'Only what came until then; as "since".' })),
    format: Type.Optional(
      choice(['raw', 'text', 'ndjson', 'asciicast'], {
        description:
          'Default: raw, the bytes. text: lines with their times, without control characters. ndjson: ' +
          '{offset, time, text or base64} for each line, {offset, time, gap, until} for what is lost. asciicast: v2.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type LogQuery = Static<typeof LogQuery>

const FLAGS = ['0', '1', 'false', 'true'] as const

export const ConsoleQuery = Type.Object(
  {
    mode: Type.Optional(choice(CONSOLE_MODES, { description: 'Default: read.' })),
    from: Type.Optional(
      Type.Integer({
        minimum: -MAX_OFFSET,
        maximum: MAX_OFFSET,
        description:
          'Offset to begin at: history, then live without a seam; negative counts from the end. Default: live only.',
      }),
    ),
    force: Type.Optional(choice(FLAGS, { description: 'Turn those who are in the way into readers.' })),
    wait: Type.Optional(
      choice(FLAGS, { description: 'Where somebody is in the way, read until it is the turn of this console.' }),
    ),
  },
  { additionalProperties: false },
)
export type ConsoleQuery = Static<typeof ConsoleQuery>

/** Accepts a schema only if its type and the product's are the same, in both directions. */
type Same<A, B> = [A, B] extends [B, A] ? true : never
/** Optional properties are compared by presence too. */
type Names<T> = T extends object ? { [Name in keyof T]-?: Names<T[Name]> } : T

/** Never read: it stops the compiler when a schema and a type drift apart. */
export const SCHEMAS_FIT_TYPES: [
  Same<Names<Static<typeof PortInfoSchema>>, Names<PortAnswer>>,
  Same<Names<Static<typeof ConsoleInfoSchema>>, Names<ConsoleInfo>>,
  Same<(typeof CONSOLE_MODES)[number], ConsoleMode>,
] = [true, true, true]

/** Messages of subprotocol vspc.v1 and events are described for readers of the document; they are not validated. */
function tagged<Properties extends Record<string, object>>(
  type: string,
  properties: Properties,
  optional: readonly (keyof Properties)[] = [],
) {
  return {
    type: 'object',
    properties: { type: { const: type }, ...properties },
    required: ['type', ...Object.keys(properties).filter((name) => !optional.includes(name))],
  }
}

/** One description for each kind of message, and in it each of its properties. */
type Described<Message extends { type: string }> = {
  readonly [Type in Message['type']]: {
    properties: { [Name in keyof Required<Extract<Message, { type: Type }>>]: object }
  }
}

const text = { type: 'string' }
const integer = { type: 'integer' }
const mode = { type: 'string', enum: [...CONSOLE_MODES] }
const state = { type: 'string', enum: [...STATES] }
const consoleInfo = { $ref: 'ConsoleInfo#' }
const consoles = { type: 'array', items: consoleInfo }
const at = { type: 'string', description: 'ISO 8601.' }
const idleTakeoverMs = {
  type: ['integer', 'null'],
  description: 'When the first in the queue takes over unless somebody in its way types; null = never.',
}
const MESSAGES = {
  attached: tagged('attached', {
    port: text,
    name: text,
    mode,
    offset: { ...integer, description: 'Of the first byte that follows.' },
    start: { ...integer, description: 'Oldest offset held.' },
    next: { ...integer, description: 'The live end.' },
    state,
    console: integer,
    epoch: { ...text, description: 'Names this counting of offsets: with another one, offsets mean other bytes.' },
    may: { type: 'array', items: { type: 'string', enum: [...CONSOLE_ACTIONS] }, description: 'What it may ask for.' },
  }),
  state: tagged('state', { state, host: { type: ['string', 'null'] }, reason: text }),
  writer: tagged('writer', { mode, writers: consoles, reason: text, by: consoleInfo }, ['by']),
  queued: tagged(
    'queued',
    {
      position: { ...integer, description: 'From 1; 0: it no longer waits.' },
      mode,
      holders: { ...consoles, description: 'Who is in the way.' },
      idleTakeoverMs,
      reason: { ...text, description: 'Why it no longer waits.' },
    },
    ['reason'],
  ),
  asked: tagged('asked', { by: consoleInfo, mode, idleTakeoverMs }),
  said: tagged('said', {
    from: { anyOf: [consoleInfo, { type: 'null' }], description: 'Null: the server, or somebody without a console.' },
    text,
    at,
  }),
  gap: tagged('gap', { bytes: integer, offset: integer }),
  renamed: tagged('renamed', { name: text, port: text }),
  break: tagged('break', { on: { type: 'boolean' } }),
  error: tagged('error', { code: text, message: text }),
  consoles: tagged('consoles', { consoles }),
  detached: tagged('detached', { reason: text, code: text }, ['code']),
} satisfies Described<ConsoleMessage>

const REQUESTS = {
  mode: tagged(
    'mode',
    {
      mode,
      force: { type: 'boolean', description: 'Turn those who are in the way into readers.' },
      wait: { type: 'boolean', description: 'Where somebody is in the way, stand in the queue.' },
    },
    ['force', 'wait'],
  ),
  cancel: tagged('cancel', {}),
  yield: tagged('yield', { to: { ...integer, description: 'A console that waits. Default: the first.' } }, ['to']),
  kick: tagged('kick', { console: integer, reason: text }, ['reason']),
  say: tagged('say', { text: { ...text, description: 'For all consoles of the port.' } }),
  break: tagged('break', {}),
  who: tagged('who', {}),
} satisfies Described<ConsoleRequest>

const port = { $ref: 'Port#' }
const portEvent = (type: string) => tagged(type, { at, port })
const vmotionEvent = (type: string) => tagged(type, { at, port, reason: text })
const consoleEvent = (type: string) => tagged(type, { at, port, console: consoleInfo })
const by = { type: ['string', 'null'], description: 'Who did it; null: the server itself.' }

const EVENTS = {
  'port-added': portEvent('port-added'),
  'port-removed': portEvent('port-removed'),
  'port-online': portEvent('port-online'),
  'port-offline': portEvent('port-offline'),
  'port-renamed': portEvent('port-renamed'),
  'port-rekeyed': tagged('port-rekeyed', { at, port, previousId: text }),
  'vmotion-begin': vmotionEvent('vmotion-begin'),
  'vmotion-complete': vmotionEvent('vmotion-complete'),
  'vmotion-abort': vmotionEvent('vmotion-abort'),
  'vmotion-timeout': vmotionEvent('vmotion-timeout'),
  'vmotion-refused': vmotionEvent('vmotion-refused'),
  'console-attached': consoleEvent('console-attached'),
  'console-detached': consoleEvent('console-detached'),
  'console-mode': tagged('console-mode', { at, port, console: consoleInfo, by, reason: text }),
  'console-kicked': tagged('console-kicked', { at, port, console: consoleInfo, by, reason: text }),
  'console-said': tagged('console-said', { at, port, console: { anyOf: [consoleInfo, { type: 'null' }] }, by, text }),
  alert: tagged('alert', { at, port, alert: { $ref: 'AlertInfo#' } }),
} satisfies Record<ServerEvent['type'], { properties: { at: object; port: object } }>

/** Of all events, whoever makes them. */
export const EVENT_TYPES: readonly string[] = [...Object.values(EVENTS), ...APPLIANCE_EVENTS, ...GUESTINFO_EVENTS].map(
  typeOf,
)

function typeOf(schema: object): string {
  const { properties } = schema as { properties: { type: { const: string } } }
  return properties.type.const
}

/** Schemas with a name of their own in the document. */
export const NAMED_SCHEMAS: readonly object[] = [
  PortInfoSchema,
  ConsoleInfoSchema,
  ProblemSchema,
  ...ALERT_SCHEMAS,
  ...APPLIANCE_SCHEMAS,
  ...GUESTINFO_SCHEMAS,
  ...HEALTH_SCHEMAS,
  { $id: 'ConsoleMessage', description: 'Text frame from the server.', oneOf: Object.values(MESSAGES) },
  { $id: 'ConsoleRequest', description: 'Text frame from the client.', oneOf: Object.values(REQUESTS) },
  {
    $id: 'ServerEvent',
    description: 'The data of a server-sent event.',
    oneOf: [...Object.values(EVENTS), ...APPLIANCE_EVENTS, ...GUESTINFO_EVENTS],
  },
]
