import { cleanText, VspcError } from '../base/index.ts'
import type { ConsoleRequest } from '../vspc/index.ts'
import { CONSOLE_MODES } from './schemas.ts'

/** No control message is longer. */
const MAX_CONTROL_BYTES = 4096

const ACCEPTED = '{"type":"mode","mode":"read|write|exclusive","force":false}, {"type":"break"}, {"type":"who"}'

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
  const { type, mode, force } = value as Record<string, unknown>
  if (type === 'break' || type === 'who') return { type }
  if (type !== 'mode')
    throw bad(typeof type === 'string' ? `there is no type "${cleanText(type, 50)}"` : 'it has no type')
  const wanted = CONSOLE_MODES.find((one) => one === mode)
  if (wanted === undefined) throw bad(`mode must be one of ${CONSOLE_MODES.join(', ')}`)
  if (force !== undefined && typeof force !== 'boolean') throw bad('force must be true or false')
  return { type, mode: wanted, force: force ?? false }
}

function bad(fault: string, cause?: unknown): VspcError {
  return new VspcError('VSPC_CONSOLE_BAD_CONTROL', `control message ignored: ${fault}; accepted are ${ACCEPTED}`, {
    cause,
  })
}
