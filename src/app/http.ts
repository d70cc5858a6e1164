/** The operators' side: API, WebSockets, events, metrics and the page, assembled on one HTTP server. */
import type { ServerOptions as HttpServerOptions, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { type FastifyInstance, fastify } from 'fastify'
import { errorMessage, type Limits, type Logger, VspcError } from '../base/index.ts'
import { type CertificateFacts, DescriptorWatch, formatHostPort } from '../transport/index.ts'
import type { Server } from '../vspc/index.ts'
import type { AccessControl } from './access/control.ts'
import { type GuardedRoute, guardRoutes } from './access/guard.ts'
import { HttpsCertificate, socketBelow } from './access/https.ts'
import { accessRoutes } from './access/routes.ts'
import type { Alerts } from './alerts.ts'
import type { ApplianceTracker } from './appliance.ts'
import type { HttpsFiles } from './config.ts'
import { DEFAULT_HTTP } from './config-schema.ts'
import type { GuestinfoFollower } from './guestinfo.ts'
import type { HealthInfo } from './health-view.ts'
import { type HttpAddress, isLoopbackAddress } from './http-address.ts'
import { guardRequest, PublicNames, SECURITY_HEADERS } from './http-guard.ts'
import type { Metrics } from './metrics.ts'
import { describeApi, openapiRoute } from './openapi.ts'
import { pageRoute } from './page.ts'
import { PROBLEM_TYPE, ProblemError, pathOf, problem, problemOf, sendProblem } from './problem.ts'
import { alertRoutes } from './routes-alerts.ts'
import { applianceRoutes } from './routes-appliance.ts'
import { acceptWebSockets, consoleRoute, limitWebSockets } from './routes-console.ts'
import { consolesRoutes } from './routes-consoles.ts'
import { EventStreams, eventRoutes } from './routes-events.ts'
import { guestinfoRoutes } from './routes-guestinfo.ts'
import { healthRoutes, type Readiness } from './routes-health.ts'
import { logRoutes } from './routes-log.ts'
import { portRoutes } from './routes-ports.ts'
import { screenRoute } from './routes-screen.ts'
import { searchRoutes } from './routes-search.ts'
import { serverRoutes } from './routes-server.ts'
import { webRoutes } from './routes-web.ts'

/** Names of VMs are at most 256 characters; percent-encoded in UTF-8 they take up to twelve times that. */
const MAX_PARAMETER_LENGTH = 4_096
/** The longest body is a line to be said to consoles. */
const MAX_BODY_BYTES = 4_096
/** The same complaint is logged once per this time. */
const REPEAT_LOG_MS = 60_000

export interface HttpOptions {
  readonly address: HttpAddress
  /** Null: plain HTTP. */
  readonly https: HttpsFiles | null
  /** See http-guard.ts. */
  readonly names: readonly string[]
  readonly access: AccessControl
  readonly server: Server
  readonly metrics: Metrics
  readonly log: Logger
  readonly version: string
  readonly readiness: () => Readiness
  readonly health: () => Promise<HealthInfo>
  /** Null: the appliance is not followed. */
  readonly tracker: ApplianceTracker | null
  /** Null: what VMs publish is not followed. */
  readonly guestinfo: GuestinfoFollower | null
  readonly alerts: Alerts
}

export class HttpServer {
  readonly host: string
  readonly #app: FastifyInstance
  readonly #options: HttpOptions
  readonly #events: EventStreams
  /** All open ones: the HTTP server itself loses sight of those that were upgraded. */
  readonly #sockets = new Set<Socket>()
  readonly #descriptors: DescriptorWatch
  readonly #certificate: HttpsCertificate | null
  #shortageLoggedAt = Number.NEGATIVE_INFINITY
  #tcpPort: number
  /** All there are, and what each takes. */
  readonly routes: readonly GuardedRoute[]

  private constructor({ app, routes, certificate }: BuiltApp, options: HttpOptions, events: EventStreams) {
    this.#app = app
    this.#certificate = certificate
    certificate?.follow(app.server)
    this.routes = routes
    this.#options = options
    this.#events = events
    this.host = bindHost(options.address)
    this.#descriptors = new DescriptorWatch('operator', options.server.clock)
    this.#tcpPort = options.address.tcpPort
    app.server.on('connection', (socket) => {
      const shortage = this.#descriptors.shortage(socket)
      if (shortage !== null) {
        socket.destroy()
        this.#logShortage(shortage)
        return
      }
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
  }

  #logShortage(shortage: string): void {
    const { clock, log } = this.#options.server
    if (clock.now() - this.#shortageLoggedAt < REPEAT_LOG_MS) return
    this.#shortageLoggedAt = clock.now()
    log.error(
      { listener: this.url, reason: shortage },
      'consoles and HTTP requests are refused: no file descriptor is left; raise the limit of open files (ulimit -n, LimitNOFILE=)',
    )
  }

  /** @throws VspcError VSPC_TRANSPORT_LISTEN, VSPC_TLS_FILES. */
  static async start(options: HttpOptions): Promise<HttpServer> {
    const { access, server, tracker, guestinfo } = options
    const sources = [tracker, guestinfo].filter((one) => one !== null)
    const events = new EventStreams(server, sources, access.attendance)
    const http = new HttpServer(await buildApp(options, events), options, events)
    await http.#listen()
    return http
  }

  async #listen(): Promise<void> {
    const { address } = this.#options
    try {
      await this.#app.listen({ host: this.host, port: address.tcpPort, listenTextResolver: () => '' })
    } catch (error) {
      this.#certificate?.close()
      await this.#app.close()
      throw listenError(address, error)
    }
    const bound = this.#app.server.address()
    if (bound !== null && typeof bound === 'object') this.#tcpPort = bound.port
  }

  /** As bound. */
  get tcpPort(): number {
    return this.#tcpPort
  }

  get url(): string {
    return `${this.#certificate === null ? 'http' : 'https'}://${formatHostPort(this.host, this.#tcpPort)}`
  }

  /** What HTTPS shows now; null without TLS. */
  get certificate(): CertificateFacts | null {
    return this.#certificate?.facts ?? null
  }

  /** Reads certificate and key again; the log says how that went. Never rejects. */
  async reloadCertificate(): Promise<void> {
    await this.#certificate?.reload()
  }

  /** Takes over limits that were changed; consoles that are attached keep theirs. */
  applyLimits(): void {
    limitWebSockets(this.#app, this.#options.server)
  }

  /** Ends event streams and takes no more requests; what runs gets `drainMs`, then is cut. Consoles are closed by then. */
  async stop(): Promise<void> {
    const { clock, limits } = this.#options.server
    this.#events.close()
    this.#certificate?.close()
    const cut = clock.after(limits.drainMs, () => {
      for (const socket of this.#sockets) socket.destroy()
    })
    // Returns when every connection is closed, that of a console which was told to go included.
    await this.#app.close()
    cut.cancel()
  }
}

interface BuiltApp {
  readonly app: FastifyInstance
  readonly routes: readonly GuardedRoute[]
  readonly certificate: HttpsCertificate | null
}

async function buildApp(options: HttpOptions, events: EventStreams): Promise<BuiltApp> {
  const { access, address, server, log, version } = options
  const isPublic = !isLoopbackAddress(address)
  let names = new PublicNames(options.names, [], isPublic)
  const renamed = (certified: readonly string[]) => {
    names = new PublicNames(options.names, certified, isPublic)
  }
  const authorized = (authority: string | undefined) => access.useAuthority(authority)
  const files = options.https
  const certificate =
    files === null ? null : await HttpsCertificate.load({ files, clock: server.clock, log, renamed, authorized })
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    return503OnClosing: false,
    ...serverOptions(certificate, server.limits),
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    // A parameter that we do not know is a mistake to be told, not to be dropped.
    ajv: { customOptions: { removeAdditional: false } },
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket),
    frameworkErrors: (error, request, reply) => {
      // No hook sees this request, so nobody else would close the socket of a refused upgrade.
      if (request.raw.headers.upgrade !== undefined) reply.raw.once('finish', () => request.raw.socket.destroySoon())
      void sendProblem(reply.headers(SECURITY_HEADERS), problemOf(error, request, log))
    },
  })
  app.server.on('checkExpectation', refuseExpectation)
  const routes = new Map<string, string[]>()
  app.addHook('onRoute', ({ url, method }) => {
    routes.set(url, [...(routes.get(url) ?? []), ...[method].flat()])
  })
  app.setErrorHandler((error, request, reply) => sendProblem(reply, problemOf(error, request, log), error))
  app.setNotFoundHandler((request) => {
    throw noRoute(request.method, pathOf(request.url), routes)
  })
  await describeApi(app, version)
  await acceptWebSockets(app, server)
  // After the WebSocket plugin's own hook: it closes refused upgrades only once it has seen the request.
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(SECURITY_HEADERS)
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1') {
      throw new ProblemError(400, 'VSPC_REQUEST_INVALID', 'an HTTP/1.1 request needs a Host header')
    }
    guardRequest(request.method, request.headers, request.raw.headers.upgrade !== undefined, names)
    done()
  })
  const guarded = guardRoutes(app, access, server)
  accessRoutes(app, access, server)
  healthRoutes(app, { readiness: options.readiness, metrics: options.metrics.registry })
  serverRoutes(app, options.health)
  openapiRoute(app)
  portRoutes(app, server, options.guestinfo)
  logRoutes(app, server, access.attendance)
  consoleRoute(app, server, access.attendance)
  consolesRoutes(app, server)
  eventRoutes(app, events, version)
  applianceRoutes(app, options.tracker)
  guestinfoRoutes(app, options.guestinfo)
  alertRoutes(app, options.alerts)
  screenRoute(app, server)
  searchRoutes(app, server, options.metrics.registry, access.attendance)
  const page = { server, version, defaultUrl: `http://${DEFAULT_HTTP}` }
  pageRoute(app, '/plain', page)
  if (!webRoutes(app, version)) pageRoute(app, '/', page)
  await app.ready()
  return { app, routes: guarded, certificate }
}

