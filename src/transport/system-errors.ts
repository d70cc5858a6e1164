/** Errors of the system in words of this product: which endpoint, what is wrong, what to do. */
import { errorMessage, VspcError } from '../base/index.ts'
import { type Endpoint, formatEndpoint, type Scheme } from './endpoint.ts'

/** The system's error code, looking into the several attempts of a name with several addresses. */
function codeOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return codeOf(thrown.errors[0])
  const code = (thrown as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : ''
}

function textOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return thrown.errors.map(errorMessage).join(', ')
  return errorMessage(thrown)
}

const OUT_OF_DESCRIPTORS = 'no file descriptor is left; raise the limit of open files (ulimit -n, LimitNOFILE=)'
const NO_SUCH_NAME = 'the host name cannot be resolved; check its spelling, or write an address'

const LISTEN_REASONS: Record<string, string> = {
  EADDRINUSE: 'the address is in use; stop the program that has it, or choose another port (0 = any free one)',
  EADDRNOTAVAIL: 'the address is not one of this machine; listen on one that is, or on 0.0.0.0 or [::]',
  EACCES: 'permission denied; ports below 1024 need privileges (CAP_NET_BIND_SERVICE), so choose a higher one',
  ENOTFOUND: NO_SUCH_NAME,
  EAI_AGAIN: 'the host name cannot be resolved now; write an address',
  EMFILE: OUT_OF_DESCRIPTORS,
  ENFILE: OUT_OF_DESCRIPTORS,
}

const UNIX_LISTEN_REASONS: Record<string, string> = {
  EADDRINUSE: 'a program listens on this socket already; stop it, or choose another path',
  EACCES: 'permission denied; choose a directory that this user may write to',
  EROFS: 'the file system is read-only; choose another directory',
  ENOENT: 'the directory does not exist; create it',
  ENOTDIR: 'a part of the path is not a directory',
}

const VSOCK_LISTEN_REASONS: Record<string, string> = {
  EADDRINUSE: 'a program listens on this port already; stop it, or choose another port (0 = any free one)',
  EADDRNOTAVAIL: 'the CID is not one of this machine; listen on vsock://any:PORT',
}

const DIAL_REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused; nothing listens there',
  ECONNRESET: 'the peer closed the connection at once',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'there is no route to its network',
  ETIMEDOUT: 'the host does not answer',
  ENOTFOUND: NO_SUCH_NAME,
  EAI_AGAIN: 'the host name cannot be resolved now; the name server does not answer',
  EMFILE: OUT_OF_DESCRIPTORS,
  ENFILE: OUT_OF_DESCRIPTORS,
}

const UNIX_DIAL_REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused; the socket is left over, or is no socket, and nothing listens on it',
  ENOENT: 'there is no such socket; start the program that creates it, or check the path',
  ENOTDIR: 'a part of the path is not a directory',
  EACCES: 'permission denied; this user may not use the socket',
  EAGAIN: 'its queue of waiting connections is full',
}

const VSOCK_DIAL_REASONS: Record<string, string> = {
  // AF_VSOCK has no ECONNREFUSED.
  ECONNRESET: 'nothing listens there, or too many connections wait there to be taken',
  ENODEV: 'no virtual machine has that CID now; start it, or check the CID',
}

const LISTEN_REASONS_OF: Partial<Record<Scheme, Record<string, string>>> = {
  unix: UNIX_LISTEN_REASONS,
  vsock: VSOCK_LISTEN_REASONS,
}

const DIAL_REASONS_OF: Partial<Record<Scheme, Record<string, string>>> = {
  unix: UNIX_DIAL_REASONS,
  vsock: VSOCK_DIAL_REASONS,
}

export function listenError(endpoint: Endpoint, thrown: unknown): VspcError {
  if (thrown instanceof VspcError) return thrown
  const code = codeOf(thrown)
  const reason = LISTEN_REASONS_OF[endpoint.scheme]?.[code] ?? LISTEN_REASONS[code]
  return new VspcError(
    'VSPC_TRANSPORT_LISTEN',
    `cannot listen on ${formatEndpoint(endpoint)}: ${explain(reason, thrown)}`,
    { cause: thrown },
  )
}

export function dialError(endpoint: Endpoint, thrown: unknown): VspcError {
  if (thrown instanceof VspcError) return thrown
  const code = codeOf(thrown)
  const reason = DIAL_REASONS_OF[endpoint.scheme]?.[code] ?? DIAL_REASONS[code]
  return new VspcError('VSPC_TRANSPORT_DIAL', `cannot reach ${formatEndpoint(endpoint)}: ${explain(reason, thrown)}`, {
    cause: thrown,
  })
}

export function dialTimeout(endpoint: Endpoint, timeoutMs: number): VspcError {
  return new VspcError(
    'VSPC_TRANSPORT_DIAL_TIMEOUT',
    `cannot reach ${formatEndpoint(endpoint)}: no connection within ${timeoutMs} ms; check the address and firewalls`,
  )
}

export function acceptError(endpoint: Endpoint, thrown: unknown): VspcError {
  const reason = LISTEN_REASONS[codeOf(thrown)]
  return new VspcError(
    'VSPC_TRANSPORT_LISTEN',
    `a connection to ${formatEndpoint(endpoint)} could not be accepted: ${explain(reason, thrown)}`,
    { cause: thrown },
  )
}

function explain(reason: string | undefined, thrown: unknown): string {
  return reason === undefined ? textOf(thrown) : `${reason} (${textOf(thrown)})`
}
