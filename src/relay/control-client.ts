/** Requests to a running relay's control endpoint. */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { CODES, cleanMessage, type ErrorCode, errorMessage, VspcError } from '../base/index.ts'
import { dial, type Endpoint, formatEndpoint, parseEndpoint } from '../transport/index.ts'

const MAX_ANSWER_BYTES = 64 << 20
/** A relay that does not answer within this is treated as unreachable. */
const ANSWER_MS = 10_000

export class ControlClient {
  readonly #endpoint: Endpoint
  readonly #option: string

  /**
   * @param uri as the relay's `control`. @param option what messages tell to check.
   * @throws VspcError VSPC_USAGE where there is none, VSPC_ENDPOINT_*.
   */
  constructor(uri: string | undefined, option = '--control') {
    this.#option = option
    if (uri === undefined) {
      throw new VspcError(
        'VSPC_USAGE',
        'where is the relay? Give its control endpoint as --control URI, such as --control unix:///run/vspc/relay.sock',
      )
    }
    this.#endpoint = parseEndpoint(uri, 'dial', 'plain')
  }

  get(path: string): Promise<unknown> {
    return this.#send('GET', path, null)
  }

  /** @param signal aborting it ends the request; what the relay does meanwhile stays done. */
  put(path: string, body: object, signal?: AbortSignal): Promise<unknown> {
    return this.#send('PUT', path, JSON.stringify(body), signal)
  }

  async #send(method: string, path: string, body: string | null, signal?: AbortSignal): Promise<unknown> {
    const response = await this.#request(method, path, body, signal)
    const text = await this.#readText(response)
    const status = response.statusCode ?? 0
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (cause) {
      throw this.#notOurs(`HTTP status ${status}, and no JSON`, cause)
    }
    if (status >= 200 && status < 300) return value
    const { code, detail } = (value ?? {}) as { code?: unknown; detail?: unknown }
    const known = typeof code === 'string' && Object.hasOwn(CODES, code) ? (code as ErrorCode) : null
    if (known === null || typeof detail !== 'string') throw this.#notOurs(`HTTP status ${status}`)
    throw new VspcError(known, cleanMessage(detail))
  }

  async #request(
    method: string,
    path: string,
    body: string | null,
    signal: AbortSignal | undefined,
  ): Promise<IncomingMessage> {
    let socket: Awaited<ReturnType<typeof dial>>['socket']
    try {
      socket = (await dial(this.#endpoint, { timeoutMs: ANSWER_MS, ...(signal ? { signal } : {}) })).socket
    } catch (cause) {
      signal?.throwIfAborted()
      const message = `${errorMessage(cause)}; check ${this.#option}, and whether the relay runs`
      throw new VspcError('VSPC_RELAY_CONTROL', message, { cause })
    }
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        {
          method,
          path,
          // What a Duplex lacks of a socket is not used here.
          createConnection: () => socket as never,
          ...(signal ? { signal } : {}),
          headers: {
            host: 'relay',
            connection: 'close',
            ...(body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
          },
        },
        resolve,
      )
      const giveUp = setTimeout(() => socket.destroy(new Error('no answer in time')), ANSWER_MS)
      socket.once('close', () => clearTimeout(giveUp))
      request.on('error', (cause) => reject(this.#notOurs(errorMessage(cause), cause)))
      request.end(body ?? undefined)
    })
  }

  async #readText(response: IncomingMessage): Promise<string> {
    const chunks: Uint8Array[] = []
    let length = 0
    try {
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        length += chunk.length
        if (length > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`)
        chunks.push(chunk)
      }
    } catch (cause) {
      throw this.#notOurs(errorMessage(cause), cause)
    }
    return Buffer.concat(chunks).toString('utf8')
  }

  #notOurs(fault: string, cause?: unknown): VspcError {
    const text = `${formatEndpoint(this.#endpoint)} does not answer like a relay (${fault}): check ${this.#option}`
    return new VspcError('VSPC_RELAY_CONTROL', text, { cause })
  }
}
