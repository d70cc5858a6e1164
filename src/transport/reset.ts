/** Connections that are given up unanswered. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

const CARRIER = Symbol('vspc.carrier')
type Carried = Duplex & { [CARRIER]?: Duplex }

/** What TLS is spoken on. */
export function setCarrier(secured: Duplex, raw: Duplex): void {
  ;(secured as Carried)[CARRIER] = raw
}

/**
 * Destroys a connection, over TCP with a reset. Whoever holds it unread, such as a relay whose other side is away, would
 * take a FIN behind unread bytes for the end of one half, and hold what nobody is waiting for any more.
 */
export function reset(connection: Duplex): void {
  const raw = (connection as Carried)[CARRIER] ?? connection
  // Other kinds of sockets know no reset.
  if (raw instanceof Socket && raw.remoteAddress !== undefined) raw.resetAndDestroy()
  connection.destroy()
}
