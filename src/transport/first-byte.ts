/**
 * Tells TLS and plain peers of one listener apart by their first byte, which stays in the socket.
 *
 * 0x16 begins a TLS handshake record (RFC 8446 section 5.1); Telnet begins with 0xFF. A plain peer may also wait for us
 * to speak, so silence counts as plain after a time.
 */
import type { Socket } from 'node:net'
import type { Clock } from '../base/index.ts'

const TLS_HANDSHAKE_RECORD = 0x16

/**
 * Calls `decide` once, when the first byte or `waitMs` came, or the peer ended its side (plain: it may still read);
 * never when the socket closes before. Nobody else may read `socket` until then, and the caller keeps an `error`
 * listener on it. The bytes are there to be read again by whoever reads next.
 */
export function awaitFirstByte(
  socket: Socket,
  waitMs: number,
  clock: Clock,
  decide: (kind: 'tls' | 'plain') => void,
): void {
  const stop = (): void => {
    timer.cancel()
    socket.off('readable', onReadable)
    socket.off('close', stop)
  }
  const settle = (kind: 'tls' | 'plain'): void => {
    stop()
    // Node puts a stream back to its initial state one tick after the last `readable` listener went; only then does
    // it take `data` listeners and pause() as a fresh one does.
    process.nextTick(decide, kind)
  }
  const onReadable = (): void => {
    // Readable without bytes is the end of input. Not read here: that would emit `end` before there is an owner.
    if (socket.readableLength === 0) {
      settle('plain')
      return
    }
    const bytes: Uint8Array = socket.read()
    socket.unshift(bytes)
    settle(bytes[0] === TLS_HANDSHAKE_RECORD ? 'tls' : 'plain')
  }
  const timer = clock.after(waitMs, () => settle('plain'))
  socket.on('close', stop)
  socket.on('readable', onReadable)
}
