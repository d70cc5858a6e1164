/** The server's HTTP API, as far as the page asks for it. */
import type { PortInfo } from '../../vspc/index.ts'
import type { ApplianceInfo } from '../appliance-view.ts'
import { portPath } from './places.ts'

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
  readonly screen: string
}

export interface ScreenSize {
  readonly cols: number
  readonly rows: number
  readonly scrollback: number
  readonly bytes: number
}

export function fetchPorts(): Promise<PortInfo[]> {
  return getJson<PortInfo[]>('api/v1/ports')
}

export function fetchPort(id: string): Promise<PortInfo> {
  return getJson<PortInfo>(portPath(id))
}

export function fetchScreen(id: string, { cols, rows, scrollback, bytes }: ScreenSize): Promise<Screen> {
  return getJson<Screen>(portPath(id, `/screen?cols=${cols}&rows=${rows}&scrollback=${scrollback}&bytes=${bytes}`))
}

/** Null where this server does not follow its appliance's host. */
export async function fetchAppliance(): Promise<ApplianceInfo | null> {
  try {
    const info = await getJson<ApplianceInfo>('api/v1/appliance')
    return info.tracking ? info : null
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null
    throw error
  }
}

/** @throws ApiError. */
async function getJson<Body>(path: string): Promise<Body> {
  let answer: Response
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS), cache: 'no-store' })
    if (answer.ok) return (await answer.json()) as Body
  } catch (error) {
    throw new ApiError(0, 'VSPC_SERVER_UNREACHABLE', `the server does not answer (${String(error)})`)
  }
  const problem = (await answer.json().catch(() => ({}))) as { code?: unknown; detail?: unknown }
  throw new ApiError(
    answer.status,
    String(problem.code ?? ''),
    String(problem.detail ?? `the server answered ${answer.status}`),
  )
}
