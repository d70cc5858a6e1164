/**
 * What VMs have said, by offset. Offsets count every byte a VM ever sent.
 *
 * Consoles are cursors into a history: it is the only buffer between a VM and a slow reader. There are two kinds behind
 * these interfaces, on disk and in memory, and who uses them does not know which.
 */
import type { Limits, VspcError } from '../base/index.ts'
import type { Marks } from './times.ts'

/** What is kept of a port beside its bytes, so that it can be listed after a restart. */
export interface PortMeta {
  /** What the port's id is made of, without the label. */
  readonly vmKey: string
  readonly label: string | null
  /** Names this counting of offsets: another one for a port that was removed and came again. Null = unknown. */
  readonly epoch: string | null
  /** For display only; empty while unknown. */
  readonly name: string
  readonly vcUuid: string | null
  readonly biosUuid: string | null
  readonly serviceURI: string | null
  readonly direction: 'server' | 'client' | null
}

/** The port a history belongs to. Called synchronously; must not throw. */
export interface HistoryOwner {
  /** What to keep of the port, as it is now. Asked for when it is written, which may be long after `open`. */
  describe(): PortMeta
  /** `visible` has moved on. May be called from within `append`. */
  historyVisible(): void
  /** There is room again: the counterpart of an `append` that returned false. */
  historyDrained(): void
}

/** What a load found at its offset. */
export type LoadResult =
  /** At least one byte, at most as many as asked for. Immutable; may be kept. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Nothing is held from the offset up to `to`: lost, or removed. */
  | { readonly kind: 'gap'; readonly to: number }
  /** The offset is not below `visible`: there is nothing yet. */
  | { readonly kind: 'end' }
  /** It is held, but could not be read. Whoever gives up goes on at `to`. */
  | { readonly kind: 'failed'; readonly error: VspcError; readonly to: number }

/** A load under way. After `cancel`, `done` is not called any more. */
export interface Load {
  cancel(): void
}

/**
 * The history of one port.
 *
 * `start <= visible <= next`. Readers are only shown what is below `visible`: from there on a byte could still be lost
 * with the process, and its offset be given to another byte after a restart.
 */
export interface History {
  /** Oldest offset still held; between it and `visible` there may be gaps. */
  readonly start: number
  /** Offset of the next byte to come. */
  readonly next: number
  /** Below it bytes may be shown. Never goes back. */
  readonly visible: number
  /**
   * Keeps a copy of `bytes`. Never waits, never throws.
   * @returns false when the disk is behind: the caller may pause its source until `historyDrained`, which follows
   * soon, whatever the disk does. Whoever goes on regardless loses history at worst.
   */
  append(bytes: Uint8Array): boolean
  /** What memory holds from `offset` on, at most `maxBytes`, as an immutable view; null when that is nothing. */
  read(offset: number, maxBytes: number): Uint8Array | null
  /**
   * Gets up to `maxBytes` from `offset` on, from wherever they are. `done` is called once, never before `load` returns.
   * The caller has few loads under way at once (one per reader).
   */
  load(offset: number, maxBytes: number, done: (result: LoadResult) => void): Load
  /**
   * When the byte at `offset` and those after it came, as far as that is known: the first mark is the one that the byte
   * has, if it has any; then some more. `done` is called once, never before `marks` returns; not if the port is removed.
   */
  marks(offset: number, done: (marks: Marks) => void): void
  /**
   * The first offset whose byte came at `wall` (ms since 1970) or later; `next` if there is none. `unknownToo`: or whose
   * time is not known. `done` as for `marks`.
   */
  seekTime(wall: number, unknownToo: boolean, done: (offset: number) => void): void
  /**
   * Calls `done` once everything appended by now is visible; at once if it is already. That is soon, whatever the disk
   * does; never if the port is removed before.
   */
  settled(done: () => void): void
  /** Somebody follows the output: what is on disk is also kept in memory for a while. Off at first. */
  keepTail(on: boolean): void
  /** What `describe()` says may have changed. */
  metaChanged(): void
  /** The port has another id from now on. @returns false, and does nothing, when that id has a history already. */
  rename(id: string): boolean
  /** Forgets everything, also on disk. The object must not be used afterwards; loads under way fail. */
  remove(): void
}

