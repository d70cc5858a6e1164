/** A port's screen, drawn on the server's side; see screen.ts. */
import type { FastifyInstance } from 'fastify'
import { type Static, Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import type { History } from '../history/index.ts'
import type { Port, Server } from '../vspc/index.ts'
import { jsonAnswer, PROBLEM_ANSWER } from './openapi.ts'
import { ProblemError } from './problem.ts'
import { PortParams } from './schemas.ts'
import { ScreenRenderer } from './screen.ts'

const MAX_BYTES = 2 << 20
const DEFAULT_BYTES = 262_144
/** Twelve bytes each, outside of the heap that the worker is limited to. */
const MAX_CELLS = 2_000_000
/** Read from history at a time. */
const PIECE_BYTES = 262_144
/** Where the first whole line is looked for, so that no half of a control sequence comes first. */
const MAX_FIRST_LINE_BYTES = 4_096
/** Each holds what it has read of history until its turn: more than are drawn, or may wait for it, are not begun. */
const MAX_AT_ONCE = 17
const LINE_FEED = 0x0a

const ScreenQuery = Type.Object(
  {
    cols: Type.Optional(Type.Integer({ minimum: 2, maximum: 500, description: 'Columns. Default: 80.' })),
    rows: Type.Optional(Type.Integer({ minimum: 1, maximum: 300, description: 'Rows. Default: 24.' })),
    scrollback: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 20_000, description: 'Lines above the screen, at most. Default: none.' }),
    ),
    bytes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MAX_BYTES,
        description: `How much of the newest output to draw. Default: ${DEFAULT_BYTES}.`,
      }),
    ),
  },
  { additionalProperties: false },
)
type ScreenQuery = Static<typeof ScreenQuery>

const ScreenSchema = Type.Object({
  port: Type.String(),
  epoch: Type.String({ description: 'Names this counting of offsets, as in "attached".' }),
  start: Type.Integer({ description: 'Offset of the first byte drawn.' }),
  offset: Type.Integer({ description: 'Offset after the last byte drawn: attach from here to go on.' }),
  historyStart: Type.Integer({ description: 'Oldest offset held.' }),
  cols: Type.Integer(),
  rows: Type.Integer(),
  screen: Type.String({
    description: 'What makes an empty terminal of that size show the same. Asks the terminal nothing.',
  }),
})

export function screenRoute(app: FastifyInstance, server: Server): void {
  const renderer = new ScreenRenderer({ clock: server.clock, log: server.log })
  app.addHook('onClose', () => renderer.close())
  let atOnce = 0

  app.get<{ Params: PortParams; Querystring: ScreenQuery }>(
    '/api/v1/ports/:id/screen',
    {
      schema: {
        summary: "What a port's output looks like",
        description:
          'Drawn from the newest output by a terminal emulator here, so that queries in it are never answered into the guest.',
        tags: ['ports'],
        params: PortParams,
        querystring: ScreenQuery,
        response: { 200: jsonAnswer('The screen.', ScreenSchema), ...PROBLEM_ANSWER },
      },
    },
    async (request, reply) => {
      const { cols = 80, rows = 24, scrollback = 0, bytes = DEFAULT_BYTES } = request.query
      if (cols * (rows + scrollback) > MAX_CELLS) {
        throw new ProblemError(
          400,
          'VSPC_REQUEST_INVALID',
          `cols x (rows + scrollback) must not exceed ${MAX_CELLS}: ask for fewer lines`,
        )
      }
      const port = server.table.resolve(request.params.id)
      if (atOnce >= MAX_AT_ONCE) throw unavailable(`the screen was not drawn: ${MAX_AT_ONCE} others wait for theirs`)
      atOnce++
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      try {
        // What the port is said to have printed is on its screen, too.
        await new Promise<void>((resolve) => port.history.settled(resolve))
        const { start, taken } = await newest(port, bytes)
        const offset = start + taken.length
        const { epoch, id } = port
        const screen = await renderer.draw(taken, { cols, rows, scrollback }, gone.signal)
        // As bytes: whatever a VM prints, this is JSON and nothing else.
        return reply
          .type('application/json')
          .send(
            JSON.stringify({ port: id, epoch, start, offset, historyStart: port.history.start, cols, rows, screen }),
          )
      } catch (error) {
        if (!(error instanceof VspcError) || error.code !== 'VSPC_SCREEN_UNAVAILABLE') throw error
        throw unavailable(error.message)
      } finally {
        atOnce--
      }
    },
  )
}

function unavailable(message: string): ProblemError {
  return new ProblemError(503, 'VSPC_SCREEN_UNAVAILABLE', message, { 'retry-after': '1' })
}

/** The newest output in one piece of its own memory; what history has lost in between is left out. */
async function newest(port: Port, wanted: number): Promise<{ start: number; taken: Uint8Array }> {
  const { history } = port
  const end = history.visible
  const first = Math.max(history.start, end - wanted)
  const taken = Buffer.alloc(end - first)
  let [at, length] = [first, 0]
  while (at < end) {
    const piece = history.read(at, Math.min(PIECE_BYTES, end - at)) ?? (await load(history, at, end))
    if (typeof piece === 'number') {
      at = piece
      continue
    }
    taken.set(piece, length)
    at += piece.length
    length += piece.length
  }
  const begin = first > history.start ? firstLine(taken.subarray(0, length)) : 0
  // Not a view: it is copied into the worker as a whole.
  const own = new Uint8Array(taken.subarray(begin, length))
  return { start: end - own.length, taken: own }
}

/** The bytes at an offset, or the offset to go on at. */
function load(history: History, at: number, end: number): Promise<Uint8Array | number> {
  return new Promise((resolve) => {
    history.load(at, Math.min(PIECE_BYTES, end - at), (result) => {
      if (result.kind === 'bytes') resolve(result.bytes)
      else resolve(result.kind === 'end' ? end : Math.min(result.to, end))
    })
  })
}

function firstLine(bytes: Uint8Array): number {
  const feed = bytes.subarray(0, MAX_FIRST_LINE_BYTES).indexOf(LINE_FEED)
  return feed < 0 ? 0 : feed + 1
}
