import type { IncomingMessage } from 'node:http'
import { VspcError } from '../base/index.ts'
import { notOurs, portSegment, type ServerClient } from './requests.ts'

/** A port's recorded output from an offset on, as it is being received. */
export interface HistoryStream {
  /** Offset of the first byte of `body`: later than asked for, where the older ones are no longer held. */
  readonly start: number
  /** Offset after its last byte. */
  readonly next: number
  readonly body: IncomingMessage
}

/**
 * @param from offset; negative = from the end.
 * @param to only up to this offset; null = all there is.
 * Whoever gets the stream reads or destroys its body, which is shorter than `next - start` where history has gaps.
 */
export async function openHistory(
  client: ServerClient,
  port: string,
  from: number,
  to: number | null = null,
  signal?: AbortSignal,
): Promise<HistoryStream> {
  const end = to === null ? '' : `&end=${to}`
  const { headers, body } = await client.open(`/api/v1/ports/${portSegment(port)}/log?start=${from}${end}`, signal)
  const start = offsetHeader(headers['x-vspc-start'])
  const next = offsetHeader(headers['x-vspc-next'])
  if (start === null || next === null) {
    body.destroy()
    throw notOurs(client.address, 'a log without X-Vspc-Start and X-Vspc-Next')
  }
  return { start, next, body }
}

/** What history holds from `from` up to, but not including, `to`. */
export async function readHistory(client: ServerClient, port: string, from: number, to: number): Promise<Uint8Array> {
  const { start, body } = await openHistory(client, port, from, to)
  const bytes = Buffer.alloc(Math.max(0, to - start))
  let length = 0
  for await (const chunk of chunksOf(body)) {
    length += chunk.copy(bytes, length)
    if (length === bytes.length) break
  }
  return bytes.subarray(0, length)
}

/**
 * The body, chunk by chunk. Leaving the loop early ends the transfer.
 * @throws VspcError VSPC_SERVER_UNREACHABLE when the connection breaks in the middle.
 */
export async function* chunksOf(body: IncomingMessage): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) yield chunk
  } catch (cause) {
    throw new VspcError('VSPC_SERVER_UNREACHABLE', 'the connection to the server broke in the middle of the log', {
      cause,
    })
  }
}

function offsetHeader(value: string | string[] | undefined): number | null {
  return typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : null
}
