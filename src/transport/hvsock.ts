/**
 * Hybrid vsock: vSockets of a guest that its VMM passes on through Unix sockets of the host, as Firecracker, Cloud
 * Hypervisor and vhost-device-vsock do. The host needs no AF_VSOCK.
 *
 * To dial port P of the guest: connect to the VMM's socket, send `CONNECT P\n`; it answers `OK HOSTPORT\n`, then the
 * stream begins. A refusal has no words: the connection is closed. What the guest dials, port P of the host, arrives as
 * a connection to the socket `PATH_P`, from its first byte on.
 */
import type { Socket } from 'node:net'
import { cleanText, systemClock, VspcError } from '../base/index.ts'
import type { ByteStream, PeerInfo } from './byte-stream.ts'
import type { DialOptions, ListenHandlers, Listening, ListenOptions } from './contracts.ts'
import { connectSocket } from './dialer.ts'
import { formatEndpoint, type HvsockEndpoint, MAX_UNIX_PATH_BYTES, NO_LAYERS } from './endpoint.ts'
import { listenUnix } from './unix.ts'

/** `OK ` and ten digits are as much as there ever is. */
const MAX_ANSWER_BYTES = 64

const NEWLINE = 0x0a

/** Our own reasons: what is dialled here is the VMM. */
const CONNECT_REASONS: Record<string, string> = {
  ENOENT: 'there is no such socket; the VMM creates it when the VM starts',
  ECONNREFUSED: 'the socket is left over, or is no socket: no VMM listens on it',
  EACCES: 'permission denied; this user may not use the socket of the VMM',
  ENOTDIR: 'a part of the path is not a directory',
  EAGAIN: 'its queue of waiting connections is full',
}

/**
 * Connects to a port of the guest.
 * @throws VspcError VSPC_TRANSPORT_DIAL or VSPC_TRANSPORT_DIAL_TIMEOUT, or the signal's reason.
 */
export async function dialHvsock(endpoint: HvsockEndpoint, options: DialOptions): Promise<ByteStream> {
  const { clock = systemClock, timeoutMs } = options
  const deadline = clock.now() + timeoutMs
  const socket = await connectSocket(endpoint, { path: endpoint.path }, options).catch((error: unknown) => {
    throw reworded(endpoint, error)
  })
  await askFor(socket, endpoint, { ...options, clock, deadline })
  return { socket, peer: hvsockPeer(endpoint) }
}

/**
 * Listens for the guest's connections to a port of the host, on a Unix socket with the permissions of `mode=`.
 * @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_ENDPOINT_PORT or VSPC_ENDPOINT_SYNTAX.
 */
export async function listenHvsock(
  endpoint: HvsockEndpoint,
  handlers: ListenHandlers,
  options: ListenOptions,
): Promise<Listening> {
  const uri = formatEndpoint(endpoint)
  if (endpoint.vsockPort === 0) {
    throw new VspcError(
      'VSPC_ENDPOINT_PORT',
      `endpoint "${uri}": port 0 means "any free one", but ports of hvsock are only names, and the guest has to know this one; accepted is 1 to 4294967294`,
    )
  }
  const path = `${endpoint.path}_${endpoint.vsockPort}`
  const bytes = new TextEncoder().encode(path).length
  if (bytes > MAX_UNIX_PATH_BYTES) {
    throw new VspcError(
      'VSPC_ENDPOINT_SYNTAX',
      `endpoint "${uri}": the path of its socket, with _${endpoint.vsockPort} at the end, has ${bytes} bytes; the system takes at most ${MAX_UNIX_PATH_BYTES} for a socket: use a shorter directory`,
    )
  }
  const peer = hvsockPeer(endpoint)
  const taking: ListenHandlers = {
    stream: ({ socket }) => handlers.stream({ socket, peer }),
    problem: (problem) => handlers.problem(problem),
  }
  const socket = { scheme: 'unix', path, tls: null, vm: null, layers: NO_LAYERS, ...modeOf(endpoint) } as const
  try {
    const listening = await listenUnix(socket, taking, options)
    return { ...listening, endpoint }
  } catch (error) {
    // It names the socket; the user wrote something else.
    if (!(error instanceof VspcError)) throw error
    throw new VspcError(error.code, `endpoint "${uri}": ${error.message}`, { cause: error.cause })
  }
}