/** Node's own refusal of a request without Host has no body; ours has. */
function serverOptions(certificate: HttpsCertificate | null, limits: Limits): { http: HttpServerOptions } {
  const http = { requireHostHeader: false }
  if (certificate === null) return { http }
  const https = { ...http, ...certificate.serverOptions, handshakeTimeout: limits.tlsHandshakeMs }
  // To Fastify's types a server with TLS is another kind; to everything here it is the same.
  return { https } as unknown as { http: HttpServerOptions }
}

/** 404, or 405 where another method would do. */
function noRoute(method: string, path: string, routes: ReadonlyMap<string, readonly string[]>): ProblemError {
  for (const [url, methods] of routes) {
    const pattern = new RegExp(`^${url.replace(/:[a-z]+/g, '[^/]+')}$`)
    if (!pattern.test(path)) continue
    const allow = [...new Set(methods)].sort().join(', ')
    return new ProblemError(405, 'VSPC_REQUEST_INVALID', `${method} is not possible here; possible: ${allow}`, {
      allow,
    })
  }
  return new ProblemError(404, 'VSPC_REQUEST_INVALID', 'there is nothing at this path; /openapi.json lists all paths')
}

/** An Expect other than 100-continue (RFC 9110 section 10.1.1). Nobody else sees this request. */
function refuseExpectation(request: IncomingMessage, response: ServerResponse): void {
  const detail = 'of all expectations only 100-continue is met'
  const body = JSON.stringify(problem(417, 'VSPC_REQUEST_INVALID', detail, pathOf(request.url ?? '')))
  response.writeHead(417, {
    ...SECURITY_HEADERS,
    'content-type': PROBLEM_TYPE,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  response.end(body)
}

/** A request that could not even be parsed: there is nothing to answer with but the socket. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ERR_SSL_HTTP_REQUEST') {
    answerPlainRequest(socket)
    return
  }
  // After an answer, or in the middle of one, another one would only confuse.
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const [status, detail] = BROKEN[error.code ?? ''] ?? [400, 'this is not a valid HTTP/1.1 request']
  socket.end(brokenAnswer(status, detail))
}

function brokenAnswer(status: number, detail: string): string {
  const body = JSON.stringify(problem(status, 'VSPC_REQUEST_INVALID', detail, ''))
  return (
    `HTTP/1.1 ${status} Bad Request\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}

/** Plain HTTP where TLS is spoken: TLS has given up its own socket, and the one below it can still be written to. */
function answerPlainRequest(socket: Socket): void {
  const below = socketBelow(socket)
  if (below?.writable) {
    below.write(brokenAnswer(400, 'this address speaks HTTPS: write https:// instead of http://'))
    below.destroySoon()
  }
  socket.destroy()
}

const BROKEN: { readonly [code: string]: readonly [status: number, detail: string] } = {
  HPE_HEADER_OVERFLOW: [431, 'the request has more than 16 KiB of headers'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request did not arrive in time'],
}

/** `localhost` may resolve to addresses of both families; one of them is what the printed URL says. */
function bindHost({ host }: HttpAddress): string {
  return host === 'localhost' ? '127.0.0.1' : host
}

function listenError({ host, tcpPort }: HttpAddress, error: unknown): VspcError {
  const where = `--http ${formatHostPort(host, tcpPort)}`
  const code = (error as NodeJS.ErrnoException).code
  const why =
    code === 'EADDRINUSE'
      ? 'another program, maybe another vspc, listens there; stop it, choose another port, or switch HTTP off with --http off'
      : code === 'EACCES'
        ? 'this user may not listen there; choose a port above 1023'
        : code === 'EADDRNOTAVAIL'
          ? 'this machine has no such address; use 127.0.0.1'
          : errorMessage(error)
  return new VspcError('VSPC_TRANSPORT_LISTEN', `${where}: ${why}`, { cause: error })
}
