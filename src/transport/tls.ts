/** TLS: the server's upgrade of an accepted stream, and the client's of a dialled one. */
import type { Duplex } from 'node:stream'
import { connect, type SecureContext, TLSSocket } from 'node:tls'
import { type Clock, VspcError } from '../base/index.ts'
import { type ByteStream, ignoreError } from './byte-stream.ts'
import { formatEndpoint, type TlsEndpoint } from './endpoint.ts'
import { overTls } from './peer.ts'
import { setCarrier } from './reset.ts'
import { loadClientTls } from './tls-files.ts'
import { type ClientPolicy, checkClient, checkServer, noClientCertificate } from './tls-peer.ts'

export interface TlsUpgradeOptions {
  readonly context: SecureContext
  /** Bytes the caller has read past the switch to TLS; they come first. The buffer passes to the socket. */
  readonly head?: Uint8Array
  readonly handshakeMs: number
  readonly clock: Clock
  /** What the peer has to show. Null or not given: nothing. */
  readonly clients?: ClientPolicy | null
}

/**
 * Speaks TLS as the server on a stream that was plain so far. The caller has taken its data listener off, and uses only
 * the stream returned; on failure the old one is destroyed. A peer that is refused gets not a byte from us.
 * @throws VspcError VSPC_TLS_HANDSHAKE with the reason, VSPC_TLS_PEER_REFUSED.
 */
export function upgradeServer(stream: ByteStream, options: TlsUpgradeOptions): Promise<ByteStream> {
  const raw = stream.socket
  raw.on('error', ignoreError)
  raw.pause()
  if (options.head !== undefined && options.head.length > 0) raw.unshift(options.head)
  const clients = options.clients ?? null
  const asked = clients !== null
  const socket = new TLSSocket(raw as TlsCarrier, {
    isServer: true,
    secureContext: options.context,
    requestCert: asked,
    // Node takes this to mean: refuse those that show none. What others show is judged below.
    rejectUnauthorized: asked,
  })
  return handshake(socket, {
    doneEvent: 'secure',
    subject: '',
    handshakeMs: options.handshakeMs,
    clock: options.clock,
    showsCertificate: true,
    finish: () => {
      if (clients !== null) checkClient(socket, clients)
      return { socket, peer: overTls(stream.peer) }
    },
  })
}

/** Node's constructor takes any Duplex (its documentation says so), its type only net.Socket. */
type TlsCarrier = ConstructorParameters<typeof TLSSocket>[0]

/**
 * Speaks TLS as the client on a fresh connection to `endpoint`, and checks the peer's certificate before anything is
 * handed over. So, as far as can be told, is ours by the peer.
 * @throws VspcError VSPC_TLS_FILES, VSPC_TLS_HANDSHAKE or VSPC_TLS_PIN_MISMATCH; the stream is destroyed.
 */
export async function upgradeClient(
  stream: ByteStream,
  endpoint: TlsEndpoint,
  options: { handshakeMs: number; clock: Clock; signal?: AbortSignal },
): Promise<ByteStream> {
  const raw = stream.socket
  raw.on('error', ignoreError)
  let secureContext: SecureContext
  try {
    secureContext = await loadClientTls(endpoint.tls)
    options.signal?.throwIfAborted()
  } catch (error) {
    raw.destroy()
    throw error
  }
  const { tls, host } = endpoint
  const name = tls.servername ?? host
  const isAddress = host.includes(':') || /^[0-9.]+$/.test(host)
  const socket = connect({
    socket: raw,
    secureContext,
    // Names the certificate is checked for; an address may not be sent as SNI (RFC 6066 section 3).
    host: name,
    ...(tls.servername !== null || !isAddress ? { servername: name } : {}),
    // Judged by hand below, because a pin overrules the CA.
    rejectUnauthorized: false,
  })
  setCarrier(socket, raw)
  const plan: Handshake = {
    doneEvent: 'secureConnect',
    subject: `cannot reach ${formatEndpoint(endpoint)}: `,
    handshakeMs: options.handshakeMs,
    clock: options.clock,
    showsCertificate: tls.cert !== null,
    finish: () => {
      checkServer(socket, endpoint, name)
      return { socket, peer: overTls(stream.peer) }
    },
    ...(options.signal ? { signal: options.signal } : {}),
  }
  const secured = await handshake(socket, plan)
  if (socket.getProtocol() === 'TLSv1.3') await welcome(socket, plan)
  return secured
}

interface Handshake {
  readonly doneEvent: 'secure' | 'secureConnect'
  /** Begins the messages of errors. */
  readonly subject: string
  readonly handshakeMs: number
  readonly clock: Clock
  /** We show a certificate. */
  readonly showsCertificate: boolean
  /** Judges the peer; what it throws fails the handshake. */
  readonly finish: () => ByteStream
  readonly signal?: AbortSignal
}

