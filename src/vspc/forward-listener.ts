import { Backoff, errorMessage, type Timer } from '../base/index.ts'
import { type ByteStream, type Endpoint, formatEndpoint, type Listening, listen } from '../transport/index.ts'
import { fraction } from './core.ts'
import type { Port } from './port.ts'
import { Splice } from './splice.ts'

/**
 * Keeps a port joined to whatever program connects to an endpoint.
 *
 * A serial line has one peer: while a program is there, another one is turned away. One that has nothing more to say
 * (FIN) makes way for it. While the VM is away, none is let in: what it says would be stale when the VM comes.
 */
export class ForwardListener {
  readonly #port: Port
  /** With the port really bound, once there is one. */
  #endpoint: Endpoint
  readonly #admits: () => boolean
  readonly #backoff: Backoff
  #listening: Listening | null = null
  #opening: Promise<void> = Promise.resolve()
  #timer: Timer | null = null
  #splice: Splice | null = null
  #stopped = false
  #lastFailure = ''
  /** Said once until a program was let in. */
  #refusedFor = ''

  /** @param admits may a program be connected now? */
  constructor(port: Port, endpoint: Endpoint, admits: () => boolean) {
    this.#port = port
    this.#endpoint = endpoint
    this.#admits = admits
    this.#backoff = new Backoff(port.core.limits, () => fraction(port.core.random))
  }

  /** Begins to listen, and keeps trying. Resolves after the first attempt; never rejects. */
  open(): Promise<void> {
    this.#opening = this.#open()
    return this.#opening
  }

  async #open(): Promise<void> {
    this.#timer = null
    if (this.#stopped) return
    const { core } = this.#port
    try {
      const listening = await listen(
        this.#endpoint,
        {
          stream: (stream) => this.#accept(stream),
          problem: (problem) => this.#failed(problem.error),
        },
        core,
      )
      if (this.#stopped) {
        await listening.close()
        return
      }
      this.#listening = listening
      this.#endpoint = listening.endpoint
      this.#lastFailure = ''
      core.log.info(this.#fields(), 'forward: listening for a program')
    } catch (error) {
      if (this.#stopped) return
      this.#failed(error)
      this.#timer = core.clock.after(this.#backoff.next(), () => void this.open())
    }
  }

  /** Flushes and closes the connection that is there. */
  hangUp(reason: string): void {
    this.#splice?.close(reason)
  }

  /** Listens no more, and hangs up. Resolves when the address is free; never rejects. */
  async stop(reason: string): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    this.hangUp(reason)
    // It may have the address already, and gives it back.
    await this.#opening
    const listening = this.#listening
    this.#listening = null
    try {
      await listening?.close()
    } catch (error) {
      this.#failed(error)
    }
  }

  /** Resolves when the last connection is closed. */
  closed(): Promise<void> {
    return this.#splice?.closed() ?? Promise.resolve()
  }

  #fields() {
    return { port: this.#port.id, vm: this.#port.name, endpoint: formatEndpoint(this.#endpoint) }
  }

  #accept(stream: ByteStream): void {
    const there = this.#splice
    if (there === null || there.inputOver) {
      this.#admit(stream)
      return
    }
    stream.socket.on('error', () => {})
    there.look(() => this.#admit(stream))
  }

  #admit(stream: ByteStream): void {
    if (this.#splice?.inputOver) {
      this.hangUp('another program takes its place')
    } else if (this.#splice !== null) {
      this.#refuse(stream, 'a program is connected already')
      return
    }
    if (this.#stopped || !this.#admits()) {
      this.#refuse(stream, 'the VM is offline')
      return
    }
    const { core } = this.#port
    try {
      const splice: Splice = new Splice(this.#port, stream, {
        who: `forward:${formatEndpoint(this.#endpoint)}`,
        from: null,
        halfClose: 'keep',
        ended: (reason) => {
          if (this.#splice === splice) this.#splice = null
          core.log.info({ ...this.#fields(), reason }, 'forward disconnected')
        },
      })
      this.#splice = splice
    } catch (error) {
      // The stream is closed already.
      this.#refuse(stream, errorMessage(error))
      return
    }
    this.#refusedFor = ''
    core.counters.splicesAccepted++
    core.log.info(this.#fields(), 'forward connected')
  }

  #refuse({ socket }: ByteStream, reason: string): void {
    const { counters, log } = this.#port.core
    counters.splicesRefused++
    socket.on('error', () => {})
    socket.destroy()
    if (reason === this.#refusedFor) return
    this.#refusedFor = reason
    log.warn({ ...this.#fields(), reason }, 'forward: a program was turned away')
  }

  #failed(error: unknown): void {
    const reason = errorMessage(error)
    if (reason === this.#lastFailure) return
    this.#lastFailure = reason
    this.#port.core.log.warn({ ...this.#fields(), reason }, 'forward: listening failed')
  }
}
