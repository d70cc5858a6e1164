/**
 * The listeners of a session's socket. There may be 20,000 sessions: these are functions shared by all, which find
 * theirs through the socket.
 */
import type { Duplex } from 'node:stream'
import { readChunks } from '../transport/index.ts'
import type { VmSession } from './vm-session.ts'

const SESSION = Symbol('vspc.session')
type SessionSocket = Duplex & { [SESSION]?: VmSession }

/** From now on `session` gets what happens on `socket`. */
export function listenTo(socket: SessionSocket, session: VmSession): void {
  socket[SESSION] = session
  socket.on('end', onEnd).on('close', onClose).on('error', onError).on('drain', onDrain)
  readChunks(socket, onChunk)
}

function onChunk(this: SessionSocket, chunk: Uint8Array): void {
  this[SESSION]?.receive(chunk)
}

function onEnd(this: SessionSocket): void {
  this[SESSION]?.receiveEnd()
}

function onClose(this: SessionSocket): void {
  this[SESSION]?.socketClosed()
}

function onError(this: SessionSocket, error: NodeJS.ErrnoException): void {
  this[SESSION]?.socketFailed(error)
}

function onDrain(this: SessionSocket): void {
  this[SESSION]?.socketDrained()
}
