/** Envelopes over HTTPS: connections (kept alive) through any endpoint, deadlines, cancellation, bounded answers. */
import { setMaxListeners } from 'node:events'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { Agent, request } from 'node:https'
import type { Duplex } from 'node:stream'
import { type Clock, cleanText, errorMessage, RemoteProtocolError, VspcError } from '../base/index.ts'
import { dial, type Endpoint, NO_LAYERS, type TlsEndpoint, upgradeClient } from '../transport/index.ts'
import type { Element } from './element.ts'
import type { VsphereLimits } from './limits.ts'
import { SOAP_ACTION } from './soap.ts'
import { formatVsphereUrl, type VsphereUrl } from './url.ts'
import { XmlReader } from './xml-reader.ts'

export interface ChannelOptions {
  readonly url: VsphereUrl
  /** PEM file with the CAs to trust instead of those that Node comes with. */
  readonly ca: string | null
  /** SHA-256 of the server's certificate, 64 hex digits; then it alone decides. */
  readonly pin: string | null
  /** What carries the connection instead of TCP to the URL's host; TLS is spoken with that host all the same. */
  readonly dial: Endpoint | null
  readonly limits: VsphereLimits
  readonly clock: Clock
}

export interface PostOptions {
  /** Each of them ends the call. Not joined into one: joined signals stay known to those that live long. */
  readonly signals: readonly AbortSignal[]
  readonly timeoutMs: number
  readonly cookie: string | null
}

export interface Posted {
  readonly envelope: Element
  /** `name=value` of the session's cookie, where the server sets one. */
  readonly cookie: string | null
}

const SESSION_COOKIE = /^(vmware_soap_session="?[\x21\x23-\x3a\x3c-\x7e]{1,4096}"?)(?:;|$)/

export class SoapChannel {
  readonly #options: ChannelOptions
  readonly #agent: DialAgent
  readonly url: string

  constructor(options: ChannelOptions) {
    this.#options = options
    this.#agent = new DialAgent(options)
    this.url = formatVsphereUrl(options.url)
  }

