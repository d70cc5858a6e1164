/**
 * The VMM's side of hybrid vsock, written from what Firecracker documents and without our code: one Unix socket at which
 * ports of the guest are asked for with `CONNECT PORT`, and Unix sockets PATH_PORT that it connects to when the guest
 * dials the host.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** What the guest does with a connection; `rest` = bytes that came behind the request already. */
export type GuestProgram = (socket: Socket, rest: Buffer) => void

export class VmmDouble {
  readonly path: string
  /** Lines that were sent to it, without the newline. */
  readonly requests: string[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #answer: (request: string, socket: Socket, rest: Buffer) => void

  private constructor(path: string) {
    this.path = path
    this.#answer = (_request, socket) => socket.destroy()
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accepted(socket))
  }

  static async start(path: string): Promise<VmmDouble> {
    const double = new VmmDouble(path)
    double.#server.listen(path)
    await once(double.#server, 'listening')
    return double
  }

  /** Answers requests with whatever `answer` writes. */
  answers(answer: (request: string, socket: Socket, rest: Buffer) => void): void {
    this.#answer = answer
  }

  /** A guest that passes every port on to the same port of the host: what is dialled comes back in. */
  hairpin(): void {
    let hostPort = 1 << 30
    this.answers((request, socket, rest) => {
      const host = this.#own(connect({ path: `${this.path}_${request.split(' ')[1]}`, allowHalfOpen: true }))
      host.once('connect', () => {
        socket.write(`OK ${hostPort++}\n`)
        host.write(rest)
        join(socket, host)
        join(host, socket)
      })
      host.once('error', () => socket.destroy())
    })
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #own(socket: Socket): Socket {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    return socket
  }

  #accepted(socket: Socket): void {
    this.#own(socket)
    let line = Buffer.alloc(0)
    const onData = (chunk: Buffer): void => {
      line = Buffer.concat([line, chunk])
      const newline = line.indexOf('\n')
      if (newline < 0) return
      socket.off('data', onData)
      socket.off('end', onEnd)
      socket.pause()
      this.requests.push(line.toString('latin1', 0, newline))
      this.#answer(line.toString('latin1', 0, newline), socket, line.subarray(newline + 1))
    }
    // Gone before it has asked for anything.
    const onEnd = (): void => void socket.destroy()
    socket.on('data', onData).on('end', onEnd)
  }
}

/** Everything from one to the other, its end as well; a broken one breaks the other. */
function join(from: Socket, to: Socket): void {
  from.pipe(to)
  from.once('error', () => to.destroy())
  from.once('close', () => {
    if (!from.readableEnded) to.destroy()
  })
}
