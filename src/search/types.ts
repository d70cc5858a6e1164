/** What is searched for, and what the thread that searches and its owner say to each other. */
import type { PortFiles } from '../history/index.ts'

export interface SearchQuery {
  readonly pattern: string
  readonly ignoreCase: boolean
  readonly fixed: boolean
  /** Ms since 1970: only what came then or later; where that is not known, too much rather than too little. */
  readonly since: number | null
  /** Only what came until then. */
  readonly until: number | null
  /** Only from this offset on. */
  readonly start: number
  /** Only up to this offset. */
  readonly end: number
  /** Lines around each that matches. */
  readonly context: number
  /** Matching lines of all ports, and of one. */
  readonly limit: number
  readonly perPort: number
  /** Only how many there are of each port: no lines, and no `limit`. */
  readonly counts: boolean
}

/** A port to be searched, as it is now. */
export interface SearchedPort {
  readonly id: string
  readonly name: string
  /** Names this counting of offsets. */
  readonly epoch: string
  /** Oldest offset held. */
  readonly start: number
  /** What comes from there on may not be shown yet. */
  readonly end: number
  /** Null while it has none: everything is asked for. */
  readonly files: PortFiles | null
  /** When output came that `files` says nothing about. */
  readonly marks: PortFiles['marks']
}

/** What is held of a port at an offset. */
export type Piece =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Nothing, up to there. */
  | { readonly kind: 'gap'; readonly to: number }
  | { readonly kind: 'gone' }

/** Lines of JSON about one port; valid while its offsets are counted in that epoch. */
export interface Found {
  readonly port: string
  readonly epoch: string
  readonly text: string
}

/** So far. Bytes are those of output. */
export interface SearchTotals {
  /** Looked through. */
  ports: number
  bytes: number
  /** Matching lines. */
  matches: number
  /** There were more than the limit. */
  truncated: boolean
  /** Could not be looked through, wholly or in part: see the records of these ports. */
  skippedPorts: number
  skippedBytes: number
  /** History has lost them. */
  lostBytes: number
}

/** At the beginning. */
export const NOTHING_SEARCHED: Readonly<SearchTotals> = {
  ports: 0,
  bytes: 0,
  matches: 0,
  truncated: false,
  skippedPorts: 0,
  skippedBytes: 0,
  lostBytes: 0,
}

export type ToWorker =
  | { readonly type: 'port'; readonly port: SearchedPort | null }
  | { readonly type: 'piece'; readonly piece: Piece }
  /** What was found is taken; go on. */
  | { readonly type: 'taken' }

export type FromWorker =
  /** Which port is next? */
  | { readonly type: 'next' }
  /** Where are the files of this port now? */
  | { readonly type: 'again'; readonly port: string; readonly epoch: string }
  | { readonly type: 'load'; readonly port: string; readonly epoch: string; readonly offset: number }
  | { readonly type: 'found'; readonly found: readonly Found[]; readonly totals: SearchTotals }
  | { readonly type: 'done'; readonly totals: SearchTotals }
