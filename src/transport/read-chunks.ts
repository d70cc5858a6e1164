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
const shared = Buffer.alloc(65_536)

/**
 * Full buffers read in one turn of the event loop, by all sockets that have as much. Node would take 32 from each: a
 * hundred VMs that print as fast as they can would keep everybody else, and the next VMOTION-BEGIN, waiting for a tenth
 * of a second.
 */
const READS_PER_TURN = 32
const MIN_SHARE = 2

const ON_CHUNK = Symbol('vspc.onChunk')
const TURN = Symbol('vspc.turn')
const READS = Symbol('vspc.reads')
type ReadSocket = Socket & { [ON_CHUNK]?: OnChunk; [TURN]?: number; [READS]?: number }

let turn = 0
/** Sockets with full buffers in this turn, and what each may have of the next ones. */
let busy = 0
let share = READS_PER_TURN
/** Those that have had their share of this turn. */
const resting: ReadSocket[] = []

/** Called by Node with what was read. False: no more now. */
function deliver(this: ReadSocket, length: number, buffer: Uint8Array): boolean {
  if (length < buffer.length) {
    this[ON_CHUNK]?.(buffer.subarray(0, length))
    return true
  }
  this[ON_CHUNK]?.(buffer)
  if (this[TURN] !== turn) {
    this[TURN] = turn
    this[READS] = 0
    if (++busy === 1) setImmediate(nextTurn)
  }
  this[READS] = (this[READS] ?? 0) + 1
  if (this[READS] < share) return true
  resting.push(this)
  return false
}

function nextTurn(): void {
  turn++
  share = Math.max(MIN_SHARE, Math.floor(READS_PER_TURN / busy))
  busy = 0
  for (const socket of resting) if (!socket.isPaused() && !socket.destroyed) socket.resume()
  resting.length = 0
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
