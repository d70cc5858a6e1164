/** Scheme to transport: the only place that knows all kinds of endpoint. */
import { VspcError } from '../base/index.ts'
import type { ByteStream } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import { type Endpoint, formatEndpoint } from './endpoint.ts'
import { dialTcp, dialTls, listenTcp } from './tcp.ts'
import { dialUnix, listenUnix } from './unix.ts'

/**
 * Listens until closed. Failures of single connections go to `handlers.problem`; the listener stays up.
 * @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_TLS_FILES, or VSPC_ENDPOINT_SCHEME where the scheme is not built yet.
 */
export async function listen(endpoint: Endpoint, handlers: ListenHandlers, options: ListenOptions): Promise<Listening> {
  switch (endpoint.scheme) {
    case 'tcp':
    case 'tls':
      return listenTcp(endpoint, handlers, options)
    case 'unix':
      return listenUnix(endpoint, handlers, options)
    case 'fifo':
    case 'vsock':
    case 'hvsock':
      throw notYet(endpoint)
  }
}

/**
 * Connects; the caller owns the stream.
 * @throws VspcError VSPC_TRANSPORT_DIAL, VSPC_TRANSPORT_DIAL_TIMEOUT, VSPC_TLS_*, VSPC_ENDPOINT_SCHEME; or the reason
 * of the signal.
 */
export async function dial(endpoint: Endpoint, options: DialOptions): Promise<ByteStream> {
  switch (endpoint.scheme) {
    case 'tcp':
      return dialTcp(endpoint, options)
    case 'tls':
      return dialTls(endpoint, options)
    case 'unix':
      return dialUnix(endpoint, options)
    case 'fifo':
    case 'vsock':
    case 'hvsock':
      throw notYet(endpoint)
  }
}

function notYet(endpoint: Endpoint): VspcError {
  return new VspcError(
    'VSPC_ENDPOINT_SCHEME',
    `endpoint "${formatEndpoint(endpoint)}": ${endpoint.scheme}:// is not in this version yet; accepted are tcp, tls and unix`,
  )
}
