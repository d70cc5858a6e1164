import type { Clock, VspcError } from '../base/index.ts'
import type { Announcement } from './autopilot.ts'
import type { SimConnection } from './sim-connection.ts'
import type { SimPort } from './sim-port.ts'
import type { Ticker } from './ticker.ts'

/** What a port needs from its VM. */
export interface PortHost {
  readonly name: string
  readonly hostName: string
  readonly clock: Clock
  readonly redialMs: number
  readonly recordInput: boolean
  /** A new connection from the VM's current host. The port is its handler. */
  connect(port: SimPort, announcement: Announcement): SimConnection
  ticker(intervalMs: number): Ticker
  violation(port: SimPort, text: string): void
  /** Input arrived or the state changed: somebody may be waiting for it. */
  changed(port: SimPort): void
  /** A connection of the port is gone; the VM need not remember it. */
  gone(connection: SimConnection): void
  /** The port's connection came up (WILL-PROXY), was refused, or is gone. */
  portState(port: SimPort, cause: VspcError | null): void
}
