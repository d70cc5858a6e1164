import { errorMessage } from '../base/index.ts'
import { type EndpointPattern, formatEndpoint, matchesEndpoint, parseEndpoint } from '../transport/index.ts'
import type { Core } from './core.ts'
import { Dialler } from './dialler.ts'
import type { Port } from './port.ts'
import { Splice } from './splice.ts'

/**
 * Direction "client": the VM wants its serviceURI dialled by the proxy. Whoever edits the VM chose that string, so
 * nothing is dialled unless an allow-list names it; otherwise the port is simply served to consoles.
 */
export class OutwardDials {
  readonly #core: Core
  readonly #allowed: readonly EndpointPattern[]
  readonly #diallers = new Map<Port, Dialler>()

  constructor(core: Core, allowed: readonly EndpointPattern[]) {
    this.#core = core
    this.#allowed = allowed
  }

  /** Dials for a port that has just come online, unless it is dialled already or may not be. */
  consider(port: Port): void {
    if (port.direction !== 'client' || port.serviceURI === null || this.#allowed.length === 0) return
    if (this.#diallers.has(port)) return
    const endpoint = this.#permitted(port, port.serviceURI)
    if (endpoint === null) return
    const dialler: Dialler = new Dialler(this.#core, endpoint, (stream) => {
      try {
        new Splice(port, stream, (reason) => {
          this.#core.log.info({ port: port.id, endpoint: formatEndpoint(endpoint), reason }, 'serviceURI disconnected')
          dialler.lost()
        })
      } catch (error) {
        this.#core.log.warn({ port: port.id, reason: errorMessage(error) }, 'serviceURI reached, but the port is taken')
        dialler.lost()
      }
    })
    this.#diallers.set(port, dialler)
    dialler.start()
  }

  /** The port is gone for good. */
  forget(port: Port): void {
    this.#diallers.get(port)?.stop()
    this.#diallers.delete(port)
  }

  stop(): void {
    for (const dialler of this.#diallers.values()) dialler.stop()
    this.#diallers.clear()
  }

  #permitted(port: Port, serviceURI: string) {
    const text = serviceURI.includes('://') ? serviceURI : `tcp://${serviceURI}`
    try {
      const endpoint = parseEndpoint(text, 'dial', 'plain')
      if (this.#allowed.some((pattern) => matchesEndpoint(pattern, endpoint))) return endpoint
      this.#core.log.info(
        { port: port.id, serviceURI },
        'direction "client": not in "allowDial", served to consoles only',
      )
    } catch (error) {
      this.#core.log.info(
        { port: port.id, reason: errorMessage(error) },
        'direction "client": serviceURI is no endpoint, served to consoles only',
      )
    }
    return null
  }
}
