/** A relay and a server joined by resumable streams over real TCP, with a proxy in between that misbehaves on demand. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, type Limits, limitsWith, systemClock } from '../../src/base/index.ts'
import type { ByteStream } from '../../src/transport/byte-stream.ts'
import { LinkAcceptor } from '../../src/transport/link-acceptor.ts'
import { dialLink } from '../../src/transport/link-dialler.ts'
import { Accepted } from './support.ts'

const peerOf = (socket: Socket) => ({
  address: '127.0.0.1',
  display: `127.0.0.1:${socket.remotePort}`,
  transport: 'tcp' as const,
})

export async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Forwards connections to a port, badly if asked. */
export class FaultProxy {
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true })
  readonly #pairs = new Set<{ near: Socket; far: Socket }>()
  target: number
  port = 0
  connections = 0
  /** New connections: taken, closed at once, or taken and never answered. */
  mode: 'forward' | 'refuse' | 'blackhole' = 'forward'
  /** What arrives vanishes, on every connection; nothing is closed. */
  swallowing = false
  /** Bytes that may still pass, on all connections, until they are cut; called when that happens. */
  #budget = Number.POSITIVE_INFINITY
  #cutBy: 'reset' | 'end' = 'reset'
  #wake: (() => void)[] = []

  constructor(target: number) {
    this.target = target
    this.#server.on('connection', (near) => this.#take(near))
  }

  async start(): Promise<this> {
    this.port = await listening(this.#server)
    return this
  }

  /** Cuts everything once so many more bytes have passed. */
  cutAfter(bytes: number, how: 'reset' | 'end' = 'reset'): void {
    this.#budget = bytes
    this.#cutBy = how
  }

  cut(how: 'reset' | 'end' = 'reset'): void {
    this.#budget = Number.POSITIVE_INFINITY
    for (const { near, far } of this.#pairs) {
      for (const socket of [near, far]) {
        if (how === 'reset') socket.resetAndDestroy()
        else socket.destroySoon()
      }
    }
    this.#pairs.clear()
  }

  get open(): number {
    return this.#pairs.size
  }

  /** Nothing is read any more, so that the kernels' buffers fill up. */
  stall(stalled: boolean): void {
    for (const { near, far } of this.#pairs) {
      for (const socket of [near, far]) stalled ? socket.pause() : socket.resume()
    }
  }

  /** Until `count` connections were made in all. */
  async connected(count: number): Promise<void> {
    while (this.connections < count) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  close(): void {
    this.cut()
    this.#server.close()
  }

  #take(near: Socket): void {
    near.on('error', () => {})
    this.connections++
    for (const wake of this.#wake.splice(0)) wake()
    if (this.mode === 'refuse') {
      near.resetAndDestroy()
      return
    }
    const far = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    far.on('error', () => near.destroy())
    const pair = { near, far }
    this.#pairs.add(pair)
    if (this.mode === 'blackhole') {
      near.resume()
      return
    }
    this.#forward(near, far)
    this.#forward(far, near)
    near.on('close', () => this.#pairs.delete(pair))
  }

  #forward(from: Socket, to: Socket): void {
    from.on('data', (chunk: Buffer) => {
      if (this.swallowing) return
      const passed = chunk.subarray(0, Math.max(0, Math.min(chunk.length, this.#budget)))
      this.#budget -= chunk.length
      if (!to.write(passed) && this.#budget > 0) {
        from.pause()
        to.once('drain', () => from.resume())
      }
      if (this.#budget <= 0) this.cut(this.#cutBy)
    })
    from.on('end', () => {
      if (!this.swallowing) to.end()
    })
    from.on('close', () => {
      if (!this.swallowing) to.destroySoon()
    })
  }
}

export class Ground {
  readonly accepted = new Accepted()
  readonly limits: Limits
  readonly clock: Clock
  acceptor: LinkAcceptor
  readonly proxy: FaultProxy
  readonly #server: Server

  private constructor(limits: Limits, clock: Clock, server: Server, proxy: FaultProxy) {
    this.limits = limits
    this.clock = clock
    this.acceptor = new LinkAcceptor(this.accepted, { limits, clock })
    this.#server = server
    this.proxy = proxy
    server.on('connection', (socket) => this.acceptor.take({ socket, peer: peerOf(socket) }))
  }

  static async start(overrides: Partial<Limits> = {}, clock: Clock = systemClock): Promise<Ground> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    const port = await listening(server)
    return new Ground(
      limitsWith({ redialMinMs: 10, redialMaxMs: 40, ...overrides }),
      clock,
      server,
      await new FaultProxy(port).start(),
    )
  }

  /** As after a restart: it knows nothing. */
  restart(): void {
    this.acceptor = new LinkAcceptor(this.accepted, { limits: this.limits, clock: this.clock })
  }

  readonly dialLeg = async (signal?: AbortSignal): Promise<ByteStream> => {
    const socket = connect({ port: this.proxy.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    socket.on('error', () => {})
    try {
      await once(socket, 'connect', signal ? { signal } : {})
    } catch (error) {
      socket.destroy()
      throw error
    }
    return { socket, peer: peerOf(socket) }
  }

  dial(signal?: AbortSignal): Promise<ByteStream> {
    const { limits, clock, dialLeg } = this
    return dialLink({ dialLeg, limits, clock, ...(signal ? { signal } : {}) })
  }

  /** Both ends of a new stream. */
  async pair(): Promise<{ near: Duplex; far: Duplex }> {
    const [near, far] = await Promise.all([this.dial(), this.accepted.nextStream()])
    return { near: near.socket, far: far.socket }
  }

  stop(): void {
    this.proxy.close()
    this.#server.close()
  }
}

/** Byte at a position of a pattern that repeats nowhere near. */
export const patternAt = (seed: number, position: number): number => {
  const mixed = Math.imul(position + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b)
  return (mixed ^ (mixed >>> 15)) & 0xff
}

/** Writes `count` bytes of a pattern in chunks of varying size, waits for drain, then ends. */
export async function writePattern(socket: Duplex, seed: number, count: number, chunk: number): Promise<void> {
  for (let at = 0; at < count; ) {
    const size = Math.min(count - at, 1 + ((at * 31 + seed * 17) % chunk))
    const bytes = Buffer.allocUnsafeSlow(size)
    for (let i = 0; i < size; i++) bytes[i] = patternAt(seed, at + i)
    at += size
    if (!socket.write(bytes)) await once(socket, 'drain')
  }
  socket.end()
}

/** Reads until the end; the position of the first wrong byte, or how many came. */
export async function readPattern(socket: Duplex, seed: number): Promise<{ bytes: number; wrongAt: number | null }> {
  let bytes = 0
  let wrongAt: number | null = null
  socket.on('data', (chunk: Uint8Array) => {
    for (const byte of chunk) {
      if (byte !== patternAt(seed, bytes) && wrongAt === null) wrongAt = bytes
      bytes++
    }
  })
  await once(socket, 'end')
  return { bytes, wrongAt }
}

/** What a stream says of its end. */
export async function closing(socket: Duplex): Promise<string> {
  let code = 'no error'
  socket.on('error', (error: NodeJS.ErrnoException) => {
    code = error.code ?? error.message
  })
  if (!socket.closed) await new Promise<void>((resolve) => socket.once('close', resolve))
  return code
}
