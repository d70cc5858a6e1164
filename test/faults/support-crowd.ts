/** Many TCP connections at once from this process, which cost little and say what the test says. */
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { until } from './support.ts'

export interface CrowdOptions {
  readonly port: number
  readonly count: number
  /** Said by connection `n` once it is open. */
  readonly opening?: (n: number) => Uint8Array
  /** A connection counts as answered once it has received this. */
  readonly answer?: Uint8Array
}

/** Source addresses in turn: the kernel has some 28,000 ports for each, and keeps used ones back for a minute. */
const addressOf = (n: number): string => `127.0.1.${1 + (n % 200)}`

export class Crowd {
  readonly sockets: Socket[] = []
  open = 0
  answered = 0
  /** The other side has said FIN or RST, or there never was a connection. */
  left = 0
  received = 0
  /** System error codes, counted. */
  readonly errors: Record<string, number> = {}

  constructor({ port, count, opening, answer }: CrowdOptions) {
    for (let n = 0; n < count; n++) this.sockets.push(this.#dial(port, n, opening, answer))
    onTestFinished(() => this.destroy())
  }

  #dial(port: number, n: number, opening: CrowdOptions['opening'], answer: CrowdOptions['answer']): Socket {
    const socket = connect({ port, host: '127.0.0.1', localAddress: addressOf(n), allowHalfOpen: true })
    let heard: Uint8Array | null = answer === undefined ? null : new Uint8Array(0)
    let left = false
    const leave = (): void => {
      if (!left) this.left++
      left = true
    }
    socket.on('connect', () => {
      this.open++
      if (opening !== undefined) socket.write(opening(n))
    })
    socket.on('data', (chunk) => {
      this.received += chunk.length
      if (heard === null || answer === undefined) return
      const all = Buffer.concat([heard, chunk])
      heard = all
      if (!all.includes(Buffer.from(answer))) return
      heard = null
      this.answered++
    })
    socket.on('end', leave)
    socket.on('close', leave)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code ?? error.message
      this.errors[code] = (this.errors[code] ?? 0) + 1
    })
    return socket
  }

  async until(what: string, condition: (crowd: this) => boolean): Promise<this> {
    await until(what, () => condition(this)).catch((error: Error) => {
      const { open, answered, left, errors } = this
      throw new Error(`${error.message}: ${JSON.stringify({ open, answered, left, errors })}`)
    })
    return this
  }

  /** RST, all of them. */
  reset(): void {
    for (const socket of this.sockets) socket.resetAndDestroy()
  }

  /** FIN. */
  end(): void {
    for (const socket of this.sockets) socket.end()
  }

  destroy(): void {
    for (const socket of this.sockets) socket.destroy()
  }
}
