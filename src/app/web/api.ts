/** The server's HTTP API, as far as the page asks for it. */
import type { PortInfo } from '../../vspc/index.ts'
import type { ApplianceInfo } from '../appliance-view.ts'
import { portPath } from './places.ts'
import { authorization, refused } from './session.ts'

/** A server that does not answer in this time is away. */
const ANSWER_MS = 15_000

/** `status` 0: no answer at all. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** What `GET /api/v1/ports/{id}/screen` answers. */
export interface Screen {
  readonly port: string
  readonly epoch: string
  readonly start: number
  readonly offset: number
  readonly historyStart: number
  readonly historyEnd: number
  /** From there on all that was drawn is still there. */
  readonly top: number
  readonly markLine: number | null
  readonly from: string | null
  readonly until: string | null
  readonly screen: string
}

export interface ScreenSize {
  readonly cols: number
  readonly rows: number
  readonly scrollback: number
  readonly bytes: number
  readonly end?: number
  readonly mark?: number
}

export function fetchPorts(): Promise<PortInfo[]> {
  return getJson<PortInfo[]>('api/v1/ports')
}

export function fetchPort(id: string): Promise<PortInfo> {
  return getJson<PortInfo>(portPath(id))
}

export function fetchScreen(id: string, size: ScreenSize): Promise<Screen> {
  const query = Object.entries(size).map(([name, value]) => `${name}=${value}`)
  return getJson<Screen>(portPath(id, `/screen?${query.join('&')}`))
}

/** Offset of the first byte that came at a time, or next after it. */
export async function fetchOffsetAt(id: string, time: string): Promise<number> {
  const answer = await getAnswer(portPath(id, `/log?since=${encodeURIComponent(time)}`), 'HEAD')
  return Number(answer.headers.get('x-vspc-start'))
}

/** Good once, to open a WebSocket with, which can send no header. */
export async function fetchTicket(): Promise<string> {
  const answer = await getAnswer('api/v1/tickets', 'POST')
  return ((await answer.json()) as { ticket: string }).ticket
}

/** A port's log, for whom a link would not do: it sends no header. */
export async function saveLog(id: string): Promise<void> {
  // As long as it takes.
  const answer = await getAnswer(portPath(id, '/log'), 'GET', new AbortController().signal)
  const url = URL.createObjectURL(await answer.blob())
  const name = /filename="([^"]+)"/.exec(answer.headers.get('content-disposition') ?? '')?.[1] ?? 'console.log'
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // The browser has begun to read it by then, or never will.
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** Text that comes as it is made. @throws ApiError. */
export async function openStream(path: string, signal: AbortSignal): Promise<ReadableStreamDefaultReader<string>> {
  const { body } = await getAnswer(path, 'GET', signal)
  if (body === null) throw new ApiError(0, '', 'the server answered nothing')
  return body.pipeThrough(new TextDecoderStream()).getReader()
}

/** Null where this server does not follow its appliance's host. */
export async function fetchAppliance(): Promise<ApplianceInfo | null> {
  try {
    const info = await getJson<ApplianceInfo>('api/v1/appliance')
    return info.tracking ? info : null
  } catch (error) {
    // Not there, or not for us.
    if (error instanceof ApiError && (error.status === 404 || error.status === 403)) return null
    throw error
  }
}

/** @throws ApiError. */
async function getJson<Body>(path: string): Promise<Body> {
  const answer = await getAnswer(path)
  try {
    return (await answer.json()) as Body
  } catch (error) {
    throw away(error)
  }
}

/** @throws ApiError. */
async function getAnswer(path: string, method = 'GET', signal = AbortSignal.timeout(ANSWER_MS)): Promise<Response> {
  let answer: Response
  try {
    answer = await fetch(path, { method, headers: authorization(), signal, cache: 'no-store' })
  } catch (error) {
    throw away(error)
  }
  if (answer.ok) return answer
  const problem = (await answer.json().catch(() => ({}))) as { code?: unknown; detail?: unknown }
  const detail = String(problem.detail ?? `the server answered ${answer.status}`)
  if (answer.status === 401) refused(detail)
  throw new ApiError(answer.status, String(problem.code ?? ''), detail)
}

function away(error: unknown): ApiError {
  return new ApiError(0, 'VSPC_SERVER_UNREACHABLE', `the server does not answer (${String(error)})`)
}
