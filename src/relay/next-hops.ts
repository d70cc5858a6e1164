/** Named endpoints that can be changed while running: where a relay passes on to, when that moves. */
import { nearest, VspcError } from '../base/index.ts'
import { type Endpoint, formatEndpoint, layersOf } from '../transport/index.ts'

export interface NextHop {
  readonly name: string
  readonly endpoint: Endpoint
  /** As the configuration says; differs once it was changed. */
  readonly configured: Endpoint
}

export class NextHops {
  readonly #hops = new Map<string, NextHop>()
  /** Called after a change; streams dialled from now on go to the new endpoint. */
  onChange: (hop: NextHop) => void = () => {}

  /** In order of configuration. */
  list(): NextHop[] {
    return [...this.#hops.values()]
  }

  find(name: string): NextHop | null {
    return this.#hops.get(name) ?? null
  }

  /** @throws VspcError VSPC_RELAY_NEXT_HOP. */
  get(name: string): NextHop {
    const hop = this.find(name)
    if (hop === null) throw unknownHop(name, [...this.#hops.keys()])
    return hop
  }

  /**
   * The new place has to be spoken to as the old one: a stream that is resumed would send its frames to somebody who
   * takes them for the VM's bytes, one without its header would belong to nobody.
   * @returns false if it was that already. @throws VspcError VSPC_RELAY_NEXT_HOP.
   */
  set(name: string, endpoint: Endpoint): boolean {
    const before = this.get(name)
    if (formatEndpoint(before.endpoint) === formatEndpoint(endpoint)) return false
    assertSameLayers(before, endpoint)
    const hop = { ...before, endpoint }
    this.#hops.set(name, hop)
    this.onChange(hop)
    return true
  }

  /**
   * Takes over a configuration: what it says anew counts, what it says as before stays as it was changed to meanwhile.
   * @param changed endpoints that were changed earlier, by name, and what the configuration said then.
   */
  configure(
    configured: ReadonlyMap<string, Endpoint>,
    changed: ReadonlyMap<string, { endpoint: Endpoint; configured: string }> = new Map(),
  ): void {
    for (const name of [...this.#hops.keys()]) if (!configured.has(name)) this.#hops.delete(name)
    for (const [name, endpoint] of configured) {
      const text = formatEndpoint(endpoint)
      const before = this.#hops.get(name)
      if (before !== undefined && formatEndpoint(before.configured) === text) continue
      const kept = changed.get(name)
      const hop = {
        name,
        configured: endpoint,
        endpoint: before === undefined && kept?.configured === text ? kept.endpoint : endpoint,
      }
      this.#hops.set(name, hop)
      if (before !== undefined && formatEndpoint(before.endpoint) !== text) this.onChange(hop)
    }
  }
}

function assertSameLayers({ name, endpoint }: NextHop, next: Endpoint): void {
  const [now, then] = [layersOf(endpoint), layersOf(next)]
  for (const layer of ['proxy', 'resume'] as const) {
    if (now[layer] === then[layer]) continue
    throw new VspcError(
      'VSPC_RELAY_NEXT_HOP',
      `next hop "${name}" has ${layer}=${now[layer]}, and "${formatEndpoint(next)}" ${layer}=${then[layer]}; write it as ` +
        'before, or change the configuration and reload it',
    )
  }
}

export function unknownHop(name: string, names: readonly string[]): VspcError {
  const near = nearest(name, names)
  const known = names.length === 0 ? 'there are none; name them in nextHops or by --next-hop' : names.join(', ')
  return new VspcError(
    'VSPC_RELAY_NEXT_HOP',
    `there is no next hop "${name}"; accepted: ${known}${near === null ? '' : `; did you mean ${near}?`}`,
  )
}
