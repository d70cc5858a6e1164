/** Consoles of ports, for those who have none there: who is attached, ending one, saying something to all. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import type { Server } from '../vspc/index.ts'
import { EACH, onPort, portOf, visitorOf } from './access/guard.ts'
import { factsOf, type Visitor } from './access/visitor.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ConsoleParams, KickQuery, MessageBody, PortParams } from './schemas.ts'

const SAID = jsonAnswer('Said to so many.', Type.Object({ consoles: Type.Integer() }))
const CUT = 'One line without control characters; cut to 500 characters.'

export function consolesRoutes(app: FastifyInstance, server: Server): void {
  app.get<{ Params: PortParams }>(
    '/api/v1/ports/:id/consoles',
    {
      config: { access: onPort('console.who') },
      schema: {
        summary: 'Consoles attached to a port',
        tags: ['consoles'],
        params: PortParams,
        response: { 200: jsonAnswer('Its consoles.', Type.Array(Type.Ref('ConsoleInfo#'))), ...PROBLEM_ANSWER },
      },
    },
    (request) => portOf(request).consoles.map((console) => console.info),
  )

  app.delete<{ Params: ConsoleParams; Querystring: KickQuery }>(
    '/api/v1/ports/:id/consoles/:console',
    {
      // The right to kick is asked for below, so that the audit log names who is kicked.
      config: { access: onPort('port.show') },
      schema: {
        summary: 'Kick: end a console',
        description:
          'It is told by whom and why, and closed with code 4411; the other consoles of the port are told, too.',
        tags: ['consoles'],
        params: ConsoleParams,
        querystring: KickQuery,
        response: { 204: { description: 'Ended.', type: 'null' }, ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const port = portOf(request)
      const visitor = visitorOf(request)
      const { console: id } = request.params
      const target = port.consoles.find((one) => one.id === id)
      visitor.check('console.kick', factsOf(port), `console ${id}${target === undefined ? '' : ` (${target.who})`}`)
      if (port.consoleGroup === null || target === undefined) {
        throw new VspcError('VSPC_CONSOLE_NOT_FOUND', `${port.displayName} has no console ${id}`)
      }
      port.consoleGroup.kickBy(id, nameOf(visitor), request.query.reason ?? '')
      return reply.code(204).send()
    },
  )

  app.post<{ Params: PortParams; Body: MessageBody }>(
    '/api/v1/ports/:id/messages',
    {
      config: { access: onPort('console.say') },
      schema: {
        summary: 'Say something to all consoles of a port',
        description: CUT,
        tags: ['consoles'],
        params: PortParams,
        body: MessageBody,
        response: { 200: SAID, ...PROBLEM_ANSWER },
      },
    },
    (request) => {
      const by = nameOf(visitorOf(request))
      return { consoles: portOf(request).consoleGroup?.say(request.body.text, null, by) ?? 0 }
    },
  )

  app.post<{ Body: MessageBody }>(
    '/api/v1/messages',
    {
      config: { access: EACH },
      schema: {
        summary: 'Say something to all consoles of all ports',
        description: `Of those ports on which whoever asks may do so. ${CUT}`,
        tags: ['consoles'],
        body: MessageBody,
        response: { 200: SAID, ...PROBLEM_ANSWER },
      },
    },
    (request) => {
      const visitor = visitorOf(request)
      const ports = [...server.table].filter((port) => visitor.may('console.say', factsOf(port)))
      if (ports.length === 0) visitor.check('console.say', null)
      let consoles = 0
      for (const port of ports) {
        if (port.consoleGroup === null) continue
        visitor.check('console.say', factsOf(port))
        consoles += port.consoleGroup.say(request.body.text, null, nameOf(visitor))
      }
      return { consoles }
    },
  )
}

/** For the consoles that are told. The TCP port of a request says nothing to anybody. */
function nameOf({ subject, address }: Visitor): string {
  return subject.user ?? address
}
