import { expect, test } from 'vitest'
import { parseConsoleMessage } from '../../src/client/console-message.ts'
import type { ConsoleMessage } from '../../src/vspc/types.ts'

const who = {
  id: 1,
  who: 'alice',
  via: 'websocket',
  mode: 'write',
  attachedAt: '2026-01-01T00:00:00Z',
  lastInputAt: null,
  waiting: null,
} as const

const MESSAGES: ConsoleMessage[] = [
  {
    type: 'attached',
    port: 'id',
    name: '',
    mode: 'read',
    offset: 0,
    start: 0,
    next: 0,
    state: 'offline',
    console: 0,
    epoch: 'e',
    may: ['read'],
  },
  { type: 'state', state: 'migrating', host: null, reason: '' },
  { type: 'writer', mode: 'exclusive', writers: [who], reason: '' },
  { type: 'gap', bytes: 1, offset: 2 },
  { type: 'break', on: true },
  { type: 'renamed', name: 'a', port: 'id' },
  { type: 'error', code: 'VSPC_CONSOLE_BUSY', message: 'no' },
  { type: 'consoles', consoles: [] },
  { type: 'detached', reason: 'so' },
  { type: 'detached', reason: 'so', code: 'VSPC_PORT_REMOVED' },
  { type: 'queued', position: 1, mode: 'write', holders: [who], idleTakeoverMs: 5_000 },
  { type: 'asked', by: who, mode: 'exclusive', idleTakeoverMs: 0 },
  { type: 'said', from: who, text: 'hello', at: '2026-01-01T00:00:00Z' },
]

test.each(MESSAGES)('$type is understood, also with fields of a newer server', (message) => {
  expect(parseConsoleMessage(JSON.stringify(message))).toEqual(message)
  const more = { ...message, extra: [1] }
  expect(parseConsoleMessage(JSON.stringify(more))).toEqual(more)
})

test.each(MESSAGES)('$type with any one field missing or of another kind is not passed on', (message) => {
  for (const field of Object.keys(message)) {
    if (field === 'code') continue
    for (const value of [...(field === 'may' ? [] : [undefined]), field === 'on' ? 1 : true, { a: 1 }]) {
      expect(parseConsoleMessage(JSON.stringify({ ...message, [field]: value })), field).toBe('broken')
    }
  }
})

test.each(['', 'null', '[]', '"attached"', '{}', '{"type":7}', '{"type":'])('%j is broken', (frame) => {
  expect(parseConsoleMessage(frame)).toBe('broken')
})

test.each(['{"type":"later"}', '{"type":"toString"}', '{"type":"__proto__"}'])('%s is of a newer server', (frame) => {
  expect(parseConsoleMessage(frame)).toBe('unknown')
})

test.each([-1, 1.5, 2 ** 53, '0'])('an offset of %j would spoil the resuming: broken', (offset) => {
  expect(parseConsoleMessage(JSON.stringify({ type: 'gap', bytes: 1, offset }))).toBe('broken')
})
