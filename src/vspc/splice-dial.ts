import { errorMessage } from '../base/index.ts'
import { type ByteStream, type Endpoint, formatEndpoint } from '../transport/index.ts'
import { Dialler } from './dialler.ts'
import type { Port } from './port.ts'
import { Splice } from './splice.ts'

export interface SpliceDialOptions {
  /** For log lines: what is dialled for the port. */
  readonly what: 'serviceURI' | 'forward'
  /** Shown to the port's consoles; null = the address dialled. */
  readonly who: string | null
  /** For the first connection: offset of the first byte of output. Later ones begin with what comes then. */
  readonly from: number | null
}

/** Keeps a port joined to an endpoint that is dialled, and dialled again. Starts at once. */
export class SpliceDial {
  readonly #port: Port
  readonly #endpoint: string
  readonly #options: SpliceDialOptions
  readonly #dialler: Dialler
  #from: number | null
  #splice: Splice | null = null
  #joined = false

  constructor(port: Port, endpoint: Endpoint, options: SpliceDialOptions) {
    this.#port = port
    this.#endpoint = formatEndpoint(endpoint)
    this.#options = options
    this.#from = options.from
    this.#dialler = new Dialler(port.core, endpoint, (stream) => this.#connected(stream), { port: port.id })
    this.#dialler.start()
  }

  /** A connection is there now. */
  get joined(): boolean {
    return this.#joined
  }

  /** What the next connection would begin with; null = what comes then. */
  get from(): number | null {
    return this.#from
  }

  /** Dials no more; a connection that is there is flushed and closed. */
  stop(reason: string): void {
    this.#dialler.stop()
    this.#splice?.close(reason)
  }

  /** Resolves when the last connection is closed. */
  closed(): Promise<void> {
    return this.#splice?.closed() ?? Promise.resolve()
  }

  #connected(stream: ByteStream): void {
    const { log } = this.#port.core
    const { what } = this.#options
    const fields = { port: this.#port.id, vm: this.#port.name, endpoint: this.#endpoint }
    try {
      this.#splice = new Splice(this.#port, stream, {
        who: this.#options.who ?? stream.peer.display,
        from: this.#from,
        halfClose: 'end',
        ended: (reason) => {
          this.#joined = false
          log.info({ ...fields, reason }, `${what} disconnected`)
          this.#dialler.lost()
        },
      })
    } catch (error) {
      log.warn({ ...fields, reason: errorMessage(error) }, `${what} reached, but the port is taken`)
      this.#dialler.lost()
      return
    }
    this.#from = null
    this.#joined = true
    this.#port.core.counters.splicesDialled++
    log.info(fields, `${what} connected`)
  }
}
