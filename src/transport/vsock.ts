/**
 * vSockets (AF_VSOCK): dial and listen.
 *
 * Node takes only descriptors of kinds that it knows. So it is given a Unix socket that leads nowhere, and the vSocket
 * is put in its place before the event loop has looked at it (libuv adds a descriptor to its epoll set when it next
 * waits, so in the same turn). From there on it is an ordinary net.Socket or net.Server. Not for cluster workers, whose
 * servers live in another process.
 *
 * vSockets have no keepalive, and connections do not survive a live migration of either end: they are reset.
 */
import { Socket } from 'node:net'
import { systemClock } from '../base/index.ts'
import { type ByteStream, ignoreError, type PeerInfo } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import type { VsockEndpoint } from './endpoint.ts'
import { BACKLOG, Listener } from './listener.ts'
import { dialTimeout } from './system-errors.ts'
import { ConnectWatch } from './vsock-connects.ts'
import { vsockDialError, vsockListenError } from './vsock-errors.ts'
import { CID_ANY, CID_HOST, CID_LOCAL, loadVsockLibc, type VsockAddress, type VsockLibc } from './vsock-libc.ts'

/** What all vSockets of this process (or worker thread) share. */
export interface VsockSystem {
  readonly libc: VsockLibc
  readonly connects: ConnectWatch
}

export function vsockSystem(libc: VsockLibc): VsockSystem {
  return { libc, connects: new ConnectWatch(libc) }
}

let loaded: VsockSystem | null = null

function systemVsock(): VsockSystem {
  loaded ??= vsockSystem(loadVsockLibc())
  return loaded
}

/** @throws VspcError VSPC_TRANSPORT_LISTEN or VSPC_VSOCK_UNAVAILABLE. */
export async function listenVsock(
  endpoint: VsockEndpoint,
  handlers: ListenHandlers,
  options: ListenOptions,
  system: () => VsockSystem = systemVsock,
): Promise<Listening> {
  try {
    const { libc } = system()
    const { fd, vsockPort } = libc.listen(addressOf(endpoint), BACKLOG)
    const bound = { ...endpoint, vsockPort }
    const plan = {
      endpoint: bound,
      peerOf: (socket: Socket) => peerOf(libc, socket),
      tls: null,
      tlsMode: 'beside',
    } as const
    const listener = await serverOf(libc, fd, (placeholder) =>
      Listener.start({ ...plan, address: { fd: placeholder } }, handlers, options),
    )
    return { endpoint: bound, certificate: null, close: async () => listener.close(), reload: async () => {} }
  } catch (error) {
    throw vsockListenError(endpoint, error)
  }
}

/** @throws VspcError VSPC_TRANSPORT_DIAL, VSPC_TRANSPORT_DIAL_TIMEOUT or VSPC_VSOCK_UNAVAILABLE; or the signal's reason. */
export async function dialVsock(
  endpoint: VsockEndpoint,
  options: DialOptions,
  system: () => VsockSystem = systemVsock,
): Promise<ByteStream> {
  options.signal?.throwIfAborted()
  const address = addressOf(endpoint)
  try {
    const { libc, connects } = system()
    const { fd, connected } = libc.connect(address, options.timeoutMs)
    if (!connected) await connectEnd(endpoint, fd, options, { libc, connects })
    return { socket: socketOf(libc, fd), peer: new VsockPeer(address) }
  } catch (error) {
    if (options.signal?.aborted && error === options.signal.reason) throw error
    // The system's own deadline is the same as ours, and may come first.
    if ((error as NodeJS.ErrnoException).code === 'ETIMEDOUT') throw dialTimeout(endpoint, options.timeoutMs)
    throw vsockDialError(endpoint, error)
  }
}

/** Resolves when `fd` is connected; otherwise `fd` is closed. */
function connectEnd(
  endpoint: VsockEndpoint,
  fd: number,
  { signal, timeoutMs, clock = systemClock }: DialOptions,
  { libc, connects }: VsockSystem,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      timer.cancel()
      connects.delete(fd)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      libc.close(fd)
      reject(error)
    }
    const onEnded = (): void => {
      const error = libc.connectError(fd)
      if (error !== null) {
        fail(error)
        return
      }
      settle()
      resolve()
    }
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(timeoutMs, () => fail(dialTimeout(endpoint, timeoutMs)))
    connects.add(fd, onEnded)
    signal?.addEventListener('abort', onAbort)
  })
}

/** A socket of Node's for a connected vSocket; consumes `fd`, whatever happens. */
function socketOf(libc: VsockLibc, fd: number): Socket {
  const placeholder = placeholderFor(libc, 'stream', fd)
  const socket = new Socket({ fd: placeholder, allowHalfOpen: true })
  socket.on('error', ignoreError)
  try {
    libc.replace(placeholder, fd)
  } catch (error) {
    socket.destroy()
    throw error
  }
  return socket
}

/** A server of Node's for a listening vSocket; consumes `fd`, whatever happens. */
async function serverOf(
  libc: VsockLibc,
  fd: number,
  start: (placeholder: number) => Promise<Listener>,
): Promise<Listener> {
  const placeholder = placeholderFor(libc, 'listener', fd)
  // Has begun to listen when it returns its promise.
  const starting = start(placeholder)
  try {
    libc.replace(placeholder, fd)
  } catch (error) {
    starting.then(
      (listener) => listener.close(),
      () => {},
    )
    throw error
  }
  return starting
}

function placeholderFor(libc: VsockLibc, kind: 'stream' | 'listener', fd: number): number {
  try {
    return libc.placeholder(kind)
  } catch (error) {
    libc.close(fd)
    throw error
  }
}

function addressOf({ cid, vsockPort }: VsockEndpoint): VsockAddress {
  if (typeof cid === 'number') return { cid, vsockPort }
  return { cid: { any: CID_ANY, host: CID_HOST, local: CID_LOCAL }[cid], vsockPort }
}

/** `display` is computed on demand: 20,000 idle connections need not hold a second string each. */
class VsockPeer implements PeerInfo {
  readonly address: string
  readonly vsockPort: number
  readonly transport = 'vsock'

  constructor({ cid, vsockPort }: VsockAddress) {
    this.address = `vsock:${cid}`
    this.vsockPort = vsockPort
  }

  get display(): string {
    return `${this.address}:${this.vsockPort}`
  }
}

/** Of an accepted socket; null when it is gone already. */
function peerOf(libc: VsockLibc, socket: Socket): PeerInfo | null {
  const { _handle: handle } = socket as { _handle?: { fd?: number } | null }
  const address = handle?.fd === undefined || handle.fd < 0 ? null : libc.peer(handle.fd)
  return address === null ? null : new VsockPeer(address)
}
