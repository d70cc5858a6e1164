import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { CODES, cleanMessage, cleanText, type ErrorCode, VspcError } from '../base/index.ts'
import { type ServerAddress, tlsOptionsOf } from './address.ts'
import { TIMING } from './timing.ts'

/** A started answer with status 2xx; whoever gets it reads or destroys `body`. */
export interface Answer {
  readonly headers: IncomingMessage['headers']
  readonly body: IncomingMessage
}

/** Requests to one server. Failures are VspcErrors with the server's own code where it gave one. */
export class ServerClient {
  readonly address: ServerAddress

  constructor(address: ServerAddress) {
    this.address = address
  }

  /** The parsed JSON answer to `GET path`. */
  async getJson(path: string, signal?: AbortSignal): Promise<unknown> {
    return this.#json(await this.open(path, signal))
  }

  /** The parsed JSON answer to `POST path` of `value`. */
  async postJson(path: string, value: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.#json(await this.#answer(path, { method: 'POST', body: JSON.stringify(value) }, signal))
  }

  async delete(path: string, signal?: AbortSignal): Promise<void> {
    const { body } = await this.#answer(path, { method: 'DELETE' }, signal)
    body.resume()
  }

  async #json({ body }: Answer): Promise<unknown> {
    const text = await readText(body, TIMING.maxAnswerBytes)
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw notOurs(this.address, 'its answer is no JSON', cause)
    }
  }

  /**
   * Starts `GET path`.
   * @throws VspcError VSPC_SERVER_UNREACHABLE, or what the server's problem report says.
   */
  async open(path: string, signal?: AbortSignal): Promise<Answer> {
    return this.#answer(path, {}, signal)
  }

  async #answer(path: string, what: { method?: string; body?: string }, signal?: AbortSignal): Promise<Answer> {
    const body = await this.#request(path, what, signal)
    const status = body.statusCode ?? 0
    if (status >= 200 && status < 300) return { headers: body.headers, body }
    throw await readProblem(this.address, status, body)
  }

  #request(
    path: string,
    { method = 'GET', body = '' }: { method?: string; body?: string },
    signal: AbortSignal | undefined,
  ): Promise<IncomingMessage> {
    const { url } = this.address
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const request = send(
        {
          host: url.hostname.replace(/^\[|\]$/g, ''),
          port: url.port,
          path: endpointPath(this.address, path),
          method,
          headers: {
            ...requestHeaders(this.address),
            ...(body === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          },
          ...tlsOptionsOf(this.address),
          ...(signal ? { signal } : {}),
          // A connection kept for later would keep nothing but this process.
          agent: false,
          timeout: TIMING.answerMs,
        },
        (response) => {
          request.setTimeout(0)
          resolve(response)
        },
      )
      request.on('timeout', () => request.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })))
      request.on('error', (error) => reject(signal?.aborted ? signal.reason : unreachable(this.address, error)))
      request.end(body)
    })
  }
}

/**
 * The path segment for a port as the user typed it: the server resolves ids, names and prefixes.
 * @throws VspcError VSPC_USAGE for an empty one; VSPC_PORT_NOT_FOUND for `.` and `..`, which no URL can carry.
 */
export function portSegment(port: string): string {
  if (port === '')
    throw new VspcError('VSPC_USAGE', "PORT is empty: give a VM's name, UUID or port id; see 'vspc ports'")
  if (port === '.' || port === '..') {
    throw new VspcError(
      'VSPC_PORT_NOT_FOUND',
      `a VM named "${port}" is out of reach by name: use its id, see 'vspc ports'`,
    )
  }
  return encodeURIComponent(port)
}

/** `path` below the server's address, which may itself have a path (behind a reverse proxy). */
export function endpointPath(address: ServerAddress, path: string): string {
  return `${address.url.pathname.replace(/\/$/, '')}${path}`
}

export function requestHeaders(address: ServerAddress): Record<string, string> {
  return {
    accept: 'application/json, application/problem+json, */*;q=0.5',
    'user-agent': 'vspc',
    ...(address.token === null ? {} : { authorization: `Bearer ${address.token}` }),
  }
}

