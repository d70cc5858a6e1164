/** Errors of the control endpoint as RFC 9457 problem details, in the shape that the server's API has. */
import { STATUS_CODES } from 'node:http'
import { type ErrorCode, errorMessage, VspcError } from '../base/index.ts'

/** A failure with an HTTP status of its own. */
export class ControlError extends VspcError {
  override name = 'ControlError'
  readonly status: number
  /** Of a 405. */
  readonly allow: string | null

  constructor(status: number, code: ErrorCode, message: string, allow: string | null = null) {
    super(code, message)
    this.status = status
    this.allow = allow
  }
}

export interface ControlProblem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly instance: string
}

/** Null: a fault of ours, whose text is for the log. */
export function problemOf(error: unknown, instance: string): ControlProblem | null {
  if (!(error instanceof VspcError)) return null
  return problem(statusOf(error), error.code, errorMessage(error), instance)
}

export function problem(status: number, code: ErrorCode, detail: string, instance: string): ControlProblem {
  return { type: `urn:vspc:error:${code}`, title: STATUS_CODES[status] ?? 'Error', status, detail, code, instance }
}

function statusOf(error: VspcError): number {
  if (error instanceof ControlError) return error.status
  if (error.code.startsWith('VSPC_ENDPOINT_') || error.code === 'VSPC_REQUEST_INVALID') return 400
  if (error.code === 'VSPC_RELAY_NEXT_HOP') return 404
  return 500
}
