import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Port, Server } from '../vspc/index.ts'
import { EACH, onPort, portOf, visibleTo, visitorOf } from './access/guard.ts'
import type { GuestinfoFollower } from './guestinfo.ts'
import type { PortAnswer } from './guestinfo-view.ts'
import { JsonListBody, LIST_SLICE } from './json-list.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'
import { PortParams } from './schemas.ts'

/** @param guestinfo null where it is not followed. */
export function portRoutes(app: FastifyInstance, server: Server, guestinfo: GuestinfoFollower | null): void {
  const answer = (port: Port): PortAnswer =>
    guestinfo === null ? port.info() : { ...port.info(), guestinfo: guestinfo.ofPort(port) }
  /** JSON.stringify, since it is several times faster on these than a serializer compiled from the schema. */
  const describe = (port: Port): string => JSON.stringify(answer(port))

  app.get(
    '/api/v1/ports',
    {
      config: { access: EACH },
      schema: {
        summary: 'All ports',
        tags: ['ports'],
        response: { 200: jsonAnswer('All ports.', Type.Array(Type.Ref('Port#'))), ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const visitor = visitorOf(request)
      const all = [...server.table]
      const ports = visitor.seesAll ? all : all.filter(visibleTo(visitor))
      // A stream's type is not completed.
      reply.type('application/json; charset=utf-8')
      // What VMs publish may be much.
      if (ports.length <= LIST_SLICE && guestinfo === null) return reply.send(`[${ports.map(describe).join(',')}]`)
      const characters = guestinfo === null ? { characters: Number.POSITIVE_INFINITY } : {}
      return reply.send(new JsonListBody(ports, describe, characters))
    },
  )

  app.get<{ Params: PortParams }>(
    '/api/v1/ports/:id',
    {
      config: { access: onPort('port.show') },
      schema: {
        summary: 'One port',
        tags: ['ports'],
        params: PortParams,
        response: { 200: jsonAnswer('The port.', Type.Ref('Port#')), ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => reply.type('application/json').send(describe(portOf(request))),
  )

  app.delete<{ Params: PortParams }>(
    '/api/v1/ports/:id',
    {
      config: { access: onPort('port.remove') },
      schema: {
        summary: 'Forget an offline port and its history',
        tags: ['ports'],
        params: PortParams,
        response: { 204: { description: 'Forgotten.', type: 'null' }, ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const port = portOf(request)
      if (server.forget(port)) return reply.code(204).send()
      throw new ProblemError(
        409,
        'VSPC_PORT_ONLINE',
        `${port.displayName} is ${port.state}: only an offline port can be forgotten`,
      )
    },
  )
}
