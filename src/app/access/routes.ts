/** What a page or a program asks about itself, and the tickets it opens WebSockets with. */
import type { FastifyInstance } from 'fastify'
import { type Static, Type } from 'typebox'
import { CAPABILITIES } from '../../access/index.ts'
import type { Server } from '../../vspc/index.ts'
import { jsonAnswer, PROBLEM_ANSWER } from '../openapi.ts'
import type { AccessControl } from './control.ts'
import { resolveVisible, SELF, visitorOf } from './guard.ts'
import { factsOf } from './visitor.ts'

const CapabilityList = Type.Array(Type.Enum([...CAPABILITIES]))

const WhoAmI = Type.Object({
  accessControl: Type.Boolean({
    description: 'False: nobody has to say who they are, and everybody may do everything.',
  }),
  who: Type.Union([Type.String(), Type.Null()], {
    description: 'The user, or the name of the token; null: nobody known.',
  }),
  via: Type.String({ description: 'How that is known: token, certificate, proxy or anonymous.' }),
  groups: Type.Array(Type.String()),
  capabilities: Type.Intersect([CapabilityList], { description: 'On all ports; on `port`, where it is asked for.' }),
})

const WhoQuery = Type.Object(
  { port: Type.Optional(Type.String({ description: 'A port: what is allowed there? As in the paths of ports.' })) },
  { additionalProperties: false },
)
type WhoQuery = Static<typeof WhoQuery>

const Ticket = Type.Object({
  ticket: Type.String({ description: 'Good once, as the subprotocol `vspc.ticket.TICKET` beside `vspc.v1`.' }),
  expiresAt: Type.String({ format: 'date-time' }),
})

export function accessRoutes(app: FastifyInstance, access: AccessControl, server: Server): void {
  app.get<{ Querystring: WhoQuery }>(
    '/api/v1/whoami',
    {
      config: { access: SELF },
      schema: {
        summary: 'Who asks, and what they may',
        description: 'Answers everybody; 401 only for a token, ticket or certificate that does not count.',
        tags: ['access'],
        querystring: WhoQuery,
        response: { 200: jsonAnswer('Who.', WhoAmI), ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const visitor = visitorOf(request)
      const { user, via, groups } = visitor.subject
      const { port } = request.query
      const facts = port === undefined ? null : factsOf(resolveVisible(server, port, visitor))
      const capabilities = visitor.capabilities(facts)
      const answer = { accessControl: !access.isOpen, who: user, via, groups, capabilities }
      return reply.type('application/json').send(JSON.stringify(answer))
    },
  )

  app.post(
    '/api/v1/tickets',
    {
      config: { access: SELF },
      schema: {
        summary: 'A ticket to open a WebSocket with',
        description:
          'For pages, which can send no Authorization header there: offer the subprotocols `vspc.v1` and ' +
          '`vspc.ticket.TICKET`. It stands for whoever asks here, for one use within half a minute. No body is needed.',
        tags: ['access'],
        response: { 201: jsonAnswer('The ticket.', Ticket), ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const { ticket, expiresAt } = access.ticket(visitorOf(request))
      const answer = { ticket, expiresAt: new Date(expiresAt).toISOString() }
      return reply.code(201).type('application/json').send(JSON.stringify(answer))
    },
  )
}
