/** Searching the history of all ports; see src/search. */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import { type Static, Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import { type RunningSearch, type SearchEnd, Searches, type SearchTotals } from '../search/index.ts'
import type { Port, Server } from '../vspc/index.ts'
import { type Attendance, streamOf } from './access/attendance.ts'
import { EACH, onPort, portOf, resolveVisible, visitorOf } from './access/guard.ts'
import { factsOf, type Visitor } from './access/visitor.ts'
import { metricReaders } from './metric-readers.ts'
import { PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'
import { timeOf } from './routes-log.ts'
import { PortParams } from './schemas.ts'
import { type PortChoice, PortsToSearch, portsNamed } from './search-source.ts'

const MAX_OFFSET = Number.MAX_SAFE_INTEGER
const DEFAULT_LIMIT = 1_000
const MAX_LIMIT = 100_000
const MAX_CONTEXT = 50
const MAX_NAMES = 1_000
/** How often it is said how far the search is. */
const PROGRESS_MS = 1_000

const flag = (description: string) => Type.Optional(Type.Boolean({ description }))
const count = (minimum: number, maximum: number, description: string) =>
  Type.Optional(Type.Integer({ minimum, maximum, description }))

const ONE_PORT = {
  pattern: Type.String({ minLength: 1, maxLength: 4_096, description: "Regular expression, in RE2's syntax." }),
  fixed: flag('The pattern is text, not an expression.'),
  ignore_case: flag('Upper and lower case are the same.'),
  since: Type.Optional(
    Type.String({
      maxLength: 64,
      description: 'Only what came then or later: ISO 8601, ms since 1970, or negative: so many ms ago.',
    }),
  ),
  until: Type.Optional(Type.String({ maxLength: 64, description: 'Only what came until then; as "since".' })),
  context: count(0, MAX_CONTEXT, 'So many lines before and after each that matches. Default: none.'),
  limit: count(1, MAX_LIMIT, `At most so many matching lines in all. Default: ${DEFAULT_LIMIT}.`),
}

const PortSearchQuery = Type.Object(
  {
    ...ONE_PORT,
    start: count(0, MAX_OFFSET, 'Only from this offset on.'),
    end: count(0, MAX_OFFSET, 'Only up to this offset.'),
  },
  { additionalProperties: false },
)
type PortSearchQuery = Static<typeof PortSearchQuery>

const SearchQuery = Type.Object(
  {
    ...ONE_PORT,
    ports: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 1_024 }), {
        maxItems: MAX_NAMES,
        description:
          'Only these: port ids, VM names, NAME/LABEL, UUIDs, unique prefixes, or patterns with * and ?; may be given several times.',
      }),
    ),
    per_port: count(1, MAX_OFFSET, 'At most so many matching lines of each port.'),
    counts: flag('Only how many lines match in each port; "limit" does not count.'),
  },
  { additionalProperties: false },
)
type SearchQuery = Static<typeof SearchQuery>

const LINES = `Lines of JSON, each with a "type":
\`line\` { port, name, offset, end, time, text, matches }: a line that matches. \`text\` is what people read of it: without control characters and sequences, of a long line what is around the match (\`cut\`: true). \`matches\` are [start, end] in UTF-16 units of it. \`offset\` is that of its first byte, \`end\` that of the next line; \`time\` may be null.
\`context\`: the same for lines around it, without \`matches\`.
\`port\` { port, name, matches, bytes, truncated, skipped? }: a port is done, if anything matched, was skipped, or with \`counts\`. \`skipped\` { reason, bytes }: what could not be searched.
\`progress\` { ports, ofPorts, bytes, ofBytes, matches }: every second.
\`end\` { end, ports, bytes, matches, truncated, skippedPorts, skippedBytes, lostBytes }: always the last one, \`end\` being "complete", "limit" or "time".
\`error\` { code, message }: instead of \`end\`, where it failed.`

const ANSWER = {
  200: {
    description: LINES,
    headers: {},
    content: { 'application/x-ndjson': { schema: { type: 'string' } } },
  },
  ...PROBLEM_ANSWER,
} as const

const ABOUT =
  'Looks through what is held, oldest output first, in a thread of its own at a low priority. Ends when the ' +
  'client goes. 503 VSPC_SEARCH_BUSY where "maxSearches" are under way already.'

/** Asked for each port, before anything of it is looked at. */
function choiceOf(server: Server, request: FastifyRequest): PortChoice {
  const visitor = visitorOf(request)
  return {
    may: (port) => visitor.may('log.search', factsOf(port)),
    resolve(name) {
      const port = resolveVisible(server, name, visitor)
      visitor.check('log.search', factsOf(port))
      return port
    },
  }
}

