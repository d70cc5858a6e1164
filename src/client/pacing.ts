import { VspcError } from '../base/index.ts'

export interface SendOptions {
  /** Pause after each byte, for UARTs without flow control. Milliseconds, default 0. */
  readonly charDelayMs?: number
  /** Pause after each line end (CR, LF or CR LF), for shells that lose what is typed while they work. Default 0. */
  readonly lineDelayMs?: number
  /** Aborting it rejects with its reason; what was sent stays sent. */
  readonly signal?: AbortSignal
}

/** One WebSocket message of input: below any server's `maxConsoleMessageBytes`. */
const MESSAGE_BYTES = 1_024

const CR = 0x0d
const LF = 0x0a

/**
 * Cuts input into what is sent at once, each with the pause after it.
 * @throws VspcError VSPC_USAGE for a negative or endless pause.
 */
export function* pacedPieces(
  bytes: Uint8Array,
  { charDelayMs = 0, lineDelayMs = 0 }: SendOptions,
): Generator<{ piece: Uint8Array; pauseMs: number }, void, void> {
  for (const ms of [charDelayMs, lineDelayMs]) {
    if (!(ms >= 0 && ms <= 3_600_000)) throw new VspcError('VSPC_USAGE', 'a delay must be 0 to 3600000 ms')
  }
  const most = charDelayMs > 0 ? 1 : MESSAGE_BYTES
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = lineDelayMs > 0 ? endOfLine(bytes, at) : -1
    const end = Math.min(at + most, lineEnd < 0 ? bytes.length : lineEnd, bytes.length)
    yield { piece: bytes.subarray(at, end), pauseMs: Math.max(charDelayMs, end === lineEnd ? lineDelayMs : 0) }
    at = end
  }
}

/** Index after the next line end; -1 without one. */
function endOfLine(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === LF || (byte === CR && bytes[at + 1] !== LF)) return at + 1
  }
  return -1
}