/** The failure told by an answer with an error status: RFC 9457 problem details, if the body holds them. */
export async function readProblem(address: ServerAddress, status: number, body: IncomingMessage): Promise<VspcError> {
  let fields: Record<string, unknown> = {}
  try {
    const parsed: unknown = JSON.parse(await readText(body, 65_536))
    if (typeof parsed === 'object' && parsed !== null) fields = parsed as Record<string, unknown>
  } catch {
    // Not a problem report: the status has to do.
  }
  const said = [fields['detail'], fields['message'], fields['title']].find(
    (text) => typeof text === 'string' && text !== '',
  )
  const named = ourCode(fields['code']) ?? ourCode(/VSPC_[A-Z_]+$/.exec(String(fields['type'] ?? ''))?.[0])
  const code = named ?? codeOfStatus(status)
  const message = typeof said === 'string' ? cleanMessage(said) : `HTTP status ${status}`
  if (code === 'VSPC_SERVER_ANSWER') return notOurs(address, `HTTP status ${status}: ${message}`)
  return new VspcError(code, withHint(code, status, message, address))
}

function ourCode(code: unknown): ErrorCode | null {
  return typeof code === 'string' && Object.hasOwn(CODES, code) ? (code as ErrorCode) : null
}

function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case 400:
    case 422:
      return 'VSPC_REQUEST_INVALID'
    case 401:
      return 'VSPC_ACCESS_LOGIN'
    case 403:
      return 'VSPC_NOT_ALLOWED'
    case 429:
      return 'VSPC_ACCESS_FAILURES'
    case 404:
      return 'VSPC_PORT_NOT_FOUND'
    case 409:
      return 'VSPC_PORT_AMBIGUOUS'
    case 423:
      return 'VSPC_CONSOLE_BUSY'
    // What a reverse proxy says while the server behind it restarts.
    case 502:
    case 503:
    case 504:
      return 'VSPC_SERVER_UNREACHABLE'
    default:
      return 'VSPC_SERVER_ANSWER'
  }
}

function withHint(code: ErrorCode, status: number, message: string, address: ServerAddress): string {
  if (code === 'VSPC_PORT_NOT_FOUND' && !message.includes('vspc ports')) return `${message} (see 'vspc ports')`
  if (status === 401 && address.token === null && address.identity === undefined) {
    return `${message} (no token given: use --token-file, VSPC_TOKEN_FILE or VSPC_TOKEN)`
  }
  if (code === 'VSPC_ACCESS_DENIED') return `${message} (see 'vspc token check --server ${address.url.href}')`
  return message
}

export function notOurs(address: ServerAddress, fault: string, cause?: unknown): VspcError {
  const text = `${address.url.origin} does not answer like a vspc server (${fault}): check --server or VSPC_SERVER`
  return new VspcError('VSPC_SERVER_ANSWER', text, { cause })
}

/** A request that got no answer, in words that name the next step. */
export function unreachable(address: ServerAddress, cause: Error & { code?: string }): VspcError {
  const where = address.url.origin
  const code = cause.code ?? ''
  let text = `cannot reach the server at ${where}: ${cleanText(cause.message || code)}`
  if (code === 'ECONNREFUSED') {
    text = `no server at ${where}: start one with 'vspc serve' (or 'vspc demo'), or name another with --server or VSPC_SERVER`
  } else if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    text = `cannot find the host of ${where}: check --server or VSPC_SERVER`
  } else if (code === 'ETIMEDOUT') {
    text = `the server at ${where} does not answer: check --server or VSPC_SERVER, and firewalls in between`
  } else if (/^ERR_SSL_TLSV\d+_ALERT|^ERR_SSL_SSLV3_ALERT|^ERR_OSSL_/.test(code)) {
    text = `TLS with ${where} failed (${cleanText(cause.message)}): check --cert-file and --key-file`
  } else if (/^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT)/.test(code)) {
    text = `the certificate of ${where} is not trusted (${cleanText(cause.message)}): name its authority with --ca-file`
  } else if (code === 'EPROTO' || code === 'HPE_INVALID_CONSTANT') {
    text = `${where} does not speak ${address.url.protocol.slice(0, -1)}: check --server or VSPC_SERVER (http or https?)`
  } else if (code === 'ECONNRESET' && address.url.protocol === 'http:') {
    // So does a listener with TLS, without a word.
    text = `${where} hung up without an answer: does it run, and is it http, not https? check --server or VSPC_SERVER`
  }
  return new VspcError('VSPC_SERVER_UNREACHABLE', text, { cause })
}

async function readText(body: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > maxBytes) {
      body.destroy()
      throw new VspcError('VSPC_SERVER_ANSWER', `the server's answer is longer than ${maxBytes} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
