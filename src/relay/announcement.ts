import type { Announced, ByteStream, Endpoint, PeerInfo } from '../transport/index.ts'
import type { RoutePlan } from './plan.ts'

/** Of a header's fields, in bytes of UTF-8. */
const MAX_ID_BYTES = 128

/** What a dialled endpoint is to be told about `stream`; undefined where it asks for nothing. */
export function announcementFor(stream: ByteStream, route: RoutePlan, to: Endpoint): Announced | undefined {
  if (!('layers' in to) || to.layers.proxy !== 'v2') return undefined
  const { peer, announced } = stream
  return {
    source: peer,
    uniqueId: announced?.uniqueId ?? nameFor(route.vmName, peer),
    label: announced?.label ?? route.label,
  }
}

function nameFor(pattern: string | null, peer: PeerInfo): string | null {
  if (pattern === null) return null
  // Of a vSocket peer the bare CID.
  const name = pattern.replaceAll('{peer}', peer.address.replace(/^vsock:/, ''))
  return new TextEncoder().encode(name).length <= MAX_ID_BYTES ? name : null
}
