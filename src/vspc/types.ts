import type { Scheme } from '../transport/index.ts'

/** What the concentrator tells the outside. Plain data: safe to serialize, nothing from the wire left uncleaned. */

/** `migrating`: between VMOTION-BEGIN and COMPLETE or ABORT. */
export type PortState = 'online' | 'offline' | 'migrating'

export type ConsoleMode = 'read' | 'write' | 'exclusive'

/** How a console is attached; `forward`: a program at the other end of the line. */
export type ConsoleVia = 'websocket' | 'telnet' | 'forward'

/** What the holder of a console may or may not do; `request`: stand in the queue. */
export const CONSOLE_ACTIONS = [
  'read',
  'who',
  'write',
  'exclusive',
  'request',
  'say',
  'break',
  'force',
  'kick',
] as const
export type ConsoleAction = (typeof CONSOLE_ACTIONS)[number]

/**
 * What the holder of a console may do. Asked at each action, never per chunk; whoever supplies it decides, and keeps a
 * record. When a right ends, it calls `Console.demote` or `Console.close`.
 */
export interface ConsolePermit {
  /**
   * @param detail for the record: `console 7 (bob)`.
   * @throws VspcError VSPC_ACCESS_DENIED naming what is missing.
   */
  check(action: ConsoleAction, detail?: string): void
  /** The same without a record: for telling a client what to offer. */
  may(action: ConsoleAction): boolean
}

/** One port as shown by `GET /api/v1/ports`. */
export interface PortInfo {
  /** Canonical lower-case UUID, plus `:LABEL` when labelled; `name:NAME` or `addr:ADDRESS` where no UUID is known. */
  id: string
  vm: {
    /** For display only: not unique, can change. Empty while unknown. */
    name: string
    uuid: string | null
    biosUuid?: string
    /** Changes when the VM moves: never a key. */
    locationUuid?: string
  }
  label: string | null
  state: PortState
  /**
   * Address of the host (or relay) the current connection came from; of the last one while offline. Behind relays that
   * announce it, where the stream began; what has no IP address there with the relay's: `vsock:5@10.0.0.7`.
   */
  host: string | null
  /** Of the connection to us. */
  transport: Scheme | null
  direction: 'server' | 'client' | null
  serviceURI: string | null
  /** Attached consoles. */
  consoles: number
  /** Every byte the VM ever sent; the offset of the next one. */
  bytesFromVm: number
  bytesToVm: number
  /** ISO 8601, of the current connection; null while offline. */
  connectedAt: string | null
  /** Completed vMotions. */
  vmotions: number
  /** Oldest offset that history still holds. */
  historyStart: number
  protocol: 'vmware' | 'telnet' | 'raw'
  /** As set over COM-PORT (RFC 2217); null while the VM has not said. */
  line: { baud: number; dataSize: number; parity: string; stopSize: string } | null
  /** ISO 8601, of the VM's last output; null before the first. */
  lastOutputAt: string | null
  /** The TCP port for Telnet clients; only where there is one. */
  telnetPort?: number
}

export type PortEventType = 'port-added' | 'port-removed' | 'port-online' | 'port-offline' | 'port-renamed'

export type VmotionEventType =
  | 'vmotion-begin'
  | 'vmotion-complete'
  | 'vmotion-abort'
  | 'vmotion-timeout'
  | 'vmotion-refused'

/** `implicit`: completed as far as output shows, without COMPLETE. */
export type VmotionResult = 'completed' | 'implicit' | 'aborted' | 'timed_out'

/** A lifecycle event; `GET /api/v1/events` sends each as one server-sent event named by `type`. `at` is ISO 8601. */
export type ServerEvent =
  | { type: PortEventType; at: string; port: PortInfo }
  | { type: 'port-rekeyed'; at: string; port: PortInfo; previousId: string }
  /** `reason` in words: "VMOTION-COMPLETE", "no ABORT, but the VM runs on at its source", ... */
  | { type: VmotionEventType; at: string; port: PortInfo; reason: string }
  | { type: 'console-attached' | 'console-detached'; at: string; port: PortInfo; console: ConsoleInfo }
  /** `console` as it is now. `by`: who did it, null = the server itself. */
  | { type: 'console-mode'; at: string; port: PortInfo; console: ConsoleInfo; by: string | null; reason: string }
  /** Followed by its `console-detached`. */
  | { type: 'console-kicked'; at: string; port: PortInfo; console: ConsoleInfo; by: string | null; reason: string }
  /** `console` null: said to all consoles of the port by somebody without one. */
  | { type: 'console-said'; at: string; port: PortInfo; console: ConsoleInfo | null; by: string | null; text: string }
  | { type: 'alert'; at: string; port: PortInfo; alert: AlertInfo }

