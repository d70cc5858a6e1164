import { errorMessage } from '../base/index.ts'
import { type EndpointPattern, formatEndpoint, matchesEndpoint, parseEndpoint } from '../transport/index.ts'
import type { Core } from './core.ts'
import { Dialler } from './dialler.ts'
import type { Port } from './port.ts'
import { Splice } from './splice.ts'

interface Outward {
  readonly serviceURI: string
  readonly dialler: Dialler
  splice: Splice | null
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
    const dialler: Dialler = new Dialler(this.#core, endpoint, (stream) => {
      try {
        dial.splice = new Splice(port, stream, (reason) => {
          dial.splice = null
          this.#core.log.info({ port: port.id, endpoint: formatEndpoint(endpoint), reason }, 'serviceURI disconnected')
          dialler.lost()
        })
      } catch (error) {
        this.#core.log.warn({ port: port.id, reason: errorMessage(error) }, 'serviceURI reached, but the port is taken')
        dialler.lost()
      }
    })
    const dial: Outward = { serviceURI, dialler, splice: null }
    this.#dials.set(port, dial)
    dialler.start()
  }

  /** The port is gone for good, or wants nothing dialled any more. */
  forget(port: Port): void {
    const dial = this.#dials.get(port)
    if (dial === undefined) return
    this.#dials.delete(port)
    dial.dialler.stop()
    dial.splice?.close('the VM no longer asks for it')
  }

  stop(): void {
    for (const { dialler } of this.#dials.values()) dialler.stop()
    this.#dials.clear()
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
