/** Where the appliance is, and what follows from that. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import { onServer } from './access/guard.ts'
import type { ApplianceTracker } from './appliance.ts'
import { NOT_TRACKING, type PlanInfo, shown } from './appliance-view.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'

/** @param tracker null where the appliance is not followed. */
export function applianceRoutes(app: FastifyInstance, tracker: ApplianceTracker | null): void {
  app.get(
    '/api/v1/appliance',
    {
      config: { access: onServer('appliance.read') },
      schema: {
        summary: 'Where the appliance is, and how far VMs have followed',
        tags: ['appliance'],
        response: { 200: jsonAnswer('As known now; vCenter is not asked.', Type.Ref('Appliance#')), ...PROBLEM_ANSWER },
      },
    },
    // As a string: the view is plain data already, and needs no serializer.
    (_request, reply) => reply.type('application/json').send(JSON.stringify(tracker?.info ?? NOT_TRACKING)),
  )

  app.get(
    '/api/v1/appliance/plan',
    {
      config: { access: onServer('appliance.read') },
      schema: {
        summary: 'What would be re-pointed now',
        description:
          'Asks vCenter, and changes nothing. An answer is given again for two seconds. 503 or 504 while vCenter cannot ' +
          'be asked, 404 where the appliance is not followed.',
        tags: ['appliance'],
        response: { 200: jsonAnswer('The plan.', Type.Ref('RepointPlan#')), ...PROBLEM_ANSWER },
      },
    },
    async (_request, reply) => reply.type('application/json').send(JSON.stringify(await planOf(needed(tracker)))),
  )

  app.post(
    '/api/v1/appliance/check',
    {
      config: { access: onServer('server.change') },
      schema: {
        summary: 'Look at all VMs again, soon',
        description: 'What is not right is changed. 404 where the appliance is not followed.',
        tags: ['appliance'],
        response: { 202: { description: 'It will be done.', type: 'null' }, ...PROBLEM_ANSWER },
      },
    },
    (_request, reply) => {
      needed(tracker).check()
      return reply.code(202).send()
    },
  )
}

function needed(tracker: ApplianceTracker | null): ApplianceTracker {
  if (tracker !== null) return tracker
  const text = 'the appliance is not followed: the configuration has no section track'
  throw new ProblemError(404, 'VSPC_TRACK_OFF', text)
}

async function planOf(tracker: ApplianceTracker): Promise<PlanInfo> {
  try {
    return await tracker.readPlan()
  } catch (error) {
    if (!(error instanceof VspcError)) throw error
    throw new ProblemError(error.code === 'VSPC_WAIT_TIMEOUT' ? 504 : 503, error.code, shown(error.message))
  }
}
