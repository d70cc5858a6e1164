import { once } from 'node:events'
import { connect as connectNet, createServer, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A way to a server that can be closed. */
export class Way {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(tcpPort: number) {
    this.#server = createServer((socket) => {
      const onward = connectNet(tcpPort, '127.0.0.1')
      for (const one of [socket, onward]) {
        this.#sockets.add(one)
        one.on('error', () => {})
      }
      socket.pipe(onward).pipe(socket)
    })
    onTestFinished(() => this.close())
  }

  static async open(path: string, tcpPort: number): Promise<Way> {
    const way = new Way(tcpPort)
    way.#server.listen(path)
    await once(way.#server, 'listening')
    return way
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }
}
