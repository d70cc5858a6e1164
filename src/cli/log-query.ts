/** What part of a port's log is asked for, and in which format. */
import type { IncomingMessage } from 'node:http'
import { VspcError } from '../base/index.ts'
import { notOurs, portSegment, type ServerClient } from '../client/index.ts'
import { parseDuration } from './duration.ts'

/** An answer as it is being received. Whoever gets it reads or destroys its body. */
export interface LogAnswer {
  readonly start: number
  readonly next: number
  readonly epoch: string
  readonly body: IncomingMessage
}

export interface LogQuery {
  /** Offset; negative = from the end. */
  readonly start?: number
  /** As the server takes them: see `parseTime`. */
  readonly since?: string
  readonly until?: string
  readonly format?: 'ndjson' | 'asciicast'
}

/** @throws VspcError as `ServerClient.open`; VSPC_SERVER_ANSWER where the headers are missing. */
export async function openLog(client: ServerClient, port: string, query: LogQuery): Promise<LogAnswer> {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value))
  const { headers, body } = await client.open(`/api/v1/ports/${portSegment(port)}/log?${parameters}`)
  const [start, next] = [headers['x-vspc-start'], headers['x-vspc-next']].map(Number)
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(next)) {
    body.destroy()
    throw notOurs(client.address, 'a log without X-Vspc-Start and X-Vspc-Next')
  }
  return { start: start as number, next: next as number, epoch: String(headers['x-vspc-epoch']), body }
}

/**
 * A time as the server takes it: `10m` = so long ago, by its own clock; otherwise a date that JavaScript knows, in local
 * time if it has a time and no zone.
 * @throws VspcError VSPC_USAGE naming `what`.
 */
export function parseTime(text: string, what: string): string {
  if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) {
    // Not a timer: longer ones than these can be.
    const days = /^(\d+)d$/.exec(text)?.[1]
    return String(-(days === undefined ? parseDuration(text, what) : Number(days) * 86_400_000) || -1)
  }
  const wall = /\d{4}/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isFinite(wall) && wall >= 0) return String(wall)
  throw new VspcError('VSPC_USAGE', `${what}: "${text}" is no time: give 10m, 2h, 3d, or 2026-11-23T10:00`)
}

/** @throws VspcError VSPC_USAGE. */
export function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text, 'u')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new VspcError('VSPC_USAGE', `--grep: ${reason}`, { cause })
  }
}
