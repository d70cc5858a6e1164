/** What every kind of transport takes and gives. */
import type { Clock, Limits, VspcError } from '../base/index.ts'
import type { ByteStream, PeerInfo } from './byte-stream.ts'
import type { Endpoint } from './endpoint.ts'

/** Something went wrong at a listener that goes on listening. */
export interface ListenProblem {
  /**
   * `accept`: a connection could not be taken (out of descriptors, mostly). `handshake`: a peer failed TLS.
   * `certificate`: the listener works, but peers will object to its certificate.
   */
  readonly kind: 'accept' | 'handshake' | 'certificate'
  /** Null unless one peer is concerned. */
  readonly peer: PeerInfo | null
  readonly error: VspcError
}

export interface ListenHandlers {
  /** Takes ownership, and attaches its listeners before returning: data and errors may follow at once. */
  stream(stream: ByteStream): void
  problem(problem: ListenProblem): void
}

export interface ListenOptions {
  readonly limits: Pick<Limits, 'firstByteMs' | 'tlsHandshakeMs' | 'keepAliveMs'>
  readonly clock: Clock
  /** Permissions of a Unix socket; default 0o600: whoever may connect may speak as a VM. */
  readonly unixMode?: number
}

export interface Listening {
  /** With the port really bound, where 0 was asked for. */
  readonly endpoint: Endpoint
  /**
   * Stops accepting and drops peers still in the TLS handshake; streams handed over live on. The address is free on
   * return. Calling it again does nothing.
   */
  close(): Promise<void>
}

export interface DialOptions {
  /** Aborting rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** For everything: name resolution, connect and TLS handshake. */
  readonly timeoutMs: number
  readonly keepAliveMs?: number
  readonly clock?: Clock
}
