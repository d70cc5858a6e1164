import type { Socket } from 'node:net'
import type { PeerInfo } from './byte-stream.ts'
import { formatHostPort } from './endpoint.ts'

/** An IP peer. `display` is computed on demand: 20,000 idle connections need not hold a second string each. */
class IpPeer implements PeerInfo {
  readonly address: string
  readonly tcpPort: number
  readonly transport: 'tcp' | 'tls'

  constructor(address: string, tcpPort: number, transport: 'tcp' | 'tls') {
    this.address = address
    this.tcpPort = tcpPort
    this.transport = transport
  }

  get display(): string {
    return formatHostPort(this.address, this.tcpPort)
  }
}

/** The other end of a connected TCP socket; null when it is gone already. */
export function ipPeer(socket: Socket, transport: 'tcp' | 'tls'): PeerInfo | null {
  const address = socket.remoteAddress
  if (address === undefined || socket.remotePort === undefined) return null
  // A dual-stack listener shows IPv4 peers as ::ffff:10.0.0.7.
  const plain = address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
  return new IpPeer(plain, socket.remotePort, transport)
}

/** Unix sockets have no peer address; the path of the socket itself says where the peer came in. */
export function unixPeer(path: string): PeerInfo {
  return { address: path, display: `unix:${path}`, transport: 'unix' }
}

/** The same peer, once it speaks TLS. */
export function overTls(peer: PeerInfo): PeerInfo {
  return peer instanceof IpPeer
    ? new IpPeer(peer.address, peer.tcpPort, 'tls')
    : { address: peer.address, display: peer.display, transport: 'tls' }
}
