/** PROXY headers on streams: taken off those that come in, put before those that we dial. */
import { VspcError } from '../base/index.ts'
import { type ByteStream, ignoreError, type PeerInfo } from './byte-stream.ts'
import type { Announced, ListenHandlers, ListenOptions } from './contracts.ts'
import { announcedIpPeer, announcedPeer, ipPlaceOf } from './peer.ts'
import { encodeProxyHeader, type IpPlace, type ProxyHeader, ProxyHeaderParser } from './proxy-v2.ts'
import { trustedEntryFor } from './trusted.ts'

/**
 * Stands between a listener and who takes its streams: each has to begin with a PROXY header, from a source that is
 * trusted, in time; and is handed over as the stream of whom the header names, with the bytes behind the header unread.
 */
export class ProxyReader {
  readonly #handlers: ListenHandlers
  readonly #options: ListenOptions
  readonly #authenticated: boolean
  /** Those whose header is not complete. */
  readonly #pending = new Set<ByteStream>()

  /** @param authenticated the listener asks TLS peers for a certificate, and hands over none without. */
  constructor(handlers: ListenHandlers, options: ListenOptions, authenticated: boolean) {
    this.#handlers = handlers
    this.#options = options
    this.#authenticated = authenticated
  }

  /** Takes ownership of a stream that nobody has read from. */
  take(stream: ByteStream): void {
    const { socket, peer } = stream
    socket.on('error', ignoreError)
    const authenticated = this.#authenticated && peer.transport === 'tls'
    if (this.#options.trusted?.trusts(peer, authenticated) !== true) {
      socket.destroy()
      this.#report(peer, untrusted(peer))
      return
    }
    this.#pending.add(stream)
    this.#read(stream)
  }

  /** Drops the streams that it has not handed over. */
  close(): void {
    for (const { socket } of this.#pending) socket.destroy()
    this.#pending.clear()
  }

  #read(stream: ByteStream): void {
    const { socket, peer } = stream
    const parser = new ProxyHeaderParser()
    const stop = (): void => {
      timer.cancel()
      socket.off('readable', onReadable)
      socket.off('close', onClose)
    }
    const fail = (error: VspcError | null): void => {
      stop()
      socket.destroy()
      if (this.#pending.delete(stream) && error !== null) this.#report(peer, error)
    }
    // Who goes before it has said anything is no problem: so do health checks and port scans.
    const onClose = (): void => fail(parser.empty ? null : incomplete('the stream ended within it'))
    const onReadable = (): void => {
      // Readable without bytes is the end of input.
      if (socket.readableLength === 0) {
        onClose()
        return
      }
      try {
        const header = readHeader(stream, parser)
        if (header === null) return
        stop()
        // One tick after the last `readable` listener went the stream is again as if there had been none.
        process.nextTick(() => this.#handOver(stream, header))
      } catch (error) {
        fail(error as VspcError)
      }
    }
    const { limits, clock } = this.#options
    const timer = clock.after(limits.proxyHeaderMs, () =>
      fail(incomplete(`it did not come within ${limits.proxyHeaderMs} ms`)),
    )
    socket.on('close', onClose)
    socket.on('readable', onReadable)
  }

  #handOver(stream: ByteStream, header: ProxyHeader): void {
    const { socket, peer: via } = stream
    if (!this.#pending.delete(stream) || socket.destroyed) {
      socket.destroy()
      return
    }
    const { uniqueId, label } = header
    this.#handlers.stream({ socket, peer: sourceOf(header, via), announced: { uniqueId, label }, via })
  }

  #report(peer: PeerInfo, error: VspcError): void {
    this.#handlers.problem({ kind: 'proxy', peer, error })
  }
}

/** Takes bytes of the header off the socket, and none behind it. */
function readHeader({ socket }: ByteStream, parser: ProxyHeaderParser): ProxyHeader | null {
  while (socket.readableLength > 0) {
    const bytes: Uint8Array | null = socket.read(Math.min(parser.wanted, socket.readableLength))
    if (bytes === null) return null
    const done = parser.push(bytes)
    if (done !== null) return done.header
  }
  return null
}

function sourceOf(header: ProxyHeader, via: PeerInfo): PeerInfo {
  if (header.source !== null) return announcedIpPeer(header.source)
  return (header.origin === null ? null : announcedPeer(header.origin, via)) ?? via
}

function incomplete(why: string): VspcError {
  return new VspcError('VSPC_PROXY_HEADER', `no PROXY protocol v2 header: ${why}`)
}

function untrusted(peer: PeerInfo): VspcError {
  return new VspcError(
    'VSPC_PROXY_UNTRUSTED',
    `${peer.display} is not trusted to say where streams come from; if it is a relay of yours, add ` +
      `"${trustedEntryFor(peer)}" to trustedProxies (--trusted-proxy)`,
  )
}

/**
 * Sends the header of a stream that was dialled, before anything else.
 * @throws VspcError VSPC_PROXY_HEADER if the VM's name is too long; the stream is destroyed.
 */
export function sendProxyHeader(stream: ByteStream, announced: Announced): void {
  const { source, uniqueId, label } = announced
  const place = source === null ? null : ipPlaceOf(source)
  let header: Uint8Array
  try {
    header = encodeProxyHeader({
      command: source === null ? 'LOCAL' : 'PROXY',
      source: place,
      destination: place === null ? null : localPlaceOf(stream),
      origin: place === null ? (source?.display ?? null) : null,
      uniqueId,
      label,
    })
  } catch (error) {
    stream.socket.on('error', ignoreError)
    stream.socket.destroy()
    throw error
  }
  // The first bytes of a stream, and less than any mark: nothing to wait for.
  stream.socket.write(header)
}

/** Our end of the connection; null where it has none. */
function localPlaceOf({ socket }: ByteStream): IpPlace | null {
  const { localAddress, localPort } = socket as { localAddress?: unknown; localPort?: unknown }
  if (typeof localAddress !== 'string' || typeof localPort !== 'number') return null
  return { address: localAddress, tcpPort: localPort }
}
