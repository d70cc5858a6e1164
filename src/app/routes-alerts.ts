/** What the alert rules have found lately. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { PortFacts } from '../access/index.ts'
import { SEVERITIES } from '../alerts/index.ts'
import { EACH, visitorOf } from './access/guard.ts'
import type { AlertAnswer, Alerts } from './alerts.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { AlertsQuery } from './schemas-alerts.ts'

export function alertRoutes(app: FastifyInstance, alerts: Alerts): void {
  app.get<{ Querystring: AlertsQuery }>(
    '/api/v1/alerts',
    {
      config: { access: EACH },
      schema: {
        summary: 'The last alerts',
        description:
          'The oldest first. They are kept in memory, 1000 at most. X-Vspc-Alert-Rules says how many rules are in force: ' +
          'with 0 nothing is looked at.',
        tags: ['alerts'],
        querystring: AlertsQuery,
        response: { 200: jsonAnswer('Alerts.', Type.Array(Type.Ref('Alert#'))), ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const visitor = visitorOf(request)
      // Of ports whose output they may read: a line of it is in each.
      const found = alerts.recent.filter(
        (alert) => isWanted(alert, request.query) && visitor.may('log.read', factsOfAlert(alert)),
      )
      return reply
        .header('x-vspc-alert-rules', String(alerts.rules.length))
        .type('application/json')
        .send(JSON.stringify(found))
    },
  )
}

function factsOfAlert({ port, vm, host }: AlertAnswer): PortFacts {
  return { id: port, name: vm.name, uuid: vm.uuid, host }
}

function isWanted(alert: AlertAnswer, { after, rule, port, severity }: AlertsQuery): boolean {
  if (after !== undefined && alert.id <= after) return false
  if (rule !== undefined && alert.rule !== rule) return false
  if (port !== undefined && alert.port !== port && alert.vm.name !== port) return false
  return severity === undefined || SEVERITIES.indexOf(alert.severity) <= SEVERITIES.indexOf(severity)
}
