/** A pair of named pipes as one stream. */
import { readSync } from 'node:fs'
import { Socket, type SocketConstructorOpts } from 'node:net'
import { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/index.ts'
import type { FifoPair } from './fifo-pair.ts'

/** How often the names are looked at: a VM that was started anew may have put other pipes in their place. */
const WATCH_MS = 1_000

/** What all pipes are read into, one after the other. As large as a pipe is by default. */
const shared = Buffer.alloc(65_536)

/**
 * Reads what the VM writes and writes what the VM reads. The system polls pipes as it polls sockets: no thread waits, and
 * a full pipe holds its writer back, on either side.
 *
 * Whoever writes or reads at the other end comes and goes without this stream noticing. It ends
 * - when other files, or none, stand under the names: what is still in the old pipe is delivered, then it closes;
 * - by `end()`: pipes know no half-close and nobody can be told, so once everything is with the kernel this closes, too.
 *   What the VM has written and nobody has read stays in the pipe, for the next stream.
 *
 * Nothing is read ahead while the reader pauses; what is not read is not lost with this process.
 */
export class FifoStream extends Duplex {
  readonly #pair: FifoPair
  readonly #clock: Clock
  readonly #reader: Socket
  readonly #writer: Socket
  /** `draining`: no longer polled, only emptied. `over`: nothing more is read. */
  #input: 'polled' | 'draining' | 'over' = 'polled'
  /** Asked for by the stream's own machinery, and not delivered yet. */
  #wanted = false
  #timer: Timer | null = null

  /** Takes the pair; its descriptors are closed before `close` is emitted. */
  constructor(pair: FifoPair, clock: Clock) {
    super({ allowHalfOpen: true, readableHighWaterMark: 0 })
    this.#pair = pair
    this.#clock = clock
    const onread = { buffer: shared, callback: (length: number) => this.#received(length) }
    // The type definitions know the option from `connect` only.
    const reading = { fd: pair.output.descriptor, readable: true, writable: false, onread } as SocketConstructorOpts
    this.#reader = new Socket(reading)
    this.#reader.pause()
    this.#writer = new Socket({ fd: pair.input.descriptor, readable: false, writable: true })
    for (const socket of [this.#reader, this.#writer]) socket.on('error', (error) => this.destroy(error))
    this.#watch()
  }

  override _read(): void {
    this.#wanted = true
    if (this.#input === 'polled') this.#reader.resume()
    else if (this.#input === 'draining') this.#drain()
  }

  override pause(): this {
    if (this.#input === 'polled') this.#reader.pause()
    return super.pause()
  }

  override resume(): this {
    if (this.#wanted && this.#input === 'polled') this.#reader.resume()
    return super.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#writer.write(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#writer.cork()
    chunks.forEach(({ chunk }, index) => {
      if (index === chunks.length - 1) this.#writer.write(chunk, done)
      else this.#writer.write(chunk)
    })
    this.#writer.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    done()
    if (this.#input === 'polled') this.#end()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#timer?.cancel()
    this.#input = 'over'
    let open = 2
    const closed = (): void => {
      open--
      if (open > 0) return
      this.#pair.release()
      done(error)
    }
    for (const socket of [this.#reader, this.#writer]) {
      if (socket.closed) closed()
      else socket.once('close', closed).destroy()
    }
  }

  /** What the system has read into `shared`. False: no more now. */
  #received(length: number): boolean {
    this.#wanted = false
    return this.push(Buffer.from(shared.subarray(0, length)))
  }

  #watch(): void {
    this.#timer = this.#clock.after(WATCH_MS, () => {
      void this.#pair.isCurrent().then((current) => {
        if (this.#input !== 'polled') return
        if (current) this.#watch()
        else this.#leave()
      })
    })
  }

  /** The pipes are no longer those that others find. */
  #leave(): void {
    this.#input = 'draining'
    this.#reader.pause()
    if (this.#wanted) this.#drain()
  }

  #drain(): void {
    let length = 0
    try {
      // Does not wait: the descriptor is non-blocking.
      length = readSync(this.#pair.output.descriptor, shared)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        this.destroy(error as Error)
        return
      }
    }
    if (length > 0) this.#received(length)
    else this.#end()
  }

  #end(): void {
    this.#input = 'over'
    this.#timer?.cancel()
    this.#reader.pause()
    // Input that the VM does not take would keep it open for ever.
    this.once('end', () => this.destroy())
    this.push(null)
  }
}
