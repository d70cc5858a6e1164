/** Alerts over HTTP, as JSON Schema. That the types say the same is checked by the compiler. */
import { type Static, Type } from 'typebox'
import { SEVERITIES } from '../alerts/index.ts'
import type { AlertInfo } from '../vspc/index.ts'
import type { AlertAnswer } from './alerts.ts'

const text = { type: 'string' }
const count = { type: 'integer', minimum: 0 }
const severity = { type: 'string', enum: [...SEVERITIES] }

const INFO = {
  id: { ...count, description: 'Counts the alerts since the server was started, from 1 on.' },
  rule: { ...text, description: 'Name of the rule.' },
  severity,
  line: { ...text, description: 'The line that matched, cleaned and cut.' },
  offset: { ...count, description: 'Of the first byte of that line.' },
  suppressed: {
    ...count,
    description: 'Earlier matches of the rule on this port that were not told: it had been told shortly before.',
  },
} satisfies { [Name in keyof AlertInfo]: object }

const ANSWER = {
  ...INFO,
  at: { ...text, description: 'ISO 8601.' },
  port: { ...text, description: 'Id of the port.' },
  vm: {
    type: 'object',
    properties: { name: text, uuid: { type: ['string', 'null'] } },
    required: ['name', 'uuid'],
  },
  host: { type: ['string', 'null'], description: 'Where the VM ran, as far as known.' },
} satisfies { [Name in keyof AlertAnswer]: object }

function object($id: string, description: string, properties: Readonly<Record<string, object>>): object {
  return { $id, description, type: 'object', properties, required: Object.keys(properties) }
}

export const ALERT_SCHEMAS: readonly object[] = [
  object('AlertInfo', 'A line that a VM has printed matches a rule.', INFO),
  object('Alert', 'An alert, and whose it was.', ANSWER),
]

export const AlertsQuery = Type.Object(
  {
    after: Type.Optional(Type.Integer({ minimum: 0, description: 'Only those with a higher id.' })),
    rule: Type.Optional(Type.String({ maxLength: 64, description: 'Only those of this rule.' })),
    port: Type.Optional(
      Type.String({ maxLength: 1_024, description: 'Only those of this port: its id, or the name of its VM.' }),
    ),
    severity: Type.Optional(
      Type.Unsafe<AlertInfo['severity']>({ ...severity, description: 'Only those as grave as this, or graver.' }),
    ),
  },
  { additionalProperties: false },
)
export type AlertsQuery = Static<typeof AlertsQuery>
