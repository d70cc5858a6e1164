import type { ConsoleMessage } from '../vspc/index.ts'

/** A console's first message. */
export type Attached = Extract<ConsoleMessage, { type: 'attached' }>

type Check = (value: unknown) => boolean

const text: Check = (value) => typeof value === 'string'
const textOrNull: Check = (value) => value === null || text(value)
const offset: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const mode: Check = (value) => value === 'read' || value === 'write' || value === 'exclusive'
const state: Check = (value) => value === 'online' || value === 'offline' || value === 'migrating'
const offsetOrNull: Check = (value) => value === null || offset(value)
const consoleInfo: Check = (value) => fits(value, { id: offset, who: text, mode, attachedAt: text })
const consoles: Check = (value) => Array.isArray(value) && value.every(consoleInfo)

/** What each message has to hold; more is allowed, and left alone. */
const FIELDS: { readonly [type in ConsoleMessage['type']]: { readonly [field: string]: Check } } = {
  attached: {
    port: text,
    name: text,
    mode,
    offset,
    start: offset,
    next: offset,
    state,
    console: offset,
    epoch: text,
    // Older servers do not say.
    may: (value) => value === undefined || (Array.isArray(value) && value.every(text)),
  },
  state: { state, host: textOrNull, reason: text },
  writer: { mode, writers: consoles, reason: text },
  gap: { bytes: offset, offset },
  break: { on: (value) => typeof value === 'boolean' },
  renamed: { name: text, port: text },
  error: { code: text, message: text },
  consoles: { consoles },
  detached: { reason: text },
  queued: { position: offset, mode, holders: consoles, idleTakeoverMs: offsetOrNull },
  asked: { by: consoleInfo, mode, idleTakeoverMs: offsetOrNull },
  said: { from: (value) => value === null || consoleInfo(value), text, at: text },
}

/**
 * A text frame as a control message. 'unknown' for one of a newer server, 'broken' for what no server of ours sends.
 * Texts inside are not cleaned yet.
 */
export function parseConsoleMessage(frame: string): ConsoleMessage | 'unknown' | 'broken' {
  let message: unknown
  try {
    message = JSON.parse(frame)
  } catch {
    return 'broken'
  }
  if (!fits(message, { type: text })) return 'broken'
  const { type } = message as { type: string }
  if (!Object.hasOwn(FIELDS, type)) return 'unknown'
  return fits(message, FIELDS[type as ConsoleMessage['type']]) ? (message as ConsoleMessage) : 'broken'
}

function fits(value: unknown, fields: { readonly [field: string]: Check }): boolean {
  if (typeof value !== 'object' || value === null) return false
  const record = value as Record<string, unknown>
  return Object.entries(fields).every(([field, check]) => check(record[field]))
}
