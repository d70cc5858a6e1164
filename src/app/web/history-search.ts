/** Searches the server's histories: lines of JSON, as they are found. */
import { ApiError, openStream } from './api.ts'
import { portPath, type SearchQuery } from './places.ts'

/** So many are shown; who wants more narrows the search, or uses `vspc grep`. */
export const MOST_FOUND = 500
/** A record holds a line of at most some kilobytes. */
const MAX_HELD = 1 << 20

export interface Found {
  readonly port: string
  readonly name: string
  readonly offset: number
  readonly time: string | null
  readonly text: string
  /** [start, end] of each match, in UTF-16 units. */
  readonly matches: readonly (readonly [number, number])[]
  readonly cut: boolean
}

export interface Progress {
  readonly ports: number
  readonly ofPorts: number
  readonly bytes: number
  readonly ofBytes: number
}

export interface SearchEnd {
  readonly end: 'complete' | 'limit' | 'time'
  readonly ports: number
  readonly bytes: number
  readonly matches: number
  readonly skippedPorts: number
  readonly lostBytes: number
}

export interface SearchListener {
  found(line: Found): void
  progress(progress: Progress): void
  /** Exactly one of the two, and the last. */
  ended(end: SearchEnd): void
  failed(why: string): void
}

/** @returns what stops it; nothing is told then. */
export function searchHistory(query: SearchQuery, listener: SearchListener): () => void {
  const over = new AbortController()
  void run(query, listener, over.signal)
  return () => over.abort()
}

function pathOf({ text, port, regex, caseCounts, since }: SearchQuery): string {
  const values = new URLSearchParams({ pattern: text, limit: String(MOST_FOUND) })
  if (!regex) values.set('fixed', 'true')
  if (!caseCounts) values.set('ignore_case', 'true')
  if (since !== '') values.set('since', since)
  // A pattern of names, or a whole port by its id.
  if (port !== '' && !/[*?]/.test(port)) return `${portPath(port, '/log/search')}?${values}`
  if (port !== '') values.set('ports', port)
  return `api/v1/log/search?${values}`
}

async function run(query: SearchQuery, listener: SearchListener, signal: AbortSignal): Promise<void> {
  let ended = false
  try {
    let held = ''
    for (let reader = await openStream(pathOf(query), signal), piece = await reader.read(); !piece.done; ) {
      const lines = (held + piece.value).split('\n')
      held = lines.pop() ?? ''
      if (held.length > MAX_HELD) throw new ApiError(0, '', 'the server answers with something else')
      for (const line of lines) {
        if (signal.aborted) return
        ended = tell(JSON.parse(line) as SearchRecord, listener) || ended
      }
      piece = await reader.read()
    }
    if (!ended && !signal.aborted) listener.failed('the search was cut off')
  } catch (error) {
    if (!signal.aborted) listener.failed(error instanceof Error ? error.message : String(error))
  }
}

type SearchRecord =
  | ({ type: 'line' } & Found)
  | ({ type: 'progress' } & Progress)
  | ({ type: 'end' } & SearchEnd)
  | { type: 'error'; message: string }
  | { type: 'context' | 'port' }

/** @returns whether that was the last one. */
function tell(record: SearchRecord, listener: SearchListener): boolean {
  switch (record.type) {
    case 'line':
      listener.found(record)
      return false
    case 'progress':
      listener.progress(record)
      return false
    case 'end':
      listener.ended(record)
      return true
    case 'error':
      listener.failed(record.message)
      return true
    default:
      return false
  }
}
