import { cleanText, VspcError } from '../base/index.ts'
import type { ConsoleRequest } from '../vspc/index.ts'
import { CONSOLE_MODES } from './schemas.ts'

/** No control message is longer. */
const MAX_CONTROL_BYTES = 4096

const ACCEPTED =
  '{"type":"mode","mode":"read|write|exclusive","force":false,"wait":false}, {"type":"cancel"}, ' +
  '{"type":"yield","to":7}, {"type":"kick","console":7,"reason":"..."}, {"type":"say","text":"..."}, ' +
  '{"type":"break"}, {"type":"who"}'

type Fields = Readonly<Record<string, unknown>>

const READERS: { readonly [type in ConsoleRequest['type']]: (fields: Fields) => ConsoleRequest } = {
  mode: (fields) => {
    const mode = CONSOLE_MODES.find((one) => one === fields['mode'])
    if (mode === undefined) throw bad(`mode must be one of ${CONSOLE_MODES.join(', ')}`)
    return { type: 'mode', mode, force: flag(fields, 'force'), wait: flag(fields, 'wait') }
  },
  cancel: () => ({ type: 'cancel' }),
  yield: (fields) => {
    return fields['to'] === undefined ? { type: 'yield' } : { type: 'yield', to: consoleId(fields, 'to') }
  },
  kick: (fields) => {
    const console = consoleId(fields, 'console')
    return fields['reason'] === undefined
      ? { type: 'kick', console }
      : { type: 'kick', console, reason: text(fields, 'reason') }
  },
  say: (fields) => ({ type: 'say', text: text(fields, 'text') }),
  break: () => ({ type: 'break' }),
  who: () => ({ type: 'who' }),
}

/**
 * Reads a text frame of subprotocol `vspc.v1`.
 * @throws VspcError VSPC_CONSOLE_BAD_CONTROL saying what is accepted.
 */
export function parseControl(frame: Uint8Array): ConsoleRequest {
  if (frame.length > MAX_CONTROL_BYTES) throw bad(`it has ${frame.length} bytes, more than ${MAX_CONTROL_BYTES}`)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(frame))
  } catch (cause) {
    throw bad('it is no JSON (console input goes into binary frames)', cause)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('it is no JSON object')
  const fields = value as Fields
  const { type } = fields
  if (typeof type !== 'string') throw bad('it has no type')
  if (!Object.hasOwn(READERS, type)) throw bad(`there is no type "${cleanText(type, 50)}"`)
  return READERS[type as ConsoleRequest['type']](fields)
}

function flag(fields: Fields, name: string): boolean {
  const value = fields[name] === undefined ? false : fields[name]
  if (typeof value !== 'boolean') throw bad(`${name} must be true or false`)
  return value
}

function consoleId(fields: Fields, name: string): number {
  const value = fields[name]
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw bad(`${name} must be the number of a console`)
  return value as number
}

function text(fields: Fields, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw bad(`${name} must be text`)
  return value
}

function bad(fault: string, cause?: unknown): VspcError {
  return new VspcError('VSPC_CONSOLE_BAD_CONTROL', `control message ignored: ${fault}; accepted are ${ACCEPTED}`, {
    cause,
  })
}
