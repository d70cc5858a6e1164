import type { VspcError } from '../base/index.ts'
import type { ConsoleMessage, ConsoleMode } from '../vspc/index.ts'

export interface ConsoleOptions {
  /** Default `read`. `exclusive` writes as the only one. */
  readonly mode?: ConsoleMode
  /** `now` (default), or the offset to begin at: history, then live without a seam; negative counts from the end. */
  readonly from?: 'now' | number
  /** Writes even if someone holds the port. */
  readonly force?: boolean
  /**
   * Where someone holds the port: stands in the queue for so many ms (may be infinite), and is open once it is its turn.
   * What is printed meanwhile is output, too.
   */
  readonly waitMs?: number
  /**
   * What to do with output that nobody takes (by iterating or `expect`). `keep` (default): 1 MiB is held, then the
   * server is told to wait and goes on from its history: nothing is lost. `drop`: for those who only send.
   */
  readonly unread?: 'keep' | 'drop'
  /**
   * Told all output as it comes, whoever takes it afterwards; the bytes are shared, and may not be changed. While a
   * promise it returned is pending, the server waits. May not throw.
   */
  readonly onOutput?: (bytes: Uint8Array) => Promise<unknown> | null
  /** Told what happens to the connection and the port; never output. May not throw. */
  readonly onNotice?: (notice: ConsoleNotice) => void
  /** Aborting it gives up attaching. It does nothing afterwards: see {@link RemoteConsole.close}. */
  readonly signal?: AbortSignal
}

/** Lifecycle of a console; names as in the subprotocol where it has them. */
export type ConsoleNotice =
  /** The connection is gone; it is being made again, and goes on where the output stopped. */
  | { type: 'lost' | 'waiting' | 'demoted'; error: VspcError }
  | { type: 'attached-again' }
  /** `bytes` before `offset` are lost: history no longer holds them. */
  | { type: 'gap'; bytes: number; offset: number }
  /** The server counts offsets from a new beginning. */
  | { type: 'restarted' }
  /** Of the port; errors that the server reports on its own; messages of newer servers. */
  | Exclude<ConsoleMessage, { type: 'attached' | 'gap' | 'consoles' | 'detached' }>
