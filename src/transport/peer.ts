import { isIP, type Socket } from 'node:net'
import type { PeerInfo } from './byte-stream.ts'
import { formatHostPort, SCHEMES } from './endpoint.ts'
import type { IpPlace } from './proxy-v2.ts'

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

/** An IP peer that a PROXY header names. */
export function announcedIpPeer({ address, tcpPort }: IpPlace): PeerInfo {
  return new IpPeer(address, tcpPort, 'tcp')
}

/**
 * A peer without IP address that a PROXY header names, or null if `origin` is of no kind that we know. CIDs and paths
 * mean something on one machine only, so `via` becomes a part of the address, unless the machine stands there already:
 * `vsock:5` of the relay on 10.0.0.7 is `vsock:5@10.0.0.7`.
 */
export function announcedPeer(origin: string, via: PeerInfo): PeerInfo | null {
  const transport = SCHEMES.find((scheme) => origin.startsWith(`${scheme}:`))
  if (transport === undefined) return null
  const machine = origin.slice(origin.lastIndexOf('@') + 1)
  const known = isIP(machine) !== 0 && machine !== '::1' && !machine.startsWith('127.')
  const display = known ? origin : `${origin}@${via.address}`
  // The port of a vSocket is another one each time.
  return { address: display.replace(/^(vsock:\d+):\d+/, '$1'), display, transport }
}

/** Address and port of an IP peer, of whatever make; null for others. */
export function ipPlaceOf(peer: PeerInfo): IpPlace | null {
  if (isIP(peer.address) === 0) return null
  if (peer instanceof IpPeer) return peer
  const tcpPort = Number(/:(\d{1,5})$/.exec(peer.display)?.[1] ?? 0)
  return { address: peer.address, tcpPort: tcpPort <= 0xffff ? tcpPort : 0 }
}
