/** Two listening sides: whoever comes is joined with who has waited longest on the other side. */
import type { ByteStream } from '../transport/index.ts'
import type { RelayCore } from './core.ts'
import type { DialQueueOwner } from './dial-queue.ts'
import { HeldStreams, ignoreError } from './held.ts'
import type { RouteCounters } from './route-counters.ts'

export class Rendezvous {
  readonly #core: RelayCore
  readonly #route: string
  readonly #counters: RouteCounters
  readonly #owner: DialQueueOwner
  readonly #waiting: readonly [HeldStreams, HeldStreams]

  constructor(core: RelayCore, route: string, counters: RouteCounters, owner: DialQueueOwner) {
    this.#core = core
    this.#route = route
    this.#counters = counters
    this.#owner = owner
    const side = (): HeldStreams =>
      new HeldStreams(core.clock, core.limits, true, (held, why) => {
        if (why === 'expired') {
          counters.expired++
          core.problems.warn(
            `expired ${route}`,
            { route, heldMs: core.limits.relayHoldMs },
            'a waiting stream was closed: nobody came on the other side',
          )
        }
        this.#drop(held.stream)
      })
    this.#waiting = [side(), side()]
  }

  get held(): number {
    return this.#waiting[0].size + this.#waiting[1].size
  }

  /** Takes ownership. */
  take(side: 0 | 1, stream: ByteStream): void {
    const others = this.#waiting[side === 0 ? 1 : 0]
    const other = others.first()
    if (other !== null) {
      others.take(other)
      if (side === 0) this.#owner.join(stream, other.stream)
      else this.#owner.join(other.stream, stream)
      return
    }
    if (this.held >= this.#core.limits.relayHeld) {
      this.#counters.refused++
      this.#core.problems.warn(
        `full ${this.#route}`,
        { route: this.#route, code: 'VSPC_RELAY_FULL' },
        `a stream was closed: ${this.#core.limits.relayHeld} wait already; raise limits.relayHeld for more`,
      )
      this.#drop(stream)
      return
    }
    this.#waiting[side].add(stream)
  }

  retire(): void {
    for (const waiting of this.#waiting) {
      for (const held of [...waiting]) {
        waiting.take(held)
        this.#drop(held.stream)
      }
    }
  }

  #drop(stream: ByteStream): void {
    stream.socket.on('error', ignoreError)
    stream.socket.destroy()
    this.#owner.dropped(stream)
  }
}