export function searchRoutes(app: FastifyInstance, server: Server, registry: Registry, attendance: Attendance): void {
  const searches = new Searches({ clock: server.clock, log: server.log, limits: () => server.limits })
  let naming = 0
  const held = new Map<string, number>()
  // Before connections are waited for: theirs end then.
  app.addHook('preClose', () => searches.close())
  addMetrics(registry, searches)

  app.get<{ Querystring: SearchQuery }>(
    '/api/v1/log/search',
    {
      config: { access: EACH },
      schema: {
        summary: 'Search the history of all ports, or of some',
        description: ABOUT,
        tags: ['ports'],
        querystring: SearchQuery,
        response: ANSWER,
      },
    },
    async (request, reply) => {
      const { query } = request
      const choice = choiceOf(server, request)
      const ports = await named(query.ports ?? [], choice)
      const { counts = false, per_port: perPort = MAX_OFFSET } = query
      return send(reply, ports, { ...choice, visitor: visitorOf(request) }, { ...query, counts, perPort })
    },
  )

  app.get<{ Params: PortParams; Querystring: PortSearchQuery }>(
    '/api/v1/ports/:id/log/search',
    {
      config: { access: onPort('log.search') },
      schema: {
        summary: "Search a port's history",
        description: ABOUT,
        tags: ['ports'],
        params: PortParams,
        querystring: PortSearchQuery,
        response: ANSWER,
      },
    },
    (request, reply) => {
      const query = { ...request.query, counts: false, perPort: MAX_OFFSET }
      const whose = { ...choiceOf(server, request), visitor: visitorOf(request) }
      return send(reply, [portOf(request)], whose, query)
    },
  )

  /** As few at once as searches: with many ports and names it is work. */
  async function named(names: readonly string[], choice: PortChoice): Promise<Port[]> {
    const { maxSearches } = server.limits
    if (naming >= maxSearches) throw busy(`ports are not looked up now: ${maxSearches} requests do so ("maxSearches")`)
    naming++
    try {
      return await portsNamed(server, names, choice)
    } finally {
      naming--
    }
  }

  function send(
    reply: FastifyReply,
    ports: readonly Port[],
    { may, visitor }: Pick<PortChoice, 'may'> & { readonly visitor: Visitor },
    query: PortSearchQuery & { readonly counts: boolean; readonly perPort: number },
  ): FastifyReply {
    const source = new PortsToSearch(server, ports, may)
    const owner = ownerOf(visitor)
    const leave = owner === null ? () => {} : takePlace(owner)
    const unattend = attendance.add(streamOf(reply.raw, () => visitor.counts))
    const stop = () => {
      leave()
      unattend()
      void search?.stop()
    }
    let search: RunningSearch | null = null
    try {
      search = begin(query, source)
    } catch (error) {
      leave()
      unattend()
      throw error
    }
    // Also where nobody has begun to read it, or was gone before it was begun.
    if (reply.raw.destroyed) stop()
    else reply.raw.once('close', stop)
    return reply.type('application/x-ndjson').send(Readable.from(lines(search, source), { objectMode: false }))
  }

  /** Whoever does not read holds a place for long: nobody may hold all. The returned function gives it back. */
  function takePlace(owner: string): () => void {
    const most = Math.max(1, server.limits.maxSearches - 1)
    const now = held.get(owner) ?? 0
    if (now >= most)
      throw busy(`history is not searched now: ${now} of yours are under way, and one place is for others`)
    held.set(owner, now + 1)
    return () => {
      const left = (held.get(owner) ?? 0) - 1
      if (left > 0) held.set(owner, left)
      else held.delete(owner)
    }
  }

  function begin(
    query: PortSearchQuery & { readonly counts: boolean; readonly perPort: number },
    source: PortsToSearch,
  ): RunningSearch {
    const { pattern, since, until, counts, perPort } = query
    try {
      return searches.start(
        {
          pattern,
          ignoreCase: query.ignore_case ?? false,
          fixed: query.fixed ?? false,
          since: since === undefined ? null : timeOf(since, 'since'),
          until: until === undefined ? null : timeOf(until, 'until'),
          start: query.start ?? 0,
          end: query.end ?? MAX_OFFSET,
          context: query.context ?? 0,
          limit: query.limit ?? DEFAULT_LIMIT,
          perPort,
          counts,
        },
        source,
      )
    } catch (error) {
      if (!(error instanceof VspcError) || error.code !== 'VSPC_SEARCH_BUSY') throw error
      throw busy(error.message)
    }
  }

  async function* lines({ news }: RunningSearch, source: PortsToSearch): AsyncGenerator<string, void, void> {
    const { ports: ofPorts, bytes: ofBytes } = source
    let toldAt = server.clock.now()
    try {
      for await (const one of news) {
        if (one.kind === 'found') yield one.text
        else if (one.kind === 'end') yield endRecord(one.totals, one.end)
        else if (server.clock.now() - toldAt >= PROGRESS_MS) {
          toldAt = server.clock.now()
          const { ports, bytes, matches } = one.totals
          yield record({ type: 'progress', ports, ofPorts, bytes, ofBytes, matches })
        }
      }
    } catch (error) {
      if (!(error instanceof VspcError)) throw error
      yield record({ type: 'error', code: error.code, message: error.message })
    }
  }
}

/** Null: nobody in particular, where nobody is asked. */
function ownerOf({ isAnonymous, seesAll, address, subject: { via, user } }: Visitor): string | null {
  return isAnonymous ? (seesAll ? null : address) : `${via} ${user}`
}

function busy(message: string): ProblemError {
  return new ProblemError(503, 'VSPC_SEARCH_BUSY', message, { 'retry-after': '2' })
}

function endRecord(totals: SearchTotals, end: SearchEnd): string {
  return record({ type: 'end', end, ...totals })
}

function record(value: object): string {
  return `${JSON.stringify(value)}\n`
}

function addMetrics(registry: Registry, searches: Searches): void {
  const { gauge, counter } = metricReaders(registry)
  gauge('vspc_history_searches', 'Searches of history under way.', () => searches.running)
  counter('vspc_history_searches_total', 'Searches of history begun.', () => searches.counters.begun)
  counter('vspc_history_searches_refused_total', 'Searches refused: too many.', () => searches.counters.refused)
  counter('vspc_history_searched_bytes_total', 'Output looked through by searches.', () => searches.counters.bytes)
}
