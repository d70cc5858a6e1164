/**
 * Reading a socket without making anything for each chunk.
 *
 * Node reads into 64 KiB of fresh memory each time, cuts that to size, and wraps it; for a server that looks at bytes
 * and passes them on, most of its time goes into that and into collecting it. `net.Socket` has an option that reads into
 * memory of ours instead (`onread`), but only for sockets one makes oneself, not for those a server accepts. So what that
 * option sets is looked up on a socket made with it, and set on the others. Where Node should no longer have it, chunks
 * come as `data` events: the same, but slower.
 */
import { Socket, type SocketConstructorOpts } from 'node:net'
import type { Duplex } from 'node:stream'

/** `bytes` are valid until return: who keeps any copies them. `this` is the socket. */
export type OnChunk = (this: Duplex, bytes: Uint8Array) => void

/**
 * What every socket reads into. One is enough: chunks are dealt with as they come, one after the other. A Buffer because
 * its `indexOf` is twenty times as fast as that of a Uint8Array.
 */
const shared = Buffer.alloc(131_072)

const ON_CHUNK = Symbol('vspc.onChunk')
type ReadSocket = Socket & { [ON_CHUNK]?: OnChunk }

/** Called by Node with what was read. Anything but false: go on reading. */
function deliver(this: ReadSocket, length: number, buffer: Uint8Array): boolean {
  this[ON_CHUNK]?.(length === buffer.length ? buffer : buffer.subarray(0, length))
  return true
}

interface Internals {
  readonly buffer: symbol
  readonly callback: symbol
}

const internals = findInternals()

function findInternals(): Internals | null {
  // The type definitions know the option from `connect` only.
  const options = { onread: { buffer: shared, callback: deliver } } as SocketConstructorOpts
  const probe = new Socket(options)
  const of = (value: unknown) =>
    Object.getOwnPropertySymbols(probe).find((symbol) => Reflect.get(probe, symbol) === value) ?? null
  const buffer = of(shared)
  const callback = of(deliver)
  probe.destroy()
  return buffer === null || callback === null ? null : { buffer, callback }
}

/** The system's side of a socket; null = none that can read into memory of ours. */
function handleOf(socket: Duplex): { useUserBuffer(buffer: Uint8Array): void } | null {
  // Not of a TLS socket, which has a handle of another kind: what is decrypted goes another way.
  const handle: unknown = socket.constructor === Socket ? Reflect.get(socket, '_handle') : null
  const able = typeof handle === 'object' && handle !== null && 'useUserBuffer' in handle
  return able ? (handle as { useUserBuffer(buffer: Uint8Array): void }) : null
}

/**
 * Has `onChunk` called with everything `socket` receives from now on; nobody else may read it, before or after.
 * `pause()` and `resume()`, and the events `end`, `close` and `error` work as ever.
 */
export function readChunks(socket: Duplex, onChunk: OnChunk): void {
  const handle = handleOf(socket)
  if (internals === null || handle === null || socket.readableLength > 0) {
    socket.on('data', onChunk)
    return
  }
  Object.assign(socket, { [internals.buffer]: shared, [internals.callback]: deliver, [ON_CHUNK]: onChunk })
  handle.useUserBuffer(shared)
  // Starts to read if that has not begun: of a socket made by `connect`, that waits for a reader.
  socket.resume()
}
