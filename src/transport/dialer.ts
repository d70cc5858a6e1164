/** One connect with a deadline and an AbortSignal; what tcp: and unix: diallers share. */
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { LIMITS, systemClock } from '../base/index.ts'
import { ignoreError } from './byte-stream.ts'
import type { DialOptions } from './contracts.ts'
import type { Endpoint } from './endpoint.ts'
import { dialError, dialTimeout } from './system-errors.ts'

/**
 * Connects, half-open allowed, without Nagle, with keepalive. The socket has an `error` listener for good, so that a
 * reset before the owner attaches its own is no crash; `close` follows every error.
 * @throws VspcError VSPC_TRANSPORT_DIAL or VSPC_TRANSPORT_DIAL_TIMEOUT, or the signal's reason.
 */
export function connectSocket(endpoint: Endpoint, target: NetConnectOpts, options: DialOptions): Promise<Socket> {
  const { signal, timeoutMs, clock = systemClock } = options
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const socket = connect({
      ...target,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: options.keepAliveMs ?? LIMITS.keepAliveMs.default,
    })
    socket.on('error', ignoreError)
    const settle = (): void => {
      timer.cancel()
      socket.off('connect', onConnect)
      socket.off('error', onError)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.destroy()
      reject(error)
    }
    const onConnect = (): void => {
      settle()
      resolve(socket)
    }
    const onError = (error: Error): void => fail(dialError(endpoint, error))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(timeoutMs, () => fail(dialTimeout(endpoint, timeoutMs)))
    socket.on('connect', onConnect)
    socket.on('error', onError)
    signal?.addEventListener('abort', onAbort)
  })
}
