/** Where session scripts are played: in memory, with a clock wound by hand. */

import type { Limits } from '../../src/base/index.ts'
import { VmSession } from '../../src/vspc/vm-session.ts'
import { testServer } from '../vspc/support.ts'
import { MemorySocket, PLAIN_ENTRY, turn } from '../vspc/vm-peer.ts'
import type { Ground, GroundWire, LineProtocol } from './session-world.ts'

export function memoryGround(limits: Partial<Limits> = {}): Ground {
  const { server, clock, log } = testServer(limits, { serviceUris: ['vSPC.py', 'x'] })
  let opened = 0
  return {
    server,
    log,
    get timers() {
      return clock.pending
    },
    open(protocol, hear) {
      const address = `10.0.${opened >> 8}.${opened++ & 255}`
      const socket = new MemorySocket((chunk) => {
        if (chunk !== null) hear(chunk)
      })
      const peer = { address, display: `${address}:50000`, transport: 'tcp' as const }
      const session = new VmSession(server, { ...PLAIN_ENTRY, ...entryOf(protocol) }, { socket, peer })
      session.start()
      return new MemoryWire(socket, session)
    },
    async pass(ms) {
      await turn()
      if (ms === 0) return
      // In steps: what a timer closes has to be seen as closed before the next one runs.
      for (let left = ms; left > 0; left -= 10_000) {
        clock.advance(Math.min(left, 10_000))
        await turn()
        await turn()
      }
    },
    async until(condition) {
      for (let turns = 0; turns < 20 && !condition(); turns++) await turn()
    },
  }
}

export function entryOf(protocol: LineProtocol): { protocol: LineProtocol; name: string | null } {
  return { protocol, name: protocol === 'vmware' ? null : `fuzzed-${protocol}` }
}

class MemoryWire implements GroundWire {
  readonly #socket: MemorySocket
  readonly #session: VmSession

  constructor(socket: MemorySocket, session: VmSession) {
    this.#socket = socket
    this.#session = session
  }

  get gone(): boolean {
    return this.#session.role === 'closed'
  }

  send(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.push(Buffer.from(bytes))
  }

  fin(): void {
    if (!this.#socket.destroyed) this.#socket.push(null)
  }

  reset(): void {
    this.#socket.destroy()
  }

  stall(on: boolean): void {
    this.#socket.stalled = on
  }
}
