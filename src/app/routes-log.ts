/** A port's history as raw bytes, by offset. */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import type { History, Load, LoadResult } from '../history/index.ts'
import { canonicalUuid, type Port, type Server } from '../vspc/index.ts'
import { type Attendance, streamOf } from './access/attendance.ts'
import { EACH, onPort, portOf, visibleTo, visitorOf } from './access/guard.ts'
import { factsOf } from './access/visitor.ts'
import { formatLog, LOG_FORMATS } from './log-format.ts'
import { logParts } from './log-lines.ts'
import { PROBLEM_ANSWER } from './openapi.ts'
import { LogQuery, PortParams } from './schemas.ts'

/** Read from history at a time. */
const PIECE_BYTES = 262_144
/**
 * Up to this much of what is in memory is taken out of history at the start, so that what the VM prints meanwhile cannot
 * push it out under a slow reader. Views, not copies. What follows is read as it goes, and the answer broken off if
 * history overtakes it.
 */
const TAKEN_AT_ONCE = 4 << 20

interface Range {
  readonly start: number
  readonly next: number
}

/** What of [start, end) history holds; `start` negative = from the end. Never fails: an empty range is an answer. */
function rangeOf(history: History, query: LogQuery): Range {
  const held = history.start
  const { visible: next } = history
  const wanted = query.start === undefined ? held : query.start < 0 ? next + query.start : query.start
  const start = Math.min(Math.max(wanted, held), next)
  const end = Math.min(query.end ?? next, query.limit === undefined ? next : start + query.limit, next)
  return { start, next: Math.max(start, end) }
}

/**
 * The bytes of a range, without those that history has lost. Destroyed when they cannot be read, or history no longer
 * holds what comes next: an answer that is cut short shows as broken.
 */
class HistoryBody extends Readable {
  readonly #history: History
  readonly #end: number
  #at: number
  /** From the last to the first. */
  readonly #taken: Uint8Array[] = []
  #load: Load | null = null

  constructor(history: History, { start, next }: Range) {
    super({ highWaterMark: PIECE_BYTES })
    this.#history = history
    this.#at = start
    this.#end = next
    while (this.#at - start < TAKEN_AT_ONCE) {
      const piece = this.#inMemory()
      if (piece === null) break
      this.#taken.push(piece)
    }
    this.#taken.reverse()
  }

  override _read(): void {
    const piece = this.#taken.pop() ?? this.#inMemory()
    if (piece !== null) this.push(piece)
    else if (this.#at >= this.#end) this.push(null)
    else this.#load = this.#history.load(this.#at, this.#wanted, this.#loaded)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#load?.cancel()
    done(error)
  }

  get #wanted(): number {
    return Math.min(PIECE_BYTES, this.#end - this.#at)
  }

  #inMemory(): Uint8Array | null {
    if (this.#at >= this.#end) return null
    const piece = this.#history.read(this.#at, this.#wanted)
    if (piece !== null) this.#at += piece.length
    return piece
  }

  readonly #loaded = (result: LoadResult): void => {
    this.#load = null
    if (result.kind === 'bytes') {
      this.#at += result.bytes.length
      this.push(result.bytes)
    } else if (result.kind === 'failed') {
      this.destroy(result.error)
    } else if (this.#at < this.#history.start) {
      this.destroy(new VspcError('VSPC_CONSOLE_STALLED', 'the log was read more slowly than the VM prints'))
    } else {
      this.#at = result.kind === 'gap' ? result.to : this.#end
      this._read()
    }
  }
}

/** Nothing that a header, a shell or a file system would read otherwise: VMs are named by others. */
function fileName(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[-.]+/, '')
  return plain.slice(0, 100) || 'console'
}

const ENDINGS = { raw: 'log', text: 'txt', ndjson: 'ndjson', asciicast: 'cast' } as const

/** The part of a range that came between "since" and "until", as far as that is known. */
async function withinTimes(history: History, range: Range, { since, until }: LogQuery): Promise<Range> {
  let { start, next } = range
  if (since !== undefined) {
    const wall = timeOf(since, 'since')
    start = Math.max(start, await new Promise<number>((resolve) => history.seekTime(wall, true, resolve)))
  }
  if (until !== undefined) {
    const wall = timeOf(until, 'until') + 1
    next = Math.min(next, await new Promise<number>((resolve) => history.seekTime(wall, false, resolve)))
  }
  start = Math.min(start, range.next)
  return { start, next: Math.max(start, next) }
}

/** Ms since 1970. @throws VspcError VSPC_REQUEST_INVALID. */
export function timeOf(text: string, name: string): number {
  const number = /^-?\d{1,16}$/.test(text) ? Number(text) : null
  const wall = number === null ? Date.parse(text) : number < 0 ? Date.now() + number : number
  if (Number.isFinite(wall)) return wall
  const said = JSON.stringify(text)
  throw new VspcError(
    'VSPC_REQUEST_INVALID',
    `${name}: ${said} is no time: give ISO 8601 (2026-11-23T10:00:00Z), ms since 1970, or negative ms`,
  )
}