/** A guest has an address, but neither side of the socket is told which: the path stands for it. */
function hvsockPeer(endpoint: HvsockEndpoint): PeerInfo {
  const { path, vsockPort } = endpoint
  return { address: path, display: `hvsock:${path}:${vsockPort}`, transport: 'hvsock' }
}

/** Sends the request and takes the answer, and not a byte more, off `socket`; closes it when the answer is not "yes". */
function askFor(
  socket: Socket,
  endpoint: HvsockEndpoint,
  options: Pick<DialOptions, 'signal' | 'timeoutMs'> & Required<Pick<DialOptions, 'clock'>> & { deadline: number },
): Promise<void> {
  const { signal, clock, deadline, timeoutMs } = options
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0)
    const settle = (): void => {
      timer.cancel()
      socket.off('readable', onReadable)
      socket.off('end', onClose)
      socket.off('close', onClose)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.destroy()
      reject(error)
    }
    const onReadable = (): void => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      const newline = chunk.indexOf(NEWLINE)
      answer = Buffer.concat([answer, newline < 0 ? chunk : chunk.subarray(0, newline)])
      if (newline < 0 && answer.length <= MAX_ANSWER_BYTES) return
      if (!/^OK [0-9]{1,10}$/.test(answer.toString('latin1'))) {
        fail(notOk(endpoint, answer))
        return
      }
      settle()
      // By then the stream is as new: the last `readable` listener leaves its traces for a tick.
      process.nextTick(resolve)
      if (newline + 1 < chunk.length) socket.unshift(chunk.subarray(newline + 1))
    }
    const onClose = (): void => fail(refused(endpoint, answer))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(Math.max(1, deadline - clock.now()), () => fail(unanswered(endpoint, timeoutMs)))
    signal?.addEventListener('abort', onAbort)
    socket.on('readable', onReadable)
    // An error is followed by `close`.
    socket.on('end', onClose)
    socket.on('close', onClose)
    socket.write(`CONNECT ${endpoint.vsockPort}\n`)
  })
}

function refused(endpoint: HvsockEndpoint, answer: Buffer): VspcError {
  if (answer.length > 0) return notOk(endpoint, answer)
  return new VspcError(
    'VSPC_TRANSPORT_DIAL',
    `cannot reach ${formatEndpoint(endpoint)}: the VMM closed the connection; the guest does not listen on port ${endpoint.vsockPort}, or is not there`,
  )
}

function notOk(endpoint: HvsockEndpoint, answer: Buffer): VspcError {
  const shown = cleanText(answer.toString('latin1'), 40)
  return new VspcError(
    'VSPC_TRANSPORT_DIAL',
    `cannot reach ${formatEndpoint(endpoint)}: expected "OK" and a port number, but it answered "${shown}"; check that this is the hybrid vsock socket of a VMM`,
  )
}

function unanswered(endpoint: HvsockEndpoint, timeoutMs: number): VspcError {
  return new VspcError(
    'VSPC_TRANSPORT_DIAL_TIMEOUT',
    `cannot reach ${formatEndpoint(endpoint)}: no answer within ${timeoutMs} ms; the guest may still be starting, or hang`,
  )
}

/** What a failed connect means for this kind of endpoint. */
function reworded(endpoint: HvsockEndpoint, error: unknown): unknown {
  if (!(error instanceof VspcError)) return error
  const cause = error.cause as NodeJS.ErrnoException | undefined
  const reason = CONNECT_REASONS[cause?.code ?? '']
  if (cause === undefined || reason === undefined) return error
  return new VspcError(
    'VSPC_TRANSPORT_DIAL',
    `cannot reach ${formatEndpoint(endpoint)}: ${reason} (${cause.message})`,
    { cause },
  )
}

function modeOf({ mode }: HvsockEndpoint): { mode?: number } {
  return mode === undefined ? {} : { mode }
}
