/** What every kind of transport takes and gives. */
import type { Clock, Limits, VspcError } from '../base/index.ts'
import type { Announcement, ByteStream, PeerInfo } from './byte-stream.ts'
import type { CertificateFacts } from './certificate.ts'
import type { Endpoint } from './endpoint.ts'
import type { LinkTable } from './link-acceptor.ts'

/** Something went wrong at a listener that goes on listening. */
export interface ListenProblem {
  /**
   * `accept`: a connection could not be taken (out of descriptors, mostly). `handshake`: a peer failed TLS.
   * `certificate`: the listener works, but peers will object to its certificate. `proxy`: no PROXY header, a broken
   * one, or one from a source that is not trusted. `resume`: a resumable stream could not be begun or gone on with.
   */
  readonly kind: 'accept' | 'handshake' | 'certificate' | 'proxy' | 'resume'
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
  readonly limits: Pick<Limits, 'firstByteMs' | 'tlsHandshakeMs' | 'keepAliveMs' | 'proxyHeaderMs' | ResumeLimit>
  readonly clock: Clock
  /** Whose PROXY headers count, where the endpoint asks for them. Default: nobody's. */
  readonly trusted?: TrustedSources
  /** Of all listeners that resumed streams may come by. Default: each has its own. */
  readonly links?: LinkTable
}

/** Whose word about the origin of a stream is believed. */
export interface TrustedSources {
  /** @param peer who is connected to us. @param authenticated it has shown a certificate that the listener asked for. */
  trusts(peer: PeerInfo, authenticated: boolean): boolean
}

export type ResumeLimit = 'resumeMs' | 'resumeBytes' | 'resumePingMs' | 'resumeDeadMs' | 'maxResumable'

export interface Listening {
  /** With the port really bound, where 0 was asked for. */
  readonly endpoint: Endpoint
  /** What it shows of itself now; null where nobody is shown anything, without TLS. */
  readonly certificate: CertificateFacts | null
  /**
   * Stops accepting and drops peers still in the TLS handshake; streams handed over live on. The address is free on
   * return. Calling it again does nothing.
   */
  close(): Promise<void>
  /**
   * Reads certificate and key again, for connections from now on; those that are there live on. Does nothing where
   * there are none. @throws VspcError VSPC_TLS_FILES; the old ones stay in use.
   */
  reload(): Promise<void>
}

export interface DialOptions {
  /** Aborting rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** For everything: name resolution, connect and TLS handshake. */
  readonly timeoutMs: number
  readonly keepAliveMs?: number
  readonly clock?: Clock
  /** Sent ahead as a PROXY header, where the endpoint asks for one. */
  readonly announce?: Announced
  /** Of a resumable stream; default: those of LIMITS. */
  readonly limits?: Pick<Limits, ResumeLimit | 'redialMinMs' | 'redialMaxMs'>
  /**
   * Of a resumable stream: where to dial when its connection broke, asked each time. Default: the same endpoint. What
   * else is said here counts for these dials too, but for the signal: it ends only the first one.
   */
  readonly nextHop?: () => Endpoint
  /** Holds a resumable stream while it lives, in the background too; not the table of a listener. */
  readonly links?: LinkTable
}

/** What a relay knows of the stream it passes on. */
export interface Announced extends Announcement {
  /** Who is at its beginning; null = we ourselves (a pipe, say). */
  readonly source: PeerInfo | null
}