async function sendLog(
  request: FastifyRequest,
  reply: FastifyReply,
  port: Port,
  query: LogQuery,
): Promise<FastifyReply> {
  // What the port is said to have printed is in its log, too.
  await new Promise<void>((resolve) => port.history.settled(resolve))
  const { format = 'raw' } = query
  const range = await withinTimes(port.history, rangeOf(port.history, query), query)
  reply.type(LOG_FORMATS[format]).headers({
    'x-vspc-start': range.start,
    'x-vspc-next': range.next,
    'x-vspc-epoch': port.epoch,
    // Bytes of a VM's choice: never to be shown as a page.
    'content-disposition': `attachment; filename="${fileName(port.displayName)}.${ENDINGS[format]}"`,
  })
  if (request.method === 'HEAD') return reply.send('')
  if (format !== 'raw') {
    const text = formatLog(format, logParts(port.history, range.start, range.next), port.displayName)
    // Asked for as it is read: what is in memory is one piece of history.
    return reply.send(Readable.from(text, { objectMode: false, highWaterMark: PIECE_BYTES }))
  }
  return reply.send(new HistoryBody(port.history, range))
}

/** Of several ports of the VM: the one without label, else the one whose label sorts first. */
function portOfVm(server: Server, uuid: string, isVisible: (port: Port) => boolean): Port {
  const canonical = canonicalUuid(uuid)
  let chosen: Port | null = null
  for (const port of canonical === null ? [] : server.table) {
    if (port.vcUuid !== canonical && port.biosUuid !== canonical && port.vmKey !== canonical) continue
    if (!isVisible(port)) continue
    if (chosen === null || (port.label ?? '') < (chosen.label ?? '')) chosen = port
  }
  if (chosen !== null) return chosen
  const fault = canonical === null ? `"${uuid.slice(0, 100)}" is no UUID` : `no VM with UUID ${canonical} has connected`
  throw new VspcError('VSPC_PORT_NOT_FOUND', `${fault}; GET /api/v1/ports lists the ports`)
}

const offsetHeader = (description: string) => ({ type: 'integer', description })

const LOG_ANSWER = {
  200: {
    description:
      'Raw bytes, as the VM sent them, or the "format" asked for; what history lost is left out, or a line of its own.',
    headers: {
      'X-Vspc-Start': offsetHeader('Offset of the first byte; later than asked for where history begins later.'),
      'X-Vspc-Next': offsetHeader('Offset after the last byte of this body.'),
      'X-Vspc-Epoch': { type: 'string', description: 'Names this counting of offsets, as in "attached".' },
    },
    content: {
      'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
      'text/plain': { schema: { type: 'string' } },
      'application/x-ndjson': { schema: { type: 'string' } },
      'application/x-asciicast': { schema: { type: 'string' } },
    },
  },
  ...PROBLEM_ANSWER,
} as const

const UuidParams = Type.Object({ uuid: Type.String({ description: 'UUID of the VM, in any spelling.' }) })

export function logRoutes(app: FastifyInstance, server: Server, attendance: Attendance): void {
  /** A long log is read for long: it is cut when the right to it ends. */
  const send = (request: FastifyRequest, reply: FastifyReply, port: Port, query: LogQuery): Promise<FastifyReply> => {
    const visitor = visitorOf(request)
    const leave = attendance.add(streamOf(reply.raw, () => visitor.may('log.read', factsOf(port))))
    if (reply.raw.destroyed) leave()
    else reply.raw.once('close', leave)
    return sendLog(request, reply, port, query)
  }

  app.route<{ Params: PortParams; Querystring: LogQuery }>({
    method: ['GET', 'HEAD'],
    url: '/api/v1/ports/:id/log',
    config: { access: onPort('log.read') },
    schema: {
      summary: 'What the VM has sent',
      description:
        'Offsets count every byte the VM ever sent. A start beyond the end gives an empty body; one before the oldest ' +
        'byte held gives what is held from there on. Times are right to within a quarter of a second.',
      tags: ['ports'],
      params: PortParams,
      querystring: LogQuery,
      response: LOG_ANSWER,
    },
    handler: (request, reply) => send(request, reply, portOf(request), request.query),
  })

  app.route<{ Params: { uuid: string } }>({
    method: ['GET', 'HEAD'],
    url: '/console_log/:uuid',
    config: { access: EACH },
    schema: {
      summary: "What the VM has sent on its first port, by the VM's UUID",
      tags: ['ports'],
      params: UuidParams,
      response: LOG_ANSWER,
    },
    handler: (request, reply) => {
      const visitor = visitorOf(request)
      const port = portOfVm(server, request.params.uuid, visitor.seesAll ? () => true : visibleTo(visitor))
      visitor.check('log.read', factsOf(port))
      return send(request, reply, port, {})
    },
  })
}
