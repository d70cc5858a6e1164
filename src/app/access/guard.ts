/**
 * The guard of every route: who asks is found out before anything else of a request is looked at, and what a route does is
 * decided before its handler runs. A route that does not say what it takes cannot be registered.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Action } from '../../access/index.ts'
import type { Port, Server } from '../../vspc/index.ts'
import type { AccessControl } from './control.ts'
import { originOf } from './origin.ts'
import { factsOf, mustLogIn, type Visitor } from './visitor.ts'

/**
 * What a route takes; `config: { access }` of each.
 * - `open`: nothing. It holds no secrets and changes nothing; who asks is not looked at.
 * - `self`: nothing but that what is shown counts.
 * - `server`: a right on all ports.
 * - `port`: a right on the port that the parameter `id` names: {@link portOf} has it. One that may not be listed does not exist.
 * - `each`: the handler decides, port by port, with {@link visitorOf}.
 */
export type RouteAccess =
  | { readonly kind: 'open' | 'self' | 'each' }
  | { readonly kind: 'server' | 'port'; readonly action: Action }

export const OPEN = { kind: 'open' } as const
export const SELF = { kind: 'self' } as const
export const EACH = { kind: 'each' } as const

export function onServer(action: Action): RouteAccess {
  return { kind: 'server', action }
}

export function onPort(action: Action): RouteAccess {
  return { kind: 'port', action }
}

export interface GuardedRoute {
  readonly method: string
  readonly url: string
  readonly access: RouteAccess
}

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess
  }
  interface FastifyRequest {
    visitor: Visitor | null
    /** Of a route with {@link onPort}, once it is allowed. */
    allowedPort: Port | null
  }
}

/** Has to be called before any route, and after what must see a request earlier. @returns the routes, as they come. */
export function guardRoutes(app: FastifyInstance, access: AccessControl, server: Server): readonly GuardedRoute[] {
  const routes: GuardedRoute[] = []
  app.decorateRequest('visitor', null)
  app.decorateRequest('allowedPort', null)
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.access !== undefined) {
      for (const one of [method].flat()) routes.push({ method: one, url, access: config.access })
      return
    }
    throw new Error(`${[method].flat().join(', ')} ${url} does not say who may use it: give the route config.access`)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    const rule = request.is404 ? OPEN : (request.routeOptions.config.access ?? SELF)
    if (rule.kind !== 'open') {
      const { raw } = request
      request.visitor = access.identify({
        headers: headersOf(raw),
        upgrade: raw.headers.upgrade !== undefined,
        origin: originOf(raw, access.proxies),
      })
      // Before parameters and paths are looked at: what exists is nobody's business who may see nothing.
      if (rule.kind !== 'self' && request.visitor.mayNothing) refuseNameless(request.visitor, rule)
    }
    done()
  })
  app.addHook('preHandler', (request, _reply, done) => {
    const rule = request.is404 ? OPEN : (request.routeOptions.config.access ?? SELF)
    if (rule.kind === 'server') visitorOf(request).check(rule.action, null)
    else if (rule.kind === 'port') request.allowedPort = allowedPort(request, server, rule.action)
    done()
  })
  return routes
}

/**
 * As node:http has them, but what came more than once is a list: joined to one text, groups that a client sends would be
 * taken for more of those that a proxy adds.
 */
function headersOf(request: IncomingMessage): Readonly<Record<string, string | readonly string[] | undefined>> {
  const { headers, rawHeaders } = request
  if (rawHeaders.length / 2 === Object.keys(headers).length) return headers
  const repeated = Object.entries(request.headersDistinct).filter(([, values]) => (values?.length ?? 0) > 1)
  return { ...headers, ...Object.fromEntries(repeated) }
}

/** Who asks. Only on routes that are not open. */
export function visitorOf({ visitor }: FastifyRequest): Visitor {
  if (visitor === null) throw new Error('an open route asks for its visitor')
  return visitor
}

/** The port that was asked for, and allowed. Only on routes with {@link onPort}. */
export function portOf({ allowedPort: port }: FastifyRequest): Port {
  if (port === null) throw new Error('a route asks for its port, and does not name it in config.access')
  return port
}

/** Which ports somebody knows of; undefined: all. */
export function visibleTo(visitor: Visitor): (port: Port) => boolean {
  return (port) => visitor.may('port.list', factsOf(port))
}

function refuseNameless(visitor: Visitor, rule: RouteAccess): never {
  visitor.check('action' in rule ? rule.action : 'port.list', null)
  throw mustLogIn()
}

function allowedPort(request: FastifyRequest, server: Server, action: Action): Port {
  const visitor = visitorOf(request)
  const { id } = request.params as { id: string }
  const port = resolveVisible(server, id, visitor)
  visitor.check(action, factsOf(port))
  return port
}

/** @throws VspcError VSPC_PORT_NOT_FOUND, VSPC_PORT_AMBIGUOUS, as if only what the visitor may list existed. */
export function resolveVisible(server: Server, text: string, visitor: Visitor): Port {
  try {
    return server.table.resolve(text, visitor.seesAll ? undefined : visibleTo(visitor))
  } catch (error) {
    // Who has not said who they are may know of it once they do.
    if (visitor.isAnonymous && !visitor.seesAll)
      visitor.check('port.list', { id: text, name: '', uuid: null, host: null })
    throw error
  }
}