/** Waits for the end of a handshake. Whatever fails destroys the socket, which takes the raw one along. */
function handshake(socket: TLSSocket, plan: Handshake): Promise<ByteStream> {
  const { doneEvent, subject, handshakeMs, clock, finish, signal } = plan
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      timer.cancel()
      socket.off(doneEvent, onDone)
      socket.off('error', onError)
      socket.off('_tlsError', onError)
      socket.off('end', onClose)
      socket.off('close', onClose)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: unknown): void => {
      settle()
      socket.on('error', ignoreError)
      socket.destroy()
      reject(error)
    }
    const onDone = (): void => {
      settle()
      socket.on('error', destroyOnTlsError)
      socket.on('_tlsError', destroyOnTlsError)
      try {
        resolve(finish())
      } catch (error) {
        fail(error)
      }
    }
    const onError = (error: Error): void => fail(handshakeError(plan, error))
    const onClose = (): void => fail(handshakeError(plan, null))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(handshakeMs, () =>
      fail(new VspcError('VSPC_TLS_HANDSHAKE', `${subject}TLS handshake not finished within ${handshakeMs} ms`)),
    )
    socket.on(doneEvent, onDone)
    socket.on('error', onError)
    // Node emits errors of a handshake under this name first, and on a server-side socket under no other.
    socket.on('_tlsError', onError)
    // Half-open sockets do not close by themselves when the peer leaves in the middle.
    socket.on('end', onClose)
    socket.on('close', onClose)
    signal?.addEventListener('abort', onAbort)
  })
}

/**
 * In TLS 1.3 the client is done before the server has looked at its certificate (RFC 8446 section 4.6.2 and appendix
 * E.1): what it thinks of it shows in what comes next. A session ticket, or any data, is a welcome; an alert or the end
 * is none; a server that says nothing at all (no tickets, and it waits for us) is believed after a moment.
 */
const WELCOME_MS = 500

function welcome(socket: TLSSocket, plan: Handshake): Promise<void> {
  const { clock, signal } = plan
  return new Promise((resolve, reject) => {
    let immediate: NodeJS.Immediate | null = null
    const settle = (): void => {
      timer.cancel()
      if (immediate !== null) clearImmediate(immediate)
      socket.off('session', onWelcome)
      socket.off('readable', onReadable)
      socket.off('error', onError)
      socket.off('end', onClose)
      socket.off('close', onClose)
      signal?.removeEventListener('abort', onAbort)
    }
    // Not at once: Node tells of tickets from within OpenSSL's reading, where nobody may write.
    const onWelcome = (): void => {
      immediate ??= setImmediate(() => {
        settle()
        // One tick after the last `readable` listener went the stream is again as if there had been none.
        process.nextTick(resolve)
      })
    }
    const fail = (error: unknown): void => {
      settle()
      socket.destroy()
      reject(error)
    }
    const onReadable = (): void => {
      if (socket.readableLength > 0) onWelcome()
    }
    const onError = (error: Error): void => fail(handshakeError(plan, error))
    const onClose = (): void => fail(handshakeError(plan, null))
    const onAbort = (): void => fail(signal?.reason)
    const timer = clock.after(WELCOME_MS, onWelcome)
    socket.on('session', onWelcome)
    socket.on('readable', onReadable)
    socket.on('error', onError)
    socket.on('end', onClose)
    socket.on('close', onClose)
    signal?.addEventListener('abort', onAbort)
  })
}

/**
 * After the handshake a broken record shows as `_tlsError` (server side) or as an `error` that closes nothing (client
 * side): the owner would wait for a `close` that never comes. So the socket is destroyed here.
 */
function destroyOnTlsError(this: Duplex, error: Error): void {
  this.destroy(error)
}

const HANDSHAKE_REASONS: [pattern: RegExp, reason: string][] = [
  [
    /WRONG_VERSION_NUMBER|HTTP_REQUEST|UNKNOWN_PROTOCOL|PACKET_LENGTH|BAD_RECORD_TYPE/,
    'the peer does not speak TLS here',
  ],
  [
    /UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION|VERSION_TOO_LOW|NO_PROTOCOLS_AVAILABLE|INSUFFICIENT_SECURITY/,
    'no common TLS version; old hosts need a lower tlsMin=',
  ],
  [/NO_SHARED_CIPHER|HANDSHAKE_FAILURE/, 'no common cipher or version; old hosts need a lower tlsMin='],
  [
    /ALERT_UNKNOWN_CA|CERTIFICATE_UNKNOWN|BAD_CERTIFICATE|CERTIFICATE_EXPIRED|CERTIFICATE_REVOKED|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED/,
    'the peer refuses our certificate',
  ],
  [/CERTIFICATE_REQUIRED/, 'the peer wants a certificate from us; give cert= and key='],
  [/ECONNRESET|EPIPE/, 'the peer closed the connection'],
]

/** @param error null: the peer just went. */
function handshakeError({ subject, doneEvent, showsCertificate }: Handshake, error: Error | null): VspcError {
  const code = String((error as NodeJS.ErrnoException | null)?.code ?? '')
  if (code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') return noClientCertificate(error)
  const searched = `${code} ${error?.message ?? 'ECONNRESET'}`.toUpperCase().replaceAll(' ', '_')
  const known = HANDSHAKE_REASONS.find(([pattern]) => pattern.test(searched))?.[1]
  const detail = code || error?.message
  const reason = known === undefined ? detail : detail === undefined ? known : `${known} (${detail})`
  return new VspcError('VSPC_TLS_HANDSHAKE', `${subject}TLS handshake failed: ${reason}${hint()}`, { cause: error })

  /** Servers that do not like a client's certificate say so with an alert, a general one, or by closing. */
  function hint(): string {
    if (doneEvent === 'secure') return ''
    if (/HANDSHAKE_FAILURE/.test(searched) && !showsCertificate) return ', or it wants a certificate: cert= and key='
    if (/ECONNRESET|EPIPE|HANDSHAKE_FAILURE/.test(searched) && showsCertificate) {
      return '; it may not accept our certificate'
    }
    return ''
  }
}
