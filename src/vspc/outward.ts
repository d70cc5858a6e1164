import { errorMessage } from '../base/index.ts'
import { type EndpointPattern, matchesEndpoint, parseEndpoint } from '../transport/index.ts'
import type { Core } from './core.ts'
import type { Port } from './port.ts'
import { SpliceDial } from './splice-dial.ts'

interface Outward {
  readonly serviceURI: string
  readonly dial: SpliceDial
}

/**
 * Direction "client": the VM wants its serviceURI dialled by the proxy. Whoever edits the VM chose that string, so
 * nothing is dialled unless an allow-list names it; otherwise the port is simply served to consoles.
 */
export class OutwardDials {
  readonly #core: Core
  readonly #allowed: readonly EndpointPattern[]
  readonly #dials = new Map<Port, Outward>()

  constructor(core: Core, allowed: readonly EndpointPattern[]) {
    this.#core = core
    this.#allowed = allowed
  }

  /** Dials for a port that has just come online, unless it is dialled already or may not be. */
  consider(port: Port): void {
    const serviceURI = port.direction === 'client' ? port.serviceURI : null
    if (this.#dials.get(port)?.serviceURI === serviceURI) return
    // The VM was given another serviceURI, or is to be a server now.
    this.forget(port)
    if (serviceURI === null || this.#allowed.length === 0) return
    const endpoint = this.#permitted(port, serviceURI)
    if (endpoint === null) return
    const dial = new SpliceDial(port, endpoint, { what: 'serviceURI', who: null, from: null })
    this.#dials.set(port, { serviceURI, dial })
  }

  /** The port is gone for good, or wants nothing dialled any more. */
  forget(port: Port): void {
    const outward = this.#dials.get(port)
    if (outward === undefined) return
    this.#dials.delete(port)
    outward.dial.stop('the VM no longer asks for it')
  }

  /** Resolves when all connections are flushed and closed. */
  async stop(): Promise<void> {
    const dials = [...this.#dials.values()]
    this.#dials.clear()
    for (const { dial } of dials) dial.stop('the server is stopping')
    await Promise.all(dials.map(({ dial }) => dial.closed()))
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