  /**
   * Sends one envelope. The signal's reason, a deadline or a broken connection rejects; what became of the call on the
   * server is not known then.
   * @throws VspcError VSPC_VSPHERE_UNREACHABLE, VSPC_VSPHERE_ANSWER, VSPC_TRANSPORT_*, VSPC_TLS_*.
   */
  post(envelope: string, { signals, timeoutMs, cookie }: PostOptions): Promise<Posted> {
    const { url, limits, clock } = this.#options
    const body = Buffer.from(envelope, 'utf8')
    const headers: OutgoingHttpHeaders = {
      'content-type': 'text/xml; charset="utf-8"',
      'content-length': body.length,
      soapaction: `"${SOAP_ACTION}"`,
      'user-agent': 'vspc',
      // A compressed answer could be a thousand times larger than it looks.
      'accept-encoding': 'identity',
      ...(cookie === null ? {} : { cookie }),
    }
    return new Promise((resolve, reject) => {
      const aborted = signals.find((signal) => signal.aborted)
      if (aborted !== undefined) {
        reject(aborted.reason)
        return
      }
      const call = request({
        agent: this.#agent,
        host: url.host,
        port: url.tcpPort,
        path: url.path,
        method: 'POST',
        headers,
      })
      let settled = false
      const settle = (): void => {
        settled = true
        timer.cancel()
        for (const signal of signals) signal.removeEventListener('abort', onAbort)
      }
      const fail = (error: unknown): void => {
        if (settled) return
        settle()
        call.destroy()
        reject(error)
      }
      const onAbort = (): void => fail(signals.find((signal) => signal.aborted)?.reason)
      const timer = clock.after(timeoutMs, () => fail(this.#unreachable(`no answer within ${timeoutMs} ms`)))
      for (const signal of signals) signal.addEventListener('abort', onAbort)
      // Stays for good: what comes after the end is of no interest, but must not end the process.
      call.on('error', (error) => fail(this.#broken(error)))
      call.on('response', (response) => {
        const reader = new AnswerReader(response, limits, (error) => {
          if (settled) return
          if (error !== null) {
            fail(this.#located(error))
            return
          }
          try {
            const posted = { envelope: reader.finish(), cookie: sessionCookie(response) }
            settle()
            resolve(posted)
          } catch (unreadable) {
            fail(this.#located(unreadable))
          }
        })
      })
      call.end(body)
    })
  }

  /** Ends all connections, and those that are being made. */
  destroy(): void {
    this.#agent.destroy()
  }

  #unreachable(why: string, cause?: unknown): VspcError {
    return new VspcError('VSPC_VSPHERE_UNREACHABLE', `${this.url}: ${why}`, { cause })
  }

  #broken(error: unknown): unknown {
    // Of the connect, as it is: the transport says what to do.
    if (error instanceof VspcError) return error
    const code = (error as NodeJS.ErrnoException).code
    const reset = code === 'ECONNRESET' || code === 'EPIPE'
    return this.#unreachable(reset ? 'the connection broke' : errorMessage(error), error)
  }

  #located(error: unknown): unknown {
    if (!(error instanceof VspcError)) return this.#broken(error)
    const Kind = error instanceof RemoteProtocolError ? RemoteProtocolError : VspcError
    return new Kind(error.code, `${this.url}: ${error.message}`, { cause: error.cause })
  }
}

/** One HTTP answer; parses while it arrives. */
class AnswerReader {
  readonly #response: IncomingMessage
  readonly #xml: XmlReader
  readonly #decoder = new TextDecoder('utf-8', { fatal: true })
  readonly #limit: number
  readonly #done: (error: unknown) => void
  #bytes = 0

  /** @param done called once at least, with null at the end. */
  constructor(response: IncomingMessage, limits: VsphereLimits, done: (error: unknown) => void) {
    this.#response = response
    this.#xml = new XmlReader(limits)
    this.#limit = limits.maxReplyBytes
    this.#done = done
    response.on('error', done)
    response.on('close', () => {
      if (!response.complete) done(interrupted())
    })
    const refusal = refusalOf(response)
    if (refusal !== null) {
      done(refusal)
      return
    }
    response.on('data', (chunk: Buffer) => this.#data(chunk))
    response.on('end', () => done(response.complete ? null : interrupted()))
  }

  finish(): Element {
    this.#xml.write(this.#decode())
    return this.#xml.finish()
  }

  #data(chunk: Buffer): void {
    this.#bytes += chunk.length
    try {
      if (this.#bytes > this.#limit) {
        throw new RemoteProtocolError('VSPC_VSPHERE_ANSWER', `the answer is longer than ${this.#limit} bytes`)
      }
      this.#xml.write(this.#decode(chunk))
    } catch (error) {
      this.#response.destroy()
      this.#done(error)
    }
  }

  /** Without a chunk: the end. */
  #decode(chunk?: Buffer): string {
    try {
      return chunk === undefined ? this.#decoder.decode() : this.#decoder.decode(chunk, { stream: true })
    } catch (error) {
      throw new RemoteProtocolError('VSPC_VSPHERE_ANSWER', 'the answer is not UTF-8', { cause: error })
    }
  }
}

function interrupted(): VspcError {
  return new VspcError('VSPC_VSPHERE_UNREACHABLE', 'the connection broke in the middle of the answer')
}

/** Faults come with status 500; what else is no 200, or no XML, was not written by a vSphere API. */
function refusalOf(response: IncomingMessage): VspcError | null {
  const status = response.statusCode ?? 0
  const type = cleanText(response.headers['content-type'] ?? '', 60)
  const isXml = /\bxml\b/i.test(type) || type === ''
  if ((status === 200 || status === 500) && isXml) return null
  if (status === 408 || status === 429 || status >= 500) {
    return new VspcError(
      'VSPC_VSPHERE_UNREACHABLE',
      `the vSphere API is not there now: HTTP ${status}; is vCenter starting?`,
    )
  }
  const why = status === 200 ? `${type} instead of XML` : `HTTP ${status}`
  return new RemoteProtocolError('VSPC_VSPHERE_ANSWER', `no vSphere API answers here: ${why}; the URL ends in /sdk`)
}

function sessionCookie(response: IncomingMessage): string | null {
  for (const cookie of response.headers['set-cookie'] ?? []) {
    const found = SESSION_COOKIE.exec(cookie)?.[1]
    if (found !== undefined) return found
  }
  return null
}

/** Connections of one channel. The certificate is judged before a byte of HTTP is written. */
class DialAgent extends Agent {
  readonly #options: ChannelOptions
  readonly #stop = new AbortController()

  constructor(options: ChannelOptions) {
    // Long polls keep their connections; how many calls run at once is up to the callers.
    super({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 8, scheduling: 'lifo' })
    this.#options = options
    // Every connection that is being made listens.
    setMaxListeners(0, this.#stop.signal)
  }

  // Node's name and shape. Returning nothing means: the callback comes later.
  override createConnection(_options: unknown, done: (error: Error | null, socket?: Duplex) => void): undefined {
    this.#connect().then(
      (socket) => done(null, socket),
      (error: unknown) => done(error instanceof Error ? error : new Error('stopped')),
    )
  }

  override destroy(): void {
    this.#stop.abort()
    super.destroy()
  }

  async #connect(): Promise<Duplex> {
    const { limits, clock } = this.#options
    const { signal } = this.#stop
    const deadline = clock.now() + limits.dialMs
    const stream = await dial(this.#carrier(), { signal, timeoutMs: limits.dialMs, clock })
    const handshakeMs = Math.max(1, deadline - clock.now())
    const { socket } = await upgradeClient(stream, this.#endpoint(), { handshakeMs, clock, signal })
    // Node's HTTP client expects sockets that close when the peer does; else a kept one is used after its end.
    socket.allowHalfOpen = false
    return socket
  }

  #endpoint(): TlsEndpoint {
    const { url, ca, pin } = this.#options
    const tls = { cert: null, key: null, ca, pin, servername: null, tlsMin: '1.2' } as const
    return { scheme: 'tls', host: url.host, tcpPort: url.tcpPort, tls, vm: null, layers: NO_LAYERS }
  }

  #carrier(): Endpoint {
    const { url, dial: through } = this.#options
    return through ?? { scheme: 'tcp', host: url.host, tcpPort: url.tcpPort, tls: null, vm: null, layers: NO_LAYERS }
  }
}
