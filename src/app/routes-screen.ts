/** A port's screen, drawn on the server's side; see screen.ts. */
import type { FastifyInstance } from 'fastify'
import { type Static, Type } from 'typebox'
import { VspcError } from '../base/index.ts'
import type { History, Marks } from '../history/index.ts'
import type { Server } from '../vspc/index.ts'
import { onPort, portOf } from './access/guard.ts'
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
    end: Type.Optional(
      Type.Integer({ minimum: 0, description: 'Draw what came before this offset, instead of the newest.' }),
    ),
    mark: Type.Optional(Type.Integer({ minimum: 0, description: 'An offset: the line it stands in is told.' })),
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
  historyEnd: Type.Integer({ description: 'The live end.' }),
  top: Type.Integer({
    description: 'Offset from which on all that was drawn is still there: nothing scrolled out, or was cleared away.',
  }),
  markLine: Type.Union([Type.Integer(), Type.Null()], {
    description: 'The line in which "mark" stands, counted from the first one drawn; null where it is not there.',
  }),
  from: Type.Union([Type.String(), Type.Null()], { description: 'When the output at "top" came; only with "end".' }),
  until: Type.Union([Type.String(), Type.Null()], { description: 'When the last of it came; only with "end".' }),
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
      config: { access: onPort('screen.read') },
      schema: {
        summary: "What a port's output looks like",
        description:
          'Drawn from the newest output, or what came before "end", by a terminal emulator here, so that queries in it ' +
          'are never answered into the guest.',
        tags: ['ports'],
        params: PortParams,
        querystring: ScreenQuery,
        response: { 200: jsonAnswer('The screen.', ScreenSchema), ...PROBLEM_ANSWER },
      },
    },
    async (request, reply) => {
      const { cols = 80, rows = 24, scrollback = 0, bytes = DEFAULT_BYTES, end, mark } = request.query
      if (cols * (rows + scrollback) > MAX_CELLS) {
        throw new ProblemError(
          400,
          'VSPC_REQUEST_INVALID',
          `cols x (rows + scrollback) must not exceed ${MAX_CELLS}: ask for fewer lines`,
        )
      }
      const port = portOf(request)
      if (atOnce >= MAX_AT_ONCE) throw unavailable(`the screen was not drawn: ${MAX_AT_ONCE} others wait for theirs`)
      atOnce++
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      // The history of a port that is removed meanwhile answers no more: the asker gives up, and so do we.
      const left = new Promise<never>((_resolve, reject) => {
        gone.signal.addEventListener('abort', () =>
          reject(unavailable('the screen was not drawn: nobody waits for it')),
        )
      })
      left.catch(() => {})
      try {
        // What the port is said to have printed is on its screen, too.
        await Promise.race([new Promise<void>((resolve) => port.history.settled(resolve)), left])
        const { history, epoch, id } = port
        const historyEnd = history.visible
        const offset = Math.min(end ?? historyEnd, historyEnd)
        const { start, taken, gaps } = await before(history, offset, bytes)
        const at = mark === undefined || mark < start || mark >= offset ? -1 : indexOf(mark - start, gaps)
        const size = { cols, rows, scrollback, ...(at < 0 ? {} : { mark: at }) }
        const { screen, markLine, ...drawn } = await renderer.draw(taken, size, gone.signal)
        const top = start + offsetOf(drawn.top, gaps)
        const timeOf = (byte: number) => (end === undefined ? null : Promise.race([timeAt(history, byte), left]))
        const [from, until] = [await timeOf(top), await timeOf(Math.max(top, offset - 1))]
        const answer = { port: id, epoch, start, offset, historyStart: history.start, historyEnd, top, markLine }
        // As bytes: whatever a VM prints, this is JSON and nothing else.
        return reply.type('application/json').send(JSON.stringify({ ...answer, from, until, cols, rows, screen }))
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

/** Lost output: `bytes` are missing before the byte of that index. */
interface Gap {
  readonly index: number
  readonly bytes: number
}

interface Taken {
  /** Offset of the first byte. */
  readonly start: number
  readonly taken: Uint8Array
  readonly gaps: readonly Gap[]
}

/** The output before an offset in one piece of its own memory; what history has lost in between is left out. */
async function before(history: History, end: number, wanted: number): Promise<Taken> {
  const first = Math.min(Math.max(history.start, end - wanted), end)
  const taken = Buffer.alloc(end - first)
  const gaps: Gap[] = []
  let [at, length] = [first, 0]
  while (at < end) {
    const piece = history.read(at, Math.min(PIECE_BYTES, end - at)) ?? (await load(history, at, end))
    if (typeof piece === 'number') {
      gaps.push({ index: length, bytes: piece - at })
      at = piece
      continue
    }
    taken.set(piece, length)
    at += piece.length
    length += piece.length
  }
  const begin = first > history.start ? firstLine(taken.subarray(0, length)) : 0
  const start = first + offsetOf(begin, gaps)
  const kept = gaps.filter(({ index }) => index > begin).map(({ index, bytes }) => ({ index: index - begin, bytes }))
  // Not a view: it is copied into the worker as a whole.
  return { start, taken: new Uint8Array(taken.subarray(begin, length)), gaps: kept }
}

/** How far the byte of an index is from the first one, what is lost in between counted in. */
function offsetOf(index: number, gaps: readonly Gap[]): number {
  return gaps.reduce((offset, gap) => (gap.index <= index ? offset + gap.bytes : offset), index)
}

/** The other way round; of what is lost, the byte after it. */
function indexOf(offset: number, gaps: readonly Gap[]): number {
  let index = offset
  for (const gap of gaps) if (gap.index < index) index = Math.max(gap.index, index - gap.bytes)
  return index
}

/** When a byte came, as far as that is known. */
async function timeAt(history: History, offset: number): Promise<string | null> {
  const { offsets, times } = await new Promise<Marks>((resolve) => history.marks(offset, resolve))
  const [time] = times
  if (time === undefined || (offsets[0] ?? 0) > offset) return null
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
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
