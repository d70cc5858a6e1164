import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { limitsWith, systemClock } from '../../src/base/index.ts'
import type { ByteStream } from '../../src/transport/byte-stream.ts'
import type { ListenHandlers, ListenOptions, ListenProblem } from '../../src/transport/contracts.ts'

export const LISTEN: ListenOptions = {
  limits: limitsWith(),
  clock: systemClock,
}

/** Handlers that hand out what they were given, in order, as promises. */
export class Accepted implements ListenHandlers {
  readonly streams: ByteStream[] = []
  readonly problems: ListenProblem[] = []
  /** For what has to happen before the event loop goes on. */
  onStream: ((stream: ByteStream) => void) | null = null
  #wake: (() => void)[] = []

  stream(stream: ByteStream): void {
    stream.socket.on('error', () => {})
    this.onStream?.(stream)
    this.streams.push(stream)
    this.#wakeAll()
  }

  problem(problem: ListenProblem): void {
    this.problems.push(problem)
    this.#wakeAll()
  }

  async nextStream(): Promise<ByteStream> {
    for (;;) {
      const stream = this.streams.shift()
      if (stream) return stream
      await this.#wait()
    }
  }

  async nextProblem(): Promise<ListenProblem> {
    for (;;) {
      const problem = this.problems.shift()
      if (problem) return problem
      await this.#wait()
    }
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve))
  }

  #wakeAll(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}

/** Everything until the other side ends. */
export async function readAll(socket: Duplex): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks).toString('latin1')
}

/** Reads until `text` has come, and no further. */
export function readUntil(socket: Duplex, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = ''
    const stop = (): void => {
      socket.off('data', onData)
      socket.off('close', onClose)
    }
    const onData = (chunk: Buffer): void => {
      seen += chunk.toString('latin1')
      if (!seen.includes(text)) return
      stop()
      resolve(seen)
    }
    const onClose = (): void => {
      stop()
      reject(new Error(`closed after ${JSON.stringify(seen)}`))
    }
    socket.on('data', onData)
    socket.on('close', onClose)
  })
}

export function asSocket(stream: ByteStream): Socket {
  return stream.socket as Socket
}