/** Where the output of a port is, for who reads files itself: see stored-output.ts. What is not there is left to `load`. */
export interface PortFiles {
  readonly folder: string
  /** In order of their offsets. They may be compressed, moved or deleted at any time. */
  readonly files: readonly StoredFile[]
  /** Everything from there on is in memory alone. */
  readonly written: number
  /** Of when output came: those that may not be on the disk yet. */
  readonly marks: Pick<Marks, 'offsets' | 'times'>
}

export interface StoredFile {
  readonly start: number
  /** Where it ends at most: what was lost is at the ends of files. */
  readonly end: number
  /** When it was last written, ms since 1970. */
  readonly lastWriteAt: number
}

/** A port that has a history from before. */
export interface StoredPort {
  readonly id: string
  readonly meta: PortMeta
  readonly start: number
  readonly next: number
  /** When its history was last written, ms since 1970. */
  readonly lastWriteAt: number
}

/** Only grow. Bytes are console bytes. */
export interface HistoryCounters {
  readonly writtenBytes: number
  readonly writes: number
  /** Failed operations other than reads. */
  readonly diskErrors: number
  /** Never got to the disk: gaps in history. */
  readonly droppedBytes: number
  /** Shown before they were with the operating system, because the disk was late. */
  readonly undurableBytes: number
  readonly loads: number
  readonly loadedBytes: number
  readonly loadErrors: number
  readonly filesOpened: number
  /** Deleted to make room, or because of its age. */
  readonly expiredBytes: number
}

/** As they are now. Bytes are memory, overhead included. */
export interface HistoryGauges {
  readonly pendingBytes: number
  readonly tailBytes: number
  readonly openFiles: number
  /** Ports whose writes fail, or take longer than `historyVisibleMs`. */
  readonly troubledPorts: number
  /** What the files take on the disk. */
  readonly diskBytes: number
}

/**
 * Something is wrong, or right again. `late`: shown before it is safe. `write`, `read`: `code` is the system's error.
 * `dropped`: history has gaps. `budget`: it takes more room than it may. `lock`: the data directory was taken or removed. `foreign`: something was found there at
 * start that is left alone; has no end.
 */
export interface HistoryProblem {
  readonly kind: 'late' | 'write' | 'read' | 'dropped' | 'budget' | 'lock' | 'foreign'
  readonly state: 'began' | 'ended'
  /** `ENOSPC` and the like; null where it is no system error. */
  readonly code: string | null
  readonly path: string | null
  /** For people: what, where, and what to do. */
  readonly message: string
}

/** The histories of all ports of a server. */
export interface HistoryStore {
  /** What is kept outlives the process. */
  readonly persistent: boolean
  /** Read whenever they are needed: may be replaced. */
  limits: Limits
  readonly counters: HistoryCounters
  readonly gauges: HistoryGauges
  /** Ports of earlier runs that were not opened yet. */
  stored(): Iterable<StoredPort>
  /** The history of port `id`, which nobody else has open; with what is there from before. Touches no disk. */
  open(id: string, owner: HistoryOwner): History
  /** Null where port `id` has no files. */
  filesOf(id: string): PortFiles | null
  /**
   * A view that `read` returned is not used any more: its memory may be used again. Once for each, or never, if it is
   * kept: that only costs.
   */
  release(view: Uint8Array): void
  /** True once everything appended is with the operating system; false when that took longer than `timeoutMs`. */
  flush(timeoutMs: number): Promise<boolean>
  /** Flushes and lets go of everything; what is appended later is dropped and counted. @returns as `flush`. */
  close(timeoutMs: number): Promise<boolean>
  /** Set by whoever keeps something else in the data directory: another server has taken it. */
  onTaken?: () => void
}
