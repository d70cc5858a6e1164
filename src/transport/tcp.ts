/** TCP, and TLS over TCP: dial and listen. */
import { systemClock } from '../base/index.ts'
import type { ByteStream } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import { connectSocket } from './dialer.ts'
import type { TcpEndpoint, TlsEndpoint } from './endpoint.ts'
import { Listener } from './listener.ts'
import { ipPeer } from './peer.ts'
import { dialError, listenError } from './system-errors.ts'
import { upgradeClient } from './tls.ts'
import { loadServerTls } from './tls-files.ts'

export async function listenTcp(
  endpoint: TcpEndpoint | TlsEndpoint,
  handlers: ListenHandlers,
  options: ListenOptions,
): Promise<Listening> {
  const tls = endpoint.tls === null ? null : await loadServerTls(endpoint.tls, options.clock.wall())
  let listener: Listener
  try {
    listener = await Listener.start(
      {
        endpoint,
        address: { host: endpoint.host, port: endpoint.tcpPort },
        peerOf: (socket) => ipPeer(socket, 'tcp'),
        tls,
        tlsMode: endpoint.scheme === 'tls' ? 'only' : 'beside',
      },
      handlers,
      options,
    )
  } catch (error) {
    throw listenError(endpoint, error)
  }
  return {
    endpoint: { ...endpoint, tcpPort: listener.tcpPort },
    get certificate() {
      return listener.certificate
    },
    close: async () => listener.close(),
    reload: () => listener.reloadTls(endpoint.tls),
  }
}

/** Of a TLS endpoint: the connection below. */
export async function dialTcp(endpoint: TcpEndpoint | TlsEndpoint, options: DialOptions): Promise<ByteStream> {
  const socket = await connectSocket(endpoint, { host: endpoint.host, port: endpoint.tcpPort }, options)
  const peer = ipPeer(socket, 'tcp')
  if (peer !== null) return { socket, peer }
  // Connected and reset before we looked.
  socket.destroy()
  throw dialError(endpoint, Object.assign(new Error('connection reset'), { code: 'ECONNRESET' }))
}

export async function dialTls(endpoint: TlsEndpoint, options: DialOptions): Promise<ByteStream> {
  const clock = options.clock ?? systemClock
  const deadline = clock.now() + options.timeoutMs
  const stream = await dialTcp(endpoint, options)
  return upgradeClient(stream, endpoint, {
    handshakeMs: Math.max(1, deadline - clock.now()),
    clock,
    ...(options.signal ? { signal: options.signal } : {}),
  })
}
