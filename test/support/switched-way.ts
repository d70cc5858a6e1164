/** A way to a server that can be cut, and lead to another one later: what a vCenter's address is through its restart. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class SwitchedWay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #target: number | null

  private constructor(server: Server, target: number) {
    this.#server = server
    this.#target = target
    server.on('connection', (socket) => this.#join(socket))
  }

  static async open(target: number): Promise<SwitchedWay> {
    const server = createServer()
    const way = new SwitchedWay(server, target)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return way
  }

  get tcpPort(): number {
    return (this.#server.address() as { port: number }).port
  }

  /** Cuts what is there. */
  switchTo(target: number | null): void {
    this.#target = target
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.switchTo(null)
    this.#server.close()
  }

  #join(socket: Socket): void {
    socket.on('error', () => {})
    if (this.#target === null) {
      socket.destroy()
      return
    }
    const onward = connect(this.#target, '127.0.0.1')
    onward.on('error', () => {})
    for (const one of [socket, onward]) {
      this.#sockets.add(one)
      one.on('close', () => {
        this.#sockets.delete(one)
        socket.destroy()
        onward.destroy()
      })
    }
    socket.pipe(onward).pipe(socket)
  }
}
