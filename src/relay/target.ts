import type { Endpoint } from '../transport/index.ts'
import type { NextHops } from './next-hops.ts'
import type { Hop } from './plan.ts'

/** Where a dialled side leads to, asked each time. */
export class Target {
  readonly #hops: NextHops
  readonly #hop: Hop
  #last: Endpoint | null = null

  constructor(hops: NextHops, hop: Hop) {
    this.#hops = hops
    this.#hop = hop
  }

  /** @throws VspcError VSPC_RELAY_NEXT_HOP. */
  now(): Endpoint {
    if (this.#hop.kind === 'endpoint') return this.#hop.endpoint
    this.#last = this.#hops.get(this.#hop.name).endpoint
    return this.#last
  }

  /** For streams that are resumed: they may outlive the name in the configuration. Undefined: always the same place. */
  nextHop(): (() => Endpoint) | undefined {
    const hop = this.#hop
    if (hop.kind === 'endpoint') return undefined
    return () => this.#hops.find(hop.name)?.endpoint ?? this.#last ?? this.now()
  }
}
