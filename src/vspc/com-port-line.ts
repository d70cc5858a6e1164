import { VspcError } from '../base/index.ts'
import { type ComPortEvent, ComPortServer } from '../telnet/index.ts'
import type { VmSession } from './vm-session.ts'

/** RFC 2217 for one session: settings go to the port, flow control to the session's input. */
export class ComPortLine {
  /** The VM asked us to hold back serial data (FLOWCONTROL-SUSPEND). */
  suspended = false
  readonly #session: VmSession
  readonly #server = new ComPortServer()

  constructor(session: VmSession) {
    this.#session = session
  }

  /** @returns the answer's payload, or null. */
  receive(payload: Uint8Array): Uint8Array | null {
    return this.#server.receive(payload, (event) => this.#apply(event))
  }

  /** @throws VspcError VSPC_BREAK_UNSUPPORTED on a raw stream. */
  breakNotification(): Uint8Array | null {
    if (this.#session.protocol === 'raw') {
      throw new VspcError(
        'VSPC_BREAK_UNSUPPORTED',
        'a raw byte stream cannot carry a break; use protocol=telnet or vmware',
      )
    }
    return this.#server.breakNotification()
  }

  #apply(event: ComPortEvent): void {
    const { port } = this.#session
    switch (event.kind) {
      case 'line':
        if (port !== null) port.line = event.line
        break
      case 'break':
        port?.tellConsoles({ type: 'break', on: event.on })
        break
      case 'flow':
        this.suspended = event.suspended
        if (!event.suspended) port?.pump()
        break
      case 'malformed':
        this.#session.core.counters.telnetAnomalies++
        this.#session.core.log.debug({ peer: this.#session.peer.display, reason: event.reason }, 'COM-PORT anomaly')
        break
    }
  }
}
