/** Lifecycle events as server-sent events (HTML standard, section 9.2). */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { PortFacts } from '../access/index.ts'
import type { Timer } from '../base/index.ts'
import type { PortInfo, Server } from '../vspc/index.ts'
import type { Attendance } from './access/attendance.ts'
import { EACH, visitorOf } from './access/guard.ts'
import { factsOfInfo, type Visitor } from './access/visitor.ts'
import { PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'

/** Proxies drop connections that are silent for a minute or less. */
const HEARTBEAT_MS = 15_000
/** What a browser waits before it connects again. */
const RETRY_MS = 2_000

/** What happens: of the ports, and of whatever else runs here. */
export interface EventSource {
  /** The returned function ends it. */
  subscribe(tell: (event: { readonly type: string }) => void): () => void
}

/** Everyone who reads events. Each event is written down once, whoever reads; with no readers it is not even made. */
export class EventStreams {
  readonly #server: Server
  readonly #sources: readonly EventSource[]
  readonly #attendance: Attendance
  readonly #readers = new Map<ServerResponse, Visitor>()
  #subscriptions: (() => void)[] = []
  #heartbeat: Timer | null = null
  #lastId = 0
  #closed = false

  /** @param sources besides the server's own events. */
  constructor(server: Server, sources: readonly EventSource[], attendance: Attendance) {
    this.#server = server
    this.#attendance = attendance
    this.#sources = [server, ...sources]
  }

  get readers(): number {
    return this.#readers.size
  }

  /** Takes over the response, whose head has been written, until either side ends it. */
  add(response: ServerResponse, visitor: Visitor, hello: object): void {
    const leave = this.#attendance.add({
      review: () => {
        if (visitor.counts || response.writableEnded) return false
        response.end()
        return true
      },
    })
    response.once('close', () => {
      leave()
      this.#remove(response)
    })
    // A reader that went away is dealt with by `close`.
    response.on('error', () => {})
    this.#readers.set(response, visitor)
    if (this.#subscriptions.length === 0) {
      this.#subscriptions = this.#sources.map((source) => source.subscribe((event) => this.#publish(event)))
    }
    if (this.#heartbeat === null) this.#beat()
    response.write(`retry: ${RETRY_MS}\n${frame(this.#lastId, 'hello', hello)}`)
  }

  /** Ends every stream; new ones are refused. */
  close(): void {
    this.#closed = true
    for (const reader of this.#readers.keys()) reader.end()
  }

  get closed(): boolean {
    return this.#closed
  }

  #remove(response: ServerResponse): void {
    this.#readers.delete(response)
    if (this.#readers.size > 0) return
    for (const end of this.#subscriptions.splice(0)) end()
    this.#heartbeat?.cancel()
    this.#heartbeat = null
  }

  #publish(event: { readonly type: string }): void {
    this.#write(frame(++this.#lastId, event.type, event), (visitor) => mayHear(visitor, event))
  }

  #write(text: string, isFor: (visitor: Visitor) => boolean): void {
    const most = this.#server.limits.maxEventBacklogBytes
    for (const [reader, visitor] of this.#readers) {
      if (reader.writableEnded || !isFor(visitor)) continue
      reader.write(text)
      // It does not read: its browser or program connects again, and asks for the ports anew.
      if (reader.writableLength > most) reader.destroy()
    }
  }

  #beat(): void {
    this.#heartbeat = this.#server.clock.after(HEARTBEAT_MS, () => {
      this.#write(': still here\n\n', () => true)
      this.#beat()
    })
  }
}

/** What is about a port is for those who know of it; what people do there, and what it prints, for those who may read it. */
function mayHear(visitor: Visitor, event: { readonly type: string; readonly port?: unknown }): boolean {
  const facts = portFactsOf(event.port)
  if (facts === null) return visitor.may('appliance.read', null)
  const isLife = event.type.startsWith('port-') || event.type.startsWith('vmotion-')
  return visitor.may(isLife ? 'port.events' : 'log.read', facts)
}

function portFactsOf(port: unknown): PortFacts | null {
  return typeof port === 'object' && port !== null && 'id' in port && 'vm' in port
    ? factsOfInfo(port as PortInfo)
    : null
}

/** JSON has no line ends of its own, so one data line is enough. */
function frame(id: number, type: string, data: object): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`
}

export function eventRoutes(app: FastifyInstance, streams: EventStreams, version: string): void {
  app.route({
    method: 'GET',
    url: '/api/v1/events',
    exposeHeadRoute: false,
    config: { access: EACH },
    schema: {
      summary: 'What happens, as server-sent events',
      description:
        'The first event is "hello". Others are named by their type. Events that happen while nobody listens are not ' +
        'kept: after connecting, ask for the ports.',
      tags: ['events'],
      response: {
        200: {
          description: "A stream without end; each event's data is a ServerEvent.",
          content: { 'text/event-stream': { schema: { $ref: 'ServerEvent#' } } },
        },
        ...PROBLEM_ANSWER,
      },
    },
    handler: (request, reply) => {
      const visitor = visitorOf(request)
      if (streams.closed) throw new ProblemError(503, 'VSPC_SERVER_STOPPING', 'the server is stopping')
      reply.hijack()
      reply.raw.writeHead(200, {
        ...(reply.getHeaders() as OutgoingHttpHeaders),
        'content-type': 'text/event-stream; charset=utf-8',
        // For nginx, which would keep events until it has a buffer full.
        'x-accel-buffering': 'no',
      })
      streams.add(reply.raw, visitor, { version })
    },
  })
}
