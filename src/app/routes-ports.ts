import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import type { Port, Server } from '../vspc/index.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'
import { PortParams } from './schemas.ts'

/**
 * Ports described at a time. 20,000 at once would hold up every VM for a hundred milliseconds; this many take about
 * one.
 */
const SLICE = 250

/** JSON.stringify, since it is several times faster on these than a serializer compiled from the schema. */
const describe = (port: Port): string => JSON.stringify(port.info())

/** A JSON array of ports, a slice per turn of the event loop, and only as fast as it is read. */
class PortListBody extends Readable {
  readonly #ports: readonly Port[]
  #at = 0

  constructor(ports: readonly Port[]) {
    super()
    this.#ports = ports
  }

  override _read(): void {
    setImmediate(() => this.#pushSlice())
  }

  #pushSlice(): void {
    if (this.destroyed) return
    const from = this.#at
    this.#at += SLICE
    const slice = this.#ports.slice(from, this.#at).map(describe).join(',')
    const last = this.#at >= this.#ports.length
    this.push(`${from === 0 ? '[' : ','}${slice}${last ? ']' : ''}`)
    if (last) this.push(null)
  }
}

export function portRoutes(app: FastifyInstance, server: Server): void {
  app.get(
    '/api/v1/ports',
    {
      schema: {
        summary: 'All ports',
        tags: ['ports'],
        response: { 200: jsonAnswer('All ports.', Type.Array(Type.Ref('Port#'))), ...PROBLEM_ANSWER },
      },
    },
    (_request, reply) => {
      const ports = [...server.table]
      reply.type('application/json')
      if (ports.length <= SLICE) return reply.send(`[${ports.map(describe).join(',')}]`)
      return reply.send(new PortListBody(ports))
    },
  )

  app.get<{ Params: PortParams }>(
    '/api/v1/ports/:id',
    {
      schema: {
        summary: 'One port',
        tags: ['ports'],
        params: PortParams,
        response: { 200: jsonAnswer('The port.', Type.Ref('Port#')), ...PROBLEM_ANSWER },
      },
    },
    (request) => server.table.resolve(request.params.id).info(),
  )

  app.delete<{ Params: PortParams }>(
    '/api/v1/ports/:id',
    {
      schema: {
        summary: 'Forget an offline port and its history',
        tags: ['ports'],
        params: PortParams,
        response: { 204: { description: 'Forgotten.', type: 'null' }, ...PROBLEM_ANSWER },
      },
    },
    (request, reply) => {
      const port = server.table.resolve(request.params.id)
      if (server.forget(port)) return reply.code(204).send()
      throw new ProblemError(
        409,
        'VSPC_PORT_ONLINE',
        `${port.displayName} is ${port.state}: only an offline port can be forgotten`,
      )
    },
  )

  app.get<{ Params: PortParams }>(
    '/api/v1/ports/:id/consoles',
    {
      schema: {
        summary: 'Consoles attached to a port',
        tags: ['consoles'],
        params: PortParams,
        response: { 200: jsonAnswer('Its consoles.', Type.Array(Type.Ref('ConsoleInfo#'))), ...PROBLEM_ANSWER },
      },
    },
    (request) => server.table.resolve(request.params.id).consoles.map((console) => console.info),
  )
}
