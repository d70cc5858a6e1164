import type { Duplex } from 'node:stream'
import type { Scheme } from './endpoint.ts'

/** Who is at the other end, from the socket (or a trusted proxy header), never from the payload. */
export interface PeerInfo {
  /** IP address without port, or the path for Unix sockets, or a vsock CID. */
  readonly address: string
  /** `10.0.0.7:51234`, for logs. */
  readonly display: string
  readonly transport: Scheme
}

/** What the PROXY header of a trusted peer says about a stream that names nobody itself (design of the header: docs/relay.md). */
export interface Announcement {
  /** UUID or name of the VM, as sent: at most 128 bytes, cleaned by whoever shows or compares it. Null: not said. */
  readonly uniqueId: string | null
  /** Which of its ports; `[A-Za-z0-9._-]{1,64}`. */
  readonly label: string | null
}

/**
 * A byte stream in both directions: a plain net.Socket or TLSSocket, used as is, so that the data path costs nothing
 * extra; another Duplex only for pipes and for streams that are resumed. Opened with `allowHalfOpen: true`: the owner ends its side itself. Whoever received it owns it, keeps an
 * `error` listener from birth to `close`, and closes it.
 */
export interface ByteStream {
  readonly socket: Duplex
  /** Where the stream comes from: with a PROXY header, whom that names. */
  readonly peer: PeerInfo
  /** Only behind a PROXY header. */
  readonly announced?: Announcement
  /** Who is connected to us; only behind a PROXY header. */
  readonly via?: PeerInfo
  /** Only of a stream that survives its connections. */
  readonly link?: LinkInfo
}

export interface LinkInfo {
  /** For how long it has had a connection; null = it has none just now, and waits for the next one. Milliseconds. */
  readonly connectedMs: number | null
}

/**
 * An `error` listener for the time in which a socket has no owner yet: the `close` that follows is what counts.
 * One function for all sockets, so that it costs no closure.
 */
export function ignoreError(): void {}
