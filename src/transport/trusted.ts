/** Whose PROXY headers are believed. */
import { BlockList, isIP } from 'node:net'
import { cleanText, VspcError } from '../base/index.ts'
import type { PeerInfo } from './byte-stream.ts'
import type { TrustedSources } from './contracts.ts'

const ACCEPTED =
  'an address (10.0.0.7), a network (10.0.0.0/8, fd00::/8), unix (Unix sockets), vsock:CID, vsock:*, or certificate ' +
  '(who shows one that a tls:// listener asks for)'

/** This machine, the hypervisor's host, and who has shown a certificate that was asked for. */
export const DEFAULT_TRUSTED_PROXIES: readonly string[] = [
  '127.0.0.0/8',
  '::1',
  'unix',
  'vsock:1',
  'vsock:2',
  'certificate',
]

/**
 * @param texts addresses and networks of IPv4 and IPv6; `unix` for Unix sockets and what comes in by one; `vsock:CID`,
 * `vsock:*`; `certificate` for who has shown one that the listener asked for, wherever it comes from.
 * @throws VspcError VSPC_CONFIG_INVALID naming the entry.
 */
export function parseTrustedSources(texts: readonly string[]): TrustedSources {
  const trusted = new TrustedList()
  for (const text of texts) if (!trusted.add(text)) throw notASource(text)
  return trusted
}

/** What to add to the list, so that `peer` is trusted. */
export function trustedEntryFor(peer: PeerInfo): string {
  return isIP(peer.address) !== 0 || peer.transport === 'vsock' ? peer.address : 'unix'
}

class TrustedList implements TrustedSources {
  readonly #addresses = new BlockList()
  /** `vsock:3`, as peers have it for their address. */
  readonly #vsock = new Set<string>()
  #anyVsock = false
  #unix = false
  #certificate = false

  trusts(peer: PeerInfo, authenticated: boolean): boolean {
    if (authenticated && this.#certificate) return true
    const family = isIP(peer.address)
    if (family !== 0) return this.#addresses.check(withoutZone(peer.address), family === 6 ? 'ipv6' : 'ipv4')
    if (peer.transport === 'vsock') return this.#anyVsock || this.#vsock.has(peer.address)
    return this.#unix
  }

  /** False for what is no entry. */
  add(text: string): boolean {
    if (text === 'unix') this.#unix = true
    else if (text === 'certificate') this.#certificate = true
    else if (text === 'vsock:*') this.#anyVsock = true
    else if (/^vsock:\d+$/.test(text)) return this.#addVsock(text)
    else return this.#addAddress(text)
    return true
  }

  #addVsock(text: string): boolean {
    const cid = Number(text.slice('vsock:'.length))
    this.#vsock.add(`vsock:${cid}`)
    return cid <= 0xffff_ffff
  }

  #addAddress(text: string): boolean {
    const [address = '', prefix, ...more] = text.split('/')
    const family = isIP(address)
    // A zone is not compared, so it is not accepted either.
    if (family === 0 || address.includes('%') || more.length > 0) return false
    const type = family === 6 ? 'ipv6' : 'ipv4'
    if (prefix === undefined) {
      this.#addresses.addAddress(address, type)
      return true
    }
    if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > (family === 6 ? 128 : 32)) return false
    this.#addresses.addSubnet(address, Number(prefix), type)
    return true
  }
}

function notASource(text: string): VspcError {
  return new VspcError(
    'VSPC_CONFIG_INVALID',
    `"${cleanText(text, 100)}" is not a source of PROXY headers; accepted is ${ACCEPTED}`,
  )
}

/** `fe80::1%eth0` is compared as `fe80::1`. */
function withoutZone(address: string): string {
  return address.split('%')[0] ?? address
}
