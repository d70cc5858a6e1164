/** The load on a relay: both of its ends, in one process of their own. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { readChunks } from '../../src/transport/index.ts'
import { RawSocket, type SocketOwner } from '../raw-socket.ts'
import { median, percentile } from '../statistics.ts'
import { serveWorks } from '../worker.ts'

const BLOCK = Buffer.alloc(262_144, 'the quick brown fox jumps over the lazy dog\r\n')

/** `count`: swallows what comes. `echo`: sends it back. `idle`: only accepts. */
type FarMode = 'count' | 'echo' | 'idle'

let far: Server | null = null
let mode: FarMode = 'count'
let swallowed = 0
let awaited = Number.POSITIVE_INFINITY
let reached: (() => void) | null = null
const farSockets = new Set<Socket>()
let farWanted = Number.POSITIVE_INFINITY
let farThere: (() => void) | null = null
const nearSockets: Socket[] = []

function ignore(): void {}

function onFarClose(this: Socket): void {
  farSockets.delete(this)
}

function onFarEnd(this: Socket): void {
  this.end()
}

function onFarChunk(this: unknown, chunk: Uint8Array): void {
  swallowed += chunk.length
  if (swallowed >= awaited) reached?.()
  if (mode === 'echo') (this as Socket).write(Buffer.from(chunk))
}

function accept(socket: Socket): void {
  farSockets.add(socket)
  socket.on('error', ignore).on('close', onFarClose).on('end', onFarEnd)
  readChunks(socket, onFarChunk)
  if (farSockets.size >= farWanted) farThere?.()
}

/** Writes blocks as fast as they are taken, until told to stop. */
class Source implements SocketOwner {
  readonly socket: RawSocket
  #left: number

  constructor(tcpPort: number, bytes: number) {
    this.#left = bytes
    this.socket = new RawSocket(tcpPort, '127.0.0.1', this)
  }

  opened(): void {
    this.drained()
  }

  drained(): void {
    while (this.#left > 0) {
      const block = this.#left < BLOCK.length ? BLOCK.subarray(0, this.#left) : BLOCK
      this.#left -= block.length
      if (!this.socket.write(block)) return
    }
  }

  received(): void {}
  ended(): void {}
}

/** Sends 64 bytes, waits for them, and so on. */
class Pinger implements SocketOwner {
  readonly times: Float64Array
  readonly done: Promise<void>
  readonly socket: RawSocket
  readonly #ping = Buffer.alloc(64, 'x')
  #count = 0
  #got = 0
  #sentAt = 0
  #finish: () => void = ignore

  constructor(tcpPort: number, count: number) {
    this.times = new Float64Array(count)
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
    this.socket = new RawSocket(tcpPort, '127.0.0.1', this)
  }

  opened(): void {
    this.#send()
  }

  received(bytes: Buffer): void {
    this.#got += bytes.length
    if (this.#got < this.#ping.length) return
    this.#got = 0
    this.times[this.#count++] = performance.now() - this.#sentAt
    if (this.#count === this.times.length) this.#finish()
    else this.#send()
  }

  drained(): void {}
  ended(): void {}

  #send(): void {
    this.#sentAt = performance.now()
    this.socket.write(this.#ping)
  }
}

export const relayLoad = {
  /** The far end. @returns its TCP port. */
  async listen({ path, does }: { path: string | null; does: FarMode }): Promise<number> {
    mode = does
    far = createServer({ allowHalfOpen: true, noDelay: true }, accept)
    far.listen(path === null ? { host: '127.0.0.1', port: 0, backlog: 4096 } : { path, backlog: 4096 })
    await once(far, 'listening')
    return path === null ? (far.address() as AddressInfo).port : 0
  },

  /** Seconds for so many bytes from the near end to the far one, over a stream of their own, which stays. */
  async flow({ tcpPort, bytes }: { tcpPort: number; bytes: number }): Promise<number> {
    swallowed = 0
    awaited = bytes
    const all = new Promise<void>((resolve) => {
      reached = resolve
    })
    const began = performance.now()
    new Source(tcpPort, bytes)
    await all
    return (performance.now() - began) / 1000
  },

  /** Milliseconds of round trips. */
  async roundTrips({ tcpPort, count }: { tcpPort: number; count: number }): Promise<{ median: number; p99: number }> {
    const warm = new Pinger(tcpPort, 500)
    await warm.done
    warm.socket.reset()
    const pinger = new Pinger(tcpPort, count)
    await pinger.done
    pinger.socket.reset()
    return { median: median([...pinger.times]), p99: percentile(pinger.times, 0.99) }
  },

  /** Opens so many streams and has each send a byte to the far end; they stay. */
  async hold({ tcpPort, count }: { tcpPort: number; count: number }): Promise<void> {
    farWanted = farSockets.size + count
    const there = new Promise<void>((resolve) => {
      farThere = resolve
    })
    for (let begun = 0; begun < count; ) {
      const batch: Promise<unknown>[] = []
      for (let i = 0; i < 200 && begun < count; i++, begun++) {
        // A source address has 28,000 ports.
        const localAddress = `127.0.0.${2 + Math.floor(nearSockets.length / 20_000)}`
        const socket = connect({ host: '127.0.0.1', port: tcpPort, localAddress })
        socket.on('error', ignore)
        nearSockets.push(socket)
        batch.push(once(socket, 'connect').then(() => socket.write('x')))
      }
      await Promise.all(batch)
    }
    await there
  },

  /** Connects, has a byte echoed, closes; so many, `at` once. @returns a second. */
  async connects({ tcpPort, count, at }: { tcpPort: number; count: number; at: number }): Promise<number> {
    let begun = 0
    const began = performance.now()
    const one = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const socket = new RawSocket(tcpPort, '127.0.0.1', {
          opened: () => void socket.write(BLOCK.subarray(0, 1)),
          received: () => {
            socket.reset()
            resolve()
          },
          drained: ignore,
          ended: (reason) => reject(new Error(reason)),
        })
      })
    const lane = async (): Promise<void> => {
      while (begun < count) {
        begun++
        await one()
      }
    }
    await Promise.all(Array.from({ length: at }, lane))
    return count / ((performance.now() - began) / 1000)
  },

  async letGo(): Promise<void> {
    for (const socket of nearSockets.splice(0)) socket.destroy()
    for (const socket of farSockets) socket.destroy()
    far?.close()
    far = null
  },
}

serveWorks(relayLoad)
