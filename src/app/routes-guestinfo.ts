/** What VMs publish about themselves, all of them: those without a port here, too. */
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { onServer } from './access/guard.ts'
import type { GuestinfoFollower } from './guestinfo.ts'
import { GUESTINFO_OFF } from './guestinfo-view.ts'
import { JsonListBody } from './json-list.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'

/** @param follower null where it is not followed. */
export function guestinfoRoutes(app: FastifyInstance, follower: GuestinfoFollower | null): void {
  app.get(
    '/api/v1/guestinfo',
    {
      config: { access: onServer('appliance.read') },
      schema: {
        summary: 'What VMs have published about themselves',
        description:
          'All VMs of which something is known, whether they have a port here or not. From memory: vCenter is not asked.',
        tags: ['guestinfo'],
        response: { 200: jsonAnswer('As known now.', Type.Ref('Guestinfo#')), ...PROBLEM_ANSWER },
      },
    },
    (_request, reply) => {
      const state = JSON.stringify(follower?.state ?? GUESTINFO_OFF)
      const describe = (uuid: string): string | null => {
        const vm = follower?.ofVm(uuid) ?? null
        return vm === null ? null : JSON.stringify(vm)
      }
      const around = [`${state.slice(0, -1)},"vms":`, '}'] as const
      return reply
        .type('application/json; charset=utf-8')
        .send(new JsonListBody(follower?.known() ?? [], describe, { around }))
    },
  )
}
