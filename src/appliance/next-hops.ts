/** Next hops of peer relays that follow the appliance, over the relays' control endpoints. */
import { cleanText, VspcError } from '../base/index.ts'
import { ControlClient } from '../relay/index.ts'
import { formatEndpoint, parseEndpoint } from '../transport/index.ts'
import {
  fillTemplate,
  type HostPlace,
  type HostTemplate,
  type NextHopChange,
  type NextHopPusher,
  parseHostTemplate,
  type RelayTable,
} from '../vmotion/index.ts'
import { parseDial } from './vsphere-settings.ts'

const ACCEPTED =
  'write CONTROL-URI#NAME=ENDPOINT, such as ' +
  "'tls://esx1:13372?cert=a.crt&key=a.key&ca=ca.pem#appliance=tls://{host}:13371'"

export interface PeerHop {
  /** Names relay and next hop; for people, without the files of the URI. */
  readonly peer: string
  readonly name: string
  readonly template: HostTemplate
  readonly client: ControlClient
}

export interface HopPlace {
  /** The setting, as messages name it: `--next-hop`. */
  readonly option: string
  /** Of the control URI's files. */
  readonly directory: string
}

export class NextHops implements NextHopPusher {
  readonly #hops: readonly PeerHop[]
  readonly #relays: RelayTable

  /** @throws VspcError VSPC_USAGE, VSPC_ENDPOINT_*. */
  constructor(texts: readonly string[], relays: RelayTable, place: HopPlace) {
    this.#hops = texts.map((text) => parsePeerHop(text, place))
    this.#relays = relays
    const twice = repeatedPeer(this.#hops)
    if (twice !== null) throw new VspcError('VSPC_USAGE', `${place.option}: ${twice} is given twice`)
  }

  changes(place: HostPlace): NextHopChange[] {
    return this.#hops.map(({ peer, template }) => {
      const filled = fillTemplate(template, place, this.#relays)
      if ('problem' in filled) throw new VspcError('VSPC_ENDPOINT_SYNTAX', `next hop of ${peer}: ${filled.problem}`)
      return { peer, endpoint: filled.uri }
    })
  }

  async push({ peer, endpoint }: NextHopChange, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const hop = this.#hops.find((one) => one.peer === peer)
    if (hop === undefined) throw new VspcError('VSPC_RELAY_NEXT_HOP', `there is no peer ${cleanText(peer, 200)}`)
    await hop.client.put(`/api/v1/next-hops/${encodeURIComponent(hop.name)}`, { endpoint }, signal)
  }
}

/** @throws VspcError VSPC_USAGE, VSPC_ENDPOINT_*. */
export function parsePeerHop(text: string, { option, directory }: HopPlace): PeerHop {
  const [, control = '', name = '', endpoint = ''] = /^([^#]+)#([A-Za-z0-9._-]{1,64})=(.+)$/s.exec(text) ?? []
  if (control === '' || /^\.{1,2}$/.test(name)) {
    throw new VspcError('VSPC_USAGE', `${option} "${cleanText(text, 300)}": ${ACCEPTED}`)
  }
  const template = parseHostTemplate(endpoint)
  checkEndpoint(endpoint)
  const uri = formatEndpoint(parseDial({ text: control, directory }))
  // Keys and certificates in the query are of no use to readers.
  const peer = `${cleanText(control.replace(/\?.*$/s, ''), 200)}#${name}`
  return { peer, name, template, client: new ControlClient(uri, option) }
}

export function repeatedPeer(hops: readonly PeerHop[]): string | null {
  const peers = hops.map(({ peer }) => peer)
  return peers.find((peer, at) => peers.indexOf(peer) !== at) ?? null
}

/** A mistake shows at the start rather than in the middle of a move. Relays of the table may come with a port. */
function checkEndpoint(text: string): void {
  const sample = (relay: string) => text.replaceAll('{relay}', relay).replace(/\{(?:host|ip)\}/g, 'x')
  try {
    parseEndpoint(sample('x'), 'dial', 'relay')
  } catch (error) {
    if (!text.includes('{relay}')) throw error
    parseEndpoint(sample('x:1'), 'dial', 'relay')
  }
}
