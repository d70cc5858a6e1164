/** Real sockets on the loopback device, for what only they show. */
import { type AddressInfo, connect, createServer, type Server as NetServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** Waits until `condition` holds; fails after 5 s with what was waited for. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

/** One end of a TCP connection that keeps what it receives. */
export class Wire {
  readonly socket: Socket
  readonly #chunks: Buffer[] = []
  ended = false
  closed = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => this.#chunks.push(chunk))
    socket.on('end', () => {
      this.ended = true
    })
    socket.on('close', () => {
      this.closed = true
    })
    socket.on('error', () => {})
    onTestFinished(() => void socket.destroy())
  }

  /** The other side has closed it, one way or the other. */
  get over(): boolean {
    return this.ended || this.closed
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get text(): string {
    return this.bytes.toString('latin1')
  }

  send(bytes: Iterable<number> | string): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from([...bytes]))
  }
}

export async function dialWire(tcpPort: number): Promise<Wire> {
  const socket = connect({ host: '127.0.0.1', port: tcpPort, allowHalfOpen: true, noDelay: true })
  const wire = new Wire(socket)
  await eventually(`a connection to port ${tcpPort}`, () => !socket.connecting)
  return wire
}

/** A listener that keeps what connects to it. Closed with the test. */
export class Door {
  readonly wires: Wire[] = []
  readonly server: NetServer
  #port = 0

  private constructor() {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.wires.push(new Wire(socket))
    })
  }

  static async open(tcpPort = 0): Promise<Door> {
    const door = new Door()
    await new Promise<void>((resolve, reject) => {
      door.server.once('error', reject)
      door.server.listen(tcpPort, '127.0.0.1', resolve)
    })
    door.#port = (door.server.address() as AddressInfo).port
    onTestFinished(() => void door.server.close())
    return door
  }

  get tcpPort(): number {
    return this.#port
  }

  get newest(): Wire {
    const wire = this.wires.at(-1)
    if (wire === undefined) throw new Error('nobody came')
    return wire
  }

  /** Nobody is let in any more; those inside stay. */
  async shut(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve())
      for (const { socket } of this.wires) socket.destroy()
    })
  }
}
