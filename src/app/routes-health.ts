import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import { Type } from 'typebox'
import { OPEN, onServer } from './access/guard.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'

/** `ready`: every listener is up. */
export type Readiness = 'starting' | 'ready' | 'stopping'

const StatusSchema = Type.Object({ status: Type.String() })

export interface HealthOptions {
  readonly readiness: () => Readiness
  readonly metrics: Registry
}

export function healthRoutes(app: FastifyInstance, { readiness, metrics }: HealthOptions): void {
  app.get(
    '/livez',
    {
      config: { access: OPEN },
      schema: {
        summary: 'Is the process alive?',
        tags: ['health'],
        response: { 200: jsonAnswer('It is.', StatusSchema), ...PROBLEM_ANSWER },
      },
    },
    () => ({ status: 'ok' }),
  )

  app.get(
    '/readyz',
    {
      config: { access: OPEN },
      schema: {
        summary: 'Is every listener up?',
        tags: ['health'],
        response: { 200: jsonAnswer('They are.', StatusSchema), ...PROBLEM_ANSWER },
      },
    },
    () => {
      const now = readiness()
      if (now === 'ready') return { status: 'ok' }
      throw now === 'starting'
        ? new ProblemError(503, 'VSPC_SERVER_STARTING', 'not every listener is up yet', { 'retry-after': '1' })
        : new ProblemError(503, 'VSPC_SERVER_STOPPING', 'the server is stopping')
    },
  )

  app.get(
    '/metrics',
    {
      config: { access: onServer('metrics.read') },
      schema: {
        summary: 'Metrics in the Prometheus text format',
        tags: ['health'],
        response: {
          200: { description: 'Metrics.', content: { 'text/plain': { schema: Type.String() } } },
          ...PROBLEM_ANSWER,
        },
      },
    },
    async (_request, reply) => {
      const text = await metrics.metrics()
      return reply.type(metrics.contentType).send(text)
    },
  )
}
