/** An event as hooks get it: CloudEvents 1.0 in structured JSON, and a few environment variables. */
import type { PortFacts } from '../access/index.ts'
import { cleanText } from '../base/index.ts'
import type { Delivery } from './hook.ts'

/** Any event of the server: of some it is about a port, of some it is an alert. */
export interface HookEvent {
  readonly type: string
  readonly at?: unknown
  readonly port?: unknown
  readonly alert?: unknown
  readonly [name: string]: unknown
}

const MAX_VARIABLE_CHARACTERS = 500
/** What a VM says of itself is short; an event that is longer than this is none of ours. */
export const MAX_EVENT_BYTES = 262_144

/** What of a port rules look at; null: the event is about none. */
export function portOfEvent({ port }: HookEvent): PortFacts | null {
  const { id, vm, host } = record(port)
  if (typeof id !== 'string') return null
  const { name, uuid } = record(vm)
  return { id, name: text(name), uuid: textOrNull(uuid), host: textOrNull(host) }
}

export function severityOfEvent({ alert }: HookEvent): string | null {
  return textOrNull(record(alert)['severity'])
}

/** @param id unique among all events. @param at ISO 8601, for events that do not say. */
export function makeDelivery(event: HookEvent, id: string, source: string, at: string): Delivery {
  const port = portOfEvent(event)
  const time = textOrNull(event.at) ?? at
  const envelope = {
    specversion: '1.0',
    id,
    source,
    type: `vspc.${event.type}`,
    time,
    ...(port === null ? {} : { subject: port.id }),
    datacontenttype: 'application/json',
    data: event,
  }
  const { rule, severity } = record(event.alert)
  const variables = {
    VSPC_EVENT_ID: id,
    VSPC_EVENT_TYPE: event.type,
    VSPC_EVENT_TIME: time,
    VSPC_PORT_ID: port?.id,
    VSPC_PORT_LABEL: record(event.port)['label'],
    VSPC_VM_NAME: port?.name,
    VSPC_VM_UUID: port?.uuid,
    VSPC_HOST: port?.host,
    VSPC_ALERT_RULE: rule,
    VSPC_ALERT_SEVERITY: severity,
  }
  const given = Object.entries(variables).filter(([, value]) => typeof value === 'string')
  return {
    id,
    type: event.type,
    body: JSON.stringify(envelope),
    variables: Object.fromEntries(
      given.map(([name, value]) => [name, cleanText(String(value), MAX_VARIABLE_CHARACTERS)]),
    ),
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
