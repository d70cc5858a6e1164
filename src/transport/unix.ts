/** Unix domain sockets: dial and listen. */
import { chmod, lstat, stat, unlink } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { VspcError } from '../base/index.ts'
import type { ByteStream } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import { connectSocket } from './dialer.ts'
import { formatEndpoint, type UnixEndpoint } from './endpoint.ts'
import { Listener } from './listener.ts'
import { unixPeer } from './peer.ts'
import { listenError } from './system-errors.ts'
import { loadServerTls } from './tls-files.ts'

const DEFAULT_MODE = 0o600

export async function listenUnix(
  endpoint: UnixEndpoint,
  handlers: ListenHandlers,
  options: ListenOptions,
): Promise<Listening> {
  const tls = endpoint.tls === null ? null : await loadServerTls(endpoint.tls, options.clock.wall())
  const peer = unixPeer(endpoint.path)
  const bind = (): Promise<Listener> =>
    bindPrivately(() =>
      Listener.start(
        { endpoint, address: { path: endpoint.path }, peerOf: () => peer, tls, tlsMode: 'beside' },
        handlers,
        options,
      ),
    )
  let listener: Listener
  try {
    listener = await bind().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error
      await removeStale(endpoint, error)
      return bind()
    })
  } catch (error) {
    throw listenError(endpoint, await asBound(endpoint.path, error))
  }
  try {
    await chmod(endpoint.path, endpoint.mode ?? DEFAULT_MODE)
  } catch (error) {
    listener.close()
    throw listenError(endpoint, error)
  }
  // Node unlinks the path when the server closes.
  return {
    endpoint,
    get certificate() {
      return listener.certificate
    },
    close: async () => listener.close(),
    reload: () => listener.reloadTls(endpoint.tls),
  }
}

export async function dialUnix(endpoint: UnixEndpoint, options: DialOptions): Promise<ByteStream> {
  const socket = await connectSocket(endpoint, { path: endpoint.path }, options)
  return { socket, peer: unixPeer(endpoint.path) }
}

/**
 * Runs `bind`, which binds before it returns its promise, so that the socket is born closed to others instead of being
 * closed a moment later. Worker threads cannot set the mask; there the chmod that follows has to do.
 */
function bindPrivately(bind: () => Promise<Listener>): Promise<Listener> {
  if (!isMainThread) return bind()
  const mask = process.umask(0o177)
  try {
    return bind()
  } finally {
    process.umask(mask)
  }
}

/** libuv reports a missing directory as EACCES, as Windows would; this says what it really was. */
async function asBound(path: string, thrown: unknown): Promise<unknown> {
  if ((thrown as NodeJS.ErrnoException).code !== 'EACCES') return thrown
  return stat(dirname(path)).then(
    () => thrown,
    (error: unknown) => error,
  )
}

/** Removes what a crashed process left behind: only a socket, and only if nobody answers on it. */
async function removeStale(endpoint: UnixEndpoint, inUse: Error): Promise<void> {
  const { path } = endpoint
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    // Gone in the meantime: just bind again.
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (found === null) return
  if (!found.isSocket()) {
    throw new VspcError(
      'VSPC_TRANSPORT_LISTEN',
      `cannot listen on ${formatEndpoint(endpoint)}: the path exists and is not a socket; remove it, or choose another path`,
      { cause: inUse },
    )
  }
  if (await isRefused(path)) await unlink(path)
  else throw inUse
}

/** Only ECONNREFUSED proves that nobody listens: a full queue or missing permission does not. */
function isRefused(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path })
    probe.on('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}
