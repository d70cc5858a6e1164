import { fastifyWebsocket } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Console, Port, Server } from '../vspc/index.ts'
import { type Attendance, reviewConsole } from './access/attendance.ts'
import { onPort, portOf, visitorOf } from './access/guard.ts'
import { factsOf, type Visitor } from './access/visitor.ts'
import { ConsolePings } from './console-pings.ts'
import { PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'
import { ConsoleQuery, PortParams } from './schemas.ts'
import { WsConsole } from './ws-console.ts'

const SUBPROTOCOL = 'vspc.v1'

declare module 'fastify' {
  interface FastifyRequest {
    /** Of a console request that may be upgraded. */
    consolePort: Port | null
  }
  interface FastifyContextConfig {
    webSocket?: true
  }
}

/** Has to be registered before any route. */
export async function acceptWebSockets(app: FastifyInstance, server: Server): Promise<void> {
  const options = {
    perMessageDeflate: false,
    handleProtocols: (offered: Set<string>) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  }
  await app.register(fastifyWebsocket, {
    options,
    // Too long a message, bad framing, a lost connection: ws closes with the fitting code, and `close` does the rest.
    errorHandler: (error) => server.log.debug({ reason: error.message }, 'console WebSocket failed'),
    // The concentrator has closed every console before; what is left is cut by whoever stops the HTTP server.
    preClose: (done) => done(),
  })
  limitWebSockets(app, server)
  // Elsewhere an upgrade would be granted by the plugin, and closed without a word.
  app.addHook('preHandler', (request, _reply, done) => {
    if (!request.ws || request.is404 || request.routeOptions.config.webSocket) done()
    else throw new ProblemError(400, 'VSPC_REQUEST_INVALID', 'nothing to upgrade to here: leave out the Upgrade header')
  })
}

/** For consoles attached from now on. */
export function limitWebSockets(app: FastifyInstance, { limits }: Server): void {
  // `closeTimeout` is newer than the type definitions: how long a peer may take to answer a close frame.
  const options: { maxPayload?: number | undefined; closeTimeout?: number } = app.websocketServer.options
  options.maxPayload = limits.maxConsoleMessageBytes
  options.closeTimeout = limits.closeMs
}

export function consoleRoute(app: FastifyInstance, server: Server, attendance: Attendance): void {
  const pings = new ConsolePings(server)
  app.decorateRequest('consolePort', null)

  const attach = (socket: WebSocket, request: FastifyRequest<{ Querystring: ConsoleQuery }>): void => {
    const port = request.consolePort
    if (port === null) {
      socket.terminate()
      return
    }
    const { mode = 'read', from = null, force, wait } = request.query
    const visitor = visitorOf(request)
    const console = new WsConsole(socket, port)
    socket.once('close', pings.add(console))
    console.attach({ mode, from, force: isTrue(force), wait: isTrue(wait), ...visitor.introduction(port) })
    if (console.console !== null) attend(console.console, visitor, socket, attendance)
  }

  app.route<{ Params: PortParams; Querystring: ConsoleQuery }>({
    method: 'GET',
    url: '/api/v1/ports/:id/console',
    exposeHeadRoute: false,
    schema: {
      summary: 'Attach a console: WebSocket',
      description:
        `Subprotocol ${SUBPROTOCOL}. Binary frames are console bytes, verbatim, in both directions. Text frames are ` +
        'JSON: a ConsoleMessage from the server, a ConsoleRequest from the client. A console that falls behind is fed ' +
        'from history; a "gap" message says what history no longer held. Close codes: 1001 the server stops, 4403 not ' +
        'allowed, 4408 no sign of life, 4409 the port is busy, 4410 the port was removed, 4411 kicked, 4429 too many ' +
        'consoles.',
      tags: ['consoles'],
      params: PortParams,
      querystring: ConsoleQuery,
      response: {
        101: { description: 'Attached, or about to be told by an "error" message why not.', type: 'null' },
        ...PROBLEM_ANSWER,
      },
    },
    config: { webSocket: true, access: onPort('port.show') },
    preHandler: (request, _reply, done) => {
      if (server.stopping) throw new ProblemError(503, 'VSPC_SERVER_STOPPING', 'the server is stopping')
      const port = portOf(request)
      request.consolePort = port
      checkHandshake(request)
      refuseIfDenied(visitorOf(request), port, request.query)
      done()
    },
    handler: () => {
      throw new ProblemError(426, 'VSPC_REQUEST_INVALID', 'a console is a WebSocket: send an upgrade request', {
        upgrade: 'websocket',
        connection: 'Upgrade',
      })
    },
    wsHandler: attach,
  })
}

/** What would make the WebSocket library answer in plain text, or not as we promise. RFC 6455 section 4.2. */
function checkHandshake({ ws, headers }: FastifyRequest): void {
  if (!ws) return
  if (headers['sec-websocket-version'] !== '13') {
    throw new ProblemError(426, 'VSPC_REQUEST_INVALID', 'Sec-WebSocket-Version must be 13', {
      'sec-websocket-version': '13',
    })
  }
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')) {
    throw new ProblemError(400, 'VSPC_REQUEST_INVALID', 'Sec-WebSocket-Key is missing or not 16 bytes in base64')
  }
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined) return
  if (offered.split(',').some((name) => name.trim() === SUBPROTOCOL)) return
  throw new ProblemError(
    400,
    'VSPC_REQUEST_INVALID',
    `none of the offered subprotocols is known: offer ${SUBPROTOCOL}, or none at all`,
  )
}

function isTrue(flag: string | undefined): boolean {
  return flag === '1' || flag === 'true'
}

/** As an answer that says why, before anything is upgraded. What is allowed is asked again, and recorded, by the port. */
function refuseIfDenied(visitor: Visitor, port: Port, { mode = 'read' }: ConsoleQuery): void {
  const permit = visitor.permit(port)
  for (const action of ['read', mode] as const) if (!permit.may(action)) permit.check(action)
}

/** Ends the console when the right to it does, or takes it the keyboard. */
function attend(console: Console, visitor: Visitor, socket: WebSocket, attendance: Attendance): void {
  const leave = attendance.add({ review: () => reviewConsole(console, visitor) })
  socket.once('close', () => {
    leave()
    visitor.record('console.detached', factsOf(console.port), true, `console ${console.id}`)
  })
}
