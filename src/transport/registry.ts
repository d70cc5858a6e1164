/** Scheme to transport: the only place that knows all kinds of endpoint. */
import type { ByteStream } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import type { Endpoint } from './endpoint.ts'
import { dialFifo, listenFifo } from './fifo.ts'
import { dialHvsock, listenHvsock } from './hvsock.ts'
import { dialLayered, peel } from './layers.ts'
import { dialTcp, dialTls, listenTcp } from './tcp.ts'
import { dialUnix, listenUnix } from './unix.ts'
import { dialVsock, listenVsock } from './vsock.ts'

/**
 * Listens until closed. Failures of single connections go to `handlers.problem`; the listener stays up.
 * @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_TLS_FILES, VSPC_ENDPOINT_PORT or VSPC_VSOCK_UNAVAILABLE.
 */
export async function listen(endpoint: Endpoint, handlers: ListenHandlers, options: ListenOptions): Promise<Listening> {
  const peeling = peel(endpoint, handlers, options)
  const listening = await listenBare(endpoint, peeling.handlers, options)
  if (peeling.handlers === handlers) return listening
  return {
    endpoint: listening.endpoint,
    get certificate() {
      return listening.certificate
    },
    reload: () => listening.reload(),
    close() {
      peeling.close()
      return listening.close()
    },
  }
}

async function listenBare(endpoint: Endpoint, handlers: ListenHandlers, options: ListenOptions): Promise<Listening> {
  switch (endpoint.scheme) {
    case 'tcp':
    case 'tls':
      return listenTcp(endpoint, handlers, options)
    case 'unix':
      return listenUnix(endpoint, handlers, options)
    case 'vsock':
      return listenVsock(endpoint, handlers, options)
    case 'fifo':
      return listenFifo(endpoint, handlers, options)
    case 'hvsock':
      return listenHvsock(endpoint, handlers, options)
  }
}

/**
 * Connects; the caller owns the stream.
 * @throws VspcError VSPC_TRANSPORT_DIAL, VSPC_TRANSPORT_DIAL_TIMEOUT, VSPC_TLS_*, VSPC_VSOCK_UNAVAILABLE, VSPC_LINK_*;
 * or the reason of the signal.
 */
export function dial(endpoint: Endpoint, options: DialOptions): Promise<ByteStream> {
  return dialLayered(endpoint, options, dialBare)
}

async function dialBare(endpoint: Endpoint, options: DialOptions): Promise<ByteStream> {
  switch (endpoint.scheme) {
    case 'tcp':
      return dialTcp(endpoint, options)
    case 'tls':
      return dialTls(endpoint, options)
    case 'unix':
      return dialUnix(endpoint, options)
    case 'vsock':
      return dialVsock(endpoint, options)
    case 'fifo':
      return dialFifo(endpoint, options)
    case 'hvsock':
      return dialHvsock(endpoint, options)
  }
}
