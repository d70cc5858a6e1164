/** The description of the API in /openapi.json: made from the schemas of the routes, so that it cannot lag behind. */
import { fastifySwagger } from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { OPEN } from './access/guard.ts'
import { NAMED_SCHEMAS } from './schemas.ts'

/** Of every route: any failure is a problem report. */
export const PROBLEM_ANSWER = {
  default: {
    description: 'Any failure.',
    content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
  },
} as const

export function jsonAnswer(description: string, schema: object) {
  return { description, content: { 'application/json': { schema } } }
}

/** Has to be registered before the routes. */
export async function describeApi(app: FastifyInstance, version: string): Promise<void> {
  for (const schema of NAMED_SCHEMAS) app.addSchema(schema)
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'vspc',
        version,
        description: 'Virtual serial port concentrator: ports of VMs, their consoles and what they have printed.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [
        { name: 'ports', description: "VMs' serial ports" },
        { name: 'consoles', description: 'Attaching to a port' },
        { name: 'events', description: 'What happens' },
        { name: 'alerts', description: 'What in the output of VMs is worth an alert' },
        { name: 'appliance', description: 'Which host the appliance runs on, and the VMs that follow it' },
        { name: 'guestinfo', description: 'What VMs publish about themselves, without a network' },
        { name: 'access', description: 'Who asks' },
        { name: 'web', description: 'The web console' },
        { name: 'health', description: 'For operators' },
      ],
    },
    // `const` is fine in 3.1.
    convertConstToEnum: false,
    // A name in the document is the name of the schema, not a number.
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json['$id'] ?? `schema-${index}`) },
  })
}

export function openapiRoute(app: FastifyInstance): void {
  let document: string | null = null
  app.get(
    '/openapi.json',
    {
      config: { access: OPEN },
      schema: {
        summary: 'This document',
        tags: ['health'],
        response: {
          200: jsonAnswer('OpenAPI 3.1.', { type: 'object', additionalProperties: true }),
          ...PROBLEM_ANSWER,
        },
      },
    },
    (_request, reply) => {
      document ??= JSON.stringify(app.swagger())
      return reply.type('application/json').send(document)
    },
  )
}
