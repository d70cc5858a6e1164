/** How the server itself is. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { onServer } from './access/guard.ts'
import type { HealthInfo } from './health-view.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'

/** @param health looks, each time it is asked. */
export function serverRoutes(app: FastifyInstance, health: () => Promise<HealthInfo>): void {
  app.get(
    '/api/v1/health',
    {
      config: { access: onServer('metrics.read') },
      schema: {
        summary: 'How the server itself is',
        description:
          'Listeners and their certificates, VMs that were refused and why, memory, open files, disk, clock and ' +
          'troubles. "vspc doctor" reads it. Whether it is ready is told by /readyz.',
        tags: ['health'],
        response: { 200: jsonAnswer('As it is now.', Type.Ref('Health#')), ...PROBLEM_ANSWER },
      },
    },
    // As a string: plain data already.
    async (_request, reply) => reply.type('application/json').send(JSON.stringify(await health())),
  )
}
