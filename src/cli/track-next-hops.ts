/** Next hops of peer relays that follow the appliance, over the relays' control endpoints. */
import { cleanText, VspcError } from '../base/index.ts'
import { parseEndpoint } from '../transport/index.ts'
import {
  fillTemplate,
  type HostPlace,
  type HostTemplate,
  type NextHopChange,
  type NextHopPusher,
  parseHostTemplate,
  type RelayTable,
} from '../vmotion/index.ts'
import { ControlClient } from './relay-control.ts'

const ACCEPTED =
  'write CONTROL-URI#NAME=ENDPOINT, such as ' +
  "'tls://esx1:13372?cert=a.crt&key=a.key&ca=ca.pem#appliance=tls://{host}:13371'"

interface PeerHop {
  readonly peer: string
  readonly name: string
  readonly template: HostTemplate
  readonly client: ControlClient
}

export class NextHops implements NextHopPusher {
  readonly #hops: readonly PeerHop[]
  readonly #relays: RelayTable

  /** @throws VspcError VSPC_USAGE, VSPC_ENDPOINT_*. */
  constructor(texts: readonly string[], relays: RelayTable) {
    this.#hops = texts.map(parseHop)
    this.#relays = relays
    const peers = this.#hops.map(({ peer }) => peer)
    const twice = peers.find((peer, at) => peers.indexOf(peer) !== at)
    if (twice !== undefined) throw new VspcError('VSPC_USAGE', `--next-hop: ${twice} is given twice`)
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

function parseHop(text: string): PeerHop {
  const [, control = '', name = '', endpoint = ''] = /^([^#]+)#([A-Za-z0-9._-]{1,64})=(.+)$/s.exec(text) ?? []
  if (control === '' || /^\.{1,2}$/.test(name)) {
    throw new VspcError('VSPC_USAGE', `--next-hop "${cleanText(text, 300)}": ${ACCEPTED}`)
  }
  const template = parseHostTemplate(endpoint)
  checkEndpoint(endpoint)
  // Keys and certificates in the query are of no use to readers.
  const peer = `${cleanText(control.replace(/\?.*$/s, ''), 200)}#${name}`
  return { peer, name, template, client: new ControlClient(control, '--next-hop') }
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