/** A line that a VM has printed matches a rule: see `src/alerts/`. */
export interface AlertInfo {
  /** Counts the alerts since the server was started, from 1 on. */
  id: number
  /** Name of the rule. */
  rule: string
  severity: 'critical' | 'error' | 'warning' | 'info'
  /** The line, cleaned and cut. */
  line: string
  /** Of its first byte. */
  offset: number
  /** Earlier matches of the same rule on this port that were not told, because it had been told shortly before. */
  suppressed: number
}

export interface ConsoleInfo {
  id: number
  /** Who, as far as known: an address, or a user once there is authentication. */
  who: string
  /** Where it comes from, when `who` is a user. */
  address?: string
  via: ConsoleVia
  mode: ConsoleMode
  /** ISO 8601. */
  attachedAt: string
  /** ISO 8601; null before its first input. */
  lastInputAt: string | null
  /** Its place in the queue, from 1; null while it does not wait. */
  waiting: number | null
}

/** Control messages to a console; the text frames of subprotocol `vspc.v1`. */
export type ConsoleMessage =
  /** First message. `offset` is that of the first byte that follows; `next` the live end; `start` the oldest one held. */
  | {
      type: 'attached'
      port: string
      name: string
      mode: ConsoleMode
      offset: number
      start: number
      next: number
      state: PortState
      console: number
      /** Offsets are comparable while this stays the same: a new one means that the history began anew. */
      epoch: string
      /** What this console may ask for. */
      may: ConsoleAction[]
    }
  /** The port's state changed; `host` where it runs now. */
  | { type: 'state'; state: PortState; host: string | null; reason: string }
  /** Who may write: this console's mode after a change, and all writers. `by`: the console that brought it about. */
  | { type: 'writer'; mode: ConsoleMode; writers: ConsoleInfo[]; reason: string; by?: ConsoleInfo }
  /**
   * This console's place in the queue for `mode`, from 1, after each change of it; 0 = it no longer waits, for this
   * reason, or without one because it has the mode: `writer` follows. `holders` are in its way; where they stay idle, the first in the queue takes over in `idleTakeoverMs`
   * (null = never).
   */
  | {
      type: 'queued'
      position: number
      mode: ConsoleMode
      holders: ConsoleInfo[]
      idleTakeoverMs: number | null
      reason?: string
    }
  /** Another console waits for what this one holds. */
  | { type: 'asked'; by: ConsoleInfo; mode: ConsoleMode; idleTakeoverMs: number | null }
  /** Words of another console; null: of the server, or of somebody who has no console here. */
  | { type: 'said'; from: ConsoleInfo | null; text: string; at: string }
  /** `bytes` before `offset` are lost to this reader: history no longer holds them. */
  | { type: 'gap'; bytes: number; offset: number }
  /** The VM was renamed. */
  | { type: 'renamed'; name: string; port: string }
  /** The guest began or ended a BREAK on its line. */
  | { type: 'break'; on: boolean }
  | { type: 'error'; code: string; message: string }
  | { type: 'consoles'; consoles: ConsoleInfo[] }
  /** Last message; the transport closes after it. */
  | { type: 'detached'; reason: string; code?: string }

/** Control messages from a console. */
export type ConsoleRequest =
  /**
   * Where somebody is in the way: `force` turns them into readers, `wait` stands in the queue, neither is an error.
   * Any answer but an error ends an earlier wait.
   */
  | { type: 'mode'; mode: ConsoleMode; force?: boolean; wait?: boolean }
  /** Leaves the queue. */
  | { type: 'cancel' }
  /** Writes no more. With `to`, that console has the mode it waits for at once; else it is the turn of the first. */
  | { type: 'yield'; to?: number }
  | { type: 'kick'; console: number; reason?: string }
  /** To all consoles of the port, this one too. */
  | { type: 'say'; text: string }
  | { type: 'break' }
  | { type: 'who' }

/**
 * The transport of a console (WebSocket, a spliced socket, a test), as the port sees it.
 *
 * The transport owns the connection; the port calls `close` when the console has to go, and the transport calls
 * `Console.detach` when the peer went.
 */
export interface ConsoleClient {
  /**
   * Sends console output. `bytes` are immutable and may be kept. Returns false when the transport's buffer is past its
   * mark: nothing more is sent until the transport calls `Console.drained`.
   */
  output(bytes: Uint8Array): boolean
  notify(message: ConsoleMessage): void
  /** Back-pressure: while paused the transport should stop reading its peer. */
  setInputPaused(paused: boolean): void
  close(reason: string, code?: string): void
}
