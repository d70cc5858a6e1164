import { VspcError } from '../base/index.ts'
import { chunksOf } from './history.ts'
import { jsonLines } from './json-lines.ts'
import { notOurs, portSegment, type ServerClient } from './requests.ts'

/** What history is searched for; see GET /api/v1/log/search. */
export interface SearchOptions {
  /** In RE2's syntax. */
  readonly pattern: string
  /** Ports as people name them, or patterns with `*` and `?`. Default: all. */
  readonly ports?: readonly string[]
  readonly ignoreCase?: boolean
  /** The pattern is text, not an expression. */
  readonly fixed?: boolean
  /** ISO 8601, ms since 1970, or negative: so many ms ago, by the server's clock. */
  readonly since?: string
  readonly until?: string
  /** Lines before and after each that matches. */
  readonly context?: number
  /** Matching lines in all, and of each port. */
  readonly limit?: number
  readonly perPort?: number
  /** Only how many there are in each port. */
  readonly counts?: boolean
  readonly signal?: AbortSignal
}

interface OfPort {
  /** Its id. */
  readonly port: string
  readonly name: string
}

export type SearchRecord =
  | (OfPort & {
      readonly type: 'line' | 'context'
      /** Of its first byte, and of the next line's. */
      readonly offset: number
      readonly end: number
      /** ISO 8601; null where it is not known. */
      readonly time: string | null
      /** What people read of it. */
      readonly text: string
      /** [start, end) in `text`; of a line. */
      readonly matches?: readonly (readonly [start: number, end: number])[]
      /** It is longer; this is what is around the first match. */
      readonly cut?: true
    })
  | (OfPort & {
      readonly type: 'port'
      readonly matches: number
      readonly bytes: number
      readonly skipped?: { readonly reason: string; readonly bytes: number }
    })
  | {
      readonly type: 'progress'
      readonly ports: number
      readonly ofPorts: number
      readonly bytes: number
      readonly ofBytes: number
      readonly matches: number
    }
  | {
      readonly type: 'end'
      /** `limit`: there may be more; `time`: it took too long. */
      readonly end: 'complete' | 'limit' | 'time'
      readonly ports: number
      readonly bytes: number
      readonly matches: number
      readonly skippedPorts: number
      readonly skippedBytes: number
      readonly lostBytes: number
    }

/**
 * Searches the history of a server's ports. The last record is of type `end`; who leaves the loop earlier ends the
 * search.
 * @throws VspcError VSPC_PATTERN, VSPC_SEARCH_BUSY, VSPC_SEARCH_FAILED, or as `ServerClient.open`.
 */
export async function* searchHistory(
  client: ServerClient,
  options: SearchOptions,
): AsyncGenerator<SearchRecord, void, void> {
  const { body } = await client.open(`/api/v1/log/search?${parametersOf(options)}`, options.signal)
  let ended = false
  try {
    for await (const line of jsonLines(client, chunksOf(body))) {
      const record = parseRecord(client, line)
      ended = record.type === 'end'
      yield record
    }
  } finally {
    body.destroy()
  }
  if (!ended)
    throw new VspcError('VSPC_SERVER_UNREACHABLE', 'the connection to the server broke in the middle of the search')
}

function parametersOf(options: SearchOptions): URLSearchParams {
  const { pattern, ports = [], ignoreCase, fixed, since, until, context, limit, perPort, counts } = options
  const parameters = new URLSearchParams({ pattern })
  // An empty name, or one that no URL can carry, is told here.
  for (const port of ports) if (portSegment(port) !== '') parameters.append('ports', port)
  const others = { ignore_case: ignoreCase, fixed, since, until, context, limit, per_port: perPort, counts }
  for (const [name, value] of Object.entries(others)) if (value !== undefined) parameters.set(name, String(value))
  return parameters
}

function parseRecord(client: ServerClient, line: string): SearchRecord {
  let record: { type?: unknown; code?: unknown; message?: unknown } | null
  try {
    record = JSON.parse(line) as typeof record
  } catch (cause) {
    throw notOurs(client.address, 'a line of its answer is no JSON', cause)
  }
  if (record?.type === 'error') throw new VspcError('VSPC_SEARCH_FAILED', String(record.message))
  if (typeof record?.type !== 'string') throw notOurs(client.address, 'a line of its answer says not what it is')
  return record as SearchRecord
}
