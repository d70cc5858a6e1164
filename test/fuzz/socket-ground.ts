/** Where session scripts are played over loopback sockets, with the system's clock, which is put forward for waits. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { type Clock, limitsWith, systemClock } from '../../src/base/index.ts'
import { parseEndpoint, type TcpEndpoint } from '../../src/transport/index.ts'
import { Server } from '../../src/vspc/index.ts'
import { LogLines } from '../vspc/support.ts'
import type { Ground, GroundWire, LineProtocol } from './session-world.ts'

const LISTEN: readonly (readonly [LineProtocol, string])[] = [
  ['vmware', 'tcp://127.0.0.1:0'],
  ['telnet', 'tcp://127.0.0.1:0?protocol=telnet&name=fuzzed-telnet'],
  ['raw', 'tcp://127.0.0.1:0?protocol=raw&name=fuzzed-raw'],
]

interface Pending {
  readonly at: number
  readonly run: () => void
  handle: NodeJS.Timeout
}

/** The system's clock, which can be put forward: timers that fall due then run at once, in order. */
class JumpingClock implements Clock {
  readonly pending = new Set<Pending>()
  #ahead = 0

  now(): number {
    return systemClock.now() + this.#ahead
  }

  wall(): number {
    return systemClock.wall() + this.#ahead
  }

  after(ms: number, run: () => void): { cancel(): void } {
    const timer: Pending = { at: this.now() + ms, run, handle: setTimeout(() => this.#fire(timer), ms) }
    this.pending.add(timer)
    return { cancel: () => this.#drop(timer) }
  }

  jump(ms: number): void {
    const until = this.now() + ms
    this.#ahead += ms
    for (const timer of [...this.pending].sort((a, b) => a.at - b.at)) if (timer.at <= until) this.#fire(timer)
  }

  #fire(timer: Pending): void {
    if (this.#drop(timer)) timer.run()
  }

  #drop(timer: Pending): boolean {
    clearTimeout(timer.handle)
    return this.pending.delete(timer)
  }
}

export interface SocketGround extends Ground {
  stop(): Promise<void>
}

export async function socketGround(): Promise<SocketGround> {
  const clock = new JumpingClock()
  const log = new LogLines()
  const server = new Server({
    listen: LISTEN.map(([, uri]) => parseEndpoint(uri, 'listen', 'vm')),
    dial: [],
    serviceUris: ['vSPC.py', 'x'],
    allowDial: [],
    writers: 'shared',
    limits: limitsWith(),
    clock,
    log: log.logger,
    random: randomBytes,
  })
  await server.start()
  const tcpPorts = new Map(LISTEN.map(([protocol], i) => [protocol, (server.listening[i] as TcpEndpoint).tcpPort]))
  const wires: SocketWire[] = []
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  return {
    server,
    log,
    get timers() {
      return clock.pending.size
    },
    open(protocol, hear) {
      const wire = new SocketWire(tcpPorts.get(protocol) as number, hear)
      wires.push(wire)
      return wire
    },
    async pass(ms) {
      await turn()
      for (let left = ms; left > 0; left -= 10_000) {
        clock.jump(Math.min(left, 10_000))
        await turn()
      }
    },
    async until(condition) {
      const deadline = performance.now() + 10_000
      while (!condition() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1))
    },
    async stop() {
      for (const wire of wires) wire.reset()
      await server.stop()
    },
  }
}

class SocketWire implements GroundWire {
  readonly #socket: Socket
  #closed = false

  constructor(port: number, hear: (chunk: Uint8Array) => void) {
    this.#socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    this.#socket.on('data', hear)
    this.#socket.on('error', () => {})
    // The server has said FIN: a host would close as well.
    this.#socket.on('end', () => this.#socket.end())
    this.#socket.on('close', () => {
      this.#closed = true
    })
  }

  get gone(): boolean {
    return this.#closed
  }

  send(bytes: Uint8Array): void {
    if (this.#socket.writable) this.#socket.write(bytes)
  }

  fin(): void {
    this.#socket.end()
  }

  reset(): void {
    if (this.#socket.connecting) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  stall(on: boolean): void {
    if (on) this.#socket.pause()
    else this.#socket.resume()
  }
}
