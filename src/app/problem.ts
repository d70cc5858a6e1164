/** Errors as RFC 9457 problem details: one shape for every failure of the API, whoever noticed it. */
import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { cleanText, type ErrorCode, type Logger, nearest, VspcError } from '../base/index.ts'
import type { Problem } from './schemas.ts'

export const PROBLEM_TYPE = 'application/problem+json'

/** HTTP status of coded failures; any other one is a 500. */
const STATUS: { readonly [code in ErrorCode]?: number } = {
  VSPC_PATTERN: 400,
  VSPC_SEARCH_BUSY: 503,
  VSPC_SEARCH_FAILED: 503,
  VSPC_REQUEST_INVALID: 400,
  VSPC_NOT_ALLOWED: 403,
  VSPC_ACCESS_LOGIN: 401,
  VSPC_ACCESS_DENIED: 403,
  VSPC_ACCESS_FAILURES: 429,
  VSPC_PORT_NOT_FOUND: 404,
  VSPC_PORT_AMBIGUOUS: 409,
  VSPC_PORT_ONLINE: 409,
  VSPC_CONSOLE_NOT_FOUND: 404,
  VSPC_CONSOLE_BUSY: 409,
  VSPC_CONSOLE_TOO_MANY: 503,
  VSPC_SERVER_STARTING: 503,
  VSPC_SERVER_STOPPING: 503,
}

/** Of the kind of problem, not of the single one (RFC 9457 section 3.1.3). Others are called by their status. */
const TITLES: { readonly [code in ErrorCode]?: string } = {
  VSPC_PORT_NOT_FOUND: 'No such port',
  VSPC_CONSOLE_NOT_FOUND: 'No such console',
  VSPC_TRACK_OFF: 'The appliance is not followed',
  VSPC_PORT_AMBIGUOUS: 'More than one port matches',
  VSPC_PORT_ONLINE: 'The port is in use',
  VSPC_ACCESS_LOGIN: 'Say who you are',
  VSPC_ACCESS_DENIED: 'Not allowed',
  VSPC_ACCESS_FAILURES: 'Too many failures',
  VSPC_SERVER_STARTING: 'The server is starting',
  VSPC_SERVER_STOPPING: 'The server is stopping',
}

export interface ProblemDetail {
  in: string
  pointer: string
  detail: string
}

/** A failure with an HTTP status of its own. */
export class ProblemError extends VspcError {
  override name = 'ProblemError'
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, code: ErrorCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(code, message)
    this.status = status
    this.headers = headers
  }
}

export function problem(status: number, code: ErrorCode, detail: string, instance: string): Problem {
  const title = TITLES[code] ?? STATUS_CODES[status] ?? 'Error'
  return { type: `urn:vspc:error:${code}`, title, status, detail, code, instance }
}

/** @param log gets what the client must not see. */
export function problemOf(error: unknown, request: FastifyRequest, log: Logger): Problem {
  const instance = pathOf(request.url)
  if (error instanceof ProblemError) return problem(error.status, error.code, error.message, instance)
  if (error instanceof VspcError) {
    const status = STATUS[error.code]
    if (status !== undefined) return problem(status, error.code, error.message, instance)
  }
  const { statusCode, message, validation } = error as Partial<FastifyError>
  if (validation !== undefined) {
    const errors = validationDetails(error as FastifyError, request)
    const detail = errors.map((one) => one.detail).join('; ')
    return { ...problem(400, 'VSPC_REQUEST_INVALID', detail, instance), errors }
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return problem(statusCode, 'VSPC_REQUEST_INVALID', message ?? 'the request is not valid', instance)
  }
  log.error({ method: request.method, path: instance, error: stackOf(error) }, 'request failed')
  return problem(500, 'VSPC_INTERNAL', 'the server failed on this request; its log says why', instance)
}

export function sendProblem(reply: FastifyReply, body: Problem, error?: unknown): FastifyReply {
  if (error instanceof ProblemError) reply.headers(error.headers)
  // As bytes, so that neither a response schema of the route nor a charset (which the type does not have) is applied.
  return reply
    .code(body.status)
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(body)))
}

/** The path alone: a query may hold what does not belong into answers and logs. */
export function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

/** What ajv says of one fault, with the schema it arose from. */
interface Fault {
  keyword: string
  instancePath: string
  params: Record<string, unknown>
  message?: string
}

function validationDetails(error: FastifyError, request: FastifyRequest): ProblemDetail[] {
  const context = error.validationContext ?? 'body'
  const where = context === 'querystring' ? 'query' : context === 'params' ? 'path' : context
  return (error.validation as unknown as Fault[]).map((fault) => {
    const extra = fault.params['additionalProperty']
    const pointer = typeof extra === 'string' ? `${fault.instancePath}/${cleanText(extra, 100)}` : fault.instancePath
    return {
      in: where,
      pointer,
      detail: faultText(fault, `${where} parameter "${pointer.slice(1)}"`, pointer, request),
    }
  })
}

function faultText(fault: Fault, subject: string, pointer: string, request: FastifyRequest): string {
  if (fault.keyword === 'additionalProperties') {
    const { querystring } = (request.routeOptions.schema ?? {}) as { querystring?: { properties?: object } }
    const accepted = Object.keys(querystring?.properties ?? {})
    const near = nearest(pointer.slice(1), accepted)
    const hint = near === null ? '' : `; did you mean ${near}?`
    return `there is no ${subject}; accepted: ${accepted.join(', ') || 'none'}${hint}`
  }
  const allowed = fault.params['allowedValues']
  if (Array.isArray(allowed)) return `${subject} must be one of: ${allowed.join(', ')}`
  if (fault.params['type'] === 'integer') return `${subject} must be a whole number`
  return `${subject} ${fault.message ?? 'is not valid'}`
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
