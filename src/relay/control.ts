/**
 * The control endpoint: HTTP over any stream that the transport accepts. One request for each connection, with a
 * deadline for the whole of it; who may connect is the business of the socket's mode, or of mutual TLS.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { cleanText, VspcError } from '../base/index.ts'
import { type ByteStream, type Endpoint, formatEndpoint, parseEndpoint } from '../transport/index.ts'
import { absoluteFiles } from './config-layer.ts'
import type { RelayCore } from './core.ts'
import { ignoreError } from './held.ts'
import { formatMetrics, type RelayFigures } from './metrics.ts'
import type { NextHop } from './next-hops.ts'
import { ControlError, problem, problemOf } from './problem.ts'
import type { RouteStatus } from './route.ts'

const MAX_BODY_BYTES = 16_384
const MAX_HEADER_BYTES = 8_192
const MAX_CONNECTIONS = 64
/** From accept to the last byte of the answer. */
const DEADLINE_MS = 10_000

/** What the control endpoint shows and changes. */
export interface Controlled {
  readonly ready: boolean
  readonly directory: string
  readonly room: RelayFigures['room']
  readonly retiredStreams: number
  routes(): RouteStatus[]
  nextHops(): NextHop[]
  setNextHop(name: string, endpoint: Endpoint): Promise<NextHop>
}

interface Answer {
  readonly type: string
  readonly body: string
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
}

export class ControlServer {
  readonly #relay: Controlled
  readonly #core: RelayCore
  readonly #server: Server
  readonly #open = new Set<ByteStream>()

  constructor(relay: Controlled, core: RelayCore) {
    this.#relay = relay
    this.#core = core
    this.#server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAlive: false }, (request, response) => {
      void this.#handle(request, response)
    })
    this.#server.on('clientError', (_error, socket) => socket.destroy())
  }

  /** Takes ownership. */
  serve(stream: ByteStream): void {
    const { socket } = stream
    socket.on('error', ignoreError)
    if (this.#open.size >= MAX_CONNECTIONS) {
      socket.destroy()
      return
    }
    this.#open.add(stream)
    const deadline = this.#core.clock.after(DEADLINE_MS, () => socket.destroy())
    socket.once('close', () => {
      deadline.cancel()
      this.#open.delete(stream)
    })
    this.#server.emit('connection', socket)
  }

  close(): void {
    for (const { socket } of this.#open) socket.destroy()
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request.url ?? '/')
    let answer: Answer
    try {
      checkOrigin(request)
      answer = await this.#answer(request, path)
    } catch (error) {
      answer = this.#problemAnswer(error, path)
    }
    const { type, body, status = 200, headers = {} } = answer
    const bytes = Buffer.from(body)
    response.writeHead(status, {
      'content-type': type,
      'content-length': bytes.length,
      'cache-control': 'no-store',
      connection: 'close',
      ...headers,
    })
    response.end(request.method === 'HEAD' ? undefined : bytes)
  }

  #problemAnswer(error: unknown, path: string): Answer {
    const known = problemOf(error, path)
    if (known === null) {
      const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#core.log.error({ path, stack }, 'control request failed')
    }
    const body = known ?? problem(500, 'VSPC_INTERNAL', 'the relay failed on this request; its log says why', path)
    const allow = error instanceof ControlError ? error.allow : null
    return {
      type: 'application/problem+json',
      body: `${JSON.stringify(body)}\n`,
      status: body.status,
      ...(allow === null ? {} : { headers: { allow } }),
    }
  }

  async #answer(request: IncomingMessage, path: string): Promise<Answer> {
    const hop = /^\/api\/v1\/next-hops\/([^/]+)$/.exec(path)?.[1]
    if (hop !== undefined) return this.#nextHop(request, decoded(hop))
    switch (path) {
      case '/livez':
        allow(request, ['GET', 'HEAD'])
        return { type: 'text/plain', body: 'ok\n' }
      case '/readyz':
        allow(request, ['GET', 'HEAD'])
        if (this.#relay.ready) return { type: 'text/plain', body: 'ok\n' }
        throw new ControlError(503, 'VSPC_SERVER_STOPPING', 'the relay is starting or stopping')
      case '/metrics':
        allow(request, ['GET', 'HEAD'])
        return {
          type: 'text/plain; version=0.0.4; charset=utf-8',
          body: formatMetrics({
            routes: this.#relay.routes(),
            retiredStreams: this.#relay.retiredStreams,
            room: this.#relay.room,
          }),
        }
      case '/api/v1/routes':
        allow(request, ['GET', 'HEAD'])
        return json(this.#relay.routes())
      case '/api/v1/next-hops':
        allow(request, ['GET', 'HEAD'])
        return json(this.#relay.nextHops().map(hopInfo))
      default:
        throw new ControlError(
          404,
          'VSPC_REQUEST_INVALID',
          `there is no ${cleanText(path, 200)}; accepted are /livez, /readyz, /metrics, /api/v1/routes, /api/v1/next-hops and /api/v1/next-hops/NAME`,
        )
    }
  }

  async #nextHop(request: IncomingMessage, name: string): Promise<Answer> {
    allow(request, ['GET', 'HEAD', 'PUT'])
    if (request.method !== 'PUT') return json(hopInfo(this.#core.hops.get(name)))
    this.#core.hops.get(name)
    const text = endpointOf(await readBody(request))
    const endpoint = absoluteFiles(parseEndpoint(text, 'dial', 'relay'), this.#relay.directory)
    return json(hopInfo(await this.#relay.setNextHop(name, endpoint)))
  }
}

/** As the control endpoint shows it. */
export interface NextHopInfo {
  readonly name: string
  readonly endpoint: string
  /** As the configuration says. */
  readonly configured: string
}

function hopInfo({ name, endpoint, configured }: NextHop): NextHopInfo {
  return { name, endpoint: formatEndpoint(endpoint), configured: formatEndpoint(configured) }
}

function json(value: unknown): Answer {
  return { type: 'application/json', body: `${JSON.stringify(value)}\n` }
}

function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new VspcError('VSPC_REQUEST_INVALID', 'the path is not well-formed: "%" is followed by two hex digits', {
      cause,
    })
  }
}

function allow(request: IncomingMessage, methods: readonly string[]): void {
  if (methods.includes(request.method ?? '')) return
  const list = methods.join(', ')
  throw new ControlError(405, 'VSPC_REQUEST_INVALID', `${request.method} is not possible here; accepted: ${list}`, list)
}

/** Web pages send their origin along, programs do not: no page may change where consoles go. */
function checkOrigin(request: IncomingMessage): void {
  if (request.headers.origin === undefined && request.headers['sec-fetch-site'] === undefined) return
  throw new ControlError(403, 'VSPC_NOT_ALLOWED', 'requests of web pages are not answered')
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length
    if (length > MAX_BODY_BYTES) {
      throw new ControlError(413, 'VSPC_REQUEST_INVALID', `the body is longer than ${MAX_BODY_BYTES} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function endpointOf(body: string): string {
  let value: unknown
  try {
    value = JSON.parse(body)
  } catch {
    // What the parser says of it helps nobody who wrote no JSON by hand.
    value = null
  }
  const endpoint = typeof value === 'object' && value !== null ? (value as { endpoint?: unknown }).endpoint : undefined
  if (typeof endpoint === 'string') return endpoint
  throw new VspcError(
    'VSPC_REQUEST_INVALID',
    'the body is not {"endpoint": "URI"}, such as {"endpoint": "vsock://3:13370"}',
  )
}
