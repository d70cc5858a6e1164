import type { Duplex } from 'node:stream'

/** Who is at the other end, from the socket (or a trusted proxy header), never from the payload. */
export interface PeerInfo {
  /** IP address without port, or the path for Unix sockets, or a vsock CID. */
  readonly address: string
  /** `10.0.0.7:51234`, for logs. */
  readonly display: string
  readonly transport: 'tcp' | 'tls' | 'unix'
}

/**
 * A byte stream in both directions: a plain net.Socket or TLSSocket, used as is, so that the data path costs nothing
 * extra. Opened with `allowHalfOpen: true`: the owner ends its side itself. Whoever received it owns it, keeps an
 * `error` listener from birth to `close`, and closes it.
 */
export interface ByteStream {
  readonly socket: Duplex
  readonly peer: PeerInfo
}

/**
 * An `error` listener for the time in which a socket has no owner yet: the `close` that follows is what counts.
 * One function for all sockets, so that it costs no closure.
 */
export function ignoreError(): void {}
